//! What can go wrong, by who can mend it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ftp_digest::Digest;
use ftp_proto::scram::ScramError;
use ftp_proto::{Code, Fault, ProtocolError};

/// A failed operation. Its message names the reason and the figures, never the file: whoever shows
/// it knows which file was meant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused the request.
    #[error("{0}")]
    Refused(Fault),
    /// The login failed.
    #[error("{0}")]
    Login(String),
    /// No connection could be made.
    #[error("no connection to {address}")]
    Connect {
        /// The address tried.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the server was lost")]
    Lost(#[source] ProtocolError),
    /// The server ended the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server said goodbye.
    #[error("the server ended the session: {0}")]
    Bye(Fault),
    /// The server was silent for too long.
    #[error("the server was silent for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The server gave signs of life and nothing else.
    #[error("the server says that it is there, and has done nothing for {} min", .0.as_secs() / 60)]
    Stalled(Duration),
    /// The server lists more than is kept in memory.
    #[error(
        "the server lists more than {0} entries, which is more than is kept in memory; take its directories one by one"
    )]
    TooMuchListed(u64),
    /// The server broke the protocol.
    #[error("the server sent something that makes no sense here: {0}")]
    Misbehaved(String),
    /// What arrived is not what was sent.
    #[error("the digest differs: {expected} was promised, {found} arrived")]
    DigestMismatch {
        /// What the other side promised.
        expected: Digest,
        /// What the received bytes have.
        found: Digest,
    },
    /// The file on the server is not what was stored there.
    #[error("the file stored on the server is damaged: {expected} was stored, its bytes now have {found}")]
    StoredDamaged {
        /// The digest kept with the file since it was stored.
        expected: Digest,
        /// The digest of its bytes now.
        found: Digest,
    },
    /// The local source changed while it was read.
    #[error("the local file changed while it was read; nothing was published, try again when it is at rest")]
    SourceChanged,
    /// The local target exists.
    #[error("{} exists already; use --force to replace it", .0.display())]
    LocalExists(PathBuf),
    /// Something on this side failed.
    #[error("{what} {}", .path.display())]
    Local {
        /// What was tried, such as `cannot open`.
        what: &'static str,
        /// The local file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A symbolic link stands beneath the target of a tree.
    #[error("{} is a symbolic link, and nothing is written through links beneath the target", .0.display())]
    LocalLink(PathBuf),
    /// The target has a name that belongs to partial downloads.
    #[error("{} has a name of this program's own partial files; give it another one", .0.display())]
    PartialName(PathBuf),
    /// The local path is neither a file nor a directory.
    #[error("{} is neither a file nor a directory", .0.display())]
    NotAFile(PathBuf),
    /// The name the server gave can not be used here.
    #[error("the server sent the name {0:?}, which is not a plain file name; it was not used")]
    UnsafeName(String),
    /// The request does not fit into a message; nothing was sent.
    #[error("the path or the list of blocks is too long to send")]
    RequestTooLong,
    /// An item of a list was not reached. The first one that failed says why; this is its kind.
    #[error("not tried: the connection could not be had")]
    NotReached(ErrorKind),
}

/// What a failure means for the next step; the command line maps it to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The connection is gone or silent; trying again can help and resumes.
    Connection,
    /// A digest or a length differs.
    Mismatch,
    /// There is no such file.
    NotFound,
    /// Not permitted, outside the home, or the target exists.
    NotPermitted,
    /// User or password was refused.
    Login,
    /// Quota or disk space.
    Space,
    /// Anything else.
    Other,
}

impl Error {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. } | Self::Lost(_) | Self::Closed | Self::TimedOut(_) | Self::Stalled(_) => {
                ErrorKind::Connection
            }
            Self::Bye(fault) | Self::Refused(fault) => fault_kind(fault.code),
            Self::Login(_) => ErrorKind::Login,
            Self::DigestMismatch { .. } | Self::StoredDamaged { .. } => ErrorKind::Mismatch,
            Self::LocalExists(_) | Self::LocalLink(_) | Self::PartialName(_) | Self::UnsafeName(_) => {
                ErrorKind::NotPermitted
            }
            Self::Local { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied | io::ErrorKind::AlreadyExists => ErrorKind::NotPermitted,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Space,
                _ => ErrorKind::Other,
            },
            Self::NotReached(kind) => *kind,
            Self::Misbehaved(_)
            | Self::SourceChanged
            | Self::NotAFile(_)
            | Self::RequestTooLong
            | Self::TooMuchListed(_) => ErrorKind::Other,
        }
    }

    /// Whether connecting anew and going on can help.
    pub fn may_retry(&self) -> bool {
        match self {
            // It ends the session for the sake of one upload, which has its own answer; others may go on.
            Self::Bye(fault) if fault.code == Code::TakenOver => true,
            Self::Refused(fault) | Self::Bye(fault) => fault.retry,
            Self::DigestMismatch { .. } => true,
            // It was waited for long enough.
            Self::Stalled(_) => false,
            other => other.kind() == ErrorKind::Connection,
        }
    }

    /// How long the server asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(fault) | Self::Bye(fault) => fault.retry_after_ms.map(Duration::from_millis),
            _ => None,
        }
    }

    /// The server's code, if the server refused.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(fault) | Self::Bye(fault) => Some(fault.code),
            _ => None,
        }
    }

    pub(crate) fn local(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Local { what, path, source }
    }
}

impl From<ProtocolError> for Error {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::Truncated | ProtocolError::Io(_) => Self::Lost(error),
            other => Self::Misbehaved(other.to_string()),
        }
    }
}

impl From<ScramError> for Error {
    fn from(error: ScramError) -> Self {
        Self::Login(error.to_string())
    }
}

fn fault_kind(code: Code) -> ErrorKind {
    match code {
        Code::TimedOut | Code::ShuttingDown | Code::TooManySessions => ErrorKind::Connection,
        Code::DigestMismatch | Code::LengthMismatch => ErrorKind::Mismatch,
        Code::NotFound => ErrorKind::NotFound,
        Code::NotPermitted | Code::OutsideHome | Code::Exists | Code::NotEmpty => ErrorKind::NotPermitted,
        Code::LoginFailed | Code::TryLater => ErrorKind::Login,
        Code::QuotaBytes | Code::QuotaEntries | Code::NoSpace => ErrorKind::Space,
        _ => ErrorKind::Other,
    }
}
