//! Figures, saved so that the report can be written again without a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::measure::Used;
use crate::plan::Plan;
use crate::sandbox::workspace;

/// One run of one candidate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) workload: String,
    /// `get`, `put` or what else the workload distinguishes.
    pub(crate) op: String,
    pub(crate) candidate: String,
    pub(crate) label: String,
    pub(crate) own: bool,
    /// Bytes of files that were moved.
    pub(crate) bytes: u64,
    pub(crate) wall: f64,
    pub(crate) client_cpu: f64,
    pub(crate) server_cpu: f64,
    pub(crate) client_memory: u64,
    pub(crate) server_memory: u64,
    /// Why it failed; then the figures say nothing.
    pub(crate) failure: Option<String>,
    /// Figures that only this workload has.
    #[serde(default)]
    pub(crate) extra: BTreeMap<String, f64>,
}

impl Sample {
    /// The same with the figures of a run.
    #[must_use]
    pub(crate) fn with(mut self, used: Used) -> Self {
        self.wall = used.wall;
        self.client_cpu = used.client_cpu;
        self.server_cpu = used.server_cpu;
        self.client_memory = used.client_memory;
        self.server_memory = used.server_memory;
        self
    }
}

/// What the machine can do at best.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub(crate) what: String,
    /// Bytes a second.
    pub(crate) rate: f64,
}

/// Who did not take part, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Skip {
    pub(crate) workload: String,
    pub(crate) candidate: String,
    pub(crate) why: String,
}

/// Where and how it was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory: u64,
    pub(crate) kernel: String,
    pub(crate) distribution: String,
    pub(crate) congestion: String,
    pub(crate) machine_congestion: String,
    pub(crate) isolated: bool,
    pub(crate) meter: String,
    pub(crate) commit: String,
    pub(crate) versions: Vec<(String, String)>,
}

/// Everything that was measured. A workload that is measured again replaces its older figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    pub(crate) samples: Vec<Sample>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) skips: Vec<Skip>,
}

impl Results {
    /// Where they are kept.
    pub(crate) fn path() -> PathBuf {
        workspace().join("target/bench-results.json")
    }

    /// Nothing measured yet.
    pub(crate) fn new(machine: Machine, plan: Plan) -> Self {
        Self {
            machine,
            plan,
            samples: Vec::new(),
            limits: Vec::new(),
            skips: Vec::new(),
        }
    }

    /// What was saved.
    pub(crate) fn load() -> Result<Self> {
        let path = Self::path();
        let text =
            fs::read_to_string(&path).with_context(|| format!("{}: run `ftp-bench run` first", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Saves these, and keeps what was saved before of workloads that these do not have, if their sizes were the same.
    pub(crate) fn save(&self) -> Result<()> {
        let mut all = self.clone();
        if let Ok(before) = Self::load()
            && before.plan.name == self.plan.name
        {
            let is_new = |workload: &str| self.samples.iter().any(|sample| sample.workload == workload);
            all.samples
                .extend(before.samples.into_iter().filter(|sample| !is_new(&sample.workload)));
            all.skips
                .extend(before.skips.into_iter().filter(|skip| !is_new(&skip.workload)));
            if all.limits.is_empty() {
                all.limits = before.limits;
            }
        }
        let path = Self::path();
        fs::write(&path, serde_json::to_string_pretty(&all)?).with_context(|| path.display().to_string())
    }
}
