//! Files that have no name before they are whole: nothing of them is left behind by a crash, and to give them one
//! costs less than to rename them. For uploads that nobody resumes.
//!
//! Not every file system has such files (`O_TMPFILE`, Linux 3.11; NFS and many FUSE file systems do not), and not every
//! kernel lets everybody name them. Each home is tried once.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, CWD, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::disk::{self, At, FILE_MODE};
use crate::staging::TRIAL;

/// How a file without a name gets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// By its handle. Before Linux 6.10 that takes a privilege (`CAP_DAC_READ_SEARCH`).
    Handle,
    /// By the name that `/proc` has for the handle.
    Proc,
    /// Not at all.
    Impossible,
}

impl Naming {
    /// Finds out which way there is for files of `staging`.
    pub(crate) fn of(staging: &Dir) -> Self {
        // A trial that a crash has ended left its file, but for that nothing is there.
        let _ = disk::unlink(staging, TRIAL);
        for naming in [Self::Handle, Self::Proc] {
            let named = naming
                .open(staging)
                .and_then(|file| naming.name(&file, (staging, TRIAL.as_ref())));
            if named.is_ok() && disk::unlink(staging, TRIAL).is_ok() {
                return naming;
            }
        }
        Self::Impossible
    }

    /// Opens a new file for reading and writing that has no name.
    pub(crate) fn open(self, dir: &Dir) -> Result<File, Errno> {
        if self == Self::Impossible {
            return Err(Errno::OPNOTSUPP);
        }
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::openat(dir, c".", flags, FILE_MODE)).map(File::from)
    }

    /// Gives it a name, which must be free: `EEXIST` when it is taken, also when it is taken at this moment.
    pub(crate) fn name(self, file: &File, to: At<'_>) -> Result<(), Errno> {
        match self {
            Self::Handle => rustix::fs::linkat(file, c"", to.0, to.1, AtFlags::EMPTY_PATH),
            Self::Proc => {
                let open = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::linkat(CWD, open, to.0, to.1, AtFlags::SYMLINK_FOLLOW)
            }
            Self::Impossible => Err(Errno::OPNOTSUPP),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ftp_digest::{Algorithm, Hasher};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::path::FilePath;
    use crate::quota::Booking;
    use crate::staged::StagedFile;
    use crate::staging::StagingId;
    use crate::{Error, Home, Quota, Resume, SmallUpload, SmallWork, Store, StoreOptions, TrashPolicy, UploadSpec};

    const WAYS: [Naming; 3] = [Naming::Handle, Naming::Proc, Naming::Impossible];

    async fn home(dir: &std::path::Path, naming: Naming) -> Home {
        let trash = TrashPolicy {
            bytes: 1 << 20,
            age: std::time::Duration::from_secs(60),
        };
        let quota = Quota {
            trash,
            ..Quota::default()
        };
        let home = Store::new(StoreOptions::default()).open_home(dir, quota).await.unwrap();
        let found = Naming::of(home.state().staging());
        assert_eq!(
            home.state().staging().entries().unwrap().count(),
            0,
            "the trial leaves nothing"
        );
        // What this machine cannot do is done in the way it can.
        let naming = match (naming, found) {
            (Naming::Handle, found) => found,
            (Naming::Proc, Naming::Impossible) => Naming::Impossible,
            (naming, _) => naming,
        };
        home.state().set_naming(naming);
        home
    }

    fn at(name: &str) -> FilePath {
        FilePath::root().join(name.as_ref()).unwrap()
    }

    fn small(name: &str, replace: bool) -> SmallWork {
        let spec = UploadSpec {
            replace,
            resume: Resume::Never,
            keep: false,
            ..UploadSpec::default()
        };
        let digest = Hasher::digest(Algorithm::default(), b"new");
        SmallWork::File(SmallUpload::new(at(name), spec, Bytes::from_static(b"new"), 3, digest))
    }

    #[tokio::test]
    async fn small_files_get_their_names_in_every_way() {
        for naming in WAYS {
            let temp = tempfile::tempdir().unwrap();
            for name in ["taken", "old"] {
                std::fs::write(temp.path().join(name), "before").unwrap();
            }
            let home = home(temp.path(), naming).await;
            let work = vec![
                small("a", false),
                small("taken", false),
                small("old", true),
                small("b", true),
            ];
            let results = home.small_lane(CancellationToken::new()).store(work).await;
            assert!(
                results[0].is_ok() && results[2].is_ok() && results[3].is_ok(),
                "{naming:?}"
            );
            assert!(matches!(results[1], Err(Error::Exists { .. })), "{naming:?}");
            let content = |name: &str| std::fs::read_to_string(temp.path().join(name)).unwrap();
            assert_eq!(
                ["a", "taken", "old", "b"].map(content),
                ["new", "before", "new", "new"],
                "{naming:?}"
            );
            assert_eq!(home.state().staging().entries().unwrap().count(), 0);
            let usage = home.usage().await.unwrap();
            assert_eq!((usage.used, usage.entries, usage.trash), (15, 4, 6));
            assert_eq!((usage.pending, usage.reserved, usage.uploads), (0, 0, 0));
        }
    }

    #[tokio::test]
    async fn what_comes_in_the_way_of_a_file_without_a_name_is_replaced_as_ever() {
        for naming in WAYS {
            let temp = tempfile::tempdir().unwrap();
            let home = home(temp.path(), naming).await;
            let state = home.state();
            let target = at("f");
            let id = StagingId::of(&target);
            let claim = state.slots().try_claim(&id).unwrap();
            let booking = Booking::file(state.ledger(), 3, None, true).unwrap();
            let mut staged =
                StagedFile::open_new(std::sync::Arc::clone(state), target.clone(), id, claim, booking, true)
                    .unwrap()
                    .unwrap();
            staged.write_at(0, b"new").unwrap();
            std::fs::write(temp.path().join("f"), "faster").unwrap();
            let published = staged
                .publish(true, &mut crate::last_folder::LastFolder::default())
                .unwrap();
            assert!(published.replaced && published.kept.is_some(), "{naming:?}");
            drop(staged);
            assert_eq!(std::fs::read_to_string(temp.path().join("f")).unwrap(), "new");
            assert_eq!(state.staging().entries().unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn an_upload_that_waits_under_the_same_path_gives_way() {
        let temp = tempfile::tempdir().unwrap();
        let home = home(temp.path(), Naming::Handle).await;
        let mut waits = home.begin_upload(&at("f"), UploadSpec::default()).await.unwrap();
        waits.write_at(0, Bytes::from_static(b"half")).await.unwrap();
        drop(waits);
        let results = home
            .small_lane(CancellationToken::new())
            .store(vec![small("f", false)])
            .await;
        assert!(results[0].is_ok());
        let usage = home.usage().await.unwrap();
        assert_eq!((usage.pending, usage.uploads), (0, 0));
        assert_eq!(std::fs::read_to_string(temp.path().join("f")).unwrap(), "new");
        assert_eq!(home.state().staging().entries().unwrap().count(), 0);
    }
}
