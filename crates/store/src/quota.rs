//! What a home holds and may hold. One lock, held for arithmetic only; no number is ever read and
//! written back by a caller.
//!
//! `used + pending + reserved` never passes the limit through the store's own operations. The trash
//! lies within the limit too, and gives way: whoever has booked more lets it, before bytes are written. A
//! [`Booking`] carries one running upload, copy or new directory; dropping it gives back whatever
//! was reserved and not turned into bytes on disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// Unknown sizes are reserved in steps of so many bytes: few enough not to lock others out, enough
/// not to count every chunk.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// What a home may hold; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes in regular files, staged ones included.
    pub bytes: Option<u64>,
    /// Files, directories, links and whatever else has a name, the trash included, and uploads that wait to be
    /// resumed.
    pub entries: Option<u64>,
    /// What is kept of what was removed or replaced.
    pub trash: TrashPolicy,
}

/// How much is kept of what was removed or replaced, and for how long. It counts against the quota,
/// and gives way when something new needs the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrashPolicy {
    /// The most bytes in the trash; 0 keeps nothing.
    pub bytes: u64,
    /// How long something is kept. Only time in which the home is open counts.
    pub age: Duration,
}

/// What a home holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The limit in bytes, if there is one.
    pub bytes_limit: Option<u64>,
    /// The limit of entries, if there is one.
    pub entries_limit: Option<u64>,
    /// Sizes of all regular files, outside the reserved folder.
    pub used: u64,
    /// Files, directories, links and whatever else has a name, outside the reserved folder.
    pub entries: u64,
    /// Bytes in staged files.
    pub pending: u64,
    /// Bytes announced by running uploads and copies and not yet written.
    pub reserved: u64,
    /// How many uploads are staged, running ones included.
    pub uploads: u64,
    /// Bytes in the trash.
    pub trash: u64,
    /// The most bytes in the trash.
    pub trash_limit: u64,
    /// Files, directories, links and whatever else has a name, in the trash.
    pub trash_entries: u64,
    /// Bytes that can still be stored: what quota and file system both leave when the trash gives way.
    pub free: u64,
    /// Bytes free in the file system.
    pub disk_free: u64,
}

/// What a walk over a home or a part of it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.entries = self.entries.saturating_add(other.entries);
    }

    pub(crate) fn subtract(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.entries = self.entries.saturating_sub(other.entries);
    }
}

#[derive(Default)]
struct Counts {
    quota: Quota,
    stored: Tally,
    trash: Tally,
    pending: u64,
    reserved: u64,
    reserved_entries: u64,
    uploads: u64,
    /// How many of the uploads have a booking, and so room for their entry if they need any.
    attended: u64,
    /// Bookings that are alive.
    bookings: u64,
    /// How often a booking was made, or a staged file counted or discounted without one.
    staged_changes: u64,
    /// More was taken away than was there: the disk was changed behind the store's back.
    suspect: bool,
}

impl Counts {
    /// Takes a stored file out of the count.
    fn take_stored(&mut self, bytes: u64) {
        self.suspect |= bytes > self.stored.bytes;
        self.stored.bytes = self.stored.bytes.saturating_sub(bytes);
    }

    fn check_restore(&self, tally: Tally, new_entries: u64) -> Result<()> {
        self.check_bytes(tally.bytes)?;
        self.check_entries(new_entries)
    }

    fn check_bytes(&self, more: u64) -> Result<()> {
        let Some(limit) = self.quota.bytes else {
            return Ok(());
        };
        let pending = self.pending + self.reserved;
        let taken = self.stored.bytes.saturating_add(pending);
        // What is not more than before is never refused, even above a lowered limit.
        if more > 0 && taken.saturating_add(more) > limit {
            return Err(Error::QuotaBytes {
                limit,
                used: self.stored.bytes,
                pending,
                requested: more,
            });
        }
        Ok(())
    }

    /// Entries that exist, are being made, or are held by uploads that wait to be resumed: each takes two files
    /// of the file system, so that they are bounded like any others.
    fn taken_entries(&self) -> u64 {
        self.stored.entries + self.reserved_entries + self.uploads.saturating_sub(self.attended)
    }

