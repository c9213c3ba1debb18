//! Which events are asked for.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::LogArgs;
use super::entry::Entry;
use crate::config::parse_duration;

/// What `ftpd log` was asked for; an event has to pass all of it.
pub(super) struct Filter<'a> {
    args: &'a LogArgs,
}

impl<'a> Filter<'a> {
    pub(super) fn new(args: &'a LogArgs) -> Self {
        Self { args }
    }

    pub(super) fn matches(&self, entry: &Entry) -> bool {
        let LogArgs {
            user,
            op,
            failed,
            since,
            ..
        } = self.args;
        let is = |wanted: &String| entry.text("op") == Some(wanted) || entry.event() == wanted;
        user.as_deref().is_none_or(|user| entry.text("user") == Some(user))
            && (op.is_empty() || op.iter().any(is))
            && (!failed || entry.failed())
            && since.is_none_or(|since| entry.time().is_some_and(|time| time >= since))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log has the times of this clock, and a person asks"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The moment that `--since` means: a time before now, an RFC 3339 time, or a local date and time.
pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = parse_duration(text) {
        return now().checked_sub(time).map_err(|_| format!("`{text}` is too long ago"));
    }
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    text.parse::<DateTime>()
        .ok()
        .and_then(|local| local.to_zoned(TimeZone::system()).ok())
        .map(|zoned| zoned.timestamp())
        .ok_or_else(|| {
            format!("`{text}` is no time; write one like 2h, \"7 days\", 2026-01-31T12:00:00Z or \"2026-01-31 13:00\"")
        })
}
