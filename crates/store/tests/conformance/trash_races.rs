//! Whoever takes something out of the trash, deletes it or makes it give way at the same time as others: each byte
//! is counted where it lies, and nobody waits for ever.

use std::sync::Arc;
use std::time::Duration;

use ftp_store::{Disposal, Error, FilePath, Home, Pace, Quota, Result, TrashPolicy, Wanted};
use tokio::sync::Barrier;

use crate::rig::{Rig, noise, path, put, read};

const ROUNDS: usize = 60;
/// A round takes milliseconds. Locks taken in two orders take for ever.
const PATIENCE: Duration = Duration::from_secs(60);

async fn rig() -> Rig {
    let trash = TrashPolicy {
        bytes: 500_000,
        age: Duration::from_secs(1000),
    };
    Rig::with_quota(Quota {
        bytes: Some(1_000_000),
        entries: None,
        trash,
    })
    .await
}

/// Runs them at once, each on a thread of its own as far as there are any.
macro_rules! at_once {
    ($($act:expr),+ $(,)?) => {{
        let acts = async { tokio::join!($(tokio::spawn($act)),+) };
        tokio::time::timeout(PATIENCE, acts).await.expect("somebody waits for ever")
    }};
}

/// A directory of files in the trash, under the number that comes back.
async fn removed_dir(rig: &Rig, at: &str) -> u64 {
    rig.home.make_dir(&path(&format!("{at}/sub")), true).await.unwrap();
    for (name, size) in [("a", 100), ("b", 2000), ("sub/c", 30_000), ("sub/d", 7)] {
        rig.put(&format!("{at}/{name}"), &noise(size)).await;
    }
    rig.home.remove_dir(&path(at), true, Disposal::Trash).await.unwrap();
    rig.home.trash(None).await.unwrap()[0].id
}

/// It is restored, or refused because others were faster.
fn is_in_order<T>(result: Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(Error::NotInTrash { .. } | Error::Exists { .. } | Error::QuotaBytes { .. }) => false,
        Err(error) => panic!("{error} ({error:?})"),
    }
}

fn restore(home: &Home, from: Wanted, to: &str) -> impl Future<Output = bool> + Send + 'static {
    let (home, to) = (home.clone(), path(to));
    async move { is_in_order(home.restore(&from, Some(&to), false).await) }
}

fn part(at: &str, id: u64) -> Wanted {
    Wanted::Path(path(at), Some(id))
}

fn purge(home: &Home, ids: Option<Vec<u64>>) -> impl Future<Output = u64> + Send + 'static {
    let home = home.clone();
    async move { home.purge(ids).await.unwrap().bytes }
}

