//! Turning trees into lists: directories before what is in them.

use std::collections::{HashSet, VecDeque};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ftp_proto::{Entry, Kind, Op, Page, Re, Reply};
use tokio::sync::{mpsc, watch};

use crate::items::{CHUNK_ITEMS, CHUNKS_AHEAD, Met, Totals, Walk};
use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::path::file_name;
use crate::{Client, Error, GetItem, ListLimit, PutItem, RemotePath};

/// The deepest tree that is walked; deeper ones are loops or attacks.
const MAX_DEPTH: usize = 128;

/// How many directories of a server may be asked for without an answer. With the longest paths that is half of
/// what a server reads ahead (protocol, 3.3), so that neither side waits for the other.
const ASKED_DIRECTORIES: usize = 64;

/// A file or tree on the server.
#[derive(Debug)]
pub struct RemoteWalk {
    /// What can be fetched, directories before what is in them.
    pub items: Vec<GetItem>,
    /// What can not be, and why: symbolic links, FIFOs and the like, and directories that could not be listed.
    pub passed_over: Vec<(RemotePath, Error)>,
}

impl Client {
    /// Lists a file or tree on the server for [`Client::get`]. Symbolic links are followed when named, not when met in a
    /// tree.
    ///
    /// # Errors
    /// What the server refuses of `remote` itself; [`Error::UnsafeName`] for a name that would lead out of `local`;
    /// [`Error::TooMuchListed`].
    ///
    /// # Cancel safety
    /// A dropped walk gives up the connection.
    pub async fn walk_remote(&mut self, remote: &RemotePath, local: &Path) -> Result<RemoteWalk, Error> {
        let entry = self.stat_followed(remote).await?;
        let first = GetItem {
            remote: remote.clone(),
            local: local.to_path_buf(),
            within: None,
            kind: entry.kind,
            size: entry.size,
        };
        let mut tree = RemoteTree {
            top: local.into(),
            deepest: local.components().count() + MAX_DEPTH,
            items: vec![first],
            passed_over: Vec::new(),
            limit: ListLimit::default(),
            listed: 0,
            refused: None,
        };
        let mut retry = self.retry();
        loop {
            let before = tree.listed;
            let Err(error) = self.list_tree(&mut tree).await else {
                return Ok(RemoteWalk {
                    items: tree.items,
                    passed_over: tree.passed_over,
                });
            };
            if tree.listed > before {
                retry.progress();
            }
            match (retry.pause(error).await, tree.refused) {
                (Ok(()), _) => {}
                // Without the top there is no tree.
                (Err(error @ Error::Refused(_)), Some(index)) if index > 0 => tree.pass_over(index, error)?,
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Lists what is not listed yet; after an error whole directories of it.
    async fn list_tree(&mut self, tree: &mut RemoteTree) -> Result<(), Error> {
        tree.refused = None;
        let mut link = self.take().await?;
        let mut asked = VecDeque::new();
        // The next item to look at; everything before it is listed, or asked for.
        let mut next = tree.listed;
        let mut refusal = None;
        loop {
            while refusal.is_none() && asked.len() < ASKED_DIRECTORIES && next < tree.items.len() {
                if let Some(path) = tree.directory(next)? {
                    let id = link.request(Op::Ls { path, digests: false })?;
                    asked.push_back((id, next));
                }
                next += 1;
            }
            let Some((id, index)) = asked.pop_front() else {
                break;
            };
            link.flush().await?;
            let before = (tree.items.len(), tree.passed_over.len(), tree.limit);
            let listed = list_directory(&mut link, id, tree, index).await;
            if listed.is_err() || refusal.is_some() {
                tree.items.truncate(before.0);
                tree.passed_over.truncate(before.1);
                tree.limit = before.2;
            }
            match listed {
                // The other answers are on their way, and nobody needs them.
                Ok(()) | Err(Error::Refused(_)) if refusal.is_some() => {}
                Ok(()) => tree.listed = asked.front().map_or(next, |(_, index)| *index),
                Err(error @ Error::Refused(_)) if index == 0 || error.may_retry() => {
                    tree.refused = Some(index);
                    refusal = Some(error);
                }
                Err(error @ Error::Refused(_)) => tree.pass_over(index, error)?,
                Err(error) => return Err(error),
            }
        }
        self.keep(link);
        refusal.map_or(Ok(()), Err)
    }
}

/// Adds what is in the directory `index`, as the answers to the request `id` tell; after an error only some of it.
async fn list_directory(link: &mut Link, id: u64, tree: &mut RemoteTree, index: usize) -> Result<(), Error> {
    // A name that is removed and made again during a listing may come twice.
    let mut seen = HashSet::new();
    loop {
        let entries = match link.receive_part().await? {
            Incoming::Reply(Reply { id: answered, re }) if answered == id => match re {
                Re::Page(Page { entries }) if entries.is_empty() => {
                    return Err(Error::Misbehaved("a page without entries".to_owned()));
                }
                Re::Page(Page { entries }) => entries,
                Re::Ok => return Ok(()),
                Re::Error(fault) => return Err(Error::Refused(fault)),
                other => return Err(wrong_reply(other)),
            },
            other => return Err(unexpected(&other)),
        };
        for entry in entries {
            tree.add(index, entry, &mut seen)?;
        }
    }
}

/// A tree on the server as far as it is listed.
struct RemoteTree {
    top: Arc<Path>,
    /// How many components the deepest local path may have.
    deepest: usize,
    items: Vec<GetItem>,
    passed_over: Vec<(RemotePath, Error)>,
    limit: ListLimit,
    /// Up to where the directories among the items are listed.
    listed: usize,
    /// The directory for whose refusal the last try ended.
    refused: Option<usize>,
}

impl RemoteTree {
    /// The path of an item that is to be listed.
    fn directory(&self, index: usize) -> Result<Option<String>, Error> {
        let item = &self.items[index];
        if item.kind != Kind::Dir {
            return Ok(None);
        }
        if item.local.components().count() > self.deepest {
            return Err(Error::Misbehaved(format!("a tree deeper than {MAX_DEPTH} directories")));
        }
        Ok(Some(item.remote.as_wire().to_owned()))
    }

    /// Goes on without what is in the directory `index`.
    fn pass_over(&mut self, index: usize, error: Error) -> Result<(), Error> {
        let remote = self.items[index].remote.clone();
        self.limit.take(remote.as_wire().len() + error.to_string().len())?;
        self.passed_over.push((remote, error));
        self.listed = index + 1;
        Ok(())
    }

    /// Adds an entry of the directory `index`.
    fn add(&mut self, index: usize, entry: Entry, seen: &mut HashSet<String>) -> Result<(), Error> {
        let directory = &self.items[index];
        let remote = directory.remote.join(&entry.name);
        let local = directory.local.join(file_name(&entry.name)?);
        self.limit.take(remote.as_wire().len() + local.as_os_str().len())?;
        if !seen.insert(entry.name) {
            return Ok(());
        }
        if matches!(entry.kind, Kind::Link | Kind::Other) {
            let error = Error::NotAFile(remote.to_os_string().into());
            self.passed_over.push((remote, error));
            return Ok(());
        }
        self.items.push(GetItem {
            remote,
            local,
            within: Some(Arc::clone(&self.top)),
            kind: entry.kind,
            size: entry.size,
        });
        Ok(())
    }
}

/// Walks local files and trees on a thread of its own, directories before what is in them, for as long as
/// somebody takes what it finds. What comes meanwhile may be met or not.
pub(crate) fn walk_local(trees: Vec<(PathBuf, RemotePath)>) -> Walk<PutItem> {
    let (sender, found) = mpsc::channel(CHUNKS_AHEAD);
    let (counter, totals) = watch::channel(Totals::default());
    let job = tokio::task::spawn_blocking(move || {
        let mut walk = LocalWalk {
            chunk: Vec::with_capacity(CHUNK_ITEMS),
            sender,
            totals: Totals::default(),
            counter,
        };
        let whole = trees
            .into_iter()
            .try_for_each(|(local, remote)| walk.tree(local, remote));
        // Whoever is gone wants nothing more.
        let _ = whole.and_then(|()| walk.hand_over());
    });
    Walk { found, totals, job }
}

/// Nobody takes what is found any more.
struct Unwanted;

struct LocalWalk {
    chunk: Vec<Met<PutItem>>,
    sender: mpsc::Sender<Vec<Met<PutItem>>>,
    totals: Totals,
    counter: watch::Sender<Totals>,
}

impl LocalWalk {
    fn tree(&mut self, local: PathBuf, remote: RemotePath) -> Result<(), Unwanted> {
        match std::fs::metadata(&local) {
            Ok(metadata) if metadata.is_dir() => self.directory(&local, &remote, 0),
            // Of what can not be read, the upload says so.
            Ok(metadata) => self.file(local, remote, &metadata),
            Err(error) => self.pass_over(&local, Error::local("cannot open", &local)(error)),
        }
    }

    fn visit(&mut self, local: PathBuf, remote: RemotePath, metadata: &Metadata, depth: usize) -> Result<(), Unwanted> {
        if metadata.is_file() {
            self.file(local, remote, metadata)
        } else if !metadata.is_dir() {
            self.pass_over(&local, Error::NotAFile(local.clone()))
        } else {
            self.directory(&local, &remote, depth)
        }
    }

    fn file(&mut self, local: PathBuf, remote: RemotePath, metadata: &Metadata) -> Result<(), Unwanted> {
        let (is_file, size) = (metadata.is_file(), metadata.len());
        self.totals.add(size);
        self.add(Met::Item(PutItem {
            local,
            remote,
            kind: if is_file { Kind::File } else { Kind::Other },
            size,
        }))
    }

    fn directory(&mut self, local: &Path, remote: &RemotePath, depth: usize) -> Result<(), Unwanted> {
        self.add(Met::Item(PutItem {
            local: local.to_path_buf(),
            remote: remote.clone(),
            kind: Kind::Dir,
            size: 0,
        }))?;
        let failed = |error| Error::local("cannot list", local)(error);
        if depth >= MAX_DEPTH {
            return self.pass_over(local, failed(rustix::io::Errno::LOOP.into()));
        }
        let entries = match std::fs::read_dir(local) {
            Ok(entries) => entries,
            Err(error) => return self.pass_over(local, failed(error)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.pass_over(local, failed(error)),
            };
            let path = entry.path();
            let name = RemotePath::new(&entry.file_name());
            match entry.metadata() {
                Ok(metadata) => self.visit(path, remote.join(name.as_wire()), &metadata, depth + 1)?,
                Err(error) => self.pass_over(&path, Error::local("cannot read", &path)(error))?,
            }
        }
        Ok(())
    }

    fn pass_over(&mut self, path: &Path, error: Error) -> Result<(), Unwanted> {
        self.add(Met::PassedOver(path.to_path_buf(), Box::new(error)))
    }

    fn add(&mut self, found: Met<PutItem>) -> Result<(), Unwanted> {
        self.chunk.push(found);
        if self.chunk.len() >= CHUNK_ITEMS {
            self.hand_over()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), Unwanted> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_ITEMS));
        self.counter.send_replace(self.totals);
        self.sender.blocking_send(chunk).map_err(|_| Unwanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_local_tree_becomes_a_list_with_directories_first() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("a/b/link")).unwrap();
        let mut walked = walk_local(vec![(dir.path().to_path_buf(), RemotePath::from("/t"))]);
        let (mut remotes, mut errors) = (Vec::new(), Vec::new());
        while let Some(chunk) = walked.found.recv().await {
            for found in chunk {
                match found {
                    Met::Item(item) => remotes.push(item.remote.as_wire().to_owned()),
                    Met::PassedOver(path, error) => errors.push((path, error)),
                }
            }
        }
        assert_eq!(remotes, ["/t", "/t/a", "/t/a/b", "/t/a/b/file"]);
        assert_eq!(*walked.totals.borrow(), Totals { files: 1, bytes: 1 });
        let link = dir.path().join("a/b/link");
        assert!(matches!(&errors[..], [(path, error)] if *path == link && matches!(**error, Error::NotAFile(_))));
    }
}
