//! Uploads: staged beside the target, proven, then published by one rename.
//!
//! [`Upload`] is the half that waits; the half that works ([`Writer`]) goes to a blocking thread with
//! each chunk and comes back, so there is no lock on the data path and a dropped upload ends exactly
//! when its last write does. It stays where a second thread gains nothing: the chunk is cheap to hash,
//! no disk has to be waited for, and no core is idle.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use ftp_digest::{BlockDigests, Digest};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::blocking::{blocking, drop_aside, stopped};
use crate::commit::Stored;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::path::FilePath;
use crate::slots::Denied;
use crate::staging::StagingId;

pub(crate) mod doubt;
pub(crate) mod hashed;
mod listing;
mod queue;
mod running;
mod small;
mod spec;
mod writer;

pub use listing::StagedListing;
use queue::{Queue, Queued, Run};
use running::Running;
pub use small::{SmallLane, SmallUpload, SmallWork};
pub use spec::{Resume, UploadSpec};
use writer::Writer;

/// A running upload. Dropping it detaches: what is staged stays for a resume until it expires (with
/// [`UploadSpec::keep`]), what was reserved beyond it is given back.
pub struct Upload {
    path: FilePath,
    size: Option<u64>,
    held: u64,
    is_same: bool,
    /// Length of the prefix once the write in flight has ended.
    end: u64,
    superseded: CancellationToken,
    queue: Arc<Queue>,
    side: Side,
    _running: Running,
}

/// Where the working half is.
enum Side {
    Here(Box<Writer>),
    /// On a blocking thread; its last result comes back with it.
    Away(JoinHandle<(Box<Writer>, Result<()>)>),
    /// Lost with a runtime that is shutting down.
    Gone,
}

impl Home {
    /// Begins or continues the upload of a file.
    ///
    /// Everything that can be refused is refused here, before any byte: a bad target, a missing
    /// parent, too little quota or disk space. A running upload to the same path is told to stop and
    /// awaited, for at most ten seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when the older upload does not end, [`Error::Superseded`] when a newer one
    /// arrives meanwhile, [`Error::Exists`], [`Error::IsDirectory`], [`Error::NotAFile`],
    /// [`Error::NotFound`] (no parent), [`Error::OutsideHome`], [`Error::QuotaBytes`],
    /// [`Error::QuotaEntries`], [`Error::NoSpace`], [`Error::StagingVersion`].
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped call leaves nothing behind but, possibly, parent directories.
    pub async fn begin_upload(&self, path: &FilePath, spec: UploadSpec) -> Result<Upload> {
        let id = StagingId::of(path);
        let claim = match self.state().slots().try_claim(&id) {
            Some(claim) => claim,
            None => {
                // Nobody is cut off for a request that would be refused anyway.
                let (state, target) = (Arc::clone(self.state()), path.clone());
                let checking = move || writer::check_target(&state, &target, &spec).map(drop);
                self.jobs().blocking(checking).await?;
                self.take_over(path, &id).await?
            }
        };
        let superseded = claim.superseded().clone();
        let (state, target) = (Arc::clone(self.state()), path.clone());
        let beginning = move || Writer::begin(&state, target, id, claim, spec);
        let writer = self.jobs().blocking(beginning).await?;
        let held = writer.length();
        Ok(Upload {
            path: path.clone(),
            size: spec.size,
            held,
            is_same: writer.is_same(),
            end: held,
            superseded,
            queue: Arc::default(),
            side: Side::Here(Box::new(writer)),
            _running: Running::new(),
        })
    }

    /// All uploads that are staged, except running ones of less than 64 KiB; see [`StagedListing::next_page`].
    pub fn uploads(&self) -> StagedListing {
        StagedListing::new(Arc::clone(self.state()))
    }

    /// Deletes what is staged for `path`, also by another version of the store, and gives its bytes
    /// back; cuts off a running upload.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if nothing is staged, [`Error::Busy`] if a running upload does not end.
    ///
    /// # Cancel safety
    ///
    /// Safe: it happens wholly or not at all.
    pub async fn discard_upload(&self, path: &FilePath) -> Result<()> {
        let id = StagingId::of(path);
        let claim = self.take_over(path, &id).await?;
        let (state, path) = (Arc::clone(self.state()), path.clone());
        let jobs = self.jobs();
        jobs.blocking(move || {
            let found = state.discard_staged(&id)?;
            drop(claim);
            found.then_some(()).ok_or(Error::NotFound { path })
        })
        .await
    }

    async fn take_over(&self, path: &FilePath, id: &StagingId) -> Result<crate::slots::Claim> {
        let path = || path.clone();
        self.state().slots().take_over(id).await.map_err(|denied| match denied {
            Denied::Busy => Error::Busy { path: path() },
            Denied::Superseded => Error::Superseded { path: path() },
        })
    }
}

impl Upload {
    /// The target.
    pub fn path(&self) -> &FilePath {
        &self.path
    }

