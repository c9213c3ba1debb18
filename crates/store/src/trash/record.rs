//! What stands beside an item of the trash: where it was, why it came and when.

use std::ffi::OsStr;
use std::fs::File;

use cap_std::fs::Dir;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::clock::Tick;
use crate::disk;
use crate::error::{Error, Result};
use crate::escape::{escape, unescape};
use crate::path::FilePath;
use crate::time::Timestamp;

/// The version of the records written here. Items with another are left alone.
pub(super) const VERSION: u64 = 1;
/// No record is longer: a path of 4096 bytes, each escaped to three, and a few numbers.
const MAX_RECORD_BYTES: usize = 16 * 1024;

const SUFFIX: &str = ".json";
pub(super) const TEMPORARY: &str = ".tmp";

/// Why something is in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was removed.
    Removed,
    /// Something else was stored under its name.
    Replaced,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    path: FilePath,
    reason: Reason,
    discarded: Timestamp,
    at: Tick,
}

/// A record as it stands on disk.
#[derive(Serialize, Deserialize)]
struct Text {
    version: u64,
    path: String,
    reason: Reason,
    /// By the wall's clock, to be shown.
    discarded: (i64, u32),
    /// By the home's clock, to expire.
    at: Tick,
}

/// A record as found on disk.
pub(super) enum Found {
    Nothing,
    Foreign(u64),
    Record(Record),
}

impl Record {
    pub(crate) fn new(path: &FilePath, reason: Reason, at: Tick) -> Self {
        Self {
            path: path.clone(),
            reason,
            discarded: Timestamp::now(),
            at,
        }
    }

    /// For an item that has lost its own.
    pub(super) fn lost(id: u64, at: Tick) -> Self {
        let name = format!("lost-{id}");
        let path = FilePath::root().join(name.as_ref());
        Self::new(&path.expect("letters and digits are a name"), Reason::Removed, at)
    }

    pub(crate) fn path(&self) -> &FilePath {
        &self.path
    }

    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    pub(crate) fn discarded(&self) -> Timestamp {
        self.discarded
    }

    pub(crate) fn at(&self) -> Tick {
        self.at
    }

    /// Writes the record, so that a reader sees all of it or nothing.
    pub(super) fn save(&self, dir: &Dir, id: u64) -> Result<File> {
        let text = Text {
            version: VERSION,
            path: escape(&self.path),
            reason: self.reason,
            discarded: (self.discarded.seconds, self.discarded.nanos),
            at: self.at,
        };
        let text = serde_json::to_vec(&text).expect("a record of numbers and text is valid JSON");
        let temporary = format!("{id}{TEMPORARY}");
        disk::replace_own(dir, &name(id), &temporary, &text)
            .map_err(|errno| Error::io("write the record of the trash", &name(id), errno))
    }
}

/// Which item a file of this name describes.
pub(super) fn id_of(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

pub(super) fn read(dir: &Dir, id: u64) -> Result<Found> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }

    let name = name(id);
    let file = match disk::open_file(dir, OsStr::new(&name)) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(errno) => return Err(Error::io("open", &name, errno)),
    };
    let mut text = vec![0; MAX_RECORD_BYTES];
    let length = disk::read_at(&file, &mut text, 0).map_err(|error| Error::io("read", &name, error))?;
    text.truncate(length);
    match serde_json::from_slice::<Version>(&text) {
        Ok(Version { version }) if version != VERSION => return Ok(Found::Foreign(version)),
        Ok(_) => {}
        Err(_) => return Ok(Found::Nothing),
    }
    let record = serde_json::from_slice::<Text>(&text).ok().and_then(|text| {
        Some(Record {
            path: unescape(&text.path)?,
            reason: text.reason,
            discarded: Timestamp {
                seconds: text.discarded.0,
                nanos: text.discarded.1,
            },
            at: text.at,
        })
    });
    Ok(record.map_or(Found::Nothing, Found::Record))
}

pub(super) fn delete(dir: &Dir, id: u64) -> Result<()> {
    super::remove(dir, &name(id))
}

fn name(id: u64) -> String {
    format!("{id}{SUFFIX}")
}
