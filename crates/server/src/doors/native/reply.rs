//! From what the store says to what travels.

use std::io;

use ftp_proto::{
    Code, Entry, Fault, Kind, Reason, Restored, Staged, Stored, Timestamp, TrashItem, UsageReport, encode_name,
};
use ftp_store::{Error, FilePath, PathError};

/// The fault that the client is told. Internal causes stay here; the log has them.
pub(super) fn fault(error: &Error) -> Fault {
    let message = error.to_string();
    match error {
        Error::QuotaBytes {
            limit,
            used,
            pending,
            requested,
        } => Fault::new(Code::QuotaBytes, message).with_figures(*limit, used + pending, *requested),
        Error::QuotaEntries { limit, used } => Fault::new(Code::QuotaEntries, message).with_figures(*limit, *used, 1),
        Error::NoSpace { free, requested } => {
            let mut fault = Fault::new(Code::NoSpace, message);
            (fault.limit, fault.requested) = (Some(*free), Some(*requested));
            fault
        }
        Error::Io { source, .. } if is_full(source) => Fault::new(
            Code::NoSpace,
            "the server's disk is full; remove something, or ask the administrator for room",
        ),
        Error::Damaged { .. } => {
            let mut fault = Fault::new(Code::DigestMismatch, message);
            // It will be as damaged the next time.
            fault.retry = false;
            fault
        }
        _ => Fault::new(
            code(error),
            if is_internal(error) {
                INTERNAL.to_owned()
            } else {
                message
            },
        ),
    }
}

/// What a client is told of an internal failure.
const INTERNAL: &str = "the server failed to do this; its log says why";

/// Whether the administrator has to look at it rather than the user.
pub(super) fn is_internal(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if !is_full(source))
        || matches!(
            error,
            Error::FormatVersion { .. } | Error::HomeGone { .. } | Error::InUse { .. } | Error::PermissionDenied { .. }
        )
}

fn is_full(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn code(error: &Error) -> Code {
    match error {
        Error::Busy { .. } => Code::Busy,
        Error::Damaged { .. } | Error::DigestMismatch { .. } => Code::DigestMismatch,
        Error::Exists { .. } => Code::Exists,
        Error::HomeItself | Error::ReadOnly { .. } => Code::NotPermitted,
        Error::FormatVersion { .. }
        | Error::HomeGone { .. }
        | Error::InUse { .. }
        | Error::Io { .. }
        | Error::PermissionDenied { .. } => Code::Internal,
        Error::Gap { .. }
        | Error::IntoItself { .. }
        | Error::Mount { .. }
        | Error::StagingVersion { .. }
        | Error::TrashVersion { .. } => Code::BadRequest,
        Error::IsDirectory { .. } => Code::IsDirectory,
        Error::LengthMismatch { .. } | Error::TooLong { .. } => Code::LengthMismatch,
        Error::NoSpace { .. } => Code::NoSpace,
        Error::NotAFile { .. } => Code::NotAFile,
        Error::NotDirectory { .. } => Code::NotDirectory,
        Error::NotEmpty { .. } => Code::NotEmpty,
        Error::NotFound { .. } | Error::NotInTrash { .. } => Code::NotFound,
        Error::OutsideHome { .. } => Code::OutsideHome,
        Error::Path(error) => path_code(error),
        Error::QuotaBytes { .. } => Code::QuotaBytes,
        Error::QuotaEntries { .. } => Code::QuotaEntries,
        Error::SourceChanged { .. } => Code::SourceChanged,
        Error::Superseded { .. } => Code::TakenOver,
    }
}

/// The fault for a path that is none.
pub(super) fn path_fault(error: &PathError) -> Fault {
    Fault::new(path_code(error), error.to_string())
}

fn path_code(error: &PathError) -> Code {
    match error {
        PathError::OutsideHome => Code::OutsideHome,
        _ => Code::BadName,
    }
}

/// A path in wire form.
pub(super) fn wire_path(path: &FilePath) -> String {
    encode_name(path.as_bytes())
}

fn kind(kind: ftp_store::Kind) -> Kind {
    match kind {
        ftp_store::Kind::File => Kind::File,
        ftp_store::Kind::Directory => Kind::Dir,
        ftp_store::Kind::Symlink => Kind::Link,
        ftp_store::Kind::Other => Kind::Other,
    }
}

pub(super) fn entry(entry: &ftp_store::Entry) -> Entry {
    use std::os::unix::ffi::OsStrExt as _;
    let kind = kind(entry.kind);
    Entry {
        name: if entry.name.is_empty() {
            "/".to_owned()
        } else {
            encode_name(entry.name.as_bytes())
        },
        kind,
        size: if kind == Kind::File { entry.size } else { 0 },
        mtime: time(entry.modified),
        digest: entry.digest,
    }
}

pub(super) fn stored(stored: &ftp_store::Stored) -> Stored {
    Stored {
        size: stored.size,
        mtime: time(stored.modified),
        digest: stored.digest,
        replaced: stored.replaced,
    }
}

pub(super) fn usage(usage: &ftp_store::Usage) -> UsageReport {
    UsageReport {
        limit: usage.bytes_limit,
        used: usage.used,
        pending: usage.pending,
        reserved: usage.reserved,
        free: usage.free,
        entries_limit: usage.entries_limit,
        entries: usage.entries,
        uploads: usage.uploads,
        trash: usage.trash,
        trash_limit: usage.trash_limit,
        trash_entries: usage.trash_entries,
    }
}

pub(super) fn trash_item(item: &ftp_store::TrashItem) -> TrashItem {
    TrashItem {
        item: item.id,
        path: wire_path(&item.path),
        reason: match item.reason {
            ftp_store::Reason::Removed => Reason::Removed,
            ftp_store::Reason::Replaced => Reason::Replaced,
        },
        discarded: time(item.discarded),
        expires: item.expires_in.as_secs(),
        kind: kind(item.kind),
        size: item.bytes,
        entries: item.entries,
        mtime: time(item.modified),
        digest: item.digest,
    }
}

pub(super) fn restored(restored: &ftp_store::Restored) -> Restored {
    Restored {
        path: wire_path(&restored.path),
        item: restored.id,
        size: restored.bytes,
        replaced: restored.replaced,
    }
}

pub(super) fn staged(upload: &ftp_store::StagedUpload) -> Staged {
    Staged {
        path: wire_path(&upload.path),
        size: upload.size,
        staged: upload.staged,
        touched: time(upload.touched),
    }
}

pub(super) fn time(time: ftp_store::Timestamp) -> Timestamp {
    Timestamp {
        seconds: time.seconds,
        nanos: time.nanos,
    }
}

pub(super) fn store_time(time: Timestamp) -> ftp_store::Timestamp {
    ftp_store::Timestamp {
        seconds: time.seconds,
        nanos: time.nanos,
    }
}
