//! The workloads, each run for all candidates in turn: A B C, A B C.

mod checksum;
mod crowd;
mod delayed;
mod idle;
mod large;
mod listing;
mod logins;
mod resume;
mod sessions;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::RunArgs;
use crate::arena::Arena;
use crate::measure::{self, Job, Used};
use crate::meter::Meter;
use crate::peers::{Candidate, Client, Running, Site};
use crate::plan::{GIB, Plan};
use crate::report;
use crate::results::{Results, Sample, Skip};
use crate::sandbox;

/// A workload: its name, what it is, and how it runs.
pub(crate) type Workload = (&'static str, &'static str, fn(&mut Bench) -> Result<()>);

/// All of them, in the order in which they run.
pub(crate) const WORKLOADS: [Workload; 13] = [
    ("limits", "what the machine can do at best", crate::limits::run),
    ("large-plain", "one large file, get and put, unencrypted", large::plain),
    ("large-tls", "one large file, get and put, encrypted", large::tls),
    (
        "default-plain",
        "one large file, unencrypted, under the machine's own congestion control",
        large::default_plain,
    ),
    (
        "default-tls",
        "one large file, encrypted, under the machine's own congestion control",
        large::default_tls,
    ),
    (
        "checksum",
        "the same, and then both sides hashed at once by hand",
        checksum::run,
    ),
    ("tree", "many small files, down and up", tree::run),
    ("listing", "a directory of very many entries", listing::run),
    ("crowd", "many clients at once, each a file thrown away", crowd::run),
    ("logins", "logins a second", logins::run),
    (
        "idle",
        "sessions that do nothing: memory of the server for each",
        idle::run,
    ),
    (
        "resume",
        "a large transfer that was killed at half goes on",
        resume::run,
    ),
    (
        "delayed",
        "small files and a large one with 50 ms of round trip and 1 Gbit/s",
        delayed::run,
    ),
];

/// A peer whose run took longer than this runs once only.
const SLOW: f64 = 40.0;

/// Everything that a workload needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) arena: Arena,
    pub(crate) plan: Plan,
    pub(crate) results: Results,
    peers: Vec<String>,
    own: Vec<String>,
    tiny: bool,
}

/// Runs what the command line asks for, within the namespaces.
pub(crate) fn run_all(args: &RunArgs) -> Result<()> {
    let root = args.arena.as_deref().context("the arena")?;
    let plan = Plan::of(args);
    let known = |name: &String| WORKLOADS.iter().any(|(known, ..)| known == name);
    if let Some(unknown) = args.workload.iter().find(|name| !known(name)) {
        bail!("no workload is called {unknown}; `ftp-bench list` shows them");
    }
    let inside = sandbox::furnish(root, plan.arena_bytes())?;
    let arena = Arena::new(root, args, &inside)?;
    let machine = report::machine(&inside);
    println!(
        "{} · {} cores · {} · congestion control {} (machine: {}) · {} sizes, {} rounds",
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.congestion,
        machine.machine_congestion,
        plan.name,
        plan.rounds
    );
    let mut bench = Bench {
        arena,
        results: Results::new(machine, plan.clone()),
        plan,
        peers: args.peer.clone(),
        own: args.own.clone(),
        tiny: args.tiny,
    };
    for (name, what, run) in WORKLOADS {
        if !args.workload.is_empty() && !args.workload.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("\n{name}: {what}");
        if let Err(error) = run(&mut bench) {
            println!("  failed: {error:#}");
            bench.skip(name, "all", &format!("failed: {error:#}"));
        }
        report::print(&bench.results, name);
        if !bench.plan.is_tiny() {
            bench.results.save()?;
        }
    }
    let failures: Vec<&Sample> = bench
        .results
        .samples
        .iter()
        .filter(|it| it.own && it.failure.is_some())
        .collect();
    if !failures.is_empty() || bench.results.skips.iter().any(|skip| skip.candidate == "all") {
        bail!("something of ours failed; see above");
    }
    Ok(())
}

/// Shows workloads and candidates.
pub(crate) fn list() {
    println!("Workloads:");
    for (name, what, _) in WORKLOADS {
        println!("  {name:13} {what}");
    }
    println!("Candidates:");
    let tar = vec![crate::peers::openssh(Client::Tar)];
    for candidates in [large::everybody(false), large::everybody(true), tar] {
        for candidate in candidates {
            let missing = candidate
                .missing()
                .map(|missing| format!(" ({missing})"))
                .unwrap_or_default();
            println!("  {:18} {}{missing}", candidate.id(), candidate.label());
        }
    }
}

impl Bench {
    /// Those of the candidates that are wanted and can run here; says why others cannot.
    pub(crate) fn able(&mut self, workload: &str, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut able = Vec::new();
        for candidate in candidates {
            let id = candidate.id();
            let named = |names: &[String]| {
                names.iter().any(|name| {
                    id == *name || id.starts_with(&format!("{name}-")) || id.starts_with(&format!("{name}+"))
                })
            };
            let (names, default) = if candidate.is_own() {
                (&self.own, true)
            } else {
                (&self.peers, !self.tiny)
            };
            if !(named(names) || names.is_empty() && default) {
                continue;
            }
            let root = (!candidate.is_own() && !self.arena.has_account()).then(|| "needs root".to_owned());
            match candidate.missing().or(root) {
                Some(why) => self.skip(workload, &candidate.label(), &why),
                None => able.push(candidate),
            }
        }
        able
    }

