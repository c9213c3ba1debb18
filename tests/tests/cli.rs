//! The command line: what it does besides transfers, and what it ends with.

use std::fs;
use std::net::TcpListener;

use ftp_tests::{Break, Direction, MIB, Plan, Proxy, Rig, flip_byte, noise, sha256, write_noise};
use rustix::process::Signal;

#[test]
fn every_exit_code_has_its_cause() {
    let rig = Plan::new().user("alice", "quota = \"1 MiB\"").start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("small"), 300_000, 1);
    write_noise(&alice.file("large"), 2 * MIB, 2);
    alice.run(["put", "small"]).ok();
    alice.run(["mkdir", "small/x"]).exits(1);
    alice.run(["put"]).exits(2);
    alice.run(["no-such-command"]).exits(2);
    alice.clone().with_password("wrong").run(["pwd"]).exits(3);
    alice.run(["get", "missing"]).exits(4).says("missing");
    alice.run(["put", "missing"]).exits(4);
    alice.run(["put", "large", "small"]).exits(5);
    alice.run(["rm", "../x"]).exits(5);
    alice.run(["put", "large"]).exits(6).says("1.0 MiB");
    flip_byte(&rig.home("alice").join("small"), 1);
    alice.run(["get", "small", "back"]).exits(7);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    alice.via(address).run(["--retries", "0", "pwd"]).exits(8);
}

#[test]
fn a_list_goes_on_after_a_failure_and_ends_with_the_worst() {
    let rig = Plan::new().user("alice", "quota = \"1 MiB\"").start();
    let alice = rig.cli("alice");
    for name in ["a", "b", "c"] {
        fs::write(alice.file(name), name).unwrap();
    }
    write_noise(&alice.file("large"), 2 * MIB, 1);
    alice.run(["put", "a"]).ok();
    fs::write(alice.file("a"), "changed").unwrap();
    let ran = alice
        .run(["--json", "put", "missing", "a", "b", "large", "c", "/"])
        .exits(6);
    assert_eq!(alice.names("/"), ["a", "b", "c"]);
    assert_eq!(fs::read(rig.home("alice").join("a")).unwrap(), b"a");
    let mut exits: Vec<i64> = ran
        .json()
        .iter()
        .filter_map(|line| line["error"]["exit"].as_i64())
        .collect();
    exits.sort_unstable();
    assert_eq!(exits, [4, 5, 6]);

    fs::create_dir(alice.file("back")).unwrap();
    alice.run(["get", "a", "missing", "b", "../x", "c", "back/"]).exits(5);
    assert_eq!(fs::read_dir(alice.file("back")).unwrap().count(), 3);
    alice.run(["rm", "a", "missing", "b"]).exits(4);
    assert_eq!(alice.names("/"), ["c"]);
}

#[test]
fn directories_are_made_listed_and_removed() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    fs::write(alice.file("x"), "x").unwrap();
    alice.run(["mkdir", "a/b/c"]).exits(4).says("-p");
    alice.run(["mkdir", "-p", "a/b/c"]).ok();
    alice.run(["mkdir", "-p", "a/b/c"]).ok();
    alice.run(["mkdir", "a"]).exits(5);
    alice.run(["put", "-p", "x", "new/dir/x"]).ok();
    assert_eq!(alice.names("/"), ["a", "new"]);
    assert_eq!(alice.json(&["ls", "a"])[0]["kind"], "dir");
    let long = alice.run(["ls", "-l", "new/dir"]).ok().stdout();
    assert!(long.contains(" x") && long.contains('1'), "{long}");
    alice.run(["rm", "a"]).exits(1).says("-r");
    alice.run(["rm", "-r", "a"]).ok();
    alice.run(["rm", "-r", "new", "missing"]).exits(4);
    assert!(alice.names("/").is_empty());
    assert_eq!(rig.check_df("alice").entries, 0);
}

#[test]
fn files_are_moved_and_copied_on_the_server() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    fs::write(alice.file("x"), noise(1_000_000, 1)).unwrap();
    let put = alice.one(&["put", "x"]);
    let copy = alice.one(&["cp", "x", "y"]);
    assert_eq!(copy["digest"], put["digest"]);
    alice.run(["cp", "x", "y"]).exits(5).says("--force");
    alice.run(["cp", "--force", "x", "y"]).ok();
    alice.run(["mkdir", "d"]).ok();
    alice.run(["mv", "y", "d"]).ok();
    alice.run(["mv", "x", "d/y"]).exits(5);
    alice.run(["mv", "x", "d/z"]).ok();
    assert_eq!(alice.names("d"), ["y", "z"]);
    alice.run(["mv", "d", "d/inside"]).exits(1);
    alice.run(["mv", "d", "e"]).ok();
    assert_eq!(alice.names("/"), ["e"]);
    assert_eq!(sha256(&rig.home("alice").join("e/y")), sha256(&alice.file("x")));
    let stat = alice.one(&["stat", "e/y"]);
    assert_eq!((&stat["size"], &stat["digest"]), (&1_000_000.into(), &put["digest"]));
    rig.check_df("alice");
}

