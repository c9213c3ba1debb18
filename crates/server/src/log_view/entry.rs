//! One line of the log.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The fields of one event.
pub(super) struct Entry {
    fields: Map<String, Value>,
}

impl Entry {
    /// The entry of a line; `None` when it is no JSON object with a time.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let fields = serde_json::from_str(line).ok()?;
        let entry = Self { fields };
        entry.time().is_some().then_some(entry)
    }

    pub(super) fn time(&self) -> Option<Timestamp> {
        self.text("time")?.parse().ok()
    }

    /// The kind of event; empty for those of libraries.
    pub(super) fn event(&self) -> &str {
        self.text("event").unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.as_u64()
    }

    pub(super) fn float(&self, name: &str) -> Option<f64> {
        self.fields.get(name)?.as_f64()
    }

    /// Whether something went wrong or was refused.
    pub(super) fn failed(&self) -> bool {
        matches!(
            self.event(),
            "failure" | "held_back" | "login_failed" | "session_refused" | "shut_out"
        ) || self.text("outcome").is_some_and(|outcome| outcome != "ok")
    }

    /// All fields by name.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value))
    }
}
