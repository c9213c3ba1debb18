//! How large everything is: full, quick, or tiny.

use serde::{Deserialize, Serialize};

use crate::RunArgs;

/// A mebibyte.
pub(crate) const MIB: u64 = 1 << 20;
/// A gibibyte.
pub(crate) const GIB: u64 = 1 << 30;
/// The size of each small file, in bytes.
pub(crate) const SMALL_BYTES: u64 = 4096;

/// The sizes of all workloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// `full`, `quick` or `tiny`.
    pub(crate) name: String,
    /// How often each candidate runs.
    pub(crate) rounds: u32,
    /// The size of the large file, in bytes.
    pub(crate) large: u64,
    /// The directories of the tree of small files.
    pub(crate) directories: u32,
    /// The files in each of them.
    pub(crate) files: u32,
    /// The entries of the directory that is listed.
    pub(crate) entries: u32,
    /// The clients at once.
    pub(crate) clients: u32,
    /// What each of them moves, in bytes.
    pub(crate) each: u64,
    /// The logins that are timed for us; slower peers get a twentieth.
    pub(crate) logins: u32,
    /// The numbers of idle sessions.
    pub(crate) idle: Vec<u32>,
    /// The large file behind the delaying proxy, in bytes.
    pub(crate) delayed: u64,
}

impl Plan {
    /// What the command line asks for.
    pub(crate) fn of(args: &RunArgs) -> Self {
        let mut plan = if args.tiny {
            Self::tiny()
        } else if args.quick {
            Self::quick()
        } else {
            Self::full()
        };
        plan.rounds = args.rounds.unwrap_or(plan.rounds).max(1);
        plan
    }

    fn full() -> Self {
        Self {
            name: "full".to_owned(),
            rounds: 5,
            large: 4 * GIB,
            directories: 100,
            files: 100,
            entries: 1_000_000,
            clients: 200,
            each: 16 * MIB,
            logins: 4000,
            idle: vec![1000, 10_000],
            delayed: GIB,
        }
    }

    fn quick() -> Self {
        Self {
            name: "quick".to_owned(),
            rounds: 3,
            large: GIB,
            entries: 100_000,
            logins: 1000,
            idle: vec![1000],
            delayed: 256 * MIB,
            ..Self::full()
        }
    }

    fn tiny() -> Self {
        Self {
            name: "tiny".to_owned(),
            rounds: 1,
            large: 8 * MIB,
            directories: 5,
            files: 10,
            entries: 500,
            clients: 4,
            each: MIB,
            logins: 20,
            idle: vec![20],
            delayed: 4 * MIB,
        }
    }

    /// How many small files there are.
    pub(crate) fn small_files(&self) -> u32 {
        self.directories * self.files
    }

    /// Whether results are worth saving.
    pub(crate) fn is_tiny(&self) -> bool {
        self.name == "tiny"
    }

    /// What the memory file system has to hold, in bytes: source, copy, and the small things twice.
    pub(crate) fn arena_bytes(&self) -> u64 {
        let entries = u64::from(self.entries) * 2048;
        let crowd = u64::from(self.clients) * MIB;
        2 * self.large + 4 * u64::from(self.small_files()) * 2 * SMALL_BYTES + entries + crowd + 2 * GIB
    }
}
