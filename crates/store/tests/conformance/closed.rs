//! Directories that their owner, or somebody else, has closed. Root without its power over files is an owner like
//! any other.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ftp_store::{Disposal, Durability, Quota, Store, StoreOptions, TrashPolicy};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::rig::{eventually, path, put};

/// Runs something in a runtime all of whose threads may do only what the modes of files permit.
fn without_power(work: impl AsyncFnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            let power = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::FOWNER;
            sets.effective.remove(power);
            set_capabilities(None, sets).unwrap();
            tokio::runtime::Runtime::new().unwrap().block_on(work());
        });
    });
}

fn close(dir: &Path, mode: u32) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("f"), "abc").unwrap();
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn directories_that_are_closed_leave_the_trash_or_stay_in_it_alone() {
    let temp = tempfile::tempdir().unwrap();
    let home_dir = temp.path().join("home");
    let options = StoreOptions {
        durability: Durability::None,
        ..StoreOptions::default()
    };
    let quota = Quota {
        trash: TrashPolicy {
            bytes: 1000,
            ..TrashPolicy::default()
        },
        ..Quota::default()
    };
    for (name, mode) in [("closed", 0o000), ("listed", 0o444), ("readonly", 0o555)] {
        close(&home_dir.join("d").join(name), mode);
    }
    without_power(async || {
        let home = Store::new(options).open_home(&home_dir, quota).await.unwrap();
        home.remove_dir(&path("/d"), true, Disposal::Trash).await.unwrap();
        home.purge(None).await.unwrap();
        assert_eq!(std::fs::read_dir(home_dir.join(".ftpd/trash")).unwrap().count(), 0);
        assert_eq!(home.usage().await.unwrap().trash_entries, 0);
    });
    if !rustix::process::geteuid().is_root() {
        crate::rig::skipped("only root can make directories of others");
        return;
    }
    let foreign = home_dir.join("e/foreign");
    close(&foreign, 0o700);
    close(&home_dir.join("e/own"), 0o500);
    std::os::unix::fs::chown(&foreign, Some(1), Some(1)).unwrap();
    for life in 0..2 {
        without_power(async || {
            let store = Store::new(options);
            let home = eventually(async || store.open_home(&home_dir, quota).await.ok()).await;
            if life == 0 {
                let removed = home.remove_dir(&path("/e"), true, Disposal::Forever).await;
                assert!(removed.is_err());
            }
            assert_eq!(
                home.usage().await.unwrap().trash_entries,
                2,
                "what is somebody else's, and its parent"
            );
            put(&home, &path("/f"), b"abc").await.unwrap();
            store.expire().await.unwrap();
        });
    }
}
