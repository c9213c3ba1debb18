//! Many clients at once, each a process of its own that gets a file and throws it away.

use std::fs::File;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::{Bench, Extra, patience};
use crate::arena::EACH;
use crate::measure::{Job, Used, around};
use crate::meter::Meter;
use crate::peers::{Client, Running, Task, ftp_peers, nginx, openssh, own};

const NAME: &str = "crowd";

/// How often ended clients are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    bench.arena.source(EACH, bench.plan.each, 2)?;
    let bytes = bench.plan.each * u64::from(bench.plan.clients);
    for tls in [true, false] {
        let mut all = own(tls);
        all.push(nginx(tls));
        all.extend(ftp_peers(Client::Curl, tls));
        if tls {
            all.push(openssh(Client::Sftp));
        }
        let candidates = bench.able(NAME, all);
        let op = if tls { "get TLS" } else { "get plain" };
        bench.rounds(NAME, &[op], &candidates, bytes, |bench, running, candidate, _| {
            let site = bench.site(running);
            candidate.prepare_get(site, EACH)?;
            let job = candidate
                .job(site, &Task::Discard { remote: EACH })?
                .context("cannot throw away")?;
            all_at_once(bench, running, &job, bytes)
        });
    }
    Ok(())
}

/// Has all clients begin in the same moment, and takes the time to each one's end.
fn all_at_once(bench: &Bench, running: &Running, job: &Job, bytes: u64) -> Result<(Used, Extra)> {
    let meter = Meter::new("client");
    let said = File::create(bench.arena.log("client.out"))?;
    let limit = patience(bytes);
    // Whoever started them one after the other would compete with those that run already, and give the first ones a lead.
    let job = job.clone().held();
    let mut alive: Vec<Child> = Vec::new();
    for _ in 0..bench.plan.clients {
        alive.push(job.start(&meter, &said)?);
    }
    meter.wait_until_stopped(alive.len())?;
    let ((times, failed), used) = around(&meter, &running.meter, || {
        let (began, mut times, mut failed) = (Instant::now(), Vec::new(), 0);
        meter.signal(Signal::CONT);
        while !alive.is_empty() {
            let mut ended = Ok(());
            alive.retain_mut(|child| match child.try_wait() {
                Ok(None) => true,
                Ok(Some(status)) => {
                    times.push(began.elapsed().as_secs_f64());
                    failed += u32::from(!status.success());
                    false
                }
                Err(error) => {
                    ended = Err(error);
                    false
                }
            });
            ended?;
            if began.elapsed() > limit {
                meter.signal(Signal::KILL);
                bail!(
                    "stalls: {} clients have not ended after {} s",
                    alive.len(),
                    limit.as_secs()
                );
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok((times, failed))
    })?;
    if failed > 0 {
        let text = std::fs::read_to_string(bench.arena.log("client.out")).unwrap_or_default();
        bail!(
            "{failed} of {} clients failed: {}",
            bench.plan.clients,
            text.lines().next().unwrap_or_default()
        );
    }
    let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
    let slowest = times.iter().copied().fold(0.0, f64::max);
    Ok((used, Extra::from([("slowest/fastest".to_owned(), slowest / fastest)])))
}
