//! What a campaign tells of itself.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What was done, over all episodes.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) rounds: AtomicU64,
    pub(super) steps: AtomicU64,
    pub(super) uncertain: AtomicU64,
    pub(super) connections_harmed: AtomicU64,
    pub(super) clients_ended: AtomicU64,
    pub(super) servers_ended: AtomicU64,
    pub(super) resumed: AtomicU64,
    pub(super) restored: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl Tally {
    pub(super) fn add(counter: &AtomicU64, number: usize) {
        counter.fetch_add(number as u64, Ordering::Relaxed);
    }

    /// Rounds that were checked.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// One line.
    pub fn progress(&self, elapsed: Duration) -> String {
        format!("{:.0} s: {self}", elapsed.as_secs_f64())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} rounds, {} operations ({} cut short), {} connections harmed, {} clients and {} servers ended, {} transfers resumed, {} files brought back, {} failures",
            number(&self.rounds),
            number(&self.steps),
            number(&self.uncertain),
            number(&self.connections_harmed),
            number(&self.clients_ended),
            number(&self.servers_ended),
            number(&self.resumed),
            number(&self.restored),
            number(&self.failures),
        )
    }
}

/// Something that must not be.
#[derive(Debug)]
pub struct Failure {
    /// The seed of the episode.
    pub seed: u64,
    /// The round it showed in, from 1.
    pub round: usize,
    /// What is wrong.
    pub what: String,
    /// What was planned in that round.
    pub plan: String,
    /// What really happened in it.
    pub transcript: String,
    /// Homes, configuration, log and local files, as they are.
    pub directory: PathBuf,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "FAILED in round {} of seed {}: {}", self.round, self.seed, self.what)?;
        write!(f, "plan:\n{}", self.plan)?;
        write!(f, "what happened:\n{}", self.transcript)?;
        writeln!(f, "kept: {}", self.directory.display())?;
        write!(
            f,
            "again: cargo run --release -p ftp-tests --bin campaign -- --seed {} --rounds {} --episode {}",
            self.seed, self.round, self.round
        )
    }
}