    /// Length of the prefix that was kept from an earlier attempt; 0 for a new upload.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Whether the prefix held was begun from a source of the same size and modification time, and no digest of the
    /// whole has told otherwise since: then there is no reason to compare it before [`Upload::commit`] proves it.
    pub fn held_is_same(&self) -> bool {
        self.is_same && self.held > 0
    }

    /// Cancelled when a newer upload to the same path wants to take over: stop and drop this one.
    pub fn superseded(&self) -> CancellationToken {
        self.superseded.clone()
    }

    /// Reads the kept prefix for its block digests, to be compared with the source.
    ///
    /// # Errors
    ///
    /// [`Error::Superseded`] or what reading gave.
    ///
    /// # Cancel safety
    ///
    /// Safe: the reading ends soon, and called again, it begins again.
    pub async fn held_blocks(&mut self) -> Result<BlockDigests> {
        let (wanted, superseded) = (CancellationToken::new(), self.superseded());
        let _unwanted_when_dropped = wanted.clone().drop_guard();
        let (answer, blocks) = oneshot::channel();
        self.job(move |writer| {
            let found = writer.blocks(|| !wanted.is_cancelled() && !superseded.is_cancelled());
            // Nobody's any more when the call was dropped.
            let _ = answer.send(found);
            Ok(())
        })
        .await?;
        self.refuse_if_superseded()?;
        blocks.await.map_err(|_| stopped())?
    }

    /// Begins to hash the kept prefix, which the digest of the whole begins with, whenever there is nothing to write.
    /// What is left of it, and of what was written meanwhile, [`Upload::commit`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the server is shutting down; what reading gives shows at the next call.
    pub fn catch_up(&mut self) -> Result<()> {
        match self.side {
            Side::Here(_) => self.begin_writing(None),
            Side::Away(_) | Side::Gone => Ok(()),
        }
    }

    /// [`Upload::write_chunks`] of one chunk.
    ///
    /// # Errors
    ///
    /// Those of [`Upload::write_chunks`].
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn write_at(&mut self, offset: u64, chunk: Bytes) -> Result<()> {
        self.write_chunks(offset, vec![chunk]).await
    }

