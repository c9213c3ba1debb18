//! A file in the staging folder on its way to its name, for uploads and copies alike: the only way
//! in which bytes come into a home.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::Dir;
use ftp_digest::Digest;
use rustix::io::Errno;

use crate::disk::{self, Kind, Meta};
use crate::error::{Error, Result};
use crate::home::{HomeState, KeptVersion};
use crate::kept;
use crate::last_folder::LastFolder;
use crate::path::FilePath;
use crate::prompt::Prompt;
use crate::quota::Booking;
use crate::slots::Claim;
use crate::staging::{self, Record, StagingId};
use crate::time::Timestamp;
use crate::tree::Place;

/// Numbers the staged files in the order in which they are opened.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// The staged file with all that hangs on it. Dropping it leaves disk and counts in agreement, in
/// whatever state it was.
pub(crate) struct StagedFile {
    home: Arc<HomeState>,
    target: FilePath,
    id: StagingId,
    file: File,
    prompt: Prompt,
    opened: u64,
    length: u64,
    /// Whether some of it was written before it was opened.
    is_resumed: bool,
    booking: Booking,
    fate: Fate,
    /// Held by uploads. The last field: whoever waits for it finds the booking settled.
    _claim: Option<Claim>,
}

/// A staged file under its name.
pub(crate) struct Published {
    /// The directory it is in now.
    pub(crate) dir: Arc<Dir>,
    pub(crate) replaced: bool,
    /// The file it replaced, if that is kept.
    pub(crate) kept: Option<KeptVersion>,
}

/// What becomes of the staged file when it is dropped.
pub(crate) enum Fate {
    /// It has been published or deleted.
    Gone,
    /// It stays for a resume, with its record.
    Keep { record: Record, saved: bool },
    /// It is deleted.
    Temporary,
    /// It has no name, and is gone with its handle.
    Nameless,
}

impl StagedFile {
    /// Opens the staged file, which is counted with `held` bytes already or not at all; as an upload
    /// if there is a claim to it.
    pub(crate) fn open(
        home: Arc<HomeState>,
        target: FilePath,
        id: StagingId,
        // Before the booking, and so dropped after it.
        claim: Option<Claim>,
        mut booking: Booking,
        held: Option<u64>,
        fate: Fate,
    ) -> Result<Self> {
        // Numbered before it is opened: a lower number is never the younger handle's.
        let opened = OPENED.fetch_add(1, Ordering::Relaxed);
        let file =
            disk::open_own(home.staging(), &id.part()).map_err(|errno| Error::staging("stage", &target, errno))?;
        booking.adopt(held, claim.is_some());
        Ok(Self {
            home,
            target,
            id,
            prompt: Prompt::of(&file),
            file,
            opened,
            length: held.unwrap_or(0),
            is_resumed: held.is_some(),
            booking,
            fate,
            _claim: claim,
        })
    }

    /// Opens a staged file that is there for nobody but this upload, if there is none yet: without a name where that is
    /// possible, and a new one is to come of it. What replaces something is renamed over it, and needs one.
    pub(crate) fn open_new(
        home: Arc<HomeState>,
        target: FilePath,
        id: StagingId,
        claim: Claim,
        mut booking: Booking,
        is_new: bool,
    ) -> Result<Option<Self>> {
        let opened = OPENED.fetch_add(1, Ordering::Relaxed);
        // Nothing may wait to be resumed under its name: whatever does is counted before its claim is given up.
        let nameless = match home.ledger().staged() {
            (_, 0) if is_new => home.naming().open(home.staging()).ok(),
            _ => None,
        };
        let (file, fate) = match nameless {
            Some(file) => (file, Fate::Nameless),
            None => match disk::open_new(home.staging(), &id.part()) {
                Err(Errno::EXIST) => return Ok(None),
                file => {
                    let file = file.map_err(|errno| Error::staging("stage", &target, errno))?;
                    (file, Fate::Temporary)
                }
            },
        };
        booking.adopt(None, matches!(fate, Fate::Temporary));
        Ok(Some(Self {
            home,
            target,
            id,
            // It is small, and written on a thread that may wait.
            prompt: Prompt::Never,
            file,
            opened,
            length: 0,
            is_resumed: false,
            booking,
            fate,
            _claim: Some(claim),
        }))
    }

    pub(crate) fn home(&self) -> &Arc<HomeState> {
        &self.home
    }

    pub(crate) fn id(&self) -> &StagingId {
        &self.id
    }

