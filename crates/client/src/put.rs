//! Uploading a list: small files one after another without waiting, large ones each with its resume.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_proto::{Code, DATA_HEAD_BYTES, Entry, Kind, Op, Re, Reply, ResumeMode, Stored, Timestamp, seal_data};
use tokio::task::JoinHandle;

use crate::batch::{Batch, Item};
use crate::conflict::{decide, identical};
use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::observer::{Decision, TransferId};
use crate::source::Source;
use crate::upload::{Tally, Upload, blocking, proven};
use crate::{Client, Error, Outcome, PutItem, RemotePath, Resume, TransferOptions};

/// How many requests may be on the way without an answer: more than a fast line carries in a long round trip.
/// Nothing is kept of each but what is needed to judge its answer.
const WINDOW_FILES: usize = 4096;

/// How many small files are read in one go, and how many bytes of them at the most.
const BATCH_FILES: usize = 128;
const BATCH_BYTES: u64 = 2 * 1024 * 1024;

/// How many times that is read ahead.
const BATCHES: usize = 2;

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
        let mut batch = Batch::new(items, options, &observer);
        self.work_off(&mut batch).await;
        batch.outcomes()
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
}

type Loading = JoinHandle<Vec<(usize, Result<Option<Small>, Error>)>>;

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
        // A second round is for files that met an existing target and may replace it.
        while !self.is_done() {
            let mut steps: VecDeque<Step> = self.plan(link.small_put_bytes());
            let mut line = Line::default();
            let mut loading = VecDeque::new();
            loop {
                self.load_ahead(&steps, &mut loading);
                let Some(step) = steps.pop_front() else { break };
                match step {
                    Step::Directory(index) => {
                        let path = self.items[index].remote.as_wire().to_owned();
                        let id = link.request(Op::Mkdir { path, parents: true })?;
                        self.sent(link, &mut line, InFlight { id, index, small: None }).await?;
                    }
                    Step::Large(index) => {
                        self.settle(link, &mut line).await?;
                        self.large(link, index).await?;
                    }
                    Step::Small(indices) => {
                        let batch = loading.pop_front().unwrap_or_else(|| self.load(indices));
                        let batch = link.busy(batch).await?.expect("reading a file does not panic");
                        self.load_ahead(&steps, &mut loading);
                        for (index, loaded) in batch {
                            match loaded {
                                Ok(Some(small)) => self.small(link, &mut line, index, small).await?,
                                // It grew since it was listed.
                                Ok(None) => {
                                    self.settle(link, &mut line).await?;
                                    self.large(link, index).await?;
                                }
                                Err(error) => {
                                    self.begin(index);
                                    self.finish(index, Err(error));
                                }
                            }
                        }
                    }
                }
            }
            self.settle(link, &mut line).await?;
        }
        Ok(())
    }

    fn plan(&self, small_bytes: u64) -> VecDeque<Step> {
        let mut steps = VecDeque::new();
        let mut bytes = 0;
        for (index, item) in self.items.iter().enumerate() {
            if self.states[index].result.is_some() {
                continue;
            }
            // A file that may be staged already is worth the question.
            let is_small = item.size <= small_bytes && self.options.resume != Resume::Always;
            match (item.kind, steps.back_mut()) {
                (Kind::Dir, _) => steps.push_back(Step::Directory(index)),
                (_, Some(Step::Small(batch)))
                    if is_small && batch.len() < BATCH_FILES && bytes + item.size <= BATCH_BYTES =>
                {
                    bytes += item.size;
                    batch.push(index);
                }
                _ if is_small => {
                    bytes = item.size;
                    steps.push_back(Step::Small(vec![index]));
                }
                _ => steps.push_back(Step::Large(index)),
            }
        }
        steps
    }

    /// Reads the small files of the next steps while those before them are sent.
    fn load_ahead(&self, steps: &VecDeque<Step>, loading: &mut VecDeque<Loading>) {
        let next = steps.iter().take_while(|step| !matches!(step, Step::Large(_)));
        let small = next.filter_map(|step| match step {
            Step::Small(indices) => Some(indices),
            _ => None,
        });
        for indices in small.take(BATCHES).skip(loading.len()) {
            loading.push_back(self.load(indices.clone()));
        }
    }

    /// Reads and hashes small files on a thread of its own.
    fn load(&self, indices: Vec<usize>) -> Loading {
        let (items, algorithm) = (Arc::clone(&self.items), self.options.algorithm);
        tokio::task::spawn_blocking(move || {
            let load = |index: usize| -> Result<Option<Small>, Error> {
                let source = Source::open(&items[index].local)?;
                let (size, mtime) = (source.size(), source.mtime());
                if size > items[index].size.max(ftp_proto::MAX_DATA_BYTES as u64) {
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
            indices.into_iter().map(|index| (index, load(index))).collect()
        })
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
            path: self.items[index].remote.as_wire().to_owned(),
            size: Some(size),
            mtime: Some(mtime),
            digest: self.options.algorithm,
            replace: self.states[index].replace,
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
        self.states[index].tally.moved = size;
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
                Some(Incoming::Reply(Reply { id, re })) if line.is_next(id) => self.answered(line, re)?,
                Some(other) => return Err(unexpected(&other)),
                None => return Ok(()),
            }
        }
    }

    /// Waits for the next answer.
    async fn take_answer(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        match link.receive().await? {
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
            let path = self.items[index].local.clone();
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
                self.stored(index, &proven(stored, size)?, false);
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
        let path = self.items[index].local.clone();
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
        let items = Arc::clone(&self.items);
        let resume = self.attempt(index);
        let state = &mut self.states[index];
        let upload = Upload {
            id: index as TransferId,
            source: Arc::clone(&source),
            remote: &items[index].remote,
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
        let Some(promised) = self.states[index].promised else {
            return Ok(false);
        };
        let found = found_on_server(link, &self.items[index].remote, source, promised.algorithm()).await?;
        self.states[index].promised = None;
        match found {
            // The same bytes under another time were there before.
            Some((entry, digest)) if digest == promised && entry.mtime == source.mtime() => {
                let stored = Stored {
                    size: entry.size,
                    mtime: entry.mtime,
                    digest,
                    replaced: self.states[index].replace,
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
        let entry = fault.existing.clone().filter(|_| !self.states[index].replace);
        let Some(entry) = entry else {
            self.finish(index, Err(error));
            return Ok(());
        };
        match identical(link, source, &entry).await {
            Ok(Some(digest)) => {
                self.states[index].tally = Tally {
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
        let item = &self.items[index];
        let local = Some((source.size(), source.mtime()));
        match decide(link, self.observer, &item.local, local, &item.remote, &entry, true).await? {
            Decision::Replace => self.states[index].replace = true,
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
