//! One event as one line for a person: time, session, user, what, outcome, and the rest as words.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::entry::Entry;
use crate::config::short_size;
use crate::escape::{printable, value};

/// Fields that have a column or a phrase of their own.
const SHOWN: [&str; 22] = [
    "bytes",
    "cause",
    "digest",
    "event",
    "level",
    "mb_per_s",
    "message",
    "op",
    "outcome",
    "path",
    "peer",
    "repaired",
    "requests",
    "resumed_from",
    "seconds",
    "session",
    "size",
    "target",
    "time",
    "to",
    "user",
    "addr",
];

/// Hexadecimal digits of a digest that are enough to recognise it.
const DIGEST_DIGITS: usize = 12;

/// The line, in local time, without its end.
pub(super) fn line(entry: &Entry) -> String {
    let time = entry
        .time()
        .map(|time| {
            time.to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        })
        .unwrap_or_default();
    let session = entry
        .number("session")
        .map(|session| format!("#{session}"))
        .unwrap_or_default();
    let user = printable(entry.text("user").unwrap_or("-"));
    let what = printable(entry.text("op").unwrap_or(entry.event()));
    let outcome = printable(entry.text("outcome").unwrap_or("-"));
    let mut line = format!("{time}  {session:<6} {user:<12} {what:<12} {outcome:<12} ");
    for phrase in phrases(entry) {
        line.push(' ');
        line.push_str(&phrase);
    }
    line.truncate(line.trim_end().len());
    line
}

fn phrases(entry: &Entry) -> Vec<String> {
    let mut phrases = Vec::new();
    let mut say = |phrase: String| phrases.push(phrase);
    if !matches!(
        entry.event(),
        "transfer" | "request" | "login" | "login_failed" | "session_end"
    ) {
        say(printable(entry.text("message").unwrap_or_default()).into_owned());
    }
    if let Some(path) = entry.text("path") {
        say(value(path).into_owned());
    }
    if let Some(to) = entry.text("to") {
        say(format!("-> {}", value(to)));
    }
    if entry.event() == "transfer" {
        say(transfer(entry));
    } else if let Some(seconds) = entry.float("seconds") {
        say(format!("{seconds} s"));
    }
    if let Some(requests) = entry.number("requests") {
        say(format!("{requests} requests"));
    }
    if let Some(address) = entry.text("addr") {
        say(format!("on {}", value(address)));
    }
    if !matches!(entry.event(), "transfer" | "request")
        && let Some(peer) = entry.text("peer")
    {
        say(format!("from {}", value(peer)));
    }
    for (name, field) in entry.fields().filter(|(name, _)| !SHOWN.contains(name)) {
        let shown = match field {
            Value::String(text) => value(text).into_owned(),
            other => value(&other.to_string()).into_owned(),
        };
        say(format!("{}={shown}", printable(name)));
    }
    if let Some(cause) = entry.text("cause") {
        say(format!("({})", printable(cause)));
    }
    phrases
}

/// What a transfer moved, and what it did not have to.
fn transfer(entry: &Entry) -> String {
    let mut text = entry.number("size").map(short_size).unwrap_or_default();
    let moved = entry.number("bytes");
    if moved != entry.number("size")
        && let Some(moved) = moved
    {
        write!(text, ", {} sent", short_size(moved)).expect("writing to a String succeeds");
    }
    if let Some(kept) = entry.number("resumed_from") {
        write!(text, ", {} kept", short_size(kept)).expect("writing to a String succeeds");
    }
    if let Some(repaired) = entry.number("repaired") {
        write!(text, ", {} repaired", short_size(repaired)).expect("writing to a String succeeds");
    }
    if let Some(seconds) = entry.float("seconds") {
        write!(text, " in {seconds} s").expect("writing to a String succeeds");
    }
    if let Some(rate) = entry.float("mb_per_s") {
        write!(text, ", {rate} MB/s").expect("writing to a String succeeds");
    }
    if let Some((algorithm, digits)) = entry.text("digest").and_then(|digest| digest.split_once(':')) {
        let digits: String = digits.chars().take(DIGEST_DIGITS).collect();
        write!(text, ", {}:{}", printable(algorithm), printable(&digits)).expect("writing to a String succeeds");
    }
    text
}
