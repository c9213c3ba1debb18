//! Requests and replies after login.
//!
//! Unknown fields are ignored, so that later versions may add some. An unknown request parses as
//! [`Op::Unknown`] and is answered by an error; anything else that does not parse ends the session.

use ftp_digest::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::payload::{BlockList, Entry, Page, ResumeMode, Staged, Stored, Timestamp, UsageReport};
use crate::text::{algorithm_name, digest_text, digest_text_opt};
use crate::trash::{Purged, Restored, TrashItem};

/// A request, or a part of an upload's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client; the answer repeats it. Parts of a body repeat the id of their `put`.
    #[serde(default)]
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub op: Op,
}

/// A reply, or a part of a download's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The id of the request that is answered; 0 for a beat or a goodbye.
    #[serde(default)]
    pub id: u64,
    /// What is answered.
    #[serde(flatten)]
    pub re: Re,
}

/// What a client may send. Paths are in wire form ([`crate::encode_name`]), absolute or relative to
/// the session's working directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Part of an upload's body: the next data frames belong at this offset.
    At {
        /// In bytes from the start of the file.
        offset: u64,
    },
    /// A sign of life. No answer.
    Beat,
    /// Stops the request with the id `target`, if it is still running.
    Cancel {
        /// The id of the request to stop.
        target: u64,
    },
    /// Changes the working directory. Answered by [`Re::Cwd`].
    Cd {
        /// The new working directory.
        path: String,
    },
    /// Copies a file on the server. Answered by [`Re::Stored`].
    Cp {
        /// The file to copy.
        from: String,
        /// The name of the copy.
        to: String,
        /// Whether an existing target may be replaced.
        #[serde(default)]
        replace: bool,
    },
    /// The quota and its use. Answered by [`Re::Usage`].
    Df,
    /// Discards the staged upload for a path. Answered by [`Re::Ok`].
    Discard {
        /// The path the upload was meant for.
        path: String,
    },
    /// Part of an upload's body: all bytes are sent.
    End {
        /// The length of the whole file.
        length: u64,
        /// The digest of the whole file.
        #[serde(with = "digest_text")]
        digest: Digest,
    },
    /// Part of an upload's body: the client can not go on. What was sent stays staged.
    Fail {
        /// Why.
        message: String,
    },
    /// Downloads a file. Answered by [`Re::Begin`], data frames with [`Re::At`] between them, [`Re::End`].
    Get {
        /// The file.
        path: String,
        /// Where to begin, in bytes.
        #[serde(default)]
        offset: u64,
        /// How many bytes at the most; to the end of the file if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<u64>,
        /// The algorithm of the digest in [`Re::End`].
        #[serde(default, with = "algorithm_name")]
        digest: Algorithm,
        /// The prefix that the client holds. Only what differs from it is sent, then the rest; the rest alone if
        /// it is [`BlockList::uncompared`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        have: Option<BlockList>,
    },
    /// Lists a directory. Answered by any number of [`Re::Page`], then [`Re::Ok`].
    Ls {
        /// The directory.
        path: String,
        /// Whether kept digests are wanted.
        #[serde(default)]
        digests: bool,
    },
    /// Makes a directory. Answered by [`Re::Ok`].
    Mkdir {
        /// The directory.
        path: String,
        /// Whether missing parents are made, and an existing directory is no error.
        #[serde(default)]
        parents: bool,
    },
    /// Moves or renames. Answered by [`Re::Ok`].
    Mv {
        /// The present name.
        from: String,
        /// The new name.
        to: String,
        /// Whether an existing file at the new name may be replaced.
        #[serde(default)]
        replace: bool,
    },
    /// Asks whether the server is there. Answered by [`Re::Ok`].
    Ping,
    /// Uploads a file. With `ask` the client waits for [`Re::Go`]; without, the body follows at once
    /// and the file is stored anew. Answered by [`Re::Stored`].
    Put {
        /// The target.
        path: String,
        /// The length of the file; absent when it is not known, as on standard input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// The modification time to keep.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtime: Option<Timestamp>,
        /// The algorithm of the digest in [`Op::End`].
        #[serde(default, with = "algorithm_name")]
        digest: Algorithm,
        /// Whether an existing file may be replaced.
        #[serde(default)]
        replace: bool,
        /// Whether missing parent directories are made.
        #[serde(default)]
        parents: bool,
        /// Whether the client waits for the server's word before it sends the body.
        #[serde(default)]
        ask: bool,
        /// What to do with bytes that the server already holds.
        #[serde(default)]
        resume: ResumeMode,
    },
    /// The working directory. Answered by [`Re::Cwd`].
    Pwd,
    /// Deletes for good what is in the trash. Answered by [`Re::Purged`].
    Purge {
        /// Which items; everything if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        items: Option<Vec<u64>>,
    },
    /// Ends the session. Answered by [`Re::Ok`]; then the server closes.
    Quit,
    /// Puts something from the trash back. Answered by [`Re::Restored`].
    Restore {
        /// Which item; the newest that has the path if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<u64>,
        /// What was under this path; the whole item if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Where it goes, with its name; where it was if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Whether an existing file may be replaced.
        #[serde(default)]
        replace: bool,
    },
    /// Removes a file, into the trash. Answered by [`Re::Ok`].
    Rm {
        /// The file.
        path: String,
        /// Whether it is deleted for good.
        #[serde(default, skip_serializing_if = "is_false")]
        forever: bool,
    },
    /// Removes a directory. Answered by [`Re::Ok`].
    Rmdir {
        /// The directory.
        path: String,
        /// Whether everything in it is removed too, into the trash, in one step.
        #[serde(default)]
        recursive: bool,
        /// Whether it is deleted for good.
        #[serde(default, skip_serializing_if = "is_false")]
        forever: bool,
    },
    /// What stands at a path. Answered by [`Re::Entry`].
    Stat {
        /// The path.
        path: String,
        /// Whether the kept digest is wanted.
        #[serde(default)]
        digest: bool,
    },
    /// The digest of a file. Answered by [`Re::Digest`].
    Sum {
        /// The file.
        path: String,
        /// The algorithm.
        #[serde(default, with = "algorithm_name")]
        digest: Algorithm,
        /// Whether the file is read even if a digest is kept with it.
        #[serde(default)]
        fresh: bool,
    },
    /// What is in the trash, the newest first. Answered by any number of [`Re::Trash`], then [`Re::Ok`].
    Trash {
        /// Only the versions of this path; everything if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// The staged uploads. Answered by any number of [`Re::Uploads`], then [`Re::Ok`].
    Uploads,
    /// A request of a later version.
    #[serde(other)]
    Unknown,
}

