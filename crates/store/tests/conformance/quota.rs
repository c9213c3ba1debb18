//! Quota: refused before the first byte, never passed by concurrent sessions, exact at rest.

use bytes::Bytes;
use ftp_store::{Disposal, Error, Pace, Quota, Resume, UploadSpec};

use crate::assert_err;
use crate::rig::{Rig, eventually, path, put, sha256, spec, write};

fn entries(limit: u64) -> Quota {
    Quota {
        entries: Some(limit),
        ..Quota::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_uploads_of_sixty_percent_exactly_one_is_refused() {
    for _ in 0..20 {
        let rig = Rig::with_bytes(1000).await;
        let begin = |at: &'static str| {
            let home = rig.home.clone();
            tokio::spawn(async move { home.begin_upload(&path(at), spec(600)).await })
        };
        let (one, other) = (begin("/one"), begin("/other"));
        let results = [one.await.unwrap(), other.await.unwrap()];
        let refused = results
            .iter()
            .filter(|result| {
                matches!(
                    result,
                    Err(Error::QuotaBytes {
                        limit: 1000,
                        used: 0,
                        pending: 600,
                        requested: 600,
                    })
                )
            })
            .count();
        assert_eq!(
            (refused, results.iter().filter(|result| result.is_ok()).count()),
            (1, 1)
        );
    }
}

#[tokio::test]
async fn limit_holds_exactly() {
    let rig = Rig::with_bytes(10).await;
    rig.put("/a", b"1234567890").await;
    assert_err!(put(&rig.home, &path("/b"), b"1").await, Error::QuotaBytes { .. });
    rig.put("/empty", b"").await;
    assert_eq!(rig.check_usage().await.free, 0);
}

#[tokio::test]
async fn replaced_file_counts_until_the_commit() {
    let rig = Rig::with_bytes(10).await;
    rig.put("/a", b"123456").await;
    assert_err!(put(&rig.home, &path("/a"), b"12345").await, Error::QuotaBytes { .. });
    rig.put("/a", b"1234").await;
    assert_eq!(rig.check_usage().await.used, 4);
    rig.put("/a", b"123456").await;
}

#[tokio::test]
async fn unknown_size_is_cut_off_at_the_limit() {
    let rig = Rig::with_bytes(1_000_000).await;
    let unknown = UploadSpec { size: None, ..spec(0) };
    let mut upload = rig.home.begin_upload(&path("/f"), unknown).await.unwrap();
    write(&mut upload, 0, &[0; 999_999]).await.unwrap();
    upload.write_at(999_999, Bytes::from_static(b"12")).await.unwrap();
    // What is taken before the failure is known is not written.
    let more = upload.write_at(1_000_001, Bytes::from_static(b"3")).await;
    assert_err!(
        more.and(upload.written().await),
        Error::QuotaBytes { requested: 1 | 2, .. }
    );
    drop(upload);
    assert_eq!(rig.check_usage().await.pending, 999_999);
}

#[tokio::test]
async fn lowered_quota_refuses_more_and_keeps_what_is_there() {
    let rig = Rig::with_bytes(100).await;
    rig.put("/a", &[0; 50]).await;
    rig.home.set_quota(Quota {
        bytes: Some(20),
        ..Quota::default()
    });
    assert_err!(
        put(&rig.home, &path("/b"), b"1").await,
        Error::QuotaBytes { limit: 20, .. }
    );
    rig.home.rename(&path("/a"), &path("/c"), false).await.unwrap();
    rig.home.make_dir(&path("/dir"), false).await.unwrap();
    assert_eq!(rig.check_usage().await.free, 0);
}

#[tokio::test]
async fn files_directories_and_links_count_as_entries() {
    let rig = Rig::with_quota(entries(3)).await;
    rig.home.make_dir(&path("/a/b"), true).await.unwrap();
    rig.put("/a/f", b"1").await;
    for result in [
        rig.home.make_dir(&path("/c"), false).await,
        put(&rig.home, &path("/c"), b"1").await.map(drop),
        rig.home.copy(&path("/a/f"), &path("/c"), false).await.map(drop),
    ] {
        assert_err!(result, Error::QuotaEntries { limit: 3, used: 3 });
    }
    rig.put("/a/f", b"replaced").await;
    rig.home.rename(&path("/a/f"), &path("/f"), false).await.unwrap();
    rig.home.remove_dir(&path("/a"), true, Disposal::Trash).await.unwrap();
    rig.home.make_dir(&path("/c"), false).await.unwrap();
    assert_eq!(rig.check_usage().await.entries, 2);
}

#[tokio::test]
async fn running_uploads_hold_their_entries() {
    let rig = Rig::with_quota(entries(1)).await;
    let upload = rig.home.begin_upload(&path("/a"), spec(1)).await.unwrap();
    assert_err!(rig.home.make_dir(&path("/b"), false).await, Error::QuotaEntries { .. });
    upload.abort().await.unwrap();
    rig.home.make_dir(&path("/b"), false).await.unwrap();
    rig.check_usage().await;
}

#[tokio::test]
async fn target_removed_during_a_replacing_upload_needs_room_for_an_entry() {
    let rig = Rig::with_quota(entries(1)).await;
    rig.put("/a", b"1").await;
    let mut upload = rig.home.begin_upload(&path("/a"), spec(1)).await.unwrap();
    write(&mut upload, 0, b"2").await.unwrap();
    rig.home.remove_file(&path("/a"), Disposal::Trash).await.unwrap();
    rig.home.make_dir(&path("/b"), false).await.unwrap();
    assert_err!(upload.commit(1, sha256(b"2")).await, Error::QuotaEntries { .. });
    assert_eq!(rig.check_usage().await.pending, 1);
}

#[tokio::test]
async fn refused_upload_does_not_touch_what_is_staged() {
    let rig = Rig::with_bytes(100).await;
    let mut upload = rig.home.begin_upload(&path("/f"), spec(80)).await.unwrap();
    write(&mut upload, 0, &[1; 60]).await.unwrap();
    drop(upload);
    rig.check_usage().await;
    let too_large = UploadSpec {
        resume: Resume::Never,
        ..spec(101)
    };
    assert_err!(
        rig.home.begin_upload(&path("/f"), too_large).await,
        Error::QuotaBytes { .. }
    );
    assert_eq!(rig.check_usage().await.pending, 60);
    assert_eq!(rig.home.begin_upload(&path("/f"), spec(80)).await.unwrap().held(), 60);
}

#[tokio::test]
async fn uploads_that_wait_to_be_resumed_take_entries_and_keep_theirs() {
    let rig = Rig::with_quota(Quota {
        entries: Some(3),
        ..Quota::default()
    })
    .await;
    for name in ["/a", "/b", "/c"] {
        let mut upload = rig.home.begin_upload(&path(name), spec(10)).await.unwrap();
        write(&mut upload, 0, b"x").await.unwrap();
    }
    eventually(async || (rig.home.usage().await.unwrap().reserved == 0).then_some(())).await;
    for _ in 0..2 {
        assert_err!(
            rig.home.begin_upload(&path("/d"), spec(10)).await,
            Error::QuotaEntries { limit: 3, used: 3 }
        );
        assert_err!(
            rig.home.make_dir(&path("/e"), false).await,
            Error::QuotaEntries { limit: 3, used: 3 }
        );
        rig.home.recount(Pace::FULL).await.unwrap();
    }
    assert_eq!(rig.check_usage().await.uploads, 3);
    // Each has its own, and another only when one is given back.
    rig.put("/a", b"whole").await;
    let resumed = rig.home.begin_upload(&path("/b"), spec(10)).await.unwrap();
    assert_err!(
        rig.home.begin_upload(&path("/d"), spec(10)).await,
        Error::QuotaEntries { limit: 3, used: 3 }
    );
    drop(resumed);
    rig.home.discard_upload(&path("/c")).await.unwrap();
    rig.put("/d", b"x").await;
    assert_err!(
        rig.home.make_dir(&path("/e"), false).await,
        Error::QuotaEntries { limit: 3, used: 3 }
    );
    // One that is to replace a file has its entry by that, and does not get another when that is moved away.
    rig.home.discard_upload(&path("/b")).await.unwrap();
    rig.put("/b", b"x").await;
    let mut upload = rig.home.begin_upload(&path("/b"), spec(10)).await.unwrap();
    write(&mut upload, 0, b"x").await.unwrap();
    drop(upload);
    rig.home.rename(&path("/b"), &path("/moved"), false).await.unwrap();
    rig.check_usage().await;
    assert_err!(
        rig.home.begin_upload(&path("/b"), spec(10)).await,
        Error::QuotaEntries { limit: 3, .. }
    );
}
