//! Files that are open for reading, shared by everyone who reads the same version.
//!
//! Whether a file changed is judged by size, modification and change time. The store's own actions
//! move the change time too (keeping a digest, renaming, replacing) and do not touch a byte; they run
//! through [`Sources::across`], which takes the new time over, so that they fail nobody's download.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ftp_digest::Digest;
use rustix::io::Errno;

use crate::disk::{self, FileId, Meta};
use crate::error::{Error, Result};
use crate::kept::{self, Kept};
use crate::path::FilePath;
use crate::prompt::Prompt;
use crate::time::Timestamp;

/// The open files of a home.
#[derive(Default)]
pub(crate) struct Sources {
    /// Taken before the state of any source, never after.
    open: Mutex<HashMap<FileId, Weak<Source>>>,
}

/// One version of one open file.
pub(crate) struct Source {
    sources: Arc<Sources>,
    file: File,
    prompt: Prompt,
    /// As it was at opening, but for the change times that the store itself has caused.
    state: Mutex<Meta>,
}

impl Sources {
    /// Shares the open file with those who read the same version already.
    pub(crate) fn share(self: &Arc<Self>, file: File) -> Result<Arc<Source>, Errno> {
        let id = disk::stat_fd(&file)?.id;
        let mut open = self.lock();
        let known = open.get(&id).and_then(Weak::upgrade);
        // Looked at under both locks, so that no own action comes between the look and the comparison.
        let state = known.as_ref().map(|source| source.state());
        let found = disk::stat_fd(&file);
        let is_known = state.is_some_and(|state| found == Ok(*state));
        let fresh = match found {
            Ok(found) if !is_known => Some(self.add(&mut open, file, found)),
            _ => None,
        };
        // The end of a source takes the lock, and this may be its last owner.
        drop(open);
        found?;
        Ok(fresh.or(known).expect("a version that is not fresh is known"))
    }

    /// Runs a change of the store's own that leaves the bytes of these files alone. Nobody opens a file meanwhile.
    pub(crate) fn across<T>(&self, ids: &[FileId], change: impl FnOnce() -> T) -> T {
        let open = self.lock();
        // Each once: a source is locked while it moves.
        let different = ids.iter().enumerate().filter(|(at, id)| !ids[..*at].contains(id));
        let sources: Vec<_> = different
            .filter_map(|(_, id)| open.get(id).and_then(Weak::upgrade))
            .collect();
        let moving: Vec<_> = sources.iter().map(|source| Moving::begin(source)).collect();
        let result = change();
        moving.into_iter().for_each(Moving::end);
        drop(open);
        result
    }

    fn add(self: &Arc<Self>, open: &mut HashMap<FileId, Weak<Source>>, file: File, state: Meta) -> Arc<Source> {
        let source = Arc::new(Source {
            sources: Arc::clone(self),
            prompt: Prompt::of(&file),
            file,
            state: Mutex::new(state),
        });
        open.insert(state.id, Arc::downgrade(&source));
        source
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FileId, Weak<Source>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Fills `buffer` from `offset` on if that takes no waiting.
    pub(crate) fn read_now(&self, buffer: &mut [u8], offset: u64) -> bool {
        self.prompt.read(&self.file, buffer, offset)
    }

    pub(crate) fn meta(&self) -> Meta {
        *self.state()
    }

    /// Whether the file is still the version that was opened.
    pub(crate) fn unchanged(&self, path: &FilePath) -> Result<bool> {
        let state = self.state();
        let now = disk::stat_fd(&self.file).map_err(|errno| Error::from_errno("look at", path, errno))?;
        Ok(now == *state)
    }

    pub(crate) fn kept_digest(&self) -> Option<Digest> {
        kept::read(&self.file, &self.meta())
    }

    /// What is kept with this version.
    pub(crate) fn kept(&self) -> Kept {
        kept::look(&self.file, &self.meta())
    }

    /// Keeps a digest that was computed from this version, unless a true one is kept already, or what
    /// another version wrote, or the file is so young that a change could not be told. Returns
    /// whether it did.
    pub(crate) fn keep_digest(&self, digest: &Digest) -> bool {
        let meta = self.meta();
        if matches!(kept::look(&self.file, &meta), Kept::True(_) | Kept::Foreign)
            || meta.modified.is_within_a_step_of(Timestamp::now())
        {
            return false;
        }
        let moving = Moving::begin(self);
        let is_same = disk::stat_fd(&self.file).is_ok_and(|now| now == meta);
        if is_same {
            kept::write(&self.file, &meta, digest);
        }
        moving.end();
        is_same && kept::read(&self.file, &meta).is_some()
    }

    fn state(&self) -> MutexGuard<'_, Meta> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source while the store itself moves its change time.
struct Moving<'a> {
    source: &'a Source,
    state: MutexGuard<'a, Meta>,
    was_ours: bool,
}

impl<'a> Moving<'a> {
    fn begin(source: &'a Source) -> Self {
        let state = source.state();
        Self {
            was_ours: disk::stat_fd(&source.file) == Ok(*state),
            source,
            state,
        }
    }

    /// Takes the new change time over, unless something else has changed too.
    fn end(mut self) {
        if self.was_ours
            && let Ok(now) = disk::stat_fd(&self.source.file)
            && (now.size, now.modified) == (self.state.size, self.state.modified)
        {
            *self.state = now;
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let id = self.meta().id;
        let mut open = self.sources.lock();
        // A newer version may have taken the place.
        if open.get(&id).is_some_and(|held| held.strong_count() == 0) {
            open.remove(&id);
        }
    }
}
