//! One upload that asks first: it goes on behind what the server holds, or repairs that first where there is doubt, and
//! the digest of the whole decides.

use std::sync::Arc;

use ftp_digest::{Algorithm, BlockDigests, Digest, Hasher};
use ftp_proto::{BlockList, Chunk, Code, Op, Re, Reply, ResumeMode, Steps, Stored};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::link::{Incoming, Link, early_answer, wrong_reply};
use crate::observer::{Event, Observer, TransferId};
use crate::source::Source;
use crate::{Error, RemotePath, Resume, TransferOptions};

/// What to upload.
pub(crate) struct Upload<'a> {
    pub(crate) id: TransferId,
    pub(crate) source: Arc<Source>,
    pub(crate) remote: &'a RemotePath,
    pub(crate) options: &'a TransferOptions,
    pub(crate) resume: Resume,
    pub(crate) replace: bool,
    pub(crate) observer: &'a Arc<dyn Observer>,
}

/// What became of the bytes, over all tries of one call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// What an earlier call had left and was right.
    pub(crate) kept: u64,
    /// What had to move again.
    pub(crate) repaired: u64,
    /// What moved, in all tries together.
    pub(crate) moved: u64,
    /// How far into the file any try has come.
    pub(crate) furthest: u64,
    /// Length of the last prefix that was gone on from without a look at it.
    pub(crate) believed: u64,
    /// Whether what was believed has been counted as kept and not been compared since.
    pub(crate) unproven: bool,
    /// Whether bytes turned out to be wrong, so that the next prefix is compared.
    pub(crate) compare: bool,
}

impl Tally {
    /// Counts what a try found: of the bytes held, those right and those wrong. What this call's own tries had moved
    /// counts as moved, not as kept.
    pub(crate) fn resumed(&mut self, right: u64, wrong: u64) {
        if self.moved == 0 {
            self.kept = right;
        } else if self.unproven {
            self.kept = self.kept.saturating_sub(wrong);
        }
        self.unproven = false;
        self.repaired += wrong;
    }

    /// Counts a prefix that is gone on from without a look at it.
    pub(crate) fn believed(&mut self, held: u64) {
        self.believed = held;
        if self.moved == 0 {
            self.kept = held;
        }
        self.unproven = true;
    }

    /// Notes that the whole came out wrong. Whether something was believed in the last try, so that it is worth
    /// comparing at once.
    pub(crate) fn doubt(&mut self) -> bool {
        self.compare = true;
        std::mem::take(&mut self.believed) > 0
    }

    /// Counts bytes that moved; `done` of the file are done now.
    pub(crate) fn moved(&mut self, bytes: u64, done: u64) {
        self.moved += bytes;
        self.furthest = self.furthest.max(done);
    }
}

/// What the server claims to have stored, if it is what was sent. Its digest has been compared.
pub(crate) fn proven(stored: Stored, size: u64) -> Result<Stored, Error> {
    if stored.size == size {
        return Ok(stored);
    }
    let claimed = stored.size;
    Err(Error::Misbehaved(format!("{claimed} bytes stored of a file of {size}")))
}

