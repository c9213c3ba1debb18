//! What is remembered beside a partial download of what it was begun from.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ftp_proto::Timestamp;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::Error;

/// What the names of records have behind those of their partial files.
pub(super) const SUFFIX: &str = ".json";

/// The same while they are written; as long, so that the names fit as well.
const NEW_SUFFIX: &str = ".jnew";

/// The longest record that is read: a path on the server, escaped, and little more.
const MAX_BYTES: u64 = 1024 * 1024;

/// The version of [`Record`]'s form on disk.
pub(super) const VERSION: u32 = 1;

/// What a partial file was begun from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// The path on the server, in wire form.
    pub(crate) remote: String,
    /// The length of the whole file in bytes.
    pub(crate) size: u64,
    /// Its modification time.
    pub(crate) mtime: Timestamp,
    /// Whether the bytes may be of something else, so that they have to be compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) suspect: bool,
}

impl Record {
    pub(crate) fn new(remote: &str, size: u64, mtime: Timestamp, suspect: bool) -> Self {
        Self {
            version: VERSION,
            remote: remote.to_owned(),
            size,
            mtime,
            suspect,
        }
    }
}

/// The record of a partial file. Blocks.
pub(super) fn read(part: &Path) -> Option<Record> {
    serde_json::from_slice(&text(part)?)
        .ok()
        .filter(|record: &Record| record.version == VERSION)
}

/// The version of the record of a partial file, known or not. Blocks.
pub(super) fn version(part: &Path) -> Option<u32> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let found: Version = serde_json::from_slice(&text(part)?).ok()?;
    Some(found.version)
}

/// Writes the record of a partial file. Whatever comes between, there is a whole one, old or new: without it, what has
/// arrived is worth nothing. Blocks.
pub(super) fn write(part: &Path, record: &Record) -> Result<(), Error> {
    if read(part).as_ref() == Some(record) {
        return Ok(());
    }
    let (path, new) = (path(part), suffixed(part, NEW_SUFFIX));
    let text = serde_json::to_vec(record)
        .map_err(io::Error::from)
        .map_err(Error::local("cannot write", &path))?;
    open(&new, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)
        .and_then(|mut file| file.write_all(&text))
        .map_err(Error::local("cannot write", &new))?;
    fs::rename(&new, &path).map_err(Error::local("cannot write", &path))
}

/// Removes the record of a partial file. One that stays means nothing without that, and does no harm. Blocks.
pub(super) fn remove(part: &Path) {
    let _ = fs::remove_file(path(part));
    let _ = fs::remove_file(suffixed(part, NEW_SUFFIX));
}

/// The name of the partial file, of the name of a record of it, whole or not.
pub(super) fn without_suffix(name: &[u8]) -> &[u8] {
    let mut suffixes = [SUFFIX, NEW_SUFFIX].into_iter();
    let part = suffixes.find_map(|suffix| name.strip_suffix(suffix.as_bytes()));
    part.unwrap_or(name)
}

pub(super) fn path(part: &Path) -> PathBuf {
    suffixed(part, SUFFIX)
}

fn suffixed(part: &Path, suffix: &str) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn text(part: &Path) -> Option<Vec<u8>> {
    let file = open(&path(part), OFlags::RDONLY).ok()?;
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Opens a record, never through a link and never waiting for a FIFO.
fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o666))?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_record_is_exchanged_as_a_whole_and_left_alone_if_nothing_changed() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("part");
        let time = Timestamp { seconds: 1, nanos: 2 };
        let record = |size| Record::new("/f", size, time, false);
        let inode = || fs::metadata(path(&part)).unwrap().ino();
        write(&part, &record(1)).unwrap();
        // It keeps the number from being given again.
        let old = File::open(path(&part)).unwrap();
        write(&part, &record(1)).unwrap();
        assert_eq!(inode(), old.metadata().unwrap().ino());
        // What a kill left is written anew.
        fs::write(suffixed(&part, NEW_SUFFIX), "half").unwrap();
        write(&part, &record(2)).unwrap();
        assert_ne!(inode(), old.metadata().unwrap().ino());
        assert_eq!(read(&part), Some(record(2)));
        remove(&part);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_record_that_is_no_file_of_its_own_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("part");
        rustix::fs::mkfifoat(rustix::fs::CWD, path(&part), Mode::from_raw_mode(0o600)).unwrap();
        assert_eq!(version(&part), None);
        fs::remove_file(path(&part)).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "{\"version\":2}").unwrap();
        std::os::unix::fs::symlink(&elsewhere, path(&part)).unwrap();
        assert_eq!(version(&part), None);
        fs::rename(&elsewhere, path(&part)).unwrap();
        assert_eq!(version(&part), Some(2));
    }
}
