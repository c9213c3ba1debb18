//! How the server ends.

use ftp_tests::{Break, Direction, MIB, Plan, Proxy, Rig, sha256, write_noise};
use rustix::process::Signal;

const SIZE: u64 = 24 * MIB;
const BREAK: u64 = 10 * MIB;

fn draining(rig: &Rig) {
    rig.log().event("the server drains", |event| {
        event["message"]
            .as_str()
            .is_some_and(|message| message.starts_with("draining"))
    });
}

#[test]
fn transfers_end_before_the_server_does() {
    for (direction, signal) in [(Direction::Up, Signal::TERM), (Direction::Down, Signal::INT)] {
        let mut rig = Rig::start();
        let alice = rig.cli("alice");
        write_noise(&alice.file("demo"), SIZE, 1);
        if direction == Direction::Down {
            alice.run(["put", "demo", "there"]).ok();
        }
        let args = match direction {
            Direction::Up => ["put", "demo", "there"],
            Direction::Down => ["get", "there", "back"],
        };
        let proxy = Proxy::start(rig.address()).and(direction, BREAK, Break::Stall);
        let running = alice.clone().via(proxy.address()).spawn(args);
        proxy.wait_for_stall();
        rig.server().signal(signal);
        draining(&rig);
        // Nobody new comes in meanwhile.
        alice.run(["--retries", "0", "pwd"]).exits(8);
        proxy.release();
        running.wait().ok();
        let target = match direction {
            Direction::Up => rig.home("alice").join("there"),
            Direction::Down => alice.file("back"),
        };
        assert_eq!(sha256(&target), sha256(&alice.file("demo")));
        assert!(rig.wait().success());
    }
}

#[test]
fn what_takes_too_long_is_cut_and_can_be_resumed() {
    let mut rig = Plan::new()
        .user("alice", "")
        .limits("drain_timeout = \"100 ms\"")
        .start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("demo"), SIZE, 2);
    let proxy = Proxy::start(rig.address()).and(Direction::Up, BREAK, Break::Stall);
    let running = alice.via(proxy.address()).spawn(["--retries", "0", "put", "demo"]);
    proxy.wait_for_stall();
    rig.staged("alice", BREAK / 2);
    assert!(rig.terminate().success());
    proxy.sever();
    running.wait().exits(8).says("--resume");
    rig.log().event("the server cuts", |event| {
        event["message"]
            .as_str()
            .is_some_and(|message| message.contains("can be resumed"))
    });
    assert!(!rig.home("alice").join("demo").exists());
    rig.restart();
    let put = rig.cli("alice").one(&["put", "demo"]);
    assert_eq!(put["outcome"], "resumed");
    assert!(put["kept"].as_u64().unwrap() >= BREAK / 2);
    assert_eq!(sha256(&rig.home("alice").join("demo")), sha256(&rig.local("demo")));
    rig.check_df("alice");
}

#[test]
fn an_idle_session_does_not_keep_the_server() {
    let mut rig = Rig::start();
    let alice = rig.cli("alice");
    let mut shell = alice
        .command(["shell"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    rig.log().event("somebody is in", |event| event["event"] == "login");
    assert!(rig.terminate().success());
    drop(shell.stdin.take());
    shell.wait().unwrap();
    rig.log()
        .event("the end is logged", |event| event["message"] == "stopped");
}

#[test]
fn two_servers_do_not_share_a_state() {
    let rig = Rig::start();
    let second = std::process::Command::new(ftp_tests::ftpd())
        .arg("--config")
        .arg(rig.config())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("another ftpd"), "{said}");
}
