//! A record as one flat JSON object on one line.

use std::io;

use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use serde_json::ser::{Formatter, Serializer};
use tracing::Level;

use super::record::{Record, Value};
use crate::escape::is_hazardous;

/// More than most lines have.
const USUAL_BYTES: usize = 512;

/// The object, ended by a newline. Hazardous characters are escaped as JSON allows, so the line is
/// safe to look at with any tool and reads back as exactly the text that was logged.
pub(super) fn render(record: &Record) -> Vec<u8> {
    let mut line = Vec::with_capacity(USUAL_BYTES);
    write(&mut line, record).expect("texts and numbers always become JSON");
    line.push(b'\n');
    line
}

fn write(line: &mut Vec<u8>, record: &Record) -> serde_json::Result<()> {
    let mut serializer = Serializer::with_formatter(line, Harmless);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("time", &format_args!("{:.3}", record.time))?;
    map.serialize_entry("level", level(record.level))?;
    match record.event() {
        Some(event) => map.serialize_entry("event", event)?,
        None => map.serialize_entry("target", record.target)?,
    }
    map.serialize_entry("message", record.message())?;
    for (name, value) in record.fields() {
        match value {
            Value::Text(text) => map.serialize_entry(name, text)?,
            Value::Flag(flag) => map.serialize_entry(name, &flag)?,
            Value::Number(number) => map.serialize_entry(name, &number)?,
        }
    }
    map.end()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Compact JSON in which hazardous characters are always escaped.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hazardous) {
            let (safe, hazard) = rest.split_at(at);
            writer.write_all(safe.as_bytes())?;
            let c = hazard.chars().next().expect("`find` found a character there");
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &hazard[c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}
