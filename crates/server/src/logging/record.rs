//! One event, taken out of `tracing`, before it is rendered.

use std::fmt::{self, Write as _};
use std::ops::Range;

use jiff::Timestamp;
use serde_json::Number;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The longest text of a field. A name has at most 4,096 bytes, a client may send sixteen times as many,
/// and each may take six when it is escaped.
const MAX_FIELD_BYTES: usize = 12 * 1024;

/// More than the texts of a transfer usually have together.
const USUAL_BYTES: usize = 512;

/// An event with its fields in the order in which they were written down.
pub(super) struct Record {
    pub(super) time: Timestamp,
    pub(super) level: Level,
    /// The module that raised it.
    pub(super) target: &'static str,
    /// All texts, one behind the other: every transfer is logged, and memory for each text would be half of the work.
    text: String,
    event: Option<Range<usize>>,
    message: Range<usize>,
    fields: Vec<(&'static str, Kept)>,
}

/// A value as it is kept.
enum Kept {
    Text(Range<usize>),
    Flag(bool),
    /// None if it has no digits, like infinity.
    Number(Option<Number>),
}

/// The value of a field.
pub(super) enum Value<'a> {
    Text(&'a str),
    Flag(bool),
    Number(Option<&'a Number>),
}

/// When something happened, for whoever reads the log.
#[expect(clippy::disallowed_methods, reason = "shown only")]
fn now() -> Timestamp {
    Timestamp::now()
}

impl Record {
    pub(super) fn new(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut record = Self::empty(*metadata.level(), metadata.target(), metadata.fields().len());
        event.record(&mut record);
        record
    }

    /// The report of lines that could not be written.
    pub(super) fn lost(lines: u64) -> Self {
        let mut record = Self::empty(Level::ERROR, module_path!(), 1);
        record.event = Some(record.keep(|text| text.push_str("failure")));
        record.message = record.keep(|text| text.push_str("log lines were lost here"));
        record.fields.push(("lost", Kept::Number(Some(lines.into()))));
        record
    }

    fn empty(level: Level, target: &'static str, fields: usize) -> Self {
        Self {
            time: now(),
            level,
            target,
            text: String::with_capacity(USUAL_BYTES),
            event: None,
            message: 0..0,
            fields: Vec::with_capacity(fields),
        }
    }

    /// The kind of event, such as `transfer`. Events of libraries have none.
    pub(super) fn event(&self) -> Option<&str> {
        self.event.clone().map(|event| self.at(event))
    }

    pub(super) fn message(&self) -> &str {
        self.at(self.message.clone())
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, Value<'_>)> {
        self.fields.iter().map(|(name, kept)| {
            let value = match kept {
                Kept::Text(range) => Value::Text(self.at(range.clone())),
                Kept::Flag(flag) => Value::Flag(*flag),
                Kept::Number(number) => Value::Number(number.as_ref()),
            };
            (*name, value)
        })
    }

    fn at(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    /// Appends a text, or its beginning and how much is missing.
    fn keep(&mut self, append: impl FnOnce(&mut String)) -> Range<usize> {
        let begin = self.text.len();
        append(&mut self.text);
        if self.text.len() - begin > MAX_FIELD_BYTES {
            let end = self.text.floor_char_boundary(begin + MAX_FIELD_BYTES);
            let missing = self.text.len() - end;
            self.text.truncate(end);
            write!(self.text, "… ({missing} bytes more)").expect("writing to a String succeeds");
        }
        begin..self.text.len()
    }

    fn put_text(&mut self, field: &Field, append: impl FnOnce(&mut String)) {
        let kept = self.keep(append);
        match field.name() {
            "event" => self.event = Some(kept),
            "message" => self.message = kept,
            name => self.fields.push((name, Kept::Text(kept))),
        }
    }

    fn put_number(&mut self, field: &Field, number: Option<Number>) {
        self.fields.push((field.name(), Kept::Number(number)));
    }
}

impl Visit for Record {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), Kept::Flag(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, |text| {
            write!(text, "{value:?}").expect("writing to a String succeeds");
        });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put_number(field, Number::from_f64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_number(field, Some(value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, |text| text.push_str(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_number(field, Some(value.into()));
    }
}

#[cfg(test)]
impl Record {
    /// A message with one field.
    pub(super) fn saying(message: &str, name: &'static str, text: &str) -> Self {
        let mut record = Self::empty(Level::INFO, module_path!(), 1);
        record.message = record.keep(|kept| kept.push_str(message));
        let kept = record.keep(|kept| kept.push_str(text));
        record.fields.push((name, Kept::Text(kept)));
        record
    }
}
