//! Many transfers at once: none lost, none starved.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftp_client::{Client, GetItem, Kind, Outcome, PutItem, RemotePath, TransferOptions, Transferred};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{Report, server, user};
use crate::{Plan, Rig, sha256, write_noise};

/// How many users share the transfers.
const USERS: usize = 50;

/// What many transfers at once came to.
#[derive(Clone, Debug)]
pub struct Transfers {
    /// How many times as long as the median the slowest took: much when one is starved.
    pub slowest_to_median: f64,
    /// All figures.
    pub report: Report,
}

/// Runs so many transfers of `size` bytes at once, up and down in turns, each on its own connection, and
/// compares every file on the disk with its source.
pub async fn transfers(transfers: usize, size: u64) -> Transfers {
    let mut plan = Plan::new().limits(&format!(
        "sessions = {0}\nsessions_before_login = {0}\nsessions_per_address = {0}\nconnects_per_address = \"unlimited\"",
        2 * transfers
    ));
    for number in 0..USERS.min(transfers) {
        plan = plan.user(&user(number), &format!("max_sessions = {transfers}"));
    }
    let rig = Arc::new(plan.start());
    let jobs: Vec<Job> = (0..transfers).map(|number| Job::new(&rig, number, size)).collect();
    let together = Arc::new(Barrier::new(transfers));
    let before = server(&rig).private_kib();
    let began = Instant::now();
    let mut running = JoinSet::new();
    for job in jobs {
        let (rig, together) = (Arc::clone(&rig), Arc::clone(&together));
        running.spawn(async move { job.run(&rig, &together).await });
    }
    let mut times = Vec::new();
    let mut all = Duration::ZERO;
    while let Some(done) = running.join_next().await {
        let (time, from) = done.unwrap();
        times.push(time);
        all = all.max(from.elapsed());
    }
    times.sort();
    let (fastest, median, slowest) = (times[0], times[transfers / 2], times[transfers - 1]);
    let slowest_to_median = slowest.as_secs_f64() / median.as_secs_f64().max(0.001);

    let mut report = Report::default();
    report.row("transfers at once, each verified", transfers);
    report.row("users", USERS.min(transfers));
    report.row("bytes each", size);
    report.row(
        "logins and transfers",
        format!("{:.1} s", began.elapsed().as_secs_f64()),
    );
    report.row("transfers", format!("{:.1} s", all.as_secs_f64()));
    let moved = size as f64 * transfers as f64 / 1e6;
    report.row("together", format!("{:.0} MB/s", moved / all.as_secs_f64().max(0.001)));
    report.row("fastest", format!("{:.2} s", fastest.as_secs_f64()));
    report.row("median", format!("{:.2} s", median.as_secs_f64()));
    report.row("slowest", format!("{:.2} s", slowest.as_secs_f64()));
    report.row("slowest to median", format!("{slowest_to_median:.1}"));
    report.row("server before them", format!("{before} KiB"));
    report.row("server at its peak", format!("{} KiB", server(&rig).peak_kib()));
    Transfers {
        slowest_to_median,
        report,
    }
}

/// One transfer to be.
struct Job {
    user: String,
    up: bool,
    size: u64,
    local: PathBuf,
    remote: RemotePath,
    on_server: PathBuf,
}

impl Job {
    fn new(rig: &Rig, number: usize, size: u64) -> Self {
        let user = user(number % USERS);
        let name = format!("file{number}");
        let job = Self {
            up: number.is_multiple_of(2),
            size,
            local: rig.local(&name),
            remote: RemotePath::from(name.as_str()),
            on_server: rig.home(&user).join(&name),
            user,
        };
        let source = if job.up { &job.local } else { &job.on_server };
        write_noise(source, size, number as u64);
        job
    }

    /// How long it took, and when all of them began.
    async fn run(self, rig: &Rig, together: &Barrier) -> (Duration, Instant) {
        let mut client = rig.client(&self.user);
        client.login().await.unwrap();
        together.wait().await;
        let began = Instant::now();
        let done = if self.up {
            put(&mut client, self.local.clone(), self.remote, self.size).await
        } else {
            get(&mut client, self.remote, self.local.clone(), self.size).await
        };
        let time = began.elapsed();
        assert_eq!((done.size, done.moved), (self.size, self.size));
        client.quit().await.unwrap();
        let (local, on_server) = (self.local, self.on_server);
        let compared = tokio::task::spawn_blocking(move || {
            assert_eq!(sha256(&local), sha256(&on_server), "{}", local.display());
            fs::remove_file(local).unwrap();
        });
        compared.await.unwrap();
        (time, began)
    }
}

/// Uploads a file, replacing what is there.
pub(super) async fn put(client: &mut Client, local: PathBuf, remote: RemotePath, size: u64) -> Transferred {
    let item = PutItem {
        local,
        remote,
        kind: Kind::File,
        size,
    };
    done(client.put(vec![item], &replacing()).await)
}

/// Downloads a file, replacing what is there.
pub(super) async fn get(client: &mut Client, remote: RemotePath, local: PathBuf, size: u64) -> Transferred {
    let item = GetItem {
        remote,
        local,
        kind: Kind::File,
        size,
        within: None,
    };
    done(client.get(vec![item], &replacing()).await)
}

fn replacing() -> TransferOptions {
    TransferOptions {
        force: true,
        ..TransferOptions::default()
    }
}

fn done(mut outcomes: Vec<Outcome>) -> Transferred {
    let outcome = outcomes.remove(0);
    match outcome.result {
        Ok(done) => done.expect("a file"),
        Err(error) => panic!("{}: {error}", outcome.local.display()),
    }
}
