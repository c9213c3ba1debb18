//! Disks that are full or not there.

use std::fs;
use std::path::Path;

use ftp_tests::{MIB, Plan, Rig, eventually, noise, sha256, write_noise};
use serde_json::Value;

/// Four mebibytes for alice.
const SMALL_DISK: &str = "mkdir -p $RIG/homes/alice\nmount -t tmpfs -o size=4m none $RIG/homes/alice";

fn failures(rig: &Rig) -> Vec<Value> {
    let mut events = rig.log().events();
    events.retain(|event| event["level"] == "error");
    events
}

/// The room on a disk that is left to others than its owner.
fn free(path: &Path) -> u64 {
    let info = rustix::fs::statvfs(path).unwrap();
    info.f_bavail * info.f_frsize
}

#[test]
fn a_file_that_does_not_fit_on_the_disk_is_refused_before_a_byte() {
    let plan = Plan::new().user("alice", "");
    let Some(rig) = plan.start_within("a small disk", SMALL_DISK) else {
        return;
    };
    let alice = rig.cli("alice");
    write_noise(&alice.file("large"), 6 * MIB, 1);
    write_noise(&alice.file("fits"), MIB, 2);
    alice.run(["put", "large"]).exits(6).says("bytes free");
    alice.run(["put", "fits"]).ok();
    let counts = rig.check_df("alice");
    assert_eq!((counts.used, counts.uploads), (MIB, 0));
}

#[test]
fn a_disk_that_fills_in_the_middle_of_transfers_costs_nothing_that_was_stored() {
    let plan = Plan::new().user("alice", "");
    let Some(rig) = plan.start_within("a disk that fills", SMALL_DISK) else {
        return;
    };
    let alice = rig.cli("alice");
    write_noise(&alice.file("old"), MIB, 1);
    alice.run(["put", "old", "demo"]).ok();

    // Its size is known only at the end.
    let ran = alice.feed(["put", "--force", "-", "demo"], &noise(6 * 1024 * 1024, 2));
    ran.exits(6).says("disk");
    // Each would fit alone.
    for name in ["a", "b", "c"] {
        write_noise(&alice.file(name), 2 * MIB, 3);
    }
    let running: Vec<_> = ["a", "b", "c"].map(|name| alice.spawn(["put", name])).into();
    let codes: Vec<_> = running
        .into_iter()
        .map(|running| running.wait().code().unwrap())
        .collect();
    assert!(codes.iter().all(|code| [0, 6].contains(code)), "{codes:?}");
    assert!(codes.contains(&6), "three times two mebibytes do not fit into three");
    let home = rig.home("alice");
    assert_eq!(sha256(&home.join("demo")), sha256(&alice.file("old")));
    rig.check_df("alice");

    // Once there is room, everything goes on.
    for upload in alice.json(&["uploads"]) {
        alice
            .run(["uploads", "--discard", upload["path"].as_str().unwrap()])
            .ok();
    }
    for name in alice.names("/") {
        alice.run(["rm", &name]).ok();
    }
    alice.run(["put", "a"]).ok();
    assert_eq!(rig.check_df("alice").used, 2 * MIB);
    assert_eq!(sha256(&home.join("a")), sha256(&alice.file("a")));
}

#[test]
fn the_trash_gives_way_to_a_full_disk_the_oldest_first() {
    let plan = Plan::new().user("alice", "");
    let Some(rig) = plan.start_within("trash on a small disk", SMALL_DISK) else {
        return;
    };
    let alice = rig.cli("alice");
    let items = || {
        let items = alice.json(&["trash"]);
        let paths = items.iter().map(|item| item["path"].as_str().unwrap().to_owned());
        paths.collect::<Vec<_>>()
    };
    for (name, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        write_noise(&alice.file(name), MIB, seed);
        alice.run(["put", name]).ok();
        alice.run(["rm", name]).ok();
    }
    // What does not fit even without it takes nothing along.
    write_noise(&alice.file("large"), 6 * MIB, 4);
    alice.run(["put", "large"]).exits(6).says("bytes free");
    assert_eq!(items(), ["/c", "/b", "/a"]);
    // Announced, so that room is made before the first byte.
    write_noise(&alice.file("two"), 2 * MIB - 4096 * 16, 5);
    alice.run(["put", "two"]).ok();
    let left = items();
    assert!(
        left.starts_with(&["/c".to_owned()]) && !left.contains(&"/a".to_owned()),
        "{left:?}"
    );
    rig.check_df("alice");
    // Of unknown size: it makes room as it comes, and what it does not take stays.
    let stream = noise(usize::try_from(MIB + MIB / 2).unwrap(), 6);
    alice.feed(["put", "-", "stream"], &stream).ok();
    assert_eq!(fs::read(rig.home("alice").join("stream")).unwrap(), stream);
    assert_eq!(sha256(&rig.home("alice").join("two")), sha256(&alice.file("two")));
    let counts = rig.check_df("alice");
    assert_eq!(counts.uploads, 0);
    assert!(counts.trash <= MIB / 2, "{counts:?}");
}

