//! Digests kept with files: shown while they are true, and never a moment longer.

use ftp_digest::{Algorithm, Hasher};
use ftp_store::Disposal;
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
    rig.place("f", &bytes);
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
    rig.rot("f", b"evil");
    let digest = async |fresh| rig.home.digest(&path("/f"), Algorithm::Sha256, fresh).await.unwrap();
    assert_eq!(digest(false).await, sha256(b"good"));
    assert_eq!(digest(true).await, sha256(b"evil"));
    assert_eq!(digest(false).await, sha256(b"good"), "damage is not papered over");
}

#[tokio::test]
async fn change_by_others_is_noticed_and_own_actions_are_none() {
    let rig = Rig::new().await;
    rig.place("f", b"abc");
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
    rig.home.remove_file(&path("/g"), Disposal::Trash).await.unwrap();
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
        rig.place("new", b"abc");
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
    assert_err!(file.read_prefix(4, 65_536, None).await, Error::SourceChanged { .. });
}

#[tokio::test]
async fn chunks_are_filled_and_hashed_in_one_go() {
    let rig = Rig::new().await;
    let bytes = noise(100_000);
    rig.put("/f", &bytes).await;
    let file = rig.home.open_read(&path("/f")).await.unwrap();
    let hasher = Some(Hasher::new(Algorithm::Sha256));
    let chunks = [60_000, 0, 30_000].map(|length| vec![0; length]).to_vec();
    let (mut chunks, hasher) = file.read_chunks(0, chunks, hasher).await.unwrap();
    let (last, hasher) = file.read_chunks(90_000, vec![vec![0; 10_000]], hasher).await.unwrap();
    chunks.extend(last);
    assert_eq!(chunks.concat(), bytes);
    assert_eq!(hasher.unwrap().finish(), sha256(&bytes));
    let (_, none) = file.read_chunks(0, vec![vec![0]], None).await.unwrap();
    assert!(none.is_none());
    assert_err!(
        file.read_chunks(90_000, vec![vec![0; 5_000], vec![0; 5_001]], None)
            .await,
        Error::SourceChanged { .. }
    );
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

#[tokio::test]
async fn digest_of_a_file_that_may_change_within_its_time_is_told_and_not_kept() {
    let rig = Rig::new().await;
    std::fs::write(rig.disk().join("f"), "abc").unwrap();
    let sum = async || rig.home.digest(&path("/f"), Algorithm::Sha256, false).await.unwrap();
    let kept = async || rig.home.stat(&path("/f"), true).await.unwrap().digest;
    assert_eq!(sum().await, sha256(b"abc"));
    // A change in the same step of the clock, on file systems that have such.
    rig.rot("f", b"abd");
    assert_eq!(kept().await, None);
    assert_eq!(sum().await, sha256(b"abd"));
    rig.age("f");
    sum().await;
    assert_eq!(kept().await, Some(sha256(b"abd")));
}

#[tokio::test]
async fn what_another_version_kept_is_not_believed_and_not_destroyed() {
    let rig = Rig::new().await;
    rig.place("f", b"abc");
    let file = std::fs::File::open(rig.disk().join("f")).unwrap();
    let newer = b"2 sha256 and whatever it means";
    if rustix::fs::fsetxattr(&file, "user.ftpd.digest", newer, rustix::fs::XattrFlags::empty()).is_err() {
        eprintln!("skipped: the file system of the temporary directory has no extended attributes");
        return;
    }
    assert_eq!(
        rig.home.digest(&path("/f"), Algorithm::Sha256, false).await.unwrap(),
        sha256(b"abc")
    );
    assert_eq!(rig.home.stat(&path("/f"), true).await.unwrap().digest, None);
    rig.home.copy(&path("/f"), &path("/g"), false).await.unwrap();
    let mut buffer = [0; 100];
    let length = rustix::fs::fgetxattr(&file, "user.ftpd.digest", &mut buffer).unwrap();
    assert_eq!(&buffer[..length], newer);
}

#[tokio::test]
async fn digest_travels_with_links_moves_and_backups_and_ends_with_any_change_of_size_or_time() {
    let rig = Rig::new().await;
    rig.put("/f", b"abc").await;
    let kept = async |name: &str| rig.home.stat(&path(name), true).await.unwrap().digest;
    std::fs::hard_link(rig.disk().join("f"), rig.disk().join("link")).unwrap();
    assert_eq!(kept("/link").await, Some(sha256(b"abc")));
    let copied = std::process::Command::new("cp")
        .args(["-a", "f", "backup"])
        .current_dir(rig.disk())
        .status()
        .unwrap();
    assert!(copied.success());
    assert!(
        matches!(kept("/backup").await, None | Some(_)),
        "not every cp takes attributes"
    );
    if let Some(digest) = kept("/backup").await {
        assert_eq!(digest, sha256(b"abc"));
    }
    // The same size, another time, by one of two names.
    std::fs::write(rig.disk().join("link"), "abd").unwrap();
    rig.age("link");
    assert_eq!(kept("/f").await, None);
    assert_eq!(
        rig.home.digest(&path("/f"), Algorithm::Sha256, false).await.unwrap(),
        sha256(b"abd")
    );
    // The time of the first content, put back: the digest is that of the second.
    assert_eq!(kept("/link").await, Some(sha256(b"abd")));
    rig.age("f");
    rig.home.rename(&path("/f"), &path("/g"), false).await.unwrap();
    assert_eq!(kept("/g").await, None);
}

#[tokio::test]
async fn damage_is_told_by_whatever_reads_the_file() {
    let rig = Rig::new().await;
    rig.put("/f", b"good").await;
    rig.rot("f", b"evil");
    let file = rig.home.open_read(&path("/f")).await.unwrap();
    assert_err!(
        file.prove().await,
        Error::Damaged { expected, found, .. } if (*expected, *found) == (sha256(b"good"), sha256(b"evil"))
    );
    rig.put("/f", b"good").await;
    rig.home.open_read(&path("/f")).await.unwrap().prove().await.unwrap();
}
