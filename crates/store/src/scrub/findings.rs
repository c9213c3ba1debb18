//! What a scrub finds.

use std::path::PathBuf;

use ftp_digest::Digest;

use crate::time::Timestamp;

/// Something that is wrong with what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file or directory, absolute in the home, any bytes.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: ScrubFault,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrubFault {
    /// Its bytes are not those that were stored.
    Damaged {
        /// The digest kept since then.
        expected: Digest,
        /// The digest of what is there now.
        found: Digest,
        /// Bytes.
        size: u64,
        /// When it was changed last, as far as its time tells.
        modified: Timestamp,
    },
    /// It cannot be read.
    Unreadable {
        /// Why not.
        cause: String,
    },
}

/// What a scrub has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubSummary {
    /// Files whose bytes are those of their digests.
    pub sound: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Files with other bytes.
    pub damaged: u64,
    /// Files and directories that cannot be read.
    pub unreadable: u64,
    /// Files that were changed, replaced or cut while they were read; the next scrub sees to them.
    pub changed: u64,
    /// Files that have no digest.
    pub without_digest: u64,
    /// Files that were changed in their place since their digest was kept.
    pub outdated: u64,
    /// Files whose digest was kept by another version of the program.
    pub foreign: u64,
    /// Files that got a digest.
    pub adopted: u64,
}

impl ScrubSummary {
    /// Adds up.
    pub fn add(&mut self, other: &Self) {
        self.sound += other.sound;
        self.bytes += other.bytes;
        self.damaged += other.damaged;
        self.unreadable += other.unreadable;
        self.changed += other.changed;
        self.without_digest += other.without_digest;
        self.outdated += other.outdated;
        self.foreign += other.foreign;
        self.adopted += other.adopted;
    }

    /// Whether anything is wrong.
    pub fn is_clean(&self) -> bool {
        self.damaged == 0 && self.unreadable == 0
    }
}
