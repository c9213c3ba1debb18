//! Frames that no honest client sends.

use ftp_proto::{Code, MAX_HEADER_BYTES, MAX_LOGIN_HEADER_BYTES, Re};
use ftp_tests::Channel;

use super::{Siege, frame};

/// Headers that are no requests, `most` bytes long.
fn headers(most: usize) -> Vec<Vec<u8>> {
    let filled = |before: &str, with: &str, after: &str| {
        let room = (most - before.len() - after.len()) / with.len();
        [before, &with.repeat(room), after].concat().into_bytes()
    };
    vec![
        filled("", "[", ""),
        filled("", "{\"a\":", ""),
        filled("{\"op\":\"stat\",\"id\":1,\"path\":", "[", ""),
        filled("{\"op\":\"stat\",\"id\":1,\"path\":\"", "x", ""),
        filled("{\"op\":\"", "x", ""),
        filled("{\"op\":\"ping\",\"id\":", "9", "}"),
        filled("{\"op\":\"ping\",\"id\":1e", "9", "}"),
        filled("{\"op\":\"ping\",\"id\":-0.", "0", "1}"),
        filled("{\"op\":\"ping\",\"id\":1,\"id\":1,\"a\":[", "0,", "{}"),
        filled("", " ", ""),
        filled("", "\0", ""),
        filled("{\"op\":\"ping\"}", " ", "{"),
        [
            b"{\"op\":\"cd\",\"id\":1,\"path\":\"".to_vec(),
            vec![0xff; most / 2],
            b"\"}".to_vec(),
        ]
        .concat(),
        [
            b"{\"op\":\"cd\",\"id\":1,\"path\":\"".to_vec(),
            b"\xed\xa0\x80\"}".to_vec(),
        ]
        .concat(),
        b"{\"op\":\"cd\",\"id\":1,\"path\":\"\\ud800\"}".to_vec(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_every_malice_end_their_connection_and_nothing_else() {
    let siege = Siege::start();
    siege
        .attacked(async {
            for header in headers(MAX_LOGIN_HEADER_BYTES) {
                let mut raw = siege.stranger(Channel::Tls).await.unwrap();
                raw.login_reply().await.unwrap();
                raw.bytes(&frame(1, &header)).await;
                let fault = raw.login_reply().await.expect_err("a refusal");
                assert_eq!(fault.code, Code::Protocol, "{}", String::from_utf8_lossy(&header));
                assert!(raw.frame().await.is_none());
            }
            for header in headers(MAX_HEADER_BYTES) {
                let mut raw = siege.mallory().await;
                raw.bytes(&frame(1, &header)).await;
                let reply = raw.reply().await.expect("a goodbye");
                let text = String::from_utf8_lossy(&header);
                assert!(
                    matches!(&reply.re, Re::Bye(fault) if fault.code == Code::Protocol),
                    "{:.80}: {reply:?}",
                    text
                );
                assert!(raw.frame().await.is_none());
            }
        })
        .await;
    // One header at a time, and what JSON makes of it: 32 bytes for each two of an array of digits, twice
    // while it grows.
    siege.took_at_most(64 * 32);
    // Besides what alice did: a login, two transfers and an end each time.
    siege.logged_at_most(200 + 4 * siege.visits());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_takes_no_memory() {
    let siege = Siege::start();
    let mut held = Vec::new();
    // The longest that is admitted, announced and never sent.
    for _ in 0..20 {
        let mut raw = siege.mallory().await;
        raw.bytes(&[0x00, 0x04, 0x00, 0x01, 2, 0]).await;
        held.push(raw);
    }
    siege
        .attacked(async {
            for length in [u32::MAX, 1 << 31, 0x0004_0002] {
                for kind in [1, 2] {
                    let mut raw = siege.mallory().await;
                    raw.bytes(&[&length.to_be_bytes()[..], &[kind]].concat()).await;
                    assert!(matches!(raw.reply().await.map(|reply| reply.re), Some(Re::Bye(_))));
                    let mut raw = siege.stranger(Channel::Tls).await.unwrap();
                    raw.login_reply().await.unwrap();
                    raw.bytes(&[&length.to_be_bytes()[..], &[kind]].concat()).await;
                    assert_eq!(raw.login_reply().await.unwrap_err().code, Code::Protocol);
                }
            }
        })
        .await;
    // A session and the frame that was announced, if it were all touched.
    siege.took_at_most(20 * (64 + 256));
}
