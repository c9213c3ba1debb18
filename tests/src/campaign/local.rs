//! What downloads leave on the client's disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Checked;
use super::lane::Lane;
use super::model::{Node, Stored, Time, below};
use super::pool::Pool;
use crate::sha256;

/// How the names of partial downloads end.
const PART: &str = ".ftp-part";

/// How many bytes of a broken download are there.
pub(super) fn part(directory: &Path, name: &str) -> Option<u64> {
    let path = directory.join(format!(".{name}{PART}"));
    fs::metadata(path).ok().map(|meta| meta.len())
}

/// Demands that a target is the old or the new file; if it was `fetched`, the new one, with nothing
/// left beside it.
pub(super) fn check(lane: &mut Lane, name: &str, source: Option<Stored>, fetched: bool, pool: &Pool) -> Checked {
    let path = lane.directory.join(name);
    let old = lane.model.local.get(name).copied();
    let is = |stored: Option<Stored>| match stored {
        Some(stored) => is_file(&path, stored, pool),
        None => !path.exists(),
    };
    if fetched {
        if !is(source) {
            return Err(format!("{} was fetched and is not {source:?}", path.display()));
        }
        if part(&lane.directory, name).is_some() || lane.directory.join(format!(".{name}{PART}.json")).exists() {
            return Err(format!(
                "{} was fetched, and its partial file is still there",
                path.display()
            ));
        }
        return Ok(());
    }
    if is(old) {
        return Ok(());
    }
    match source {
        Some(new) if is(Some(new)) => {
            lane.model.local.insert(name.to_owned(), new);
            Ok(())
        }
        _ => Err(format!("{} is neither {old:?} nor {source:?}", path.display())),
    }
}

fn is_file(path: &Path, stored: Stored, pool: &Pool) -> bool {
    let Ok(meta) = fs::metadata(path) else {
        return false;
    };
    let time = stored.time != Time::Source || u64::try_from(meta.mtime()) == Ok(Pool::time());
    meta.len() == stored.content.bytes() && time && sha256(path) == pool.digest(stored.content)
}

/// Demands that whatever of a directory was fetched is whole, and all of it if it was `fetched`. Removes
/// it then.
pub(super) fn check_tree(lane: &Lane, local: &Path, from: &str, fetched: bool, pool: &Pool) -> Checked {
    if !local.exists() {
        return match fetched && lane.model.remote.contains_key(from) {
            true => Err(format!("{} was fetched and is not there", local.display())),
            false => Ok(()),
        };
    }
    // The lane's own directory is not in its model.
    let mut known = u64::from(from.is_empty());
    for (path, node) in below(&lane.model.remote, from) {
        let here = local.join(path[from.len()..].trim_start_matches('/'));
        match node {
            Node::Dir if fetched && !here.is_dir() => return Err(format!("{} is missing", here.display())),
            Node::Dir => known += u64::from(here.is_dir()),
            Node::File(stored) if here.exists() || fetched => {
                if !is_file(&here, *stored, pool) {
                    return Err(format!("{} is not {stored:?}", here.display()));
                }
                known += 1;
            }
            Node::File(_) => {}
        }
    }
    let found = crate::snapshot(local);
    let others = |name: &Path| {
        let name = name.as_os_str().to_string_lossy();
        name.ends_with(PART) || name.ends_with(&format!("{PART}.json"))
    };
    // The directory itself is not in the snapshot.
    let real = 1 + found.keys().filter(|name| fetched || !others(name)).count() as u64;
    if real != known {
        return Err(format!(
            "{} holds {real} entries, and {known} are known",
            local.display()
        ));
    }
    fs::remove_dir_all(local).map_err(|error| format!("cannot remove {}: {error}", local.display()))
}
