//! One large file, down and up.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Bench, Extra, patience, peers, same, target};
use crate::arena::LARGE;
use crate::measure::{Job, Used};
use crate::peers::{Candidate, Client, Running, Task, ftp_peers, own};
use crate::sandbox;
use crate::warmer::Warmer;

/// The name under which it is uploaded.
const UPLOADED: &str = "uploaded.bin";

pub(super) fn plain(bench: &mut Bench) -> Result<()> {
    run(bench, "large-plain", false)
}

pub(super) fn tls(bench: &mut Bench) -> Result<()> {
    run(bench, "large-tls", true)
}

pub(super) fn default_plain(bench: &mut Bench) -> Result<()> {
    as_the_machine_would(bench, "default-plain", false)
}

pub(super) fn default_tls(bench: &mut Bench) -> Result<()> {
    as_the_machine_would(bench, "default-tls", true)
}

/// The same under the congestion control that the machine has outside of the namespace.
fn as_the_machine_would(bench: &mut Bench, name: &str, tls: bool) -> Result<()> {
    let machine = &bench.results.machine;
    let (here, default) = (machine.congestion.clone(), machine.machine_congestion.clone());
    if here == default {
        bench.skip(name, "everybody", "all workloads run under it");
        return Ok(());
    }
    if let Err(error) = sandbox::set_congestion(&default) {
        bench.skip(name, "everybody", &format!("{error:#}"));
        return Ok(());
    }
    let done = run(bench, name, tls);
    sandbox::set_congestion(&here)?;
    done
}

/// Ours, and every peer with each client that may be its fastest.
pub(super) fn everybody(tls: bool) -> Vec<Candidate> {
    let mut all = own(tls);
    all.extend(peers(tls));
    all.extend(ftp_peers(Client::Lftp, tls));
    all
}

fn run(bench: &mut Bench, name: &str, tls: bool) -> Result<()> {
    bench.arena.source(LARGE, bench.plan.large, 1)?;
    let candidates = bench.able(name, everybody(tls));
    let bytes = bench.plan.large;
    bench.rounds(
        name,
        &["get", "put"],
        &candidates,
        bytes,
        |bench, running, candidate, op| Ok((transfer(bench, running, candidate, op, None)?, Extra::new())),
    );
    Ok(())
}

/// Moves the large file once, warm, and compares what arrived. What is to be done by hand besides is made from the
/// paths of both files.
pub(super) fn transfer(
    bench: &Bench,
    running: &Running,
    candidate: Candidate,
    op: &str,
    by_hand: Option<fn(&Job, &Path, &Path) -> Job>,
) -> Result<Used> {
    let site = bench.site(running);
    let bytes = bench.plan.large;
    let (local, copy, job);
    if op == "get" {
        candidate.prepare_get(site, LARGE)?;
        local = target(&bench.arena, "got.bin")?;
        job = candidate
            .job(
                site,
                &Task::Get {
                    remote: LARGE,
                    local: &local,
                },
            )?
            .context("cannot get")?;
        copy = local.clone();
    } else {
        local = bench.arena.cli(LARGE);
        job = candidate
            .job(
                site,
                &Task::Put {
                    local: &local,
                    remote: UPLOADED,
                },
            )?
            .context("cannot put")?;
        copy = bench.arena.srv(UPLOADED);
    }
    let source = bench.arena.cli(LARGE);
    let job = match by_hand {
        Some(by_hand) => by_hand(&job, &source, &copy),
        None => job,
    };
    let warm = Warmer::start(bytes);
    let used = bench.measure(&job, running, patience(bytes));
    drop(warm);
    let compared = used.is_ok().then(|| same(&source, &copy)).transpose();
    if op == "get" {
        crate::arena::remove(&copy)?;
    } else {
        candidate.remove(site, UPLOADED)?;
    }
    compared?;
    used
}
