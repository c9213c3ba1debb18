//! Why a request is not done, for the client and for the log.

use ftp_proto::{Code, Fault, ProtocolError};
use ftp_store::{Error, Home};

use super::reply;
use super::rules::is_nuisance;
use super::session::Session;
use super::wire::End;
use crate::audit::{self, Chain, Who};

/// Why a request is not done: the session goes on, or it ends.
pub(super) enum Stop {
    Fault(Failure),
    End(End),
}

/// A failed request: what the client is told, and what the log is.
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) cause: String,
    /// Whether the administrator has to look at it.
    is_internal: bool,
    /// Whether a client can meet it as often as it likes, though it is internal.
    is_denied: bool,
}

impl Failure {
    /// One that the user can understand.
    pub(super) fn new(fault: Fault, cause: String) -> Self {
        Self {
            fault,
            cause,
            is_internal: false,
            is_denied: false,
        }
    }

    /// Tells the administrator, if it is no matter of the user's.
    pub(super) fn tell(&self, who: &Who) {
        if self.is_internal {
            audit::request_failure(who, &self.cause);
        }
    }

    /// Whether it has to be paid for; see [`is_nuisance`].
    pub(super) fn is_nuisance(&self) -> bool {
        self.is_denied || is_nuisance(self.fault.code)
    }
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
        Self::new(fault, cause)
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
        Self {
            fault: reply::fault(&error),
            cause: Chain(&error).to_string(),
            is_internal: reply::is_internal(&error),
            is_denied: matches!(error, Error::PermissionDenied { .. }),
        }
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

#[cfg(test)]
mod tests {
    use ftp_store::FilePath;

    use super::*;

    #[test]
    fn what_the_disk_refuses_has_to_be_paid_for_and_what_it_loses_does_not() {
        let denied = Error::PermissionDenied {
            what: "open",
            path: FilePath::root(),
        };
        let lost = Error::Io {
            what: "read",
            place: "/f".to_owned(),
            source: std::io::Error::from(std::io::ErrorKind::NotConnected),
        };
        let (denied, lost) = (Failure::from(denied), Failure::from(lost));
        assert_eq!((denied.fault.code, lost.fault.code), (Code::Internal, Code::Internal));
        assert!(denied.is_nuisance() && !lost.is_nuisance());
        assert!(lost.cause.starts_with("cannot read /f: "), "{}", lost.cause);
    }
}
