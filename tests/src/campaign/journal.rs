//! The server's log as it grows: sessions that are open, transfers, and what must not be there.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use serde_json::Value;

use super::Checked;

/// The log, read as far as it goes.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    offset: u64,
    /// Sessions of the server that runs now.
    open: BTreeSet<u64>,
    /// Events since the round began.
    events: Vec<Value>,
    /// How many lines may be torn: one for each SIGKILL.
    torn: u64,
}

impl Journal {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            open: BTreeSet::new(),
            events: Vec::new(),
            torn: 0,
        }
    }

    pub(super) fn begin_round(&mut self) {
        self.events.clear();
    }

    /// The server was killed, perhaps in the middle of a line.
    pub(super) fn server_was_killed(&mut self) {
        self.torn += 1;
    }

    /// Events since the round began.
    pub(super) fn events(&self) -> &[Value] {
        &self.events
    }

    /// Whether all sessions have ended.
    pub(super) fn is_quiet(&mut self) -> Checked<bool> {
        self.read()?;
        Ok(self.open.is_empty())
    }

    /// Sessions without an end.
    pub(super) fn open(&self) -> &BTreeSet<u64> {
        &self.open
    }

    /// Reads on to the last whole line.
    pub(super) fn read(&mut self) -> Checked {
        let Ok(file) = File::open(&self.path) else {
            return Ok(());
        };
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let mut text = vec![0; usize::try_from(length.saturating_sub(self.offset)).expect("a log that fits")];
        file.read_exact_at(&mut text, self.offset)
            .map_err(|error| error.to_string())?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.offset += whole as u64;
        for line in text[..whole]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            self.line(line)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Checked {
        let Ok(event) = serde_json::from_slice::<Value>(line) else {
            self.torn = self.torn.checked_sub(1).ok_or_else(|| {
                format!(
                    "a line of the server's log is no JSON: {}",
                    String::from_utf8_lossy(line)
                )
            })?;
            return Ok(());
        };
        let session = event["session"].as_u64();
        match (event["event"].as_str(), session) {
            (Some("login"), Some(session)) => {
                self.open.insert(session);
            }
            (Some("session_end"), Some(session)) => {
                self.open.remove(&session);
            }
            (Some("server"), _) if event["message"] == "listening" => self.open.clear(),
            _ => {}
        }
        // No harm that is done here is a failure of the server.
        if event["level"]
            .as_str()
            .is_some_and(|level| level.eq_ignore_ascii_case("error"))
        {
            return Err(format!("the server failed: {event}"));
        }
        self.events.push(event);
        Ok(())
    }

    /// How many transfers to or from a path have ended since the round began: well, and in any way.
    pub(super) fn transfers(&self, user: &str, op: &str, path: &str) -> (usize, usize) {
        let is_it = |event: &&Value| {
            event["event"] == "transfer" && event["user"] == user && event["op"] == op && event["path"] == path
        };
        let ended = self.events.iter().filter(is_it);
        let well = ended.clone().filter(|event| event["outcome"] == "ok");
        (well.count(), ended.count())
    }
}
