//! Names of any bytes, and what renaming and removing do to them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use ftp_store::{Disposal, Error, FilePath, Kind, MAX_COMPONENTS, PathError};

use crate::assert_err;
use crate::rig::{Rig, list, path, put, read};

#[tokio::test]
async fn every_possible_name_can_be_stored_listed_read_and_removed() {
    let rig = Rig::new().await;
    let long = "\u{4e2d}".repeat(85);
    assert_eq!(long.len(), 255);
    for name in [
        &b"with space"[..],
        b"quote'\"`",
        b"new\nline\ttab\x1b[31m",
        "\u{4e2d}\u{6587} \u{1f980}".as_bytes(),
        b"not utf-8 \xff\xfe",
        b"-rf",
        b"%41 \\x41",
        b"...",
        long.as_bytes(),
    ] {
        let at = FilePath::root().join(OsStr::from_bytes(name)).unwrap();
        put(&rig.home, &at, b"abc").await.unwrap();
        let mut listing = rig.home.list(&path("/"), true).await.unwrap();
        let page = listing.next_page().await.unwrap().unwrap();
        assert_eq!(page[0].name.as_bytes(), name);
        assert!(page[0].digest.is_some());
        assert_eq!(read(&rig.home, &at).await.unwrap(), b"abc");
        rig.home.remove_file(&at, Disposal::Trash).await.unwrap();
    }
    assert_eq!(rig.check_usage().await.entries, 0);
}

#[tokio::test]
async fn deepest_path_can_be_made_and_removed() {
    let rig = Rig::new().await;
    let deep = path(&"d/".repeat(255));
    rig.home.make_dir(&deep, true).await.unwrap();
    put(&rig.home, &deep.join(OsStr::new("f")).unwrap(), b"abc")
        .await
        .unwrap();
    assert_eq!(rig.check_usage().await.entries, 256);
    let removed = rig.home.remove_dir(&path("/d"), true, Disposal::Trash).await.unwrap();
    assert_eq!((removed.files, removed.dirs, removed.bytes), (1, 255, 3));
    rig.check_usage().await;
}

#[tokio::test]
async fn tree_is_not_moved_where_its_bottom_has_no_path() {
    let rig = Rig::new().await;
    let home = &rig.home;
    let half = MAX_COMPONENTS / 2;
    home.make_dir(&path(&"a/".repeat(half)), true).await.unwrap();
    let down = "b/".repeat(half);
    home.make_dir(&path(&down), true).await.unwrap();
    let deepest = path(&format!("{down}a"));
    home.rename(&path("/a"), &deepest, false).await.unwrap();
    home.rename(&deepest, &path("/a"), false).await.unwrap();
    // One level more, and for that a file is enough.
    rig.put(&format!("{}file", "a/".repeat(half)), b"").await;
    assert_err!(
        home.rename(&path("/a"), &deepest, false).await,
        Error::Path(PathError::TooDeep)
    );
    rig.check_usage().await;
}

#[tokio::test]
async fn directories_are_made_one_by_one_or_with_parents() {
    let rig = Rig::new().await;
    let home = &rig.home;
    assert_err!(home.make_dir(&path("/a/b"), false).await, Error::NotFound { .. });
    home.make_dir(&path("/a/b"), true).await.unwrap();
    home.make_dir(&path("/a/b"), true).await.unwrap();
    assert_err!(home.make_dir(&path("/a/b"), false).await, Error::Exists { .. });
    rig.put("/f", b"").await;
    assert_err!(home.make_dir(&path("/f"), true).await, Error::NotDirectory { .. });
    assert_err!(home.make_dir(&path("/f/g"), true).await, Error::NotDirectory { .. });
    assert_eq!(rig.check_usage().await.entries, 3);
}

