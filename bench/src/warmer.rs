//! Keeps what a virtual machine pays for memory that it touches first out of the figures, for every candidate alike.
//!
//! A guest gives free pages back to its host within seconds, and the first touch of such a page costs several times
//! as much as of one that is still there. So this holds touched memory, and lets go of it at the pace at which the
//! files of a measurement grow, always a little ahead.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::plan::MIB;

/// The unit of letting go: larger than what the allocator would ever keep for itself (32 MiB).
const PIECE: u64 = 64 * MIB;

/// How far ahead of the files.
const AHEAD: u64 = 512 * MIB;

/// How often the growth of the files is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Memory that is held warm. Dropping it lets go of everything.
#[derive(Debug)]
pub(crate) struct Warmer {
    /// Its end ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Warmer {
    /// Touches memory for files of so many bytes, and returns when it is done.
    pub(crate) fn start(bytes: u64) -> Self {
        let wanted = if bytes == 0 { 0 } else { bytes + AHEAD };
        // The rest of the machine needs some, too.
        let wanted = wanted.min(meminfo("MemAvailable:").saturating_sub(2048 * MIB));
        let (stop, stopped) = mpsc::channel::<()>();
        let (ready, touched) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut held: Vec<Vec<u8>> = (0..wanted / PIECE).map(|_| vec![1; PIECE as usize]).collect();
            let (all, before) = (held.len() as u64, meminfo("Cached:"));
            // Nobody waits any more if the measurement has failed already.
            let _ = ready.send(());
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let free = meminfo("Cached:").saturating_sub(before) + AHEAD;
                let keep = all.saturating_sub(free.div_ceil(PIECE));
                held.truncate(usize::try_from(keep).unwrap_or(0));
            }
        });
        // An error means that the thread is gone, and then there is nothing to wait for.
        let _ = touched.recv();
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Warmer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// A line of the kernel's memory table, in bytes.
pub(crate) fn meminfo(key: &str) -> u64 {
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
