//! Lines on their way to a thread that writes them.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that may wait. At some 300 bytes each this is 2.5 MiB, and about a second of a busy server.
const CAPACITY: usize = 8192;

/// The bytes of all lines that may wait: some are longer, and a client decides how many.
const CAPACITY_BYTES: usize = 8 * 1024 * 1024;

/// How long lines gather, so that a busy server does not wake a thread for each of them.
const GATHER: Duration = Duration::from_millis(5);

/// How many bytes of lines are written in one call: as many as a pipe takes whole or not at all (`PIPE_BUF`), so that
/// whoever reads the other end never sees half a line of this call.
const BATCH_BYTES: usize = 4096;

/// How long the end waits for the lines that are left: a stopped terminal must not keep the process.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A bounded queue with one writing thread. Whoever adds a line never waits for the writing.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to write, or nothing more will come.
    work: Condvar,
    /// The thread has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that did not fit or could not be written since the last report.
    lost: u64,
    /// The thread waits for the first line.
    idle: bool,
    closed: bool,
    ended: bool,
}

impl Queue {
    /// Starts the thread. `write` writes whole lines, all of them or none; `lost` is the line that reports how many
    /// are missing.
    pub(super) fn start(
        thread: &str,
        write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
        lost: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
        });
        let writer = Arc::clone(&queue);
        thread::Builder::new()
            .name(thread.to_owned())
            .spawn(move || writer.run(write, lost))?;
        Ok(queue)
    }

    /// Adds a line, or counts it as lost when the queue is full or closed.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.closed || state.lines.len() >= CAPACITY || state.bytes + line.len() > CAPACITY_BYTES {
            state.lost += 1;
        } else {
            state.bytes += line.len();
            state.lines.push_back(line);
            if mem::take(&mut state.idle) {
                self.work.notify_one();
            }
        }
    }

    /// Takes no more lines and waits, within bounds, until those it has are written.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.work.notify_one();
        // Whether it ended or took too long: the process ends now.
        drop(
            self.ended
                .wait_timeout_while(state, CLOSE_TIMEOUT, |state| !state.ended),
        );
    }

    fn run(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>, report: impl Fn(u64) -> Vec<u8>) {
        loop {
            let (lines, lost, closed) = {
                let mut state = self.lock();
                if state.lines.is_empty() {
                    state.idle = true;
                    state = self
                        .work
                        .wait_while(state, |state| state.lines.is_empty() && !state.closed)
                        .unwrap_or_else(PoisonError::into_inner);
                    state.idle = false;
                }
                state.bytes = 0;
                (mem::take(&mut state.lines), mem::take(&mut state.lost), state.closed)
            };
            let mut unwritten = if lost > 0 && write(&report(lost)).is_err() {
                lost
            } else {
                0
            };
            for batch in batches(lines) {
                if unwritten == 0 && write(&batch.concat()).is_ok() {
                    continue;
                }
                for line in batch {
                    // A report that fits where a line did not would hide that the log has a hole.
                    if unwritten > 0 && write(&report(unwritten)).is_ok() {
                        unwritten = 0;
                    }
                    if write(&line).is_err() {
                        unwritten += 1;
                    }
                }
            }
            let mut state = self.lock();
            state.lost += unwritten;
            if closed {
                state.ended = true;
                self.ended.notify_all();
                return;
            }
            // The first line after a pause is written at once; those behind it gather.
            drop(
                self.work
                    .wait_timeout_while(state, GATHER, |state| !state.closed)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    /// A panic while the lock is held leaves counters and whole lines: the log goes on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines in groups of at most [`BATCH_BYTES`], but for longer lines, which are alone.
fn batches(lines: VecDeque<Vec<u8>>) -> impl Iterator<Item = Vec<Vec<u8>>> {
    let mut lines = lines.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = lines.next()?;
        let mut length = first.len();
        let mut batch = vec![first];
        while let Some(line) = lines.next_if(|line| length + line.len() <= BATCH_BYTES) {
            length += line.len();
            batch.push(line);
        }
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn report(lost: u64) -> Vec<u8> {
        format!("lost {lost}\n").into_bytes()
    }

    /// The lines of everything written.
    fn lines(written: &mpsc::Receiver<Vec<u8>>) -> Vec<String> {
        let text: Vec<u8> = written.iter().flatten().collect();
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn closing_writes_every_line_in_order() {
        let (sender, written) = mpsc::channel();
        let queue = Queue::start(
            "test",
            move |line| sender.send(line.to_vec()).map_err(io::Error::other),
            report,
        );
        let queue = queue.unwrap();
        let pushed: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        for line in &pushed {
            queue.push(format!("{line}\n").into_bytes());
        }
        queue.close();
        assert_eq!(lines(&written), pushed);
    }

    #[test]
    fn a_stuck_writer_never_blocks_and_the_hole_is_reported() {
        let (entered, started) = mpsc::channel();
        let (release, gate) = mpsc::channel::<()>();
        let (sender, written) = mpsc::channel();
        let queue = Queue::start(
            "test",
            move |line| {
                entered.send(()).map_err(io::Error::other)?;
                // Passes once for each release, and freely when the test has dropped its end.
                gate.recv().ok();
                sender.send(line.to_vec()).map_err(io::Error::other)
            },
            report,
        )
        .unwrap();
        queue.push(b"first\n".to_vec());
        started.recv().unwrap();
        for _ in 0..CAPACITY + 7 {
            queue.push(b"more\n".to_vec());
        }
        drop(release);
        queue.close();
        let lines = lines(&written);
        assert_eq!(lines.len(), 1 + 1 + CAPACITY);
        assert_eq!(lines[1], "lost 7");
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let (entered, started) = mpsc::channel();
        let (release, gate) = mpsc::channel::<()>();
        let (sender, written) = mpsc::channel();
        let queue = Queue::start(
            "test",
            move |line| {
                entered.send(()).map_err(io::Error::other)?;
                gate.recv().ok();
                sender.send(line.len()).map_err(io::Error::other)
            },
            report,
        )
        .unwrap();
        queue.push(b"first\n".to_vec());
        started.recv().unwrap();
        const LINES: usize = 4;
        for _ in 0..LINES + 1 {
            queue.push(vec![b'x'; CAPACITY_BYTES / LINES]);
        }
        drop(release);
        queue.close();
        let lines: Vec<_> = written.iter().collect();
        assert_eq!(lines[1], b"lost 1\n".len());
        assert_eq!(lines[2..], [CAPACITY_BYTES / LINES; LINES]);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_reported_later() {
        let (sender, written) = mpsc::channel();
        let mut full = 3;
        let queue = Queue::start(
            "test",
            move |line| {
                if full > 0 {
                    full -= 1;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                sender.send(line.to_vec()).map_err(io::Error::other)
            },
            report,
        )
        .unwrap();
        for line in ["a\n", "b\n", "c\n", "d\n"] {
            queue.push(line.into());
        }
        queue.close();
        let lines = lines(&written);
        // Failed attempts are those of lines and of reports alike, so how many lines are missing
        // depends on how they were batched; none may be missing without being reported.
        let lost: usize = lines
            .iter()
            .filter_map(|line| line.strip_prefix("lost ")?.parse::<usize>().ok())
            .sum();
        let kept = lines.iter().filter(|line| !line.starts_with("lost")).count();
        assert!(lost > 0, "{lines:?}");
        assert_eq!(lost + kept, 4, "{lines:?}");
    }
}
