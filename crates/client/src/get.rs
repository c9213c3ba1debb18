//! Downloading a list: small files one after another without waiting, large ones each with its resume.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use ftp_digest::Hasher;
use ftp_proto::{Entry, Kind, MAX_DATA_BYTES, Op, Re, Reply, Timestamp};

use crate::conflict::{decide, identical};
use crate::download::{Download, Received};
use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::observer::{Decision, Event, Observer, TransferId};
use crate::partial::{Partial, sync_file_system};
use crate::source::{Source, mtime};
use crate::upload::{Tally, blocking};
use crate::{Client, Error, GetItem, Outcome, Resume, TransferOptions, Transferred};

/// How many small files may be asked for without an answer.
const WINDOW_FILES: usize = 256;

/// How many small files may wait for the local disk.
const WRITES: usize = 16;

/// How often a file may arrive damaged before that is reported.
const MAX_MISMATCHES: u32 = 2;

impl Client {
    /// Downloads each item and goes on after a failure. Lost connections are made again and the transfers
    /// resumed; what becomes of each item is told to the observer and comes back in order.
    ///
    /// # Cancel safety
    /// A dropped download leaves what arrived in a partial file beside the target, to be resumed.
    pub async fn get(&mut self, items: Vec<GetItem>, options: &TransferOptions) -> Vec<Outcome> {
        let observer = Arc::clone(&self.observer);
        let mut batch = Batch::new(items, options, &observer);
        let mut retry = self.retry();
        while !batch.is_done() {
            let before = batch.progress;
            let error = match self.take().await {
                Ok(mut link) => match batch.run(&mut link).await {
                    Ok(()) => {
                        self.keep(link);
                        break;
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if batch.progress > before {
                retry.progress();
            }
            if let Err(error) = retry.pause(error).await {
                batch.give_up(error);
            }
        }
        batch.sync().await;
        batch.outcomes()
    }
}

/// How far one item is.
#[derive(Default)]
struct State {
    began: Option<Instant>,
    tally: Tally,
    replace: bool,
    /// Whether a target was looked for, and there was none.
    cleared: bool,
    attempts: u32,
    mismatches: u32,
    result: Option<Result<Option<Transferred>, Error>>,
}

struct Batch<'a> {
    items: Vec<GetItem>,
    states: Vec<State>,
    options: &'a TransferOptions,
    observer: &'a Arc<dyn Observer>,
    /// Grows with every byte and every item done.
    progress: u64,
}

/// A small file that arrived.
struct Arrived {
    bytes: BytesMut,
    received: Received,
}

type Writing = (usize, Received, tokio::task::JoinHandle<Result<bool, Error>>);

impl<'a> Batch<'a> {
    fn new(items: Vec<GetItem>, options: &'a TransferOptions, observer: &'a Arc<dyn Observer>) -> Self {
        let files = items.iter().filter(|item| item.kind != Kind::Dir);
        observer.event(&Event::Planned {
            files: files.clone().count() as u64,
            bytes: files.map(|item| item.size).sum(),
        });
        let states = items
            .iter()
            .map(|_| State {
                replace: options.force,
                ..State::default()
            })
            .collect();
        Self {
            items,
            states,
            options,
            observer,
            progress: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.states.iter().all(|state| state.result.is_some())
    }

    /// Works off what is not done. An error means that the connection is of no more use.
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
                self.received(
                    index,
                    &Received {
                        size: entry.size,
                        mtime: entry.mtime,
                        digest,
                    },
                    false,
                    true,
                );
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
                Ok(replaced) => self.received(index, &received, replaced, false),
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
        let state = &mut self.states[index];
        // After the first try the partial is this call's own.
        let resume = if state.attempts > 0 && self.options.resume == Resume::Never {
            Resume::Auto
        } else {
            self.options.resume
        };
        state.attempts += 1;
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
                    Ok(replaced) => self.received(index, &received, replaced, false),
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

    fn begin(&mut self, index: usize) {
        if self.states[index].began.is_none() {
            self.states[index].began = Some(Instant::now());
            let item = &self.items[index];
            let name = item.remote.file_name_wire();
            self.observer.event(&Event::Started {
                id: index as TransferId,
                name,
                size: Some(item.size),
            });
        }
    }

    fn received(&mut self, index: usize, received: &Received, replaced: bool, identical: bool) {
        let state = &self.states[index];
        let Tally { kept, repaired, moved } = state.tally;
        let transferred = Transferred {
            size: received.size,
            kept,
            repaired,
            moved,
            digest: received.digest,
            mtime: received.mtime,
            elapsed: state.began.map(|began| began.elapsed()).unwrap_or_default(),
            replaced,
            identical,
        };
        self.finish(index, Ok(Some(transferred)));
    }

    /// Records a failure for good, or gives the error back when another try can help.
    fn failed(&mut self, index: usize, error: Error) -> Result<(), Error> {
        let mismatch = matches!(error, Error::DigestMismatch { .. });
        self.states[index].mismatches += u32::from(mismatch);
        let retry = error.may_retry() && self.states[index].mismatches <= MAX_MISMATCHES;
        match error {
            Error::Misbehaved(_) | Error::Bye(_) => Err(error),
            error if retry => Err(error),
            error => {
                self.finish(index, Err(error));
                Ok(())
            }
        }
    }

    fn finish(&mut self, index: usize, result: Result<Option<Transferred>, Error>) {
        let id = index as TransferId;
        match &result {
            Ok(Some(transferred)) => self.observer.event(&Event::Finished {
                id,
                result: transferred,
            }),
            Ok(None) => {}
            Err(error) => {
                self.begin(index);
                self.observer.event(&Event::Failed { id, error });
            }
        }
        self.progress += 1;
        self.states[index].result = Some(result);
    }

    /// The connection can not be had: the first item says why, the others that they were not reached.
    fn give_up(&mut self, error: Error) {
        let (kind, mut first) = (error.kind(), Some(error));
        for index in 0..self.items.len() {
            if self.states[index].result.is_none() {
                let error = first.take().unwrap_or(Error::NotReached(kind));
                self.finish(index, Err(error));
            }
        }
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

    fn outcomes(self) -> Vec<Outcome> {
        self.items
            .into_iter()
            .zip(self.states)
            .map(|(item, state)| Outcome {
                local: item.local,
                remote: item.remote,
                result: state.result.unwrap_or(Err(Error::Closed)),
            })
            .collect()
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
