//! Downloading a list: small files one after another without waiting, large ones each with its resume.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use ftp_digest::Hasher;
use ftp_proto::{Entry, Kind, MAX_DATA_BYTES, Op, Re, Reply, Stored, Timestamp};

use crate::batch::{Batch, Item, State};
use crate::conflict::{decide, identical};
use crate::download::{Download, Received};
use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::observer::{Decision, Event, TransferId};
use crate::partial::{Partial, sync_file_system};
use crate::source::{Source, mtime};
use crate::upload::{Tally, blocking};
use crate::{Client, Error, GetItem, Outcome, RemotePath, Resume, TransferOptions};

/// How many small files may be asked for without an answer.
const WINDOW_FILES: usize = 256;

/// How many small files may wait for the local disk.
const WRITES: usize = 16;

impl Client {
    /// Downloads each item and goes on after a failure. Lost connections are made again and the transfers
    /// resumed; what becomes of each item is told to the observer and comes back in order.
    ///
    /// # Cancel safety
    /// A dropped download leaves what arrived in a partial file beside the target, to be resumed.
    pub async fn get(&mut self, items: Vec<GetItem>, options: &TransferOptions) -> Vec<Outcome> {
        let observer = Arc::clone(&self.observer);
        let mut batch = Batch::new(items, options, &observer);
        self.work_off(&mut batch).await;
        batch.sync().await;
        batch.outcomes()
    }
}

/// A small file that arrived.
struct Arrived {
    bytes: BytesMut,
    received: Received,
}

type Writing = (usize, Received, tokio::task::JoinHandle<Result<bool, Error>>);

impl Item for GetItem {
    fn local(&self) -> &Path {
        &self.local
    }

    fn remote(&self) -> &RemotePath {
        &self.remote
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn size(&self) -> u64 {
        self.size
    }

    async fn run(batch: &mut Batch<'_, Self>, link: &mut Link) -> Result<(), Error> {
        batch.run(link).await
    }
}

impl Batch<'_, GetItem> {
    async fn run(&mut self, link: &mut Link) -> Result<(), Error> {
        for index in 0..self.items.len() {
            if self.states[index].result.is_none() && self.items[index].kind == Kind::Dir {
                let (path, parents) = (self.items[index].local.clone(), self.options.parents);
                let made = blocking(move || make_directory(&path, parents)).await;
                self.finish(index, made.map(|()| None));
            }
        }
        let mut small = VecDeque::new();
        for index in 0..self.items.len() {
            if index.is_multiple_of(WINDOW_FILES) {
                self.look_ahead(index).await;
            }
            if self.states[index].result.is_some() || !self.clear(link, index).await? {
                continue;
            }
            let item = &self.items[index];
            let is_small = item.size <= MAX_DATA_BYTES as u64 && self.options.resume != Resume::Always;
            if is_small && self.items.len() > 1 {
                small.push_back(index);
            } else {
                self.small(link, &mut small).await?;
                self.large(link, index).await?;
            }
            if small.len() >= WINDOW_FILES {
                self.small(link, &mut small).await?;
            }
        }
        self.small(link, &mut small).await
    }

