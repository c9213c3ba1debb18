//! What was done has not to be done again, and what comes out is right whatever happened.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::SystemTime;

use ftp_tests::{
    Break, Cli, Direction, LinkFault, MIB, Plan, Proxy, Rig, eventually, flip_byte, noise, parts, sha256, write_noise,
};
use serde_json::Value;

/// The size of the files here, and where their transfers break.
const SIZE: u64 = 24 * MIB;
const BREAK: u64 = 10 * MIB;

/// What may be on the way, unwritten, when a connection breaks.
const IN_FLIGHT: u64 = 6 * MIB;

/// The block in which prefixes of these sizes are compared.
const BLOCK: u64 = ftp_digest::MIN_BLOCK_BYTES;

fn number(line: &Value, name: &str) -> u64 {
    line[name].as_u64().unwrap()
}

/// A rig with a file, and an upload of it that broke off.
fn broken_put() -> (Rig, Cli, PathBuf) {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("demo"), SIZE, 1);
    let proxy = Proxy::start(rig.address()).and(Direction::Up, BREAK, Break::Cut);
    let broken = alice
        .clone()
        .via(proxy.address())
        .run(["--retries", "0", "put", "demo"]);
    broken.exits(8).says("put --resume demo");
    assert!(alice.names("/").is_empty());
    rig.log().outcome("put", "/demo", "lost");
    rig.check_df("alice");
    let part = parts(&rig.home("alice")).pop().unwrap();
    assert!(fs::metadata(&part).unwrap().len() >= BREAK - IN_FLIGHT);
    (rig, alice, part)
}

/// A rig with a stored file, and a download of it that broke off.
fn broken_get() -> (Rig, Cli, PathBuf) {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("original"), SIZE, 2);
    alice.run(["put", "original", "demo"]).ok();
    let proxy = Proxy::start(rig.address()).and(Direction::Down, BREAK, Break::Cut);
    let broken = alice
        .clone()
        .via(proxy.address())
        .run(["--retries", "0", "get", "demo"]);
    broken.exits(8).says("get --resume demo");
    assert!(!alice.file("demo").exists());
    let part = alice.file(".demo.ftp-part");
    assert!(fs::metadata(&part).unwrap().len() >= BREAK - IN_FLIGHT);
    (rig, alice, part)
}

fn is_stored(rig: &Rig, alice: &Cli) {
    assert_eq!(sha256(&rig.home("alice").join("demo")), sha256(&alice.file("demo")));
    assert_eq!(rig.check_df("alice").uploads, 0);
}

fn is_fetched(alice: &Cli) {
    assert_eq!(sha256(&alice.file("demo")), sha256(&alice.file("original")));
    let left = |name: &str| alice.file(name).exists();
    assert!(!left(".demo.ftp-part") && !left(".demo.ftp-part.json"));
}

/// The transfer that ended well had begun where another broke off.
fn went_on(rig: &Rig, command: &str) {
    let event = rig.log().outcome(command, "/demo", "ok");
    assert!(number(&event, "resumed_from") >= BREAK - IN_FLIGHT, "{event}");
    assert!(number(&event, "bytes") <= SIZE - BREAK + IN_FLIGHT, "{event}");
}

#[test]
fn a_broken_put_is_resumed_by_the_next_one() {
    let (rig, alice, part) = broken_put();
    let held = fs::metadata(&part).unwrap().len();
    let put = alice.one(&["put", "demo"]);
    assert_eq!(put["outcome"], "resumed");
    assert_eq!((number(&put, "kept"), number(&put, "repaired")), (held, 0));
    assert_eq!(number(&put, "moved"), SIZE - held);
    is_stored(&rig, &alice);
    let event = rig.log().outcome("put", "/demo", "ok");
    assert_eq!(
        (number(&event, "resumed_from"), number(&event, "bytes")),
        (held, SIZE - held)
    );
}

#[test]
fn a_resume_says_what_was_kept() {
    let (_rig, alice, _) = broken_put();
    let ran = alice.run(["put", "--resume", "demo"]).ok().says("going on after");
    assert!(ran.stdout().contains("kept"), "{}", ran.stdout());
}

#[test]
fn a_put_can_start_anew() {
    let (rig, alice, _) = broken_put();
    let put = alice.one(&["put", "--no-resume", "demo"]);
    assert_eq!((number(&put, "kept"), number(&put, "moved")), (0, SIZE));
    is_stored(&rig, &alice);
}

