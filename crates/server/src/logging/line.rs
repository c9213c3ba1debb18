//! A record as one line for a person: time, level, message, `key=value`.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use tracing::Level;

use super::record::{Record, Value};
use crate::escape;

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// More than most lines have.
const USUAL_BYTES: usize = 384;

/// The line, in local time. Colour repeats what the words say and never adds to it.
pub(super) fn render(record: &Record, coloured: bool) -> Vec<u8> {
    let time = record.time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
    let message = escape::printable(record.message());
    let level = record.level.as_str();
    let mut line = String::with_capacity(USUAL_BYTES);
    let (dim, colour, reset) = if coloured {
        (DIM, colour(record.level), RESET)
    } else {
        ("", "", "")
    };
    write!(line, "{dim}{time}{reset} {colour}{level:<5}{reset} {message}").expect("writing to a String succeeds");
    for (name, value) in record.fields() {
        write!(line, " {dim}{name}={reset}")
            .and_then(|()| match value {
                Value::Text(text) => line.write_str(&escape::value(text)),
                Value::Flag(flag) => write!(line, "{flag}"),
                Value::Number(Some(number)) => write!(line, "{number}"),
                Value::Number(None) => line.write_str("null"),
            })
            .expect("writing to a String succeeds");
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
