//! Walks over whole trees: counting what a home holds, and measuring how deep a directory goes.
//!
//! A walk holds one open handle a level, opened beneath the level above without following links, so
//! that nothing that is moved or swapped meanwhile can lead it elsewhere.

use std::ffi::OsStr;

use cap_std::fs::Dir;
use rustix::io::Errno;

use crate::disk::{self, At, Kind};
use crate::error::{Error, Result};
use crate::path::{FilePath, is_reserved};
use crate::quota::Tally;
use crate::tree::Names;

/// A directory that is being walked over, and what is left of its names.
type Level = (Dir, Names);

/// Counts everything in `root` but the reserved folder.
pub(super) fn count(root: &Dir, path: &FilePath) -> Result<Tally> {
    let fail = |errno| Error::from_errno("count what is in", path, errno);
    let mut tally = Tally::default();
    let mut levels = vec![(
        root.try_clone()
            .map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?,
        Names::of(root).map_err(fail)?,
    )];
    while let Some(depth) = levels.len().checked_sub(1) {
        let (dir, names) = &mut levels[depth];
        let Some(name) = names.next() else {
            levels.pop();
            continue;
        };
        let name = name.map_err(fail)?;
        if depth == 0 && is_reserved(&name) {
            continue;
        }
        let Some(meta) = disk::find_at(&*dir, &name).map_err(fail)? else {
            continue;
        };
        tally.entries += 1;
        tally.bytes += meta.counted_bytes();
        if meta.kind == Kind::Directory {
            let child = open(dir, &name).map_err(fail)?;
            levels.push(child);
        }
    }
    Ok(tally)
}

/// Whether something in the directory `name` lies more than `limit` levels beneath it. The walk goes
/// no deeper than to find that out.
pub(super) fn is_deeper_than(limit: usize, (parent, name): At<'_>) -> Result<bool, Errno> {
    let mut levels = vec![open(parent, name)?];
    while let Some(depth) = levels.len().checked_sub(1) {
        let (dir, names) = &mut levels[depth];
        let Some(name) = names.next() else {
            levels.pop();
            continue;
        };
        let name = name?;
        let Some(meta) = disk::find_at(&*dir, &name)? else {
            continue;
        };
        if depth >= limit {
            return Ok(true);
        }
        if meta.kind == Kind::Directory {
            let child = open(dir, &name)?;
            levels.push(child);
        }
    }
    Ok(false)
}

fn open(parent: &Dir, name: &OsStr) -> Result<Level, Errno> {
    let dir = disk::open_dir(parent, name)?;
    let names = Names::of(&dir)?;
    Ok((dir, names))
}
