//! Where a large download goes: written behind the network, and hashed on the way.
//!
//! Chunks wait in a queue that a thread works off until it is empty, so that neither side waits for the other
//! between two of them, and no thread is held while nothing arrives.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_proto::MAX_DATA_BYTES;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::Error;
use crate::follower::Follower;
use crate::partial::Partial;
use crate::upload::blocking;

/// From how much on nothing more waits for the disk; as much again may be in work.
const MAX_WAITING_BYTES: usize = 4 * MAX_DATA_BYTES;

/// What a chunk takes in memory beside its bytes, about: a server may send them one by one.
const CHUNK_OVERHEAD: usize = 128;

/// Takes a body in, in order but for jumps forward.
pub(crate) struct Sink {
    partial: Arc<Partial>,
    position: u64,
    size: u64,
    /// Where the next jump may lead at the earliest: forward. `None` while a jump waits for its bytes.
    jump_from: Option<u64>,
    /// Hashes what is written, from the first byte on.
    hasher: Option<Hasher>,
    /// The same where a prefix is held.
    follower: Option<Follower>,
    queue: Arc<Queue>,
    job: Option<JoinHandle<Result<Option<Hasher>, Error>>>,
}

/// What waits for the thread that writes.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Told when there is room again, or nobody at work.
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    chunks: Vec<Bytes>,
    bytes: usize,
    /// Whether a thread will look at the queue again.
    in_work: bool,
}

/// What became of a chunk that was to be queued.
enum Queued {
    Taken,
    Full(Bytes),
    /// Nobody is at work.
    Idle(Bytes),
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a chunk, if somebody is at work and there is room; it comes back otherwise.
    fn push(&self, chunk: Bytes) -> Queued {
        let mut waiting = self.lock();
        if !waiting.in_work {
            return Queued::Idle(chunk);
        }
        if waiting.bytes >= MAX_WAITING_BYTES {
            return Queued::Full(chunk);
        }
        waiting.bytes += chunk.len() + CHUNK_OVERHEAD;
        waiting.chunks.push(chunk);
        Queued::Taken
    }

    /// What waits, if anything does.
    fn take(&self) -> Vec<Bytes> {
        let mut waiting = self.lock();
        waiting.bytes = 0;
        let chunks = mem::take(&mut waiting.chunks);
        drop(waiting);
        self.changed.notify_one();
        chunks
    }

    /// Ends the work, unless something has come to wait.
    fn end(&self) -> bool {
        let mut waiting = self.lock();
        waiting.in_work = !waiting.chunks.is_empty();
        !waiting.in_work
    }
}

/// Ends the work, also when it failed: what waits is not wanted then.
struct AtWork(Arc<Queue>);

impl Drop for AtWork {
    fn drop(&mut self) {
        *self.0.lock() = Waiting::default();
        self.0.changed.notify_one();
    }
}

impl Sink {
    /// `intact` says that what is held up to `position` needs no repair, so that it is hashed at once.
    pub(crate) fn new(partial: Arc<Partial>, algorithm: Algorithm, position: u64, size: u64, intact: bool) -> Self {
        let follower = (intact && position > 0).then(|| Follower::start(Arc::clone(&partial), algorithm, position));
        Self {
            partial,
            position,
            size,
            jump_from: Some(0),
            hasher: (position == 0).then(|| Hasher::new(algorithm)),
            follower,
            queue: Arc::default(),
            job: None,
        }
    }

    /// Goes on elsewhere.
    pub(crate) async fn seek(&mut self, offset: u64) -> Result<(), Error> {
        if !self.jump_from.is_some_and(|from| (from..=self.size).contains(&offset)) {
            return Err(Error::Misbehaved(format!(
                "a jump from {} to {offset} in a file of {} bytes",
                self.position, self.size
            )));
        }
        self.settle().await?;
        self.position = offset;
        self.jump_from = None;
        // What is hashed already may be going to change.
        self.hasher = None;
        if let Some(follower) = &mut self.follower {
            follower.stop().await;
        }
        self.follower = None;
        Ok(())
    }

    /// Takes a chunk; waits while too much waits already.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let at = self.position;
        self.position = at
            .checked_add(bytes.len() as u64)
            .filter(|end| *end <= self.size)
            .ok_or_else(|| Error::Misbehaved(format!("bytes beyond the end of a file of {} bytes", self.size)))?;
        self.jump_from = Some(self.position);
        let mut chunk = bytes;
        loop {
            match self.queue.push(chunk) {
                Queued::Taken => return Ok(()),
                Queued::Full(back) => {
                    chunk = back;
                    self.queue.changed.notified().await;
                }
                Queued::Idle(first) => {
                    self.settle().await?;
                    self.begin(at, first);
                    return Ok(());
                }
            }
        }
    }

    fn begin(&mut self, mut at: u64, first: Bytes) {
        let partial = Arc::clone(&self.partial);
        let mut hasher = self.hasher.take();
        let frontier = self.follower.as_ref().map(Follower::frontier);
        self.queue.lock().in_work = true;
        let at_work = AtWork(Arc::clone(&self.queue));
        self.job = Some(tokio::task::spawn_blocking(move || {
            let queue = &at_work.0;
            let mut chunks = vec![first];
            loop {
                for bytes in chunks {
                    partial.write_at(at, &bytes)?;
                    at += bytes.len() as u64;
                    if let Some(hasher) = &mut hasher {
                        hasher.update(&bytes);
                    }
                }
                if let Some(frontier) = &frontier {
                    frontier.advance(at);
                }
                chunks = queue.take();
                if chunks.is_empty() && queue.end() {
                    return Ok(hasher);
                }
            }
        }));
    }

    /// Waits until everything that arrived is written.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        if let Some(job) = self.job.as_mut() {
            let result = job.await;
            self.job = None;
            self.hasher = match result {
                Ok(result) => result?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
        }
        Ok(())
    }

    /// Gives up: waits until nobody touches the partial any more.
    pub(crate) async fn stop(&mut self) {
        // The transfer has failed already.
        let _ = self.settle().await;
        if let Some(follower) = &mut self.follower {
            follower.stop().await;
        }
        self.follower = None;
    }

    /// The digest of the whole file: the running one if every byte passed by in order.
    pub(crate) async fn digest(&mut self, algorithm: Algorithm) -> Result<Digest, Error> {
        let hasher = match self.follower.as_mut() {
            Some(follower) => Some(follower.finish().await?),
            None => self.hasher.take(),
        };
        match hasher {
            Some(hasher) if hasher.length() == self.size => Ok(hasher.finish()),
            _ => {
                let partial = Arc::clone(&self.partial);
                blocking(move || partial.digest(algorithm)).await
            }
        }
    }
}
