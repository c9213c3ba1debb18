//! What was removed or replaced comes back, and gives way when something new needs the room.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use ftp_store::{
    Disposal, Durability, Error, Kind, Quota, Reason, Removed, Store, StoreOptions, TrashItem, TrashPolicy, Wanted,
};

use crate::assert_err;
use crate::rig::{Rig, list, noise, path, put, read, sha256, spec, write};

const AGE: Duration = Duration::from_secs(1000);

fn quota(bytes: u64, trash: u64) -> Quota {
    Quota {
        bytes: Some(bytes),
        entries: None,
        trash: TrashPolicy { bytes: trash, age: AGE },
    }
}

async fn rig() -> Rig {
    Rig::with_quota(quota(1_000_000, 500_000)).await
}

async fn remove(rig: &Rig, at: &str) -> Removed {
    rig.home.remove_file(&path(at), Disposal::Trash).await.unwrap()
}

fn newest(at: &str) -> Wanted {
    Wanted::Path(path(at), None)
}

async fn versions(rig: &Rig, at: &str) -> Vec<TrashItem> {
    rig.home.versions(&path(at), None).await.unwrap()
}

fn told(items: &[TrashItem]) -> Vec<(String, Reason, u64)> {
    items
        .iter()
        .map(|item| (item.path.to_string(), item.reason, item.bytes))
        .collect()
}

#[tokio::test]
async fn what_was_removed_comes_back_with_its_time_and_its_digest() {
    let rig = rig().await;
    let stored = rig.put("/dir/../f", b"hello").await;
    assert_eq!(
        remove(&rig, "/f").await,
        Removed {
            files: 1,
            dirs: 0,
            bytes: 5
        }
    );
    assert_err!(read(&rig.home, &path("/f")).await, Error::NotFound { .. });
    let usage = rig.check_usage().await;
    assert_eq!(
        (usage.used, usage.trash, usage.trash_entries, usage.free),
        (0, 5, 1, 1_000_000)
    );
    let trash = rig.home.trash(None).await.unwrap();
    assert_eq!(told(&trash), [("/f".to_owned(), Reason::Removed, 5)]);
    assert_eq!(trash[0].digest, Some(sha256(b"hello")));
    assert_eq!((trash[0].kind, trash[0].expires_in), (Kind::File, AGE));

    let restored = rig.home.restore(&newest("/f"), None, false).await.unwrap();
    assert_eq!(
        (restored.path, restored.bytes, restored.replaced),
        (path("/f"), 5, false)
    );
    assert_eq!(read(&rig.home, &path("/f")).await.unwrap(), b"hello");
    let entry = rig.home.stat(&path("/f"), true).await.unwrap();
    assert_eq!((entry.digest, entry.modified), (Some(stored.digest), stored.modified));
    assert_eq!(rig.check_usage().await.trash_entries, 0);
    assert_err!(
        rig.home.restore(&newest("/f"), None, false).await,
        Error::NotInTrash { .. }
    );
    assert_err!(
        rig.home.restore(&Wanted::Item(restored.id), None, false).await,
        Error::NotInTrash { .. }
    );
}

#[tokio::test]
async fn each_replaced_version_is_kept_and_found_by_its_path() {
    let rig = rig().await;
    for text in ["one", "two!", "three"] {
        rig.put("/f", text.as_bytes()).await;
    }
    rig.put("/other", b"x").await;
    rig.home.rename(&path("/other"), &path("/f"), true).await.unwrap();
    rig.put("/g", b"y").await;
    rig.home.copy(&path("/g"), &path("/f"), true).await.unwrap();
    let found = versions(&rig, "/f").await;
    let bytes: Vec<_> = found.iter().map(|item| (item.reason, item.bytes)).collect();
    assert_eq!(bytes, [1, 5, 4, 3].map(|bytes| (Reason::Replaced, bytes)));
    rig.check_usage().await;

    // Back to the second one; what it replaces becomes a version itself.
    let wanted = Wanted::Item(found[2].id);
    assert_err!(rig.home.restore(&wanted, None, false).await, Error::Exists { .. });
    assert!(rig.home.restore(&wanted, None, true).await.unwrap().replaced);
    assert_eq!(read(&rig.home, &path("/f")).await.unwrap(), b"two!");
    let bytes: Vec<_> = versions(&rig, "/f").await.iter().map(|item| item.bytes).collect();
    assert_eq!(bytes, [1, 1, 5, 3]);
    // Or beside it, where a parent is missing.
    let wanted = Wanted::Item(found[3].id);
    rig.home.restore(&wanted, Some(&path("/old/f.1")), false).await.unwrap();
    assert_eq!(read(&rig.home, &path("/old/f.1")).await.unwrap(), b"one");
    rig.check_usage().await;
}

