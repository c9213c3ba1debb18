//! How the library tells what happens.

use std::path::Path;
use std::time::Duration;

use ftp_proto::{Entry, Timestamp};

use crate::{Error, RemotePath, Transferred};

/// Names one transfer among those of a call; counts from 0.
pub type TransferId = u64;

/// Both ends of a transfer.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// The local file; `-` for standard input and output.
    pub local: &'a Path,
    /// The path on the server.
    pub remote: &'a RemotePath,
}

/// What happens during transfers.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The call will move so many files and bytes; grows while trees are walked.
    Planned {
        /// Files so far.
        files: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// A transfer begins.
    Started {
        /// Which.
        id: TransferId,
        /// Its ends.
        ends: Ends<'a>,
        /// The length in bytes, if known.
        size: Option<u64>,
    },
    /// Bytes that are there already are compared before a resume.
    Comparing {
        /// Which.
        id: TransferId,
        /// Bytes compared so far.
        done: u64,
        /// Bytes to compare.
        total: u64,
    },
    /// The transfer goes on from bytes that are there already. Comes again when they have to be compared after all.
    Resumed {
        /// Which.
        id: TransferId,
        /// Bytes that are there, and right as far as anybody knows.
        kept: u64,
        /// Bytes that are there and wrong, and move again.
        repaired: u64,
    },
    /// What was there did not belong to the same source, and the transfer starts anew.
    StartedAnew {
        /// Which.
        id: TransferId,
    },
    /// More bytes arrived at the other side's doorstep.
    Moved {
        /// Which.
        id: TransferId,
        /// Bytes of the file that are done, kept ones included.
        done: u64,
    },
    /// All bytes moved; the proof and the disk are awaited.
    Verifying {
        /// Which.
        id: TransferId,
    },
    /// The connection broke and the transfer will go on after a pause.
    Retrying {
        /// Which try comes next, from 2.
        attempt: u32,
        /// The most tries.
        attempts: u32,
        /// How long the pause is.
        pause: Duration,
        /// Why.
        cause: &'a Error,
    },
    /// A transfer is done.
    Finished {
        /// Which.
        id: TransferId,
        /// Its ends.
        ends: Ends<'a>,
        /// What became of it.
        result: &'a Transferred,
    },
    /// A transfer failed for good; one of a stream may fail before it has begun.
    Failed {
        /// Which.
        id: TransferId,
        /// Its ends.
        ends: Ends<'a>,
        /// Why.
        error: &'a Error,
    },
    /// A directory of a tree is there now.
    DirectoryMade {
        /// Its ends.
        ends: Ends<'a>,
    },
    /// Something that was met on the way through a tree can not be transferred.
    PassedOver {
        /// What.
        path: &'a Path,
        /// Why.
        error: &'a Error,
    },
}

/// A target that is in the way.
#[derive(Debug)]
pub struct Conflict<'a> {
    /// The local file.
    pub local: &'a Path,
    /// Its length in bytes and its time; `None` when it is standard input.
    pub local_state: Option<(u64, Timestamp)>,
    /// The path on the server.
    pub remote: &'a RemotePath,
    /// What stands there.
    pub remote_entry: &'a Entry,
    /// Whether the file on the server would be replaced, or the local one.
    pub upload: bool,
}

/// What to do about a [`Conflict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Leave the target: an upload fails with the server's [`crate::Code::Exists`], a download with
    /// [`Error::LocalExists`].
    Keep,
    /// Replace the target.
    Replace,
}

/// Whoever watches transfers: bars, logs, tests.
pub trait Observer: Send + Sync {
    /// Told of each event, in order, from the task that runs the transfer. Must not block.
    fn event(&self, event: &Event<'_>);

    /// Asked before an existing target would be replaced and [`crate::TransferOptions::force`] is
    /// not set. May block, as on a prompt: runs on a thread of its own.
    fn decide(&self, conflict: &Conflict<'_>) -> Decision;
}