    fn check_entries(&self, more: u64) -> Result<()> {
        self.check_entries_beside(self.taken_entries(), more)
    }

    /// For an upload that has waited, and counted while it did: those that still wait do not keep it out.
    fn check_entry_of_upload(&self) -> Result<()> {
        self.check_entries_beside(self.stored.entries + self.reserved_entries, 1)
    }

    fn check_entries_beside(&self, used: u64, more: u64) -> Result<()> {
        match self.quota.entries {
            Some(limit) if used.saturating_add(more) > limit => Err(Error::QuotaEntries { limit, used }),
            _ => Ok(()),
        }
    }
}

/// The counts of one home.
#[derive(Default)]
pub(crate) struct Ledger {
    counts: Mutex<Counts>,
}

impl Ledger {
    pub(crate) fn new(quota: Quota, stored: Tally) -> Self {
        Self {
            counts: Mutex::new(Counts {
                quota,
                stored,
                ..Counts::default()
            }),
        }
    }

    pub(crate) fn set_quota(&self, quota: Quota) {
        self.lock().quota = quota;
    }

    /// The counts, given the bytes free on disk.
    pub(crate) fn usage(&self, disk_free: u64) -> Usage {
        let counts = self.lock();
        let taken = counts.stored.bytes + counts.pending + counts.reserved;
        let left = counts.quota.bytes.map_or(u64::MAX, |limit| limit.saturating_sub(taken));
        let disk_left = disk_free.saturating_add(counts.trash.bytes);
        Usage {
            bytes_limit: counts.quota.bytes,
            entries_limit: counts.quota.entries,
            used: counts.stored.bytes,
            entries: counts.stored.entries,
            pending: counts.pending,
            reserved: counts.reserved,
            uploads: counts.uploads,
            trash: counts.trash.bytes,
            trash_limit: counts.quota.trash.bytes,
            trash_entries: counts.trash.entries,
            free: left.min(disk_left),
            disk_free,
        }
    }

    /// Takes a staged file that was found on disk into the count.
    pub(crate) fn add_staged(&self, bytes: u64) {
        let mut counts = self.lock();
        counts.staged_changes += 1;
        counts.pending += bytes;
        counts.uploads += 1;
    }

    /// Takes a staged file that was deleted out of the count.
    pub(crate) fn remove_staged(&self, bytes: u64) {
        let mut counts = self.lock();
        counts.staged_changes += 1;
        counts.pending = counts.pending.saturating_sub(bytes);
        counts.uploads = counts.uploads.saturating_sub(1);
    }

    /// Takes a stored entry that was deleted out of the count.
    pub(crate) fn remove_stored(&self, bytes: u64) {
        let mut counts = self.lock();
        counts.take_stored(bytes);
        counts.suspect |= counts.stored.entries == 0;
        counts.stored.entries = counts.stored.entries.saturating_sub(1);
    }

    pub(crate) fn trash_policy(&self) -> TrashPolicy {
        self.lock().quota.trash
    }

    pub(crate) fn trash(&self) -> Tally {
        self.lock().trash
    }

    /// Puts what a recount found in force; what was before comes back.
    pub(crate) fn correct_trash(&self, found: Tally) -> Tally {
        std::mem::replace(&mut self.lock().trash, found)
    }

    /// Takes something into the count of the trash that was not counted before.
    pub(crate) fn add_trash(&self, tally: Tally) {
        self.lock().trash.add(tally);
    }

    /// Takes something out of it that was deleted.
    pub(crate) fn remove_trash(&self, tally: Tally) {
        self.lock().trash.subtract(tally);
    }

    /// Something stored is in the trash now.
    pub(crate) fn discard_stored(&self, tally: Tally) {
        let mut counts = self.lock();
        counts.suspect |= tally.bytes > counts.stored.bytes || tally.entries > counts.stored.entries;
        counts.stored.subtract(tally);
        counts.trash.add(tally);
    }

    /// Refuses what [`Ledger::restore`] would refuse now.
    pub(crate) fn check_restore(&self, tally: Tally, new_entries: u64) -> Result<()> {
        self.lock().check_restore(tally, new_entries)
    }

