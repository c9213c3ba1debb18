//! One large file with the checksum that a peer's user has to run by hand: both sides hashed at once.

use std::path::Path;

use anyhow::Result;

use super::{Bench, Extra, large};
use crate::arena::LARGE;
use crate::measure::Job;
use crate::peers::{Candidate, Client, Daemon, ftp_peers, nginx, openssh, own};
use crate::tools::find;

const NAME: &str = "checksum";

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    bench.arena.source(LARGE, bench.plan.large, 1)?;
    let bytes = bench.plan.large;
    for tls in [false, true] {
        let mut all = own(tls);
        let fast = |candidate: &Candidate| candidate.daemon != Daemon::Proftpd;
        all.extend(ftp_peers(Client::Curl, tls).into_iter().filter(fast));
        all.push(nginx(tls));
        if tls {
            all.push(openssh(Client::Sftp));
        }
        let mut candidates = bench.able(NAME, all);
        if find("openssl").is_none() {
            bench.skip(NAME, "all peers", "openssl is not installed");
            candidates.retain(Candidate::is_own);
        }
        let ops = if tls {
            ["get TLS", "put TLS"]
        } else {
            ["get plain", "put plain"]
        };
        bench.rounds(NAME, &ops, &candidates, bytes, |bench, running, candidate, op| {
            let op = op.split(' ').next().unwrap_or(op);
            // Ours is proven already.
            let by_hand = (!candidate.is_own()).then_some(hashed as fn(&Job, &Path, &Path) -> Job);
            Ok((large::transfer(bench, running, candidate, op, by_hand)?, Extra::new()))
        });
    }
    Ok(())
}

fn hashed(job: &Job, source: &Path, copy: &Path) -> Job {
    let digest = |path: &Path| Job::new("openssl").args(["dgst", "-sha256"]).arg(path).line();
    Job::script(&format!(
        "{} && {{ {} & {}; wait; }}",
        job.line(),
        digest(source),
        digest(copy)
    ))
}
