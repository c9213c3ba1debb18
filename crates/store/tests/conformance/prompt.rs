//! Uploads to a memory file system: bytes that are cheap to hash are written where they arrive.

use std::fs;
use std::thread::available_parallelism;

use bytes::Bytes;
use ftp_digest::{Algorithm, Hasher};
use ftp_store::{Error, Quota, Upload, UploadSpec};

use crate::assert_err;
use crate::rig::{Rig, noise, path, read, skipped, spec};

/// The home, and so many uploads that no core is left for a second thread of any.
async fn crowded(quota: Quota) -> Option<(Rig, Vec<Upload>)> {
    let Some(rig) = Rig::in_memory(quota).await else {
        skipped("there is no memory file system in /dev/shm");
        return None;
    };
    let cores = available_parallelism().map_or(1, usize::from);
    let mut others = Vec::new();
    for number in 0..cores {
        let upload = rig.home.begin_upload(&path(&format!("/other {number}")), spec(0)).await;
        others.push(upload.unwrap());
    }
    Some((rig, others))
}

fn is_staged(rig: &Rig, bytes: &[u8]) -> bool {
    let mut files = fs::read_dir(rig.disk().join(".ftpd/staging")).unwrap();
    files.any(|file| fs::read(file.unwrap().path()).unwrap() == bytes)
}

fn blake3(size: Option<u64>) -> UploadSpec {
    UploadSpec {
        size,
        algorithm: Algorithm::Blake3,
        ..UploadSpec::default()
    }
}

#[tokio::test]
async fn chunks_are_on_the_file_system_as_soon_as_they_are_taken() {
    let Some((rig, others)) = crowded(Quota::default()).await else {
        return;
    };
    let bytes = noise(1_000_001);
    let at = path("/f");
    let mut upload = rig.home.begin_upload(&at, blake3(Some(1_000_001))).await.unwrap();
    let mut end = 0;
    for run in bytes.chunks(300_000) {
        let chunks = run.chunks(100_000).map(Bytes::copy_from_slice).collect();
        upload.write_chunks(end as u64, chunks).await.unwrap();
        end += run.len();
        // Nothing has been awaited since.
        assert!(is_staged(&rig, &bytes[..end]), "{end} bytes, and not there");
    }
    // Some of them once more: the digest begins anew.
    upload
        .write_at(500_000, Bytes::copy_from_slice(&bytes[500_000..600_000]))
        .await
        .unwrap();
    upload
        .commit(1_000_001, Hasher::digest(Algorithm::Blake3, &bytes))
        .await
        .unwrap();
    assert_eq!(read(&rig.home, &at).await.unwrap(), bytes);
    drop(others);
    rig.check_usage().await;
}

#[tokio::test]
async fn a_quota_holds_there_as_well() {
    let quota = Quota {
        bytes: Some(3_000_000),
        ..Quota::default()
    };
    let Some((rig, others)) = crowded(quota).await else {
        return;
    };
    // Of unknown size: it is told when it is over.
    let mut upload = rig.home.begin_upload(&path("/f"), blake3(None)).await.unwrap();
    let chunk = Bytes::from(noise(100_000));
    let mut end = 0;
    let refused = loop {
        if let Err(error) = upload.write_at(end, chunk.clone()).await {
            break error;
        }
        end += 100_000;
        if let Err(error) = upload.written().await {
            break error;
        }
        assert!(end <= 3_000_000);
    };
    assert_err!(Err::<(), _>(refused), Error::QuotaBytes { .. });
    assert!(end >= 2_900_000, "refused at {end}");
    drop((upload, others));
    rig.check_usage().await;
}
