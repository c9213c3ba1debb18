//! A directory of very many entries, listed.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};

use anyhow::{Context as _, Result, bail};

use super::{Bench, Extra, patience, target};
use crate::peers::{Client, Task, ftp_peers, nginx, openssh, own, rsyncd};

const NAME: &str = "listing";

/// The directory.
const MANY: &str = "many";

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let directory = bench.arena.srv(MANY);
    fs::create_dir_all(&directory)?;
    bench.arena.own(&directory)?;
    for number in 0..bench.plan.entries {
        File::create(directory.join(format!("entry-{number:07}.dat")))?;
    }
    bench.arena.own_all(&directory)?;
    let mut all = own(true);
    all.truncate(1);
    all.extend(own(false).into_iter().take(1));
    all.extend(ftp_peers(Client::Curl, true));
    all.extend(ftp_peers(Client::Curl, false));
    all.extend([nginx(true), openssh(Client::Sftp), rsyncd()]);
    let candidates = bench.able(NAME, all);
    let entries = bench.plan.entries;
    bench.rounds(NAME, &["list"], &candidates, 0, |bench, running, candidate, _| {
        let said = target(&bench.arena, "listing.txt")?;
        let job = candidate
            .job(bench.site(running), &Task::List { remote: MANY })?
            .context("cannot list")?;
        let used = bench.measure(&job.output(&said), running, patience(0))?;
        let lines = BufReader::new(File::open(&said)?).split(b'\n').count();
        if lines < entries as usize {
            bail!("lists {lines} of {entries} entries");
        }
        Ok((
            used,
            Extra::from([("entries/s".to_owned(), f64::from(entries) / used.wall)]),
        ))
    });
    crate::arena::remove(&directory)
}
