//! Walks over whole trees: counting what is in them, measuring how deep they go, deleting them.
//!
//! A walk holds one open handle a level, opened beneath the level above without following links, so
//! that nothing that is moved or swapped meanwhile can lead it elsewhere.

use std::ffi::{OsStr, OsString};

use cap_std::fs::Dir;
use rustix::io::Errno;

use crate::disk::{self, At, Kind, Meta};
use crate::error::{Error, Result};
use crate::path::{FilePath, is_reserved};
use crate::quota::Tally;
use crate::tree::Names;

/// What a removal has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files, links and whatever else is no directory.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Bytes of regular files.
    pub bytes: u64,
}

impl Removed {
    pub(crate) fn count(&mut self, meta: &Meta) {
        if meta.kind == Kind::Directory {
            self.dirs += 1;
        } else {
            self.files += 1;
            self.bytes += meta.counted_bytes();
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            bytes: self.bytes,
            entries: self.files + self.dirs,
        }
    }
}

/// A directory that is being walked over, what is left of its names, and its own.
struct Level {
    dir: Dir,
    names: Names,
    name: OsString,
}

impl Level {
    fn open(parent: &Dir, name: &OsStr) -> Result<Self, Errno> {
        let dir = disk::open_dir(parent, name)?;
        Ok(Self {
            names: Names::of(&dir)?,
            dir,
            name: name.to_owned(),
        })
    }
}

/// Counts everything in `root` but the reserved folder.
pub(crate) fn count(root: &Dir, path: &FilePath) -> Result<Tally> {
    let fail = |errno| Error::from_errno("count what is in", path, errno);
    let mut counted = Removed::default();
    let top = Level::open(root, OsStr::new(".")).map_err(fail)?;
    each(top, is_reserved, |meta| counted.count(meta)).map_err(fail)?;
    Ok(counted.tally())
}

/// Counts what a removal of `at` would remove.
pub(crate) fn measure((parent, name): At<'_>) -> Result<Removed, Errno> {
    let mut counted = Removed::default();
    let meta = disk::stat_at(parent, name)?;
    counted.count(&meta);
    if meta.kind == Kind::Directory {
        each(Level::open(parent, name)?, |_| false, |meta| counted.count(meta))?;
    }
    Ok(counted)
}

/// Shows everything beneath `top` to `look`, but what `hides` hides at its first level.
fn each(top: Level, hides: impl Fn(&OsStr) -> bool, mut look: impl FnMut(&Meta)) -> Result<(), Errno> {
    let mut levels = vec![top];
    while let Some(depth) = levels.len().checked_sub(1) {
        let level = &mut levels[depth];
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let name = name?;
        if depth == 0 && hides(&name) {
            continue;
        }
        let Some(meta) = disk::find_at(&level.dir, &name)? else {
            continue;
        };
        look(&meta);
        if meta.kind == Kind::Directory {
            match Level::open(&level.dir, &name) {
                Ok(child) => levels.push(child),
                // Gone since its name was read.
                Err(Errno::NOENT) => {}
                // Nobody can put anything into it through the store either, and one such directory is no
                // reason to keep its user out.
                Err(Errno::ACCESS) => {
                    tracing::warn!(
                        directory = ?name,
                        "a directory in a home is closed to the server, and what is in it is not counted"
                    );
                }
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Whether something in the directory `name` lies more than `limit` levels beneath it. The walk goes
/// no deeper than to find that out.
pub(crate) fn is_deeper_than(limit: usize, (parent, name): At<'_>) -> Result<bool, Errno> {
    let mut levels = vec![Level::open(parent, name)?];
    while let Some(depth) = levels.len().checked_sub(1) {
        let level = &mut levels[depth];
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let name = name?;
        let Some(meta) = disk::find_at(&level.dir, &name)? else {
            continue;
        };
        if depth >= limit {
            return Ok(true);
        }
        if meta.kind == Kind::Directory {
            let child = Level::open(&level.dir, &name)?;
            levels.push(child);
        }
    }
    Ok(false)
}

/// Deletes a directory and everything in it, depth first, its files by `unlink`. Nothing is an error
/// that is gone already; what was deleted is in `removed`, also after an error.
pub(crate) fn remove_dir(
    (parent, name): At<'_>,
    mut unlink: impl FnMut(&Meta, At<'_>) -> Result<(), Errno>,
    removed: &mut Removed,
) -> Result<(), Errno> {
    if disk::find_at(parent, name)?.is_none() {
        return Ok(());
    }
    let mut levels = vec![Level::open(parent, name)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            let Some(emptied) = levels.pop() else { break };
            let above = levels.last().map_or(parent, |level| &level.dir);
            disk::remove_dir(above, &emptied.name)?;
            removed.dirs += 1;
            continue;
        };
        let name = name?;
        let Some(meta) = disk::find_at(&level.dir, &name)? else {
            continue;
        };
        if meta.kind == Kind::Directory {
            let child = Level::open(&level.dir, &name)?;
            levels.push(child);
        } else {
            unlink(&meta, (&level.dir, &name))?;
            removed.count(&meta);
        }
    }
    Ok(())
}
