//! The running digests of uploads that nobody works on: whoever resumes one goes on from there, and nothing is read
//! again that was hashed when it was written.
//!
//! They are in memory only, and not for long. After a crash of the machine the staged bytes may be others than those that
//! were written, and after one of the server nobody knows who had the file in between. And only of bytes that are on the
//! disk: the kernel may forget a failed write with the last handle, and whoever publishes the file would not hear of it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ftp_digest::{Algorithm, Hasher};

use crate::disk::{FileId, Meta};
use crate::staging::StagingId;
use crate::time::Timestamp;

/// How many a home keeps, of up to 2 KiB each; the oldest makes way.
const MAX_KEPT: usize = 32;

/// How long: a break of the network, not a night in which a disk may go bad.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The digests of one home.
#[derive(Default)]
pub(crate) struct Hashed(Mutex<VecDeque<Kept>>);

struct Kept {
    id: StagingId,
    state: State,
    hasher: Hasher,
    since: Instant,
}

/// What changes when anybody writes to the file.
#[derive(PartialEq, Eq)]
struct State {
    file: FileId,
    size: u64,
    modified: Timestamp,
    changed: Timestamp,
}

impl State {
    fn of(meta: &Meta) -> Self {
        Self {
            file: meta.id,
            size: meta.size,
            modified: meta.modified,
            changed: meta.changed,
        }
    }
}

impl Hashed {
    /// Keeps the digest of all bytes of a staged file in the state `meta`.
    pub(crate) fn keep(&self, id: &StagingId, meta: &Meta, hasher: Hasher) {
        self.forget(id);
        let mut kept = self.lock();
        if kept.len() >= MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept {
            id: id.clone(),
            state: State::of(meta),
            hasher,
            since: Instant::now(),
        });
    }

    /// Lets go what is kept for a staged file.
    pub(crate) fn forget(&self, id: &StagingId) {
        self.lock().retain(|kept| kept.id != *id);
    }

    /// Lets go what is too old.
    pub(crate) fn expire(&self) {
        self.lock().retain(|kept| kept.since.elapsed() < MAX_AGE);
    }

    /// Takes out the digest of a staged file, if it is by this algorithm and the file is still in that state.
    pub(crate) fn take(&self, id: &StagingId, meta: &Meta, algorithm: Algorithm) -> Option<Hasher> {
        self.expire();
        let mut kept = self.lock();
        let at = kept.iter().position(|kept| kept.id == *id)?;
        let Kept { state, hasher, .. } = kept.remove(at)?;
        (state == State::of(meta) && hasher.algorithm() == algorithm).then_some(hasher)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::disk;
    use crate::path::FilePath;

    fn id(name: &str) -> StagingId {
        StagingId::of(&FilePath::root().join(name.as_ref()).unwrap())
    }

    fn hasher() -> Hasher {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"bytes");
        hasher
    }

    #[test]
    fn a_digest_is_given_once_and_only_for_the_file_as_it_was() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"bytes", 0).unwrap();
        let before = disk::stat_fd(&file).unwrap();
        let hashed = Hashed::default();
        let take = |meta: &Meta| hashed.take(&id("f"), meta, Algorithm::Sha256).map(Hasher::finish);
        let keep = || hashed.keep(&id("f"), &before, hasher());
        keep();
        assert_eq!(take(&before), Some(Hasher::digest(Algorithm::Sha256, b"bytes")));
        assert_eq!(take(&before), None);

        keep();
        assert!(hashed.take(&id("f"), &before, Algorithm::Blake3).is_none());
        keep();
        hashed.forget(&id("f"));
        assert_eq!(take(&before), None);
        keep();
        // As soon as the clock of the file system has moved on, in steps of some milliseconds.
        let mut after = before;
        while after.changed == before.changed {
            file.write_all_at(b"other", 0).unwrap();
            after = disk::stat_fd(&file).unwrap();
        }
        assert_eq!(take(&after), None);
    }

    #[tokio::test]
    async fn a_resumed_upload_goes_on_from_it_and_not_if_somebody_wrote_to_the_file() {
        use crate::{Quota, Store, StoreOptions, UploadSpec};

        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(StoreOptions::default());
        let home = store.open_home(temp.path(), Quota::default()).await.unwrap();
        let (target, size) = (FilePath::root().join("f".as_ref()).unwrap(), 2 * 1024 * 1024);
        let spec = UploadSpec {
            size: Some(size),
            modified: Some(Timestamp::default()),
            ..UploadSpec::default()
        };
        for is_touched in [false, true] {
            let mut upload = home.begin_upload(&target, spec).await.unwrap();
            if upload.held() == 0 {
                let bytes = vec![7; 1024 * 1024 + 1];
                upload.write_at(0, bytes.into()).await.unwrap();
            }
            drop(upload);
            let kept = async {
                while home.state().hashed().lock().is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), kept).await.unwrap();
            if is_touched {
                let part = temp.path().join(".ftpd/staging").join(StagingId::of(&target).part());
                let file = std::fs::File::options().write(true).open(part).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
            let mut upload = home.begin_upload(&target, spec).await.unwrap();
            let writer = upload.here().unwrap();
            assert_eq!(writer.is_hashed(Algorithm::Sha256), !is_touched);
        }
    }

    #[test]
    fn only_the_newest_are_kept() {
        let file = tempfile::tempfile().unwrap();
        let meta = disk::stat_fd(&file).unwrap();
        let hashed = Hashed::default();
        for index in 0..=MAX_KEPT {
            hashed.keep(&id(&index.to_string()), &meta, hasher());
        }
        assert!(hashed.take(&id("0"), &meta, Algorithm::Sha256).is_none());
        assert!(hashed.take(&id("1"), &meta, Algorithm::Sha256).is_some());
        assert_eq!(hashed.lock().len(), MAX_KEPT - 1);
    }
}
