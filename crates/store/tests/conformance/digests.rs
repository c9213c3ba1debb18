//! Digests kept with files: shown while they are true, and never a moment longer.

use bytes::BytesMut;
use ftp_digest::{Algorithm, Hasher};
use ftp_store::Error;

use crate::assert_err;
use crate::rig::{Rig, noise, path, sha256};

#[tokio::test]
async fn kept_digest_is_shown_while_the_file_is_unchanged() {
    let rig = Rig::new().await;
    rig.put("/f", b"abc").await;
    let digest = async || rig.home.stat(&path("/f"), true).await.unwrap().digest;
    assert_eq!(digest().await, Some(sha256(b"abc")));
    assert_eq!(rig.home.stat(&path("/f"), false).await.unwrap().digest, None);
    assert_eq!(
        rig.home.open_read(&path("/f")).await.unwrap().kept_digest(),
        Some(sha256(b"abc"))
    );
    rig.home.rename(&path("/f"), &path("/g"), false).await.unwrap();
    rig.home.rename(&path("/g"), &path("/f"), false).await.unwrap();
    assert_eq!(digest().await, Some(sha256(b"abc")));
    std::fs::write(rig.disk().join("f"), "abcd").unwrap();
    assert_eq!(digest().await, None);
}

#[tokio::test]
async fn digest_is_kept_or_computed_and_then_kept() {
    let rig = Rig::new().await;
    let bytes = noise(300_000);
    std::fs::write(rig.disk().join("f"), &bytes).unwrap();
    let at = path("/f");
    let blake3 = rig.home.digest(&at, Algorithm::Blake3, false).await.unwrap();
    assert_eq!(blake3, Hasher::digest(Algorithm::Blake3, &bytes));
    assert_eq!(rig.home.stat(&at, true).await.unwrap().digest, Some(blake3));
    let md5 = rig.home.digest(&at, Algorithm::Md5, false).await.unwrap();
    assert_eq!(md5, Hasher::digest(Algorithm::Md5, &bytes));
    assert_eq!(
        rig.home.stat(&at, true).await.unwrap().digest,
        Some(blake3),
        "a true digest stays"
    );
    assert_err!(
        rig.home.digest(&path("/"), Algorithm::Md5, false).await,
        Error::IsDirectory { .. }
    );
}

#[tokio::test]
async fn fresh_digest_shows_damage_that_the_kept_one_hides() {
    let rig = Rig::new().await;
    rig.put("/f", b"good").await;
    let disk = rig.disk().join("f");
    let modified = std::fs::metadata(&disk).unwrap().modified().unwrap();
    std::fs::write(&disk, "evil").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&disk)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let digest = async |fresh| rig.home.digest(&path("/f"), Algorithm::Sha256, fresh).await.unwrap();
    assert_eq!(digest(false).await, sha256(b"good"));
    assert_eq!(digest(true).await, sha256(b"evil"));
    assert_eq!(digest(false).await, sha256(b"good"), "damage is not papered over");
}

