//! What a process leaves behind, the next one puts in order.

use std::time::Duration;

use ftp_store::{Durability, Error, Quota, Resume, Store, StoreOptions, UploadSpec};
use tokio::runtime::Runtime;

use crate::assert_err;
use crate::rig::{Rig, check_usage, eventually, noise, path, put, read, sha256, spec, write};

fn options() -> StoreOptions {
    StoreOptions {
        durability: Durability::None,
        ..StoreOptions::default()
    }
}

#[test]
fn staged_upload_survives_the_end_of_the_process_and_is_resumed() {
    let temp = tempfile::tempdir().unwrap();
    let bytes = noise(500_000);
    // A runtime of its own for each life: its end is the end of everything in it.
    Runtime::new().unwrap().block_on(async {
        let home = Store::new(options())
            .open_home(temp.path(), Quota::default())
            .await
            .unwrap();
        put(&home, &path("/f"), b"old").await.unwrap();
        let mut upload = home.begin_upload(&path("/f"), spec(bytes.len())).await.unwrap();
        write(&mut upload, 0, &bytes[..300_000]).await.unwrap();
        drop(upload);
        check_usage(&home, temp.path()).await;
    });
    std::fs::write(temp.path().join(".ftpd/staging/copy-0.part"), "left by a copy").unwrap();
    Runtime::new().unwrap().block_on(async {
        let home = Store::new(options())
            .open_home(temp.path(), Quota::default())
            .await
            .unwrap();
        let usage = check_usage(&home, temp.path()).await;
        assert_eq!((usage.used, usage.pending, usage.uploads), (3, 300_000, 1));
        assert_eq!(read(&home, &path("/f")).await.unwrap(), b"old");
        let mut upload = home.begin_upload(&path("/f"), spec(bytes.len())).await.unwrap();
        assert_eq!(upload.held(), 300_000);
        write(&mut upload, 300_000, &bytes[300_000..]).await.unwrap();
        upload.commit(500_000, sha256(&bytes)).await.unwrap();
        check_usage(&home, temp.path()).await;
    });
}

#[tokio::test]
async fn a_copy_is_not_written_into_what_an_earlier_one_left() {
    let rig = Rig::new().await;
    rig.put("/from", b"short").await;
    let left = rig.disk().join(".ftpd/staging/copy-0.part");
    std::fs::write(&left, "longer, and not to be deleted at the start").unwrap();
    let stored = rig.home.copy(&path("/from"), &path("/to"), false).await.unwrap();
    assert_eq!(stored.size, 5);
    assert_eq!(read(&rig.home, &path("/to")).await.unwrap(), b"short");
    assert!(left.exists());
}

#[test]
fn staged_bytes_that_are_published_already_are_not_written_through() {
    let temp = tempfile::tempdir().unwrap();
    let (home_dir, bytes) = (temp.path(), noise(200_000));
    let part = |home_dir: &std::path::Path| {
        let staging = std::fs::read_dir(home_dir.join(".ftpd/staging")).unwrap();
        let mut parts = staging.map(|entry| entry.unwrap().path());
        parts.find(|path| path.extension().is_some_and(|end| end == "part"))
    };
    // Without a rename that replaces nothing, publishing is a link and then an unlink; this is between the two.
    let publish_half = || {
        let _ = std::fs::remove_file(home_dir.join("f"));
        std::fs::hard_link(part(home_dir).unwrap(), home_dir.join("f")).unwrap();
    };
    let again = UploadSpec {
        resume: Resume::Always,
        ..spec(200_000)
    };
    for is_restarted in [true, false] {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let mut home = Store::new(options())
                .open_home(home_dir, Quota::default())
                .await
                .unwrap();
            let mut upload = home.begin_upload(&path("/f"), spec(200_000)).await.unwrap();
            write(&mut upload, 0, &bytes[..100_000]).await.unwrap();
            drop(upload);
            check_usage(&home, home_dir).await;
            publish_half();
            if is_restarted {
                drop(home);
                home =
                    eventually(async || Store::new(options()).open_home(home_dir, Quota::default()).await.ok()).await;
                assert_eq!(part(home_dir), None);
            }
            let mut upload = home.begin_upload(&path("/f"), again).await.unwrap();
            assert_eq!(upload.held(), 0);
            write(&mut upload, 0, &noise(50_000)[1..]).await.unwrap();
            upload.abort().await.unwrap();
            assert_eq!(std::fs::read(home_dir.join("f")).unwrap(), bytes[..100_000]);
        });
    }
}

