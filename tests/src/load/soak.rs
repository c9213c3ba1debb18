//! Mixed work for a long time: what the server holds at its end is what it held at its beginning.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ftp_client::{Algorithm, Client, Code, Error, RemotePath};
use ftp_proto::{Op, Re, ResumeMode};
use tokio::task::JoinSet;

use super::transfers::{get, put};
use super::{Report, server, user};
use crate::disk::parts;
use crate::{Channel, MIB, PASSWORD, Plan, Raw, Rig, eventually, write_noise};

/// How many users work at the same time.
const WORKERS: usize = 12;

/// The files each of them has, small and large.
const SIZES: [u64; 6] = [0, 700, 60_000, 262_144, 262_145, 3 * MIB];

/// What the private memory may have grown by over what it was after the first tenths: the most that
/// chance makes of which sessions move what at the moment one looks, for each may hold some MiB.
const GROWTH_KIB: u64 = WORKERS as u64 * 2 * 1024;

/// From what time on the first tenths are long enough to have seen what is usual.
const GROWTH_SHOWS: Duration = Duration::from_secs(60);

/// What the private memory may be at any time: what stands in `docs/architecture.md` for each session in
/// its worst moment, and the process itself.
const MOST_KIB: u64 = (WORKERS as u64 * 6 + 48) * 1024;

/// What a long time of mixed work came to.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Rounds of work done.
    pub rounds: u64,
    /// All figures.
    pub report: Report,
}

/// What the server holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    private_kib: u64,
    files: usize,
    threads: u64,
    staged: usize,
}

impl Held {
    fn now(rig: &Rig) -> Self {
        Self {
            private_kib: server(rig).private_kib(),
            files: server(rig).open_files(),
            threads: server(rig).threads(),
            staged: (0..WORKERS).map(|number| parts(&rig.home(&user(number))).len()).sum(),
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            private_kib: self.private_kib.max(other.private_kib),
            files: self.files.max(other.files),
            threads: self.threads.max(other.threads),
            staged: self.staged.max(other.staged),
        }
    }
}

/// Works for so long, compares the most the server held around a fifth of the time with the most at its
/// end, and demands that nothing is left over.
pub async fn soak(time: Duration) -> Soak {
    let mut plan = Plan::new().server("durability = \"none\"");
    for number in 0..WORKERS {
        plan = plan.user(&user(number), "quota = \"64 MiB\"");
    }
    let mut rig = Arc::new(plan.start());
    for number in 0..WORKERS {
        rig.client(&user(number)).ping().await.unwrap();
    }
    all_left(&rig).await;
    let unused = Held::now(&rig);
    let (began, used) = (Instant::now(), server(&rig).ticks());
    let mut working = JoinSet::new();
    for number in 0..WORKERS {
        let rig = Arc::clone(&rig);
        working.spawn(async move { work(&rig, number, began + time).await });
    }
    let (early, late) = (time.mul_f64(0.15)..time.mul_f64(0.25), time.mul_f64(0.9)..time);
    let (mut first, mut last) = (Held::default(), Held::default());
    while began.elapsed() < time {
        tokio::time::sleep(super::LOOK_EVERY).await;
        let held = Held::now(&rig);
        let at = began.elapsed();
        if early.contains(&at) {
            first = first.most(held);
        } else if late.contains(&at) {
            last = last.most(held);
        }
    }
    let rounds: u64 = working.join_all().await.into_iter().sum();
    assert!(
        time < GROWTH_SHOWS || last.private_kib <= first.private_kib + GROWTH_KIB,
        "memory grows: {first:?}, {last:?}"
    );
    let most = first.most(last);
    assert!(most.private_kib <= MOST_KIB, "more memory than promised: {most:?}");
    for number in 0..WORKERS {
        let mut client = rig.client(&user(number));
        let usage = client.df().await.unwrap();
        assert_eq!((usage.pending, usage.reserved, usage.uploads), (0, 0, 0));
        client.quit().await.unwrap();
    }
    all_left(&rig).await;
    let over = Held::now(&rig);
    assert_eq!(over.staged, 0, "staged files are left over");
    assert!(over.files <= unused.files, "files are left open: {unused:?}, {over:?}");
    let ticks = server(&rig).ticks() - used;
    let sessions = end(Arc::get_mut(&mut rig).expect("nobody else works any more"));
    assert_eq!(sessions, 0, "tasks are left over");

    let mut report = Report::default();
    report.row("time", format!("{} s", time.as_secs()));
    report.row("rounds of work", rounds);
    report.row(
        "processor of the server",
        format!("{:.0} %", ticks as f64 / time.as_secs_f64()),
    );
    for (what, held) in [
        ("before", unused),
        ("most around a fifth of the time", first),
        ("most in the last tenth", last),
        ("after it", over),
    ] {
        report.row(format!("{what}: private memory"), format!("{} KiB", held.private_kib));
        report.row(format!("{what}: open files"), held.files);
        report.row(format!("{what}: threads"), held.threads);
        report.row(format!("{what}: staged files"), held.staged);
    }
    report.row("sessions left at the end", sessions);
    Soak { rounds, report }
}