#[test]
fn a_byte_flipped_in_the_staged_upload_costs_one_block() {
    let (rig, alice, part) = broken_put();
    let held = fs::metadata(&part).unwrap().len();
    flip_byte(&part, 3 * MIB + 17);
    let put = alice.one(&["put", "--resume", "demo"]);
    assert_eq!(number(&put, "repaired"), BLOCK);
    assert_eq!(number(&put, "kept"), held - BLOCK);
    assert_eq!(number(&put, "moved"), SIZE - held + BLOCK);
    is_stored(&rig, &alice);
    let event = rig.log().outcome("put", "/demo", "ok");
    assert_eq!(number(&event, "repaired"), BLOCK);
}

#[test]
fn a_byte_flipped_in_the_partial_download_costs_one_block() {
    let (_rig, alice, part) = broken_get();
    let held = fs::metadata(&part).unwrap().len();
    flip_byte(&part, 3 * MIB + 17);
    let get = alice.one(&["get", "--resume", "demo"]);
    assert_eq!(number(&get, "repaired"), BLOCK);
    assert_eq!(number(&get, "kept"), held - BLOCK);
    assert_eq!(number(&get, "moved"), SIZE - held + BLOCK);
    is_fetched(&alice);
}

#[test]
fn a_partial_that_is_garbage_does_no_harm() {
    let (rig, alice, part) = broken_put();
    let held = fs::metadata(&part).unwrap().len();
    fs::write(&part, noise(usize::try_from(held).unwrap(), 99)).unwrap();
    let put = alice.one(&["put", "--resume", "demo"]);
    assert_eq!(number(&put, "kept"), 0);
    is_stored(&rig, &alice);

    let (_rig, alice, part) = broken_get();
    fs::write(&part, noise(7_654_321, 99)).unwrap();
    let get = alice.one(&["get", "--resume", "demo"]);
    assert_eq!(number(&get, "kept"), 0);
    is_fetched(&alice);
}

#[test]
fn a_partial_that_turned_out_wrong_is_compared_first_by_the_next_call() {
    let (rig, alice, part) = broken_get();
    let held = fs::metadata(&part).unwrap().len();
    fs::write(&part, noise(usize::try_from(held).unwrap(), 99)).unwrap();
    // It breaks again where what was believed is being replaced.
    let proxy = Proxy::start(rig.address()).and(Direction::Down, SIZE - held + held / 2, Break::Cut);
    let broken = alice.clone().via(proxy.address());
    broken.run(["--retries", "0", "get", "--resume", "demo"]).exits(8);
    let gets = || {
        let mut events = rig.log().events();
        events.retain(|event| event["op"] == "get");
        events
    };
    // The one that broke, the one that believed, and the one that compared. A server does not always see that a
    // connection breaks behind the last byte that it has sent.
    let before = 3;
    eventually("what broke is logged", || (gets().len() == before).then_some(()));
    let get = alice.one(&["get", "--resume", "demo"]);
    assert!(number(&get, "repaired") > 0, "{get}");
    assert!(number(&get, "moved") < held, "{get}");
    is_fetched(&alice);
    // Its own line is the last one: what it had tried before would stand in front of it.
    let served = eventually("the last download is logged", || {
        let served = gets();
        let is_last = |event: &Value| event["repaired"] == get["repaired"];
        served.last().is_some_and(is_last).then_some(served)
    });
    assert_eq!(served.len(), before + 1, "nothing was believed again");
}

#[test]
fn a_partial_that_is_longer_than_the_source_does_no_harm() {
    let (mut rig, _, part) = broken_put();
    // The server counts what is staged when it starts.
    rig.kill();
    fs::write(&part, noise(30_000_000, 99)).unwrap();
    rig.restart();
    let alice = rig.cli("alice");
    alice.run(["put", "--resume", "demo"]).ok();
    is_stored(&rig, &alice);

    let (_rig, alice, part) = broken_get();
    fs::write(&part, noise(30_000_000, 99)).unwrap();
    alice.run(["get", "--resume", "demo"]).ok();
    is_fetched(&alice);
}

