//! Walks over whole trees: counting what a home holds, and removing a directory with its content.
//!
//! A walk holds one open handle a level, opened beneath the level above without following links, so
//! that nothing that is moved or swapped meanwhile can lead it elsewhere.

use cap_std::fs::Dir;
use rustix::io::Errno;

use crate::disk::{self, Kind};
use crate::error::{Error, Result};
use crate::path::{FilePath, is_reserved};
use crate::quota::Tally;
use crate::tree::Names;

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
            let child = disk::open_dir(&*dir, &name).map_err(fail)?;
            let names = Names::of(&child).map_err(fail)?;
            levels.push((child, names));
        }
    }
    Ok(tally)
}
