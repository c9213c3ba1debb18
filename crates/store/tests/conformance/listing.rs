//! Listings: a page at a time, whatever happens meanwhile.

use std::collections::HashSet;

use ftp_store::Error;

use crate::assert_err;
use crate::rig::{Rig, list, path};

#[tokio::test]
async fn hundred_thousand_files_come_in_pages_each_once() {
    const FILES: usize = 100_000;
    let rig = Rig::new().await;
    let dir = rig.disk().join("dir");
    std::fs::create_dir(&dir).unwrap();
    for number in 0..FILES {
        std::fs::File::create(dir.join(number.to_string())).unwrap();
    }
    let mut listing = rig.home.list(&path("/dir"), false).await.unwrap();
    let mut seen = HashSet::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        assert!((1..=256).contains(&page.len()));
        for entry in page {
            assert!(seen.insert(entry.name));
        }
    }
    assert_eq!(seen.len(), FILES);
    assert_eq!(listing.next_page().await.unwrap(), None, "the end stays the end");
}

#[tokio::test]
async fn dropped_page_is_delivered_by_the_next_call() {
    let rig = Rig::new().await;
    for number in 0..600 {
        std::fs::write(rig.disk().join(number.to_string()), "").unwrap();
    }
    let mut listing = rig.home.list(&path("/"), true).await.unwrap();
    let mut count = 0;
    loop {
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            _ = listing.next_page() => {}
        }
        match listing.next_page().await.unwrap() {
            Some(page) => count += page.len(),
            None => break,
        }
    }
    assert_eq!(count, 600);
}

#[tokio::test]
async fn empty_missing_and_wrong_directories_say_so() {
    let rig = Rig::new().await;
    rig.put("/f", b"").await;
    rig.home.make_dir(&path("/empty"), false).await.unwrap();
    assert_eq!(list(&rig.home, "/empty").await, []);
    assert_err!(rig.home.list(&path("/no"), false).await, Error::NotFound { .. });
    assert_err!(rig.home.list(&path("/f"), false).await, Error::NotDirectory { .. });
}

#[tokio::test]
async fn names_removed_during_a_listing_are_no_error() {
    let rig = Rig::new().await;
    for number in 0..1000 {
        std::fs::write(rig.disk().join(number.to_string()), "").unwrap();
    }
    let mut listing = rig.home.list(&path("/"), false).await.unwrap();
    assert!(listing.next_page().await.unwrap().is_some());
    for number in 0..1000 {
        std::fs::remove_file(rig.disk().join(number.to_string())).unwrap();
    }
    while listing.next_page().await.unwrap().is_some() {}
}
