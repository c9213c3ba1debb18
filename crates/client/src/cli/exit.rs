//! What the program's end says to a script.

use std::process::ExitCode;

use ftp_client::ErrorKind;

/// The exit codes; `--help` lists them. A list of files goes on after a failure and ends with the
/// highest code among them, so that 8 always means: run it again and it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything is done.
    Done = 0,
    /// Any failure without a code of its own.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// User, password or saved key was refused.
    Login = 3,
    /// No such file.
    NotFound = 4,
    /// Not permitted, or the target exists.
    NotPermitted = 5,
    /// Quota or disk space.
    Space = 6,
    /// A digest differs.
    Mismatch = 7,
    /// The connection was lost or timed out; what was transferred can be resumed.
    Connection = 8,
    /// Ctrl-C, as shells report it: 128 and the number of SIGINT.
    Interrupted = 130,
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Connection => Self::Connection,
            ErrorKind::Login => Self::Login,
            ErrorKind::Mismatch => Self::Mismatch,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::NotPermitted => Self::NotPermitted,
            ErrorKind::Other => Self::Failed,
            ErrorKind::Space => Self::Space,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_with_the_highest_code() {
        let worst = [Exit::NotFound, Exit::Connection, Exit::Done, Exit::Space]
            .into_iter()
            .max();
        assert_eq!(worst, Some(Exit::Connection));
    }

    #[test]
    fn every_kind_of_failure_has_the_documented_code() {
        for (kind, code) in [
            (ErrorKind::Other, 1),
            (ErrorKind::Login, 3),
            (ErrorKind::NotFound, 4),
            (ErrorKind::NotPermitted, 5),
            (ErrorKind::Space, 6),
            (ErrorKind::Mismatch, 7),
            (ErrorKind::Connection, 8),
        ] {
            assert_eq!(Exit::from(kind) as u8, code, "{kind:?}");
        }
    }
}