impl Upload<'_> {
    /// Runs it. `tally` counts across retries; `promised` is set before the last message leaves, so that a
    /// lost answer can be settled by asking.
    pub(crate) async fn run(
        &self,
        link: &mut Link,
        tally: &mut Tally,
        promised: &mut Option<Digest>,
    ) -> Result<Stored, Error> {
        let result = self.attempt(link, tally, promised).await;
        let is_mismatch = result
            .as_ref()
            .is_err_and(|error| error.code() == Some(Code::DigestMismatch));
        if is_mismatch && tally.doubt() {
            // The server compares now.
            *promised = None;
            return self.attempt(link, tally, promised).await;
        }
        result
    }

    async fn attempt(
        &self,
        link: &mut Link,
        tally: &mut Tally,
        promised: &mut Option<Digest>,
    ) -> Result<Stored, Error> {
        tally.believed = 0;
        let id = link.request(Op::Put {
            path: self.remote.as_wire().to_owned(),
            size: Some(self.source.size()),
            mtime: Some(self.source.mtime()),
            digest: self.options.algorithm,
            replace: self.replace,
            parents: self.options.parents,
            ask: true,
            resume: mode(self.resume),
        })?;
        link.flush().await?;
        let have = match link.reply(id).await? {
            Re::Go { have } => have,
            other => return Err(wrong_reply(other)),
        };
        match self.body(link, id, have, tally).await {
            Ok(digest) => {
                self.observer.event(&Event::Verifying { id: self.id });
                *promised = Some(digest);
                link.part(
                    id,
                    Op::End {
                        length: self.source.size(),
                        digest,
                    },
                )?;
                link.flush().await?;
                match link.reply(id).await? {
                    Re::Stored(stored) if stored.digest == digest => proven(stored, self.source.size()),
                    Re::Stored(stored) => Err(Error::DigestMismatch {
                        expected: digest,
                        found: stored.digest,
                    }),
                    other => Err(wrong_reply(other)),
                }
            }
            Err(Broken::Refused(incoming)) => {
                // The body still has to end, so that the connection stays usable.
                link.fail(id, "refused".to_owned()).await;
                Err(early_answer(incoming, id))
            }
            Err(Broken::Here(error)) => {
                link.fail(id, error.to_string()).await;
                // The server's answer only repeats what is known here; anything else is out of step.
                if !matches!(link.reply(id).await, Err(Error::Refused(_))) {
                    link.abandon();
                }
                Err(error)
            }
            Err(Broken::Link(error)) => Err(error),
        }
    }

    async fn body(
        &self,
        link: &mut Link,
        id: u64,
        have: Option<BlockList>,
        tally: &mut Tally,
    ) -> Result<Digest, Broken> {
        let mut kept = 0;
        let mut hashing = None;
        if let Some(list) = have.as_ref().filter(|list| list.is_uncompared()) {
            if list.length > self.source.size() {
                let (length, size) = (list.length, self.source.size());
                let message = format!("{length} bytes held of a file of {size}");
                return Err(Broken::Link(Error::Misbehaved(message)));
            }
            hashing = Some(Hashing::start(&self.source, self.options.algorithm));
            kept = list.length;
            tally.believed(kept);
            self.observer.event(&Event::Resumed {
                id: self.id,
                kept,
                repaired: 0,
            });
        } else if let Some(list) = have {
            let held = list
                .parse()
                .filter(|held| held.length() <= self.source.size())
                .ok_or_else(|| Broken::Link(Error::Misbehaved("block digests that do not fit".to_owned())))?;
            let own = self.compare(link, &held).await?;
            hashing = Some(Hashing::start(&self.source, self.options.algorithm));
            let damaged = own.differing(&held);
            let repaired: u64 = damaged.iter().map(|(_, length)| length).sum();
            kept = held.length();
            tally.resumed(held.length() - repaired, repaired);
            self.observer.event(&Event::Resumed {
                id: self.id,
                kept: held.length() - repaired,
                repaired,
            });
            let mut done = held.length() - repaired;
            for (offset, length) in &damaged {
                link.part(id, Op::At { offset: *offset }).map_err(Broken::Link)?;
                self.range(link, *offset, offset + length, None, &mut done, tally)
                    .await?;
            }
            if !damaged.is_empty() {
                link.part(id, Op::At { offset: held.length() }).map_err(Broken::Link)?;
            }
        }
        let mut done = kept;
        // What is held is hashed while the rest is sent, so the rest is as well.
        let hasher = hashing.is_none().then(|| Hasher::new(self.options.algorithm));
        let sent = self
            .range(link, kept, self.source.size(), hasher, &mut done, tally)
            .await?;
        let whole = match (hashing, sent) {
            (Some(mut hashing), _) => {
                let hashed = link.busy(hashing.finish()).await.map_err(Broken::Link)?;
                hashed.map_err(Broken::Here)?
            }
            (None, sent) => sent.unwrap_or_else(|| Hasher::new(self.options.algorithm)),
        };
        let source = Arc::clone(&self.source);
        blocking(move || source.check_unchanged()).await.map_err(Broken::Here)?;
        Ok(whole.finish())
    }

    /// Reads what the server says it holds from the own file, for its block digests.
    async fn compare(&self, link: &mut Link, held: &BlockDigests) -> Result<BlockDigests, Broken> {
        let source = Arc::clone(&self.source);
        let (total, block_bytes) = (held.length(), held.block_bytes());
        let (observer, id) = (Arc::clone(self.observer), self.id);
        let wanted = CancellationToken::new();
        let _unwanted_when_dropped = wanted.clone().drop_guard();
        let work = blocking(move || {
            source.blocks(total, block_bytes, |done| {
                observer.event(&Event::Comparing { id, done, total });
                !wanted.is_cancelled()
            })
        });
        let blocks = link.busy(work).await.map_err(Broken::Link)?.map_err(Broken::Here)?;
        blocks.ok_or(Broken::Here(Error::SourceChanged))
    }

    /// Sends the bytes from `at` to `end`: the next chunks are read and hashed while others are on the way.
    async fn range(
        &self,
        link: &mut Link,
        at: u64,
        end: u64,
        mut hasher: Option<Hasher>,
        done: &mut u64,
        tally: &mut Tally,
    ) -> Result<Option<Hasher>, Broken> {
        let mut steps = Steps::new(at, end, link.chunk_bytes());
        let mut next = None;
        loop {
            // What is in memory, and cheap to hash, needs no change of threads.
            let here = next.is_none() && hasher.as_ref().is_none_or(|hasher| hasher.algorithm().is_cheap());
            if here && let Some(chunk) = self.read_now(link, &mut steps, &mut hasher) {
                self.send(link, chunk, done, tally).await?;
                continue;
            }
            let Some(reading) = next.take().or_else(|| self.read(link, &mut steps, &mut hasher)) else {
                return Ok(hasher);
            };
            let chunks;
            (chunks, hasher) = link
                .busy(joined(reading))
                .await
                .map_err(Broken::Link)?
                .map_err(Broken::Here)?;
            next = self.read(link, &mut steps, &mut hasher);
            for chunk in chunks {
                self.send(link, chunk, done, tally).await?;
            }
        }
    }

    async fn send(&self, link: &mut Link, chunk: Chunk, done: &mut u64, tally: &mut Tally) -> Result<(), Broken> {
        let length = chunk.payload().len() as u64;
        link.chunk(chunk);
        if let Some(incoming) = link.flush_unless_answered().await.map_err(Broken::Link)? {
            return Err(Broken::Refused(incoming));
        }
        *done += length;
        tally.moved(length, *done);
        self.observer.event(&Event::Moved {
            id: self.id,
            done: *done,
        });
        Ok(())
    }

    /// The next chunk, hashed, if it takes no waiting.
    fn read_now(&self, link: &mut Link, steps: &mut Steps, hasher: &mut Option<Hasher>) -> Option<Chunk> {
        match steps.one(link.spent_chunk(), |from, bytes| self.source.fill_now(from, bytes)) {
            Ok(chunk) => {
                if let Some(hasher) = hasher {
                    hasher.update(chunk.payload());
                }
                Some(chunk)
            }
            Err(chunk) => {
                link.give_back(chunk);
                None
            }
        }
    }

    /// Begins to read the next step, and to hash it.
    fn read(&self, link: &mut Link, steps: &mut Steps, hasher: &mut Option<Hasher>) -> Option<Reading> {
        let (from, mut chunks) = steps.next(|| link.spent_chunk())?;
        let (source, mut hasher) = (Arc::clone(&self.source), hasher.take());
        Some(tokio::task::spawn_blocking(move || {
            source.fill(from, &mut chunks, &mut hasher)?;
            Ok((chunks, hasher))
        }))
    }
}