#[tokio::test]
async fn change_by_others_is_noticed_and_own_actions_are_none() {
    let rig = Rig::new().await;
    std::fs::write(rig.disk().join("f"), "abc").unwrap();
    let (one, other) = (
        rig.home.open_read(&path("/f")).await.unwrap(),
        rig.home.open_read(&path("/f")).await.unwrap(),
    );
    one.keep_digest(sha256(b"abc")).await;
    rig.home.rename(&path("/f"), &path("/g"), false).await.unwrap();
    assert!(one.unchanged().await.unwrap() && other.unchanged().await.unwrap());
    rig.put("/g", b"newer").await;
    let newer = rig.home.open_read(&path("/g")).await.unwrap();
    assert!(one.unchanged().await.unwrap(), "the version that was opened is whole");
    rig.home.remove_file(&path("/g")).await.unwrap();
    assert!(newer.unchanged().await.unwrap());

    std::fs::write(rig.disk().join("h"), "abc").unwrap();
    let file = rig.home.open_read(&path("/h")).await.unwrap();
    std::fs::write(rig.disk().join("h"), "abd!").unwrap();
    assert!(!file.unchanged().await.unwrap());
    rig.home.rename(&path("/h"), &path("/i"), false).await.unwrap();
    assert!(!file.unchanged().await.unwrap(), "an own action does not hide it");
    file.keep_digest(sha256(b"abc")).await;
    assert_eq!(rig.home.stat(&path("/i"), true).await.unwrap().digest, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_at_once_never_take_own_actions_for_changes() {
    let rig = Rig::new().await;
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let home = rig.home.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    let Ok(file) = home.open_read(&path("/f")).await else {
                        continue;
                    };
                    file.keep_digest(sha256(b"abc")).await;
                    assert!(file.unchanged().await.unwrap());
                }
            })
        })
        .collect();
    for _ in 0..200 {
        // Without a digest, so that each reader wants to keep one.
        std::fs::write(rig.disk().join("new"), "abc").unwrap();
        std::fs::rename(rig.disk().join("new"), rig.disk().join("g")).unwrap();
        rig.home.rename(&path("/g"), &path("/f"), true).await.unwrap();
        rig.home.rename(&path("/f"), &path("/g"), false).await.unwrap();
        rig.home.rename(&path("/g"), &path("/f"), false).await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn prefix_longer_than_the_file_is_a_changed_source() {
    let rig = Rig::new().await;
    rig.put("/f", b"abc").await;
    let file = rig.home.open_read(&path("/f")).await.unwrap();
    assert_err!(
        file.read_prefix(4, 65_536, Algorithm::Sha256).await,
        Error::SourceChanged { .. }
    );
}

#[tokio::test]
async fn reading_can_hash_what_it_appends() {
    let rig = Rig::new().await;
    let bytes = noise(100_000);
    rig.put("/f", &bytes).await;
    let file = rig.home.open_read(&path("/f")).await.unwrap();
    let mut hasher = Some(Hasher::new(Algorithm::Sha256));
    let mut at = 0;
    loop {
        let before = BytesMut::from(&b"before"[..]);
        let (buffer, went_on) = file.read_hashed(at, 30_000, before, hasher).await.unwrap();
        hasher = went_on;
        let read = &buffer[6..];
        let start = usize::try_from(at).unwrap();
        assert_eq!(read, &bytes[start..(start + 30_000).min(bytes.len())]);
        if read.is_empty() {
            break;
        }
        at += read.len() as u64;
    }
    assert_eq!(
        hasher.unwrap().finish(),
        sha256(&bytes),
        "not what was in the buffer before"
    );
    let (_, none) = file.read_hashed(0, 1, BytesMut::new(), None).await.unwrap();
    assert!(none.is_none());
}

#[tokio::test]
async fn digest_is_of_the_version_that_is_open() {
    let rig = Rig::new().await;
    rig.put("/f", b"old").await;
    let file = rig.home.open_read(&path("/f")).await.unwrap();
    rig.put("/f", b"new").await;
    let digest = async |algorithm, fresh| file.digest(algorithm, fresh).await;
    assert_eq!(digest(Algorithm::Sha256, false).await.unwrap(), sha256(b"old"));
    assert_eq!(digest(Algorithm::Sha256, true).await.unwrap(), sha256(b"old"));
    assert_eq!(
        digest(Algorithm::Md5, false).await.unwrap(),
        Hasher::digest(Algorithm::Md5, b"old")
    );

    std::fs::write(rig.disk().join("g"), "abc").unwrap();
    let file = rig.home.open_read(&path("/g")).await.unwrap();
    std::fs::write(rig.disk().join("g"), "abd!").unwrap();
    assert_err!(file.digest(Algorithm::Sha256, false).await, Error::SourceChanged { .. });
}
