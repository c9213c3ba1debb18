//! Comparing the counts with the disk, at rest and under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ftp_store::{Counted, Disposal, Pace, Quota, Resume, TrashPolicy, UploadSpec, count_closed_home};

use crate::rig::{Rig, noise, path, put, spec};

#[tokio::test]
async fn what_was_added_changed_and_deleted_behind_the_stores_back_is_counted() {
    let rig = Rig::with_bytes(1_000).await;
    rig.put("/a", &[1; 100]).await;
    rig.put("/b", &[1; 200]).await;
    rig.home.make_dir(&path("/dir"), false).await.unwrap();
    assert!(!rig.home.recount(Pace::FULL).await.unwrap().has_drift());

    std::fs::remove_file(rig.disk().join("a")).unwrap();
    std::fs::write(rig.disk().join("b"), [1; 250]).unwrap();
    std::fs::create_dir_all(rig.disk().join("dir/new/deep")).unwrap();
    std::fs::write(rig.disk().join("dir/new/deep/c"), [1; 500]).unwrap();
    std::os::unix::fs::symlink("c", rig.disk().join("dir/link")).unwrap();
    let recount = rig.home.recount(Pace::FULL).await.unwrap();
    let counted = |bytes, entries| Counted {
        bytes,
        entries,
        ..Counted::default()
    };
    assert_eq!((recount.counted, recount.found), (counted(300, 3), counted(750, 6)));
    assert!(recount.has_drift() && recount.with_staged);
    rig.check_usage().await;
    assert!(put(&rig.home, &path("/too much"), &[1; 251]).await.is_err());
    rig.put("/fits", &[1; 250]).await;
    rig.check_usage().await;
    let closed = count_closed_home(&rig.disk()).await.unwrap();
    assert_eq!(closed, counted(1_000, 7));
}

