//! Files that are open for reading, shared by everyone who reads the same version.
//!
//! Whether a file changed is judged by size, modification and change time. The store's own actions
//! move the change time too (keeping a digest, renaming, replacing) and do not touch a byte; they run
//! through [`Sources::across`], which takes the new time over, so that they fail nobody's download.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ftp_digest::Digest;

use crate::disk::{self, FileId, Meta};
use crate::error::{Error, Result};
use crate::kept;
use crate::path::FilePath;

/// The open files of a home.
#[derive(Default)]
pub(crate) struct Sources {
    open: Mutex<HashMap<FileId, Weak<Source>>>,
}

/// One version of one open file.
pub(crate) struct Source {
    sources: Arc<Sources>,
    file: File,
    /// As it was at opening, but for the change times that the store itself has caused.
    state: Mutex<Meta>,
}

impl Sources {
    /// Shares the open file with those who read the same version already.
    pub(crate) fn share(self: &Arc<Self>, file: File, state: Meta) -> Arc<Source> {
        let mut open = self.lock();
        if let Some(source) = open.get(&state.id).and_then(Weak::upgrade) {
            if *source.state() == state {
                drop(open);
                return source;
            }
            // Its last owner may be this one, and the end of a source needs the lock.
            let fresh = self.add(&mut open, file, state);
            drop(open);
            drop(source);
            return fresh;
        }
        self.add(&mut open, file, state)
    }

    /// Runs a change of the store's own that leaves the bytes of `id` alone.
    pub(crate) fn across<T>(&self, id: FileId, change: impl FnOnce() -> T) -> T {
        let source = self.lock().get(&id).and_then(Weak::upgrade);
        match source {
            Some(source) => source.across(change),
            None => change(),
        }
    }

    fn add(self: &Arc<Self>, open: &mut HashMap<FileId, Weak<Source>>, file: File, state: Meta) -> Arc<Source> {
        let source = Arc::new(Source {
            sources: Arc::clone(self),
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

    /// Keeps a digest that was computed from this version, unless a true one is kept already.
    pub(crate) fn keep_digest(&self, digest: &Digest) {
        let meta = self.meta();
        if kept::read(&self.file, &meta).is_some() {
            return;
        }
        self.across(|| {
            if disk::stat_fd(&self.file).is_ok_and(|now| now == meta) {
                kept::write(&self.file, &meta, digest);
            }
        });
    }

    fn across<T>(&self, change: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        let was_ours = disk::stat_fd(&self.file) == Ok(*state);
        let result = change();
        if was_ours
            && let Ok(now) = disk::stat_fd(&self.file)
            && (now.size, now.modified) == (state.size, state.modified)
        {
            *state = now;
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, Meta> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
