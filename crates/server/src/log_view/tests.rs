//! What is shown of a log that was written, rotated, torn and forged.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::logging::rotated_name;

/// An event at the given minute of one day.
fn event(minute: u32, fields: &Value) -> String {
    let mut event = json!({"time": format!("2026-01-31T12:{minute:02}:00.000Z"), "level": "info"});
    for (name, value) in fields.as_object().unwrap() {
        event[name] = value.clone();
    }
    event.to_string()
}

fn put(minute: u32, user: &str, outcome: &str) -> String {
    let fields = json!({
        "event": "transfer", "op": "put", "user": user, "session": 1, "path": "/demo.mp4", "size": 3_145_728,
        "bytes": 2_097_152, "seconds": 0.5, "mb_per_s": 4.2, "resumed_from": 1_048_576, "outcome": outcome,
    });
    event(minute, &fields)
}

fn login(minute: u32, user: &str) -> String {
    event(
        minute,
        &json!({"event": "login", "user": user, "session": 1, "peer": "192.0.2.1:9", "outcome": "ok"}),
    )
}

fn refused(minute: u32, user: &str) -> String {
    let fields = json!({
        "event": "login_failed", "user": user, "session": 2, "peer": "192.0.2.1:9", "outcome": "login_failed",
    });
    event(minute, &fields)
}

