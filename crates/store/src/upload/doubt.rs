//! Staged uploads of which the disk did not take every byte, as a sync found when they were left.
//!
//! Linux tells a failed write once and takes its pages for clean from then on: whoever went on from such an upload
//! would find it whole in the page cache, and the sync before its name would succeed. So it is begun anew.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::home::HomeState;
use crate::staging::StagingId;

/// The doubtful uploads of a home that could not be deleted at once.
#[derive(Default)]
pub(crate) struct Doubtful(Mutex<HashSet<StagingId>>);

impl Doubtful {
    fn lock(&self) -> MutexGuard<'_, HashSet<StagingId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HomeState {
    /// Deletes what is staged, or notes that it must not be gone on from where somebody is at it already.
    pub(crate) fn doubt(&self, id: &StagingId, error: &std::io::Error) {
        tracing::error!(%error, "staged bytes did not reach the disk, and are dropped");
        self.doubtful().lock().insert(id.clone());
        if let Some(_claim) = self.slots().try_claim(id)
            && let Err(error) = self.drop_doubtful(id)
        {
            tracing::warn!(%error, "staged bytes that did not reach the disk stay behind");
        }
    }

    pub(crate) fn is_doubtful(&self, id: &StagingId) -> bool {
        self.doubtful().lock().contains(id)
    }

    /// Deletes what is staged if it is doubtful. The caller has claimed it.
    pub(crate) fn drop_doubtful(&self, id: &StagingId) -> Result<()> {
        if self.is_doubtful(id) {
            self.discard_staged(id)?;
            self.doubtful().lock().remove(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::path::FilePath;
    use crate::staged::StagedFile;
    use crate::staging::{StagingId, staged_bytes};
    use crate::{Quota, Store, StoreOptions};

    #[tokio::test]
    async fn bytes_that_did_not_reach_the_disk_are_not_gone_on_from() {
        let temp = tempfile::tempdir().unwrap();
        let home = Store::new(StoreOptions::default())
            .open_home(temp.path(), Quota::default())
            .await
            .unwrap();
        let home = home.state();
        let target = FilePath::root().join("f".as_ref()).unwrap();
        let id = StagingId::of(&target);
        let error = std::io::Error::other("bad block");
        for is_in_use in [false, true] {
            let mut staged = StagedFile::of_new_upload(home, &target, 9).unwrap();
            staged.write_at(0, b"bytes").unwrap();
            if is_in_use {
                home.doubt(&id, &error);
                assert!(home.is_doubtful(&id));
            }
            drop(staged);
            assert_eq!(staged_bytes(home.staging(), &id).unwrap(), Some(5));
            if is_in_use {
                let _claim = home.slots().try_claim(&id).unwrap();
                home.drop_doubtful(&id).unwrap();
            } else {
                home.doubt(&id, &error);
            }
            assert!(!home.is_doubtful(&id));
            assert_eq!(staged_bytes(home.staging(), &id).unwrap(), None);
            assert_eq!(home.ledger().usage(0).pending, 0);
        }
    }
}
