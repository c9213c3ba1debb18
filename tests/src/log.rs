//! The server's log as JSON lines.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::eventually;

/// The log of a server.
#[derive(Clone, Debug)]
pub struct Log {
    file: PathBuf,
}

impl Log {
    /// The log in this file, which need not exist yet.
    pub fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// All whole lines so far.
    ///
    /// # Panics
    /// When a line is no JSON: then something has forged or torn it.
    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
            .collect()
    }

    /// The first event that passes, as soon as it is there.
    pub fn event(&self, what: &str, passes: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.events().into_iter().find(&passes))
    }

    /// The first event of an operation on a path with an outcome.
    pub fn outcome(&self, op: &str, path: &str, outcome: &str) -> Value {
        self.event(&format!("{op} {path} is logged as {outcome}"), |event| {
            event["op"] == op && event["path"] == path && event["outcome"] == outcome
        })
    }
}