#[test]
fn another_source_is_not_resumed_unless_asked_for_and_then_comes_out_right() {
    let (rig, alice, _) = broken_put();
    flip_byte(&alice.file("demo"), MIB);
    let file = fs::File::options().append(true).open(alice.file("demo")).unwrap();
    std::io::Write::write_all(&mut &file, b"more").unwrap();
    let put = alice.one(&["put", "--resume", "demo"]);
    assert_eq!(number(&put, "repaired"), BLOCK);
    assert!(number(&put, "kept") > 0);
    is_stored(&rig, &alice);

    let (rig, alice, _) = broken_put();
    write_noise(&alice.file("demo"), SIZE, 5);
    let put = alice.one(&["put", "demo"]);
    assert_eq!((number(&put, "kept"), number(&put, "moved")), (0, SIZE));
    is_stored(&rig, &alice);
}

#[test]
fn a_stored_file_that_changed_is_not_mixed_with_the_old_one() {
    let (_rig, alice, _) = broken_get();
    write_noise(&alice.file("original"), SIZE, 6);
    alice.run(["put", "--force", "original", "demo"]).ok();
    let get = alice.run(["--json", "get", "demo"]).ok().says("starting anew");
    assert_eq!(number(&get.json()[0], "kept"), 0);
    is_fetched(&alice);

    let (_rig, alice, _) = broken_get();
    write_noise(&alice.file("original"), SIZE, 7);
    alice.run(["put", "--force", "original", "demo"]).ok();
    alice.run(["get", "--resume", "demo"]).ok();
    is_fetched(&alice);
}

#[test]
fn a_broken_get_is_resumed_by_the_next_one() {
    let (_rig, alice, part) = broken_get();
    let held = fs::metadata(&part).unwrap().len();
    let get = alice.one(&["get", "demo"]);
    assert_eq!(get["outcome"], "resumed");
    assert_eq!((number(&get, "kept"), number(&get, "moved")), (held, SIZE - held));
    is_fetched(&alice);
}

#[test]
fn a_broken_get_of_a_link_is_resumed_and_found_identical_afterwards() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("original"), SIZE, 13);
    alice.run(["put", "original", "target"]).ok();
    symlink("target", rig.home("alice").join("demo")).unwrap();
    for resume in [&["get", "demo"][..], &["get", "--resume", "demo"]] {
        let proxy = Proxy::start(rig.address()).and(Direction::Down, BREAK, Break::Cut);
        let broken = alice.clone().via(proxy.address());
        broken.run(["--retries", "0", "get", "demo"]).exits(8);
        let held = fs::metadata(alice.file(".demo.ftp-part")).unwrap().len();
        assert!(held >= BREAK - IN_FLIGHT, "{held}");
        let get = alice.one(resume);
        assert_eq!((number(&get, "kept"), number(&get, "moved")), (held, SIZE - held));
        is_fetched(&alice);
        let again = alice.one(&["get", "demo"]);
        assert_eq!((&again["outcome"], &again["moved"]), (&"identical".into(), &0.into()));
        fs::remove_file(alice.file("demo")).unwrap();
    }
    // Within one call as well.
    let proxy = Proxy::start(rig.address()).and(Direction::Down, BREAK, Break::Cut);
    let ran = alice.clone().via(proxy.address()).run(["get", "demo"]).ok();
    assert!(!ran.stderr().contains("starting anew"), "{}", ran.stderr());
    assert!(proxy.passed(Direction::Down) < SIZE + IN_FLIGHT + MIB);
    is_fetched(&alice);
}

#[test]
fn a_get_can_start_anew() {
    let (_rig, alice, _) = broken_get();
    let get = alice.one(&["get", "--no-resume", "demo"]);
    assert_eq!((number(&get, "kept"), number(&get, "moved")), (0, SIZE));
    is_fetched(&alice);
}

#[test]
fn resuming_where_there_is_nothing_simply_transfers() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("demo"), MIB, 8);
    let put = alice.one(&["put", "--resume", "demo"]);
    assert_eq!(put["outcome"], "transferred");
    let get = alice.one(&["get", "--resume", "demo", "back"]);
    assert_eq!(get["outcome"], "transferred");
}

#[test]
fn a_lost_connection_is_made_again_and_the_transfer_goes_on() {
    let rig = Rig::start();
    write_noise(&rig.local("demo"), SIZE, 9);
    for (direction, command) in [(Direction::Up, "put"), (Direction::Down, "get")] {
        let proxy = Proxy::start(rig.address())
            .and(direction, BREAK, Break::Cut)
            .and(direction, 5 * MIB, Break::Cut);
        let alice = rig.cli("alice").via(proxy.address());
        let ran = alice.run(["--json", command, "demo"]).ok().says("trying again");
        let line = &ran.json()[0];
        // Kept is what was there before the call; here all of it is its own.
        assert_eq!((number(line, "kept"), number(line, "repaired")), (0, 0), "{line}");
        assert_eq!(proxy.connections(), 3);
        went_on(&rig, command);
        if command == "put" {
            is_stored(&rig, &alice);
            fs::rename(rig.local("demo"), rig.local("original")).unwrap();
        } else {
            is_fetched(&alice);
        }
    }
}

