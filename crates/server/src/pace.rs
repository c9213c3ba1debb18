//! Rates: so many bytes or requests a second, shared fairly by all sessions that draw on one bucket.
//!
//! A bucket fills at its rate up to one second's worth. Whoever takes may take more than is there, for a chunk is
//! not cut; the debt is then waited for before anybody takes again. Among those who wait, the one that has had
//! least goes first, so a session of many small requests and one of large chunks share the rate evenly.

mod toll;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

pub(crate) use toll::{Purse, Rates, Toll};

/// Units of a level in one unit of a rate: levels are exact at any rate and after any time.
const NANOS: i128 = 1_000_000_000;

/// How long a bucket without use fills.
const BURST_SECONDS: i128 = 1;

/// What is left of a rate at a moment: arithmetic only, without waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// Units a second; `None` is no limit.
    rate: Option<u64>,
    /// Nano-units; negative is a debt.
    nanos: i128,
    at: Instant,
}

impl Level {
    /// A full bucket.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        let mut level = Self {
            rate,
            nanos: 0,
            at: Instant::now(),
        };
        level.nanos = level.most();
        level
    }

    /// Changes the rate. A debt stays, and is paid at the new rate.
    pub(crate) fn set_rate(&mut self, rate: Option<u64>) {
        self.fill();
        if self.rate.is_none() {
            self.nanos = Self::new(rate).nanos;
        }
        self.rate = rate;
        self.nanos = self.nanos.min(self.most());
    }

    /// Takes units, whether they are there or not.
    pub(crate) fn take(&mut self, units: u64) {
        self.fill();
        if self.rate.is_some() {
            self.nanos -= i128::from(units) * NANOS;
        }
    }

    /// How long nothing may be taken; zero when the debt is paid.
    pub(crate) fn wait(&mut self) -> Duration {
        self.fill();
        let debt = (-self.nanos).max(0);
        match self.rate {
            None => Duration::ZERO,
            Some(rate) => {
                let rate = i128::from(rate).max(1);
                let nanos = (debt + rate - 1) / rate;
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        }
    }

    /// Whether forgetting it would change nothing.
    pub(crate) fn is_full(&mut self) -> bool {
        self.fill();
        self.rate.is_none() || self.nanos >= self.most()
    }

    fn most(&self) -> i128 {
        i128::from(self.rate.unwrap_or(0)) * NANOS * BURST_SECONDS
    }

    fn fill(&mut self) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        self.at = now;
        if let Some(rate) = self.rate {
            let gained = i128::try_from(elapsed).unwrap_or(i128::MAX).saturating_mul(rate.into());
            self.nanos = self.nanos.saturating_add(gained).min(self.most());
        }
    }
}

/// A rate that several sessions share.
pub(crate) struct Bucket {
    state: Mutex<State>,
    /// Told whenever somebody may have to wait for something else.
    changed: Notify,
}

struct State {
    level: Level,
    /// How much the session that was served last had had by then.
    virtual_time: u128,
    /// Who waits: what each has had, and its number.
    waiting: BTreeSet<(u128, u64)>,
    last_number: u64,
}

impl Bucket {
    pub(crate) fn new(rate: Option<u64>) -> Arc<Self> {
        let state = State {
            level: Level::new(rate),
            virtual_time: 0,
            waiting: BTreeSet::new(),
            last_number: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        })
    }

    /// Changes the rate; who waits goes by the new one at once.
    pub(crate) fn set_rate(&self, rate: Option<u64>) {
        let mut state = self.state();
        if state.level.rate != rate {
            state.level.set_rate(rate);
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Whether forgetting it would change nothing.
    pub(crate) fn is_full(&self) -> bool {
        self.state().level.is_full()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's share of a bucket.
pub(crate) struct Share {
    bucket: Arc<Bucket>,
    number: u64,
    /// What the session has had, as far as it counts against others.
    had: u128,
}

impl Share {
    pub(crate) fn of(bucket: &Arc<Bucket>) -> Self {
        let mut state = bucket.state();
        state.last_number += 1;
        Self {
            number: state.last_number,
            had: state.virtual_time,
            bucket: Arc::clone(bucket),
        }
    }

    /// Whether there is a rate at all.
    pub(crate) fn is_limited(&self) -> bool {
        self.bucket.state().level.rate.is_some()
    }

    /// Takes `units` out of turn and without a wait: others wait for them.
    fn charge(&self, units: u64) {
        if units > 0 {
            self.bucket.state().level.take(units);
        }
    }

    /// Waits for this session's turn and takes `units`. Nothing waits while there is no limit.
    ///
    /// # Cancel safety
    /// Safe: a dropped wait takes nothing and gives its turn to the next.
    pub(crate) async fn take(&mut self, units: u64) {
        if units == 0 || self.bucket.state().level.rate.is_none() {
            return;
        }
        let bucket = Arc::clone(&self.bucket);
        let mut place = None;
        loop {
            let changed = bucket.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let wait = {
                let mut state = bucket.state();
                if place.is_none() {
                    // Who was away has no claim on what others have used meanwhile.
                    self.had = self.had.max(state.virtual_time);
                }
                let key = (self.had, self.number);
                let is_next = state.waiting.first().is_none_or(|first| *first >= key);
                let wait = state.level.wait();
                if is_next && wait.is_zero() {
                    state.level.take(units);
                    state.virtual_time = self.had;
                    self.had += u128::from(units);
                    drop(state);
                    // The place is given up, and the next one looks again.
                    drop(place);
                    return;
                }
                if place.is_none() {
                    state.waiting.insert(key);
                    place = Some(Place { bucket: &bucket, key });
                }
                is_next.then_some(wait)
            };
            match wait {
                Some(wait) => {
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }
}

/// A place among those who wait, given up when dropped.
struct Place<'a> {
    bucket: &'a Bucket,
    key: (u128, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.bucket.state().waiting.remove(&self.key);
        self.bucket.changed.notify_waiters();
    }
}
