//! What an upload is to be, before its first byte.

use ftp_digest::Algorithm;

use crate::time::Timestamp;

/// What to do with bytes that an earlier upload to the same path has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Continue whatever is there, cut to the announced size.
    Always,
    /// Continue if the size is known and size and modification time are those announced before.
    #[default]
    Auto,
    /// Start anew.
    Never,
}

/// What is announced before the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadSpec {
    /// The size in bytes; `None` if it shows only at the end, as with standard input.
    pub size: Option<u64>,
    /// The modification time the stored file gets; `None` for the time of the upload.
    pub modified: Option<Timestamp>,
    /// Whether an existing file may be replaced.
    pub replace: bool,
    /// What to do with a staged prefix.
    pub resume: Resume,
    /// The algorithm in which the digest of the whole will come. Another one costs a second pass.
    pub algorithm: Algorithm,
    /// Whether missing parent directories are made.
    pub make_parents: bool,
    /// Whether what is staged stays for a resume when the upload fails or is dropped. Without, it is
    /// deleted then, and what an earlier upload to the path had left with it.
    pub keep: bool,
}

impl Default for UploadSpec {
    fn default() -> Self {
        Self {
            size: None,
            modified: None,
            replace: false,
            resume: Resume::default(),
            algorithm: Algorithm::default(),
            make_parents: false,
            keep: true,
        }
    }
}
