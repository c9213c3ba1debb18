//! What lies in the trash of a home, and what has to lie there: whatever was removed or replaced.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::Checked;
use super::disk::{self, Digests, Finds, Found};
use super::model::{Node, Op, Stored, Time, Tree, below};
use super::pool::Pool;

/// What each item holds, under the paths of the home at which it was.
pub(super) type Items = BTreeMap<u64, Finds>;

/// Files that were removed or replaced, below the directory of a lane; the same may be there twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost(Vec<(String, Stored)>);

/// Reads all of it that was at `top` or below. What leaves meanwhile is passed over.
pub(super) fn read(home: &Path, top: &str, digests: &mut Digests) -> io::Result<Items> {
    let trash = home.join(".ftpd/trash");
    let mut items = Items::new();
    for name in disk::names(&trash)? {
        let Ok(id) = name.parse() else { continue };
        let text = match fs::read_to_string(trash.join(format!("{name}.json"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        let record: Value = serde_json::from_str(&text)?;
        let path = record["path"].as_str().unwrap_or_default().trim_start_matches('/');
        if !is_at(path, top) {
            continue;
        }
        match disk::read_below(&trash.join(name), path, digests) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            finds => drop(items.insert(id, finds?)),
        }
    }
    Ok(items)
}

/// Each file in the trash is one that was sent, whole.
pub(super) fn are_whole(items: &Items, pool: &Pool) -> Checked {
    for (id, finds) in items {
        for (path, found) in finds {
            let is_whole = match found {
                Found::Dir => true,
                Found::File { digest, .. } => pool.find(digest).is_some(),
                Found::Other => false,
            };
            if !is_whole {
                return Err(format!(
                    "item {id} of the trash has {path}: {}",
                    disk::told(Some(found), pool)
                ));
            }
        }
    }
    Ok(())
}

impl Lost {
    /// An operation has made one of the other.
    pub(super) fn changed(&mut self, op: &Op, old: &Tree, new: &Tree) {
        for (path, node) in old {
            let Node::File(stored) = node else { continue };
            let has_moved = matches!(op, Op::Mv { from, .. } if !new.contains_key(path) && is_at(path, from));
            if new.get(path) != Some(node) && !has_moved {
                self.0.push((path.clone(), *stored));
            }
        }
        if let Op::Restore { found: Some(found), .. } = op {
            for (path, node) in found {
                // If the same stood there before, it took the other's place in the trash.
                if new.get(path) == Some(node) && old.get(path) != Some(node) {
                    self.left(path, node);
                }
            }
        }
    }

    /// Something has left the trash, or may have.
    pub(super) fn left(&mut self, path: &str, node: &Node) {
        let is_it = |(lost, stored): &(String, Stored)| lost == path && is_same(node, stored);
        if let Some(index) = self.0.iter().position(is_it) {
            self.0.remove(index);
        }
    }

    /// How many versions of a path there are at the least.
    pub(super) fn versions(&self, path: &str) -> usize {
        self.0.iter().filter(|(lost, _)| lost == path).count()
    }

    /// Finds each of them in an item of its own. `root` is the directory of the lane.
    pub(super) fn find(&self, items: &Items, root: &str, pool: &Pool) -> Checked<Vec<(u64, String, Stored)>> {
        let mut taken = Vec::new();
        for (path, stored) in &self.0 {
            let at = format!("{root}/{path}");
            let node = Node::File(*stored);
            let mut free = items.iter().filter(|(id, finds)| {
                disk::agrees(finds.get(&at), Some(&node), pool) && !taken.contains(&(**id, path))
            });
            let Some((id, _)) = free.next() else {
                let versions: Vec<_> = items.iter().filter(|(_, finds)| finds.contains_key(&at)).collect();
                return Err(format!(
                    "{path} was {stored:?} once, and the trash does not have it: {versions:?}"
                ));
            };
            taken.push((*id, path));
        }
        let found = taken.iter().zip(&self.0);
        Ok(found
            .map(|((id, path), (_, stored))| (*id, (*path).clone(), *stored))
            .collect())
    }
}

/// What was found in the trash, as the model would say it; `step` made what has another time than the sources.
pub(super) fn as_tree(finds: &Finds, root: &str, step: u64, pool: &Pool) -> Checked<Tree> {
    let prefix = format!("{root}/");
    let mut tree = Tree::new();
    for (path, found) in finds {
        let node = disk::node(found, step, pool)
            .ok_or_else(|| format!("{path} in the trash is {}", disk::told(Some(found), pool)))?;
        tree.insert(path.strip_prefix(&prefix).unwrap_or(path).to_owned(), node);
    }
    Ok(tree)
}

/// Which step made what has no time of a source is not known any more.
fn is_same(node: &Node, stored: &Stored) -> bool {
    let has_source = |stored: &Stored| stored.time == Time::Source;
    matches!(node, Node::File(file) if file.content == stored.content && has_source(file) == has_source(stored))
}

fn is_at(path: &str, top: &str) -> bool {
    below(&Tree::from([(path.to_owned(), Node::Dir)]), top).next().is_some()
}
