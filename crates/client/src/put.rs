//! Uploading a list: small files one after another without waiting, large ones each with its resume.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_proto::{Code, DATA_HEAD_BYTES, Entry, Kind, Op, Re, ResumeMode, Stored, seal_data};
use tokio::task::JoinHandle;

use crate::batch::{Batch, Item};
use crate::conflict::{decide, identical};
use crate::link::{Link, wrong_reply};
use crate::observer::{Decision, TransferId};
use crate::source::Source;
use crate::upload::{Tally, Upload, blocking};
use crate::{Client, Error, Outcome, PutItem, RemotePath, Resume, TransferOptions};

/// How many small files may be on the way without an answer.
const WINDOW_FILES: usize = 128;

/// How many small files are read in one go, and how many bytes of them at the most.
const BATCH_FILES: usize = 32;
const BATCH_BYTES: u64 = 2 * 1024 * 1024;

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
    source: Arc<Source>,
    frame: BytesMut,
    digest: Digest,
}

/// A request on the way, and the state its file had.
struct InFlight {
    id: u64,
    index: usize,
    small: Option<(Arc<Source>, Digest)>,
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
            let mut in_flight = VecDeque::new();
            let mut loading: Option<Loading> = None;
            while let Some(step) = steps.pop_front() {
                match step {
                    Step::Directory(index) => {
                        let path = self.items[index].remote.as_wire().to_owned();
                        let id = link.request(Op::Mkdir { path, parents: true })?;
                        self.sent(link, &mut in_flight, InFlight { id, index, small: None })
                            .await?;
                    }
                    Step::Large(index) => {
                        self.settle(link, &mut in_flight, 0).await?;
                        self.large(link, index).await?;
                    }
                    Step::Small(indices) => {
                        let batch = loading.take().unwrap_or_else(|| self.load(indices));
                        let batch = link.busy(batch).await?.expect("reading a file does not panic");
                        if let Some(Step::Small(next)) = steps.front() {
                            loading = Some(self.load(next.clone()));
                        }
                        for (index, loaded) in batch {
                            match loaded {
                                Ok(Some(small)) => self.small(link, &mut in_flight, index, small).await?,
                                // It grew since it was listed.
                                Ok(None) => {
                                    self.settle(link, &mut in_flight, 0).await?;
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
            self.settle(link, &mut in_flight, 0).await?;
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

    /// Reads and hashes small files on a thread of its own.
    fn load(&self, indices: Vec<usize>) -> Loading {
        let (items, algorithm) = (Arc::clone(&self.items), self.options.algorithm);
        tokio::task::spawn_blocking(move || {
            let load = |index: usize| -> Result<Option<Small>, Error> {
                let source = Source::open(&items[index].local)?;
                if source.size() > items[index].size.max(ftp_proto::MAX_DATA_BYTES as u64) {
                    return Ok(None);
                }
                let length = usize::try_from(source.size()).expect("small");
                let frame = source.chunk(0, length)?;
                source.check_unchanged()?;
                let digest = Hasher::digest(algorithm, &frame[DATA_HEAD_BYTES..]);
                Ok(Some(Small {
                    source: Arc::new(source),
                    frame,
                    digest,
                }))
            };
            indices.into_iter().map(|index| (index, load(index))).collect()
        })
    }

    async fn small(
        &mut self,
        link: &mut Link,
        in_flight: &mut VecDeque<InFlight>,
        index: usize,
        small: Small,
    ) -> Result<(), Error> {
        self.begin(index);
        let Small { source, frame, digest } = small;
        if source.size() > link.small_put_bytes() {
            self.settle(link, in_flight, 0).await?;
            return self.large(link, index).await;
        }
        let requested = link.request(Op::Put {
            path: self.items[index].remote.as_wire().to_owned(),
            size: Some(source.size()),
            mtime: Some(source.mtime()),
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
        if source.size() > 0 {
            link.data(seal_data(frame)?);
        }
        link.part(
            id,
            Op::End {
                length: source.size(),
                digest,
            },
        )?;
        self.states[index].tally.moved = source.size();
        self.sent(
            link,
            in_flight,
            InFlight {
                id,
                index,
                small: Some((source, digest)),
            },
        )
        .await
    }

    async fn sent(
        &mut self,
        link: &mut Link,
        in_flight: &mut VecDeque<InFlight>,
        request: InFlight,
    ) -> Result<(), Error> {
        in_flight.push_back(request);
        if link.queued() >= FLUSH_BYTES {
            link.flush().await?;
        }
        if in_flight.len() >= WINDOW_FILES {
            self.settle(link, in_flight, WINDOW_FILES / 2).await?;
        }
        Ok(())
    }

    /// Takes answers until at most `leave` are outstanding.
    async fn settle(&mut self, link: &mut Link, in_flight: &mut VecDeque<InFlight>, leave: usize) -> Result<(), Error> {
        link.flush().await?;
        let mut existing = Vec::new();
        while in_flight.len() > leave || !existing.is_empty() {
            // Something else may be asked only when the line is quiet.
            let Some(request) = in_flight.pop_front() else { break };
            let reply = link.reply(request.id).await;
            self.answered(reply, request, &mut existing)?;
        }
        for (index, source, error) in existing {
            self.exists(link, index, &source, error).await?;
        }
        Ok(())
    }

    fn answered(
        &mut self,
        reply: Result<Re, Error>,
        request: InFlight,
        existing: &mut Vec<(usize, Arc<Source>, Error)>,
    ) -> Result<(), Error> {
        let InFlight { index, small, .. } = request;
        match (reply, small) {
            (Ok(Re::Ok), None) => self.finish(index, Ok(None)),
            (Ok(Re::Stored(stored)), Some((_, digest))) if stored.digest == digest => {
                self.stored(index, &stored, false)
            }
            (Ok(Re::Stored(stored)), Some((_, digest))) => {
                self.failed(
                    index,
                    Error::DigestMismatch {
                        expected: digest,
                        found: stored.digest,
                    },
                )?;
            }
            (Ok(other), _) => return Err(wrong_reply(other)),
            (Err(error), Some((source, _))) if error.code() == Some(Code::Exists) => {
                existing.push((index, source, error))
            }
            (Err(error), _) => self.failed(index, error)?,
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
        let moved = state.tally.moved;
        let result = upload.run(link, &mut state.tally, &mut state.promised).await;
        self.progress += state.tally.moved - moved;
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
            Some((entry, digest)) if digest == promised => {
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
        let Some(entry) = fault.existing.clone() else {
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
