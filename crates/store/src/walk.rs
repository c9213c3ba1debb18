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

/// What a walk makes of other file systems that are mounted on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mounts {
    /// It walks over them too.
    Enter,
    /// It leaves them out.
    Skip,
    /// It ends with `EXDEV`.
    Refuse,
}

impl Level {
    fn open(parent: &Dir, name: &OsStr) -> Result<Self, Errno> {
        Self::of(disk::open_dir(parent, name)?, name)
    }

    /// `EXDEV` where another file system is mounted.
    fn open_of_mount(parent: &Dir, name: &OsStr) -> Result<Self, Errno> {
        Self::of(disk::open_dir_of_mount(parent, name)?, name)
    }

    /// Opens a directory that is to be emptied, also one that its owner has closed.
    fn open_to_empty(parent: &Dir, name: &OsStr) -> Result<Self, Errno> {
        match Self::open_of_mount(parent, name) {
            Err(Errno::ACCESS) if disk::grant_owner_at(parent, name).is_ok() => Self::open_of_mount(parent, name),
            opened => opened,
        }
    }

    fn of(dir: Dir, name: &OsStr) -> Result<Self, Errno> {
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
    each(top, is_reserved, Mounts::Enter, |meta| counted.count(meta)).map_err(fail)?;
    Ok(counted.tally())
}

/// Counts what a removal of `at` would remove.
pub(crate) fn measure(at: At<'_>) -> Result<Removed, Errno> {
    measure_with(at, Mounts::Skip)
}

/// The same for what is about to be removed; `EXDEV` if something is mounted in it, which nobody would find again.
pub(crate) fn measure_without_mounts(at: At<'_>) -> Result<Removed, Errno> {
    measure_with(at, Mounts::Refuse)
}

fn measure_with((parent, name): At<'_>, mounts: Mounts) -> Result<Removed, Errno> {
    let mut counted = Removed::default();
    let meta = disk::stat_at(parent, name)?;
    counted.count(&meta);
    if meta.kind == Kind::Directory {
        match Level::open(parent, name) {
            Ok(top) => each(top, |_| false, mounts, |meta| counted.count(meta))?,
            Err(Errno::ACCESS) => note_closed(name),
            Err(errno) => return Err(errno),
        }
    }
    Ok(counted)
}

/// Nobody can put anything into it through the store either, and one such directory is no reason to keep its
/// user out.
fn note_closed(directory: &OsStr) {
    tracing::warn!(
        ?directory,
        "a directory in a home is closed to the server, and what is in it is not counted"
    );
}

/// Shows everything beneath `top` to `look`, but what `hides` hides at its first level.
fn each(top: Level, hides: impl Fn(&OsStr) -> bool, mounts: Mounts, mut look: impl FnMut(&Meta)) -> Result<(), Errno> {
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
        let meta = match disk::find_at(&level.dir, &name) {
            Ok(Some(meta)) => meta,
            Ok(None) => continue,
            // Its names can be read, and nothing else.
            Err(Errno::ACCESS) => {
                note_closed(&level.name);
                levels.pop();
                continue;
            }
            Err(errno) => return Err(errno),
        };
        look(&meta);
        if meta.kind == Kind::Directory {
            let opened = match mounts {
                Mounts::Enter => Level::open(&level.dir, &name),
                Mounts::Skip | Mounts::Refuse => Level::open_of_mount(&level.dir, &name),
            };
            match opened {
                Ok(child) => levels.push(child),
                // Gone since its name was read.
                Err(Errno::NOENT) => {}
                Err(Errno::XDEV) if mounts == Mounts::Skip => {}
                Err(Errno::ACCESS) => note_closed(&name),
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
/// that is gone already; what was deleted is in `removed`, also after an error. What only itself cannot be
/// deleted, because it is somebody else's or a mount, keeps nothing else; the first such error is returned.
pub(crate) fn remove_dir(
    (parent, name): At<'_>,
    mut unlink: impl FnMut(&Meta, At<'_>) -> Result<(), Errno>,
    removed: &mut Removed,
) -> Result<(), Errno> {
    if disk::find_at(parent, name)?.is_none() {
        return Ok(());
    }
    let mut levels = vec![Level::open_to_empty(parent, name)?];
    let mut first = None;
    while let Some(level) = levels.last_mut() {
        let done = match level.names.next() {
            None => {
                let Some(emptied) = levels.pop() else { break };
                let above = levels.last().map_or(parent, |level| &level.dir);
                match allowing(above, || disk::remove_dir(above, &emptied.name)) {
                    Ok(()) => {
                        removed.dirs += 1;
                        Ok(())
                    }
                    // Something in it has stayed.
                    Err(Errno::NOTEMPTY | Errno::EXIST) if first.is_some() => Ok(()),
                    failed => failed,
                }
            }
            Some(name) => match remove_from(level, &name?, &mut unlink, removed) {
                Ok(Some(child)) => {
                    levels.push(child);
                    Ok(())
                }
                done => done.map(drop),
            },
        };
        match done {
            Ok(()) => {}
            Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::BUSY | Errno::XDEV)) => {
                first.get_or_insert(errno);
            }
            Err(errno) => return Err(errno),
        }
    }
    first.map_or(Ok(()), Err)
}

/// Deletes a name; a directory is opened to be emptied first.
fn remove_from(
    level: &Level,
    name: &OsStr,
    unlink: &mut impl FnMut(&Meta, At<'_>) -> Result<(), Errno>,
    removed: &mut Removed,
) -> Result<Option<Level>, Errno> {
    let Some(meta) = allowing(&level.dir, || disk::find_at(&level.dir, name))? else {
        return Ok(None);
    };
    if meta.kind == Kind::Directory {
        return Level::open_to_empty(&level.dir, name).map(Some);
    }
    allowing(&level.dir, || unlink(&meta, (&level.dir, name)))?;
    removed.count(&meta);
    Ok(None)
}

/// Does something in a directory, whatever its mode says: its owner may change that.
fn allowing<T>(dir: &Dir, mut act: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match act() {
        Err(Errno::ACCESS) if disk::grant_owner(dir).is_ok() => act(),
        done => done,
    }
}
