//! What is no plain file or directory, and homes that are no plain directory.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use ftp_digest::Algorithm;
use ftp_store::{Disposal, Error, Kind, Quota, Store, StoreOptions};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::assert_err;
use crate::rig::{Rig, list, path, put, read, skipped, spec};

/// Makes one of each kind, as far as this process may; their names come back.
fn specials(dir: &Path) -> Vec<String> {
    let mode = Mode::from_raw_mode(0o600);
    let mut names = vec!["fifo".to_owned(), "socket".to_owned()];
    mknodat(CWD, dir.join("fifo"), FileType::Fifo, mode, 0).unwrap();
    drop(UnixListener::bind(dir.join("socket")).unwrap());
    // /dev/zero, which never ends.
    match mknodat(
        CWD,
        dir.join("device"),
        FileType::CharacterDevice,
        mode,
        rustix::fs::makedev(1, 5),
    ) {
        Ok(()) => names.push("device".to_owned()),
        Err(error) => skipped(&format!("a device can not be made here ({error})")),
    }
    names
}

#[tokio::test]
async fn fifos_sockets_and_devices_are_shown_and_removed_and_nothing_else() {
    let mut names = Vec::new();
    let rig = Rig::prepared(|home| {
        std::fs::create_dir(home.join("dir")).unwrap();
        names = specials(&home.join("dir"));
    })
    .await;
    let home = &rig.home;
    rig.put("/own", b"own").await;
    for name in &names {
        let at = path(&format!("/dir/{name}"));
        assert_eq!(home.stat(&at, true).await.unwrap().kind, Kind::Other, "{name}");
        assert_err!(home.open_read(&at).await, Error::NotAFile { .. });
        assert_err!(home.digest(&at, Algorithm::Sha256, true).await, Error::NotAFile { .. });
        assert_err!(home.copy(&at, &path("/copy"), true).await, Error::NotAFile { .. });
        assert_err!(home.copy(&path("/own"), &at, true).await, Error::NotAFile { .. });
        assert_err!(home.begin_upload(&at, spec(1)).await, Error::NotAFile { .. });
        assert_err!(home.list(&at, true).await, Error::NotDirectory { .. });
        assert_err!(
            home.open_read(&path(&format!("/dir/{name}/x"))).await,
            Error::NotDirectory { .. }
        );
        home.rename(&at, &path("/moved"), false).await.unwrap();
        home.rename(&path("/moved"), &at, false).await.unwrap();
    }
    let listed = list(home, "/dir").await;
    assert_eq!(listed.len(), names.len());
    assert!(listed.iter().all(|(_, kind)| *kind == Kind::Other));
    rig.check_usage().await;
    home.remove_file(&path("/dir/fifo"), Disposal::Trash).await.unwrap();
    home.remove_dir(&path("/dir"), true, Disposal::Trash).await.unwrap();
    rig.check_usage().await;
}

#[tokio::test]
async fn a_second_name_of_a_file_outside_is_replaced_without_touching_it() {
    let rig = Rig::prepared(|home| {
        let outside = home.with_file_name("outside");
        for name in ["one", "two", "three", "four"] {
            std::fs::write(outside.join(name), "outside").unwrap();
            std::fs::hard_link(outside.join(name), home.join(name)).unwrap();
        }
    })
    .await;
    let home = &rig.home;
    rig.put("/one", b"mine").await;
    rig.put("/own", b"own").await;
    home.copy(&path("/own"), &path("/two"), true).await.unwrap();
    home.rename(&path("/own"), &path("/three"), true).await.unwrap();
    home.remove_file(&path("/four"), Disposal::Trash).await.unwrap();
    assert_eq!(read(home, &path("/one")).await.unwrap(), b"mine");
    for name in ["one", "two", "three", "four"] {
        let kept = rig.outside().join(name);
        assert_eq!(std::fs::read(&kept).unwrap(), b"outside", "{name}");
        assert_eq!(std::fs::metadata(&kept).unwrap().nlink(), 1, "{name}");
    }
    rig.check_usage().await;
}

#[tokio::test]
async fn links_that_are_magic_to_the_kernel_lead_nowhere() {
    let rig = Rig::prepared(|home| {
        let outside = home.with_file_name("outside");
        std::fs::write(outside.join("secret"), "secret").unwrap();
        let open = std::fs::File::open(outside.join("secret")).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        // Open as long as the process lives, so that the links lead to it.
        let _ = std::os::fd::IntoRawFd::into_raw_fd(open);
        symlink("/proc/self/root", home.join("root")).unwrap();
        symlink("/proc/self/cwd", home.join("cwd")).unwrap();
        symlink(format!("/proc/self/fd/{number}"), home.join("fd")).unwrap();
        symlink(format!("/dev/fd/{number}"), home.join("dev")).unwrap();
        symlink("/proc/thread-self/root/etc", home.join("etc")).unwrap();
        symlink("/proc/self/environ", home.join("environ")).unwrap();
    })
    .await;
    for at in [
        "/root/etc/passwd",
        "/cwd/Cargo.toml",
        "/fd",
        "/dev",
        "/etc/passwd",
        "/environ",
    ] {
        assert_err!(rig.home.open_read(&path(at)).await, Error::OutsideHome { .. });
    }
    for at in ["/root", "/cwd", "/etc"] {
        assert_err!(rig.home.list(&path(at), true).await, Error::OutsideHome { .. });
        let new = path(&format!("{at}/new"));
        assert_err!(rig.home.make_dir(&new, true).await, Error::OutsideHome { .. });
        assert_err!(put(&rig.home, &new, b"x").await, Error::OutsideHome { .. });
    }
}

#[tokio::test]
async fn a_home_in_proc_can_not_be_opened() {
    let store = Store::new(StoreOptions::default());
    for dir in [
        "/proc/self/fd",
        "/proc/self/task",
        "/proc/self/net",
        "/proc/no-such/home",
    ] {
        assert_err!(
            store.open_home(Path::new(dir), Quota::default()).await,
            Error::Io { .. }
        );
    }
}

#[tokio::test]
async fn a_home_whose_top_becomes_a_link_stays_the_directory_that_it_was() {
    let rig = Rig::prepared(|_| {}).await;
    let outside = rig.outside();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    rig.put("/own", b"own").await;
    let moved = rig.disk().with_file_name("moved");
    std::fs::rename(rig.disk(), &moved).unwrap();
    symlink(&outside, rig.disk()).unwrap();
    assert_err!(rig.home.open_read(&path("/secret")).await, Error::NotFound { .. });
    rig.put("/new", b"new").await;
    assert_eq!(list(&rig.home, "/").await.len(), 2);
    assert_eq!(std::fs::read(moved.join("new")).unwrap(), b"new");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}
