//! Uploading a list: small files one after another without waiting, large ones each with its resume.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ftp_digest::{Algorithm, Digest};
use ftp_proto::{Code, Entry, Kind, Op, Re, Reply, ResumeMode, Stored, seal_data};

use crate::batch::{Batch, Item, announcing};
use crate::conflict::{decide, identical};
use crate::items::Slot;
use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::observer::{Decision, Event, TransferId};
use crate::source::Source;
use crate::steps::{Loaded, Small, Step, Steps};
use crate::upload::{Tally, Upload, blocking, proven};
use crate::walk::walk_local;
use crate::{Client, Error, Outcome, PutItem, RemotePath, Resume, TransferOptions};

/// How many requests may be on the way without an answer: more than a fast line carries in a long round trip.
/// Of each both paths are kept, and what is needed to judge its answer.
const WINDOW_FILES: usize = 4096;

/// Queued bytes that are worth a system call.
const FLUSH_BYTES: usize = 128 * 1024;

impl Client {
    /// Uploads each item and goes on after a failure. Lost connections are made again and the transfers
    /// resumed; what becomes of each item is told to the observer and comes back in order.
    ///
    /// # Cancel safety
    /// A dropped upload leaves what was sent staged on the server, to be resumed.
    pub async fn put(&mut self, items: Vec<PutItem>, options: &TransferOptions) -> Vec<Outcome> {
        let observer = Arc::clone(&self.observer);
        let mut batch = Batch::listed(items, options, &observer).keeping_outcomes();
        self.work_off(&mut batch).await;
        batch.outcomes()
    }

    /// Uploads files and trees, each to its path on the server, and sends the first files while the trees are
    /// still walked. Symbolic links are followed when named, not when met in a tree; those, FIFOs, sockets and
    /// devices are passed over, as are trees whose parent on the server is missing and may not be made. Otherwise as
    /// [`Client::put`], but what becomes of each item is told to the observer only, so that a tree may have any size.
    /// A tree with the server's own homes in it grows while it is sent, until it is 128 directories deep or the quota is
    /// used up.
    ///
    /// # Cancel safety
    /// As [`Client::put`].
    pub async fn put_trees(&mut self, trees: Vec<(PathBuf, RemotePath)>, options: &TransferOptions) {
        let observer = Arc::clone(&self.observer);
        let trees = self.placed(trees, options).await;
        if trees.is_empty() {
            return;
        }
        let walk = walk_local(trees);
        let totals = walk.totals.clone();
        let mut batch = Batch::walked(walk, options, &observer);
        announcing(totals, &observer, self.work_off(&mut batch)).await;
    }
}

/// What is on the way, in the order in which it is answered.
#[derive(Default)]
struct Line {
    requests: VecDeque<InFlight>,
    /// Files whose targets exist, and how the server said so.
    existing: Vec<(usize, Error)>,
}

/// A request on the way; of a file, its size and digest.
struct InFlight {
    id: u64,
    index: usize,
    small: Option<(u64, Digest)>,
}

impl Line {
    fn is_next(&self, id: u64) -> bool {
        self.requests.front().is_some_and(|request| request.id == id)
    }
}

impl Item for PutItem {
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

impl Batch<'_, PutItem> {
    async fn run(&mut self, link: &mut Link) -> Result<(), Error> {
        // Another round is for files that met an existing target and may replace it.
        while !self.items.are_done() {
            self.round(link).await?;
        }
        Ok(())
    }

    /// Works through what is not done, and through as much more of the list as may be held.
    async fn round(&mut self, link: &mut Link) -> Result<(), Error> {
        let mut steps = Steps::default();
        let mut line = Line::default();
        loop {
            self.look_ahead(link, &mut steps);
            match steps.next() {
                Some(Step::Directory(index)) => {
                    let path = self.items[index].item.remote.as_wire().to_owned();
                    let id = link.request(Op::Mkdir { path, parents: true })?;
                    self.sent(link, &mut line, InFlight { id, index, small: None }).await?;
                }
                Some(Step::Large(index)) => {
                    self.settle(link, &mut line).await?;
                    self.large(link, index).await?;
                }
                Some(Step::Small(mut batch)) => {
                    let loading = batch.load(&self.items, self.options.algorithm);
                    let loaded = link.busy(loading).await?.expect("reading a file does not panic");
                    // The next ones are read while these are sent.
                    self.look_ahead(link, &mut steps);
                    self.batch(link, &mut line, loaded).await?;
                }
                None if self.items.is_exhausted() || self.items.is_full() => break,
                None => self.await_more(link, &mut line).await?,
            }
        }
        self.settle(link, &mut line).await
    }

