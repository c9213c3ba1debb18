//! The working half of an upload: owned by one blocking thread at a time.

use std::sync::Arc;

use ftp_digest::{Algorithm, BlockDigests, Digest, Hasher, MIN_BLOCK_BYTES, block_bytes_for};
use tokio::sync::oneshot;

use super::{Resume, UploadSpec};
use crate::commit::{Publication, Stored};
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

pub(crate) struct Writer {
    staged: StagedFile,
    spec: UploadSpec,
    /// The digest of the first bytes, as many as it says itself. Behind the staged length after a
    /// resume, dropped by a repair.
    hasher: Hasher,
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
        home.unlink_published(&id)?;
        home.sweep();
        let found = staging::find(home.staging(), &id, &path)?;
        let on_disk = found.as_ref().map(|(_, length)| *length);
        let continued = found.filter(|(record, _)| match spec.resume {
            Resume::Always => true,
            Resume::Auto => spec.size.is_some() && (record.size, record.modified()) == (spec.size, spec.modified),
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

        let started = continued
            .as_ref()
            .map_or_else(Timestamp::now, |(record, _)| record.started());
        let fate = if spec.keep {
            Fate::Keep {
                record: Record::new(&path, spec.size, spec.modified, started),
                saved: false,
            }
        } else {
            Fate::Temporary
        };
        let mut staged = StagedFile::open(Arc::clone(home), path, id, Some(claim), booking, on_disk, fate)?;
        staged.truncate(held)?;
        staged.limit(total);
        // An older record must not speak for these bytes.
        let recorded = on_disk.is_some();
        if recorded || spec.size.is_none_or(|size| size >= RECORDED_FROM_BYTES) {
            staged.save_record()?;
        }
        Ok(Self {
            staged,
            spec,
            hasher: Hasher::new(spec.algorithm),
        })
    }

    pub(crate) fn length(&self) -> u64 {
        self.staged.length()
    }

    pub(crate) fn write_at(&mut self, offset: u64, chunk: &[u8]) -> Result<()> {
        if offset < self.hasher.length() {
            self.hasher = Hasher::new(self.hasher.algorithm());
        }
        self.staged.write_at(offset, chunk)?;
        if offset == self.hasher.length() {
            self.hasher.update(chunk);
        }
        Ok(())
    }

    /// The block digests of the prefix, as long as they are wanted.
    pub(crate) fn blocks(&mut self, is_wanted: impl Fn() -> bool + Sync) -> Result<BlockDigests> {
        let length = self.length();
        let read = BlockDigests::of_file(self.staged.file(), length, block_bytes_for(length), |_| is_wanted());
        if read.is_err() {
            self.take_stock();
        }
        blocks_read(read, self.staged.target())
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
        let staged = &self.staged;
        let read = hash_range(staged.file(), staged.target(), end, &mut self.hasher);
        if read.is_err() {
            self.take_stock();
        }
        read
    }

    /// Looks at the length again, for somebody may have cut the file behind our back.
    fn take_stock(&mut self) {
        self.staged.take_stock();
        if self.hasher.length() > self.length() {
            self.hasher = Hasher::new(self.hasher.algorithm());
        }
    }

    /// Proves and publishes; the answer comes when it is durable.
    pub(crate) fn commit(self, expected: Digest, answer: oneshot::Sender<Result<Stored>>) {
        let Self {
            mut staged,
            spec,
            hasher,
        } = self;
        let found = hasher.finish();
        let sealed = if found == expected {
            staged.seal(spec.modified, &found)
        } else {
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
                replace: spec.replace,
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
        self.staged.delete()
    }
}
