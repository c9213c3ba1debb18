//! A campaign: the real programs, many operations, and harm of every kind at random moments, checked
//! after every round against what was acknowledged.
//!
//! An *episode* follows from a seed. It starts one `ftpd` and lets three lanes work at once, two of
//! them in one home, each in a directory of its own so that every name has one owner. In a *round*
//! each lane runs a few commands of `ftp-cli` through a [`Proxy`](crate::Proxy) of its own, and
//! meanwhile connections are cut, reset, stalled, slowed or damaged, clients and server are killed,
//! stopped, interrupted and restarted, and the configuration is changed. Then everything comes to rest
//! and is checked: each home, from the disk and as the server tells of it; each target, which is as
//! before or as after and only as after once that was acknowledged; `df`, `uploads`, listings and
//! digests; exit codes and messages; the log, open sessions and descriptors. In the end what is
//! staged is resumed, and everything is fetched whole.
//!
//! # What can be replayed
//!
//! The plan is a function of the seed alone: the operations, their files, and each fault with the
//! number of bytes of its connection at which it strikes. A plan of more rounds begins like one of
//! fewer. Faults on a connection strike exactly at their byte. What a fault meets on the other side
//! of the kernel's buffers, when a signal arrives after its byte has passed, how lanes interleave,
//! and how an operation ends that may end in two ways are up to the machine, and so is the state the
//! next round begins with: a failure that depends on those shows again often, but not always.

mod check;
mod command;
mod disk;
mod episode;
mod journal;
mod judge;
mod lane;
mod local;
mod model;
mod plan;
mod pool;
mod random;
mod report;
mod trash;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use pool::Pool;
pub use report::{Failure, Tally};

/// Seeds that have once found a fault, with the rounds it took and what it was. The tests run them.
pub const REGRESSIONS: &[(u64, usize, &str)] = &[
    (4, 1, "a connection that was lost during the login had no next step"),
    (
        3008,
        1,
        "garbage behind the end of a TLS session ended its task without a line in the log",
    ),
];

/// Rounds of an episode, unless one is asked for by its seed: enough for a state to grow interesting,
/// few enough to be replayed.
pub const EPISODE_ROUNDS: usize = 20;

/// How often the progress is told.
const PROGRESS: Duration = Duration::from_secs(5);

/// The result of a check: what is wrong, in words.
type Checked<T = ()> = Result<T, String>;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The seed of the first episode; each further one has the next.
    pub seed: u64,
    /// How many rounds in all; none begins after so many.
    pub rounds: u64,
    /// Rounds of an episode.
    pub episode: usize,
    /// How many episodes run at once.
    pub jobs: usize,
    /// No episode begins after this time.
    pub time: Option<Duration>,
    /// Whether to go on after a failure.
    pub keep_going: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            rounds: 200,
            episode: EPISODE_ROUNDS,
            jobs: 2,
            time: None,
            keep_going: false,
        }
    }
}

/// Runs episodes until enough is done or, unless it keeps going, one fails. `tell` hears of progress
/// and of each failure.
pub fn run(options: &Options, tell: &(dyn Fn(&str) + Sync)) -> (Tally, Vec<Failure>) {
    let began = Instant::now();
    let (pool, tally, failures) = (Pool::new(), Tally::default(), Mutex::new(Vec::new()));
    let started = AtomicU64::new(0);
    let episodes = options.rounds.div_ceil(options.episode.max(1) as u64);
    let is_over = || {
        let failed = !options.keep_going && !failures.lock().unwrap().is_empty();
        failed || options.time.is_some_and(|time| began.elapsed() >= time)
    };
    let work = || {
        while !is_over() {
            let number = started.fetch_add(1, Ordering::Relaxed);
            if number >= episodes {
                return;
            }
            let before = number * options.episode as u64;
            let rounds = usize::try_from(options.rounds - before)
                .unwrap_or(usize::MAX)
                .min(options.episode);
            if let Err(failure) = episode::run(options.seed + number, rounds, &pool, &tally) {
                tell(&failure.to_string());
                failures.lock().unwrap().push(failure);
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(Duration::from_millis(20));
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                tell(&tally.progress(began.elapsed()));
            }
        }
    });
    (tally, failures.into_inner().unwrap())
}
