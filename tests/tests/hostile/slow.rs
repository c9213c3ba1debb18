//! Silence, and a byte now and then, in every phase.

use std::time::Duration;

use ftp_client::Code;
use ftp_proto::{LoginRequest, Op, PROTOCOL_VERSION, Re};
use ftp_tests::{Channel, Plan, Raw};

use super::{Siege, frame, header, put};

/// How long a byte takes: a small part of every time limit, which has to be long enough for an honest client
/// on a busy machine.
const BYTE: Duration = Duration::from_millis(20);

fn impatient() -> Siege {
    let limits = "tls_timeout = \"2 s\"\nhello_timeout = \"2 s\"\nlogin_timeout = \"2 s\"\nidle_timeout = \"2 s\"";
    Siege::of(Plan::new().limits(limits))
}

/// Sends byte after byte until the server has had enough, which it has long before the last.
async fn drip(mut raw: Raw, bytes: Vec<u8>) -> Raw {
    assert!(bytes.len() > 1000, "twenty seconds at least");
    for (sent, byte) in bytes.iter().enumerate() {
        if raw.try_bytes(&[*byte]).await.is_err() {
            return raw;
        }
        // An end shows when there is something to read.
        let ended = tokio::time::timeout(BYTE, raw.frame());
        if matches!(ended.await, Ok(None)) {
            assert!(sent + 1 < bytes.len());
            return raw;
        }
    }
    panic!("the server waited for all of {} bytes", bytes.len());
}

/// The beginning of a handshake that a TLS server reads on from.
fn client_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0x10, 0, 1, 0, 0x0f, 0xfc, 3, 3];
    hello.resize(4096, 0);
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_now_and_then_gains_no_time_before_the_login() {
    let siege = impatient();
    let hello = |agent: &str| {
        let hello = LoginRequest::Hello(ftp_proto::ClientHello {
            version: PROTOCOL_VERSION,
            agent: agent.to_owned(),
        });
        frame(1, &serde_json::to_vec(&hello).unwrap())
    };
    let in_tls = async {
        drip(siege.stranger(Channel::Plain).await.unwrap(), client_hello()).await;
    };
    let in_hello = async {
        let mut raw = siege.stranger(Channel::Tls).await.unwrap();
        raw.login_reply().await.unwrap();
        drip(raw, hello(&"x".repeat(3000))).await;
    };
    let in_login = async {
        let mut raw = siege.stranger(Channel::Tls).await.unwrap();
        raw.login_reply().await.unwrap();
        raw.bytes(&hello("x")).await;
        let login = LoginRequest::Login {
            mechanism: "x".repeat(3000),
            message: String::new(),
        };
        drip(raw, frame(1, &serde_json::to_vec(&login).unwrap())).await;
    };
    let in_proof = async {
        let mut raw = siege.stranger(Channel::Tls).await.unwrap();
        raw.challenge("alice").await.unwrap();
        let proof = LoginRequest::Proof {
            message: "x".repeat(3000),
        };
        drip(raw, frame(1, &serde_json::to_vec(&proof).unwrap())).await;
    };
    siege
        .attacked(Box::pin(async { tokio::join!(in_tls, in_hello, in_login, in_proof) }))
        .await;
    siege.took_at_most(4 * 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_now_and_then_gains_no_time_in_a_session() {
    let siege = impatient();
    let path = "x".repeat(3000);
    let ended_by_time = |re: Option<Re>| matches!(re, Some(Re::Bye(fault)) if fault.code == Code::TimedOut);
    let in_header = async {
        let raw = siege.mallory().await;
        drip(raw, header(1, Op::Cd { path: path.clone() })).await;
    };
    let in_chunk = async {
        let mut raw = siege.mallory().await;
        let id = raw.request(put("chunk", Some(4000), true)).await;
        assert!(matches!(raw.answer(id).await, Re::Go { .. }));
        drip(raw, frame(2, &[7; 4000])).await;
    };
    let between_chunks = async {
        let mut raw = siege.mallory().await;
        let id = raw.request(put("between", Some(4000), true)).await;
        assert!(matches!(raw.answer(id).await, Re::Go { .. }));
        raw.data(b"x").await;
        assert!(ended_by_time(raw.reply().await.map(|reply| reply.re)));
    };
    let in_small_body = async {
        let mut raw = siege.mallory().await;
        raw.request(put("small", Some(4000), false)).await;
        raw.data(b"x").await;
        assert!(ended_by_time(raw.reply().await.map(|reply| reply.re)));
    };
    siege
        .attacked(Box::pin(async {
            tokio::join!(in_header, in_chunk, between_chunks, in_small_body)
        }))
        .await;
    // Four sessions, each with the frame that was announced.
    siege.took_at_most(4 * (64 + 256));
    assert_eq!(ftp_tests::walk(&siege.rig.home("mallory")).unwrap().used, 0);
}
