//! What can go wrong, by meaning, with the figures a person needs to act.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use ftp_digest::Digest;
use rustix::io::Errno;

use crate::path::{FilePath, PathError};

/// The result of the store's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was refused or failed. The messages are fit for the user; causes that are not
/// stand in the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An older upload to the same path did not let go in time.
    #[error("another upload to {path} is still being wound up; try again in a moment")]
    Busy {
        /// The target.
        path: FilePath,
    },
    /// What arrived is not what was announced. The staged bytes of an upload are kept for a resume, if
    /// it asked for that.
    #[error(
        "{path}: the bytes received have the digest {found}, the source has {expected}; nothing was stored, send it again"
    )]
    DigestMismatch {
        /// The target.
        path: FilePath,
        /// The digest the sender gave.
        expected: Box<Digest>,
        /// The digest of the staged bytes.
        found: Box<Digest>,
    },
    /// The stored file is not what was stored: its disk, or somebody on the server's machine, has
    /// changed its bytes and neither its size nor its time.
    #[error(
        "{path} is damaged on the server's disk: {expected} was stored, its bytes now have {found}; it was left as it is: upload it again or restore it from a backup"
    )]
    Damaged {
        /// The file.
        path: FilePath,
        /// The digest kept with it.
        expected: Box<Digest>,
        /// The digest of its bytes.
        found: Box<Digest>,
    },
    /// Something of this name exists and replacing was not asked for.
    #[error("{path} already exists")]
    Exists {
        /// The target.
        path: FilePath,
    },
    /// A file of the store's own has a format that this version does not know, and is left alone.
    #[error("the {what} has format version {found}, this server knows version {known}; use the server that made it")]
    FormatVersion {
        /// Which file it is.
        what: &'static str,
        /// The version found.
        found: String,
        /// The version known here.
        known: &'static str,
    },
    /// A write would leave a hole behind the bytes held.
    #[error("{path}: bytes from {offset} on cannot follow a prefix of {held} bytes")]
    Gap {
        /// The target.
        path: FilePath,
        /// Length of the contiguous prefix held.
        held: u64,
        /// Where the write would begin.
        offset: u64,
    },
    /// What was a home is none any more.
    #[error(
        "{} is not the home it was: its disk is not mounted, or it was moved or deleted; put it back, or restart the server to begin with an empty one",
        .dir.display()
    )]
    HomeGone {
        /// The home's directory.
        dir: PathBuf,
    },
    /// The home itself can be neither removed, renamed nor replaced.
    #[error("/ is the home itself and cannot be removed, renamed or replaced")]
    HomeItself,
    /// Another process holds this home open.
    #[error("{} is in use by another server process", .dir.display())]
    InUse {
        /// The home's directory.
        dir: PathBuf,
    },
    /// A directory cannot move into itself.
    #[error("{from} cannot be moved into itself as {to}")]
    IntoItself {
        /// What was to be moved.
        from: FilePath,
        /// Where it was to go.
        to: FilePath,
    },
    /// The operating system failed in a way that has no meaning of its own here.
    #[error("cannot {what} {place}")]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// With what, escaped.
        place: String,
        /// The cause.
        source: io::Error,
    },
    /// A directory stands where a file was expected.
    #[error("{path} is a directory")]
    IsDirectory {
        /// The directory.
        path: FilePath,
    },
    /// The upload is shorter or longer than its sender says. The staged bytes are kept for a resume, if
    /// it asked for that.
    #[error("{path}: {found} bytes arrived, {expected} were announced; nothing was stored, send it again")]
    LengthMismatch {
        /// The target.
        path: FilePath,
        /// Bytes the sender announced.
        expected: u64,
        /// Bytes staged.
        found: u64,
    },
    /// The file system has too little room.
    #[error("the server's disk has {free} bytes free, {requested} are needed")]
    NoSpace {
        /// Free bytes.
        free: u64,
        /// Bytes asked for.
        requested: u64,
    },
    /// Neither a regular file nor a directory: a FIFO, socket or device.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// What it is called.
        path: FilePath,
    },
    /// A file stands where a directory was expected.
    #[error("{path} is not a directory")]
    NotDirectory {
        /// The file.
        path: FilePath,
    },
    /// The directory still has entries.
    #[error("{path} is not empty")]
    NotEmpty {
        /// The directory.
        path: FilePath,
    },
    /// Another file system is mounted there.
    #[error(
        "{path} is another file system that is mounted into the home, or lies on one: nothing can be moved onto it, off it or away with it"
    )]
    Mount {
        /// What was to be moved, replaced or removed.
        path: FilePath,
    },
    /// Nothing of this name exists.
    #[error("{path} does not exist")]
    NotFound {
        /// What was looked for.
        path: FilePath,
    },
    /// Nothing like this is in the trash.
    #[error("{what} is not in the trash; it may have been restored, or has made room for something newer")]
    NotInTrash {
        /// What was looked for.
        what: String,
    },
    /// A link leads out of the home or into the reserved folder.
    #[error("{path} leads outside the home directory")]
    OutsideHome {
        /// What was asked for.
        path: FilePath,
    },
    /// The text is not a path inside the home.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The server's process lacks permission in the file system.
    #[error("the server has no permission to {what} {path}")]
    PermissionDenied {
        /// What was tried, as a verb.
        what: &'static str,
        /// With what.
        path: FilePath,
    },
    /// The byte quota does not suffice.
    #[error("quota exceeded: {requested} more bytes asked for, {used} stored and {pending} pending of {limit} allowed")]
    QuotaBytes {
        /// The limit in bytes.
        limit: u64,
        /// Bytes in stored files.
        used: u64,
        /// Bytes staged and reserved.
        pending: u64,
        /// Bytes asked for.
        requested: u64,
    },
    /// The quota of files, directories and links does not suffice.
    #[error("quota exceeded: {used} of {limit} files and directories are in use")]
    QuotaEntries {
        /// The limit.
        limit: u64,
        /// Entries that exist or are being made.
        used: u64,
    },
    /// The file system is mounted read-only.
    #[error("{path} is on a read-only file system")]
    ReadOnly {
        /// What was to be changed.
        path: FilePath,
    },
    /// The source changed while it was read.
    #[error("{path} changed while it was read; try again")]
    SourceChanged {
        /// The source.
        path: FilePath,
    },
    /// The staged upload was written by another version of the store, and is left alone.
    #[error(
        "the staged upload of {path} has record version {found}, this server knows version {known}; discard it or use the server that made it"
    )]
    StagingVersion {
        /// The target.
        path: FilePath,
        /// The version found.
        found: u64,
        /// The version known here.
        known: u64,
    },
    /// A newer upload to the same path took over.
    #[error("a newer upload to {path} took over")]
    Superseded {
        /// The target.
        path: FilePath,
    },
    /// More bytes arrived than were announced.
    #[error("{path}: bytes up to {end} arrived, only {announced} were announced")]
    TooLong {
        /// The target.
        path: FilePath,
        /// Bytes announced.
        announced: u64,
        /// Where the refused chunk would have ended.
        end: u64,
    },
    /// The item of the trash was kept by another version of the store, and is left alone.
    #[error(
        "item {item} of the trash has record version {found}, this server knows version {known}; it is left alone: use the server that made it"
    )]
    TrashVersion {
        /// Its number.
        item: u64,
        /// The version found.
        found: u64,
        /// The version known here.
        known: u64,
    },
}