#[test]
fn the_directory_is_remembered_between_invocations() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    fs::write(alice.file("x"), "x").unwrap();
    alice.run(["mkdir", "-p", "films/old"]).ok();
    assert_eq!(alice.run(["pwd"]).ok().stdout(), "/\n");
    alice.run(["cd", "films"]).ok();
    alice.run(["cd", "old"]).ok();
    assert_eq!(alice.run(["pwd"]).ok().stdout(), "/films/old\n");
    alice.run(["put", "x"]).ok();
    assert!(rig.home("alice").join("films/old/x").exists());
    alice.run(["cd", "missing"]).exits(4);
    alice.run(["cd", "x"]).exits(1);
    alice.run(["cd", ".."]).ok();
    assert_eq!(alice.names("."), ["old"]);
    alice.run(["cd"]).ok();
    assert_eq!(alice.run(["pwd"]).ok().stdout(), "/\n");
    assert_eq!(rig.cli("bob").run(["pwd"]).ok().stdout(), "/\n");
}

#[test]
fn names_on_the_server_may_be_given_by_a_pattern() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for name in ["a.mp4", "b.mp4", "c.txt"] {
        fs::write(alice.file(name), name).unwrap();
    }
    alice.run(["put", "a.mp4", "b.mp4", "c.txt", "/"]).ok();
    fs::create_dir(alice.file("back")).unwrap();
    alice.run(["get", "*.mp4", "back/"]).ok();
    assert_eq!(fs::read_dir(alice.file("back")).unwrap().count(), 2);
    alice.run(["rm", "*.mp4"]).ok();
    assert_eq!(alice.names("/"), ["c.txt"]);
    alice.run(["rm", "*.mp4"]).exits(4);
}

#[test]
fn a_ping_comes_back() {
    let rig = Rig::start();
    let ping = rig.cli("alice").one(&["ping"]);
    assert!(ping["milliseconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_failure_names_the_file_the_reason_and_the_next_step() {
    let rig = Plan::new().user("alice", "quota = \"1 MiB\"").start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("big one"), 3 * MIB, 1);
    let ran = alice.run(["put", "big one"]).exits(6);
    let said = ran.stderr();
    for part in ["'big one'", "quota", "limit 1.0 MiB", "used 0", "3.0 MiB", "df"] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

#[test]
fn ctrl_c_leaves_a_resumable_state_and_says_how_to_go_on() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("demo"), 24 * MIB, 1);
    let proxy = Proxy::start(rig.address()).and(Direction::Up, 10 * MIB, Break::Stall);
    let running = alice.clone().via(proxy.address()).spawn(["put", "demo"]);
    proxy.wait_for_stall();
    rig.staged("alice", 4 * MIB);
    running.signal(Signal::INT);
    running.wait().exits(130).says("put --resume demo");
    proxy.sever();
    let put = alice.one(&["put", "demo"]);
    assert_eq!(put["outcome"], "resumed");
    assert!(put["kept"].as_u64().unwrap() >= 4 * MIB);
}

#[test]
fn a_broken_stream_is_sent_again_from_the_start() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("demo"), 24 * MIB, 1);
    let begin = |proxy: &Proxy| {
        let input = fs::File::open(alice.file("demo")).unwrap();
        let running = alice
            .clone()
            .via(proxy.address())
            .spawn_reading(["put", "-", "demo"], input);
        proxy.wait_for_stall();
        running
    };
    let stalling = || Proxy::start(rig.address()).and(Direction::Up, 10 * MIB, Break::Stall);
    let proxy = stalling();
    let interrupted = begin(&proxy);
    interrupted.signal(Signal::INT);
    let ran = interrupted.wait().exits(130).says("from the start");
    assert!(!ran.stderr().contains("--resume"), "{}", ran.stderr());
    let proxy = stalling();
    let lost = begin(&proxy);
    proxy.sever();
    let ran = lost.wait().exits(8).says("from the start");
    assert!(!ran.stderr().contains("--resume"), "{}", ran.stderr());
}

#[test]
fn without_a_terminal_no_bar_is_drawn() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("x"), 5 * MIB, 1);
    let ran = alice.run(["put", "x"]).ok();
    assert!(!ran.stderr().contains(['\u{1b}', '\r']), "{:?}", ran.stderr());
    assert!(ran.stdout().contains("sha256:"), "{}", ran.stdout());
    let ran = alice.run(["-q", "get", "x", "y"]).ok();
    assert_eq!(ran.stderr(), "");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for number in 0..200 {
        fs::write(rig.home("alice").join(format!("{number}-{}", "n".repeat(200))), "").unwrap();
    }
    let mut child = alice.command(["ls"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
