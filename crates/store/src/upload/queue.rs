//! What waits for the thread that works on an upload.
//!
//! The thread works it off until nothing is left, so that neither side waits for the other between two chunks, and no
//! thread is held while nothing arrives.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// From how much on nothing more is taken for now; as much again may be in work.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// What a chunk takes in memory beside its bytes, about: a peer may send them one by one.
const CHUNK_OVERHEAD: usize = 128;

/// Chunks that follow each other, and where the first one belongs.
pub(crate) type Run = (u64, Vec<Bytes>);

/// The queue of one upload.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Told when there is room again, or nobody at work.
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    runs: Vec<Run>,
    bytes: usize,
    /// Whether a thread will look at the queue again.
    in_work: bool,
    /// Whether nothing more will come.
    abandoned: bool,
}

/// What became of a run that was to be queued.
pub(crate) enum Queued {
    /// It will be written.
    Taken,
    /// There is no room for now.
    Full(Run),
    /// Nobody is at work.
    Idle(Run),
}

impl Queue {
    /// Queues a run, if somebody is at work.
    pub(crate) fn push(&self, run: Run) -> Queued {
        let mut waiting = self.lock();
        if !waiting.in_work {
            return Queued::Idle(run);
        }
        if waiting.bytes >= MAX_WAITING_BYTES {
            return Queued::Full(run);
        }
        waiting.bytes += run.1.iter().map(|chunk| chunk.len() + CHUNK_OVERHEAD).sum::<usize>();
        waiting.runs.push(run);
        Queued::Taken
    }

    /// Waits until something has changed since the last [`Queued::Full`].
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Tells the thread at work that what it does ahead is for nobody. What waits is written still: it is kept.
    pub(crate) fn abandon(&self) {
        self.lock().abandoned = true;
    }

    /// Begins work.
    pub(crate) fn work(self: &Arc<Self>) -> AtWork {
        self.lock().in_work = true;
        AtWork(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread at work. Its end, also by a failure, throws away what waits.
pub(crate) struct AtWork(Arc<Queue>);

impl AtWork {
    /// Whether somebody is there for whom more than what waits is worth doing.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.0.lock().abandoned
    }

    /// What waits, if anything does.
    pub(crate) fn take(&self) -> Vec<Run> {
        let mut waiting = self.0.lock();
        waiting.bytes = 0;
        let runs = mem::take(&mut waiting.runs);
        drop(waiting);
        self.0.changed.notify_one();
        runs
    }

    /// Ends the work, unless something has come to wait.
    pub(crate) fn end(&self) -> bool {
        let mut waiting = self.0.lock();
        waiting.in_work = !waiting.runs.is_empty();
        !waiting.in_work
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        *self.0.lock() = Waiting::default();
        self.0.changed.notify_one();
    }
}
