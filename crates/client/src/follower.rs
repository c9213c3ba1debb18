//! The hash of a partial download that goes on: a thread of its own reads what is held, and then what is written behind
//! that while more arrives, so neither waits for the other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ftp_digest::{Algorithm, Hasher};
use tokio::task::JoinHandle;

use crate::Error;
use crate::partial::Partial;

/// The running hash. Dropping it ends the thread soon.
pub(crate) struct Follower {
    frontier: Arc<Frontier>,
    job: JoinHandle<Result<Hasher, Error>>,
}

/// How far there is something to hash.
pub(crate) struct Frontier {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy)]
struct State {
    written: u64,
    /// Whether no more will be written.
    has_ended: bool,
    is_wanted: bool,
}

impl Follower {
    /// Begins with the first `written` bytes.
    pub(crate) fn start(partial: Arc<Partial>, algorithm: Algorithm, written: u64) -> Self {
        let frontier = Arc::new(Frontier {
            state: Mutex::new(State {
                written,
                has_ended: false,
                is_wanted: true,
            }),
            changed: Condvar::new(),
        });
        let followed = Arc::clone(&frontier);
        let job = tokio::task::spawn_blocking(move || {
            let mut hasher = Hasher::new(algorithm);
            loop {
                let state = followed.beyond(hasher.length());
                if !state.is_wanted || state.written <= hasher.length() {
                    return Ok(hasher);
                }
                partial.catch_up(state.written, &mut hasher, || followed.lock().is_wanted)?;
            }
        });
        Self { frontier, job }
    }

    /// Where to say what is written.
    pub(crate) fn frontier(&self) -> Arc<Frontier> {
        Arc::clone(&self.frontier)
    }

    /// The hash of everything written; nothing more will be.
    pub(crate) async fn finish(&mut self) -> Result<Hasher, Error> {
        self.frontier.change(|state| state.has_ended = true);
        match (&mut self.job).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Waits until the file is let go, for its hash is not wanted any more.
    ///
    /// # Cancel safety
    /// Safe: it can be asked again.
    pub(crate) async fn stop(&mut self) {
        self.abandon();
        if !self.job.is_finished() {
            // How it ended is of no interest.
            let _ = (&mut self.job).await;
        }
    }

    /// Says that the hash is not wanted any more.
    pub(crate) fn abandon(&self) {
        self.frontier.change(|state| state.is_wanted = false);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Frontier {
    /// Everything before `written` is there now.
    pub(crate) fn advance(&self, written: u64) {
        self.change(|state| state.written = written);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Waits until there is something beyond `hashed`, or will not be.
    fn beyond(&self, hashed: u64) -> State {
        let is_idle = |state: &mut State| state.written <= hashed && !state.has_ended && state.is_wanted;
        *self
            .changed
            .wait_while(self.lock(), is_idle)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_behind_the_prefix_is_hashed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let partial = Arc::new(Partial::open(&dir.path().join("file")).unwrap());
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| index.to_le_bytes()[1]).collect();
        partial.write_at(0, &bytes[..1_000_000]).unwrap();
        let mut follower = Follower::start(Arc::clone(&partial), Algorithm::Sha256, 1_000_000);
        for from in (1_000_000..bytes.len()).step_by(100_000) {
            partial.write_at(from as u64, &bytes[from..from + 100_000]).unwrap();
            follower.frontier().advance(from as u64 + 100_000);
        }
        let hasher = follower.finish().await.unwrap();
        assert_eq!(hasher.finish(), Hasher::digest(Algorithm::Sha256, &bytes));

        let mut waiting = Follower::start(partial, Algorithm::Sha256, 1_000_000);
        waiting.stop().await;
        waiting.stop().await;
    }
}
