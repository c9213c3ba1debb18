//! What `stat` and a listing show of one name.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::sync::Arc;

use ftp_digest::Digest;

use super::{Home, HomeState};
use crate::disk::{self, Kind, Meta};
use crate::error::{Error, Result};
use crate::kept;
use crate::path::FilePath;
use crate::time::Timestamp;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, any bytes but `/` and NUL; empty for the home itself.
    pub name: OsString,
    /// What it is. Links are shown as links.
    pub kind: Kind,
    /// `st_size`: bytes of a file, length of a link's text.
    pub size: u64,
    /// When its content last changed.
    pub modified: Timestamp,
    /// The digest kept with a file, if it was asked for and is still true.
    pub digest: Option<Digest>,
}

impl Entry {
    /// The entry `name` of an open directory.
    pub(super) fn read(dir: impl AsFd, name: OsString, meta: Meta, with_digest: bool) -> Self {
        let digest = || {
            let file = disk::open_file(dir, &name).ok()?;
            let meta = disk::stat_fd(&file).ok()?;
            (meta.kind == Kind::File).then(|| kept::read(&file, &meta))?
        };
        let digest = (with_digest && meta.kind == Kind::File).then(digest).flatten();
        Self {
            digest,
            kind: meta.kind,
            size: meta.size,
            modified: meta.modified,
            name,
        }
    }
}

impl Home {
    /// Looks at one name. A link is shown as a link; links on the way to it are followed inside the
    /// home.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::OutsideHome`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn stat(&self, path: &FilePath, with_digest: bool) -> Result<Entry> {
        let (state, path) = (Arc::clone(self.state()), path.clone());
        self.jobs().blocking(move || state.stat(&path, with_digest)).await
    }
}

impl HomeState {
    fn stat(&self, path: &FilePath, with_digest: bool) -> Result<Entry> {
        let fail = |errno| Error::from_errno("look at", path, errno);
        if path.is_root() {
            let meta = disk::stat_fd(self.tree().root()).map_err(fail)?;
            let name = OsStr::new("").to_owned();
            return Ok(Entry::read(self.tree().root(), name, meta, false));
        }
        let place = self.tree().place(path)?;
        let meta = disk::stat_at(&place.dir, &place.name).map_err(fail)?;
        Ok(Entry::read(&place.dir, place.name, meta, with_digest))
    }
}
