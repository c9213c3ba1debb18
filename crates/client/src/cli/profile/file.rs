//! Small private files, replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// Nobody needs larger files here; a longer one is not ours.
const MAX_BYTES: u64 = 1 << 20;

/// Why a private file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// Others may read it; the permission bits.
    #[error("others may read the file (mode {0:04o})")]
    Exposed(u32),
    /// The operating system refused.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
}

/// The text of a file; `None` where there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    open(path)?
        .map(|file| text_of(file).map(|text| text.to_string()))
        .transpose()
}

/// The text of a file that only its owner may read; `None` where there is none.
pub(super) fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, ReadError> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    // Of the open file: a name could be exchanged between the look and the reading.
    let mode = file.metadata()?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ReadError::Exposed(mode));
    }
    Ok(Some(text_of(file)?))
}

/// Makes a directory that only its owner can enter, with its parents. One that is there stays as it is.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Makes a directory that is ours alone, or closes it if others can enter it.
pub(super) fn make_private_directory(path: &Path) -> io::Result<()> {
    make_directory(path)?;
    if mode(path)? & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The permission bits of a file or directory.
pub(super) fn mode(path: &Path) -> io::Result<u32> {
    Ok(fs::metadata(path)?.mode() & 0o7777)
}

/// Writes the file so that a reader sees the old text or the new one, and only its owner sees either.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    // Two programs at once write beside each other, and the last rename counts.
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_beside(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to tell.
        drop(fs::remove_file(&beside));
        return written;
    }
    File::open(folder)?.sync_all()
}

fn write_beside(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    // A left-over of a killed program keeps the mode it had.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn text_of(file: File) -> io::Result<Zeroizing<String>> {
    // At its full length from the start: growing would leave copies behind that nobody wipes.
    let length = file.metadata()?.len().min(MAX_BYTES);
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
