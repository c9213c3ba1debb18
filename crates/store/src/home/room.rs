//! How the trash gives way: to what is new, to a full disk, and to time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::HomeState;
use crate::blocking::aside;
use crate::error::Result;
use crate::trash::Item;

impl HomeState {
    /// Deletes the oldest items until quota, budget and number allow the rest. Call after what is new has
    /// been booked and before it is written, and after something came into the trash. What cannot be deleted is passed
    /// over: it must not refuse its user everything else.
    pub(crate) fn make_room(&self) {
        if !self.is_trash_over() {
            return;
        }
        let _room = self.trash().lock_room();
        while self.is_trash_over() {
            let Some((id, item)) = self.trash().oldest() else { break };
            self.give_way(id, &item, "room");
        }
    }

    /// The same by a thread of its own, one for all who ask meanwhile: whoever publishes for several homes waits
    /// for nobody's trash.
    pub(crate) fn make_room_soon(self: &Arc<Self>) {
        if !self.is_trash_over() || self.is_tidied_soon.swap(true, Ordering::SeqCst) {
            return;
        }
        let home = Arc::clone(self);
        aside(move || {
            // Before the look: who comes later has another thread look.
            home.is_tidied_soon.store(false, Ordering::SeqCst);
            home.make_room();
        });
    }

    /// Lets the trash give way until the file system has `bytes` free, if it can. Returns what is free.
    pub(super) fn make_disk_room(&self, bytes: u64, free: impl Fn() -> Result<u64>) -> Result<u64> {
        let mut left = free()?;
        if left >= bytes || left.saturating_add(self.ledger().trash().bytes) < bytes {
            return Ok(left);
        }
        let _room = self.trash().lock_room();
        // Whoever held the lock may have made room for both.
        left = free()?;
        while left < bytes {
            let Some((id, item)) = self.trash().oldest() else { break };
            self.give_way(id, &item, "disk");
            left = free()?;
        }
        Ok(left)
    }

    /// Whether the trash has given way to a write that failed for want of room: how much a stream brings is
    /// not known before, nor what others write meanwhile.
    pub(crate) fn makes_way(&self, errno: Option<Errno>) -> bool {
        if !matches!(errno, Some(Errno::NOSPC | Errno::DQUOT)) {
            return false;
        }
        let _room = self.trash().lock_room();
        while let Some((id, item)) = self.trash().oldest() {
            self.give_way(id, &item, "disk");
            if self.trash().item(id).is_none() {
                return true;
            }
        }
        false
    }

    /// Deletes items that have been kept for long enough, and tries again to delete what stayed.
    pub(super) fn expire_trash(&self) {
        let age = self.ledger().trash_policy().age.as_secs();
        let now = self.clock().now();
        let room = self.trash().lock_room();
        for (id, item) in self.trash().try_again() {
            self.give_way(id, &item, "removed");
        }
        while let Some((id, item)) = self.trash().oldest()
            && item.at.saturating_add(age) <= now
        {
            self.give_way(id, &item, "age");
        }
        drop(room);
        self.make_room();
    }

    /// Deletes an item; one that stays is told of once, and passed over by the next look for the oldest.
    fn give_way(&self, id: u64, item: &Item, why: &'static str) {
        let record = self.trash().record(id).ok().flatten();
        let path = record.as_ref().map(|record| tracing::field::display(record.path()));
        match self.delete_item(id) {
            Ok(_) if path.is_some() => tracing::info!(path, bytes = item.tally.bytes, why, "left the trash"),
            Ok(_) => {}
            Err(error) if item.is_told => tracing::debug!(%error, item = id, "still in the trash"),
            Err(error) => tracing::warn!(
                %error, path, item = id,
                "stays in the trash and counts, for it cannot be deleted; it is tried again now and then"
            ),
        }
    }

    /// Whether something in the trash has to give way.
    pub(crate) fn is_trash_over(&self) -> bool {
        self.trash().is_overfull() || self.ledger().trash_is_over()
    }
}
