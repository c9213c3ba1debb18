//! Uploads: proven, published whole or not at all, one at a time for each path.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;
use ftp_digest::{Algorithm, Hasher};
use ftp_store::{Disposal, Durability, Error, Kind, Quota, Resume, Timestamp, UploadSpec};

use crate::assert_err;
use crate::rig::{Rig, eventually, list, noise, path, put, read, sha256, spec, staged, write};

#[tokio::test]
async fn upload_is_stored_with_time_digest_and_content() {
    let rig = Rig::with(Quota::default(), Durability::Full).await;
    let bytes = noise(3_000_001);
    let modified = Timestamp {
        seconds: -5,
        nanos: 500_000_000,
    };
    let at = path("/a/b/file");
    let spec = UploadSpec {
        modified: Some(modified),
        make_parents: true,
        ..spec(bytes.len())
    };
    let mut upload = rig.home.begin_upload(&at, spec).await.unwrap();
    assert_eq!(upload.held(), 0);
    write(&mut upload, 0, &bytes).await.unwrap();
    let stored = upload.commit(bytes.len() as u64, sha256(&bytes)).await.unwrap();
    assert_eq!(
        (stored.size, stored.modified, stored.digest, stored.replaced),
        (bytes.len() as u64, modified, sha256(&bytes), false)
    );
    let entry = rig.home.stat(&at, true).await.unwrap();
    assert_eq!(
        (entry.kind, entry.size, entry.modified),
        (Kind::File, stored.size, modified)
    );
    assert_eq!(read(&rig.home, &at).await.unwrap(), bytes);
    rig.check_usage().await;
}

