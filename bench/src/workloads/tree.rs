//! Many small files, down and up.

use anyhow::{Context as _, Result};

use super::{Bench, Extra, patience, same, target};
use crate::arena::{TREE, tree_file};
use crate::measure::Used;
use crate::peers::{Candidate, Client, Running, Site, Task, ftp_peers, nginx, openssh, own, rsyncd};
use crate::plan::SMALL_BYTES;

const NAME: &str = "tree";

/// The name under which it is uploaded.
const UPLOADED: &str = "uploaded";

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    bench.arena.tree(&bench.plan)?;
    let mut all = own(true);
    all.extend(own(false));
    all.extend([
        rsyncd(),
        nginx(true),
        nginx(false),
        openssh(Client::Tar),
        openssh(Client::Sftp),
    ]);
    all.extend(ftp_peers(Client::Lftp, false));
    // Of those that encrypt, this one stalls the least.
    all.extend(ftp_peers(Client::Lftp, true).pop());
    let candidates = bench.able(NAME, all);
    let bytes = u64::from(bench.plan.small_files()) * SMALL_BYTES;
    bench.rounds(
        NAME,
        &["get", "put"],
        &candidates,
        bytes,
        |bench, running, candidate, op| {
            Ok((
                transfer(bench, running, bench.site(running), candidate, op)?,
                Extra::new(),
            ))
        },
    );
    Ok(())
}

/// The files of the tree.
pub(super) fn files(bench: &Bench) -> Vec<String> {
    let plan = &bench.plan;
    let names = |directory| (0..plan.files).map(move |file| tree_file(directory, file));
    (0..plan.directories).flat_map(names).collect()
}

/// Moves the tree once, and compares what arrived.
pub(super) fn transfer(
    bench: &Bench,
    running: &Running,
    site: Site<'_>,
    candidate: Candidate,
    op: &str,
) -> Result<Used> {
    let files = files(bench);
    let limit = patience(0).mul_f64(2.0);
    let direct = Site {
        port: running.port,
        ..site
    };
    if op.starts_with("get") {
        candidate.log_in(direct)?;
        candidate.prepare_get_tree(direct, TREE, &files)?;
        candidate.log_in(site)?;
        let local = target(&bench.arena, "got")?;
        let task = Task::GetTree {
            remote: TREE,
            local: &local,
            files: &files,
        };
        let job = candidate.job(site, &task)?.context("cannot get")?;
        let used = bench.measure(&job, running, limit)?;
        same(&bench.arena.cli(TREE), &local)?;
        crate::arena::remove(&local)?;
        Ok(used)
    } else {
        let local = bench.arena.cli(TREE);
        let task = Task::PutTree {
            local: &local,
            remote: UPLOADED,
            files: &files,
        };
        let job = candidate.job(site, &task)?.context("cannot put")?;
        let used = bench.measure(&job, running, limit);
        let compared = used
            .is_ok()
            .then(|| same(&local, &bench.arena.srv(UPLOADED)))
            .transpose();
        candidate.log_in(direct)?;
        candidate.remove(direct, UPLOADED)?;
        compared?;
        used
    }
}
