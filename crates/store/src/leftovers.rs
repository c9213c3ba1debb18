//! Staged files that nobody wants and that could not be deleted, because the disk failed or became read-only. They
//! count until they are gone; whoever stages something next tries again.

use std::ffi::OsStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk;
use crate::error::{Error, Result};
use crate::home::HomeState;
use crate::quota::Booking;
use crate::staging::{self, StagingId};

/// The leftovers of a home, the oldest first.
#[derive(Default)]
pub(crate) struct Leftovers(Mutex<Vec<Leftover>>);

struct Leftover {
    id: StagingId,
    /// With how many bytes it is counted.
    bytes: u64,
}

impl Leftovers {
    /// Notes a file that is counted as an upload of so many bytes.
    pub(crate) fn add(&self, id: StagingId, bytes: u64) {
        self.lock().push(Leftover { id, bytes });
    }

    fn take(&self, which: impl Fn(&Leftover) -> bool) -> Option<Leftover> {
        let mut all = self.lock();
        let index = all.iter().position(which)?;
        Some(all.remove(index))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Leftover>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HomeState {
    /// Makes sure that nothing is left over under a name that the caller has claimed. Whether there was.
    pub(crate) fn clear(&self, id: &StagingId) -> Result<bool> {
        match self.leftovers().take(|leftover| leftover.id == *id) {
            Some(leftover) => self.delete_leftover(leftover).map(|()| true),
            None => Ok(false),
        }
    }

    /// Discards staged bytes that have a second name: a publication by two steps was ended between them, and
    /// whoever writes to them writes to what is published. The caller has claimed them.
    pub(crate) fn unlink_published(&self, id: &StagingId) -> Result<()> {
        let found = disk::find_at(self.staging(), OsStr::new(&id.part()));
        let found = found.map_err(|errno| Error::io("look at", &id.part(), errno))?;
        if found.is_some_and(|part| part.links > 1) {
            self.discard_staged(id)?;
        }
        Ok(())
    }

    /// Tries to delete the oldest leftover. Returns whether there was one and it is gone.
    pub(crate) fn sweep(&self) -> bool {
        let Some(leftover) = self.leftovers().take(|_| true) else {
            return false;
        };
        let Some(_claim) = self.slots().try_claim(&leftover.id) else {
            // Somebody is about to clear it.
            self.leftovers().lock().push(leftover);
            return false;
        };
        self.delete_leftover(leftover).is_ok()
    }

    fn delete_leftover(&self, leftover: Leftover) -> Result<()> {
        // As where an upload is discarded.
        let _moving = Booking::nothing(self.ledger());
        let deletion = staging::delete(self.staging(), &leftover.id);
        if deletion.is_gone {
            self.ledger().remove_staged(leftover.bytes);
            return Ok(());
        }
        self.leftovers().lock().push(leftover);
        deletion.result.map(drop)
    }
}