#[test]
fn a_log_on_a_full_disk_stops_nobody_and_tells_of_its_hole() {
    let script = "mkdir -p $RIG/log\nmount -t tmpfs -o size=64k none $RIG/log";
    let Some(rig) = Plan::new().user("alice", "").start_within("a full log", script) else {
        return;
    };
    let alice = rig.cli("alice");
    let log = rig.seen("log/ftpd.jsonl");
    let filler = rig.seen("log/filler");
    fs::write(alice.file("f"), "x").unwrap();
    alice.run(["put", "f"]).ok();
    eventually("the log is written", || {
        fs::read_to_string(&log).ok()?.contains("\"put\"").then_some(())
    });
    // It fills what is left, the last byte of the last page included.
    let mut room = free(&rig.seen("log"));
    while room > 0 && fs::write(&filler, vec![0; usize::try_from(room).unwrap()]).is_err() {
        room -= 4096;
    }
    let length = fs::metadata(&log).unwrap().len();
    for _ in 0..12 {
        alice.run(["put", "--force", "f"]).ok();
    }
    let full = fs::metadata(&log).unwrap().len();
    assert!(full - length <= 4096, "the disk is full: {length}, {full}");
    fs::remove_file(&filler).unwrap();
    alice.run(["put", "--force", "f", "after"]).ok();
    eventually("the hole is told, and the log goes on", || {
        let text = fs::read_to_string(&log).unwrap();
        (text.contains("lost") && text.contains("/after")).then_some(())
    });
    for line in fs::read_to_string(&log).unwrap().lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[test]
fn a_home_that_is_covered_or_gone_is_refused_until_it_is_back() {
    let plan = Plan::new().user("alice", "").user("bob", "");
    let Some(rig) = plan.start_within("a covered home", SMALL_DISK) else {
        return;
    };
    let (alice, bob) = (rig.cli("alice"), rig.cli("bob"));
    write_noise(&alice.file("f"), MIB, 1);
    alice.run(["put", "f"]).ok();
    let why = || {
        let told = failures(&rig);
        told.iter()
            .filter(|event| event.to_string().contains("not the home it was"))
            .count()
    };
    for (number, (breaks, mends)) in [
        // Another disk in its place.
        ("mount -t tmpfs none $RIG/homes/alice", "umount $RIG/homes/alice"),
        // Nothing in its place.
        (
            "mount --move $RIG/homes/alice $RIG/local",
            "mount --move $RIG/local $RIG/homes/alice",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        rig.remount(breaks);
        alice.run(["put", "--force", "f"]).exits(1).says("its log says why");
        alice.run(["ls"]).exits(1);
        eventually("the log says why, once each", || {
            (why() == 2 * (number + 1)).then_some(())
        });
        bob.run(["ls"]).ok();
        rig.remount(mends);
        alice.run(["put", "--force", "f"]).ok();
        assert_eq!(alice.names("/"), ["f"]);
    }
    assert_eq!(rig.check_df("alice").used, MIB);
}

#[test]
fn a_home_that_is_renamed_or_deleted_is_never_made_anew_by_itself() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("f"), MIB, 1);
    alice.run(["put", "f"]).ok();
    let home = rig.home("alice");
    let away = rig.directory().join("away");
    fs::rename(&home, &away).unwrap();
    alice.run(["ls"]).exits(1).says("its log says why");
    assert!(!home.exists());
    fs::rename(&away, &home).unwrap();
    alice.run(["get", "f", "back"]).ok();
    assert_eq!(rig.check_df("alice").used, MIB);
    // A copy of it on another disk is a home as well.
    let copied = std::process::Command::new("cp")
        .args(["-a"])
        .arg(&home)
        .arg(&away)
        .status()
        .unwrap();
    assert!(copied.success());
    fs::rename(&home, rig.directory().join("former")).unwrap();
    fs::rename(&away, &home).unwrap();
    alice.run(["put", "f", "g"]).ok();
    assert_eq!(rig.check_df("alice").used, 2 * MIB);
    // Whoever wants an empty one says so by a restart.
    fs::remove_dir_all(&home).unwrap();
    alice.run(["put", "f", "h"]).exits(1);
    let mut rig = rig;
    rig.terminate();
    rig.restart();
    rig.cli("alice").run(["put", "f", "h"]).ok();
    assert_eq!(rig.check_df("alice").used, MIB);
}
