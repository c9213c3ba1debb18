//! Resume: what is held is proven block by block, repaired where it differs, and never sent twice.

use bytes::Bytes;
use ftp_digest::{Algorithm, MIN_BLOCK_BYTES, block_bytes_for};
use ftp_store::{Disposal, Error, Resume, Timestamp, UploadSpec};

use crate::assert_err;
use crate::rig::{Rig, noise, path, read, sha256, spec, write};

/// Uploads `bytes` up to `held` and lets go.
async fn leave(rig: &Rig, spec: UploadSpec, bytes: &[u8], held: usize) {
    let mut upload = rig.home.begin_upload(&path("/f"), spec).await.unwrap();
    write(&mut upload, 0, &bytes[..held]).await.unwrap();
    drop(upload);
    assert_eq!(rig.check_usage().await.pending, held as u64);
}

fn staged_file(rig: &Rig) -> std::path::PathBuf {
    std::fs::read_dir(rig.disk().join(".ftpd/staging"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|kind| kind == "part"))
        .unwrap()
}

#[tokio::test]
async fn damaged_blocks_alone_are_repaired() {
    let rig = Rig::new().await;
    let bytes = noise(1_000_000);
    leave(&rig, spec(bytes.len()), &bytes, 700_000).await;
    let mut damaged = std::fs::read(staged_file(&rig)).unwrap();
    damaged[200_000] ^= 1;
    std::fs::write(staged_file(&rig), damaged).unwrap();
    rig.put("/source", &bytes).await;
    let source = rig.home.open_read(&path("/source")).await.unwrap();

    let mut upload = rig.home.begin_upload(&path("/f"), spec(bytes.len())).await.unwrap();
    assert_eq!(upload.held(), 700_000);
    let held = upload.held_blocks().await.unwrap();
    let (truth, hasher) = source
        .read_prefix(held.length(), held.block_bytes(), Some(Algorithm::Sha256))
        .await
        .unwrap();
    assert_eq!(hasher.unwrap().length(), 700_000);
    let ranges = held.differing(&truth);
    assert_eq!(ranges, [(3 * MIN_BLOCK_BYTES, MIN_BLOCK_BYTES)]);
    for (offset, length) in ranges {
        let (from, to) = (
            usize::try_from(offset).unwrap(),
            usize::try_from(offset + length).unwrap(),
        );
        upload
            .write_at(offset, Bytes::copy_from_slice(&bytes[from..to]))
            .await
            .unwrap();
    }
    write(&mut upload, 700_000, &bytes[700_000..]).await.unwrap();
    upload.commit(bytes.len() as u64, sha256(&bytes)).await.unwrap();
    assert_eq!(read(&rig.home, &path("/f")).await.unwrap(), bytes);
    rig.check_usage().await;
}

/// As a client that knows the time of its file.
fn dated(size: usize) -> UploadSpec {
    UploadSpec {
        modified: Some(Timestamp {
            seconds: 1_767_225_600,
            nanos: 0,
        }),
        ..spec(size)
    }
}

#[tokio::test]
async fn prefix_of_the_same_source_is_believed_until_the_digest_of_the_whole_says_otherwise() {
    let rig = Rig::new().await;
    let bytes = noise(1_000_000);
    let resume = async |spec| rig.home.begin_upload(&path("/f"), spec).await.unwrap();
    for is_damaged in [false, true] {
        leave(&rig, dated(bytes.len()), &bytes, 700_000).await;
        if is_damaged {
            let mut damaged = std::fs::read(staged_file(&rig)).unwrap();
            damaged[200_000] ^= 1;
            std::fs::write(staged_file(&rig), damaged).unwrap();
        }
        let mut upload = resume(dated(bytes.len())).await;
        assert!(upload.held_is_same());
        write(&mut upload, 700_000, &bytes[700_000..]).await.unwrap();
        let stored = upload.commit(bytes.len() as u64, sha256(&bytes)).await;
        if is_damaged {
            assert_err!(stored, Error::DigestMismatch { .. });
        } else {
            stored.unwrap();
            rig.home.remove_file(&path("/f"), Disposal::Forever).await.unwrap();
        }
    }
    // In doubt, however often it is begun; and then repaired.
    drop(resume(dated(bytes.len())).await);
    let mut upload = resume(dated(bytes.len())).await;
    assert_eq!((upload.held(), upload.held_is_same()), (1_000_000, false));
    write(&mut upload, 0, &bytes).await.unwrap();
    upload.commit(bytes.len() as u64, sha256(&bytes)).await.unwrap();
    assert_eq!(read(&rig.home, &path("/f")).await.unwrap(), bytes);
    rig.check_usage().await;
}

#[tokio::test]
async fn prefix_of_which_the_source_is_not_known_is_not_believed() {
    let rig = Rig::new().await;
    let bytes = noise(300_000);
    leave(&rig, spec(bytes.len()), &bytes, 100_000).await;
    let resume = async |spec| rig.home.begin_upload(&path("/f"), spec).await.unwrap();
    assert!(!resume(spec(bytes.len())).await.held_is_same());
    let always = UploadSpec {
        resume: Resume::Always,
        ..dated(bytes.len())
    };
    for _ in 0..2 {
        assert!(!resume(always).await.held_is_same());
    }
}

