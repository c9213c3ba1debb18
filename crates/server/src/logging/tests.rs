//! Events from end to end: what a door reports is what the file says.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::audit::{self, Outcome, Transfer, Who};

fn config(path: &Path) -> LogConfig {
    LogConfig {
        level: Level::Info,
        file: Some(path.to_owned()),
        rotate_bytes: 1 << 20,
        rotate_keep: 2,
    }
}

/// The JSON lines that `report` leaves in the file.
pub(crate) fn logged(report: impl FnOnce(&LogGuard)) -> (String, Vec<Value>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ftpd.jsonl");
    // Were the next one the only one, `tracing` would ask the thread that first meets an event whether it is wanted: a
    // test of another thread would have it forgotten here too.
    let _second = tracing::Dispatch::new(Registry::default());
    let (subscriber, guard) = subscriber(&config(&path)).unwrap();
    tracing::subscriber::with_default(subscriber, || report(&guard));
    drop(guard);
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (text, lines)
}

fn who() -> Who {
    Who::new(7, SocketAddr::from(([192, 0, 2, 1], 4000)), Some("alice".to_owned()))
}

#[test]
fn a_transfer_is_one_flat_object_with_all_its_figures() {
    let (_, lines) = logged(|_| {
        audit::transfer(
            &who(),
            &Transfer {
                op: "put",
                path: &"/demo.mp4",
                size: 5_000_000,
                moved: 4_000_000,
                resumed_from: 1_000_000,
                repaired: 0,
                seconds: 0.5,
                digest: Some("sha256:00".to_owned()),
                outcome: Outcome::Done,
            },
        );
    });
    let mut line = lines[0].clone();
    let time = line["time"].take();
    assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(time.as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
    assert_eq!(
        line,
        json!({
            "time": null, "level": "info", "event": "transfer", "message": "transfer", "session": 7,
            "peer": "192.0.2.1:4000", "user": "alice", "op": "put", "path": "/demo.mp4", "size": 5_000_000,
            "bytes": 4_000_000, "seconds": 0.5, "mb_per_s": 8.0, "resumed_from": 1_000_000,
            "digest": "sha256:00", "outcome": "ok",
        })
    );
}

#[test]
fn a_refusal_carries_code_and_cause_and_is_a_warning() {
    let (_, lines) = logged(|_| {
        let outcome = Outcome::Failed {
            code: "denied",
            cause: "the path leaves the home",
        };
        audit::request(&who(), "mv", &"/a", Some(&"/../b"), outcome);
    });
    assert_eq!(lines[0]["level"], "warn");
    assert_eq!(lines[0]["outcome"], "denied");
    assert_eq!(lines[0]["cause"], "the path leaves the home");
    assert_eq!(lines[0]["to"], "/../b");
}

#[test]
fn no_name_can_forge_a_line_in_the_file() {
    let name = "/x\n{\"event\":\"login\",\"user\":\"root\"}\r\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{2028}\u{e0041}";
    let (text, lines) = logged(|_| audit::request(&who(), "rm", &name, None, Outcome::Done));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["path"], name, "the name reads back exactly");
    assert!(!text.trim_end().contains(crate::escape::is_hazardous), "{text:?}");
}

#[test]
fn no_name_can_forge_a_line_on_the_terminal() {
    let name = "/x\n2026-01-01 00:00:00 INFO login user=root\u{1b}[2J\u{202e}";
    let record = Record::saying("request\nINFO forged", "path", name);
    let line = String::from_utf8(line::render(&record, false)).unwrap();
    assert_eq!(line.matches('\n').count(), 1);
    assert!(!line.trim_end().contains(crate::escape::is_hazardous), "{line:?}");
    assert!(line.contains("path=\"/x\\n2026"), "{line:?}");
}

#[test]
fn the_level_changes_while_the_server_runs() {
    let (_, lines) = logged(|guard| {
        audit::session_end(&who(), "quit", 1.0, 1);
        guard.set_level(Level::Warn);
        audit::session_end(&who(), "quit", 2.0, 2);
        audit::warning("the second");
        guard.set_level(Level::Info);
        audit::session_end(&who(), "quit", 3.0, 3);
    });
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["session ended", "the second", "session ended"]);
}

#[test]
fn a_failure_tells_the_whole_chain_of_causes() {
    let error = LogError::Open {
        path: "/var/log/x".into(),
        source: io::Error::from(io::ErrorKind::PermissionDenied),
    };
    let (_, lines) = logged(|_| audit::failure(Some(3), "the log", &error));
    let cause = lines[0]["cause"].as_str().unwrap();
    assert!(cause.starts_with("the log file /var/log/x cannot be opened"), "{cause}");
    assert!(cause.ends_with(": permission denied"), "{cause}");
    assert_eq!(lines[0]["event"], "failure");
}

#[test]
fn a_log_file_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("file");
    fs::write(&blocked, "").unwrap();
    let error = subscriber(&config(&blocked.join("ftpd.jsonl"))).err().unwrap();
    assert!(error.to_string().contains("ftpd.jsonl"), "{error}");
}

#[test]
fn a_field_of_any_length_makes_a_line_of_bounded_length() {
    let path = "\u{1}".repeat(1 << 20);
    let (text, lines) = logged(|_| {
        let outcome = Outcome::Failed {
            code: "bad_name",
            cause: "too long",
        };
        audit::request(&who(), "rm", &path, None, outcome);
    });
    assert!(text.len() < 100 << 10, "{} bytes", text.len());
    let shown = lines[0]["path"].as_str().unwrap();
    assert!(shown.starts_with('\u{1}') && shown.ends_with(&format!("({} bytes more)", (1 << 20) - (12 << 10))));
}

#[test]
fn failures_of_a_session_are_counted_when_they_are_too_many_to_read() {
    let (_, lines) = logged(|_| {
        let who = who();
        let outcome = Outcome::Failed {
            code: "not_found",
            cause: "not there",
        };
        for _ in 0..5000 {
            audit::request(&who, "rm", &"/f", None, outcome);
            audit::request_failure(&who, "the disk is gone");
        }
        audit::request(&who, "rm", &"/g", None, Outcome::Done);
        audit::session_end(&who, "closed by the client", 1.0, 5001);
    });
    let is_failed = |line: &&Value| line["outcome"] == "not_found" || line["event"] == "failure";
    let failed = lines.iter().filter(is_failed).count() as u64;
    assert!((1..=100).contains(&failed), "{failed} lines");
    assert!(
        lines.iter().any(|line| line["path"] == "/g"),
        "what was done is always logged"
    );
    let told = lines.iter().find(|line| line["event"] == "held_back").unwrap();
    assert_eq!(told["lines"].as_u64().unwrap() + failed, 10_000);
}
