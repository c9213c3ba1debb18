//! The reserved folder: one `.part` file of bytes and one `.json` record for each upload that can be
//! resumed, named after the path they are for. What a crash leaves behind is sorted out when the
//! home is opened.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use ftp_digest::{Algorithm, Hasher};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::clock::{HomeClock, Tick};
use crate::disk;
use crate::error::{Error, Result};
use crate::escape::{escape, unescape};
use crate::leftovers::Leftovers;
use crate::path::FilePath;
use crate::quota::Ledger;
use crate::time::Timestamp;
use crate::tree::Names;

/// The version of the records written here. Records of another version are never touched.
const RECORD_VERSION: u64 = 1;
/// No record is longer: a path of 4096 bytes, each escaped to three, and a few numbers.
const MAX_RECORD_BYTES: usize = 16 * 1024;
/// How much of the path's digest names the files: 128 bits cannot collide by chance, and the record
/// says the path in full.
const ID_HEX_DIGITS: usize = 32;

const PART: &str = ".part";
const RECORD: &str = ".json";
const TEMPORARY: &str = ".tmp";

/// The name of a file that a trial makes and deletes at once.
pub(crate) const TRIAL: &str = "trial.tmp";

/// What the two files of a staged upload are called, whatever the length of its path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StagingId(Arc<str>);

impl StagingId {
    pub(crate) fn of(path: &FilePath) -> Self {
        let hex = Hasher::digest(Algorithm::Blake3, path.as_bytes()).hex();
        Self(hex[..ID_HEX_DIGITS].into())
    }

    /// For a staged file that nobody resumes, such as a copy's.
    pub(crate) fn temporary(number: u64) -> Self {
        Self(format!("copy-{number}").into())
    }

    pub(crate) fn part(&self) -> String {
        format!("{}{PART}", self.0)
    }

    fn record(&self) -> String {
        format!("{}{RECORD}", self.0)
    }
}

/// What is known about a staged upload besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u64,
    path: String,
    pub(crate) size: Option<u64>,
    modified: Option<(i64, u32)>,
    started: (i64, u32),
    /// Since when nobody works on it, by the home's clock; absent while somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle_since: Option<Tick>,
    /// Whether the bytes turned out not to be those of the source, so that they have to be compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) suspect: bool,
}

/// An upload that was begun and neither finished nor given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedUpload {
    /// The target.
    pub path: FilePath,
    /// The announced size, if it was known.
    pub size: Option<u64>,
    /// Bytes staged.
    pub staged: u64,
    /// The announced modification time, if it was known.
    pub modified: Option<Timestamp>,
    /// When it was begun.
    pub started: Timestamp,
    /// When it was last worked on.
    pub touched: Timestamp,
    /// For how long a server has run since then, `None` while somebody works on it; it expires when that
    /// is long enough.
    pub idle: Option<Duration>,
}

impl StagedUpload {
    pub(crate) fn has_expired(&self, expiry: Duration) -> bool {
        self.idle.is_some_and(|idle| idle >= expiry)
    }
}

/// A record as found on disk.
enum Found {
    Nothing,
    Foreign(u64),
    Record(Record),
}

impl Record {
    pub(crate) fn new(path: &FilePath, size: Option<u64>, modified: Option<Timestamp>, started: Timestamp) -> Self {
        Self {
            version: RECORD_VERSION,
            path: escape(path),
            size,
            modified: modified.map(|time| (time.seconds, time.nanos)),
            started: (started.seconds, started.nanos),
            idle_since: None,
            suspect: false,
        }
    }

    /// Notes that nobody works on it any more.
    pub(crate) fn rest(&mut self, now: Tick) {
        self.idle_since = Some(now);
    }

    fn rest_now(&mut self, staging: &Dir, id: &StagingId, clock: &HomeClock) -> Result<()> {
        self.rest(clock.now());
        self.save_again(staging, id)
            .map_err(|errno| Error::io("write the staging record", &id.record(), errno))
    }

    pub(crate) fn modified(&self) -> Option<Timestamp> {
        let (seconds, nanos) = self.modified?;
        Some(Timestamp { seconds, nanos })
    }

    /// Whether the bytes are of a source of this size and time, as far as anybody knows.
    pub(crate) fn is_of(&self, size: Option<u64>, modified: Option<Timestamp>) -> bool {
        size.is_some() && (self.size, self.modified()) == (size, modified)
    }

    pub(crate) fn started(&self) -> Timestamp {
        let (seconds, nanos) = self.started;
        Timestamp { seconds, nanos }
    }

    fn path(&self) -> Option<FilePath> {
        unescape(&self.path)
    }

    /// Writes the first record of an upload, so that a reader sees all of it or nothing.
    pub(crate) fn save(&self, staging: &Dir, id: &StagingId) -> Result<(), Errno> {
        let (name, temporary, text) = self.file(id);
        disk::replace_own(staging, &name, &temporary, &text).map(drop)
    }

