//! Small files and a large one over a long way: 50 ms of round trip, 1 Gbit/s.

use anyhow::{Context as _, Result};

use super::{Bench, Extra, patience, same, target, tree};
use crate::arena::DELAYED;
use crate::delay::Link;
use crate::measure::Used;
use crate::peers::{Candidate, Client, Running, Site, Task, nginx, openssh, own, rsyncd};
use crate::plan::SMALL_BYTES;

const NAME: &str = "delayed";

/// The name under which it is uploaded.
const UPLOADED: &str = "uploaded.bin";

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    bench.arena.tree(&bench.plan)?;
    bench.arena.source(DELAYED, bench.plan.delayed, 3)?;
    bench.skip(
        NAME,
        "FTP servers",
        "their connections for data do not pass through a proxy for one port",
    );
    bench.skip(
        NAME,
        "openssh, sftp (small files)",
        "takes several round trips for each file: a quarter of an hour",
    );
    let mut small = own(true);
    small.extend([nginx(true), openssh(Client::Tar), rsyncd()]);
    let small = bench.able(NAME, small);
    let bytes = u64::from(bench.plan.small_files()) * SMALL_BYTES;
    bench.rounds(
        NAME,
        &["get small", "put small"],
        &small,
        bytes,
        |bench, running, candidate, op| {
            let link = Link::to(running.port)?;
            let site = Site {
                arena: &bench.arena,
                port: link.port(),
                far: true,
            };
            candidate.log_in(site)?;
            Ok((tree::transfer(bench, running, site, candidate, op)?, Extra::new()))
        },
    );
    let mut large = own(true);
    large.extend([nginx(true), openssh(Client::Sftp), rsyncd()]);
    let large = bench.able(NAME, large);
    let bytes = bench.plan.delayed;
    bench.rounds(
        NAME,
        &["get large", "put large"],
        &large,
        bytes,
        |bench, running, candidate, op| Ok((transfer(bench, running, candidate, op)?, Extra::new())),
    );
    Ok(())
}

fn transfer(bench: &Bench, running: &Running, candidate: Candidate, op: &str) -> Result<Used> {
    let link = Link::to(running.port)?;
    let direct = bench.site(running);
    let site = Site {
        arena: &bench.arena,
        port: link.port(),
        far: true,
    };
    let source = bench.arena.cli(DELAYED);
    let bytes = bench.plan.delayed;
    if op.starts_with("get") {
        candidate.prepare_get(direct, DELAYED)?;
        candidate.log_in(site)?;
        let local = target(&bench.arena, "got.bin")?;
        let job = candidate
            .job(
                site,
                &Task::Get {
                    remote: DELAYED,
                    local: &local,
                },
            )?
            .context("cannot get")?;
        let used = bench.measure(&job, running, patience(bytes));
        let compared = used.is_ok().then(|| same(&source, &local)).transpose();
        crate::arena::remove(&local)?;
        compared?;
        used
    } else {
        candidate.log_in(site)?;
        let job = candidate
            .job(
                site,
                &Task::Put {
                    local: &source,
                    remote: UPLOADED,
                },
            )?
            .context("cannot put")?;
        let used = bench.measure(&job, running, patience(bytes));
        let compared = used
            .is_ok()
            .then(|| same(&source, &bench.arena.srv(UPLOADED)))
            .transpose();
        candidate.log_in(direct)?;
        candidate.remove(direct, UPLOADED)?;
        compared?;
        used
    }
}
