//! Other file systems mounted into a home. Needs the right to mount, and says so where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ftp_store::{Disposal, Durability, Error, Home, Quota, Store, StoreOptions, TrashPolicy};

use crate::assert_err;
use crate::rig::{Rig, check_usage, eventually, list, noise, path, put, read, skipped, spec, write};

/// A directory mounted on another one until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn bind(from: &Path, to: &Path) -> Option<Self> {
        Self::run(Command::new("mount").arg("--bind").arg(from), to)
    }

    /// A disk of so many bytes.
    fn disk(bytes: u64, to: &Path) -> Option<Self> {
        let options = format!("size={bytes}");
        Self::run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]), to)
    }

    fn run(command: &mut Command, to: &Path) -> Option<Self> {
        match command.arg(to).output() {
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

#[tokio::test]
async fn a_file_that_only_seems_to_have_two_names_keeps_the_one_it_has() {
    let rig = Rig::new().await;
    rig.put("/file", b"all there is").await;
    rig.put("/seems", b"").await;
    let (file, seems) = (rig.disk().join("file"), rig.disk().join("seems"));
    let Some(mount) = Mount::bind(&file, &seems) else {
        return;
    };
    assert_err!(
        rig.home.rename(&path("/file"), &path("/seems"), true).await,
        Error::Exists { .. }
    );
    assert_eq!(read(&rig.home, &path("/file")).await.unwrap(), b"all there is");
    drop(mount);
    // Two names, one of which goes.
    std::fs::remove_file(&seems).unwrap();
    std::fs::hard_link(&file, &seems).unwrap();
    rig.home.rename(&path("/file"), &path("/seems"), true).await.unwrap();
    assert!(!file.exists());
    assert_eq!(read(&rig.home, &path("/seems")).await.unwrap(), b"all there is");
}

#[tokio::test]
async fn a_directory_with_a_mount_in_it_is_not_removed() {
    let mut mount = None;
    let rig = Rig::prepared(|home| {
        let outside = home.with_file_name("outside");
        std::fs::write(outside.join("there"), "there").unwrap();
        std::fs::create_dir_all(home.join("dir/mnt")).unwrap();
        mount = Mount::bind(&outside, &home.join("dir/mnt"));
    })
    .await;
    if mount.is_none() {
        return;
    }
    for disposal in [Disposal::Trash, Disposal::Forever] {
        let removed = rig.home.remove_dir(&path("/dir"), true, disposal).await;
        assert_err!(removed, Error::Mount { .. });
    }
    assert_eq!(list(&rig.home, "/dir/mnt").await.len(), 1);
    assert_eq!(std::fs::read(rig.outside().join("there")).unwrap(), b"there");
    drop(mount);
    rig.home.remove_dir(&path("/dir"), true, Disposal::Trash).await.unwrap();
}

const AGE: Duration = Duration::from_secs(1000);

/// Opens a home as the next server does, once the last one has let go.
async fn open(dir: &Path) -> (Store, Home) {
    let quota = Quota {
        bytes: Some(1_000_000),
        entries: None,
        trash: TrashPolicy {
            bytes: 100_000,
            age: AGE,
        },
    };
    eventually(async || {
        let store = Store::new(StoreOptions {
            durability: Durability::None,
            ..StoreOptions::default()
        });
        match store.open_home(dir, quota).await {
            Err(Error::InUse { .. }) => None,
            home => Some((store, home.unwrap())),
        }
    })
    .await
}

fn only_entry(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut items = entries.filter(|path| path.is_dir());
    items.next().unwrap()
}

#[tokio::test]
async fn what_cannot_be_deleted_from_the_trash_refuses_its_user_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, outside) = (temp.path().join("home"), temp.path().join("outside"));
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("there"), "there").unwrap();
    let (store, home) = open(&dir).await;
    home.make_dir(&path("/d/sub"), true).await.unwrap();
    put(&home, &path("/d/f"), &noise(50_000)).await.unwrap();
    home.remove_dir(&path("/d"), true, Disposal::Trash).await.unwrap();
    let Some(mut mount) = Mount::bind(&outside, &only_entry(&dir.join(".ftpd/trash")).join("sub")) else {
        return;
    };
    // It has to give way, and what can be deleted of it does.
    for name in ["/a", "/b", "/c"] {
        put(&home, &path(name), &noise(60_000)).await.unwrap();
        home.remove_file(&path(name), Disposal::Trash).await.unwrap();
    }
    mount.0 = only_entry(&dir.join(".ftpd/trash")).join("sub");
    let usage = home.usage().await.unwrap();
    assert_eq!(
        (usage.trash, usage.trash_entries),
        (60_000, 3),
        "one file, and the two directories"
    );
    assert_err!(home.purge(None).await, Error::Io { .. });
    assert_eq!(home.usage().await.unwrap().trash, 0, "the rest is purged");
    store.expire().await.unwrap();
    drop((store, home));

    let (store, home) = open(&dir).await;
    assert_eq!(home.usage().await.unwrap().trash_entries, 2);
    put(&home, &path("/a"), &noise(60_000)).await.unwrap();
    home.remove_file(&path("/a"), Disposal::Trash).await.unwrap();
    home.make_dir(&path("/dir"), false).await.unwrap();
    store.expire().await.unwrap();
    assert_eq!(std::fs::read(outside.join("there")).unwrap(), b"there");
    assert_eq!(home.trash(None).await.unwrap().len(), 1);
    drop(mount);
    store.expire().await.unwrap();
    assert_eq!(check_usage(&home, &dir).await.trash_entries, 1);
}

#[tokio::test]
async fn a_full_disk_keeps_nobody_out_and_what_is_old_leaves_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("home");
    std::fs::create_dir(&dir).unwrap();
    let Some(mount) = Mount::disk(512 * 1024, &dir) else {
        return;
    };
    let (store, home) = open(&dir).await;
    put(&home, &path("/f"), &noise(50_000)).await.unwrap();
    home.remove_file(&path("/f"), Disposal::Trash).await.unwrap();
    let mut upload = home.begin_upload(&path("/g"), spec(100_000)).await.unwrap();
    write(&mut upload, 0, &noise(70_000)).await.unwrap();
    drop(upload);
    check_usage(&home, &dir).await;
    drop((store, home));
    // A crash while somebody uploaded, a record that a power cut took, and somebody else who fills the disk.
    for entry in std::fs::read_dir(dir.join(".ftpd/staging")).unwrap() {
        let record = entry.unwrap().path();
        if record.extension().is_some_and(|end| end == "json") {
            let text = std::fs::read_to_string(&record).unwrap();
            let (start, _) = text.split_once(",\"idle_since\"").unwrap();
            std::fs::write(&record, format!("{start}}}")).unwrap();
        }
    }
    for entry in std::fs::read_dir(dir.join(".ftpd/trash")).unwrap() {
        let record = entry.unwrap().path();
        if record.extension().is_some_and(|end| end == "json") {
            std::fs::remove_file(&record).unwrap();
        }
    }
    let mut filler = std::fs::File::create(dir.join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[1; 4096]).is_ok() {}

    let (store, home) = open(&dir).await;
    let usage = home.usage().await.unwrap();
    assert_eq!((usage.uploads, usage.pending, usage.trash), (1, 70_000, 50_000));
    tokio::time::pause();
    tokio::time::advance(AGE).await;
    store.expire().await.unwrap();
    tokio::time::resume();
    assert_eq!(check_usage(&home, &dir).await.trash, 0);
    drop((store, home, filler));
    // The mount is left lazily, once nobody holds it.
    drop(mount);
}
