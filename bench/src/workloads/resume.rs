//! A large transfer whose client is killed at half, and goes on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::{Bench, Extra, large, patience, same, target};
use crate::arena::LARGE;
use crate::measure::Used;
use crate::meter::Meter;
use crate::peers::{Candidate, Client, Daemon, Running, Task, ftp_peers, nginx, openssh, own, rsyncd};
use crate::warmer::Warmer;

const NAME: &str = "resume";

/// The name under which it is uploaded.
const UPLOADED: &str = "uploaded.bin";

/// How often the partial file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Time for a server to note that its client is gone.
const REST: Duration = Duration::from_secs(1);

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    bench.arena.source(LARGE, bench.plan.large, 1)?;
    let mut all = own(true);
    all.extend(ftp_peers(Client::Curl, true).into_iter().take(1));
    all.extend([nginx(true), openssh(Client::Sftp), rsyncd()]);
    let candidates = bench.able(NAME, all);
    let bytes = bench.plan.large;
    let ours: Vec<Candidate> = candidates.iter().copied().filter(Candidate::is_own).collect();
    bench.rounds(
        NAME,
        &["get whole", "put whole"],
        &ours,
        bytes,
        |bench, running, candidate, op| {
            let op = op.split(' ').next().unwrap_or(op);
            Ok((large::transfer(bench, running, candidate, op, None)?, Extra::new()))
        },
    );
    bench.rounds(NAME, &["get rest"], &candidates, bytes, resumed);
    let can_go_on = |candidate: &Candidate| candidate.daemon != Daemon::Nginx;
    let candidates: Vec<Candidate> = candidates.into_iter().filter(can_go_on).collect();
    bench.rounds(NAME, &["put rest"], &candidates, bytes, resumed);
    Ok(())
}

fn resumed(bench: &Bench, running: &Running, candidate: Candidate, op: &str) -> Result<(Used, Extra)> {
    let site = bench.site(running);
    let bytes = bench.plan.large;
    let source = bench.arena.cli(LARGE);
    let down = op.starts_with("get");
    let (first, rest, copy);
    if down {
        candidate.prepare_get(site, LARGE)?;
        copy = target(&bench.arena, "got.bin")?;
        first = candidate.job(
            site,
            &Task::Get {
                remote: LARGE,
                local: &copy,
            },
        )?;
        rest = candidate.job(
            site,
            &Task::ResumeGet {
                remote: LARGE,
                local: &copy,
            },
        )?;
    } else {
        copy = bench.arena.srv(UPLOADED);
        first = candidate.job(
            site,
            &Task::Put {
                local: &source,
                remote: UPLOADED,
            },
        )?;
        rest = candidate.job(
            site,
            &Task::ResumePut {
                local: &source,
                remote: UPLOADED,
            },
        )?;
    }
    let (first, rest) = (first.context("cannot begin")?, rest.context("cannot go on")?);
    // rsync keeps what it has when it is told to end, and is asked to.
    let (first, signal) = match candidate.daemon {
        Daemon::Rsyncd => (first.arg("--partial"), Signal::INT),
        _ => (first, Signal::KILL),
    };
    let warm = Warmer::start(bytes);
    let done = kill_at_half(bench, &first, signal, &copy, bytes).and_then(|held| {
        thread::sleep(if bench.plan.is_tiny() { REST / 10 } else { REST });
        Ok((bench.measure(&rest, running, patience(bytes))?, held))
    });
    drop(warm);
    let compared = done.is_ok().then(|| same(&source, &copy)).transpose();
    if down {
        for partial in partials(bench, &copy) {
            crate::arena::remove(&partial)?;
        }
        crate::arena::remove(&copy)?;
    } else {
        candidate.remove(site, UPLOADED)?;
    }
    compared?;
    let (used, held) = done?;
    Ok((
        used,
        Extra::from([("% held".to_owned(), 100.0 * held as f64 / bytes as f64)]),
    ))
}

/// Starts the transfer and kills its client when half has arrived; how much that was.
fn kill_at_half(bench: &Bench, job: &crate::measure::Job, signal: Signal, copy: &Path, bytes: u64) -> Result<u64> {
    let meter = Meter::new("broken");
    let mut child = job.start(&meter, &File::create(bench.arena.log("broken.out"))?)?;
    let began = Instant::now();
    let held = || {
        partials(bench, copy)
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|it| it.len())
            .max()
    };
    while held().unwrap_or(0) < bytes / 2 {
        if child.try_wait()?.is_some() {
            // The smallest files are there before anybody can look.
            break;
        }
        if began.elapsed() > patience(bytes) {
            meter.signal(Signal::KILL);
            child.wait()?;
            bail!("half has not arrived after {} s", patience(bytes).as_secs());
        }
        thread::sleep(LOOK_EVERY);
    }
    meter.signal(signal);
    child.wait()?;
    Ok(held().unwrap_or(0))
}

/// Where a candidate may have what has arrived so far.
fn partials(bench: &Bench, copy: &Path) -> Vec<PathBuf> {
    let name = copy.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = copy.parent().and_then(|parent| fs::read_dir(parent).ok());
    let hidden = beside
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let other = path.file_name().unwrap_or_default().to_string_lossy();
            other == name || other.starts_with(&format!(".{name}"))
        });
    let staged = if copy.starts_with(bench.arena.srv("")) {
        ftp_tests::parts(&bench.arena.srv(""))
    } else {
        Vec::new()
    };
    hidden.chain(staged).collect()
}