    /// Takes chunks that follow each other: directly behind the prefix held, or inside it to repair it.
    ///
    /// The write may still be under way when this returns; its failure then shows at a later call, at
    /// [`Upload::written`] and [`Upload::commit`] for sure.
    /// When 1 MiB waits already, a call waits until the thread at work has taken it over.
    ///
    /// # Errors
    ///
    /// [`Error::Gap`] and [`Error::TooLong`] for chunks that do not fit, [`Error::Superseded`],
    /// [`Error::QuotaBytes`] (only with unknown size), [`Error::NoSpace`], [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped call has not taken the chunks.
    pub async fn write_chunks(&mut self, offset: u64, chunks: Vec<Bytes>) -> Result<()> {
        let mut run = (offset, chunks);
        run.1.retain(|chunk| !chunk.is_empty());
        loop {
            self.refuse_if_superseded()?;
            let end = self.end_of(offset, &run.1)?;
            match self.queue.push(run) {
                Queued::Taken => {
                    self.end = self.end.max(end);
                    return Ok(());
                }
                Queued::Full(back) => {
                    run = back;
                    self.queue.changed().await;
                }
                Queued::Idle(back) => {
                    // What failed before decides, and what has changed by that.
                    self.settle().await?;
                    let end = self.end_of(offset, &back.1)?;
                    if end > offset {
                        let (offset, chunks) = self.write_now(back)?;
                        if !chunks.is_empty() {
                            self.begin_writing(Some((offset, chunks)))?;
                        }
                        self.end = self.end.max(end);
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Writes what another thread would not write sooner; what is left comes back.
    fn write_now(&mut self, (mut offset, mut chunks): Run) -> Result<Run> {
        if Running::leave_a_core() {
            return Ok((offset, chunks));
        }
        let writer = self.here()?;
        let mut whole = 0;
        for chunk in &mut chunks {
            let written = writer.write_now(offset, chunk);
            offset += written as u64;
            chunk.advance(written);
            if !chunk.is_empty() {
                break;
            }
            whole += 1;
        }
        chunks.drain(..whole);
        Ok((offset, chunks))
    }

    /// Where chunks would end, if they fit.
    fn end_of(&self, offset: u64, chunks: &[Bytes]) -> Result<u64> {
        let path = || self.path.clone();
        let end = chunks
            .iter()
            .fold(offset, |end, chunk| end.saturating_add(chunk.len() as u64));
        if offset > self.end {
            let held = self.end;
            return Err(Error::Gap {
                path: path(),
                held,
                offset,
            });
        }
        match self.size.filter(|size| end > *size) {
            Some(announced) => Err(Error::TooLong {
                path: path(),
                announced,
                end,
            }),
            None => Ok(end),
        }
    }

    /// Sends the working half away to write until nothing waits any more, and to hash what was passed over meanwhile.
    fn begin_writing(&mut self, first: Option<Run>) -> Result<()> {
        let (at_work, superseded) = (self.queue.work(), self.superseded());
        self.start(move |writer| {
            let mut runs: Vec<_> = first.into_iter().collect();
            loop {
                for (mut at, chunks) in runs {
                    for chunk in chunks {
                        writer.write_at(at, &chunk)?;
                        at += chunk.len() as u64;
                    }
                }
                runs = at_work.take();
                let is_idle = runs.is_empty();
                let is_wanted = is_idle && !superseded.is_cancelled() && at_work.is_wanted();
                // A step at a time: the sender waits for no more than that.
                if is_idle && !(is_wanted && writer.hash_behind()?) && at_work.end() {
                    return Ok(());
                }
            }
        })
    }

    /// Waits until everything taken so far is written.
    ///
    /// # Errors
    ///
    /// What the writing gave; it is not given again.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn written(&mut self) -> Result<()> {
        self.settle().await
    }

    /// Proves the staged bytes against `length` and `digest` and publishes them; with
    /// [`Durability::Full`](crate::Durability::Full) only after they and the name are durable.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`], [`Error::DigestMismatch`], [`Error::Superseded`],
    /// [`Error::Exists`] (meanwhile), [`Error::NotFound`] (the parent is gone) and others: nothing is
    /// published then, and what is staged stays for a resume if it is to be kept; not so if it could
    /// not be made durable. Only an [`Error::Io`] about the durability of the name comes after
    /// publication.
    ///
    /// # Cancel safety
    ///
    /// Before publication has begun, dropping detaches. From then on it runs to its end, with exact
    /// accounting; whoever wants to know the outcome asks by [`Home::stat`] with digest.
    pub async fn commit(mut self, length: u64, digest: Digest) -> Result<Stored> {
        self.settle().await?;
        let found = self.here()?.length();
        if let Some(expected) = self
            .size
            .into_iter()
            .chain([length])
            .find(|expected| *expected != found)
        {
            return Err(Error::LengthMismatch {
                path: self.path.clone(),
                expected,
                found,
            });
        }
        let algorithm = digest.algorithm();
        while !self.here()?.is_hashed(algorithm) {
            self.refuse_if_superseded()?;
            self.job(move |writer| writer.hash_step(algorithm)).await?;
        }
        self.refuse_if_superseded()?;
        let Side::Here(writer) = std::mem::replace(&mut self.side, Side::Gone) else {
            return Err(stopped());
        };
        let (answer, stored) = oneshot::channel();
        tokio::task::spawn_blocking(move || writer.commit(digest, answer));
        stored.await.map_err(|_| stopped())?
    }

    /// Gives up: deletes what is staged and gives its bytes back.
    ///
    /// # Cancel safety
    ///
    /// Before the deletion has begun, dropping detaches; afterwards it runs to its end.
    pub async fn abort(mut self) -> Result<()> {
        // How the last write ended is of no interest any more.
        let _ = self.settle().await;
        match std::mem::replace(&mut self.side, Side::Gone) {
            Side::Here(writer) => blocking(move || writer.abort()).await,
            Side::Away(_) | Side::Gone => Err(stopped()),
        }
    }

    fn refuse_if_superseded(&self) -> Result<()> {
        if self.superseded.is_cancelled() {
            let path = self.path.clone();
            return Err(Error::Superseded { path });
        }
        Ok(())
    }

    /// Waits until the working half is back, and reports how its last job ended.
    async fn settle(&mut self) -> Result<()> {
        let Side::Away(job) = &mut self.side else {
            return Ok(());
        };
        match job.await {
            Ok((writer, result)) => {
                if result.is_err() {
                    self.end = writer.length();
                }
                self.side = Side::Here(writer);
                result
            }
            Err(error) => {
                self.side = Side::Gone;
                match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(stopped()),
                }
            }
        }
    }

    fn here(&mut self) -> Result<&mut Writer> {
        match &mut self.side {
            Side::Here(writer) => Ok(writer),
            Side::Away(_) | Side::Gone => Err(stopped()),
        }
    }

    /// Sends the working half away. Call [`Upload::settle`] first.
    fn start(&mut self, work: impl FnOnce(&mut Writer) -> Result<()> + Send + 'static) -> Result<()> {
        match std::mem::replace(&mut self.side, Side::Gone) {
            Side::Here(mut writer) => {
                self.side = Side::Away(tokio::task::spawn_blocking(move || {
                    let result = work(&mut writer);
                    (writer, result)
                }));
                Ok(())
            }
            side => {
                self.side = side;
                Err(stopped())
            }
        }
    }

    /// Sends the working half away and waits for it.
    async fn job(&mut self, work: impl FnOnce(&mut Writer) -> Result<()> + Send + 'static) -> Result<()> {
        self.settle().await?;
        self.start(work)?;
        self.settle().await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.queue.abandon();
        // Detaching may write or delete a file, which is no work for the runtime's own threads. A writer that
        // is away detaches where it is, or with its job if that is done already.
        match std::mem::replace(&mut self.side, Side::Gone) {
            Side::Here(writer) => drop_aside(writer),
            Side::Away(job) => drop_aside(job),
            Side::Gone => {}
        }
    }
}
