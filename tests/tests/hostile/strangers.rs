//! Who never logs in.

use std::io::Write as _;
use std::net::IpAddr;

use ftp_proto::{Code, LoginReply};
use ftp_tests::{Channel, Plan, Raw, eventually};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::{Siege, host};

/// What a connection before its login may cost: TLS, its task and no buffers.
const STRANGER_KIB: u64 = 64;

/// Open files of the two users' homes, which may be opened only after others were counted.
const HOMES: usize = 10;

/// The default of `sessions_before_login`.
const PLACES: u64 = 256;

/// Lets this process hold so many connections, or as many as the machine allows.
fn may_hold(connections: u64) -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    // Other tests of this program need some.
    connections.min(limit.maximum.unwrap_or(u64::MAX).saturating_sub(1000))
}

async fn connect(source: IpAddr, siege: &Siege) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(siege.address()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_connections_without_a_login_keep_nobody_out() {
    let siege = Siege::start();
    let all = may_hold(5000);
    let mut held = Vec::new();
    for number in 0..all {
        // From a few addresses, of which each holds as many as it gets.
        let source = host(20 + u8::try_from(number % 10).unwrap());
        held.push(connect(source, &siege).await.unwrap());
        if number % 1000 == 999 {
            siege.alice_works().await;
        }
    }
    siege.alice_works().await;
    // Those that were told to go have gone.
    eventually("the others are let go", || {
        (siege.server().open_files() as u64 <= PLACES + 64).then_some(())
    });
    siege.took_at_most(2 * PLACES * STRANGER_KIB);
    // Of each address its lines, of refused ones a line a second, and what alice did.
    siege.logged_at_most(10 * 20 + 200);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_is_turned_away() {
    let siege = Siege::start();
    // A ClientHello of TLS 1.2: no extension tells of a later version.
    let mut tls12 = vec![0x16, 3, 1, 0, 0x2d, 1, 0, 0, 0x29, 3, 3];
    tls12.extend([7; 32]);
    tls12.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let garbage = ftp_tests::noise(100_000, 1);
    let oversized = [&[0x16, 3, 3, 0xff, 0xff][..], &[0; 70_000]].concat();
    let long_handshake = [&[0x16, 3, 3, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 16_380]]
        .concat()
        .repeat(20);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"USER anonymous\r\n",
        b"SSH-2.0-x\r\n",
        &tls12,
        &garbage,
        &oversized,
        &long_handshake,
        &[0x15, 3, 3, 0, 2, 1, 0],
    ] {
        let mut tcp = connect(host(3), &siege).await.unwrap();
        let _ = tcp.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tcp.take(4096).read_to_end(&mut answer).await;
        // Nothing, or an alert.
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    }
    siege.rig.log().event("it is logged", |event| {
        event["event"] == "login_failed" && event["cause"].as_str().is_some_and(|cause| cause.contains("TLS"))
    });
    siege.alice_works().await;
    siege.took_at_most(1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_that_are_reset_is_counted_and_forgotten() {
    let siege = Siege::start();
    let open = siege.server().open_files();
    for number in 0..3000 {
        let tcp = connect(host(4), &siege).await.unwrap();
        tcp.set_zero_linger().unwrap();
        if number % 2 == 0 {
            let mut tcp = tcp.into_std().unwrap();
            let _ = tcp.write(&[0x16, 3, 1]);
        }
    }
    siege.alice_works().await;
    eventually("every connection is closed", || {
        (siege.server().open_files() <= open + HOMES + 8).then_some(())
    });
    siege.took_at_most(PLACES / 2 * STRANGER_KIB);
    // Twenty lines a minute of the address, a line a second of those that were refused.
    siege.logged_at_most(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_failing_logins_shuts_out_its_address_and_no_other() {
    const EACH: usize = 10;
    let siege = Siege::of(Plan::new().limits("login_failures = 3"));
    let mut guessing = JoinSet::new();
    for _ in 0..20 {
        let address = siege.address();
        guessing.spawn(async move {
            let mut codes = Vec::new();
            for guess in 0..EACH {
                let Ok(mut raw) = Raw::connect_from(host(5), address, Channel::Tls).await else {
                    continue;
                };
                codes.push(
                    raw.try_login("alice", &format!("guess {guess}"))
                        .await
                        .unwrap_err()
                        .code,
                );
            }
            codes
        });
    }
    siege.alice_works().await;
    let codes: Vec<Code> = guessing.join_all().await.into_iter().flatten().collect();
    siege.alice_works().await;
    assert!(
        codes
            .iter()
            .all(|code| [Code::LoginFailed, Code::TryLater].contains(code)),
        "{codes:?}"
    );
    assert!(codes.iter().filter(|code| **code == Code::TryLater).count() > codes.len() / 2);
    let mut raw = Raw::connect_from(host(5), siege.address(), Channel::Tls).await.unwrap();
    assert!(matches!(raw.login_reply().await, Ok(LoginReply::Hello(_))));
    assert_eq!(
        raw.try_login("alice", ftp_tests::PASSWORD)
            .await
            .map(drop)
            .unwrap_err()
            .code,
        Code::TryLater
    );
    siege.logged_at_most(100);
}