#[tokio::test]
async fn intact_prefix_goes_on_with_or_without_asking_for_blocks() {
    for asks in [false, true] {
        let rig = Rig::new().await;
        let bytes = noise(300_000);
        leave(&rig, spec(bytes.len()), &bytes, 100_000).await;
        let mut upload = rig.home.begin_upload(&path("/f"), spec(bytes.len())).await.unwrap();
        if asks {
            let blocks = upload.held_blocks().await.unwrap();
            assert_eq!(
                (blocks.length(), blocks.block_bytes()),
                (100_000, block_bytes_for(100_000))
            );
        }
        write(&mut upload, 100_000, &bytes[100_000..]).await.unwrap();
        upload.commit(300_000, sha256(&bytes)).await.unwrap();
    }
}

#[tokio::test]
async fn unrepaired_damage_never_gets_published() {
    let rig = Rig::new().await;
    let bytes = noise(200_000);
    leave(&rig, spec(bytes.len()), &bytes, 150_000).await;
    let mut damaged = std::fs::read(staged_file(&rig)).unwrap();
    damaged[0] ^= 1;
    std::fs::write(staged_file(&rig), damaged).unwrap();
    let mut upload = rig.home.begin_upload(&path("/f"), spec(bytes.len())).await.unwrap();
    write(&mut upload, 150_000, &bytes[150_000..]).await.unwrap();
    assert_err!(
        upload.commit(200_000, sha256(&bytes)).await,
        Error::DigestMismatch { .. }
    );
}

#[tokio::test]
async fn automatic_resume_needs_the_same_size_and_time() {
    let modified = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let first = UploadSpec {
        modified: modified(1),
        ..spec(100_000)
    };
    for (second, held) in [
        (first, 50_000),
        (
            UploadSpec {
                modified: modified(2),
                ..first
            },
            0,
        ),
        (
            UploadSpec {
                modified: modified(2),
                resume: Resume::Always,
                ..first
            },
            50_000,
        ),
        (
            UploadSpec {
                size: Some(100_001),
                ..first
            },
            0,
        ),
        (UploadSpec { size: None, ..first }, 0),
        (
            UploadSpec {
                size: Some(20_000),
                resume: Resume::Always,
                ..first
            },
            20_000,
        ),
        (
            UploadSpec {
                resume: Resume::Never,
                ..first
            },
            0,
        ),
    ] {
        let rig = Rig::new().await;
        leave(&rig, first, &noise(100_000), 50_000).await;
        let upload = rig.home.begin_upload(&path("/f"), second).await.unwrap();
        assert_eq!(upload.held(), held, "{second:?}");
        let usage = rig.home.usage().await.unwrap();
        let total = second.size.unwrap_or(held);
        assert_eq!(
            (usage.pending, usage.pending + usage.reserved),
            (held, total),
            "{second:?}"
        );
    }
}

#[tokio::test]
async fn record_of_another_start_does_not_speak_for_new_bytes() {
    let rig = Rig::new().await;
    leave(&rig, spec(50_000), &noise(50_000), 40_000).await;
    // Small, so that its record is written only when it is detached.
    let other = UploadSpec {
        resume: Resume::Never,
        ..spec(30_000)
    };
    leave(&rig, other, &noise(30_000), 20_000).await;
    let upload = rig.home.begin_upload(&path("/f"), spec(50_000)).await.unwrap();
    assert_eq!(upload.held(), 0);
}

#[tokio::test]
async fn repairs_do_not_count_twice() {
    let rig = Rig::with_bytes(100).await;
    let mut upload = rig.home.begin_upload(&path("/f"), spec(100)).await.unwrap();
    write(&mut upload, 0, &[1; 100]).await.unwrap();
    for _ in 0..5 {
        upload.write_at(10, Bytes::from_static(&[2; 50])).await.unwrap();
    }
    let mut expected = vec![1; 100];
    expected[10..60].fill(2);
    upload.commit(100, sha256(&expected)).await.unwrap();
    assert_eq!(rig.check_usage().await.used, 100);
}

#[tokio::test]
async fn dropped_block_pass_can_begin_again() {
    let rig = Rig::new().await;
    let bytes = noise(500_000);
    leave(&rig, spec(bytes.len()), &bytes, 400_000).await;
    let mut upload = rig.home.begin_upload(&path("/f"), spec(bytes.len())).await.unwrap();
    for _ in 0..3 {
        let pass = upload.held_blocks();
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            _ = pass => {}
        }
    }
    assert_eq!(upload.held_blocks().await.unwrap().length(), 400_000);
    write(&mut upload, 400_000, &bytes[400_000..]).await.unwrap();
    upload.commit(500_000, sha256(&bytes)).await.unwrap();
}
