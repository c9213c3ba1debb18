//! The working half of an upload: owned by one blocking thread at a time.

use std::sync::Arc;

use ftp_digest::{Algorithm, BlockDigests, Digest, Hasher, MIN_BLOCK_BYTES, block_bytes_for};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::{Resume, UploadSpec};
use crate::blocking::aside;
use crate::commit::{Publication, Stored};
use crate::disk;
use crate::error::{Error, Result};
use crate::home::HomeState;
use crate::path::FilePath;
use crate::quota::Booking;
use crate::read::{STEP_BYTES, blocks_read, hash_range};
use crate::slots::Claim;
use crate::staged::{Fate, StagedFile};
use crate::staging::{self, Record, StagingId};
use crate::time::Timestamp;

/// A file smaller than one block is recorded only when it is detached: there is little to resume
/// after a crash, and thousands of small files are spared a second file each.
const RECORDED_FROM_BYTES: u64 = MIN_BLOCK_BYTES;

/// How much is hashed at a time while something may come to be written.
const BEHIND_STEP_BYTES: u64 = 2 * 1024 * 1024;

/// What is less is hashed again in a millisecond, and not worth a sync.
const KEPT_FROM_BYTES: u64 = 1024 * 1024;

/// Only [`Writer::commit`] takes it, and the writer with it.
const STAGED: &str = "it is there until the writer ends";

pub(crate) struct Writer {
    /// Until it is published.
    staged: Option<StagedFile>,
    spec: UploadSpec,
    /// The digest of the first bytes, as many as it says itself. Behind the staged length after a
    /// resume, dropped by a repair.
    hasher: Hasher,
    /// Whether what was held at the beginning is of a source of the announced size and time.
    is_same: bool,
}

/// Refuses a target that cannot be uploaded to. Returns whether the name is new.
pub(crate) fn check_target(home: &HomeState, path: &FilePath, spec: &UploadSpec) -> Result<bool> {
    let place = match home.tree().place(path) {
        Err(Error::NotFound { .. }) if spec.make_parents => return Ok(true),
        place => place?,
    };
    let old = home.target(&place, path, spec.replace)?;
    Ok(old.is_none())
}

impl Writer {
    pub(crate) fn begin(
        home: &Arc<HomeState>,
        path: FilePath,
        id: StagingId,
        claim: Claim,
        spec: UploadSpec,
    ) -> Result<Self> {
        let is_new = check_target(home, &path, &spec)?;
        home.clear(&id)?;
        home.drop_doubtful(&id)?;
        home.unlink_published(&id)?;
        home.sweep();
        let found = staging::find(home.staging(), &id, &path)?;
        let on_disk = found.as_ref().map(|(_, length)| *length);
        let continued = found.filter(|(record, _)| match spec.resume {
            Resume::Always => true,
            Resume::Auto => record.is_of(spec.size, spec.modified),
            Resume::Never => false,
        });
        let held = continued
            .as_ref()
            .map_or(0, |(_, length)| spec.size.unwrap_or(*length).min(*length));
        let total = spec.size.unwrap_or(held);
        home.check_disk(&path, total.saturating_sub(on_disk.unwrap_or(0)))?;
        let booking = Booking::file(home.ledger(), total, on_disk, is_new)?;
        home.make_room();
        if spec.make_parents {
            home.make_parents(&path)?;
        }

        let before = continued.map(|(record, _)| record);
        let started = before.as_ref().map_or_else(Timestamp::now, Record::started);
        let is_doubtful = |before: &Record| before.suspect || !before.is_of(spec.size, spec.modified);
        let suspect = before.as_ref().is_some_and(is_doubtful);
        let is_same = before.is_some() && !suspect && spec.modified.is_some();
        let fate = if spec.keep {
            let mut record = Record::new(&path, spec.size, spec.modified, started);
            record.suspect = suspect;
            // The record on disk speaks for what is gone on from.
            let saved = held > 0;
            Fate::Keep { record, saved }
        } else {
            Fate::Temporary
        };
        let mut staged = StagedFile::open(Arc::clone(home), path, id, Some(claim), booking, on_disk, fate)?;
        let hasher = disk::stat_fd(staged.file())
            .ok()
            .and_then(|meta| staged.home().hashed().take(staged.id(), &meta, spec.algorithm))
            .filter(|hasher| hasher.length() == held)
            .unwrap_or_else(|| Hasher::new(spec.algorithm));
        staged.truncate(held)?;
        staged.limit(total);
        // An older record must not speak for these bytes.
        let recorded = on_disk.is_some();
        if recorded || spec.size.is_none_or(|size| size >= RECORDED_FROM_BYTES) {
            staged.save_record()?;
        }
        Ok(Self {
            staged: Some(staged),
            spec,
            hasher,
            is_same,
        })
    }

    pub(crate) fn is_same(&self) -> bool {
        self.is_same
    }

    pub(crate) fn length(&self) -> u64 {
        self.staged().length()
    }