    /// Whether there will be something to resume, and nothing is known against it.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(&self.fate, Fate::Keep { record, .. } if !record.suspect) && self.length > 0
    }

    pub(crate) fn target(&self) -> &FilePath {
        &self.target
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Its place in the order in which staged files were opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether bytes are in it that were written by another handle, of which `syncfs` by this one may know nothing.
    pub(crate) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Cuts or fills up to `length`, whatever the file really has.
    pub(crate) fn truncate(&mut self, length: u64) -> Result<()> {
        let result = disk::truncate(&self.file, length);
        self.take_stock();
        result.map_err(|errno| Error::staging("cut the staged file of", &self.target, errno))
    }

    /// Gives back what is reserved beyond a total of `bytes`.
    pub(crate) fn limit(&mut self, bytes: u64) {
        self.booking.limit(bytes);
    }

    /// Saves the record, from when on a crash loses nothing. Bytes that are not kept have none.
    pub(crate) fn save_record(&mut self) -> Result<()> {
        match &mut self.fate {
            Fate::Keep { record, saved } => {
                let saved_now = if *saved && self.home.is_durable() {
                    record.save_again(self.home.staging(), &self.id)
                } else {
                    record.save(self.home.staging(), &self.id)
                };
                saved_now.map_err(|errno| Error::staging("write the staging record of", &self.target, errno))?;
                *saved = true;
                Ok(())
            }
            Fate::Gone | Fate::Temporary | Fate::Nameless => staging::delete_record(self.home.staging(), &self.id),
        }
    }

    /// Remembers that the bytes are not those of the source, for whoever goes on from them.
    pub(crate) fn suspect(&mut self) {
        if let Fate::Keep { record, .. } = &mut self.fate {
            record.suspect = true;
        }
    }

    /// Saves in the record that nobody works on the bytes any more.
    fn rest(&mut self) -> Result<()> {
        let now = self.home.clock().now();
        if let Fate::Keep { record, .. } = &mut self.fate {
            record.rest(now);
        }
        self.save_record()
    }

    /// Writes inside or directly behind the bytes held, reserving what was not announced.
    pub(crate) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset + bytes.len() as u64;
        if self.booking.allow(end)? {
            self.home.make_room();
        }
        let mut written = disk::write_at(&self.file, bytes, offset);
        while let Err(error) = &written
            && self.home.makes_way(Errno::from_io_error(error))
        {
            written = disk::write_at(&self.file, bytes, offset);
        }
        if written.is_ok() {
            self.grow(end);
        } else {
            self.take_stock();
        }
        written.map_err(|error| self.write_error(bytes.len() as u64, &error))
    }

    /// Writes as many of the bytes as can be without waiting for a disk, or for the trash to make room. How many comes
    /// back.
    pub(crate) fn write_now(&mut self, offset: u64, bytes: &[u8]) -> usize {
        if !self.booking.covers(offset + bytes.len() as u64) {
            return 0;
        }
        let written = self.prompt.write(&self.file, bytes, offset);
        self.grow(offset + written as u64);
        written
    }

    /// Somebody else has written up to `length`.
    pub(crate) fn grow(&mut self, length: u64) {
        self.length = self.length.max(length);
        self.booking.staged(self.length);
    }

    /// Counts what really is on disk.
    pub(crate) fn take_stock(&mut self) {
        if let Ok(meta) = disk::stat_fd(&self.file) {
            self.length = meta.size;
            self.booking.staged(meta.size);
        }
    }

    pub(crate) fn write_error(&self, requested: u64, error: &std::io::Error) -> Error {
        match Errno::from_io_error(error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Error::NoSpace {
                free: disk::free_bytes(&self.file).unwrap_or(0),
                requested,
            },
            errno => Error::staging("write", &self.target, errno.unwrap_or(Errno::IO)),
        }
    }

    /// Gives the finished bytes their time and their digest; both are on disk before the name is.
    pub(crate) fn seal(&mut self, modified: Option<Timestamp>, digest: &Digest) -> Result<Meta> {
        let fail = |errno| Error::staging("set the time of", &self.target, errno);
        if let Some(modified) = modified {
            disk::set_modified(&self.file, modified).map_err(fail)?;
        }
        let meta = disk::stat_fd(&self.file).map_err(fail)?;
        kept::write(&self.file, &meta, digest);
        Ok(meta)
    }

    /// Moves the file to its name in one step. After an error everything is as it was. Call with the lock of names
    /// held, and see to the room in the trash afterwards.
    pub(crate) fn publish(&mut self, replace: bool, folder: &mut LastFolder) -> Result<Published> {
        let home = &self.home;
        let place = folder.place(home, &self.target)?;
        let part = self.id.part();
        let from = (home.staging(), part.as_ref());
        let old = if replace {
            home.occupant(&place, &self.target, replace)?
        } else {
            None
        };
        let kept = match &old {
            None => {
                self.booking.allow_entry()?;
                let renamed = match self.fate {
                    Fate::Nameless => home.naming().name(&self.file, place.at()),
                    _ => disk::rename_new(from, place.at()),
                };
                if renamed == Err(Errno::EXIST) {
                    // What stands there makes the error.
                    home.occupant(&place, &self.target, replace)?;
                }
                renamed.map(|()| None)
            }
            Some(old) => {
                if matches!(self.fate, Fate::Nameless) {
                    // It came after the look at it.
                    let named = home.naming().name(&self.file, from);
                    named.map_err(|errno| Error::staging("stage", &self.target, errno))?;
                    self.fate = Fate::Temporary;
                }
                let own = disk::stat_fd(&self.file).map_or(old.id, |meta| meta.id);
                home.replace((&place, old, &self.target), own, || disk::rename_over(from, place.at()))
            }
        }
        .map_err(|errno| Error::from_errno("publish", &self.target, errno))?;
        self.booking.settle(old.map(|meta| meta.counted_bytes()));
        self.end();
        Ok(Published {
            dir: place.dir,
            replaced: old.is_some(),
            kept,
        })
    }

    /// Deletes the staged file and gives its bytes back.
    pub(crate) fn delete(&mut self) -> Result<()> {
        if matches!(self.fate, Fate::Nameless) {
            self.booking.discard();
            self.fate = Fate::Gone;
            return Ok(());
        }
        let deletion = staging::delete(self.home.staging(), &self.id);
        if deletion.is_gone {
            self.booking.discard();
        } else {
            self.take_stock();
            self.booking.leave();
            self.home.leftovers().add(self.id.clone(), self.length);
        }
        self.fate = Fate::Gone;
        deletion.result.map(drop)
    }

    fn end(&mut self) {
        if let Fate::Keep { saved: true, .. } = self.fate
            && let Err(error) = staging::delete_record(self.home.staging(), &self.id)
        {
            // It is deleted when the home is next opened.
            tracing::warn!(%error, "staging record of a finished upload stays behind");
        }
        self.fate = Fate::Gone;
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        let result = match &self.fate {
            Fate::Gone => Ok(()),
            Fate::Temporary | Fate::Nameless => self.delete(),
            // Nothing is held, so there is nothing to resume.
            Fate::Keep { .. } if self.length == 0 => self.delete(),
            Fate::Keep { saved, .. } => {
                let saved = *saved;
                self.rest().or_else(|error| {
                    if saved {
                        // The older record still speaks for the bytes; they expire a little later.
                        tracing::warn!(%error, "staging record not brought up to date");
                        return Ok(());
                    }
                    tracing::warn!(%error, "staged bytes dropped for want of a record");
                    self.delete()
                })
            }
        };
        if let Err(error) = result {
            tracing::warn!(%error, path = %self.target, "staged file stays behind");
        }
    }
}