#[tokio::test]
async fn a_removed_directory_is_one_item_and_gives_back_any_part() {
    let rig = rig().await;
    for dir in ["/d", "/d/sub", "/d/empty"] {
        rig.home.make_dir(&path(dir), false).await.unwrap();
    }
    rig.put("/d/a", b"a").await;
    rig.put("/d/sub/b", b"bb").await;
    rig.put("/d/sub/c", b"ccc").await;
    let removed = rig.home.remove_dir(&path("/d"), true, Disposal::Trash).await.unwrap();
    assert_eq!(
        removed,
        Removed {
            files: 3,
            dirs: 3,
            bytes: 6
        }
    );
    assert_eq!(list(&rig.home, "/").await, []);
    let usage = rig.check_usage().await;
    assert_eq!((usage.entries, usage.trash, usage.trash_entries), (0, 6, 6));
    let trash = rig.home.trash(None).await.unwrap();
    assert_eq!(told(&trash), [("/d".to_owned(), Reason::Removed, 6)]);
    assert_eq!((trash[0].kind, trash[0].entries), (Kind::Directory, 6));

    let found = versions(&rig, "/d/sub/b").await;
    assert_eq!(told(&found), [("/d/sub/b".to_owned(), Reason::Removed, 2)]);
    assert_eq!(versions(&rig, "/d/sub/none").await, []);
    assert_eq!(versions(&rig, "/d/a/none").await, []);
    rig.home.restore(&newest("/d/sub/b"), None, false).await.unwrap();
    assert_eq!(list(&rig.home, "/d/sub").await, [("b".to_owned(), Kind::File)]);
    assert_eq!(rig.check_usage().await.trash, 4);
    let part = Wanted::Path(path("/d/sub"), Some(trash[0].id));
    assert_err!(rig.home.restore(&part, None, true).await, Error::IsDirectory { .. });
    rig.home.restore(&part, Some(&path("/sub")), false).await.unwrap();
    assert_eq!(read(&rig.home, &path("/sub/c")).await.unwrap(), b"ccc");
    assert_err!(
        rig.home.restore(&Wanted::Item(trash[0].id), None, false).await,
        Error::Exists { .. }
    );
    rig.home
        .restore(&Wanted::Item(trash[0].id), Some(&path("/d2")), false)
        .await
        .unwrap();
    assert_eq!(list(&rig.home, "/d2").await.len(), 2);
    let usage = rig.check_usage().await;
    assert_eq!((usage.used, usage.trash, usage.trash_entries), (6, 0, 0));
}

#[tokio::test]
async fn a_part_is_not_restored_over_a_second_name_of_itself() {
    let rig = rig().await;
    for dir in ["/a", "/b"] {
        rig.home.make_dir(&path(dir), false).await.unwrap();
    }
    rig.put("/a/f", b"bytes").await;
    std::fs::hard_link(rig.disk().join("a/f"), rig.disk().join("b/f")).unwrap();
    rig.home.remove_dir(&path("/a"), true, Disposal::Trash).await.unwrap();
    let reading = rig.home.open_read(&path("/b/f")).await.unwrap();
    assert_err!(
        rig.home.restore(&newest("/a/f"), Some(&path("/b/f")), true).await,
        Error::Exists { .. }
    );
    drop(reading);
    assert_eq!(told(&versions(&rig, "/a/f").await).len(), 1, "it stays in the trash");
}