#[tokio::test]
async fn every_algorithm_proves_an_upload_whatever_was_announced() {
    let rig = Rig::new().await;
    for announced in [Algorithm::Sha256, Algorithm::Blake3] {
        for algorithm in Algorithm::ALL {
            let spec = UploadSpec {
                algorithm: announced,
                ..spec(3)
            };
            let mut upload = rig.home.begin_upload(&path("/f"), spec).await.unwrap();
            upload.write_at(0, Bytes::from_static(b"abc")).await.unwrap();
            upload.commit(3, Hasher::digest(algorithm, b"abc")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn old_file_stays_whole_until_the_commit() {
    let rig = Rig::new().await;
    rig.put("/f", b"old").await;
    let mut upload = rig.home.begin_upload(&path("/f"), spec(3)).await.unwrap();
    write(&mut upload, 0, b"new").await.unwrap();
    assert_eq!(read(&rig.home, &path("/f")).await.unwrap(), b"old");
    assert_eq!(list(&rig.home, "/").await.len(), 1, "nothing half-done is visible");
    assert!(upload.commit(3, sha256(b"new")).await.unwrap().replaced);
    assert_eq!(read(&rig.home, &path("/f")).await.unwrap(), b"new");
    assert_eq!(rig.check_usage().await.used, 3);
}

#[tokio::test]
async fn empty_file_and_unknown_size_are_uploads_like_others() {
    let rig = Rig::new().await;
    rig.put("/empty", b"").await;
    assert_eq!(rig.home.stat(&path("/empty"), false).await.unwrap().size, 0);
    let bytes = noise(10_000_000);
    let spec = UploadSpec { size: None, ..spec(0) };
    let mut upload = rig.home.begin_upload(&path("/stream"), spec).await.unwrap();
    write(&mut upload, 0, &bytes).await.unwrap();
    upload.commit(bytes.len() as u64, sha256(&bytes)).await.unwrap();
    assert_eq!(rig.check_usage().await.used, bytes.len() as u64);
}

#[tokio::test]
async fn wrong_digest_or_length_publishes_nothing_and_keeps_the_staging() {
    let rig = Rig::new().await;
    let at = path("/f");
    let mut upload = rig.home.begin_upload(&at, spec(3)).await.unwrap();
    write(&mut upload, 0, b"abd").await.unwrap();
    assert_err!(upload.commit(3, sha256(b"abc")).await, Error::DigestMismatch { .. });
    assert_err!(rig.home.stat(&at, false).await, Error::NotFound { .. });

    let mut upload = rig.home.begin_upload(&at, spec(3)).await.unwrap();
    assert_eq!(upload.held(), 3, "the staged bytes are resumed");
    upload.write_at(2, Bytes::from_static(b"c")).await.unwrap();
    assert_err!(
        upload.commit(2, sha256(b"ab")).await,
        Error::LengthMismatch {
            expected: 2,
            found: 3,
            ..
        }
    );
    let upload = rig.home.begin_upload(&at, spec(3)).await.unwrap();
    upload.commit(3, sha256(b"abc")).await.unwrap();
    rig.check_usage().await;
}

#[tokio::test]
async fn upload_shorter_than_announced_is_not_stored() {
    let rig = Rig::new().await;
    let mut upload = rig.home.begin_upload(&path("/f"), spec(10)).await.unwrap();
    write(&mut upload, 0, b"abc").await.unwrap();
    assert_err!(
        upload.commit(3, sha256(b"abc")).await,
        Error::LengthMismatch {
            expected: 10,
            found: 3,
            ..
        }
    );
}

#[tokio::test]
async fn chunks_beyond_the_size_or_behind_a_gap_are_refused() {
    let rig = Rig::new().await;
    let mut upload = rig.home.begin_upload(&path("/f"), spec(4)).await.unwrap();
    upload.write_at(0, Bytes::from_static(b"abc")).await.unwrap();
    assert_err!(
        upload.write_at(3, Bytes::from_static(b"de")).await,
        Error::TooLong {
            announced: 4,
            end: 5,
            ..
        }
    );
    assert_err!(
        upload.write_at(4, Bytes::new()).await,
        Error::Gap { held: 3, offset: 4, .. }
    );
    upload.write_at(3, Bytes::from_static(b"d")).await.unwrap();
    upload.commit(4, sha256(b"abcd")).await.unwrap();
}

#[tokio::test]
async fn bad_targets_are_refused_before_any_byte() {
    let rig = Rig::new().await;
    rig.put("/file", b"x").await;
    rig.home.make_dir(&path("/dir"), false).await.unwrap();
    let fifo = CString::new(rig.disk().join("fifo").as_os_str().as_bytes()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let keep = UploadSpec {
        replace: false,
        ..spec(1)
    };
    let home = &rig.home;
    assert_err!(home.begin_upload(&path("/file"), keep).await, Error::Exists { .. });
    assert_err!(
        home.begin_upload(&path("/dir"), spec(1)).await,
        Error::IsDirectory { .. }
    );
    assert_err!(home.begin_upload(&path("/fifo"), spec(1)).await, Error::NotAFile { .. });
    assert_err!(home.begin_upload(&path("/no/f"), spec(1)).await, Error::NotFound { .. });
    assert_err!(
        home.begin_upload(&path("/file/f"), spec(1)).await,
        Error::NotDirectory { .. }
    );
    assert_err!(home.open_read(&path("/fifo")).await, Error::NotAFile { .. });
    assert_err!(home.open_read(&path("/dir")).await, Error::IsDirectory { .. });
    let usage = home.usage().await.unwrap();
    assert_eq!((usage.reserved, usage.uploads), (0, 0));
}

#[tokio::test]
async fn larger_than_the_disk_is_refused_with_both_figures() {
    let rig = Rig::new().await;
    let spec = UploadSpec {
        size: Some(1 << 60),
        ..spec(0)
    };
    assert_err!(
        rig.home.begin_upload(&path("/f"), spec).await,
        Error::NoSpace { requested, free } if requested == 1 << 60 && free < requested
    );
}

#[tokio::test]
async fn name_taken_during_the_upload_is_not_overwritten() {
    let rig = Rig::new().await;
    let keep = UploadSpec {
        replace: false,
        ..spec(3)
    };
    let mut upload = rig.home.begin_upload(&path("/f"), keep).await.unwrap();
    write(&mut upload, 0, b"new").await.unwrap();
    rig.put("/g", b"other").await;
    rig.home.rename(&path("/g"), &path("/f"), false).await.unwrap();
    assert_err!(upload.commit(3, sha256(b"new")).await, Error::Exists { .. });
    assert_eq!(read(&rig.home, &path("/f")).await.unwrap(), b"other");
    assert_eq!(rig.check_usage().await.pending, 3, "the staging is kept");
}

#[tokio::test]
async fn parent_renamed_during_the_upload_keeps_the_staging() {
    let rig = Rig::new().await;
    rig.home.make_dir(&path("/dir"), false).await.unwrap();
    let mut upload = rig.home.begin_upload(&path("/dir/f"), spec(3)).await.unwrap();
    write(&mut upload, 0, b"abc").await.unwrap();
    rig.home.rename(&path("/dir"), &path("/moved"), false).await.unwrap();
    assert_err!(upload.commit(3, sha256(b"abc")).await, Error::NotFound { .. });
    rig.home.rename(&path("/moved"), &path("/dir"), false).await.unwrap();
    let upload = rig.home.begin_upload(&path("/dir/f"), spec(3)).await.unwrap();
    assert_eq!(upload.held(), 3);
    upload.commit(3, sha256(b"abc")).await.unwrap();
    rig.check_usage().await;
}

#[tokio::test]
async fn newer_upload_takes_over_what_the_older_has_staged() {
    let rig = Rig::new().await;
    let at = path("/f");
    let mut older = rig.home.begin_upload(&at, spec(6)).await.unwrap();
    write(&mut older, 0, b"abc").await.unwrap();
    let superseded = older.superseded();
    let home = rig.home.clone();
    let newer = tokio::spawn(async move { home.begin_upload(&path("/f"), spec(6)).await });
    superseded.cancelled().await;
    assert_err!(
        older.write_at(3, Bytes::from_static(b"d")).await,
        Error::Superseded { .. }
    );
    drop(older);
    let mut newer = newer.await.unwrap().unwrap();
    assert_eq!(newer.held(), 3);
    write(&mut newer, 3, b"def").await.unwrap();
    newer.commit(6, sha256(b"abcdef")).await.unwrap();
    rig.check_usage().await;
}

#[tokio::test(start_paused = true)]
async fn older_upload_that_does_not_let_go_makes_the_newer_busy() {
    let rig = Rig::new().await;
    let older = rig.home.begin_upload(&path("/f"), spec(6)).await.unwrap();
    assert_err!(rig.home.begin_upload(&path("/f"), spec(6)).await, Error::Busy { .. });
    drop(older);
    eventually(async || rig.home.begin_upload(&path("/f"), spec(6)).await.ok()).await;
}

#[tokio::test]
async fn request_that_would_be_refused_anyway_cuts_nobody_off() {
    let rig = Rig::new().await;
    rig.put("/f", b"old").await;
    let upload = rig.home.begin_upload(&path("/f"), spec(6)).await.unwrap();
    let keep = UploadSpec {
        replace: false,
        ..spec(6)
    };
    assert_err!(rig.home.begin_upload(&path("/f"), keep).await, Error::Exists { .. });
    assert!(!upload.superseded().is_cancelled());
}

#[tokio::test]
async fn abort_deletes_and_drop_keeps_what_is_staged() {
    let rig = Rig::with_bytes(1000).await;
    let mut upload = rig.home.begin_upload(&path("/f"), spec(900)).await.unwrap();
    write(&mut upload, 0, &[1; 400]).await.unwrap();
    drop(upload);
    let usage = rig.check_usage().await;
    assert_eq!(
        (usage.pending, usage.uploads, usage.free),
        (400, 1, 600.min(usage.disk_free))
    );

    let upload = rig.home.begin_upload(&path("/f"), spec(900)).await.unwrap();
    assert_eq!((upload.held(), rig.home.usage().await.unwrap().reserved), (400, 500));
    upload.abort().await.unwrap();
    let usage = rig.check_usage().await;
    assert_eq!((usage.pending, usage.uploads), (0, 0));
}

#[tokio::test]
async fn upload_that_is_not_to_be_kept_leaves_nothing_however_it_ends() {
    let rig = Rig::with_bytes(200_000).await;
    let spec = UploadSpec {
        resume: Resume::Never,
        keep: false,
        ..spec(100_000)
    };
    let at = path("/f");
    let staging = rig.disk().join(".ftpd/staging");
    let staged = || std::fs::read_dir(&staging).unwrap().count();
    for takes_over in [false, true] {
        for ending in ["dropped", "short", "wrong", "stored"] {
            if takes_over {
                let kept = UploadSpec { keep: true, ..spec };
                let mut upload = rig.home.begin_upload(&at, kept).await.unwrap();
                write(&mut upload, 0, &[1; 80_000]).await.unwrap();
                drop(upload);
                assert_eq!(rig.check_usage().await.pending, 80_000);
            }
            let mut upload = rig.home.begin_upload(&at, spec).await.unwrap();
            write(&mut upload, 0, &[2; 50_000]).await.unwrap();
            match ending {
                "dropped" => drop(upload),
                "short" => assert_err!(
                    upload.commit(50_000, sha256(&[2; 50_000])).await,
                    Error::LengthMismatch { .. }
                ),
                _ => {
                    write(&mut upload, 50_000, &[2; 50_000]).await.unwrap();
                    let told = if ending == "wrong" { 3 } else { 2 };
                    let result = upload.commit(100_000, sha256(&[told; 100_000])).await;
                    if ending == "wrong" {
                        assert_err!(result, Error::DigestMismatch { .. });
                        assert_eq!(staged(), 0, "deleted before the answer");
                    } else {
                        result.unwrap();
                    }
                }
            }
            eventually(async || (staged() == 0).then_some(())).await;
            let usage = rig.check_usage().await;
            assert_eq!((usage.pending, usage.uploads), (0, 0), "{ending}");
        }
        rig.home.remove_file(&at, Disposal::Trash).await.unwrap();
    }
}

#[tokio::test]
async fn staged_uploads_can_be_listed_and_discarded() {
    let rig = Rig::new().await;
    let modified = Timestamp { seconds: 7, nanos: 0 };
    let spec = UploadSpec {
        modified: Some(modified),
        ..spec(10)
    };
    let mut upload = rig.home.begin_upload(&path("/f"), spec).await.unwrap();
    write(&mut upload, 0, b"abc").await.unwrap();
    drop(upload);
    rig.check_usage().await;
    let uploads = eventually(async || Some(staged(&rig.home).await).filter(|uploads| !uploads.is_empty())).await;
    let [staged] = &uploads[..] else { panic!("{uploads:?}") };
    assert_eq!(
        (&staged.path, staged.size, staged.staged, staged.modified),
        (&path("/f"), Some(10), 3, Some(modified))
    );
    rig.home.discard_upload(&path("/f")).await.unwrap();
    assert_err!(rig.home.discard_upload(&path("/f")).await, Error::NotFound { .. });
    assert_eq!(rig.check_usage().await.uploads, 0);
}

#[tokio::test]
async fn staged_uploads_are_listed_in_pages_each_once() {
    let rig = Rig::new().await;
    for number in 0..300 {
        let at = path(&format!("/{number}"));
        let mut upload = rig.home.begin_upload(&at, spec(10)).await.unwrap();
        write(&mut upload, 0, b"abc").await.unwrap();
    }
    rig.check_usage().await;
    eventually(async || (staged(&rig.home).await.len() == 300).then_some(())).await;
    let (mut listing, mut paths) = (rig.home.uploads(), std::collections::BTreeSet::new());
    while let Some(page) = listing.next_page().await.unwrap() {
        assert!(page.len() <= 256, "{}", page.len());
        paths.extend(page.into_iter().map(|upload| upload.path.to_string()));
    }
    assert_eq!(paths.len(), 300);
    assert_eq!(listing.next_page().await.unwrap(), None);
}

#[tokio::test]
async fn staged_uploads_expire_unless_they_run() {
    let rig = Rig::new().await;
    for name in ["/idle", "/running"] {
        let mut upload = rig.home.begin_upload(&path(name), spec(100_000)).await.unwrap();
        write(&mut upload, 0, b"abc").await.unwrap();
    }
    eventually(async || (staged(&rig.home).await.len() == 2).then_some(())).await;
    rig.check_usage().await;
    let running = rig.home.begin_upload(&path("/running"), spec(100_000)).await.unwrap();
    assert_eq!(rig.store.expire().await.unwrap(), 0);
    tokio::time::pause();
    tokio::time::advance(ftp_store::StoreOptions::default().staging_expiry).await;
    assert_eq!(rig.store.expire().await.unwrap(), 1);
    tokio::time::resume();
    drop(running);
    assert_eq!(rig.check_usage().await.uploads, 1);
}

#[tokio::test]
async fn dropping_a_commit_leaves_the_counts_exact_wherever_it_was() {
    let rig = Rig::with(Quota::default(), Durability::Full).await;
    for steps in 0..12 {
        let at = path(&format!("/f{steps}"));
        let mut upload = rig.home.begin_upload(&at, spec(3)).await.unwrap();
        write(&mut upload, 0, b"abc").await.unwrap();
        let mut commit = Box::pin(upload.commit(3, sha256(b"abc")));
        for _ in 0..steps {
            if futures_poll(&mut commit).await {
                break;
            }
        }
        drop(commit);
        // Whoever comes next waits for what the dropped call has begun.
        match rig.home.begin_upload(&at, spec(3)).await {
            Ok(upload) => upload.abort().await.unwrap(),
            Err(error) => panic!("{error}"),
        }
        rig.check_usage().await;
    }
}

/// Polls once and lets others run; whether the future has ended.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    let ended = std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_ready())
    })
    .await;
    tokio::task::yield_now().await;
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_commits_at_once_are_all_stored() {
    let rig = Rig::with(Quota::default(), Durability::Full).await;
    for dir in 0..8 {
        rig.home.make_dir(&path(&format!("/d{dir}")), false).await.unwrap();
    }
    let uploads: Vec<_> = (0..256)
        .map(|number| {
            let home = rig.home.clone();
            tokio::spawn(async move {
                let at = path(&format!("/d{}/{number}", number % 8));
                put(&home, &at, &noise(4096 + number)).await
            })
        })
        .collect();
    for (number, upload) in uploads.into_iter().enumerate() {
        assert_eq!(upload.await.unwrap().unwrap().size, 4096 + number as u64);
    }
    assert_eq!(rig.check_usage().await.entries, 256 + 8);
}

#[tokio::test]
async fn one_failed_commit_of_a_batch_fails_alone() {
    let rig = Rig::with(Quota::default(), Durability::Full).await;
    rig.home.make_dir(&path("/gone"), false).await.unwrap();
    let mut uploads = Vec::new();
    for at in ["/a", "/gone/b", "/c", "/d", "/e", "/f"] {
        let mut upload = rig.home.begin_upload(&path(at), spec(3)).await.unwrap();
        write(&mut upload, 0, b"abc").await.unwrap();
        uploads.push(upload);
    }
    rig.home
        .remove_dir(&path("/gone"), false, Disposal::Trash)
        .await
        .unwrap();
    let commits: Vec<_> = uploads
        .into_iter()
        .map(|upload| tokio::spawn(upload.commit(3, sha256(b"abc"))))
        .collect();
    let mut failed = 0;
    for commit in commits {
        match commit.await.unwrap() {
            Ok(_) => {}
            Err(Error::NotFound { .. }) => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(failed, 1);
    let usage = rig.check_usage().await;
    assert_eq!((usage.entries, usage.uploads), (5, 1));
}

#[tokio::test]
async fn offsets_above_four_gib_and_sparse_files_are_exact() {
    const HOLE: u64 = (4 << 30) + 7;
    let rig = Rig::new().await;
    let disk = rig.disk().join("sparse");
    let file = std::fs::File::create(&disk).unwrap();
    file.set_len(HOLE).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", HOLE).unwrap();
    drop(file);
    let file = rig.home.open_read(&path("/sparse")).await.unwrap();
    assert_eq!(file.size(), HOLE + 3);
    let tail = file
        .read_at(HOLE - 2, 100, bytes::BytesMut::from(&b">"[..]))
        .await
        .unwrap();
    assert_eq!(&tail[..], b">\0\0end", "appended, short at the end");
    assert!(std::fs::metadata(&disk).unwrap().blocks() < 1024);
}

#[tokio::test]
async fn resume_never_starts_anew_and_gives_the_old_bytes_back() {
    let rig = Rig::with_bytes(10).await;
    let mut upload = rig.home.begin_upload(&path("/f"), spec(10)).await.unwrap();
    write(&mut upload, 0, b"12345678").await.unwrap();
    drop(upload);
    rig.check_usage().await;
    let anew = UploadSpec {
        resume: Resume::Never,
        ..spec(9)
    };
    let upload = rig.home.begin_upload(&path("/f"), anew).await.unwrap();
    assert_eq!(upload.held(), 0);
    let usage = rig.home.usage().await.unwrap();
    assert_eq!((usage.pending, usage.reserved, usage.uploads), (0, 9, 1));
    drop(upload);
    assert_eq!(rig.check_usage().await.uploads, 0);
}
