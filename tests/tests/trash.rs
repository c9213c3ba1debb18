//! What a user removes or replaces comes back; the trash stays within its bounds, across restarts too.

use std::fs;

use ftp_tests::{MIB, Plan, Rig, sha256, write_noise};

/// The items of `trash` or `versions`, newest first.
fn items(cli: &ftp_tests::Cli, args: &[&str]) -> Vec<(u64, String, String)> {
    let lines = cli.json(args);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines
        .iter()
        .map(|line| {
            (
                line["item"].as_u64().unwrap(),
                text(&line["path"]),
                text(&line["reason"]),
            )
        })
        .collect()
}

#[test]
fn a_removed_file_comes_back_whole_with_its_time_and_digest() {
    let mut rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("film"), 3 * MIB, 1);
    alice.run(["put", "film"]).ok();
    let before = alice.one(&["stat", "film"]);
    alice.run(["rm", "film"]).ok();
    alice.run(["get", "film"]).exits(4);
    rig.check_df("alice");
    // Also for a server that was killed meanwhile.
    rig.kill();
    rig.restart();
    let alice = rig.cli("alice");
    rig.check_df("alice");
    assert!(alice.run(["trash"]).ok().stdout().contains("film"));
    alice.run(["restore", "film"]).ok();
    assert_eq!(alice.one(&["stat", "film"]), before);
    alice.run(["get", "film", "back"]).ok();
    assert_eq!(sha256(&alice.file("back")), sha256(&alice.file("film")));
    assert_eq!(rig.check_df("alice").trash, 0);
    alice.run(["restore", "film"]).exits(4).says("not in the trash");
}

#[test]
fn versions_of_a_replaced_file_are_listed_and_restored_by_number() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for text in ["one", "two", "three"] {
        fs::write(alice.file("f"), text).unwrap();
        alice.run(["put", "-f", "f"]).ok();
    }
    let versions = items(&alice, &["versions", "f"]);
    assert_eq!(versions.len(), 2);
    assert!(
        versions
            .iter()
            .all(|(_, path, reason)| path == "/f" && reason == "replaced")
    );
    let oldest = versions[1].0.to_string();
    alice.run(["restore", "--item", &oldest]).exits(5).says("exists");
    alice.run(["restore", "--item", &oldest, "--to", "old/f"]).ok();
    alice.run(["restore", "-f", "f"]).ok();
    assert_eq!(fs::read(rig.home("alice").join("old/f")).unwrap(), b"one");
    assert_eq!(fs::read(rig.home("alice").join("f")).unwrap(), b"two");
    assert!(alice.run(["versions", "f"]).ok().stdout().contains("replaced"));
    let counts = rig.check_df("alice");
    assert_eq!((counts.trash, counts.trash_entries), (5, 1));
    alice.run(["versions", "nothing"]).ok().says("no older versions");
}

#[test]
fn a_removed_tree_is_one_step_and_gives_back_one_file_or_all() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    fs::create_dir_all(alice.file("tree/sub")).unwrap();
    for name in ["tree/a", "tree/sub/b"] {
        fs::write(alice.file(name), name).unwrap();
    }
    alice.run(["put", "-r", "tree"]).ok();
    alice.run(["rm", "-r", "tree"]).ok();
    assert_eq!(alice.names("/"), Vec::<String>::new());
    assert_eq!(rig.check_df("alice").trash_entries, 4);
    alice.run(["restore", "tree/sub/b"]).ok();
    assert_eq!(alice.names("/tree"), ["sub"]);
    alice.run(["restore", "tree", "--to", "tree2"]).ok();
    assert_eq!(alice.names("/tree2"), ["a", "sub"]);
    rig.check_df("alice");
    alice.run(["rm", "-r", "--forever", "tree2"]).ok();
    alice.run(["rm", "tree/sub/b"]).ok();
    alice.run(["trash", "--empty"]).ok().says("1 entry deleted for good");
    alice.run(["trash"]).ok().says("the trash is empty");
    let counts = rig.check_df("alice");
    assert_eq!((counts.trash, counts.trash_entries), (0, 0));
}

#[test]
fn the_trash_makes_room_by_itself_and_follows_a_reload() {
    let mut rig = Plan::new().user("alice", "quota = \"10 MiB\"").start();
    let alice = rig.cli("alice");
    for (name, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        write_noise(&alice.file(name), 3 * MIB, seed);
        alice.run(["put", name]).ok();
        alice.run(["rm", name]).ok();
    }
    let df = alice.one(&["df"]);
    assert_eq!((&df["trash"], &df["free"]), (&(9 * MIB).into(), &(10 * MIB).into()));
    write_noise(&alice.file("big"), 5 * MIB, 4);
    alice.run(["put", "big"]).ok();
    let paths: Vec<_> = items(&alice, &["trash"]).into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(paths, ["/c"]);
    rig.check_df("alice");
    rig.set_user("alice", "quota = \"10 MiB\"\ntrash = \"off\"");
    rig.reload();
    alice.run(["rm", "big"]).ok();
    assert_eq!(rig.check_df("alice").trash, 0);
}

#[test]
fn rights_hold_for_the_trash_as_well() {
    let mut rig = Rig::start();
    let alice = rig.cli("alice");
    for text in ["one", "two"] {
        fs::write(alice.file("f"), text).unwrap();
        alice.run(["put", "-f", "f"]).ok();
    }
    rig.set_user("alice", "rights = [\"read\", \"write\"]");
    rig.reload();
    alice.run(["trash", "--empty"]).exits(5).says("right to delete");
    alice.run(["restore", "-f", "f"]).exits(5);
    let item = items(&alice, &["trash"])[0].0.to_string();
    alice.run(["restore", "-f", "--item", &item]).exits(5);
    alice.run(["restore", "f", "--to", "g"]).ok();
    rig.set_user("alice", "rights = [\"write\"]");
    rig.reload();
    alice.run(["trash"]).exits(5);
    assert_eq!(fs::read(rig.home("alice").join("f")).unwrap(), b"two");
}

#[test]
fn an_item_of_another_version_is_told_to_be_left_alone_and_is() {
    let mut rig = Rig::start();
    let alice = rig.cli("alice");
    for name in ["f", "g"] {
        fs::write(alice.file(name), name).unwrap();
        alice.run(["put", name]).ok();
        alice.run(["rm", name]).ok();
    }
    let item = items(&alice, &["trash"])[1].0.to_string();
    rig.terminate();
    let trash = rig.home("alice").join(".ftpd/trash");
    let record = trash.join(format!("{item}.json"));
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"version\":1", "\"version\":2")).unwrap();
    rig.restart();
    let alice = rig.cli("alice");
    assert_eq!(items(&alice, &["trash"]).len(), 1);
    alice.run(["trash", "--delete", &item]).exits(1).says("left alone");
    alice.run(["restore", "--item", &item]).exits(1).says("left alone");
    alice.run(["trash", "--empty"]).ok().says("1 entry deleted for good");
    assert_eq!(fs::read_to_string(trash.join(&item)).unwrap(), "f");
    assert_eq!(rig.check_df("alice").trash_entries, 1);
}