/// The hash of the whole source, computed on a thread of its own. Dropping it ends that soon.
struct Hashing {
    job: JoinHandle<Result<Hasher, Error>>,
    _unwanted_when_dropped: DropGuard,
}

impl Hashing {
    fn start(source: &Arc<Source>, algorithm: Algorithm) -> Self {
        let (source, wanted) = (Arc::clone(source), CancellationToken::new());
        let _unwanted_when_dropped = wanted.clone().drop_guard();
        let job = tokio::task::spawn_blocking(move || source.hash(algorithm, || !wanted.is_cancelled()));
        Self {
            job,
            _unwanted_when_dropped,
        }
    }

    async fn finish(&mut self) -> Result<Hasher, Error> {
        joined(&mut self.job).await
    }
}

type Reading = JoinHandle<Result<(Vec<Chunk>, Option<Hasher>), Error>>;

/// Why a body did not reach its end.
enum Broken {
    /// The connection or the other side's manners failed.
    Link(Error),
    /// This side failed.
    Here(Error),
    /// The server answered in the middle.
    Refused(Incoming),
}

pub(crate) fn mode(resume: Resume) -> ResumeMode {
    match resume {
        Resume::Always => ResumeMode::Always,
        Resume::Auto => ResumeMode::Auto,
        Resume::Never => ResumeMode::Never,
    }
}

/// Runs blocking work on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    joined(tokio::task::spawn_blocking(work)).await
}

async fn joined<T>(handle: impl Future<Output = Result<Result<T, Error>, JoinError>>) -> Result<T, Error> {
    match handle.await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Whether the reply ends the request `id`.
pub(crate) fn ends(incoming: &Incoming, id: u64) -> bool {
    matches!(incoming, Incoming::Reply(Reply { id: answered, re: Re::End { .. } | Re::Error(_) }) if *answered == id)
}
