//! The directory of the last file of a group: files of one directory come in a row, and are spared the way
//! there.
//!
//! Nothing that the store does makes a difference: a directory is taken as it was found only as long as
//! nobody has locked the names of its home since, and so none was moved or removed.

use std::sync::Arc;

use crate::disk;
use crate::error::{Error, Result};
use crate::home::HomeState;
use crate::path::FilePath;
use crate::tree::{Folder, Place};

/// The directory that was needed last, if there was one.
#[derive(Default)]
pub(crate) struct LastFolder {
    known: Option<Known>,
}

struct Known {
    home: Arc<HomeState>,
    parent: FilePath,
    folder: Arc<Folder>,
    /// How often the names of the home had been locked when it was found.
    locked: u64,
}

impl LastFolder {
    /// As [`Tree::place`](crate::tree::Tree::place), for a place to which a staged file can be renamed.
    pub(crate) fn place(&mut self, home: &Arc<HomeState>, path: &FilePath) -> Result<Place> {
        let locked = home.times_names_were_locked();
        if let Some(known) = &self.known
            && known.locked == locked
            && Arc::ptr_eq(&known.home, home)
            && path.is_in(&known.parent)
        {
            return known.folder.place(path);
        }
        self.known = None;
        let parent = path.parent().ok_or(Error::HomeItself)?;
        let folder = Arc::new(home.tree().folder(&parent)?);
        let fail = |errno| Error::from_errno("look at", path, errno);
        // Publishing is one rename, and no rename crosses mounts: better known before the first byte.
        if !disk::share_a_mount(&*folder.dir, home.staging()).map_err(fail)? {
            return Err(Error::Mount { path: path.clone() });
        }
        let place = folder.place(path)?;
        self.known = Some(Known {
            home: Arc::clone(home),
            parent,
            folder,
            locked,
        });
        Ok(place)
    }
}