    /// Something in the trash is to be stored again: checks and books in one step. The name it takes
    /// may be there already.
    pub(crate) fn restore(&self, tally: Tally, new_entries: u64) -> Result<()> {
        let mut counts = self.lock();
        counts.check_restore(tally, new_entries)?;
        counts.trash.subtract(tally);
        counts.stored.add(tally);
        Ok(())
    }

    /// Whether something in the trash has to give way.
    pub(crate) fn trash_is_over(&self) -> bool {
        let counts = self.lock();
        let over = |limit: Option<u64>, taken: u64| limit.is_some_and(|limit| taken > limit);
        counts.trash.entries > 0
            && (counts.trash.bytes > counts.quota.trash.bytes
                || counts.quota.trash.bytes == 0
                || over(
                    counts.quota.bytes,
                    counts.stored.bytes + counts.pending + counts.reserved + counts.trash.bytes,
                )
                || over(counts.quota.entries, counts.taken_entries() + counts.trash.entries))
    }

    /// Puts what a recount found in force; what was before comes back.
    pub(crate) fn correct_stored(&self, found: Tally) -> Tally {
        let mut counts = self.lock();
        counts.suspect = false;
        std::mem::replace(&mut counts.stored, found)
    }

    /// Whether an operation has met what cannot be.
    pub(crate) fn is_suspect(&self) -> bool {
        self.lock().suspect
    }

    /// Bytes and number of what is staged.
    pub(crate) fn staged(&self) -> (u64, u64) {
        let counts = self.lock();
        (counts.pending, counts.uploads)
    }

    /// If nothing is being staged: what to give [`Ledger::correct_staged`] after a look at the disk.
    pub(crate) fn at_rest(&self) -> Option<u64> {
        let counts = self.lock();
        (counts.bookings == 0).then_some(counts.staged_changes)
    }

