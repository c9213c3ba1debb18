//! Failures as people read them: what, which file, why, the figures, and the next step.

mod hints;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use ftp_client::{Code, Entry, Error, Fault};

pub(crate) use self::hints::Situation;
use super::exit::Exit;
use super::format;
use super::quote::quoted;

/// The longest reason that is shown. What a server says may be much longer, and would drive all else off the screen.
const MAX_REASON_CHARS: usize = 600;

/// Why a command ends before it is done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Standard output was closed by whoever read it: they have seen enough.
    Closed,
    /// A failure that nobody was told of yet.
    Failure(Box<Failure>),
    /// Ctrl-C.
    Interrupted,
    /// Failures that were told as they came.
    Reported(Exit),
}

/// What commands answer.
pub(crate) type Done = Result<(), Stop>;

/// A failure, ready to be shown.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the program will end with.
    pub(crate) exit: Exit,
    /// What failed, for programs.
    pub(crate) code: Box<str>,
    /// The command and what it was about, such as `put` and `demo.mp4`.
    pub(crate) subject: Option<(&'static str, Vec<u8>)>,
    /// The reason with its figures.
    pub(crate) message: String,
    /// What to do next, one sentence each.
    pub(crate) hints: Vec<String>,
    /// What the server said, with its figures.
    pub(crate) fault: Option<Box<Fault>>,
}

impl Failure {
    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// Any failure that does not come from the client library.
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.into(),
            subject: None,
            message: message.into(),
            hints: Vec::new(),
            fault: None,
        }
    }

    /// A local file that can not be used.
    pub(crate) fn local(what: &str, path: &Path, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::AlreadyExists => Exit::NotPermitted,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::Space,
            _ => Exit::Failed,
        };
        let path = quoted(path.as_os_str().as_encoded_bytes());
        Self::new(exit, "local", format!("{what} {path}: {error}"))
    }

    /// A failure of the library, about `subject`, with the hints that fit the situation.
    pub(crate) fn of(command: &'static str, subject: &[u8], error: &Error, situation: &Situation) -> Self {
        let fault = match error {
            Error::Refused(fault) | Error::Bye(fault) => Some(Box::new(fault.clone())),
            _ => None,
        };
        Self {
            exit: Exit::from(error.kind()),
            code: code(error),
            subject: Some((command, subject.to_vec())),
            message: reason(error),
            hints: hints::of(command, subject, error, situation),
            fault,
        }
    }

    /// Says which command and file it is about.
    #[must_use]
    pub(crate) fn about(mut self, command: &'static str, subject: &[u8]) -> Self {
        self.subject = Some((command, subject.to_vec()));
        self
    }

    /// Adds a next step.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds figures behind the reason, or behind those that are there already.
    #[must_use]
    pub(crate) fn with_figures(mut self, figures: &str) -> Self {
        self.message = match self.message.strip_suffix(')') {
            Some(open) => format!("{open}, {figures})"),
            None => format!("{} ({figures})", self.message),
        };
        self
    }

    /// The sentence without hints: `put demo.mp4: REASON`. Names are quoted, the reason is not yet
    /// fit for a terminal.
    pub(crate) fn sentence(&self) -> String {
        match &self.subject {
            Some((command, subject)) if subject.is_empty() => format!("{command}: {}", self.message),
            Some((command, subject)) => format!("{command} {}: {}", quoted(subject), self.message),
            None => self.message.clone(),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<io::Error> for Stop {
    /// The only I/O that commands do without a path is writing their results.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Failure::new(Exit::Failed, "output", format!("cannot write the result: {error}")).into()
    }
}

/// An entry's figures, as conflicts show them.
pub(crate) fn entry_figures(entry: &Entry) -> String {
    format!("{} of {}", format::size(entry.size), format::local_time(entry.mtime))
}

/// What failed, as a stable word.
fn code(error: &Error) -> Box<str> {
    match error {
        Error::Refused(fault) | Error::Bye(fault) => return fault.code.name().into(),
        Error::Login(_) => "login_failed",
        Error::Connect { .. } => "connect",
        Error::Lost(_) | Error::Closed => "connection_lost",
        Error::TimedOut(_) | Error::Stalled(_) => "timed_out",
        Error::TooMuchListed(_) => "too_much",
        Error::LocalLink(_) => "local_link",
        Error::Misbehaved(_) => "protocol",
        Error::DigestMismatch { .. } => "digest_mismatch",
        Error::StoredDamaged { .. } => "stored_damaged",
        Error::SourceChanged => "source_changed",
        Error::LocalExists(_) => "exists",
        Error::Local { .. } => "local",
        Error::NotAFile(_) => "not_a_file",
        Error::PartialName(_) | Error::UnsafeName(_) => "bad_name",
        Error::RequestTooLong => "too_long",
        Error::NotReached(_) => "not_tried",
        #[expect(unreachable_patterns, reason = "the library may learn of more ways to fail")]
        _ => "failed",
    }
    .into()
}

/// The reason with its figures and its causes, each said once, and no longer than a few lines.
pub(crate) fn reason(error: &Error) -> String {
    let mut text = whole_reason(error);
    if let Some((end, _)) = text.char_indices().nth(MAX_REASON_CHARS) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn whole_reason(error: &Error) -> String {
    if let Error::Refused(fault) = error
        && let Some(figures) = figures(fault)
    {
        return figures;
    }
    if matches!(error, Error::LocalExists(_)) {
        return "the target exists already".to_owned();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The reason in words of our own where the figures tell more than a sentence.
fn figures(fault: &Fault) -> Option<String> {
    match (fault.code, fault.limit, fault.used, fault.requested) {
        (Code::QuotaBytes, Some(limit), Some(used), Some(requested)) => {
            let free = limit.saturating_sub(used);
            Some(format!(
                "this does not fit into the quota (limit {}, used {}, free {}, requested {}: {} too much)",
                format::size(limit),
                format::size(used),
                format::size(free),
                format::size(requested),
                format::size(requested.saturating_sub(free)),
            ))
        }
        (Code::QuotaEntries, Some(limit), Some(used), _) => Some(format!(
            "the quota allows no more files and directories (limit {limit}, used {used})"
        )),
        (Code::NoSpace, Some(_), Some(_), Some(requested)) => {
            Some(format!("{} ({} requested)", fault.message, format::size(requested)))
        }
        (Code::Exists, ..) => {
            let existing = fault.existing.as_ref()?;
            Some(match existing.kind {
                ftp_client::Kind::Dir => "a directory of this name exists already".to_owned(),
                _ => format!("the target exists already (there: {})", entry_figures(existing)),
            })
        }
        _ => None,
    }
}
