//! Uploading a list: small files one after another without waiting, large ones each with its resume.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_proto::{Code, DATA_HEAD_BYTES, Entry, Kind, Op, Re, Reply, ResumeMode, Stored, Timestamp, seal_data};
use tokio::task::JoinHandle;

use crate::batch::{Batch, Item, announcing};
use crate::conflict::{decide, identical};
use crate::items::Slot;
use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::observer::{Decision, Event, TransferId};
use crate::source::Source;
use crate::upload::{Tally, Upload, blocking, proven};
use crate::walk::walk_local;
use crate::{Client, Error, Outcome, PutItem, RemotePath, Resume, TransferOptions};

/// How many requests may be on the way without an answer: more than a fast line carries in a long round trip.
/// Nothing is kept of each but what is needed to judge its answer.
const WINDOW_FILES: usize = 4096;

/// How many small files are read in one go, and how many bytes of them at the most.
const BATCH_FILES: usize = 128;
const BATCH_BYTES: u64 = 2 * 1024 * 1024;

/// How many times that is read ahead.
const BATCHES: usize = 2;

/// How many steps are planned at the most, such as directories without files.
const MAX_STEPS: usize = 64;

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
    /// devices are passed over. Otherwise as [`Client::put`], but what becomes of each item is told to the observer
    /// only, so that a tree may have any size.
    ///
    /// # Cancel safety
    /// As [`Client::put`].
    pub async fn put_trees(&mut self, trees: Vec<(PathBuf, RemotePath)>, options: &TransferOptions) {
        let observer = Arc::clone(&self.observer);
        let walk = walk_local(trees);
        let totals = walk.totals.clone();
        let mut batch = Batch::walked(walk, options, &observer);
        announcing(totals, &observer, self.work_off(&mut batch)).await;
    }
}

/// A small file, read whole.
struct Small {
    size: u64,
    mtime: Timestamp,
    frame: BytesMut,
    digest: Digest,
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

/// What to do next.
enum Step {
    Directory(usize),
    Large(usize),
    Small(Vec<usize>),
    /// Small files that are being read.
    Loading(Loading),
}

type Loading = JoinHandle<Vec<(usize, Result<Option<Small>, Error>)>>;

/// What to do next, in order, as far as it is planned.
#[derive(Default)]
struct Steps {
    queue: VecDeque<Step>,
    /// Bytes of the last batch of small files.
    bytes: u64,
    /// Up to which item.
    planned: usize,
}

impl Steps {
    /// Whether more steps would be of use: those that can be loaded now are fewer than are loaded ahead.
    fn are_few(&self) -> bool {
        let loadable = self.loadable().count();
        loadable <= BATCHES
            && self.queue.len() < MAX_STEPS
            && !self.queue.iter().any(|step| matches!(step, Step::Large(_)))
    }

    /// Batches before the next large file.
    fn loadable(&self) -> impl Iterator<Item = usize> {
        let before = self
            .queue
            .iter()
            .enumerate()
            .take_while(|(_, step)| !matches!(step, Step::Large(_)));
        before.filter_map(|(place, step)| matches!(step, Step::Small(_) | Step::Loading(_)).then_some(place))
    }

    fn add(&mut self, index: usize, item: &PutItem, is_small: bool) {
        match (item.kind, self.queue.back_mut()) {
            (Kind::Dir, _) => self.queue.push_back(Step::Directory(index)),
            (_, Some(Step::Small(batch)))
                if is_small && batch.len() < BATCH_FILES && self.bytes + item.size <= BATCH_BYTES =>
            {
                self.bytes += item.size;
                batch.push(index);
            }
            _ if is_small => {
                self.bytes = item.size;
                self.queue.push_back(Step::Small(vec![index]));
            }
            _ => self.queue.push_back(Step::Large(index)),
        }
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
            self.plan(&mut steps, link.small_put_bytes());
            self.load_ahead(&mut steps);
            let Some(step) = steps.queue.pop_front() else {
                if self.items.is_exhausted() || self.items.is_full() {
                    break;
                }
                self.await_more(link, &mut line).await?;
                continue;
            };
            match step {
                Step::Directory(index) => {
                    let path = self.items[index].item.remote.as_wire().to_owned();
                    let id = link.request(Op::Mkdir { path, parents: true })?;
                    self.sent(link, &mut line, InFlight { id, index, small: None }).await?;
                }
                Step::Large(index) => {
                    self.settle(link, &mut line).await?;
                    self.large(link, index).await?;
                }
                Step::Small(indices) => {
                    let loading = self.load(&indices);
                    self.batch(link, &mut line, loading).await?;
                }
                Step::Loading(loading) => self.batch(link, &mut line, loading).await?,
            }
        }
        self.settle(link, &mut line).await
    }

    /// Takes in what is known of the list, and makes steps of it.
    fn plan(&mut self, steps: &mut Steps, small_bytes: u64) {
        steps.planned = steps.planned.max(self.items.range().start);
        while steps.are_few() {
            let index = steps.planned;
            if index < self.items.range().end {
                steps.planned += 1;
                if self.items.is_open(index) {
                    let item = &self.items[index].item;
                    // A file that may be staged already is worth the question.
                    let is_small = item.size <= small_bytes && self.options.resume != Resume::Always;
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
                return;
            }
            self.take_in(found);
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

    /// Reads the small files of the next steps while those before them are sent.
    fn load_ahead(&self, steps: &mut Steps) {
        let next: Vec<_> = steps.loadable().take(BATCHES).collect();
        for place in next {
            if let Step::Small(indices) = &steps.queue[place] {
                steps.queue[place] = Step::Loading(self.load(indices));
            }
        }
    }

    /// Reads and hashes small files on a thread of its own.
    fn load(&self, indices: &[usize]) -> Loading {
        let items: Vec<_> = indices
            .iter()
            .map(|index| (*index, Arc::clone(&self.items[*index].item)))
            .collect();
        let algorithm = self.options.algorithm;
        tokio::task::spawn_blocking(move || {
            let load = |item: &PutItem| -> Result<Option<Small>, Error> {
                let source = Source::open(&item.local)?;
                let (size, mtime) = (source.size(), source.mtime());
                if size > item.size.max(ftp_proto::MAX_DATA_BYTES as u64) {
                    return Ok(None);
                }
                let frame = source.chunk(0, usize::try_from(size).expect("small"))?;
                source.check_unchanged()?;
                let digest = Hasher::digest(algorithm, &frame[DATA_HEAD_BYTES..]);
                Ok(Some(Small {
                    size,
                    mtime,
                    frame,
                    digest,
                }))
            };
            items.into_iter().map(|(index, item)| (index, load(&item))).collect()
        })
    }

    /// Sends small files once they are read.
    async fn batch(&mut self, link: &mut Link, line: &mut Line, loading: Loading) -> Result<(), Error> {
        for (index, loaded) in link.busy(loading).await?.expect("reading a file does not panic") {
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
