//! An error as it travels: code, sentence, figures.

use serde::{Deserialize, Serialize};

use crate::{Code, Entry};

/// What a request failed with. The sentence is for a person, the figures are in bytes (or entries,
/// for [`Code::QuotaEntries`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong and what to do, for people. One sentence without a final period.
    pub message: String,
    /// Whether the same request can succeed later.
    #[serde(default)]
    pub retry: bool,
    /// How many milliseconds to wait before trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The limit that stands in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How much of the limit is used, staged and reserved bytes included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// How much the request asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<u64>,
    /// The file or directory that stands in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<Entry>,
}

impl Fault {
    /// A fault without figures.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry: code.may_retry(),
            retry_after_ms: None,
            limit: None,
            used: None,
            requested: None,
            existing: None,
        }
    }

    /// The same fault with the figures of an exhausted limit.
    #[must_use]
    pub fn with_figures(mut self, limit: u64, used: u64, requested: u64) -> Self {
        self.limit = Some(limit);
        self.used = Some(used);
        self.requested = Some(requested);
        self
    }
}
