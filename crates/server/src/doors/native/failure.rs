//! Why a request is not done, for the client and for the log.

use ftp_proto::{Code, Fault, ProtocolError};
use ftp_store::{Error, Home};

use super::reply;
use super::session::Session;
use super::wire::End;
use crate::audit;

/// Why a request is not done: the session goes on, or it ends.
pub(super) enum Stop {
    Fault(Failure),
    End(End),
}

/// A failed request: what the client is told, and what the log is.
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) cause: String,
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Self::End(error.into())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let cause = fault.message.clone();
        Self { fault, cause }
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault.into())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let fault = reply::fault(&error);
        if reply::is_internal(&error) {
            audit::failure(None, "a request failed", &error);
        }
        let mut cause = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            cause = format!("{cause}: {source}");
        }
        Self { fault, cause }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Fault(failure)
    }
}

/// The fault for a cancelled request.
pub(super) fn cancelled() -> Fault {
    Fault::new(Code::Cancelled, "cancelled")
}

/// Adds what stands in the way to the error that says so.
pub(super) async fn with_existing(home: &Home, error: Error) -> Failure {
    let existing = match &error {
        Error::Exists { path } | Error::IsDirectory { path } => home.stat(path, true).await.ok(),
        _ => None,
    };
    let mut failure = Failure::from(error);
    failure.fault.existing = existing.as_ref().map(reply::entry);
    failure
}

/// Tells the log of a damaged file, which is more than a request that failed.
pub(super) fn note_damage(session: &Session<'_>, error: &Error) {
    if let Error::Damaged { path, expected, found } = error {
        let user = session.who.user.as_deref().unwrap_or_default();
        audit::damaged(user, path, expected, found, None);
    }
}
