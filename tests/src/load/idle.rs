//! Many sessions that do nothing: what each of them costs the server in memory.

use std::sync::Arc;
use std::time::Duration;

use ftp_client::Credential;
use ftp_proto::{BEAT_INTERVAL, Op, Re, Request};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Report, server, settled_kib, user};
use crate::{Channel, PASSWORD, Plan, Raw, Rig};

/// How many connect at the same time: no more than the server lets wait for their login.
const AT_ONCE: usize = 64;

/// How many sessions each user has.
const EACH: usize = 100;

/// What idle sessions cost.
#[derive(Clone, Debug)]
pub struct Idle {
    /// Private memory of the server for each connection before its login, in bytes.
    pub waiting_bytes: u64,
    /// Private memory of the server for each session that is logged in and idle, in bytes.
    pub session_bytes: u64,
    /// All figures.
    pub report: Report,
}

/// Opens so many connections, logs all of them in, lets them rest for `rest`, and uses each once more.
pub async fn idle(connections: usize, rest: Duration) -> Idle {
    let mut plan = Plan::new()
        .server("durability = \"none\"")
        // All come from one address, and wait for each other.
        .limits(&format!(
            "sessions = {0}\nsessions_before_login = {0}\nsessions_per_address = {0}\nhello_timeout = \"10 min\"\nconnects_per_address = \"unlimited\"",
            2 * connections + AT_ONCE
        ));
    let users = connections.div_ceil(EACH);
    for number in 0..users {
        plan = plan.user(&user(number), &format!("max_sessions = {}", EACH + 1));
    }
    let rig = Arc::new(plan.start());
    let keys = keys(&rig, users).await;

    let empty = settled_kib(&rig).await;
    let began = std::time::Instant::now();
    let waiting = connect(&rig, connections).await;
    let connecting = began.elapsed();
    let before_login = settled_kib(&rig).await;
    let began = std::time::Instant::now();
    let sessions = log_in(waiting, &keys).await;
    let logging_in = began.elapsed();
    let logged_in = settled_kib(&rig).await;
    let files = server(&rig).open_files();
    let used = server(&rig).ticks();
    let sessions = keep(sessions, rest).await;
    let at_rest_ticks = server(&rig).ticks() - used;
    let rested = settled_kib(&rig).await;
    let alive = ask_all(sessions).await;
    assert_eq!(alive, connections, "sessions are lost");

    let each = |kib: u64| kib.saturating_sub(empty) * 1024 / connections as u64;
    let (waiting_bytes, session_bytes) = (each(before_login), each(rested));
    let mut report = Report::default();
    report.row("connections", connections);
    report.row("users", users);
    report.row("server without them", format!("{empty} KiB"));
    report.row("with all, TLS done, before login", format!("{before_login} KiB"));
    report.row("each of them", format!("{:.1} KiB", waiting_bytes as f64 / 1024.0));
    report.row("with all logged in", format!("{logged_in} KiB"));
    report.row("each of them", format!("{:.1} KiB", each(logged_in) as f64 / 1024.0));
    report.row(format!("after {} s of beats", rest.as_secs()), format!("{rested} KiB"));
    report.row("each of them", format!("{:.1} KiB", session_bytes as f64 / 1024.0));
    report.row("open files of the server", files);
    report.row(
        "handshakes a second",
        (connections as f64 / connecting.as_secs_f64()) as u64,
    );
    report.row(
        "logins a second",
        (connections as f64 / logging_in.as_secs_f64()) as u64,
    );
    report.row(
        "processor while they rest",
        format!("{:.1} %", at_rest_ticks as f64 / rest.as_secs_f64().max(0.001)),
    );
    Idle {
        waiting_bytes,
        session_bytes,
        report,
    }
}

/// The keys of every user, so that a login costs this side nothing; and every home is open then.
async fn keys(rig: &Rig, users: usize) -> Arc<Vec<Credential>> {
    let password = Credential::Password(ftp_client::Secret::new(PASSWORD.to_owned()));
    let mut keys = Vec::new();
    for number in 0..users {
        let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
        let (_, derived) = raw.try_login_as(&user(number), &password, async || {}).await.unwrap();
        assert_eq!(raw.ask(Op::Quit).await, Re::Ok);
        keys.push(Credential::Keys(derived));
    }
    Arc::new(keys)
}

async fn connect(rig: &Arc<Rig>, connections: usize) -> Vec<Raw> {
    let few = Arc::new(Semaphore::new(AT_ONCE));
    let mut connecting = JoinSet::new();
    for _ in 0..connections {
        let (few, address) = (Arc::clone(&few), rig.address());
        connecting.spawn(async move {
            let _one_of_few = few.acquire().await.unwrap();
            Raw::connect(address, Channel::Tls).await
        });
    }
    connecting.join_all().await
}

async fn log_in(waiting: Vec<Raw>, keys: &Arc<Vec<Credential>>) -> Vec<Raw> {
    let few = Arc::new(Semaphore::new(AT_ONCE));
    let mut entering = JoinSet::new();
    for (index, mut raw) in waiting.into_iter().enumerate() {
        let (few, keys) = (Arc::clone(&few), Arc::clone(keys));
        entering.spawn(async move {
            let _one_of_few = few.acquire().await.unwrap();
            let number = index % keys.len();
            raw.try_login_as(&user(number), &keys[number], async || {})
                .await
                .unwrap();
            raw
        });
    }
    entering.join_all().await
}

/// Lets them beat and do nothing else.
async fn keep(sessions: Vec<Raw>, rest: Duration) -> Vec<Raw> {
    let over = CancellationToken::new();
    let mut resting = JoinSet::new();
    for mut raw in sessions {
        let over = over.clone();
        resting.spawn(async move {
            loop {
                tokio::select! {
                    () = over.cancelled() => return raw,
                    () = tokio::time::sleep(BEAT_INTERVAL) => raw.send(&Request { id: 0, op: Op::Beat }).await,
                }
            }
        });
    }
    tokio::time::sleep(rest).await;
    over.cancel();
    resting.join_all().await
}

/// How many of them still answer.
async fn ask_all(sessions: Vec<Raw>) -> usize {
    let mut asking = JoinSet::new();
    for mut raw in sessions {
        asking.spawn(async move { raw.ask(Op::Ping).await == Re::Ok });
    }
    asking.join_all().await.into_iter().filter(|answered| *answered).count()
}
