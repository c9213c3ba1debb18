//! Sessions that do nothing: what each of them costs the server in memory.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use super::sessions::{Door, check, enter};
use super::{Bench, Extra};
use crate::measure::around;
use crate::meter::Meter;
use crate::peers::{Client, ftp_peers, nginx, own};

const NAME: &str = "idle";

/// How long sessions rest before memory is looked at.
const REST: Duration = Duration::from_secs(3);

/// A process for each session takes gigabytes from here on.
const MOST_PROCESSES: u32 = 1000;

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    raise_open_files();
    bench.arena.tree(&bench.plan)?;
    let runtime = Runtime::new().context("a runtime")?;
    for count in bench.plan.idle.clone() {
        for tls in [true, false] {
            let mut all = own(tls);
            all.truncate(1);
            all.push(nginx(tls));
            if count <= MOST_PROCESSES {
                all.extend(ftp_peers(Client::Curl, tls));
            } else {
                bench.skip(
                    NAME,
                    "FTP servers",
                    &format!("a process for each of {count} sessions takes gigabytes"),
                );
            }
            let candidates = bench.able(NAME, all);
            let op = format!("{count} {}", if tls { "TLS" } else { "plain" });
            bench.rounds(NAME, &[&op], &candidates, 0, |bench, running, candidate, _| {
                let rest = if bench.plan.is_tiny() { REST / 10 } else { REST };
                let door = runtime.block_on(Door::new(candidate, running.port))?;
                thread::sleep(rest);
                let before = running.meter.proportional();
                let meter = Meter::new("client");
                let (held, used) = around(&meter, &running.meter, || {
                    Ok(runtime.block_on(enter(&door, count, true)))
                })?;
                check(&held)?;
                thread::sleep(rest);
                let grown = running.meter.proportional().saturating_sub(before);
                let _within = runtime.enter();
                drop(held);
                Ok((
                    used,
                    Extra::from([("KiB each".to_owned(), grown as f64 / 1024.0 / f64::from(count))]),
                ))
            });
        }
    }
    Ok(())
}

/// As many open files as the machine permits.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // If it fails, so do sessions, and say so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
