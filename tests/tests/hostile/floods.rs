//! More of something than anybody needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ftp_client::Code;
use ftp_proto::{Frame, Op, Re};
use ftp_tests::{MIB, Plan, Raw, eventually, write_noise};

use super::{Siege, frame, get, header};

/// Sends something over and over in the background until the server takes no more; what it took is
/// counted.
fn flood(mut raw: Raw, bytes: Vec<u8>, times: usize) -> (Arc<AtomicU64>, tokio::task::JoinHandle<Raw>) {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        for _ in 0..times {
            if raw.try_bytes(&bytes).await.is_err() {
                break;
            }
            counter.fetch_add(1, Ordering::Relaxed);
        }
        raw
    });
    (sent, sending)
}

/// Waits until the flood has stopped: all is sent, or the server takes no more.
async fn stalled(sent: Arc<AtomicU64>, times: usize) -> u64 {
    const SAME: u32 = 60;
    let waiting = tokio::task::spawn_blocking(move || {
        let (mut last, mut same) = (0, 0);
        eventually("the flood stops", || {
            let now = sent.load(Ordering::Relaxed);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            (now == times as u64 || same == SAME).then_some(now)
        })
    });
    waiting.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_requests_without_reading_an_answer() {
    const TIMES: usize = 1000;
    let siege = Siege::start();
    let raw = siege.mallory().await;
    let pings: Vec<u8> = (1..=1000).flat_map(|id| header(id, Op::Ping)).collect();
    let (sent, sending) = flood(raw, pings, TIMES);
    let taken = stalled(sent, TIMES).await;
    siege.alice_works().await;
    assert!(taken < TIMES as u64, "all was read, so the answers wait somewhere");
    // One session: what was queued to be sent, and encrypted.
    siege.took_at_most(2 * 1024);
    sending.abort();
    siege.alice_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancels_and_beats_without_end_while_an_answer_is_not_read() {
    const TIMES: usize = 2000;
    let siege = Siege::start();
    write_noise(&siege.rig.home("mallory").join("large"), 64 * MIB, 1);
    let cancels: Vec<u8> = (1..=100)
        .flat_map(|id| header(1000 + id, Op::Cancel { target: 5000 + id }))
        .collect();
    // A byte of data and much that counts nowhere: a beat with white space in it.
    let mut beat = b"{\"op\":\"beat\",\"id\":0}".to_vec();
    beat.resize(60_000, b' ');
    let beats = [frame(2, b"x"), frame(1, &beat)].concat();
    let mut held = Vec::new();
    for bytes in [cancels, beats] {
        let mut raw = siege.mallory().await;
        let id = raw.request(get("large")).await;
        assert!(matches!(raw.answer(id).await, Re::Begin { .. }));
        let (sent, sending) = flood(raw, bytes, TIMES);
        stalled(sent, TIMES).await;
        held.push(sending);
    }
    siege.alice_works().await;
    // Two sessions in their worst case, as docs/architecture.md counts it.
    siege.took_at_most(2 * 5 * 1024);
    for sending in held {
        sending.abort();
    }
    siege.logged_at_most(40);
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_and_files_that_are_not_read_hold_up_nobody() {
    const SESSIONS: u64 = 16;
    let siege = Siege::start();
    let home = siege.rig.home("mallory");
    write_noise(&home.join("large"), 64 * MIB, 1);
    for number in 0..2000 {
        std::fs::write(home.join(format!("{number:0>200}")), "").unwrap();
    }
    let mut held = Vec::new();
    for session in 0..SESSIONS {
        let mut raw = siege.mallory().await;
        if session % 2 == 0 {
            raw.request(get("large")).await;
        } else {
            for _ in 0..200 {
                raw.request(Op::Ls {
                    path: "/".to_owned(),
                    digests: true,
                })
                .await;
            }
        }
        held.push(raw);
    }
    siege.alice_works().await;
    siege.took_at_most(SESSIONS * 2 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn beats_without_end_keep_no_session_open() {
    let siege = Siege::within_rates(Plan::new().limits("idle_timeout = \"3 s\"").user("carol", ""));
    let mut beat = b"{\"op\":\"beat\",\"id\":0}".to_vec();
    beat.resize(60_000, b' ');
    let beat = frame(1, &beat);
    siege
        .attacked(async {
            let mut raw = siege.login("carol").await;
            let mut sent: u64 = 0;
            while raw.try_bytes(&beat).await.is_ok() {
                sent += 1;
                // 200 a second for 3 s, and what is read ahead, waits in the network, or is drained at the end.
                assert!(sent < 100_000, "the session goes on for ever");
            }
        })
        .await;
    siege.rig.log().event("the end is logged with its cause", |event| {
        event["event"] == "session_end"
            && event["user"] == "carol"
            && event["cause"].as_str().is_some_and(|cause| cause.contains("silent"))
    });
    siege.took_at_most(2 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_requests_without_end_are_all_answered_and_not_all_logged() {
    const TIMES: u64 = 5000;
    let siege = Siege::start();
    let path = "\u{1}".repeat(9_000);
    let failing = async {
        let mut raw = siege.mallory().await;
        for id in 1..=TIMES {
            // Each line of the log would have as many bytes as the server lets a path have there.
            let path = if id % 10 == 0 {
                path.clone()
            } else {
                format!("missing{id}")
            };
            raw.bytes(&header(id, Op::Rm { path, forever: false })).await;
            if id % 50 == 0 {
                for answered in id - 49..=id {
                    let re = raw.answer(answered).await;
                    assert!(
                        matches!(&re, Re::Error(fault) if [Code::NotFound, Code::BadName].contains(&fault.code)),
                        "{re:?}"
                    );
                }
            }
        }
        raw
    };
    let mut raw = siege.attacked(failing).await;
    assert_eq!(raw.ask(Op::Quit).await, Re::Ok);
    let end = siege.rig.log().event("the end is logged", |event| {
        event["event"] == "session_end" && event["user"] == "mallory"
    });
    assert_eq!(end["requests"], TIMES + 1);
    let events = siege.rig.log().events();
    let is_failure = |event: &&serde_json::Value| event["op"] == "rm";
    let logged = events.iter().filter(is_failure).count() as u64;
    let held_back: u64 = events.iter().filter_map(|event| event["lines"].as_u64()).sum();
    assert_eq!(logged + held_back, TIMES, "each is logged or counted");
    // Some minutes may begin on a slow machine.
    assert!(logged <= 1000, "{logged}");
    siege.took_at_most(8 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiny_frames_cost_no_more_than_beats() {
    const FRAMES: usize = 100_000;
    let siege = Siege::start();
    let mut raw = siege.mallory().await;
    let beats = frame(1, b"{\"op\":\"beat\"}").repeat(FRAMES);
    let bytes = frame(2, b"x").repeat(FRAMES);
    let nothing = frame(2, b"").repeat(FRAMES);
    let before = siege.server().ticks();
    raw.bytes(&beats).await;
    assert_eq!(raw.ask(Op::Ping).await, Re::Ok);
    let floor = siege.server().ticks() - before;
    // A request that is known to be there costs as much as a beat; what hangs on each chunk must not.
    let most = 4 * floor + 50;
    for (body, ask) in [(&bytes, true), (&bytes, false), (&nothing, true), (&nothing, false)] {
        let before = siege.server().ticks();
        let size = body.iter().filter(|byte| **byte == b'x').count() as u64;
        let id = raw.request(super::put("tiny", Some(size), ask)).await;
        if ask {
            assert!(matches!(raw.answer(id).await, Re::Go { .. }));
        }
        raw.bytes(body).await;
        let content = vec![b'x'; usize::try_from(size).unwrap()];
        let digest = ftp_digest::Hasher::digest(ftp_digest::Algorithm::Sha256, &content);
        raw.bytes(&header(id, Op::End { length: size, digest })).await;
        let re = raw.answer(id).await;
        assert!(matches!(&re, Re::Stored(stored) if stored.size == size), "{re:?}");
        let used = siege.server().ticks() - before;
        assert!(
            used <= most,
            "ask {ask}, {size} bytes: {used} ticks, and {most} are due"
        );
    }
    // What was measured alone is borne beside somebody who works.
    siege
        .attacked(async {
            let mut raw = siege.mallory().await;
            raw.bytes(&beats).await;
            raw.request(super::put("more", None, true)).await;
            raw.bytes(&bytes).await;
            raw.bytes(&nothing).await;
        })
        .await;
    siege.took_at_most(2 * 2 * 1024);
    assert!(raw.request(get("tiny")).await > 0);
    assert!(matches!(
        raw.reply().await.map(|reply| reply.re),
        Some(Re::Begin { .. })
    ));
    assert!(
        matches!(raw.frame().await, None | Some(Frame::Header(_))),
        "the last one was empty"
    );
}
