//! Nothing outside the home, and nothing of the store's own, can be reached.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use ftp_store::{Disposal, Error, Home, Kind, Resume, UploadSpec};

use crate::assert_err;
use crate::rig::{Rig, list, path, read, spec};

/// Every operation that touches a path refuses it as leading outside.
async fn assert_unreachable(rig: &Rig, at: &str) {
    let (home, at) = (&rig.home, path(at));
    rig.put("/own", b"own").await;
    assert_err!(home.open_read(&at).await, Error::OutsideHome { .. });
    assert_err!(home.begin_upload(&at, spec(1)).await, Error::OutsideHome { .. });
    assert_err!(home.stat(&at, true).await, Error::OutsideHome { .. });
    assert_err!(home.list(&at, true).await, Error::OutsideHome { .. });
    assert_err!(home.make_dir(&at, false).await, Error::OutsideHome { .. });
    assert_err!(home.make_dir(&at, true).await, Error::OutsideHome { .. });
    assert_err!(home.remove_file(&at, Disposal::Trash).await, Error::OutsideHome { .. });
    assert_err!(
        home.remove_dir(&at, true, Disposal::Trash).await,
        Error::OutsideHome { .. }
    );
    assert_err!(home.rename(&at, &path("/new"), true).await, Error::OutsideHome { .. });
    assert_err!(home.rename(&path("/own"), &at, true).await, Error::OutsideHome { .. });
    assert_err!(home.copy(&at, &path("/new"), true).await, Error::OutsideHome { .. });
    assert_err!(home.copy(&path("/own"), &at, true).await, Error::OutsideHome { .. });
    rig.check_usage().await;
}

