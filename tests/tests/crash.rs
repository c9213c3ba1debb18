//! `kill -9` of either side at any moment: nothing half-done is visible, nothing done is lost.

use std::collections::BTreeSet;
use std::fs;

use ftp_tests::{Break, Cli, Direction, MIB, Proxy, Rig, eventually, sha256, write_noise};

const SIZE: u64 = 24 * MIB;
const BREAK: u64 = 10 * MIB;
const IN_FLIGHT: u64 = 6 * MIB;

/// A rig with a stored file and another to put over it.
fn rig() -> (Rig, Cli) {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("old"), 2 * MIB, 1);
    write_noise(&alice.file("new"), SIZE, 2);
    alice.run(["put", "old", "demo"]).ok();
    (rig, alice)
}

/// The old file is whole, and there is nothing else.
fn old_is_intact(rig: &Rig) {
    let alice = rig.cli("alice");
    assert_eq!(alice.names("/"), ["demo"]);
    alice.run(["get", "--force", "demo", "check"]).ok();
    assert_eq!(sha256(&alice.file("check")), sha256(&alice.file("old")));
    let counts = rig.check_df("alice");
    assert_eq!((counts.used, counts.uploads), (2 * MIB, 1));
}

fn resume_completes(rig: &Rig) {
    let alice = rig.cli("alice");
    let put = alice.one(&["put", "--resume", "--force", "new", "demo"]);
    assert_eq!((&put["outcome"], &put["replaced"]), (&"resumed".into(), &true.into()));
    assert!(put["kept"].as_u64().unwrap() >= BREAK - IN_FLIGHT, "{put}");
    assert_eq!(sha256(&rig.home("alice").join("demo")), sha256(&alice.file("new")));
    let counts = rig.check_df("alice");
    assert_eq!((counts.used, counts.uploads), (SIZE, 0));
}

#[test]
fn a_client_killed_in_the_middle_of_an_overwriting_put_leaves_the_old_file() {
    let (rig, alice) = rig();
    let proxy = Proxy::start(rig.address()).and(Direction::Up, BREAK, Break::Stall);
    let running = alice.via(proxy.address()).spawn(["put", "--force", "new", "demo"]);
    proxy.wait_for_stall();
    rig.staged("alice", BREAK - IN_FLIGHT);
    running.kill();
    proxy.sever();
    rig.log().outcome("put", "/demo", "lost");
    old_is_intact(&rig);
    resume_completes(&rig);
}

#[test]
fn a_server_killed_in_the_middle_of_an_overwriting_put_leaves_the_old_file() {
    let (mut rig, alice) = rig();
    let proxy = Proxy::start(rig.address()).and(Direction::Up, BREAK, Break::Stall);
    let running = alice
        .via(proxy.address())
        .spawn(["--retries", "0", "put", "--force", "new", "demo"]);
    proxy.wait_for_stall();
    rig.staged("alice", BREAK - IN_FLIGHT);
    rig.kill();
    proxy.sever();
    running.wait().exits(8).says("--resume");
    assert_eq!(sha256(&rig.home("alice").join("demo")), sha256(&rig.local("old")));
    rig.restart();
    old_is_intact(&rig);
    resume_completes(&rig);
}

#[test]
fn a_client_killed_in_the_middle_of_a_get_leaves_the_old_file_and_goes_on_later() {
    let (rig, alice) = rig();
    alice.run(["put", "--force", "new", "demo"]).ok();
    fs::write(alice.file("target"), "old").unwrap();
    let proxy = Proxy::start(rig.address()).and(Direction::Down, BREAK, Break::Stall);
    let running = alice
        .clone()
        .via(proxy.address())
        .spawn(["get", "--force", "demo", "target"]);
    proxy.wait_for_stall();
    let part = alice.file(".target.ftp-part");
    eventually("the download is half way", || {
        fs::metadata(&part)
            .is_ok_and(|meta| meta.len() >= BREAK - IN_FLIGHT)
            .then_some(())
    });
    running.kill();
    assert_eq!(fs::read(alice.file("target")).unwrap(), b"old");
    let get = alice.one(&["get", "--resume", "--force", "demo", "target"]);
    assert_eq!(get["outcome"], "resumed");
    assert!(get["kept"].as_u64().unwrap() >= BREAK - IN_FLIGHT);
    assert_eq!(sha256(&alice.file("target")), sha256(&alice.file("new")));
}

#[test]
fn what_a_killed_server_has_acknowledged_is_there() {
    const FILES: u64 = 1500;
    let mut rig = Rig::start();
    let alice = rig.cli("alice");
    fs::create_dir(alice.file("tree")).unwrap();
    for number in 0..FILES {
        write_noise(&alice.file(&format!("tree/{number}")), 1000 + number, number);
    }
    let running = alice.spawn(["--json", "--retries", "0", "put", "-r", "tree"]);
    let tree = rig.home("alice").join("tree");
    eventually("some files are stored", || {
        (fs::read_dir(&tree).ok()?.count() > 300).then_some(())
    });
    rig.kill();
    let lines = running.wait().json();
    let acknowledged: BTreeSet<&str> = lines
        .iter()
        .filter(|line| line["outcome"] == "transferred")
        .map(|line| line["name"].as_str().unwrap())
        .collect();
    for name in &acknowledged {
        assert_eq!(sha256(&tree.join(name)), sha256(&alice.file("tree").join(name)));
    }
    // What was not acknowledged is there whole or not at all.
    for entry in fs::read_dir(&tree).unwrap() {
        let name = entry.unwrap().file_name();
        assert_eq!(sha256(&tree.join(&name)), sha256(&alice.file("tree").join(&name)));
    }
    rig.restart();
    rig.check_df("alice");
    rig.cli("alice").run(["put", "-r", "tree"]).ok();
    assert_eq!(rig.check_df("alice").entries, FILES + 1);
}