#[tokio::test]
async fn what_can_not_be_kept_for_another_reason_than_room_is_not_removed() {
    let rig = rig().await;
    rig.put("/f", b"bytes").await;
    // In the way of the record, whatever its number is.
    let trash = rig.disk().join(".ftpd/trash");
    for number in 0..10 {
        std::fs::create_dir(trash.join(format!("{number}.json.tmp"))).ok();
        std::fs::create_dir(trash.join(format!("{number}.tmp"))).ok();
    }
    rig.home.remove_file(&path("/f"), Disposal::Trash).await.unwrap_err();
    assert_eq!(read(&rig.home, &path("/f")).await.unwrap(), b"bytes");
    put(&rig.home, &path("/f"), b"newer").await.unwrap_err();
    assert_eq!(read(&rig.home, &path("/f")).await.unwrap(), b"bytes");
    rig.home.remove_file(&path("/f"), Disposal::Forever).await.unwrap();
}

#[tokio::test]
async fn the_oldest_gives_way_to_what_is_new() {
    let rig = Rig::with_quota(quota(1000, 1000)).await;
    for name in ["/a", "/b", "/c"] {
        rig.put(name, &noise(300)).await;
        remove(&rig, name).await;
    }
    assert_eq!(rig.check_usage().await.free, 1000);
    rig.put("/new", &noise(350)).await;
    let left: Vec<_> = rig
        .home
        .trash(None)
        .await
        .unwrap()
        .into_iter()
        .map(|item| item.path)
        .collect();
    assert_eq!(left, [path("/c"), path("/b")]);
    // Room is made when it is booked, before a byte is written.
    let upload = rig.home.begin_upload(&path("/big"), spec(650)).await.unwrap();
    assert_eq!(rig.home.trash(None).await.unwrap(), []);
    drop(upload);
    // What can never fit takes nothing along.
    remove(&rig, "/new").await;
    assert_err!(
        put(&rig.home, &path("/huge"), &noise(1001)).await,
        Error::QuotaBytes {
            limit: 1000,
            used: 0,
            ..
        }
    );
    assert_eq!(rig.home.trash(None).await.unwrap().len(), 1);
    // Bytes of unknown number push it out as they come.
    let unknown = ftp_store::UploadSpec { size: None, ..spec(0) };
    let mut upload = rig.home.begin_upload(&path("/stream"), unknown).await.unwrap();
    write(&mut upload, 0, &noise(900)).await.unwrap();
    upload.commit(900, sha256(&noise(900))).await.unwrap();
    assert_eq!(rig.home.trash(None).await.unwrap(), []);
    assert_eq!(rig.check_usage().await.used, 900);
}

#[tokio::test]
async fn budget_and_entries_bound_the_trash_too() {
    let rig = Rig::with_quota(Quota {
        bytes: None,
        entries: Some(4),
        trash: TrashPolicy { bytes: 100, age: AGE },
    })
    .await;
    for (name, size) in [("/a", 60), ("/b", 50), ("/large", 101)] {
        rig.put(name, &noise(size)).await;
        remove(&rig, name).await;
    }
    // The second pushes out the first; what is larger than all of it is not kept.
    let usage = rig.check_usage().await;
    assert_eq!((usage.trash, usage.trash_entries, usage.trash_limit), (50, 1, 100));
    for name in ["/1", "/2", "/3", "/4"] {
        rig.home.make_dir(&path(name), false).await.unwrap();
    }
    assert_eq!(rig.check_usage().await.trash_entries, 0);
    rig.home.remove_dir(&path("/4"), true, Disposal::Forever).await.unwrap();
    rig.put("/f", b"1").await;
    rig.home.set_quota(Quota::default());
    remove(&rig, "/f").await;
    assert_eq!(
        rig.check_usage().await.trash_entries,
        0,
        "nothing is kept without a budget"
    );
}

#[tokio::test]
async fn a_directory_beyond_the_budget_leaves_at_once() {
    let rig = Rig::with_quota(quota(1_000_000, 100)).await;
    rig.home.make_dir(&path("/d"), false).await.unwrap();
    rig.put("/d/a", &noise(60)).await;
    rig.put("/d/b", &noise(60)).await;
    let removed = rig.home.remove_dir(&path("/d"), true, Disposal::Trash).await.unwrap();
    assert_eq!(
        removed,
        Removed {
            files: 2,
            dirs: 1,
            bytes: 120
        }
    );
    let usage = rig.check_usage().await;
    assert_eq!((usage.used, usage.trash, usage.trash_entries), (0, 0, 0));
}

