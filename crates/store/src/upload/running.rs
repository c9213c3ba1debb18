//! How many uploads run in this process, and so whether two threads for each of them find a core each.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Threads of an upload that asks first: one receives, one hashes and writes.
const THREADS: usize = 2;

/// One of them, counted until it is dropped.
pub(super) struct Running(());

impl Running {
    pub(super) fn new() -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// Whether each of their threads finds a core, and one is left for what else there is to do.
    pub(super) fn leave_a_core() -> bool {
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores = *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
        fit(RUNNING.load(Ordering::Relaxed), cores)
    }
}

fn fit(uploads: usize, cores: usize) -> bool {
    uploads.saturating_mul(THREADS) < cores
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_thread_is_for_cores_that_are_idle() {
        assert!(!fit(1, 1) && !fit(1, 2) && fit(1, 3));
        assert!(fit(3, 8) && !fit(4, 8));
    }
}