impl Error {
    /// Gives a failed system call on a path its meaning.
    pub(crate) fn from_errno(what: &'static str, path: &FilePath, errno: Errno) -> Self {
        let path = path.clone();
        match errno {
            // Links that lead in a circle lead nowhere, as a dangling one does.
            Errno::LOOP | Errno::NOENT => Self::NotFound { path },
            Errno::EXIST => Self::Exists { path },
            Errno::ISDIR => Self::IsDirectory { path },
            Errno::NOTDIR => Self::NotDirectory { path },
            Errno::NOTEMPTY => Self::NotEmpty { path },
            // To a home, only a mount is busy.
            Errno::XDEV | Errno::BUSY => Self::Mount { path },
            Errno::ROFS => Self::ReadOnly { path },
            Errno::ACCESS | Errno::PERM => Self::PermissionDenied { what, path },
            // A socket cannot be opened at all, a FIFO without a reader not for writing.
            Errno::NXIO => Self::NotAFile { path },
            Errno::NAMETOOLONG => Self::Path(PathError::TooLong {
                bytes: path.as_bytes().len(),
            }),
            _ => Self::Io {
                what,
                place: path.to_string(),
                source: errno.into(),
            },
        }
    }

    /// Gives a failure with the staged file of a path its meaning: that something is missing or in the way says
    /// nothing about the path itself.
    pub(crate) fn staging(what: &'static str, path: &FilePath, errno: Errno) -> Self {
        match errno {
            Errno::ROFS | Errno::ACCESS | Errno::PERM => Self::from_errno(what, path, errno),
            _ => Self::io(what, path, errno),
        }
    }

    /// The failed system call's own word, where that is known.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }

    /// A failure that concerns the store's own files or no path of the user.
    pub(crate) fn io(what: &'static str, place: &(impl Display + ?Sized), source: impl Into<io::Error>) -> Self {
        Self::Io {
            what,
            place: place.to_string(),
            source: source.into(),
        }
    }
}
