//! What requests about the trash carry.

use ftp_digest::Digest;
use serde::{Deserialize, Serialize};

use crate::payload::{Kind, Timestamp};
use crate::text::digest_text_opt;

/// Why something is in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was removed.
    Removed,
    /// Something else was stored under its name.
    Replaced,
    /// Something a later version knows.
    #[serde(other)]
    Other,
}

/// Something in the trash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashItem {
    /// Its number; a higher one came later.
    pub item: u64,
    /// Where it was, absolute, in wire form.
    pub path: String,
    /// Why it is there.
    pub reason: Reason,
    /// When it came.
    pub discarded: Timestamp,
    /// For how many seconds it is kept at the most, counting time in which the server runs.
    pub expires: u64,
    /// What it is.
    pub kind: Kind,
    /// The bytes of its files.
    pub size: u64,
    /// How many entries it has: 1, or for a directory with all that is in it.
    pub entries: u64,
    /// When it was last modified.
    pub mtime: Timestamp,
    /// The digest kept since its upload, if one is and it is still true.
    #[serde(default, with = "digest_text_opt", skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Where it is now, absolute, in wire form.
    pub path: String,
    /// The item it came from.
    pub item: u64,
    /// The bytes of its files.
    pub size: u64,
    /// Whether it took the place of a file, which is in the trash now.
    pub replaced: bool,
}

/// What was deleted for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// How many entries.
    pub entries: u64,
    /// The bytes of their files.
    pub bytes: u64,
}