    /// Finds out, for many items in one go, which targets are not there yet.
    async fn look_ahead(&mut self, from: usize) {
        let to = self.items.len().min(from + WINDOW_FILES);
        let targets: Vec<_> = self.items[from..to].iter().map(|item| item.local.clone()).collect();
        let is_missing = |target: &PathBuf| {
            std::fs::symlink_metadata(target).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        let missing = blocking(move || Ok(targets.iter().map(is_missing).collect::<Vec<_>>())).await;
        for (state, missing) in self.states[from..to].iter_mut().zip(missing.unwrap_or_default()) {
            state.cleared |= missing;
        }
    }

    /// Whether nothing is in the way of the item's target, or it may be replaced. Otherwise the item
    /// gets its result here.
    async fn clear(&mut self, link: &mut Link, index: usize) -> Result<bool, Error> {
        if self.states[index].cleared || self.states[index].replace {
            return Ok(true);
        }
        let local = self.items[index].local.clone();
        let found = blocking(move || match std::fs::symlink_metadata(&local) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::local("cannot look at", &local)(error)),
        });
        let metadata = match found.await {
            Ok(None) => {
                self.states[index].cleared = true;
                return Ok(true);
            }
            Ok(Some(metadata)) => metadata,
            Err(error) => {
                self.finish(index, Err(error));
                return Ok(false);
            }
        };
        let entry = match link
            .call(Op::Stat {
                path: self.items[index].remote.as_wire().to_owned(),
                digest: true,
            })
            .await
        {
            Ok(Re::Entry(entry)) => entry,
            Ok(other) => return Err(wrong_reply(other)),
            Err(error @ Error::Refused(_)) => {
                self.finish(index, Err(error));
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.begin(index);
        if metadata.is_file() && self.is_same(link, index, &entry).await? {
            return Ok(false);
        }
        if metadata.is_dir() {
            let source = std::io::ErrorKind::IsADirectory.into();
            self.finish(
                index,
                Err(Error::local("cannot replace", &self.items[index].local)(source)),
            );
            return Ok(false);
        }
        let state = Some((metadata.len(), mtime(&metadata)));
        let item = &self.items[index];
        match decide(link, self.observer, &item.local, state, &item.remote, &entry, false).await? {
            Decision::Replace => self.states[index].replace = true,
            Decision::Keep => {
                let error = Error::LocalExists(item.local.clone());
                self.finish(index, Err(error));
            }
        }
        Ok(self.states[index].replace)
    }

    /// Whether the target is the file already; then the item is done.
    async fn is_same(&mut self, link: &mut Link, index: usize, entry: &Entry) -> Result<bool, Error> {
        let local = self.items[index].local.clone();
        let Ok(source) = blocking(move || Source::open(&local)).await else {
            return Ok(false);
        };
        let source = Arc::new(source);
        match identical(link, &source, entry).await {
            Ok(Some(digest)) => {
                self.states[index].tally = Tally {
                    kept: entry.size,
                    ..Tally::default()
                };
                let stored = Stored {
                    size: entry.size,
                    mtime: entry.mtime,
                    digest,
                    replaced: false,
                };
                self.stored(index, &stored, true);
                Ok(true)
            }
            Ok(None) | Err(Error::Local { .. } | Error::SourceChanged) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks for all of them at once and takes them in one by one.
    async fn small(&mut self, link: &mut Link, indices: &mut VecDeque<usize>) -> Result<(), Error> {
        let mut asked = VecDeque::new();
        for index in indices.drain(..) {
            self.begin(index);
            let path = self.items[index].remote.as_wire().to_owned();
            let digest = self.options.algorithm;
            let op = Op::Get {
                path,
                offset: 0,
                length: Some(MAX_DATA_BYTES as u64 + 1),
                digest,
                have: None,
            };
            match link.request(op) {
                Ok(id) => asked.push_back((id, index)),
                Err(error) => self.finish(index, Err(error)),
            }
        }
        link.flush().await?;
        let (mut writing, mut grown) = (VecDeque::new(), Vec::new());
        let taken = self.take_small(link, asked, &mut writing, &mut grown).await;
        // What arrived is written and counts, even if the connection is gone.
        self.written(&mut writing, 0).await;
        taken?;
        for index in grown {
            self.large(link, index).await?;
        }
        Ok(())
    }

    /// Takes in the answers in order, and leaves the last writes under way.
    async fn take_small(
        &mut self,
        link: &mut Link,
        asked: VecDeque<(u64, usize)>,
        writing: &mut VecDeque<Writing>,
        grown: &mut Vec<usize>,
    ) -> Result<(), Error> {
        for (id, index) in asked {
            match self.arrive(link, id).await {
                Ok(Some(Arrived { bytes, received })) => {
                    self.states[index].tally.moved = received.size;
                    self.observer.event(&Event::Moved {
                        id: index as TransferId,
                        done: received.size,
                    });
                    let (local, replace, mtime, parents) = (
                        self.items[index].local.clone(),
                        self.states[index].replace,
                        received.mtime,
                        self.options.parents,
                    );
                    let job = tokio::task::spawn_blocking(move || write_small(&local, &bytes, mtime, replace, parents));
                    writing.push_back((index, received, job));
                }
                Ok(None) => grown.push(index),
                Err(error @ (Error::Refused(_) | Error::DigestMismatch { .. })) => self.failed(index, error)?,
                Err(error) => return Err(error),
            }
            if writing.len() >= WRITES {
                self.written(writing, WRITES / 2).await;
            }
        }
        Ok(())
    }

    /// One small file; `None` if it is not small any more.
    async fn arrive(&self, link: &mut Link, id: u64) -> Result<Option<Arrived>, Error> {
        let (size, mtime, body) = match link.reply(id).await? {
            Re::Begin { size, mtime, body, .. } if body <= MAX_DATA_BYTES as u64 + 1 => (size, mtime, body),
            other => return Err(wrong_reply(other)),
        };
        let mut bytes = BytesMut::with_capacity(usize::try_from(body).expect("small"));
        loop {
            match link.receive().await? {
                Incoming::Data(chunk) if (bytes.len() + chunk.len()) as u64 <= body => bytes.extend_from_slice(&chunk),
                Incoming::Reply(Reply { id: answered, re }) if answered == id => match re {
                    Re::End {
                        length,
                        digest: promised,
                    } if bytes.len() as u64 == body && length == body => {
                        if body < size {
                            return Ok(None);
                        }
                        let found = Hasher::digest(self.options.algorithm, &bytes);
                        if found != promised {
                            return Err(Error::DigestMismatch {
                                expected: promised,
                                found,
                            });
                        }
                        return Ok(Some(Arrived {
                            bytes,
                            received: Received {
                                size,
                                mtime,
                                digest: found,
                            },
                        }));
                    }
                    Re::Error(fault) => return Err(Error::Refused(fault)),
                    other => return Err(wrong_reply(other)),
                },
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn written(&mut self, writing: &mut VecDeque<Writing>, leave: usize) {
        while writing.len() > leave {
            let Some((index, received, job)) = writing.pop_front() else {
                break;
            };
            match job.await.expect("writing a file does not panic") {
                Ok(replaced) => self.stored(index, &received.stored(replaced), false),
                Err(error) => self.finish(index, Err(error)),
            }
        }
    }

    async fn large(&mut self, link: &mut Link, index: usize) -> Result<(), Error> {
        self.begin(index);
        let (target, parents) = (self.items[index].local.clone(), self.options.parents);
        let opened = blocking(move || {
            if parents {
                make_parents(&target)?;
            }
            Partial::open(&target)
        });
        let partial = match opened.await {
            Ok(partial) => Arc::new(partial),
            Err(error) => {
                self.finish(index, Err(error));
                return Ok(());
            }
        };
        let resume = self.attempt(index);
        let state = &mut self.states[index];
        let download = Download {
            id: index as TransferId,
            remote: &self.items[index].remote,
            options: self.options,
            resume,
            observer: self.observer,
        };
        let moved = state.tally.moved;
        let result = download.run(link, &partial, &mut state.tally).await;
        self.progress += state.tally.moved - moved;
        match result {
            Ok(received) => {
                let replace = self.states[index].replace;
                let (mtime, durable) = (received.mtime, self.items.len() == 1);
                let published = blocking(move || partial.publish(mtime, replace, durable)).await;
                match published {
                    Ok(replaced) => self.stored(index, &received.stored(replaced), false),
                    Err(error) => self.finish(index, Err(error)),
                }
            }
            Err(error) => {
                // A refused file leaves nothing behind.
                let _ = blocking(move || {
                    if partial.length()? == 0 {
                        partial.discard()
                    } else {
                        Ok(())
                    }
                })
                .await;
                self.failed(index, error)?;
            }
        }
        Ok(())
    }

    /// Many files are made durable together, at the end.
    async fn sync(&mut self) {
        let stored = |state: &State| matches!(&state.result, Some(Ok(Some(done))) if !done.identical);
        let Some(index) = self.states.iter().position(stored).filter(|_| self.items.len() > 1) else {
            return;
        };
        let path = self.items[index].local.clone();
        if let Err(error) = blocking(move || sync_file_system(&path)).await {
            self.observer.event(&Event::Failed {
                id: index as TransferId,
                error: &error,
            });
            self.states[index].result = Some(Err(error));
        }
    }
}

fn make_directory(path: &Path, parents: bool) -> Result<(), Error> {
    let made = if parents {
        std::fs::create_dir_all(path)
    } else {
        std::fs::create_dir(path)
    };
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(Error::local("cannot make", path)),
    }
}

fn make_parents(target: &Path) -> Result<(), Error> {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => make_directory(parent, true),
        _ => Ok(()),
    }
}

/// Writes a small file beside its target and gives it the name. Whether a file was replaced comes back.
fn write_small(target: &Path, bytes: &[u8], mtime: Timestamp, replace: bool, parents: bool) -> Result<bool, Error> {
    if parents {
        make_parents(target)?;
    }
    let partial = Partial::open(target)?;
    partial.cut(0)?;
    partial.write_at(0, bytes)?;
    partial.publish(mtime, replace, false)
}