#[tokio::test]
async fn a_directory_beyond_the_budget_takes_nothing_else_along() {
    let rig = Rig::with_quota(quota(1_000_000, 100)).await;
    rig.put("/kept", &noise(30)).await;
    remove(&rig, "/kept").await;
    rig.home.make_dir(&path("/d"), false).await.unwrap();
    rig.put("/d/a", &noise(60)).await;
    rig.put("/d/b", &noise(60)).await;
    rig.home.remove_dir(&path("/d"), true, Disposal::Trash).await.unwrap();
    let trash = rig.home.trash(None).await.unwrap();
    assert_eq!(told(&trash), [("/kept".to_owned(), Reason::Removed, 30)]);
    assert_eq!(rig.check_usage().await.trash_entries, 1);
}

#[tokio::test]
async fn what_is_old_leaves_and_what_is_purged_is_gone() {
    let rig = rig().await;
    for name in ["/a", "/b", "/c"] {
        rig.put(name, b"1").await;
    }
    remove(&rig, "/a").await;
    tokio::time::pause();
    tokio::time::advance(AGE / 2).await;
    remove(&rig, "/b").await;
    tokio::time::advance(AGE / 2).await;
    rig.store.expire().await.unwrap();
    tokio::time::resume();
    let left = rig.home.trash(None).await.unwrap();
    assert_eq!(told(&left), [("/b".to_owned(), Reason::Removed, 1)]);
    assert!(left[0].expires_in <= AGE / 2);
    remove(&rig, "/c").await;
    let gone = rig.home.purge(Some(vec![left[0].id, 9999])).await.unwrap();
    assert_eq!(
        gone,
        Removed {
            files: 1,
            dirs: 0,
            bytes: 1
        }
    );
    assert_eq!(rig.home.purge(None).await.unwrap().files, 1);
    assert_eq!(rig.check_usage().await.trash, 0);
}