/// Waits until nobody is connected.
async fn all_left(rig: &Arc<Rig>) {
    let rig = Arc::clone(rig);
    let waiting = tokio::task::spawn_blocking(move || {
        eventually("nobody is connected", || (established(&rig) == 0).then_some(()));
    });
    waiting.await.unwrap();
}

/// Sockets of the server that are connected.
fn established(rig: &Rig) -> usize {
    let port = format!(":{:04X}", rig.address().port());
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", rig.server().pid())).unwrap();
    let is_connected = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Established, or closed by the client alone.
        fields[1].ends_with(&port) && ["01", "08"].contains(&fields[3])
    };
    table.lines().skip(1).filter(is_connected).count()
}

/// One user's work; how many rounds it was.
async fn work(rig: &Rig, number: usize, until: Instant) -> u64 {
    let name = user(number);
    let local = |file: &str| rig.local(&format!("{name}-{file}"));
    let mut client = rig.client(&name);
    let mut rounds = 0;
    while Instant::now() < until {
        let index = usize::try_from(rounds).unwrap() % SIZES.len();
        let (size, remote) = (SIZES[index], RemotePath::from(format!("f{index}").as_str()));
        let (source, back) = (local("source"), local("back"));
        write_noise(&source, size, rounds);
        let sent = put(&mut client, source, remote.clone(), size).await;
        let received = get(&mut client, remote.clone(), back, size).await;
        assert_eq!(sent.digest, received.digest);
        assert_eq!(client.stat(&remote, true).await.unwrap().digest, Some(sent.digest));
        shuffle(&mut client, &remote).await;
        match rounds % 4 {
            0 => break_off(rig, &name, &mut client).await,
            1 => misbehave(rig, &name).await,
            2 => client = rig.client(&name),
            _ => client.quit().await.unwrap(),
        }
        rounds += 1;
    }
    client.quit().await.unwrap();
    rounds
}

/// Directories, names, copies, and what is refused.
async fn shuffle(client: &mut Client, file: &RemotePath) {
    let [directory, moved, copy] = ["d", "d/moved", "d/copy"].map(RemotePath::from);
    client.mkdir(&directory, true).await.unwrap();
    client.cp(file, &copy, true).await.unwrap();
    client.mv(&copy, &moved, true).await.unwrap();
    client.sum(&moved, Algorithm::Blake3, true).await.unwrap();
    let mut listing = client.list(&directory, true).await.unwrap();
    let page = listing.next_page().await.unwrap().expect("a page");
    assert_eq!(page.len(), 1);
    assert!(listing.next_page().await.unwrap().is_none());
    assert!(matches!(client.rm(&copy, true).await, Err(Error::Refused(_))));
    client.rmdir(&directory, true, true).await.unwrap();
}

/// An upload that ends in the middle, and is given up later.
async fn break_off(rig: &Rig, name: &str, client: &mut Client) {
    let mut raw = Raw::login(rig.address(), Channel::Tls, name, PASSWORD).await;
    let id = raw
        .request(Op::Put {
            path: "broken".to_owned(),
            size: Some(MIB),
            mtime: None,
            digest: Algorithm::Sha256,
            replace: true,
            parents: false,
            ask: true,
            resume: ResumeMode::Never,
        })
        .await;
    assert!(matches!(raw.answer(id).await, Re::Go { .. }));
    raw.data(&[7; 200_000]).await;
    drop(raw);
    // Of a connection that is lost, nothing may have arrived.
    match client.discard(&RemotePath::from("broken")).await {
        Ok(()) => {}
        Err(Error::Refused(fault)) if fault.code == Code::NotFound => {}
        Err(error) => panic!("{error}"),
    }
}

/// A session that breaks the rules, and a connection that never begins one.
async fn misbehave(rig: &Rig, name: &str) {
    let mut raw = Raw::login(rig.address(), Channel::Tls, name, PASSWORD).await;
    raw.bytes(&[0xff; 5]).await;
    assert!(matches!(raw.reply().await.map(|reply| reply.re), Some(Re::Bye(_))));
    drop(Raw::connect(rig.address(), Channel::Plain).await);
}

/// Ends the server; how many sessions it still had.
fn end(rig: &mut Rig) -> u64 {
    rig.terminate();
    let draining = rig.log().event("the server drains", |event| {
        event["event"] == "server"
            && event["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("draining"))
    });
    draining["sessions"].as_u64().unwrap()
}
