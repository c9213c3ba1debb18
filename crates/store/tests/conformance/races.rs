//! Directories that become links, and parents that move, while every operation runs through them.
//!
//! `FTP_STORE_RACE_ATTEMPTS` sets how many operations are tried; 100,000 take some minutes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ftp_digest::Algorithm;
use ftp_store::{Disposal, FilePath, Home, Quota, Resume, TrashItem, TrashPolicy, UploadSpec, Wanted};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::rig::{Rig, path, read, sha256, spec};

/// What is tried unless the environment says otherwise.
const ATTEMPTS: u64 = 6_000;

/// The text of every file inside, and nowhere else.
const INSIDE: &[u8] = b"inside";

/// Everything that takes a path; each call is one attempt.
const OPERATIONS: u64 = 18;

async fn upload(home: &Home, at: &FilePath, parents: bool) {
    let wanted = UploadSpec {
        resume: Resume::Auto,
        make_parents: parents,
        ..spec(INSIDE.len())
    };
    if let Ok(mut upload) = home.begin_upload(at, wanted).await
        && upload.write_at(0, bytes::Bytes::from_static(INSIDE)).await.is_ok()
    {
        let _ = upload.commit(INSIDE.len() as u64, sha256(INSIDE)).await;
    }
}

async fn restore(home: &Home, at: &FilePath, to: Option<&FilePath>) -> bool {
    let wanted = Wanted::Path(at.clone(), None);
    home.restore(&wanted, to, true).await.is_ok()
}

/// Runs one operation; whether it did what it was asked for comes back. Nothing outside may show in what it says.
async fn attempt(home: &Home, number: u64) -> bool {
    let file = path("/swap/sub/file");
    let new = path(&format!("/swap/sub/new{}", number % 4));
    let dir = path(&format!("/swap/sub/dir{}", number % 4));
    let deep = path(&format!("/swap/sub/dir{}/deep/x", number % 4));
    match number % OPERATIONS {
        0 => match read(home, &file).await {
            Ok(bytes) => {
                assert_eq!(bytes, INSIDE);
                true
            }
            Err(_) => false,
        },
        1 => {
            upload(home, &file, false).await;
            true
        }
        2 => {
            upload(home, &deep, true).await;
            true
        }
        3 => match home.list(&path("/swap/sub"), true).await {
            Ok(mut listing) => {
                while let Ok(Some(page)) = listing.next_page().await {
                    assert!(page.iter().all(|entry| entry.name != "bait"), "{page:?}");
                }
                true
            }
            Err(_) => false,
        },
        4 => match home.stat(&path("/swap/sub/bait"), true).await {
            Ok(entry) => panic!("the bait was seen: {entry:?}"),
            Err(_) => true,
        },
        5 => home.make_dir(&dir, false).await.is_ok(),
        6 => home.make_dir(&deep, true).await.is_ok(),
        7 => home.copy(&file, &new, true).await.is_ok(),
        8 => home.rename(&new, &path("/moved"), true).await.is_ok(),
        9 => home.rename(&path("/moved"), &new, true).await.is_ok(),
        10 => match home.digest(&file, Algorithm::Sha256, true).await {
            Ok(digest) => {
                assert_eq!(digest, sha256(INSIDE));
                true
            }
            Err(_) => false,
        },
        11 => home.remove_file(&new, Disposal::Trash).await.is_ok(),
        12 => home.remove_dir(&dir, true, Disposal::Trash).await.is_ok(),
        13 => restore(home, &new, None).await,
        14 => restore(home, &dir, None).await,
        // A part of what was removed, and where there may be a link by now.
        15 => restore(home, &deep, Some(&new)).await,
        16 => match home.versions(&deep, None).await {
            Ok(versions) => {
                let is_ours = |version: &TrashItem| version.bytes <= INSIDE.len() as u64;
                assert!(versions.iter().all(is_ours), "{versions:?}");
                !versions.is_empty()
            }
            Err(_) => false,
        },
        _ => match home.copy(&file, &path("/kept"), true).await {
            Ok(_) => {
                assert_eq!(read(home, &path("/kept")).await.unwrap(), INSIDE);
                true
            }
            Err(_) => false,
        },
    }
}

/// Swaps and moves until it is told to stop.
fn disturb(home: &Path, done: &AtomicBool, swaps: &AtomicU64) {
    let exchange = |one: &str, other: &str| {
        // Fails while another exchange has put a link in the way.
        let done = renameat_with(CWD, home.join(one), CWD, home.join(other), RenameFlags::EXCHANGE);
        swaps.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
    };
    while !done.load(Ordering::Relaxed) {
        exchange("swap/sub", "swap/link");
        exchange("swap", "link");
        exchange("swap", "parent");
        exchange("swap", "parent");
        exchange("swap", "link");
        exchange("swap/sub", "swap/link");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_operation_leads_out_while_links_are_swapped_and_parents_move() {
    let attempts = std::env::var("FTP_STORE_RACE_ATTEMPTS").map_or(ATTEMPTS, |text| text.parse().unwrap());
    let rig = Rig::prepared(|home| {
        let outside = home.with_file_name("outside");
        std::fs::create_dir_all(outside.join("sub")).unwrap();
        for name in ["file", "bait", "sub/file", "sub/bait"] {
            std::fs::write(outside.join(name), "outside").unwrap();
        }
        for dir in ["swap", "parent"] {
            std::fs::create_dir_all(home.join(dir).join("sub")).unwrap();
            std::fs::write(home.join(dir).join("sub/file"), INSIDE).unwrap();
            std::os::unix::fs::symlink(outside.join("sub"), home.join(dir).join("link")).unwrap();
        }
        std::os::unix::fs::symlink("../outside", home.join("link")).unwrap();
    })
    .await;
    rig.home.set_quota(Quota {
        trash: TrashPolicy {
            bytes: 1 << 20,
            age: Duration::MAX,
        },
        ..Quota::default()
    });
    let before = snapshot(&rig.outside());
    let (done, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (disk, mut succeeded) = (rig.disk(), vec![0_u64; usize::try_from(OPERATIONS).unwrap()]);
    std::thread::scope(|scope| {
        scope.spawn(|| disturb(&disk, &done, &swaps));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for number in 0..attempts {
                    let operation = usize::try_from(number % OPERATIONS).unwrap();
                    succeeded[operation] += u64::from(attempt(&rig.home, number).await);
                }
            });
        });
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(snapshot(&rig.outside()), before);
    // A race in which everything is refused would prove nothing.
    let often = [0, 1, 3, 4, 10, 11, 13];
    assert!(often.iter().all(|operation| succeeded[*operation] > 0), "{succeeded:?}");
    assert!(swaps.load(Ordering::Relaxed) > 0);
    rig.check_usage().await;
}

/// Every name below with its content and its time.
fn snapshot(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let at = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&at).unwrap();
            if meta.is_dir() {
                dirs.push(at.clone());
                found.push((at, Vec::new(), meta.modified().unwrap()));
            } else {
                found.push((at.clone(), std::fs::read(&at).unwrap(), meta.modified().unwrap()));
            }
        }
    }
    found.sort();
    found
}
