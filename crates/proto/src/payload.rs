//! What requests and replies carry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ftp_digest::{BLOCK_DIGEST_BYTES, BlockDigests, Digest, MAX_BLOCKS};
use serde::{Deserialize, Serialize};

use crate::text::{digest_text, digest_text_opt};

/// What to do with bytes that the server already holds for a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeMode {
    /// Go on from them whatever they look like.
    Always,
    /// Go on from them if they were announced with the same size and time.
    #[default]
    Auto,
    /// Discard them.
    Never,
}

/// A point in time as POSIX has it. Travels as `[seconds, nanoseconds]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(i64, u32)", into = "(i64, u32)")]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub seconds: i64,
    /// Nanoseconds within the second, always counted forward.
    pub nanos: u32,
}

impl From<(i64, u32)> for Timestamp {
    fn from((seconds, nanos): (i64, u32)) -> Self {
        Self {
            seconds,
            nanos: nanos.min(999_999_999),
        }
    }
}

impl From<Timestamp> for (i64, u32) {
    fn from(time: Timestamp) -> Self {
        (time.seconds, time.nanos)
    }
}

/// What kind of thing stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device, or something a later version knows.
    #[serde(other)]
    Other,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The last component, in wire form; `/` for the home itself.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The length in bytes; 0 for anything but files.
    pub size: u64,
    /// When it was last modified.
    pub mtime: Timestamp,
    /// The digest kept since its upload, if asked for, kept and still true.
    #[serde(default, with = "digest_text_opt", skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// Some entries of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In no particular order.
    pub entries: Vec<Entry>,
}

/// What an upload or a copy became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The length in bytes.
    pub size: u64,
    /// The modification time kept with it.
    pub mtime: Timestamp,
    /// Proven over what lies on disk.
    #[serde(with = "digest_text")]
    pub digest: Digest,
    /// Whether an older file was replaced.
    pub replaced: bool,
}

/// A staged upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The path it was meant for, absolute, in wire form.
    pub path: String,
    /// The announced length, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// How many bytes have arrived.
    pub staged: u64,
    /// When bytes arrived last.
    pub touched: Timestamp,
}

/// The quota of a user and its use, in bytes and in entries (files, directories, links).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// The quota of bytes; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The sizes of all files together.
    pub used: u64,
    /// The bytes of staged uploads.
    pub pending: u64,
    /// Announced by running uploads and copies and not yet arrived.
    pub reserved: u64,
    /// What may still be stored: what the quota leaves, or the disk if that is less.
    pub free: u64,
    /// The quota of entries; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_limit: Option<u64>,
    /// How many entries there are.
    pub entries: u64,
    /// How many uploads are staged.
    pub uploads: u64,
    /// The bytes in the trash, which gives way when something new needs the room.
    #[serde(default)]
    pub trash: u64,
    /// The most bytes in the trash; 0 if it keeps nothing.
    #[serde(default)]
    pub trash_limit: u64,
    /// How many entries are in the trash.
    #[serde(default)]
    pub trash_entries: u64,
}

/// A prefix that is held, with its block digests in wire form (BLAKE3, 32 bytes a block, concatenated, base64) if it
/// is to be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockList {
    /// The length of the prefix in bytes.
    pub length: u64,
    /// The size of every block but the last: a power of two, at least 64 KiB.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub block: u64,
    /// The digests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub blake3: String,
}

impl From<&BlockDigests> for BlockList {
    fn from(blocks: &BlockDigests) -> Self {
        Self {
            length: blocks.length(),
            block: blocks.block_bytes(),
            blake3: STANDARD.encode(blocks.to_bytes()),
        }
    }
}

impl BlockList {
    /// A prefix that the transfer goes on from without a look at it: the digest of the whole decides in the end.
    pub fn uncompared(length: u64) -> Self {
        Self {
            length,
            block: 0,
            blake3: String::new(),
        }
    }

    /// Whether it says nothing but the length.
    pub fn is_uncompared(&self) -> bool {
        self.block == 0 && self.blake3.is_empty()
    }

    /// The digests, if they fit their length and block size.
    pub fn parse(&self) -> Option<BlockDigests> {
        let most = usize::try_from(MAX_BLOCKS).ok()? * BLOCK_DIGEST_BYTES;
        // Judged before decoding: four characters carry three bytes.
        if self.blake3.len() > most.div_ceil(3) * 4 {
            return None;
        }
        let raw = STANDARD.decode(&self.blake3).ok()?;
        BlockDigests::from_parts(self.length, self.block, &raw)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's `skip_serializing_if` passes a reference"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