    /// Writes a record in place of an older one, of which many bytes may hang: a power cut leaves one of both.
    pub(crate) fn save_again(&self, staging: &Dir, id: &StagingId) -> Result<(), Errno> {
        let (name, temporary, text) = self.file(id);
        disk::replace_own_durably(staging, &name, &temporary, &text).map(drop)
    }

    fn file(&self, id: &StagingId) -> (String, String, Vec<u8>) {
        let text = serde_json::to_vec(self).expect("a record of numbers and text is valid JSON");
        (id.record(), format!("{}{TEMPORARY}", id.0), text)
    }
}

/// The record and the staged bytes of an upload to `path`, if there are any.
pub(crate) fn find(staging: &Dir, id: &StagingId, path: &FilePath) -> Result<Option<(Record, u64)>> {
    match read_record(staging, id)? {
        Found::Foreign(found) => Err(Error::StagingVersion {
            path: path.clone(),
            found,
            known: RECORD_VERSION,
        }),
        Found::Record(record) if record.path().as_ref() == Some(path) => {
            Ok(staged_bytes(staging, id)?.map(|bytes| (record, bytes)))
        }
        Found::Nothing | Found::Record(_) => Ok(None),
    }
}

/// How many bytes are staged; `None` without a file of them.
pub(crate) fn staged_bytes(staging: &Dir, id: &StagingId) -> Result<Option<u64>> {
    let part = disk::find_at(staging, OsStr::new(&id.part()));
    let part = part.map_err(|errno| Error::io("look at", &id.part(), errno))?;
    Ok(part.map(|meta| meta.size))
}

/// What became of the files of a staged upload that were to be deleted.
pub(crate) struct Deletion {
    /// Whether there are no staged bytes any more.
    pub(crate) is_gone: bool,
    /// Whether there was anything.
    pub(crate) result: Result<bool>,
}

/// Deletes both files of a staged upload, the bytes first: a record without them is no upload.
pub(crate) fn delete(staging: &Dir, id: &StagingId) -> Deletion {
    let part = remove_if_there(staging, &id.part());
    let is_gone = part.is_ok();
    let result = part.and_then(|part| Ok(remove_if_there(staging, &id.record())? || part));
    Deletion { is_gone, result }
}

/// Deletes the record of an upload whose bytes are elsewhere now.
pub(crate) fn delete_record(staging: &Dir, id: &StagingId) -> Result<()> {
    remove_if_there(staging, &id.record()).map(drop)
}

fn remove_if_there(staging: &Dir, name: &str) -> Result<bool> {
    match disk::unlink(staging, name) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::io("delete the staged file", &name, errno)),
    }
}

/// What is staged, of whatever version, in no order.
pub(crate) fn ids(staging: &Dir) -> Result<impl Iterator<Item = Result<StagingId>> + use<>> {
    let parts = |name: Result<String>| match name {
        Ok(name) => stem(&name, PART).map(Ok),
        Err(error) => Some(Err(error)),
    };
    Ok(names(staging)?.filter_map(parts))
}

/// All staged uploads of this version.
#[cfg(any(test, fuzzing))]
fn list(staging: &Dir, now: Tick) -> Result<Vec<(StagingId, StagedUpload)>> {
    let mut uploads = Vec::new();
    for id in ids(staging)? {
        let id = id?;
        uploads.extend(look(staging, &id, now)?.map(|upload| (id, upload)));
    }
    Ok(uploads)
}

/// Bytes and number of all staged uploads on disk, of whatever version.
pub(crate) fn count(staging: &Dir) -> Result<(u64, u64)> {
    let mut staged = (0, 0);
    for id in ids(staging)? {
        if let Some(bytes) = staged_bytes(staging, &id?)? {
            staged.0 += bytes;
            staged.1 += 1;
        }
    }
    Ok(staged)
}

/// One staged upload as it is now, if it is still there.
pub(crate) fn look(staging: &Dir, id: &StagingId, now: Tick) -> Result<Option<StagedUpload>> {
    match read_record(staging, id)? {
        Found::Record(record) => describe(staging, id, &record, now),
        Found::Nothing | Found::Foreign(_) => Ok(None),
    }
}

/// Puts the folder in order after whatever ended the last process: counts what can be resumed,
/// deletes what has expired or belongs to nothing, leaves foreign versions alone. What cannot be written or
/// deleted is no reason to keep the user out.
pub(crate) fn recover(
    staging: &Dir,
    (ledger, leftovers): (&Ledger, &Leftovers),
    expiry: Duration,
    clock: &HomeClock,
) -> Result<()> {
    learn(staging, clock)?;
    for name in names(staging)? {
        let name = name?;
        if let Some(id) = stem(&name, PART) {
            let part = disk::find_at(staging, OsStr::new(&name)).ok().flatten();
            let is_alive = match read_record(staging, &id)? {
                Found::Foreign(version) => {
                    tracing::warn!(file = name, version, "staged upload of another version left alone");
                    true
                }
                // The process ended between the two steps of a publication, or somebody has given it a name.
                Found::Record(_) if part.is_some_and(|part| part.links > 1) => false,
                Found::Record(record) => is_alive(staging, &id, record, expiry, clock)?,
                Found::Nothing => false,
            };
            let bytes = part.map_or(0, |part| part.size);
            if is_alive {
                ledger.add_staged(bytes);
            } else if !tolerate(delete(staging, &id)) {
                ledger.add_staged(bytes);
                leftovers.add(id, bytes);
            }
        } else if let Some(id) = stem(&name, RECORD) {
            let part = disk::find_at(staging, OsStr::new(&id.part())).unwrap_or(None);
            if part.is_none() && !matches!(read_record(staging, &id)?, Found::Foreign(_)) {
                tolerate(delete(staging, &id));
            }
        } else if name.ends_with(TEMPORARY)
            && let Err(error) = remove_if_there(staging, &name)
        {
            tracing::warn!(%error, "half a staging record stays behind");
        }
    }
    Ok(())
}