/// A log in a directory of its own.
struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new(lines: &[String]) -> Self {
        let fixture = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fixture.write(&fixture.path(), lines);
        fixture
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ftpd.jsonl")
    }

    fn write(&self, path: &Path, lines: &[String]) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
    }

    fn shown_and_broken(&self, args: &LogArgs) -> (Vec<String>, u64) {
        let mut out = Vec::new();
        let files = Files::open(&self.path(), args.since).unwrap();
        let broken = show(&self.path(), files, args, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        (text.lines().map(str::to_owned).collect(), broken)
    }

    /// The lines that match, as they stand in the files.
    fn matching(&self, args: LogArgs) -> Vec<String> {
        self.shown_and_broken(&LogArgs { json: true, ..args }).0
    }

    fn summary(&self, json: bool) -> String {
        let text = "[users.alice]\nverifier = 'SCRAM-SHA-256$4096:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='";
        let config = Config::parse(&self.directory.path().join("users.toml"), text).unwrap();
        let files = Files::open(&self.path(), None).unwrap();
        let args = LogArgs {
            json,
            ..LogArgs::default()
        };
        let mut out = Vec::new();
        summarize(&config, files, &args, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
}

#[test]
fn rotated_files_are_read_first_and_oldest_first() {
    let log = Fixture::new(&[put(9, "alice", "ok")]);
    for (number, minute) in [(1, 8), (2, 7), (10, 1)] {
        log.write(&rotated_name(&log.path(), number), &[put(minute, "alice", "ok")]);
    }
    // Ten is behind a gap, so it is no part of this log any more.
    assert_eq!(
        log.matching(LogArgs::default()),
        [put(7, "alice", "ok"), put(8, "alice", "ok"), put(9, "alice", "ok")]
    );
}

#[test]
fn filters_have_to_pass_together() {
    let lines = [
        login(0, "alice"),
        put(1, "alice", "ok"),
        put(2, "alice", "quota"),
        put(3, "bob", "quota"),
        refused(4, "bob"),
    ];
    let log = Fixture::new(&lines);
    let user = |name: &str| LogArgs {
        user: Some(name.to_owned()),
        ..LogArgs::default()
    };
    assert_eq!(log.matching(user("alice")), lines[..3]);
    let failed = LogArgs {
        failed: true,
        ..user("bob")
    };
    assert_eq!(log.matching(failed), lines[3..]);
    let ops = LogArgs {
        op: vec!["put".to_owned(), "login".to_owned()],
        ..user("alice")
    };
    assert_eq!(log.matching(ops), lines[..3]);
    let late = LogArgs {
        since: Some(since("2026-01-31T12:03:00Z").unwrap()),
        ..LogArgs::default()
    };
    assert_eq!(log.matching(late), lines[3..]);
    let last = LogArgs {
        lines: Some(1),
        ..user("alice")
    };
    assert_eq!(log.matching(last), lines[2..3]);
}

#[test]
fn broken_lines_are_counted_and_everything_else_is_shown() {
    let log = Fixture::new(&[
        put(1, "alice", "ok"),
        "{\"torn".to_owned(),
        "[]".to_owned(),
        put(2, "alice", "ok"),
    ]);
    fs::write(rotated_name(&log.path(), 1), b"\xff\xfe\n{\"time\":\"no time\"}\n").unwrap();
    let (lines, broken) = log.shown_and_broken(&LogArgs::default());
    assert_eq!((lines.len(), broken), (2, 4));
}

#[test]
fn a_line_without_end_is_shown_if_it_is_whole() {
    let log = Fixture::new(&[]);
    fs::write(log.path(), put(1, "alice", "ok")).unwrap();
    assert_eq!(log.matching(LogArgs::default()), [put(1, "alice", "ok")]);
}

#[test]
fn a_line_longer_than_any_event_is_skipped_and_the_next_one_read() {
    let log = Fixture::new(&["x".repeat(3 << 20), put(1, "alice", "ok")]);
    let (lines, broken) = log.shown_and_broken(&LogArgs::default());
    assert_eq!((lines.len(), broken), (1, 1));
}

#[test]
fn what_is_added_and_rotated_while_following_is_seen_once_and_in_order() {
    let log = Fixture::new(&[put(0, "alice", "ok")]);
    let path = log.path();
    let mut files = Files::open(&path, None).unwrap();
    let mut seen = Vec::new();
    let mut look = |files: &mut Files| {
        files.renew(&path).unwrap();
        files
            .read(&mut |line| {
                if let Line::Whole(text) = line {
                    seen.push(text.to_owned());
                }
                Ok(())
            })
            .unwrap();
        seen.len()
    };
    assert_eq!(look(&mut files), 1);
    log.write(&path, &[put(1, "alice", "ok")]);
    assert_eq!(look(&mut files), 2);
    // Half a line waits for its other half.
    let line = put(2, "alice", "ok");
    let (half, rest) = line.split_at(20);
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(half.as_bytes())
        .unwrap();
    assert_eq!(look(&mut files), 2);
    log.write(&path, &[rest.to_owned(), put(3, "alice", "ok")]);
    // Two rotations between two looks.
    fs::rename(&path, rotated_name(&path, 2)).unwrap();
    log.write(&rotated_name(&path, 1), &[put(4, "alice", "ok")]);
    log.write(&path, &[put(5, "alice", "ok")]);
    assert_eq!(look(&mut files), 6);
    // Somebody empties the file.
    fs::write(&path, "").unwrap();
    assert_eq!(look(&mut files), 6);
    log.write(&path, &[put(6, "alice", "ok")]);
    assert_eq!(look(&mut files), 7);
    let expected: Vec<_> = (0..7).map(|minute| put(minute, "alice", "ok")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_log_that_begins_later_is_followed_from_its_first_line() {
    let log = Fixture::new(&[]);
    fs::remove_file(log.path()).unwrap();
    let mut files = Files::open(&log.path(), None).unwrap();
    assert!(files.is_empty());
    log.write(&log.path(), &[put(1, "alice", "ok")]);
    files.renew(&log.path()).unwrap();
    let mut seen = 0;
    files
        .read(&mut |_| {
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn a_person_reads_sizes_and_causes_and_never_raw_names() {
    let fields = json!({
        "event": "request", "op": "rm", "user": "alice", "session": 4, "path": "/x\n\u{1b}[2J forged", "outcome": "denied",
        "cause": "the user may not delete",
    });
    let log = Fixture::new(&[put(1, "alice", "ok"), event(2, &fields), refused(3, "eve\nx")]);
    let (lines, _) = log.shown_and_broken(&LogArgs::default());
    let tail = |line: &str| line["2026-01-31 12:01:00".len()..].to_owned();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        tail(&lines[0]),
        "  #1     alice        put          ok            /demo.mp4 3.0 MiB, 2.0 MiB sent, 1.0 MiB kept in 0.5 s, 4.2 MB/s"
    );
    assert_eq!(
        tail(&lines[1]),
        "  #4     alice        rm           denied        \"/x\\n\\u{1b}[2J forged\" (the user may not delete)"
    );
    assert_eq!(
        tail(&lines[2]),
        "  #2     eve\\nx       login_failed login_failed  from 192.0.2.1:9"
    );
}

#[test]
fn the_summary_counts_per_user_and_names_nobody_has_share_a_row() {
    let mut lines = vec![
        login(0, "alice"),
        put(1, "alice", "ok"),
        put(2, "alice", "quota"),
        refused(3, "alice"),
    ];
    lines.extend((0..50).map(|number| refused(4, &format!("guess{number}"))));
    let log = Fixture::new(&lines);
    let rows: Value = serde_json::from_str(&log.summary(true)).unwrap();
    assert_eq!(
        rows,
        json!([
            {"user": "alice", "logins": 1, "uploads": 1, "bytes_up": 4_194_304, "downloads": 0, "bytes_down": 0,
             "failures": 2, "last_seen": "2026-01-31T12:03:00.000Z"},
            {"user": null, "logins": 0, "uploads": 0, "bytes_up": 0, "downloads": 0, "bytes_down": 0,
             "failures": 50, "last_seen": "2026-01-31T12:04:00.000Z"},
        ])
    );
    let table = log.summary(false);
    let rows: Vec<_> = table.lines().collect();
    assert!(
        rows[0].starts_with("USER            LOGINS  UPLOADS  SENT UP"),
        "{table}"
    );
    assert!(
        rows[1].starts_with("alice           1       1        4.0 MiB"),
        "{table}"
    );
    assert!(rows[2].starts_with("(no such user)  0"), "{table}");
}

#[test]
fn a_moment_can_be_written_in_four_ways() {
    #[expect(clippy::disallowed_methods, reason = "compared with what is meant by it")]
    let hours = |text: &str| (Timestamp::now().as_second() - since(text).unwrap().as_second()) / 3600;
    assert_eq!(hours("2h"), 2);
    assert_eq!(hours("7 days"), 168);
    assert_eq!(
        since("2026-01-31T12:00:00+01:00").unwrap().to_string(),
        "2026-01-31T11:00:00Z"
    );
    assert!(since("2026-01-31 13:00").is_ok());
    assert!(since("yesterday").unwrap_err().contains("2h"));
}