    /// Takes in what is known of the list, makes steps of it, and begins to read the small files of the next ones.
    fn look_ahead(&mut self, link: &Link, steps: &mut Steps) {
        while steps.are_few() {
            let index = steps.planned.max(self.items.range().start);
            if index < self.items.range().end {
                steps.planned = index + 1;
                if self.items.is_open(index) {
                    let item = &self.items[index].item;
                    // A file that may be staged already is worth the question.
                    let is_small = item.size <= link.small_put_bytes() && self.options.resume != Resume::Always;
                    steps.add(index, item, is_small);
                }
                continue;
            }
            let found = if self.items.is_full() {
                Vec::new()
            } else {
                self.items.ready()
            };
            if found.is_empty() {
                break;
            }
            self.take_in(found);
        }
        for batch in steps.loadable() {
            batch.load(&self.items, self.options.algorithm);
        }
    }

    /// Waits for the walk to find more, and takes answers meanwhile.
    async fn await_more(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        self.push(link, line).await?;
        let found = loop {
            if line.requests.is_empty() {
                break link.busy(self.items.more()).await?;
            }
            tokio::select! {
                biased;
                found = self.items.more() => break found,
                incoming = link.receive() => self.arrived(line, incoming?)?,
            }
        };
        self.take_in(found);
        Ok(())
    }

    /// Sends small files that are read.
    async fn batch(&mut self, link: &mut Link, line: &mut Line, batch: Vec<Loaded>) -> Result<(), Error> {
        for (index, loaded) in batch {
            match loaded {
                Ok(Some(small)) => self.small(link, line, index, small).await?,
                // It grew since it was listed.
                Ok(None) => {
                    self.settle(link, line).await?;
                    self.large(link, index).await?;
                }
                Err(error) => self.finish(index, Err(error)),
            }
        }
        Ok(())
    }

    async fn small(&mut self, link: &mut Link, line: &mut Line, index: usize, small: Small) -> Result<(), Error> {
        self.begin(index);
        let Small {
            size,
            mtime,
            frame,
            digest,
        } = small;
        if size > link.small_put_bytes() {
            self.settle(link, line).await?;
            return self.large(link, index).await;
        }
        let requested = link.request(Op::Put {
            path: self.items[index].item.remote.as_wire().to_owned(),
            size: Some(size),
            mtime: Some(mtime),
            digest: self.options.algorithm,
            replace: self.items[index].state.replace,
            parents: self.options.parents,
            ask: false,
            resume: ResumeMode::Never,
        });
        let id = match requested {
            Ok(id) => id,
            Err(error) => {
                self.finish(index, Err(error));
                return Ok(());
            }
        };
        if size > 0 {
            link.data(&seal_data(frame)?);
        }
        link.part(id, Op::End { length: size, digest })?;
        self.items[index].state.tally.moved = size;
        let small = Some((size, digest));
        self.sent(link, line, InFlight { id, index, small }).await
    }

    async fn sent(&mut self, link: &mut Link, line: &mut Line, request: InFlight) -> Result<(), Error> {
        line.requests.push_back(request);
        if link.queued() >= FLUSH_BYTES {
            self.push(link, line).await?;
        }
        if line.requests.len() >= WINDOW_FILES {
            self.push(link, line).await?;
        }
        while line.requests.len() >= WINDOW_FILES {
            self.take_answer(link, line).await?;
        }
        Ok(())
    }

    /// Sends what is queued, and takes the answers that arrive meanwhile: whoever only sends makes the other
    /// side wait with its answers, and in the end with its reading.
    async fn push(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        // Until it says so: what has left the queue may still wait to be encrypted and sent.
        loop {
            match link.flush_unless_answered().await? {
                Some(incoming) => self.arrived(line, incoming)?,
                None => return Ok(()),
            }
        }
    }

    /// Waits for the next answer.
    async fn take_answer(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        let incoming = link.receive().await?;
        self.arrived(line, incoming)
    }

