//! One event, taken out of `tracing`, before it is rendered.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The longest text of a field. A name has at most 4,096 bytes, a client may send sixteen times as many,
/// and each may take six when it is escaped.
const MAX_FIELD_BYTES: usize = 12 * 1024;

/// More than an address or most paths have.
const USUAL_FIELD_BYTES: usize = 64;

/// An event with its fields in the order in which they were written down.
pub(super) struct Record {
    pub(super) time: Timestamp,
    pub(super) level: Level,
    /// The kind of event, such as `transfer`. Events of libraries have none.
    pub(super) event: Option<String>,
    /// The module that raised it.
    pub(super) target: &'static str,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

/// When something happened, for whoever reads the log.
#[expect(clippy::disallowed_methods, reason = "shown only")]
fn now() -> Timestamp {
    Timestamp::now()
}

impl Record {
    pub(super) fn new(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut record = Self {
            time: now(),
            level: *metadata.level(),
            event: None,
            target: metadata.target(),
            message: String::new(),
            fields: Vec::with_capacity(metadata.fields().len()),
        };
        event.record(&mut record);
        record
    }

    /// The report of lines that could not be written.
    pub(super) fn lost(lines: u64) -> Self {
        Self {
            time: now(),
            level: Level::ERROR,
            event: Some("failure".to_owned()),
            target: module_path!(),
            message: "log lines were lost here".to_owned(),
            fields: vec![("lost", lines.into())],
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        let value = match value {
            Value::String(text) => Value::String(bounded(text)),
            value => value,
        };
        match (field.name(), value) {
            ("event", Value::String(event)) => self.event = Some(event),
            ("message", Value::String(message)) => self.message = message,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

/// The text, or its beginning and how much is missing.
fn bounded(mut text: String) -> String {
    if text.len() > MAX_FIELD_BYTES {
        let end = text.floor_char_boundary(MAX_FIELD_BYTES);
        let missing = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("… ({missing} bytes more)"));
    }
    text
}

impl Visit for Record {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::with_capacity(USUAL_FIELD_BYTES);
        write!(text, "{value:?}").expect("writing to a String succeeds");
        self.put(field, text.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
}