/// What a server may send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "re", rename_all = "snake_case")]
pub enum Re {
    /// Part of a download's body: the next data frames belong at this offset.
    At {
        /// In bytes from the start of the file.
        offset: u64,
    },
    /// A sign of life.
    Beat,
    /// The download begins.
    Begin {
        /// The length of the whole file in bytes.
        size: u64,
        /// When it was last modified.
        mtime: Timestamp,
        /// The digest kept since its upload, if one is and it is still true.
        #[serde(default, with = "digest_text_opt", skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
        /// How many bytes of the body will follow.
        body: u64,
    },
    /// The server ends the session for the reason given.
    Bye(Fault),
    /// The working directory.
    Cwd {
        /// Absolute, in wire form.
        path: String,
    },
    /// A digest.
    Digest {
        /// The digest of the whole file.
        #[serde(with = "digest_text")]
        digest: Digest,
        /// The length it was taken over, in bytes.
        size: u64,
        /// Whether it was kept from the upload rather than computed now.
        kept: bool,
    },
    /// All bytes of the download are sent.
    End {
        /// The length of the whole file, or of the range asked for.
        length: u64,
        /// The digest of the same bytes.
        #[serde(with = "digest_text")]
        digest: Digest,
    },
    /// What stands at a path.
    Entry(Entry),
    /// The request failed. In the middle of a download it ends the body.
    Error(Fault),
    /// The upload may go on.
    Go {
        /// The prefix that the server holds; [`BlockList::uncompared`] if it is of the announced size and time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        have: Option<BlockList>,
    },
    /// Done.
    Ok,
    /// Some entries of a directory, in no particular order.
    Page(Page),
    /// What was deleted for good.
    Purged(Purged),
    /// What was restored, and where it is.
    Restored(Restored),
    /// The file is stored: checked, durable and visible.
    Stored(Stored),
    /// Some of what is in the trash, the newest first.
    Trash {
        /// One element an item.
        items: Vec<TrashItem>,
    },
    /// Some of the staged uploads.
    Uploads {
        /// One element an upload.
        uploads: Vec<Staged>,
    },
    /// The quota and its use.
    Usage(UsageReport),
    /// A reply of a later version.
    #[serde(other)]
    Unknown,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's `skip_serializing_if` passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
