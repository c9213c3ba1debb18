//! How fast a transfer is, how long it will take, and whether it has come to a halt.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate is that of the last few seconds: older ones say nothing about the line as it is now.
const WINDOW: Duration = Duration::from_secs(5);

/// Samples closer together than this are merged, which bounds how many there are.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Without progress for so long, a transfer is shown as stalled.
const STALL: Duration = Duration::from_secs(2);

/// The progress of one transfer over time. Bytes that were there before it began count for nothing.
#[derive(Debug)]
pub(crate) struct Pace {
    done: u64,
    progress: Instant,
    /// When, and how many bytes were done then; the oldest first, never empty.
    samples: VecDeque<(Instant, u64)>,
}

impl Pace {
    /// Begins at `done` bytes, which came at no cost.
    pub(crate) fn new(now: Instant, done: u64) -> Self {
        Self {
            done,
            progress: now,
            samples: VecDeque::from([(now, done)]),
        }
    }

    /// Notes how many bytes are done now.
    pub(crate) fn moved(&mut self, now: Instant, done: u64) {
        if done > self.done {
            self.progress = now;
        }
        self.done = done;
        let dense = self.samples.len() > 1
            && self
                .samples
                .iter()
                .nth_back(1)
                .is_some_and(|(when, _)| now.duration_since(*when) < SAMPLE_EVERY);
        if dense {
            self.samples.pop_back();
        }
        self.samples.push_back((now, done));
        while self.samples.len() > 2
            && self
                .samples
                .get(1)
                .is_some_and(|(when, _)| now.duration_since(*when) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Counts bytes that were there already: they are done, and say nothing about the rate.
    pub(crate) fn credit(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        for (_, done) in &mut self.samples {
            *done = done.saturating_add(bytes);
        }
    }

    /// Bytes done so far, free ones included.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Bytes a second over the last seconds; `None` before there is anything to judge by.
    pub(crate) fn rate(&self, now: Instant) -> Option<f64> {
        let (since, from) = *self.samples.front()?;
        let time = now.duration_since(since);
        let bytes = self.done.checked_sub(from).filter(|bytes| *bytes > 0)?;
        #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
        (time >= SAMPLE_EVERY).then(|| bytes as f64 / time.as_secs_f64())
    }

    /// How long the bytes up to `total` will take at this rate.
    pub(crate) fn remaining(&self, now: Instant, total: u64) -> Option<Duration> {
        #[expect(clippy::cast_precision_loss, reason = "shown in whole seconds")]
        let left = total.saturating_sub(self.done) as f64;
        Duration::try_from_secs_f64(left / self.rate(now)?).ok()
    }

    /// For how long nothing has moved, once that is worth saying.
    pub(crate) fn stalled(&self, now: Instant) -> Option<Duration> {
        Some(now.duration_since(self.progress)).filter(|time| *time >= STALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn bytes_that_were_kept_do_not_count_as_speed() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(start, 600 * MIB);
        assert_eq!(pace.rate(start + second), None);
        pace.moved(start + second, 610 * MIB);
        assert_eq!(pace.rate(start + second), Some((10 * MIB) as f64));
        assert_eq!(pace.remaining(start + second, 710 * MIB), Some(Duration::from_secs(10)));
    }

    #[test]
    fn credited_bytes_are_done_and_no_speed() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(start, 0);
        pace.moved(start + second, MIB);
        pace.credit(500 * MIB);
        assert_eq!(pace.done(), 501 * MIB);
        assert_eq!(pace.rate(start + second), Some(MIB as f64));
    }

    #[test]
    fn the_rate_forgets_what_is_long_ago() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 0);
        let mut done = 0;
        for tenth in 1..=100_u32 {
            done += if tenth <= 40 { 100 * MIB } else { MIB };
            pace.moved(start + SAMPLE_EVERY * tenth, done);
        }
        let rate = pace.rate(start + SAMPLE_EVERY * 100).unwrap();
        assert!((9.0..11.0).contains(&(rate / MIB as f64)), "{rate}");
    }

    #[test]
    fn silence_is_a_stall_until_something_moves_again() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 0);
        pace.moved(start + Duration::from_secs(1), 5);
        assert_eq!(pace.stalled(start + Duration::from_secs(2)), None);
        // The same count again is no progress.
        pace.moved(start + Duration::from_secs(3), 5);
        let later = start + Duration::from_secs(4);
        assert_eq!(pace.stalled(later), Some(Duration::from_secs(3)));
        pace.moved(later, 6);
        assert_eq!(pace.stalled(later), None);
    }

    #[test]
    fn many_samples_take_little_memory() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 0);
        for step in 1..100_000_u32 {
            pace.moved(start + Duration::from_micros(200) * step, u64::from(step));
        }
        assert!(pace.samples.len() < 100, "{}", pace.samples.len());
    }
}