#[test]
fn a_server_that_is_restarted_in_the_middle_costs_only_patience() {
    let mut rig = Rig::start();
    write_noise(&rig.local("demo"), SIZE, 10);
    for (direction, command) in [(Direction::Up, "put"), (Direction::Down, "get")] {
        let proxy = Proxy::start(rig.address()).and(direction, BREAK, Break::Stall);
        let alice = rig.cli("alice").via(proxy.address());
        let running = alice.spawn(["--json", command, "demo"]);
        proxy.wait_for_stall();
        if command == "put" {
            rig.staged("alice", BREAK - IN_FLIGHT);
        }
        rig.kill();
        rig.restart();
        proxy.retarget(rig.address());
        proxy.sever();
        let ran = running.wait().ok();
        assert!(ran.stderr().contains("going on after"), "{}", ran.stderr());
        went_on(&rig, command);
        let alice = rig.cli("alice");
        if command == "put" {
            is_stored(&rig, &alice);
            fs::rename(rig.local("demo"), rig.local("original")).unwrap();
        } else {
            is_fetched(&alice);
        }
    }
}

#[test]
fn after_a_lost_answer_the_same_bytes_of_another_time_are_not_taken_for_the_upload() {
    let rig = Plan::new().user("alice", "").plaintext().start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("demo"), MIB, 12);
    let proxy = Proxy::start(rig.address());
    let put = |to: &str| {
        alice
            .clone()
            .via(proxy.address())
            .run(["--no-tls", "put", "--force", "demo", to])
    };
    put("twin").ok();
    // So far before the end lies the last message of the upload, with only a goodbye behind it.
    let before_the_end = proxy.passed(Direction::Up) - 60;
    put("demo").ok();
    let file = fs::File::options().write(true).open(alice.file("demo")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    proxy.set([LinkFault {
        direction: Direction::Up,
        after: before_the_end,
        what: Break::Cut,
    }]);
    put("demo").ok().says("trying again");
    assert_eq!(proxy.fired(), [0]);
    let stored = fs::metadata(rig.home("alice").join("demo")).unwrap();
    assert_eq!(stored.modified().unwrap(), SystemTime::UNIX_EPOCH);
    let usage = alice.one(&["--no-tls", "df"]);
    assert_eq!(number(&usage, "uploads"), 0);
}

#[test]
fn a_newer_upload_takes_over_from_a_dead_connection() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("demo"), SIZE, 11);
    let proxy = Proxy::start(rig.address()).and(Direction::Up, BREAK, Break::Stall);
    let dead = alice
        .clone()
        .via(proxy.address())
        .spawn(["--retries", "0", "put", "demo"]);
    proxy.wait_for_stall();
    rig.staged("alice", BREAK - IN_FLIGHT);
    let put = alice.one(&["put", "demo"]);
    assert_eq!(put["outcome"], "resumed");
    assert!(number(&put, "kept") >= BREAK - IN_FLIGHT);
    is_stored(&rig, &alice);
    rig.log().outcome("put", "/demo", "taken_over");
    proxy.release();
    assert_ne!(dead.wait().code(), Some(0));
    is_stored(&rig, &alice);
}

#[test]
fn staged_uploads_are_shown_and_discarded_on_request() {
    let (rig, alice, part) = broken_put();
    let held = fs::metadata(&part).unwrap().len();
    let upload = alice.one(&["uploads"]);
    assert_eq!(
        (&upload["path"], &upload["staged"], &upload["size"]),
        (&"/demo".into(), &held.into(), &SIZE.into())
    );
    alice.run(["uploads", "--discard", "demo"]).ok();
    assert!(alice.json(&["uploads"]).is_empty());
    let counts = rig.check_df("alice");
    assert_eq!((counts.pending, counts.uploads), (0, 0));
    let put = alice.one(&["put", "--resume", "demo"]);
    assert_eq!(number(&put, "kept"), 0);
}
