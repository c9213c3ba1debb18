//! Other file systems mounted into a home. Needs the right to mount, and says so where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use ftp_store::{Disposal, Error};

use crate::assert_err;
use crate::rig::{Rig, list, path, put, read, skipped, spec};

/// A directory mounted on another one until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn bind(from: &Path, to: &Path) -> Option<Self> {
        let done = Command::new("mount").arg("--bind").args([from, to]).output();
        match done {
            Ok(done) if done.status.success() => Some(Self(to.to_owned())),
            Ok(done) => {
                skipped(&String::from_utf8_lossy(&done.stderr));
                None
            }
            Err(error) => {
                skipped(&format!("mount can not be run ({error})"));
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(
            done.is_ok_and(|done| done.success()),
            "{} stays mounted",
            self.0.display()
        );
    }
}

#[tokio::test]
async fn nothing_is_moved_across_a_mount_and_the_error_says_so() {
    let mut mount = None;
    let rig = Rig::prepared(|home| {
        let outside = home.with_file_name("outside");
        std::fs::write(outside.join("there"), "there").unwrap();
        std::fs::create_dir(home.join("mnt")).unwrap();
        mount = Mount::bind(&outside, &home.join("mnt"));
    })
    .await;
    if mount.is_none() {
        return;
    }
    let home = &rig.home;
    rig.put("/own", b"own").await;
    home.make_dir(&path("/dir"), false).await.unwrap();
    // An administrator mounted it: it can be read, listed and removed from.
    assert_eq!(read(home, &path("/mnt/there")).await.unwrap(), b"there");
    assert_eq!(list(home, "/mnt").await.len(), 1);
    // Refused before a byte, not after the last one.
    assert_err!(home.begin_upload(&path("/mnt/new"), spec(3)).await, Error::Mount { .. });
    assert_err!(put(home, &path("/mnt/there"), b"x").await, Error::Mount { .. });
    assert_err!(
        home.copy(&path("/own"), &path("/mnt/new"), true).await,
        Error::Mount { .. }
    );
    assert_err!(
        home.rename(&path("/own"), &path("/mnt/new"), true).await,
        Error::Mount { .. }
    );
    assert_err!(
        home.rename(&path("/dir"), &path("/mnt/new"), true).await,
        Error::Mount { .. }
    );
    assert_err!(
        home.rename(&path("/mnt/there"), &path("/here"), true).await,
        Error::Mount { .. }
    );
    assert_err!(
        home.rename(&path("/mnt"), &path("/elsewhere"), true).await,
        Error::Mount { .. }
    );
    assert_err!(
        home.remove_dir(&path("/mnt"), false, Disposal::Trash).await,
        Error::NotEmpty { .. } | Error::Mount { .. }
    );
    home.copy(&path("/mnt/there"), &path("/copy"), true).await.unwrap();
    assert_eq!(read(home, &path("/copy")).await.unwrap(), b"there");
    assert_eq!(std::fs::read(rig.outside().join("there")).unwrap(), b"there");
    rig.check_usage().await;
    drop(mount);
}