    /// Notes that somebody does not take part.
    pub(crate) fn skip(&mut self, workload: &str, candidate: &str, why: &str) {
        let skip = Skip {
            workload: workload.to_owned(),
            candidate: candidate.to_owned(),
            why: why.to_owned(),
        };
        if !self.results.skips.contains(&skip) {
            println!("  {candidate}: skipped, {why}");
            self.results.skips.push(skip);
        }
    }

    /// Runs all candidates in turn, for each kind of work, as often as planned.
    pub(crate) fn rounds(
        &mut self,
        workload: &str,
        ops: &[&str],
        candidates: &[Candidate],
        bytes: u64,
        work: impl Fn(&Self, &Running, Candidate, &str) -> Result<(Used, Extra)>,
    ) {
        for _ in 0..self.plan.rounds {
            for op in ops {
                for candidate in candidates {
                    if !self.gave_up(workload, op, *candidate) {
                        self.once((workload, op), *candidate, bytes, |bench, running| {
                            work(bench, running, *candidate, op)
                        });
                    }
                }
            }
        }
    }

    /// Whether a candidate has failed at this, or is a peer that takes too long to be asked again.
    fn gave_up(&self, workload: &str, op: &str, candidate: Candidate) -> bool {
        let id = candidate.id();
        let mut before = self
            .results
            .samples
            .iter()
            .filter(|it| it.workload == workload && it.op == op && it.candidate == id);
        before.any(|sample| sample.failure.is_some() || !sample.own && sample.wall > SLOW)
    }

    /// Runs one candidate once: starts its daemon, does `work`, and notes what came of it.
    pub(crate) fn once(
        &mut self,
        (workload, op): (&str, &str),
        candidate: Candidate,
        bytes: u64,
        work: impl FnOnce(&Self, &Running) -> Result<(Used, Extra)>,
    ) {
        let mut sample = Sample {
            workload: workload.to_owned(),
            op: op.to_owned(),
            candidate: candidate.id(),
            label: candidate.label(),
            own: candidate.is_own(),
            bytes,
            wall: 0.0,
            client_cpu: 0.0,
            server_cpu: 0.0,
            client_memory: 0,
            server_memory: 0,
            failure: None,
            extra: BTreeMap::new(),
        };
        match candidate.start(&self.arena).and_then(|running| work(self, &running)) {
            Ok((used, extra)) => {
                sample = sample.with(used);
                sample.extra = extra;
            }
            Err(error) => sample.failure = Some(format!("{error:#}")),
        }
        println!("  {}", report::line(&sample));
        self.results.samples.push(sample);
    }

    /// Runs a client's job against a daemon and measures both.
    pub(crate) fn measure(&self, job: &Job, running: &Running, limit: Duration) -> Result<Used> {
        let meter = Meter::new("client");
        let said = self.arena.log("client.out");
        let file = File::create(&said)?;
        let (status, used) = measure::around(&meter, &running.meter, || {
            let mut child = job.start(&meter, &file)?;
            measure::wait(&mut child, &meter, limit)
        })?;
        if !status.success() {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            let tail: Vec<&str> = said.lines().rev().take(2).collect();
            bail!("{status}: {}", tail.join(" / "));
        }
        Ok(used)
    }

    /// Where a daemon's clients find it.
    pub(crate) fn site(&self, running: &Running) -> Site<'_> {
        Site {
            arena: &self.arena,
            port: running.port,
            far: false,
        }
    }
}

/// Figures that only one workload has.
pub(crate) type Extra = BTreeMap<String, f64>;

/// How long something may take that moves so many bytes: slow peers manage 100 MB a second.
pub(crate) fn patience(bytes: u64) -> Duration {
    Duration::from_secs(60 + bytes / (GIB / 20))
}

/// The fresh target of a download.
pub(crate) fn target(arena: &Arena, name: &str) -> Result<PathBuf> {
    let path = arena.cli(name);
    crate::arena::remove(&path)?;
    Ok(path)
}

/// That what arrived is what was sent; not timed.
pub(crate) fn same(source: &Path, copy: &Path) -> Result<()> {
    match crate::arena::difference(source, copy)? {
        Some(what) => bail!("arrived wrong: {what}"),
        None => Ok(()),
    }
}

/// All but ours: every peer with its usual client.
pub(crate) fn peers(tls: bool) -> Vec<Candidate> {
    let mut all = crate::peers::ftp_peers(Client::Curl, tls);
    all.push(crate::peers::nginx(tls));
    all.push(if tls {
        crate::peers::openssh(Client::Sftp)
    } else {
        crate::peers::rsyncd()
    });
    all
}