    fn arrived(&mut self, line: &mut Line, incoming: Incoming) -> Result<(), Error> {
        match incoming {
            Incoming::Reply(Reply { id, re }) if line.is_next(id) => self.answered(line, re),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until everything is answered, and sees to the files whose targets exist: something else may be
    /// asked only when the line is quiet.
    async fn settle(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        self.push(link, line).await?;
        while !line.requests.is_empty() {
            self.take_answer(link, line).await?;
        }
        for (index, error) in std::mem::take(&mut line.existing) {
            let path = self.items[index].item.local.clone();
            match blocking(move || Source::open(&path)).await {
                Ok(source) => self.exists(link, index, &Arc::new(source), error).await?,
                Err(error) => self.finish(index, Err(error)),
            }
        }
        Ok(())
    }

    /// Judges the answer to the first request that has none.
    fn answered(&mut self, line: &mut Line, re: Re) -> Result<(), Error> {
        let Some(InFlight { index, small, .. }) = line.requests.pop_front() else {
            return Err(wrong_reply(re));
        };
        match (re, small) {
            (Re::Ok, None) => self.finish(index, Ok(None)),
            (Re::Stored(stored), Some((size, digest))) if stored.digest == digest => {
                let stored = proven(stored, size)?;
                self.observer.event(&Event::Moved {
                    id: index as TransferId,
                    done: size,
                });
                self.stored(index, &stored, false);
            }
            (Re::Stored(stored), Some((_, digest))) => self.failed(
                index,
                Error::DigestMismatch {
                    expected: digest,
                    found: stored.digest,
                },
            )?,
            (Re::Error(fault), Some(_)) if fault.code == Code::Exists => {
                line.existing.push((index, Error::Refused(fault)));
            }
            (Re::Error(fault), _) => self.failed(index, Error::Refused(fault))?,
            (other, _) => return Err(wrong_reply(other)),
        }
        Ok(())
    }

    async fn large(&mut self, link: &mut Link, index: usize) -> Result<(), Error> {
        self.begin(index);
        let path = self.items[index].item.local.clone();
        let source = match blocking(move || Source::open(&path)).await {
            Ok(source) => Arc::new(source),
            Err(error) => {
                self.finish(index, Err(error));
                return Ok(());
            }
        };
        if self.settled_by_asking(link, index, &source).await? {
            return Ok(());
        }
        let resume = self.attempt(index);
        let Slot { item, state } = &mut self.items[index];
        let upload = Upload {
            id: index as TransferId,
            source: Arc::clone(&source),
            remote: &item.remote,
            options: self.options,
            resume,
            replace: state.replace,
            observer: self.observer,
        };
        let before = state.tally.furthest;
        let result = upload.run(link, &mut state.tally, &mut state.promised).await;
        self.progress += state.tally.furthest - before;
        match result {
            Ok(stored) => self.stored(index, &stored, false),
            Err(error) if error.code() == Some(Code::Exists) => self.exists(link, index, &source, error).await?,
            Err(error) => self.failed(index, error)?,
        }
        Ok(())
    }

    /// After a lost answer: whether the server has stored what was promised.
    async fn settled_by_asking(&mut self, link: &mut Link, index: usize, source: &Source) -> Result<bool, Error> {
        let Some(promised) = self.items[index].state.promised else {
            return Ok(false);
        };
        let found = found_on_server(link, &self.items[index].item.remote, source, promised.algorithm()).await?;
        self.items[index].state.promised = None;
        match found {
            // The same bytes under another time were there before.
            Some((entry, digest)) if digest == promised && entry.mtime == source.mtime() => {
                let stored = Stored {
                    size: entry.size,
                    mtime: entry.mtime,
                    digest,
                    replaced: self.items[index].state.replace,
                };
                self.stored(index, &stored, false);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The target exists: the same file, to be replaced, or a failure.
    async fn exists(&mut self, link: &mut Link, index: usize, source: &Arc<Source>, error: Error) -> Result<(), Error> {
        let Error::Refused(fault) = &error else {
            return Err(error);
        };
        // It was allowed to replace it, and refuses all the same: asking again would never end.
        let entry = fault.existing.clone().filter(|_| !self.items[index].state.replace);
        let Some(entry) = entry else {
            self.finish(index, Err(error));
            return Ok(());
        };
        match identical(link, source, &entry).await {
            Ok(Some(digest)) => {
                self.items[index].state.tally = Tally {
                    kept: source.size(),
                    ..Tally::default()
                };
                let stored = Stored {
                    size: entry.size,
                    mtime: entry.mtime,
                    digest,
                    replaced: false,
                };
                self.stored(index, &stored, true);
                return Ok(());
            }
            Ok(None) => {}
            Err(error @ (Error::Local { .. } | Error::SourceChanged)) => {
                self.finish(index, Err(error));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let item = Arc::clone(&self.items[index].item);
        let local = Some((source.size(), source.mtime()));
        match decide(link, self.observer, &item.local, local, &item.remote, &entry, true).await? {
            Decision::Replace => self.items[index].state.replace = true,
            Decision::Keep => self.finish(index, Err(error)),
        }
        Ok(())
    }
}

/// What stands at the path and its digest: the one kept with it, or a computed one where size and time
/// are those of the source.
async fn found_on_server(
    link: &mut Link,
    remote: &RemotePath,
    source: &Source,
    algorithm: Algorithm,
) -> Result<Option<(Entry, Digest)>, Error> {
    let path = remote.as_wire().to_owned();
    let stat = Op::Stat {
        path: path.clone(),
        digest: true,
    };
    let entry = match link.call(stat).await {
        Ok(Re::Entry(entry)) => entry,
        Ok(other) => return Err(wrong_reply(other)),
        Err(Error::Refused(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    if let Some(digest) = entry.digest {
        return Ok(Some((entry, digest)));
    }
    if entry.kind != Kind::File || entry.size != source.size() || entry.mtime != source.mtime() {
        return Ok(None);
    }
    let sum = Op::Sum {
        path,
        digest: algorithm,
        fresh: false,
    };
    match link.call(sum).await {
        Ok(Re::Digest { digest, .. }) => Ok(Some((entry, digest))),
        Ok(other) => Err(wrong_reply(other)),
        Err(Error::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