async fn clear(home: &Home) {
    let mut listing = home.list(&FilePath::root(), false).await.unwrap();
    while let Some(page) = listing.next_page().await.unwrap() {
        for entry in page {
            let at = FilePath::root().join(&entry.name).unwrap();
            if entry.kind == ftp_store::Kind::Directory {
                home.remove_dir(&at, true, Disposal::Forever).await.unwrap();
            } else {
                home.remove_file(&at, Disposal::Forever).await.unwrap();
            }
        }
    }
    home.purge(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_whole_and_its_parts_are_restored_and_purged_at_once_and_each_byte_counts_once() {
    let rig = rig().await;
    let total = 100 + 2000 + 30_000 + 7;
    for round in 0..ROUNDS {
        let id = removed_dir(&rig, "/d").await;
        let (whole, sub, file, gone) = at_once!(
            restore(&rig.home, Wanted::Item(id), "/whole"),
            restore(&rig.home, part("/d/sub", id), "/part"),
            restore(&rig.home, part("/d/b", id), "/file"),
            // Now and then nobody purges, so that the others meet.
            purge(&rig.home, (round % 2 == 0).then(|| vec![id]).or(Some(Vec::new()))),
        );
        let usage = rig.check_usage().await;
        let told = (whole.unwrap(), sub.unwrap(), file.unwrap());
        let gone = gone.unwrap();
        assert_eq!(
            usage.used + usage.trash + gone,
            total,
            "round {round}: {told:?}, {gone}"
        );
        clear(&rig.home).await;
        let usage = rig.check_usage().await;
        assert_eq!((usage.used, usage.entries, usage.trash), (0, 0, 0), "round {round}");
        assert_eq!(usage.trash_entries, 0, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_are_restored_or_purged_or_give_way_and_never_two_of_it() {
    let rig = rig().await;
    for round in 0..ROUNDS {
        let mut ids = Vec::new();
        for name in ["/a", "/b", "/c"] {
            rig.put(name, &noise(100_000)).await;
            rig.home.remove_file(&path(name), Disposal::Trash).await.unwrap();
            ids.push(rig.home.trash(None).await.unwrap()[0].id);
        }
        let home = rig.home.clone();
        // It takes what the others leave, so the oldest give way.
        let large = async move { put(&home, &path("/large"), &noise(900_000)).await.map(drop) };
        let (first, second, gone, large) = at_once!(
            restore(&rig.home, Wanted::Item(ids[0]), "/a"),
            restore(&rig.home, Wanted::Path(path("/b"), None), "/b"),
            purge(&rig.home, (round % 3 == 0).then(|| ids.clone()).or(Some(vec![ids[2]]))),
            large,
        );
        gone.unwrap();
        let usage = rig.check_usage().await;
        for (name, restored) in [("/a", first.unwrap()), ("/b", second.unwrap())] {
            let found = read(&rig.home, &path(name)).await;
            assert_eq!(found.is_ok_and(|found| found == noise(100_000)), restored, "{name}");
        }
        if let Err(error) = large.unwrap() {
            assert!(matches!(error, Error::QuotaBytes { .. }), "{error}");
        }
        assert!(
            usage.used <= 1_000_000 && usage.used + usage.trash <= 1_000_000,
            "{usage:?}"
        );
        clear(&rig.home).await;
        assert_eq!(rig.check_usage().await.trash, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn removing_restoring_replacing_purging_expiring_and_recounting_at_once_lead_to_exact_counts() {
    let rig = rig().await;
    for name in ["/x", "/y"] {
        rig.put(name, &noise(50_000)).await;
    }
    let churn = |at: &'static str| {
        let home = rig.home.clone();
        async move {
            for _ in 0..ROUNDS {
                let _ = home.remove_file(&path(at), Disposal::Trash).await;
                let _ = put(&home, &path(at), &noise(50_000)).await;
                is_in_order(home.restore(&Wanted::Path(path(at), None), None, true).await);
            }
        }
    };
    let trees = {
        let home = rig.home.clone();
        async move {
            for _ in 0..ROUNDS {
                let _ = home.make_dir(&path("/t/u"), true).await;
                let _ = put(&home, &path("/t/u/f"), &noise(9000)).await;
                let _ = home.remove_dir(&path("/t"), true, Disposal::Trash).await;
                is_in_order(home.restore(&Wanted::Path(path("/t/u"), None), None, false).await);
            }
        }
    };
    let purges = {
        let (home, store) = (rig.home.clone(), rig.store.clone());
        async move {
            for _ in 0..ROUNDS {
                home.purge(None).await.unwrap();
                store.expire().await.unwrap();
                let recount = home.recount(Pace::FULL).await.unwrap();
                assert!(!recount.has_drift(), "{recount:?}");
            }
        }
    };
    let ended: [std::result::Result<(), tokio::task::JoinError>; 4] =
        at_once!(churn("/x"), churn("/y"), trees, purges).into();
    ended.into_iter().for_each(std::result::Result::unwrap);
    rig.check_usage().await;
    let recount = rig.home.recount(Pace::FULL).await.unwrap();
    assert!(!recount.has_drift(), "{recount:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_looks_at_what_is_just_being_deleted_finds_it_or_does_not() {
    const DIRS: usize = 6;
    let rig = rig().await;
    for _ in 0..ROUNDS {
        for number in 0..DIRS {
            rig.home.make_dir(&path(&format!("/t/u/{number}")), true).await.unwrap();
        }
        rig.home.remove_dir(&path("/t"), true, Disposal::Trash).await.unwrap();
        // Everybody is looking when it goes.
        let begun = Arc::new(Barrier::new(4));
        let look = || {
            let (home, begun) = (rig.home.clone(), Arc::clone(&begun));
            async move {
                begun.wait().await;
                // Until it is gone, and once more.
                while !home.versions(&path("/t/u"), None).await.unwrap().is_empty() {
                    home.trash(None).await.unwrap();
                }
                is_in_order(home.restore(&Wanted::Path(path("/t/u"), None), None, false).await)
            }
        };
        let gone = {
            let (home, begun) = (rig.home.clone(), Arc::clone(&begun));
            async move {
                begun.wait().await;
                home.versions(&path("/t/u"), None).await.unwrap();
                home.purge(None).await.unwrap().bytes
            }
        };
        let (one, other, third, gone) = at_once!(look(), look(), look(), gone);
        assert_eq!([one, other, third].map(std::result::Result::unwrap), [false; 3]);
        assert_eq!(gone.unwrap(), 0);
    }
    assert_eq!(rig.check_usage().await.trash_entries, 0);
}
