//! A record as one line for a person: time, level, message, `key=value`.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde_json::Value;
use tracing::Level;

use super::record::Record;
use crate::escape;

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// The line, in local time. Colour repeats what the words say and never adds to it.
pub(super) fn render(record: &Record, coloured: bool) -> Vec<u8> {
    let time = record.time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
    let message = escape::printable(&record.message);
    let level = record.level.as_str();
    let mut line = String::with_capacity(384);
    let (dim, colour, reset) = if coloured {
        (DIM, colour(record.level), RESET)
    } else {
        ("", "", "")
    };
    write!(line, "{dim}{time}{reset} {colour}{level:<5}{reset} {message}").expect("writing to a String succeeds");
    for (name, value) in &record.fields {
        write!(line, " {dim}{name}={reset}").expect("writing to a String succeeds");
        match value {
            Value::String(text) => line.push_str(&escape::value(text)),
            other => line.push_str(&other.to_string()),
        }
    }
    line.push('\n');
    line.into_bytes()
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[36m",
    }
}