#[tokio::test]
async fn forever_leaves_nothing_behind() {
    let rig = rig().await;
    rig.home.make_dir(&path("/d/e"), true).await.unwrap();
    rig.put("/d/e/f", b"123").await;
    rig.put("/g", b"4").await;
    let removed = rig.home.remove_dir(&path("/d"), true, Disposal::Forever).await.unwrap();
    assert_eq!(
        removed,
        Removed {
            files: 1,
            dirs: 2,
            bytes: 3
        }
    );
    rig.home.remove_file(&path("/g"), Disposal::Forever).await.unwrap();
    assert_eq!(rig.home.trash(None).await.unwrap(), []);
    let usage = rig.check_usage().await;
    assert_eq!((usage.used, usage.entries, usage.trash), (0, 0, 0));
    assert_eq!(std::fs::read_dir(rig.disk().join(".ftpd/trash")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_running_download_outlives_removal_restoring_and_replacing() {
    let rig = rig().await;
    rig.put("/f", &noise(100_000)).await;
    let file = rig.home.open_read(&path("/f")).await.unwrap();
    remove(&rig, "/f").await;
    assert!(file.unchanged().await.unwrap());
    rig.home.restore(&newest("/f"), None, false).await.unwrap();
    assert!(file.unchanged().await.unwrap());
    rig.put("/f", b"new").await;
    assert!(file.unchanged().await.unwrap());
    rig.home.purge(None).await.unwrap();
    assert!(file.unchanged().await.unwrap());
    rig.home.make_dir(&path("/d"), false).await.unwrap();
    rig.put("/d/g", b"123").await;
    let inside = rig.home.open_read(&path("/d/g")).await.unwrap();
    rig.home.remove_dir(&path("/d"), true, Disposal::Trash).await.unwrap();
    rig.home.purge(None).await.unwrap();
    assert!(inside.unchanged().await.unwrap());
}

#[tokio::test]
async fn the_next_life_finds_the_trash_and_sorts_out_what_a_crash_left() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("home");
    let options = StoreOptions {
        durability: Durability::None,
        ..StoreOptions::default()
    };
    let trash = dir.join(".ftpd/trash");
    {
        let home = Store::new(options).open_home(&dir, quota(1000, 1000)).await.unwrap();
        for text in ["one", "two"] {
            put(&home, &path("/f"), text.as_bytes()).await.unwrap();
        }
        put(&home, &path("/g"), b"gg").await.unwrap();
        home.remove_file(&path("/g"), Disposal::Trash).await.unwrap();
    }
    // A crash between the second name of the old version and the new version's.
    std::fs::hard_link(dir.join("f"), trash.join("40")).unwrap();
    let record = std::fs::read_to_string(trash.join("0.json")).unwrap();
    std::fs::write(trash.join("40.json"), &record).unwrap();
    // Records of nothing, half a record, a deletion that was under way, an item without its record.
    std::fs::write(trash.join("41.json"), &record).unwrap();
    std::fs::write(trash.join("42.tmp"), "{").unwrap();
    std::fs::create_dir_all(trash.join("43.gone/deep")).unwrap();
    std::fs::write(trash.join("43.gone/deep/file"), "x").unwrap();
    std::fs::write(trash.join("44"), "lost").unwrap();
    // Another version's.
    std::fs::write(trash.join("45"), "other").unwrap();
    std::fs::write(trash.join("45.json"), record.replace("\"version\":1", "\"version\":2")).unwrap();

    let home = Store::new(options).open_home(&dir, quota(1000, 1000)).await.unwrap();
    crate::rig::check_usage(&home, &dir).await;
    let items = home.trash(None).await.unwrap();
    let paths: Vec<_> = items.iter().map(|item| item.path.to_string()).collect();
    assert_eq!(paths, ["/lost-44", "/g", "/f"]);
    assert_eq!(std::fs::metadata(dir.join("f")).unwrap().nlink(), 1);
    assert_err!(
        home.restore(&Wanted::Item(45), None, false).await,
        Error::TrashVersion {
            item: 45,
            found: 2,
            known: 1
        }
    );
    // Asked for by its number it is refused, and nothing else of what was asked for is done.
    let first = items[2].id;
    assert_err!(
        home.purge(Some(vec![first, 45])).await,
        Error::TrashVersion { item: 45, .. }
    );
    assert!(trash.join("45").exists() && trash.join(first.to_string()).exists());
    home.restore(&Wanted::Item(44), None, false).await.unwrap();
    assert_eq!(read(&home, &path("/lost-44")).await.unwrap(), b"lost");
    // New items do not take the numbers of old ones.
    home.remove_file(&path("/lost-44"), Disposal::Trash).await.unwrap();
    assert!(home.trash(None).await.unwrap()[0].id > 45);
    home.purge(None).await.unwrap();
    assert!(trash.join("45").exists(), "what another version made is left alone");
    crate::rig::check_usage(&home, &dir).await;
}

/// What a crash has left of a restore: names that have moved, records that have not gone.
#[tokio::test]
async fn a_restore_that_ended_in_the_middle_is_done_or_can_be_done_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("home");
    let trash = dir.join(".ftpd/trash");
    let options = StoreOptions {
        durability: Durability::None,
        ..StoreOptions::default()
    };
    let open = async || Store::new(options).open_home(&dir, quota(1000, 1000)).await.unwrap();
    let mut ids = Vec::new();
    {
        let home = open().await;
        for name in ["/file", "/over", "/tree/part", "/tree/rest", "/whole/x"] {
            home.make_dir(&path(name).parent().unwrap(), true).await.unwrap();
            put(&home, &path(name), name.as_bytes()).await.unwrap();
        }
        for name in ["/file", "/over"] {
            home.remove_file(&path(name), Disposal::Trash).await.unwrap();
            ids.push(home.trash(None).await.unwrap()[0].id);
        }
        for name in ["/tree", "/whole"] {
            home.remove_dir(&path(name), true, Disposal::Trash).await.unwrap();
            ids.push(home.trash(None).await.unwrap()[0].id);
        }
        put(&home, &path("/over"), b"stands").await.unwrap();
    }
    let [file, over, tree, whole] = ids.try_into().unwrap();
    let item = |id: u64| trash.join(id.to_string());
    // The rename is done, the record still there: of a file, of a directory, and of a part of one.
    std::fs::rename(item(file), dir.join("file")).unwrap();
    std::fs::rename(item(whole), dir.join("whole")).unwrap();
    std::fs::create_dir(dir.join("tree")).unwrap();
    std::fs::rename(item(tree).join("part"), dir.join("tree/part")).unwrap();
    // What is to be replaced has its second name already, and nothing has moved.
    let record = std::fs::read_to_string(trash.join(format!("{over}.json"))).unwrap();
    std::fs::hard_link(dir.join("over"), trash.join("90")).unwrap();
    std::fs::write(trash.join("90.json"), record).unwrap();

    let home = open().await;
    crate::rig::check_usage(&home, &dir).await;
    for name in ["/file", "/whole/x", "/tree/part"] {
        assert_eq!(read(&home, &path(name)).await.unwrap(), name.as_bytes());
    }
    for id in [file, whole] {
        assert_err!(
            home.restore(&Wanted::Item(id), None, true).await,
            Error::NotInTrash { .. }
        );
        assert!(!trash.join(format!("{id}.json")).exists());
    }
    home.restore(&newest("/tree/rest"), None, false).await.unwrap();
    assert_eq!(read(&home, &path("/over")).await.unwrap(), b"stands");
    assert!(home.restore(&newest("/over"), None, true).await.unwrap().replaced);
    assert_eq!(read(&home, &path("/over")).await.unwrap(), b"/over");
    assert_eq!(read(&home, &path("/tree/rest")).await.unwrap(), b"/tree/rest");
    let usage = crate::rig::check_usage(&home, &dir).await;
    // The empty directory of the tree, and what stood there.
    assert_eq!((usage.trash, usage.trash_entries), (6, 2));
}

#[tokio::test]
async fn a_restore_that_is_refused_changes_nothing() {
    let rig = Rig::with_quota(quota(1000, 1000)).await;
    rig.put("/f", &noise(600)).await;
    remove(&rig, "/f").await;
    let upload = rig.home.begin_upload(&path("/running"), spec(300)).await.unwrap();
    let file = Wanted::Item(rig.home.trash(None).await.unwrap()[0].id);
    rig.home.make_dir(&path("/dir"), false).await.unwrap();
    assert_err!(
        rig.home.restore(&file, Some(&path("/dir")), true).await,
        Error::IsDirectory { .. }
    );
    rig.put("/g", &noise(100)).await;
    assert_err!(
        rig.home.restore(&file, Some(&path("/g/under")), false).await,
        Error::NotDirectory { .. }
    );
    rig.home.set_quota(quota(900, 1000));
    assert_err!(rig.home.restore(&file, None, false).await, Error::QuotaBytes { .. });
    assert_err!(
        rig.home.restore(&file, Some(&path("/a/b/f")), false).await,
        Error::QuotaBytes { .. }
    );
    assert_err!(rig.home.stat(&path("/a"), false).await, Error::NotFound { .. });
    // There are two and a running upload; the file would be the fourth, its directories are too many.
    let few = Quota {
        entries: Some(4),
        ..quota(10_000, 1000)
    };
    rig.home.set_quota(few);
    assert_err!(
        rig.home.restore(&file, Some(&path("/a/b/f")), false).await,
        Error::QuotaEntries { .. }
    );
    assert_err!(rig.home.stat(&path("/a"), false).await, Error::NotFound { .. });
    rig.home.set_quota(quota(900, 1000));
    drop(upload);
    let usage = rig.check_usage().await;
    assert_eq!((usage.used, usage.trash), (100, 600));
    rig.home.restore(&file, None, false).await.unwrap();
}

#[tokio::test]
async fn a_long_trash_comes_in_pages() {
    let rig = rig().await;
    for number in 0..300 {
        let name = format!("/{number}");
        rig.put(&name, b"").await;
        remove(&rig, &name).await;
    }
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = rig.home.trash(before).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        all.extend(page);
    }
    assert_eq!(all.len(), 300);
    assert!(all.is_sorted_by(|newer, older| newer.id > older.id));
}