#[test]
fn expired_staging_is_gone_when_the_home_is_opened() {
    let temp = tempfile::tempdir().unwrap();
    Runtime::new().unwrap().block_on(async {
        let home = Store::new(options())
            .open_home(temp.path(), Quota::default())
            .await
            .unwrap();
        let mut upload = home.begin_upload(&path("/f"), spec(100_000)).await.unwrap();
        write(&mut upload, 0, b"abc").await.unwrap();
    });
    Runtime::new().unwrap().block_on(async {
        let store = Store::new(StoreOptions {
            staging_expiry: Duration::ZERO,
            ..options()
        });
        let home = store.open_home(temp.path(), Quota::default()).await.unwrap();
        let usage = check_usage(&home, temp.path()).await;
        assert_eq!((usage.pending, usage.uploads), (0, 0));
    });
}

#[tokio::test]
async fn staging_of_another_version_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::new(options());
    let home = store.open_home(temp.path(), Quota::default()).await.unwrap();
    let mut upload = home.begin_upload(&path("/f"), spec(100_000)).await.unwrap();
    write(&mut upload, 0, b"abc").await.unwrap();
    drop(upload);
    check_usage(&home, temp.path()).await;
    let record = std::fs::read_dir(temp.path().join(".ftpd/staging"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|kind| kind == "json"))
        .unwrap();
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("\"version\":1", "\"version\":2")).unwrap();
    assert_err!(
        home.begin_upload(&path("/f"), spec(100_000)).await,
        Error::StagingVersion { found: 2, known: 1, .. }
    );
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1 << 30)).await;
    assert_eq!(store.expire().await.unwrap(), 0);
    assert!(record.exists());
}

#[tokio::test]
async fn staging_of_another_version_can_be_discarded() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::new(options());
    let home = store.open_home(temp.path(), Quota::default()).await.unwrap();
    // What is left of the old record may lack the bytes it speaks of.
    for has_bytes in [true, false] {
        let mut upload = home.begin_upload(&path("/f"), spec(100_000)).await.unwrap();
        write(&mut upload, 0, b"abc").await.unwrap();
        drop(upload);
        check_usage(&home, temp.path()).await;
        let staging = temp.path().join(".ftpd/staging");
        for file in std::fs::read_dir(&staging).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|kind| kind == "json") {
                std::fs::write(file, "{\"version\":2}").unwrap();
            } else if !has_bytes {
                std::fs::rename(&file, temp.path().join("taken away")).unwrap();
            }
        }
        home.discard_upload(&path("/f")).await.unwrap();
        assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0);
        if has_bytes {
            assert_eq!(check_usage(&home, temp.path()).await.uploads, 0);
        }
        home.begin_upload(&path("/f"), spec(100_000)).await.unwrap();
    }
}

#[tokio::test]
async fn one_directory_is_one_home_and_belongs_to_one_process() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("made/on/the/way");
    let store = Store::new(options());
    let small = Quota {
        bytes: Some(5),
        ..Quota::default()
    };
    let (one, other) = tokio::join!(store.open_home(&dir, Quota::default()), store.open_home(&dir, small));
    let (one, other) = (one.unwrap(), other.unwrap());
    let spelled_otherwise = dir.join("../way");
    let third = store.open_home(&spelled_otherwise, small).await.unwrap();
    assert_eq!(third.usage().await.unwrap().bytes_limit, Some(5));
    put(&one, &path("/f"), b"123").await.unwrap();
    assert_eq!(other.usage().await.unwrap().used, 3);
    assert_err!(
        Store::new(options()).open_home(&dir, Quota::default()).await,
        Error::InUse { .. }
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&dir).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn home_that_cannot_be_made_says_why() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("file"), "").unwrap();
    let Err(error) = Store::new(options())
        .open_home(&temp.path().join("file/home"), Quota::default())
        .await
    else {
        panic!("no error");
    };
    assert!(
        error.to_string().starts_with("cannot open or create the home"),
        "{error}"
    );
    assert!(std::error::Error::source(&error).is_some());
}