#[tokio::test]
async fn links_out_of_the_home_are_refused_by_every_operation() {
    let rig = Rig::prepared(|home| {
        let outside = home.with_file_name("outside");
        std::fs::write(outside.join("secret"), "secret").unwrap();
        symlink(&outside, home.join("absolute")).unwrap();
        symlink("../outside", home.join("relative")).unwrap();
        symlink("relative/..", home.join("winding")).unwrap();
    })
    .await;
    let outside = rig.outside();
    for at in ["/absolute/secret", "/relative/secret", "/winding/outside/secret"] {
        let rig = &rig;
        assert_unreachable(rig, at).await;
        rig.home.remove_file(&path("/own"), Disposal::Trash).await.unwrap();
    }
    let left: Vec<_> = std::fs::read_dir(&outside).unwrap().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn link_to_a_file_outside_is_not_read_and_not_written_through() {
    let rig = Rig::prepared(|home| {
        let secret = home.with_file_name("outside").join("secret");
        std::fs::write(&secret, "secret").unwrap();
        symlink(&secret, home.join("link")).unwrap();
    })
    .await;
    let secret = rig.outside().join("secret");
    assert_err!(rig.home.open_read(&path("/link")).await, Error::OutsideHome { .. });
    assert_eq!(
        rig.home.stat(&path("/link"), true).await.unwrap().kind,
        Kind::Symlink,
        "the link itself may be seen"
    );
    rig.put("/link", b"mine").await;
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    assert_eq!(read(&rig.home, &path("/link")).await.unwrap(), b"mine");
    rig.check_usage().await;
}

#[tokio::test]
async fn links_that_stay_inside_are_followed_on_the_way() {
    let rig = Rig::prepared(|home| {
        std::fs::create_dir_all(home.join("real/deep")).unwrap();
        symlink("real/deep", home.join("short")).unwrap();
        symlink("short/file", home.join("file")).unwrap();
    })
    .await;
    rig.put("/short/file", b"text").await;
    assert_eq!(read(&rig.home, &path("/real/deep/file")).await.unwrap(), b"text");
    assert_eq!(read(&rig.home, &path("/file")).await.unwrap(), b"text");
    assert_eq!(list(&rig.home, "/short").await, [("file".into(), Kind::File)]);
    rig.check_usage().await;
}

#[tokio::test]
async fn reserved_folder_is_unreachable_also_through_links() {
    let rig = Rig::prepared(|home| {
        std::fs::create_dir_all(home.join(".ftpd/staging")).unwrap();
        std::fs::write(home.join(".ftpd/staging/any"), "").unwrap();
        symlink(".ftpd", home.join("x")).unwrap();
        symlink(".", home.join("here")).unwrap();
        symlink(".ftpd/lock", home.join("lock")).unwrap();
        std::fs::create_dir(home.join("dir")).unwrap();
        symlink("../.ftpd/staging", home.join("dir/staging")).unwrap();
    })
    .await;
    for at in [
        "/x/lock",
        "/x/staging/any",
        "/here/.ftpd",
        "/here/.ftpd/lock",
        "/dir/staging/any",
    ] {
        assert_unreachable(&rig, at).await;
        rig.home.remove_file(&path("/own"), Disposal::Trash).await.unwrap();
    }
    assert_err!(rig.home.open_read(&path("/lock")).await, Error::OutsideHome { .. });
    assert_err!(rig.home.list(&path("/x"), false).await, Error::OutsideHome { .. });
}

#[tokio::test]
async fn reserved_folder_is_not_listed_even_through_a_link_to_the_top() {
    let rig = Rig::prepared(|home| symlink(".", home.join("here")).unwrap()).await;
    for at in ["/", "/here"] {
        assert_eq!(list(&rig.home, at).await, [("here".into(), Kind::Symlink)], "{at}");
    }
}

#[tokio::test]
async fn home_itself_cannot_be_removed_renamed_or_replaced() {
    let rig = Rig::new().await;
    let root = path("/");
    rig.home.make_dir(&path("/dir"), false).await.unwrap();
    assert_err!(
        rig.home.remove_dir(&root, true, Disposal::Trash).await,
        Error::HomeItself
    );
    assert_err!(rig.home.remove_file(&root, Disposal::Trash).await, Error::HomeItself);
    assert_err!(rig.home.rename(&path("/dir"), &root, true).await, Error::HomeItself);
    assert_err!(rig.home.begin_upload(&root, spec(0)).await, Error::HomeItself);
    assert_err!(rig.home.make_dir(&root, false).await, Error::Exists { .. });
    rig.home.make_dir(&root, true).await.unwrap();
    assert_eq!(rig.home.stat(&root, false).await.unwrap().kind, Kind::Directory);
}

#[tokio::test]
async fn links_in_a_removed_tree_are_removed_and_not_followed() {
    let rig = Rig::prepared(|home| {
        let outside = home.with_file_name("outside");
        std::fs::write(outside.join("kept"), "kept").unwrap();
        std::fs::create_dir_all(home.join("tree/sub")).unwrap();
        symlink(&outside, home.join("tree/sub/link")).unwrap();
    })
    .await;
    rig.put("/tree/sub/file", b"12345").await;
    let removed = rig
        .home
        .remove_dir(&path("/tree"), true, Disposal::Trash)
        .await
        .unwrap();
    assert_eq!((removed.files, removed.dirs, removed.bytes), (2, 2, 5));
    assert!(rig.outside().join("kept").exists());
    rig.check_usage().await;
}

/// One round of requests through `/swap`, which is a directory or a link out, depending on when.
async fn request_through_swap(home: &Home, number: u32) {
    let inside = path("/swap/file");
    if let Ok(bytes) = read(home, &inside).await {
        assert_eq!(bytes, b"inside");
    }
    let new = path(&format!("/swap/new{}", number % 8));
    let upload = UploadSpec {
        resume: Resume::Never,
        make_parents: number.is_multiple_of(2),
        ..spec(3)
    };
    if let Ok(mut upload) = home.begin_upload(&new, upload).await
        && upload.write_at(0, bytes::Bytes::from_static(b"new")).await.is_ok()
    {
        let _ = upload.commit(3, crate::rig::sha256(b"new")).await;
    }
    let _ = home.remove_file(&new, Disposal::Trash).await;
    let _ = home.make_dir(&path("/swap/made"), true).await;
    let _ = home.remove_dir(&path("/swap/made"), true, Disposal::Trash).await;
    let _ = home.rename(&inside, &path("/swap/moved"), true).await;
    let _ = home.rename(&path("/swap/moved"), &inside, true).await;
    if let Ok(mut listing) = home.list(&path("/swap"), true).await {
        while let Ok(Some(page)) = listing.next_page().await {
            assert!(page.iter().all(|entry| entry.name != "bait"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_swapped_in_while_requests_run_never_leads_out() {
    const ROUNDS: u32 = 500;
    let rig = Rig::prepared(|home| {
        let outside = home.with_file_name("outside");
        for name in ["file", "bait"] {
            std::fs::write(outside.join(name), "outside").unwrap();
        }
        std::fs::create_dir(home.join("swap")).unwrap();
        std::fs::write(home.join("swap/file"), "inside").unwrap();
        symlink(&outside, home.join("link")).unwrap();
    })
    .await;
    let outside = rig.outside();
    let done = Arc::new(AtomicBool::new(false));
    let swapper = {
        let (done, one, other) = (Arc::clone(&done), rig.disk().join("swap"), rig.disk().join("link"));
        std::thread::spawn(move || {
            let mut swaps = 0_u64;
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        })
    };
    for number in 0..ROUNDS {
        request_through_swap(&rig.home, number).await;
    }
    done.store(true, Ordering::Relaxed);
    assert!(swapper.join().unwrap() > 0);

    let mut left: Vec<_> = std::fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["bait", "file"]);
    for name in ["file", "bait"] {
        assert_eq!(std::fs::read(outside.join(name)).unwrap(), b"outside");
    }
}

#[tokio::test]
async fn links_in_a_circle_lead_to_nothing() {
    let rig = Rig::prepared(|home| symlink("loop", home.join("loop")).unwrap()).await;
    let home = &rig.home;
    assert_err!(home.open_read(&path("/loop")).await, Error::NotFound { .. });
    assert_err!(home.list(&path("/loop"), false).await, Error::NotFound { .. });
    assert_err!(
        home.begin_upload(&path("/loop/x"), spec(1)).await,
        Error::NotFound { .. }
    );
    assert_eq!(home.stat(&path("/loop"), false).await.unwrap().kind, Kind::Symlink);
    home.remove_file(&path("/loop"), Disposal::Trash).await.unwrap();
    rig.check_usage().await;
}