#[tokio::test]
async fn rename_takes_the_place_of_files_only_and_only_when_asked() {
    let rig = Rig::new().await;
    let home = &rig.home;
    rig.put("/a", b"a").await;
    rig.put("/b", b"bb").await;
    home.make_dir(&path("/dir/sub"), true).await.unwrap();
    home.make_dir(&path("/empty"), false).await.unwrap();
    assert_err!(
        home.rename(&path("/no"), &path("/x"), true).await,
        Error::NotFound { .. }
    );
    assert_err!(home.rename(&path("/a"), &path("/b"), false).await, Error::Exists { .. });
    assert_err!(home.rename(&path("/a"), &path("/a"), false).await, Error::Exists { .. });
    home.rename(&path("/a"), &path("/a"), true).await.unwrap();
    assert_err!(
        home.rename(&path("/a"), &path("/empty"), true).await,
        Error::IsDirectory { .. }
    );
    assert_err!(
        home.rename(&path("/dir"), &path("/empty"), true).await,
        Error::IsDirectory { .. }
    );
    assert_err!(
        home.rename(&path("/dir"), &path("/b"), true).await,
        Error::NotDirectory { .. }
    );
    assert_err!(
        home.rename(&path("/dir"), &path("/dir/sub/x"), true).await,
        Error::IntoItself { .. }
    );
    home.rename(&path("/a"), &path("/b"), true).await.unwrap();
    home.rename(&path("/dir"), &path("/moved"), false).await.unwrap();
    assert_eq!(
        list(home, "/").await,
        [
            ("b".into(), Kind::File),
            ("empty".into(), Kind::Directory),
            ("moved".into(), Kind::Directory)
        ]
    );
    let usage = rig.check_usage().await;
    assert_eq!((usage.used, usage.entries), (1, 4));
}

#[tokio::test]
async fn directory_renamed_into_itself_through_a_link_is_refused() {
    let rig = Rig::new().await;
    rig.home.make_dir(&path("/dir"), false).await.unwrap();
    std::os::unix::fs::symlink("dir", rig.disk().join("link")).unwrap();
    assert_err!(
        rig.home.rename(&path("/dir"), &path("/link/x"), false).await,
        Error::IntoItself { .. }
    );
}

#[tokio::test]
async fn two_names_of_one_file_become_one_by_renaming() {
    let rig = Rig::prepared(|home| {
        std::fs::write(home.join("a"), "abc").unwrap();
        std::fs::hard_link(home.join("a"), home.join("b")).unwrap();
    })
    .await;
    rig.home.rename(&path("/a"), &path("/b"), true).await.unwrap();
    assert_eq!(list(&rig.home, "/").await, [("b".into(), Kind::File)]);
    rig.check_usage().await;
}

#[tokio::test]
async fn removing_takes_what_was_meant_and_nothing_else() {
    let rig = Rig::new().await;
    let home = &rig.home;
    home.make_dir(&path("/dir/sub"), true).await.unwrap();
    rig.put("/dir/f", b"12345").await;
    assert_err!(
        home.remove_file(&path("/dir"), Disposal::Trash).await,
        Error::IsDirectory { .. }
    );
    assert_err!(
        home.remove_dir(&path("/dir/f"), true, Disposal::Trash).await,
        Error::NotDirectory { .. }
    );
    assert_err!(
        home.remove_dir(&path("/dir"), false, Disposal::Trash).await,
        Error::NotEmpty { .. }
    );
    assert_err!(
        home.remove_file(&path("/no"), Disposal::Trash).await,
        Error::NotFound { .. }
    );
    assert_err!(
        home.remove_dir(&path("/no"), true, Disposal::Trash).await,
        Error::NotFound { .. }
    );
    assert_eq!(
        home.remove_file(&path("/dir/f"), Disposal::Trash).await.unwrap().bytes,
        5
    );
    let removed = home.remove_dir(&path("/dir"), true, Disposal::Trash).await.unwrap();
    assert_eq!((removed.files, removed.dirs), (0, 2));
    assert_eq!(rig.check_usage().await.entries, 0);
}

#[tokio::test]
async fn messages_cannot_be_forged_by_names() {
    let rig = Rig::new().await;
    let Err(error) = rig.home.stat(&path("/a\nINFO forged\u{1b}[2J"), false).await else {
        panic!("no error");
    };
    assert_eq!(error.to_string(), "/a\\nINFO forged\\u{1b}[2J does not exist");
}
