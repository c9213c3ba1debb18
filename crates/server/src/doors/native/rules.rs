//! What holds for each request before it is done: the right that it needs, whether it is a nuisance, and its name and
//! path in the log.

use ftp_proto::{Code, Op};

use crate::config::Rights;

/// What a request needs of its user's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Read,
    Write,
    Delete,
}

impl Needs {
    pub(super) fn are_met_by(self, rights: Rights) -> bool {
        match self {
            Self::Nothing => true,
            Self::Read => rights.read,
            Self::Write => rights.write,
            Self::Delete => rights.delete,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// The one table of what may be asked for with which right. Replacing an existing file needs
/// [`Rights::delete`] besides; see [`super::request::may_replace`].
pub(super) fn needs(op: &Op) -> Needs {
    match op {
        Op::At { .. }
        | Op::Beat
        | Op::Cancel { .. }
        | Op::Cd { .. }
        | Op::Df
        | Op::End { .. }
        | Op::Fail { .. }
        | Op::Ping
        | Op::Pwd
        | Op::Quit
        | Op::Unknown => Needs::Nothing,
        Op::Get { .. } | Op::Ls { .. } | Op::Stat { .. } | Op::Sum { .. } | Op::Trash { .. } => Needs::Read,
        Op::Cp { .. }
        | Op::Discard { .. }
        | Op::Mkdir { .. }
        | Op::Mv { .. }
        | Op::Put { .. }
        | Op::Restore { .. }
        | Op::Uploads => Needs::Write,
        Op::Purge { .. } | Op::Rm { .. } | Op::Rmdir { .. } => Needs::Delete,
    }
}

/// Whether a failure is one that a sound client has no reason to meet in numbers, and that only costs. To find
/// that a file is there already is the daily bread of whoever uploads a tree again.
pub(super) fn is_nuisance(code: Code) -> bool {
    !matches!(
        code,
        Code::Exists
            | Code::IsDirectory
            | Code::Internal
            | Code::DigestMismatch
            | Code::SourceChanged
            | Code::TakenOver
            | Code::ShuttingDown
    )
}

/// Whether the request moves and changes nothing, so that only its number tells a client from a flood.
pub(super) fn asks_for_nothing(op: &Op) -> bool {
    matches!(op, Op::Cancel { .. } | Op::Ping | Op::Pwd | Op::Unknown)
}

/// The name in the log.
pub(super) fn name(op: &Op) -> &'static str {
    match op {
        Op::At { .. } | Op::End { .. } | Op::Fail { .. } => "body",
        Op::Beat => "beat",
        Op::Cancel { .. } => "cancel",
        Op::Cd { .. } => "cd",
        Op::Cp { .. } => "cp",
        Op::Df => "df",
        Op::Discard { .. } => "discard",
        Op::Get { .. } => "get",
        Op::Ls { .. } => "ls",
        Op::Mkdir { .. } => "mkdir",
        Op::Mv { .. } => "mv",
        Op::Ping => "ping",
        Op::Purge { .. } => "purge",
        Op::Put { .. } => "put",
        Op::Pwd => "pwd",
        Op::Quit => "quit",
        Op::Restore { .. } => "restore",
        Op::Rm { .. } => "rm",
        Op::Rmdir { .. } => "rmdir",
        Op::Stat { .. } => "stat",
        Op::Sum { .. } => "sum",
        Op::Trash { .. } => "trash",
        Op::Unknown => "unknown",
        Op::Uploads => "uploads",
    }
}

/// The path as the client wrote it, for the log of a request that failed.
pub(super) fn path_text(op: &Op) -> String {
    match op {
        Op::Cd { path }
        | Op::Discard { path }
        | Op::Get { path, .. }
        | Op::Ls { path, .. }
        | Op::Mkdir { path, .. }
        | Op::Put { path, .. }
        | Op::Rm { path, .. }
        | Op::Rmdir { path, .. }
        | Op::Stat { path, .. }
        | Op::Sum { path, .. } => path.clone(),
        Op::Cp { from, to, .. } | Op::Mv { from, to, .. } => format!("{from} -> {to}"),
        Op::Restore { item, path, .. } => match (path, item) {
            (Some(path), _) => path.clone(),
            (None, item) => item.map(|item| format!("item {item}")).unwrap_or_default(),
        },
        Op::Trash { path } => path.clone().unwrap_or_default(),
        _ => String::new(),
    }
}
