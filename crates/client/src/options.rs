//! What a caller chooses, and what a transfer becomes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ftp_digest::{Algorithm, Digest};
use ftp_proto::scram::Credential;
use ftp_proto::{Kind, Timestamp};

use crate::{Address, Error, RemotePath};

/// How to connect and log in.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The server.
    pub address: Address,
    /// The user.
    pub user: String,
    /// The password, or the keys derived from it.
    pub credential: Credential,
    /// Whether TLS is spoken. `false` only for servers that have it switched off; nothing falls back.
    pub tls: bool,
    /// How often to try after a lost connection.
    pub retry: RetryPolicy,
    /// The working directory to start in; the home if absent.
    pub directory: Option<RemotePath>,
}

/// How often and how patiently to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times to try again without any progress in between; 0 for never.
    pub retries: u32,
    /// The first pause; each further one is twice as long, with some chance mixed in.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 8,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(20),
        }
    }
}

/// What to do with a partial transfer that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Go on from it, whatever it looks like.
    Always,
    /// Go on from it if it clearly belongs to the same source (size and time).
    #[default]
    Auto,
    /// Start anew.
    Never,
}

/// How to transfer.
#[derive(Clone, Debug, Default)]
pub struct TransferOptions {
    /// The algorithm of the proof.
    pub algorithm: Algorithm,
    /// What to do with a partial transfer.
    pub resume: Resume,
    /// Whether existing targets are replaced without asking.
    pub force: bool,
    /// Whether missing parent directories of a target are made.
    pub parents: bool,
}

/// One file to upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutItem {
    /// The local file; for a directory, an empty directory is made on the server, with what is missing above it.
    pub local: PathBuf,
    /// The target path, with its name.
    pub remote: RemotePath,
    /// What the local path is.
    pub kind: Kind,
    /// Its length in bytes when it was walked.
    pub size: u64,
}

/// One file to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetItem {
    /// The path on the server.
    pub remote: RemotePath,
    /// The local target, with its name.
    pub local: PathBuf,
    /// The directory above the local target beneath which no symbolic link is followed: what a server lists
    /// must not choose among the links that happen to be here. The whole path is trusted if absent.
    pub within: Option<Arc<Path>>,
    /// What stands on the server.
    pub kind: Kind,
    /// Its length in bytes when it was listed.
    pub size: u64,
}

/// What a transfer became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The length of the file in bytes.
    pub size: u64,
    /// Bytes that were there already and right.
    pub kept: u64,
    /// Bytes that were there already and wrong, and moved again.
    pub repaired: u64,
    /// Bytes that moved, repaired ones included.
    pub moved: u64,
    /// The proof: equal on both sides.
    pub digest: Digest,
    /// The modification time both sides have now.
    pub mtime: Timestamp,
    /// How long it took, pauses and retries included.
    pub elapsed: Duration,
    /// Whether an older file was replaced.
    pub replaced: bool,
    /// Whether the same file was there already, so that nothing had to move.
    pub identical: bool,
}

/// What became of one item of a list.
#[derive(Debug)]
pub struct Outcome {
    /// The local file.
    pub local: PathBuf,
    /// The path on the server.
    pub remote: RemotePath,
    /// What became of it; `Ok(None)` for a directory.
    pub result: Result<Option<Transferred>, Error>,
}