    pub(crate) fn write_at(&mut self, offset: u64, chunk: &[u8]) -> Result<()> {
        if offset < self.hasher.length() {
            self.hasher = Hasher::new(self.hasher.algorithm());
        }
        self.staged_mut().write_at(offset, chunk)?;
        if offset == self.hasher.length() {
            self.hasher.update(chunk);
        }
        Ok(())
    }

    /// Writes as many bytes as can be without waiting, if they are cheap to hash and next to be hashed. How many comes
    /// back.
    pub(crate) fn write_now(&mut self, offset: u64, chunk: &[u8]) -> usize {
        if offset != self.hasher.length() || !self.hasher.algorithm().is_cheap() {
            return 0;
        }
        let written = self.staged_mut().write_now(offset, chunk);
        self.hasher.update(&chunk[..written]);
        written
    }

    /// The block digests of the prefix, as long as they are wanted.
    pub(crate) fn blocks(&mut self, is_wanted: impl Fn() -> bool + Sync) -> Result<BlockDigests> {
        let length = self.length();
        let read = BlockDigests::of_file(self.staged().file(), length, block_bytes_for(length), |_| is_wanted());
        if read.is_err() {
            self.take_stock();
        }
        blocks_read(read, self.staged().target())
    }

    /// Takes some of the staged bytes that the running digest has not seen yet into it; `false` if there are none.
    pub(crate) fn hash_behind(&mut self) -> Result<bool> {
        let is_behind = self.hasher.length() < self.length();
        if is_behind {
            self.read_step(BEHIND_STEP_BYTES)?;
        }
        Ok(is_behind)
    }

    /// Whether the running digest covers all staged bytes.
    pub(crate) fn is_hashed(&self, algorithm: Algorithm) -> bool {
        self.hasher.algorithm() == algorithm && self.hasher.length() == self.length()
    }

    /// One step towards that, from the beginning if need be.
    pub(crate) fn hash_step(&mut self, algorithm: Algorithm) -> Result<()> {
        if self.hasher.algorithm() != algorithm {
            self.hasher = Hasher::new(algorithm);
        }
        self.read_step(STEP_BYTES)
    }

    /// Takes the next staged bytes into the running digest.
    fn read_step(&mut self, most: u64) -> Result<()> {
        let end = (self.hasher.length() + most).min(self.length());
        let staged = self.staged.as_ref().expect(STAGED);
        let read = hash_range(staged.file(), staged.target(), end, &mut self.hasher);
        if read.is_err() {
            self.take_stock();
        }
        read
    }

    /// Looks at the length again, for somebody may have cut the file behind our back.
    fn take_stock(&mut self) {
        self.staged_mut().take_stock();
        if self.hasher.length() > self.length() {
            self.hasher = Hasher::new(self.hasher.algorithm());
        }
    }

    /// Proves and publishes; the answer comes when it is durable.
    pub(crate) fn commit(mut self, expected: Digest, answer: oneshot::Sender<Result<Stored>>) {
        let mut staged = self.staged.take().expect(STAGED);
        let found = self.hasher.clone().finish();
        let sealed = if staged.home().is_doubtful(staged.id()) {
            // Whoever tries again begins anew.
            Err(Error::staging(
                "make durable the staged file of",
                staged.target(),
                Errno::IO,
            ))
        } else if found == expected {
            staged.seal(self.spec.modified, &found)
        } else {
            staged.suspect();
            Err(Error::DigestMismatch {
                path: staged.target().clone(),
                expected: Box::new(expected),
                found: Box::new(found),
            })
        };
        let home = Arc::clone(staged.home());
        match sealed {
            Ok(meta) => home.publish(Publication {
                staged,
                meta,
                digest: found,
                replace: self.spec.replace,
                answer,
            }),
            Err(error) => {
                // Detached before the answer, so that whoever resumes at once finds it free.
                drop(staged);
                let _ = answer.send(Err(error));
            }
        }
    }

    pub(crate) fn abort(mut self) -> Result<()> {
        self.staged_mut().delete()
    }

    fn staged(&self) -> &StagedFile {
        self.staged.as_ref().expect(STAGED)
    }

    fn staged_mut(&mut self) -> &mut StagedFile {
        self.staged.as_mut().expect(STAGED)
    }
}

/// Leaves the running digest to whoever resumes, as soon as the bytes are on the disk.
impl Drop for Writer {
    fn drop(&mut self) {
        let Some(staged) = self.staged.as_ref().filter(|staged| staged.is_kept()) else {
            return;
        };
        if staged.length() >= KEPT_FROM_BYTES
            && self.hasher.length() == staged.length()
            && let Ok(meta) = disk::stat_fd(staged.file())
            && meta.size == staged.length()
            && let Ok(file) = staged.file().try_clone()
        {
            let (home, id, hasher) = (Arc::clone(staged.home()), staged.id().clone(), self.hasher.clone());
            // Nobody who resumes waits for that.
            aside(move || match file.sync_data() {
                Ok(()) => home.hashed().keep(&id, &meta, hasher),
                Err(error) => home.doubt(&id, &error),
            });
        }
    }
}
