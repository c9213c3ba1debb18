//! Copies inside the home.

use std::os::unix::fs::MetadataExt as _;

use ftp_store::{Durability, Error, Quota};

use crate::assert_err;
use crate::rig::{Rig, eventually, noise, path, read, sha256};

#[tokio::test]
async fn copy_has_content_time_and_digest_of_its_source() {
    let rig = Rig::with(Quota::default(), Durability::Full).await;
    let bytes = noise(3_000_000);
    let source = rig.put("/a", &bytes).await;
    let copy = rig.home.copy(&path("/a"), &path("/b"), false).await.unwrap();
    assert_eq!(
        (copy.size, copy.modified, copy.digest, copy.replaced),
        (source.size, source.modified, sha256(&bytes), false)
    );
    assert_eq!(read(&rig.home, &path("/b")).await.unwrap(), bytes);
    let entry = rig.home.stat(&path("/b"), true).await.unwrap();
    assert_eq!(entry.digest, Some(sha256(&bytes)));
    assert_eq!(rig.check_usage().await.used, 6_000_000);
}

#[tokio::test]
async fn source_without_a_digest_gets_one() {
    let rig = Rig::new().await;
    rig.place("a", b"from elsewhere");
    std::fs::write(rig.disk().join("empty"), "").unwrap();
    let copy = rig.home.copy(&path("/a"), &path("/b"), false).await.unwrap();
    assert_eq!(copy.digest, sha256(b"from elsewhere"));
    assert_eq!(
        rig.home.stat(&path("/a"), true).await.unwrap().digest,
        Some(copy.digest)
    );
    let copy = rig.home.copy(&path("/empty"), &path("/empty2"), false).await.unwrap();
    assert_eq!(copy.digest, sha256(b""));
}

#[tokio::test]
async fn damage_in_the_source_is_not_copied_under_its_digest() {
    let rig = Rig::new().await;
    rig.put("/a", b"good").await;
    let disk = rig.disk().join("a");
    rig.rot("a", b"evil");
    let probe = std::fs::File::create(rig.disk().join("probe")).unwrap();
    let shares_blocks = rustix::fs::ioctl_ficlone(&probe, std::fs::File::open(&disk).unwrap()).is_ok();
    std::fs::remove_file(rig.disk().join("probe")).unwrap();

    let copied = rig.home.copy(&path("/a"), &path("/b"), false).await;
    if shares_blocks {
        assert_eq!(
            copied.unwrap().digest,
            sha256(b"good"),
            "the copy is the source, damage and all"
        );
        return;
    }
    assert_err!(
        copied,
        Error::Damaged { path, expected, found }
            if (&path, *expected, *found) == (&self::path("/a"), sha256(b"good"), sha256(b"evil"))
    );
    assert_err!(rig.home.stat(&path("/b"), false).await, Error::NotFound { .. });
    assert_eq!(rig.check_usage().await.entries, 1);
}

#[tokio::test]
async fn copy_is_refused_by_quota_before_it_begins() {
    let rig = Rig::with_bytes(100).await;
    rig.put("/a", &[1; 60]).await;
    assert_err!(
        rig.home.copy(&path("/a"), &path("/b"), false).await,
        Error::QuotaBytes {
            limit: 100,
            used: 60,
            pending: 0,
            requested: 60
        }
    );
    assert_eq!(rig.check_usage().await.entries, 1);
}

#[tokio::test]
async fn copy_replaces_only_when_asked_and_never_a_directory() {
    let rig = Rig::new().await;
    rig.put("/a", b"a").await;
    rig.put("/b", b"bb").await;
    rig.home.make_dir(&path("/dir"), false).await.unwrap();
    let home = &rig.home;
    assert_err!(home.copy(&path("/a"), &path("/b"), false).await, Error::Exists { .. });
    assert_err!(
        home.copy(&path("/a"), &path("/dir"), true).await,
        Error::IsDirectory { .. }
    );
    assert_err!(
        home.copy(&path("/dir"), &path("/c"), true).await,
        Error::IsDirectory { .. }
    );
    assert_err!(home.copy(&path("/no"), &path("/c"), true).await, Error::NotFound { .. });
    assert!(home.copy(&path("/a"), &path("/b"), true).await.unwrap().replaced);
    assert_eq!(rig.check_usage().await.used, 2);
    home.copy(&path("/a"), &path("/a"), true).await.unwrap();
    assert_eq!(read(home, &path("/a")).await.unwrap(), b"a");
    rig.check_usage().await;
}

#[tokio::test]
async fn dropped_copy_leaves_nothing() {
    let rig = Rig::new().await;
    let file = std::fs::File::create(rig.disk().join("large")).unwrap();
    file.set_len(200 << 20).unwrap();
    for _ in 0..3 {
        let (from, to) = (path("/large"), path("/copy"));
        let copy = rig.home.copy(&from, &to, false);
        tokio::select! {
            biased;
            _ = copy => panic!("the first step is not the last"),
            () = tokio::task::yield_now() => {}
        }
    }
    let staging = rig.disk().join(".ftpd/staging");
    eventually(async || {
        let usage = rig.home.usage().await.unwrap();
        let left = std::fs::read_dir(&staging).unwrap().count();
        (usage.reserved == 0 && usage.pending == 0 && left == 0).then_some(())
    })
    .await;
    assert!(std::fs::metadata(rig.disk().join("large")).unwrap().blocks() < 100);
}