    /// Puts bytes and number of staged uploads in force, if nothing was staged since `ticket`; what
    /// was before comes back.
    pub(crate) fn correct_staged(&self, ticket: u64, (pending, uploads): (u64, u64)) -> Option<(u64, u64)> {
        let mut counts = self.lock();
        (counts.staged_changes == ticket).then(|| {
            let before = (counts.pending, counts.uploads);
            (counts.pending, counts.uploads) = (pending, uploads);
            before
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // The arithmetic cannot panic half-way, so a poisoned count is still right.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one running operation has taken from the quota.
pub(crate) struct Booking {
    ledger: Arc<Ledger>,
    /// Bytes reserved beyond those staged.
    reserved: u64,
    /// Bytes of the staged file, as counted in `pending`.
    staged: u64,
    /// Whether room for a new entry is reserved.
    entry: bool,
    /// Whether the staged file is counted as an upload.
    upload: bool,
    /// Whether it is counted as one that is attended to.
    attends: bool,
}

impl Booking {
    /// Books room for one new directory.
    pub(crate) fn directory(ledger: &Arc<Ledger>) -> Result<Self> {
        Self::file(ledger, 0, None, true)
    }

    /// Books nothing: while it lives, a recount leaves alone what is staged.
    pub(crate) fn nothing(ledger: &Arc<Ledger>) -> Self {
        Self::made(ledger, &mut ledger.lock(), 0, false, false)
    }

    /// Books a file of `bytes`, of which `held` are staged and counted already, as an upload; with `entry` also
    /// a new name. Checks and takes in one step.
    pub(crate) fn file(ledger: &Arc<Ledger>, bytes: u64, held: Option<u64>, entry: bool) -> Result<Self> {
        let mut counts = ledger.lock();
        let more = bytes.saturating_sub(held.unwrap_or(0));
        counts.check_bytes(more)?;
        match held {
            Some(_) if entry => counts.check_entry_of_upload()?,
            None if entry => counts.check_entries(1)?,
            _ => {}
        }
        Ok(Self::made(ledger, &mut counts, more, entry, held.is_some()))
    }

    fn made(ledger: &Arc<Ledger>, counts: &mut Counts, reserved: u64, entry: bool, attends: bool) -> Self {
        counts.reserved += reserved;
        counts.reserved_entries += u64::from(entry);
        counts.attended += u64::from(attends);
        counts.bookings += 1;
        counts.staged_changes += 1;
        Self {
            ledger: Arc::clone(ledger),
            reserved,
            staged: 0,
            entry,
            upload: false,
            attends,
        }
    }

    /// The staged file is open: it has the `held` bytes that are counted already, or is new.
    pub(crate) fn adopt(&mut self, held: Option<u64>, upload: bool) {
        self.staged = held.unwrap_or(0);
        self.upload = upload;
        if upload && held.is_none() {
            let mut counts = self.ledger.lock();
            counts.uploads += 1;
            counts.attended += 1;
            self.attends = true;
        }
    }

    /// Makes sure that the staged file may grow to `length`, reserving a step ahead where possible.
    /// Whether more had to be reserved, for which the trash may have to give way.
    pub(crate) fn allow(&mut self, length: u64) -> Result<bool> {
        let missing = length.saturating_sub(self.staged + self.reserved);
        if missing == 0 {
            return Ok(false);
        }
        let mut counts = self.ledger.lock();
        let more = match counts.check_bytes(missing.max(STEP_BYTES)) {
            Ok(()) => missing.max(STEP_BYTES),
            Err(_) => {
                counts.check_bytes(missing)?;
                missing
            }
        };
        counts.reserved += more;
        self.reserved += more;
        Ok(true)
    }

    /// Whether the staged file may grow to `length` already.
    pub(crate) fn covers(&self, length: u64) -> bool {
        length <= self.staged + self.reserved
    }

    /// The staged file now has `length` bytes: moves the difference between reserved and pending.
    pub(crate) fn staged(&mut self, length: u64) {
        let mut counts = self.ledger.lock();
        if length >= self.staged {
            let from_reserve = (length - self.staged).min(self.reserved);
            counts.reserved -= from_reserve;
            self.reserved -= from_reserve;
        } else {
            let back = self.staged - length;
            counts.reserved += back;
            self.reserved += back;
        }
        counts.pending = counts.pending.saturating_sub(self.staged) + length;
        self.staged = length;
    }

    /// Cuts what is reserved so that nothing beyond a total of `bytes` is held.
    pub(crate) fn limit(&mut self, bytes: u64) {
        let excess = self.reserved.saturating_sub(bytes.saturating_sub(self.staged));
        self.ledger.lock().reserved -= excess;
        self.reserved -= excess;
    }

    /// Makes sure that room for a new entry is reserved.
    pub(crate) fn allow_entry(&mut self) -> Result<()> {
        if !self.entry {
            let mut counts = self.ledger.lock();
            counts.check_entry_of_upload()?;
            counts.reserved_entries += 1;
            self.entry = true;
        }
        Ok(())
    }

    /// The booked entry now exists: the staged bytes became stored bytes, and those of the file that
    /// was replaced (`None` if the name is new) are gone.
    pub(crate) fn settle(&mut self, replaced: Option<u64>) {
        let mut counts = self.ledger.lock();
        counts.pending = counts.pending.saturating_sub(self.staged);
        counts.take_stored(replaced.unwrap_or(0));
        counts.stored.bytes += self.staged;
        if replaced.is_none() {
            counts.stored.entries += 1;
        }
        counts.uploads = counts
            .uploads
            .saturating_sub(u64::from(std::mem::take(&mut self.upload)));
        counts.attended -= u64::from(std::mem::take(&mut self.attends));
        self.staged = 0;
    }

    /// The staged file could not be deleted: it goes on to count, as an upload whatever it was.
    pub(crate) fn leave(&mut self) {
        if !std::mem::take(&mut self.upload) {
            self.ledger.lock().uploads += 1;
        }
        self.staged = 0;
    }

    /// The staged file was deleted.
    pub(crate) fn discard(&mut self) {
        let mut counts = self.ledger.lock();
        counts.pending = counts.pending.saturating_sub(self.staged);
        counts.uploads = counts
            .uploads
            .saturating_sub(u64::from(std::mem::take(&mut self.upload)));
        counts.attended -= u64::from(std::mem::take(&mut self.attends));
        self.staged = 0;
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        let mut counts = self.ledger.lock();
        counts.reserved -= self.reserved;
        counts.bookings -= 1;
        counts.attended -= u64::from(self.attends);
        counts.reserved_entries -= u64::from(self.entry);
    }
}