impl HomeState {
    /// Judges what stands where a file is to be put; `None` if nothing does.
    pub(crate) fn target(&self, place: &Place, path: &FilePath, replace: bool) -> Result<Option<Meta>> {
        let fail = |errno| Error::from_errno("look at", path, errno);
        // Publishing is one rename, and no rename crosses mounts: better known before the first byte.
        if !disk::share_a_mount(&*place.dir, self.staging()).map_err(fail)? {
            return Err(Error::Mount { path: path.clone() });
        }
        self.occupant(place, path, replace)
    }

    /// The same where the mount is known to be the right one.
    pub(crate) fn occupant(&self, place: &Place, path: &FilePath, replace: bool) -> Result<Option<Meta>> {
        let old = disk::find_at(&*place.dir, &place.name).map_err(|errno| Error::from_errno("look at", path, errno))?;
        let path = || path.clone();
        match &old {
            Some(meta) if meta.kind == Kind::Directory => Err(Error::IsDirectory { path: path() }),
            Some(meta) if meta.kind == Kind::Other => Err(Error::NotAFile { path: path() }),
            Some(_) if !replace => Err(Error::Exists { path: path() }),
            _ => Ok(old),
        }
    }
}

#[cfg(test)]
impl StagedFile {
    /// The staged file of a new upload of `size` bytes to a path that nobody else is at.
    pub(crate) fn of_new_upload(home: &Arc<HomeState>, target: &FilePath, size: u64) -> Result<Self> {
        let id = StagingId::of(target);
        let claim = home.slots().try_claim(&id);
        assert!(claim.is_some(), "somebody else is at {target}");
        let booking = Booking::file(home.ledger(), size, None, true)?;
        let fate = Fate::Keep {
            record: Record::new(target, Some(size), None, Timestamp::default()),
            saved: false,
        };
        Self::open(Arc::clone(home), target.clone(), id, claim, booking, None, fate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Quota, Store, StoreOptions};

    #[tokio::test]
    async fn whoever_waits_for_the_claim_finds_the_booking_settled() {
        let temp = tempfile::tempdir().unwrap();
        let home = Store::new(StoreOptions::default())
            .open_home(temp.path(), Quota::default())
            .await
            .unwrap();
        let target = FilePath::root().join("f".as_ref()).unwrap();
        let finish = [
            |staged: &mut StagedFile| staged.delete(),
            |staged: &mut StagedFile| {
                let home = Arc::clone(staged.home());
                let _names = home.lock_names();
                staged.publish(true, &mut LastFolder::default()).map(drop)
            },
        ];
        for finish in finish {
            let mut staged = StagedFile::of_new_upload(home.state(), &target, 9).unwrap();
            finish(&mut staged).unwrap();
            assert_eq!(home.usage().await.unwrap().reserved, 9);
            let claim = || home.state().slots().try_claim(&StagingId::of(&target));
            assert!(claim().is_none());
            drop(staged);
            assert!(claim().is_some());
            assert_eq!(home.usage().await.unwrap().reserved, 0);
        }
    }
}