/// Has the clock learn from all records, before one of them is judged by it.
fn learn(staging: &Dir, clock: &HomeClock) -> Result<()> {
    for name in names(staging)? {
        if let Some(id) = stem(&name?, RECORD)
            && let Found::Record(record) = read_record(staging, &id)?
            && let Some(tick) = record.idle_since
        {
            clock.at_least(tick);
        }
    }
    Ok(())
}

/// Takes note of a failure that the next opening of the home gets over. Whether the bytes are gone.
fn tolerate(deletion: Deletion) -> bool {
    if let Err(error) = deletion.result {
        tracing::warn!(%error, "staged file stays behind");
    }
    deletion.is_gone
}

/// Whether an upload that was found can still be resumed. One that somebody worked on when the last
/// process ended rests from now on.
fn is_alive(staging: &Dir, id: &StagingId, mut record: Record, expiry: Duration, clock: &HomeClock) -> Result<bool> {
    // On a full disk it does so in memory, until an expiry finds room for the record.
    if record.idle_since.is_none()
        && let Err(error) = record.rest_now(staging, id, clock)
    {
        tracing::warn!(%error, "staging record not brought up to date");
    }
    let upload = describe(staging, id, &record, clock.now())?;
    Ok(upload.is_some_and(|upload| !upload.has_expired(expiry)))
}

/// Lets an upload rest that nobody works on although its record says so: the process or the disk
/// failed when somebody stopped.
pub(crate) fn rest(staging: &Dir, id: &StagingId, clock: &HomeClock) -> Result<()> {
    match read_record(staging, id)? {
        Found::Record(mut record) => record.rest_now(staging, id, clock),
        Found::Nothing | Found::Foreign(_) => Ok(()),
    }
}

/// `None` when the record is not for the file it is named after, or the bytes are gone.
fn describe(staging: &Dir, id: &StagingId, record: &Record, now: Tick) -> Result<Option<StagedUpload>> {
    let Some(path) = record.path().filter(|path| StagingId::of(path) == *id) else {
        return Ok(None);
    };
    let look =
        |name: String| disk::find_at(staging, OsStr::new(&name)).map_err(|errno| Error::io("look at", &name, errno));
    let (Some(part), Some(json)) = (look(id.part())?, look(id.record())?) else {
        return Ok(None);
    };
    Ok(Some(StagedUpload {
        path,
        size: record.size,
        staged: part.size,
        modified: record.modified(),
        started: record.started(),
        // Not the modification time, which a commit that failed late has set to the source's.
        touched: part.changed.max(json.changed),
        idle: record
            .idle_since
            .map(|tick| Duration::from_secs(now.saturating_sub(tick))),
    }))
}

fn read_record(staging: &Dir, id: &StagingId) -> Result<Found> {
    let file = match disk::open_file(staging, OsStr::new(&id.record())) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(errno) => return Err(Error::io("open", &id.record(), errno)),
    };
    let mut text = vec![0; MAX_RECORD_BYTES];
    let length = disk::read_at(&file, &mut text, 0).map_err(|error| Error::io("read", &id.record(), error))?;
    text.truncate(length);
    Ok(parse(&text))
}

/// Judges the version before anything else: another one may mean anything by its keys.
fn parse(text: &[u8]) -> Found {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }

    match serde_json::from_slice::<Version>(text) {
        Ok(Version { version }) if version != RECORD_VERSION => Found::Foreign(version),
        Ok(_) => serde_json::from_slice(text).map_or(Found::Nothing, Found::Record),
        Err(_) => Found::Nothing,
    }
}

fn names(staging: &Dir) -> Result<impl Iterator<Item = Result<String>> + use<>> {
    let fail = |errno| Error::io("list", "the staging folder", errno);
    let names = Names::of(staging).map_err(fail)?;
    Ok(names.filter_map(move |name| match name {
        Ok(name) => name.into_string().ok().map(Ok),
        Err(errno) => Some(Err(fail(errno))),
    }))
}

fn stem(name: &str, suffix: &str) -> Option<StagingId> {
    name.strip_suffix(suffix).map(|stem| StagingId(stem.into()))
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

#[cfg(test)]
mod tests;
