//! Small files that are stored, and read, many at a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ftp_digest::Algorithm;
use ftp_store::{Disposal, Durability, Error, Quota, Resume, SmallUpload, SmallWork, TrashPolicy, UploadSpec};
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, path, put, sha256, spec, write};

fn small(at: &str, bytes: &[u8]) -> SmallWork {
    promised(at, bytes, bytes)
}

/// A file that is said to have other bytes.
fn promised(at: &str, bytes: &[u8], promised: &[u8]) -> SmallWork {
    let length = bytes.len() as u64;
    let spec = UploadSpec {
        size: Some(length),
        resume: Resume::Never,
        keep: false,
        ..UploadSpec::default()
    };
    let bytes = Bytes::copy_from_slice(bytes);
    SmallWork::File(SmallUpload::new(path(at), spec, bytes, length, sha256(promised)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_small_files_is_stored_and_each_failure_stays_alone() {
    for durability in [Durability::Full, Durability::None] {
        let rig = Rig::with(Quota::default(), durability).await;
        put(&rig.home, &path("/taken"), b"before").await.unwrap();
        // What an earlier upload has left gives way.
        let parents = UploadSpec {
            make_parents: true,
            ..spec(9)
        };
        let mut staged = rig.home.begin_upload(&path("/d/staged"), parents).await.unwrap();
        write(&mut staged, 0, b"lef").await.unwrap();
        drop(staged);
        let long = vec![7; 100_000];
        let damaged = promised("/damaged", b"wrong", b"right");
        let damaged_and_long = promised("/damaged long", &[8; 100_000], &long);
        let work = vec![
            small("/a", b"a"),
            small("/taken", b"now"),
            SmallWork::Directory(path("/d/e")),
            small("/d/e/b", b"bb"),
            small("/d/empty", b""),
            damaged,
            damaged_and_long,
            small("/long", &long),
            small("/none/c", b"c"),
            small("/d/staged", b"anew"),
        ];
        let results = rig.home.small_lane(CancellationToken::new()).store(work).await;
        let told: Vec<_> = results
            .iter()
            .map(|result| match result {
                Ok(stored) => stored
                    .as_ref()
                    .map_or("made".to_owned(), |stored| stored.size.to_string()),
                Err(Error::Exists { .. }) => "exists".to_owned(),
                Err(Error::DigestMismatch { .. }) => "damaged".to_owned(),
                Err(Error::NotFound { .. }) => "not found".to_owned(),
                Err(error) => panic!("{error}"),
            })
            .collect();
        assert_eq!(
            told,
            [
                "1",
                "exists",
                "made",
                "2",
                "0",
                "damaged",
                "damaged",
                "100000",
                "not found",
                "4"
            ]
        );
        assert_eq!(
            rig.home.digest(&path("/taken"), Algorithm::Sha256, true).await.unwrap(),
            sha256(b"before")
        );
        let usage = rig.check_usage().await;
        assert_eq!(
            (usage.entries, usage.pending, usage.reserved, usage.uploads),
            (8, 0, 0, 0)
        );
        let wanted = ["/a", "/d/e/b", "/none/c", "/d/empty", "/d/staged"].map(|at| (path(at), Algorithm::Sha256));
        let files = rig
            .home
            .read_small(wanted.to_vec(), 2, 1 << 20, BytesMut::with_capacity)
            .await
            .unwrap();
        let read: Vec<_> = files
            .iter()
            .map(|file| file.as_ref().map(|file| file.bytes.to_vec()))
            .collect();
        // The last one is larger than was asked for.
        assert_eq!(
            read,
            [Some(b"a".to_vec()), Some(b"bb".to_vec()), None, Some(Vec::new()), None]
        );
    }
}

#[tokio::test]
async fn files_that_are_there_already_cost_the_trash_nothing() {
    let bytes = vec![1; 1000];
    let quota = Quota {
        bytes: Some(10_000),
        entries: Some(20),
        trash: TrashPolicy {
            bytes: 10_000,
            age: Duration::from_secs(3600),
        },
    };
    let rig = Rig::with(quota, Durability::None).await;
    let lane = rig.home.small_lane(CancellationToken::new());
    let tree = || (0..6).map(|n| small(&format!("/{n}"), &bytes)).collect::<Vec<_>>();
    assert!(lane.store(tree()).await.iter().all(Result::is_ok));
    put(&rig.home, &path("/old"), &vec![2; 4000]).await.unwrap();
    rig.home.remove_file(&path("/old"), Disposal::Trash).await.unwrap();
    // The first group learns of them when it names them, the second one looks.
    for _ in 0..2 {
        for result in lane.store(tree()).await {
            assert!(matches!(result, Err(Error::Exists { .. })), "{result:?}");
        }
    }
    let usage = rig.check_usage().await;
    assert_eq!((usage.used, usage.trash), (6000, 4000));
    assert_eq!((usage.pending, usage.reserved, usage.uploads), (0, 0, 0));
    // What has a place has the trash give way.
    assert!(lane.store(vec![small("/new", &bytes)]).await[0].is_ok());
    assert_eq!(rig.check_usage().await.trash, 0);
}

#[tokio::test]
async fn groups_are_done_in_their_order_awaited_or_not_and_none_when_the_lane_is_over() {
    let rig = Rig::new().await;
    let over = CancellationToken::new();
    let lane = rig.home.small_lane(over.clone());
    for round in 0..50 {
        let dir = format!("/d{round}");
        drop(lane.store(vec![SmallWork::Directory(path(&dir))]));
        let file = lane.store(vec![small(&format!("{dir}/f"), b"x")]);
        drop(lane.store(vec![SmallWork::Directory(path(&format!("{dir}/e")))]));
        let last = lane.store(vec![small(&format!("{dir}/e/f"), b"y"), small("/none/f", b"z")]);
        let results = last.await;
        assert!(
            matches!(&results[..], [Ok(Some(_)), Err(Error::NotFound { .. })]),
            "{results:?}"
        );
        assert!(matches!(&file.await[..], [Ok(Some(_))]));
    }
    over.cancel();
    assert!(lane.store(vec![small("/late", b"x")]).await.is_empty());
    assert!(rig.home.stat(&path("/late"), false).await.is_err());
    rig.check_usage().await;
}

#[test]
fn a_group_that_comes_when_the_runtime_is_gone_is_answered() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (gone, other) = (runtime(), runtime());
    let rig = other.block_on(Rig::new());
    let handle = gone.handle().clone();
    drop(gone);
    let lane = rig.home.small_lane(CancellationToken::new());
    for _ in 0..2 {
        let storing = {
            let _within = handle.enter();
            lane.store(vec![small("/f", b"x")])
        };
        let results = other.block_on(storing);
        assert!(matches!(&results[..], [Err(Error::Io { .. })]), "{results:?}");
    }
    other.block_on(rig.check_usage());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_never_passes_the_quota() {
    let rig = Rig::with_bytes(10).await;
    let work: Vec<_> = (0..8).map(|number| small(&format!("/{number}"), b"abc")).collect();
    let results = rig.home.small_lane(CancellationToken::new()).store(work).await;
    let stored = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(stored, 3);
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Ok(_) | Err(Error::QuotaBytes { .. })))
    );
    assert_eq!(rig.check_usage().await.used, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_follows_a_directory_that_is_moved_meanwhile_nowhere_else() {
    let rig = Rig::with(Quota::default(), Durability::Full).await;
    for round in 0..50 {
        let dir = format!("/d{round}");
        rig.home.make_dir(&path(&dir), false).await.unwrap();
        let work = (0..32).map(|number| small(&format!("{dir}/{number}"), b"x")).collect();
        let storing = tokio::spawn(rig.home.small_lane(CancellationToken::new()).store(work));
        tokio::task::yield_now().await;
        let removed = rig.home.remove_dir(&path(&dir), true, Disposal::Forever).await;
        let results = storing.await.unwrap();
        removed.unwrap();
        for result in results {
            assert!(
                matches!(result, Ok(Some(_)) | Err(Error::NotFound { .. })),
                "{result:?}"
            );
        }
        // Counts and disk agree, wherever the removal came between.
        rig.check_usage().await;
    }
}