#[tokio::test]
async fn staged_uploads_are_compared_when_none_runs() {
    let rig = Rig::new().await;
    let mut upload = rig.home.begin_upload(&path("/f"), spec(200_000)).await.unwrap();
    upload.write_at(0, Bytes::from(noise(100_000))).await.unwrap();
    let recount = rig.home.recount(Pace::FULL).await.unwrap();
    assert!(!recount.with_staged && !recount.has_drift());
    drop(upload);
    rig.check_usage().await;
    let recount = rig.home.recount(Pace::FULL).await.unwrap();
    assert!(recount.with_staged && !recount.has_drift());
    assert_eq!((recount.found.pending, recount.found.uploads), (100_000, 1));
    for entry in std::fs::read_dir(rig.disk().join(".ftpd/staging")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let recount = rig.home.recount(Pace::FULL).await.unwrap();
    assert_eq!((recount.counted.pending, recount.counted.uploads), (100_000, 1));
    assert_eq!((recount.found.pending, recount.found.uploads), (0, 0));
    rig.check_usage().await;
}

#[tokio::test]
async fn recount_finds_what_somebody_took_out_of_the_trash() {
    let rig = Rig::with_quota(Quota {
        trash: TrashPolicy {
            bytes: 3000,
            age: Duration::from_secs(3600),
        },
        ..Quota::default()
    })
    .await;
    for name in ["/a", "/b"] {
        rig.put(name, b"12345").await;
        rig.home.remove_file(&path(name), Disposal::Trash).await.unwrap();
    }
    std::fs::remove_file(rig.disk().join(".ftpd/trash/0")).unwrap();
    let recount = rig.home.recount(Pace::FULL).await.unwrap();
    assert_eq!((recount.counted.trash, recount.found.trash), (10, 5));
    assert_eq!((recount.counted.trash_entries, recount.found.trash_entries), (2, 1));
    let left = rig.home.trash(None).await.unwrap();
    assert_eq!(left.len(), 1);
    rig.check_usage().await;
}

#[tokio::test]
async fn count_that_would_go_below_nothing_raises_suspicion() {
    let rig = Rig::with_quota(Quota::default()).await;
    assert!(!rig.home.suspects_drift());
    std::fs::write(rig.disk().join("f"), "abc").unwrap();
    rig.home.remove_file(&path("/f"), Disposal::Trash).await.unwrap();
    assert!(rig.home.suspects_drift());
    rig.home.recount(Pace::FULL).await.unwrap();
    assert!(!rig.home.suspects_drift());
}

fn disposal(turn: usize) -> Disposal {
    if turn.is_multiple_of(3) {
        Disposal::Forever
    } else {
        Disposal::Trash
    }
}

/// Everything the store does to names, at once with recounts, and an administrator's change between
/// them: each recount finds exactly that change.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn recount_under_load_finds_drift_to_the_byte_and_never_makes_any() {
    // A trash that is always full: what comes into it pushes something out.
    let rig = Rig::with_quota(Quota {
        trash: TrashPolicy {
            bytes: 3000,
            age: Duration::from_secs(3600),
        },
        ..Quota::default()
    })
    .await;
    for dir in 0..8 {
        rig.home.make_dir(&path(&format!("/{dir}")), false).await.unwrap();
        for file in 0..40 {
            std::fs::write(rig.disk().join(format!("{dir}/still{file}")), [0; 7]).unwrap();
        }
    }
    rig.home.recount(Pace::FULL).await.unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..3)
        .map(|worker| {
            let (home, ended) = (rig.home.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut turn = 0_usize;
                while !ended.load(Ordering::Relaxed) {
                    turn += 1;
                    let (here, there) = (turn % 8, (turn / 2 + worker) % 8);
                    let file = path(&format!("/{here}/w{worker}"));
                    put(&home, &file, &vec![1; turn % 100]).await.unwrap();
                    let moved = path(&format!("/{there}/m{worker}"));
                    home.rename(&file, &moved, true).await.unwrap();
                    let dir = path(&format!("/{here}/d{worker}"));
                    home.make_dir(&dir, false).await.unwrap();
                    put(&home, &dir.join("in".as_ref()).unwrap(), &[1; 9]).await.unwrap();
                    let dir_moved = path(&format!("/{there}/e{worker}"));
                    home.rename(&dir, &dir_moved, false).await.unwrap();
                    let _ = home
                        .copy(&moved, &dir_moved.join("copy".as_ref()).unwrap(), false)
                        .await;
                    home.remove_dir(&dir_moved, true, disposal(turn)).await.unwrap();
                    home.remove_file(&moved, disposal(turn + 1)).await.unwrap();
                }
            })
        })
        .collect();
    for round in 1..=30_u64 {
        let recount = rig.home.recount(Pace::FULL).await.unwrap();
        assert!(!recount.has_drift(), "round {round}: {recount:?}");
        std::fs::write(rig.disk().join(format!("{}/by hand{round}", round % 8)), vec![0; 1000]).unwrap();
        let recount = rig.home.recount(Pace::FULL).await.unwrap();
        let off = |is: u64, was: u64| i128::from(is) - i128::from(was);
        assert_eq!(
            (
                off(recount.found.bytes, recount.counted.bytes),
                off(recount.found.entries, recount.counted.entries)
            ),
            (1000, 1),
            "round {round}"
        );
    }
    ended.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    let usage = rig.check_usage().await;
    assert_eq!(usage.used, 8 * 40 * 7 + 30 * 1000);
}

#[tokio::test]
async fn dropped_recount_corrects_nothing() {
    let rig = Rig::new().await;
    std::fs::write(rig.disk().join("f"), "abc").unwrap();
    {
        let recount = rig.home.recount(Pace::per_second(1));
        tokio::select! {
            biased;
            _ = recount => panic!("it waits for its pace"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(rig.home.usage().await.unwrap().used, 0);
    let mut upload = rig
        .home
        .begin_upload(
            &path("/g"),
            UploadSpec {
                resume: Resume::Never,
                ..spec(1)
            },
        )
        .await
        .unwrap();
    upload.write_at(0, Bytes::from_static(b"x")).await.unwrap();
}

#[tokio::test]
async fn directory_closed_to_the_server_counts_as_one_entry_and_keeps_nobody_out() {
    use std::os::unix::fs::PermissionsExt as _;
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: nothing is closed to root");
        return;
    }
    let close = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let rig = Rig::prepared(|home| {
        std::fs::create_dir(home.join("closed")).unwrap();
        std::fs::write(home.join("closed/f"), "abc").unwrap();
        close(&home.join("closed"), 0o000);
    })
    .await;
    let recount = rig.home.recount(Pace::FULL).await.unwrap();
    assert!(!recount.has_drift());
    assert_eq!((recount.found.entries, recount.found.bytes), (1, 0));
    close(&rig.disk().join("closed"), 0o700);
    assert_eq!(rig.home.recount(Pace::FULL).await.unwrap().found.entries, 2);
}
