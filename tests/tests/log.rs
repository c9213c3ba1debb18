//! The log and the program that reads it.

use std::fs;
use std::process::Command;

use ftp_tests::{Rig, noise};

/// What `ftpd log` prints.
fn log(rig: &Rig, args: &[&str]) -> String {
    let ran = Command::new(ftp_tests::ftpd())
        .arg("--config")
        .arg(rig.config())
        .arg("log")
        .args(args)
        .env("TZ", "UTC")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// A rig in which something has happened.
fn lively() -> Rig {
    let rig = Rig::start();
    for user in ["alice", "bob"] {
        let cli = rig.cli(user);
        fs::write(cli.file("x"), noise(2_000_000, 1)).unwrap();
        cli.run(["put", "x", user]).ok();
        cli.run(["get", user, "-"]).ok();
        cli.run(["mkdir", "d"]).ok();
        cli.run(["get", "nothing", "-"]).exits(4);
    }
    rig.cli("alice").with_password("wrong").run(["pwd"]).exits(3);
    // Each login but the wrong one has its end; then nothing more comes.
    ftp_tests::eventually("all is logged", || {
        let events = rig.log().events();
        let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
        (count("login_failed") == 1 && count("session_end") == 8).then_some(())
    });
    rig
}

#[test]
fn the_log_is_filtered() {
    let rig = lively();
    let json = |args: &[&str]| -> Vec<serde_json::Value> {
        let text = log(&rig, &[&["--json"], args].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = json(&[]);
    assert_eq!(all, rig.log().events());

    let alice = json(&["--user", "alice"]);
    assert!(!alice.is_empty() && alice.iter().all(|event| event["user"] == "alice"));
    let puts = json(&["--op", "put"]);
    assert_eq!(puts.len(), 2);
    assert!(
        puts.iter()
            .all(|event| event["op"] == "put" && event["bytes"] == 2_000_000)
    );
    let failed = json(&["--failed"]);
    assert_eq!(failed.len(), 3, "{failed:#?}");
    assert_eq!(json(&["--failed", "--user", "bob"]).len(), 1);
    assert_eq!(json(&["--since", "2h"]), all);
    assert!(json(&["--since", "2100-01-01T00:00:00Z"]).is_empty());
}

#[test]
fn the_summary_counts_for_each_user() {
    let rig = lively();
    let summary = log(&rig, &["--summary"]);
    for user in ["alice", "bob"] {
        let line = summary.lines().find(|line| line.contains(user)).unwrap();
        assert!(line.contains("1.9 MiB"), "{summary}");
    }
}

#[test]
fn every_event_tells_who_what_and_how_it_ended() {
    let rig = lively();
    let put = rig.log().outcome("put", "/alice", "ok");
    for field in [
        "time", "session", "peer", "user", "op", "path", "bytes", "seconds", "digest", "outcome",
    ] {
        assert!(!put[field].is_null(), "{field}: {put}");
    }
    let refused = rig.log().outcome("get", "nothing", "not_found");
    assert!(!refused["cause"].is_null());
    as_many_lines_as_events(&rig);
}

/// The log for people, once it shows a line for each event: sessions may end between two looks.
fn as_many_lines_as_events(rig: &Rig) -> String {
    ftp_tests::eventually("a line for each event", || {
        let human = log(rig, &[]);
        (human.lines().count() == rig.log().events().len()).then_some(human)
    })
}

#[test]
fn no_file_name_forges_a_line() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let name = "x\n2026-01-01 00:00:00 INFO login user=root\r\u{1b}[2J\u{202e}\u{85}end";
    fs::write(alice.file(name), "x").unwrap();
    alice.run(["put", "--", name, "/"]).ok();
    alice.run(["get", "--", &format!("{name}2")]).exits(4);
    alice.run(["mkdir", "--", &format!("{name}3")]).ok();
    let event = rig
        .log()
        .event("the name is logged", |event| event["event"] == "transfer");
    assert!(event["path"].as_str().unwrap().starts_with(r"/x\n2026"), "{event}");
    rig.log().event("the other is logged", |event| event["op"] == "mkdir");

    let human = as_many_lines_as_events(&rig);
    let said = ftp_tests::eventually("all is said", || {
        let said = rig.server().said();
        said.iter().any(|line| line.contains("mkdir")).then(|| said.join("\n"))
    });
    for text in [&human, &said] {
        assert!(!text.lines().any(|line| line.starts_with("2026-01-01 00:00:00")));
        assert!(!text.contains(['\u{1b}', '\r', '\u{202e}', '\u{85}']), "{text:?}");
    }
    let raw = fs::read_to_string(rig.directory().join("log/ftpd.jsonl")).unwrap();
    assert!(!raw.contains(['\u{1b}', '\r']));
}
