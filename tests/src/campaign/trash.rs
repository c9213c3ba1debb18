//! What lies in the trash of a home, and what has to lie there: whatever was removed or replaced.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::Checked;
use super::disk::{self, Digests, Finds, Found};
use super::lane::Lane;
use super::model::{Node, Op, Stored, Time, Tree, below, exit};
use super::pool::Pool;

/// How many files of a lane are brought back in the end, the newest.
const BROUGHT_BACK: usize = 8;

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

impl Lane {
    /// What an operation on the trash will find there.
    pub(super) fn look_into_trash(&mut self, op: &Op, pool: &Pool) -> Checked<Op> {
        let (Op::Restore { path, .. } | Op::Purge { path, .. }) = op else {
            return Ok(op.clone());
        };
        let items = read(&self.home, self.root, &mut self.digests)
            .map_err(|error| format!("cannot read the trash of {}: {error}", self.user))?;
        let at = format!("{}/{path}", self.root);
        let newest = items.iter().rev().find(|(_, finds)| finds.contains_key(&at));
        let item = newest
            .map(|(id, finds)| as_tree(finds, self.root, self.step, pool).map(|tree| (*id, tree)))
            .transpose()?;
        let path = path.clone();
        Ok(match op {
            Op::Restore { force, .. } => Op::Restore {
                found: item.map(|(_, tree)| {
                    below(&tree, &path)
                        .map(|(path, node)| (path.to_owned(), self.lost.known_as(path, node)))
                        .collect()
                }),
                path,
                force: *force,
            },
            _ => Op::Purge { path, item },
        })
    }

    /// Brings back some of what was removed or replaced, beside what is there: the newest of it. How many
    /// files that were comes back.
    pub(super) fn bring_back(&mut self, pool: &Pool, tls: bool) -> Checked<usize> {
        if self.has_quota {
            return Ok(0);
        }
        self.proxy.set([]);
        let items = read(&self.home, self.root, &mut self.digests).map_err(|error| error.to_string())?;
        let found = self.lost.find(&items, self.root, pool)?;
        let wanted = found.into_iter().rev().take(BROUGHT_BACK).enumerate();
        let mut restored = 0;
        for (number, (item, path, stored)) in wanted {
            let (back, item) = (format!("back/{number}"), item.to_string());
            let args = [
                "restore",
                "--item",
                &item,
                &self.remote(&path),
                "--to",
                &self.remote(&back),
            ];
            let ran = self.plain(tls, &args);
            if ran.code() != Some(exit::DONE) {
                return Err(format!(
                    "{path} of item {item} can not be restored: {} {}",
                    ran.stdout(),
                    ran.stderr()
                ));
            }
            self.lost.left(&path, &Node::File(stored));
            self.now_has(&back, stored);
            self.touched.insert(back);
            restored += 1;
        }
        Ok(restored)
    }
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

    /// What was found in the trash, with the time that it had: what was fetched before has the same one.
    fn known_as(&self, path: &str, node: &Node) -> Node {
        let mut newest = self.0.iter().rev();
        let known = newest.find(|(lost, stored)| lost == path && is_same(node, stored));
        known.map_or(*node, |(_, stored)| Node::File(*stored))
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
