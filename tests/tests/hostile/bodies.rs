//! Bodies without an end, and with the wrong one.

use ftp_client::Code;
use ftp_proto::{MAX_DATA_BYTES, Op, Re};
use ftp_tests::{MIB, Plan, eventually};

use super::{Siege, frame, header, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_end_ends_at_the_quota_or_its_size() {
    let siege = Siege::start();
    siege
        .attacked(async {
            for (size, ask, code) in [
                (None, true, Code::QuotaBytes),
                (Some(1000), true, Code::LengthMismatch),
                (None, false, Code::BadRequest),
            ] {
                let re = send_too_much(&siege, size, ask).await;
                assert!(matches!(&re, Re::Error(fault) if fault.code == code), "{re:?}");
            }
        })
        .await;
    // Two chunks and what carries them, of one session at a time.
    siege.took_at_most(3 * 2 * 1024);
    let home = siege.rig.home("mallory");
    eventually("what was begun is staged or gone", || {
        ftp_tests::walk(&home)
            .is_ok_and(|counts| counts.used == 0)
            .then_some(())
    });
}

/// More than the quota, or than was announced, or than may go without asking; the answer.
async fn send_too_much(siege: &Siege, size: Option<u64>, ask: bool) -> Re {
    let chunk = frame(2, &vec![7; MAX_DATA_BYTES]);
    let mut raw = siege.mallory().await;
    let id = raw.request(put("endless", size, ask)).await;
    if ask {
        assert!(matches!(raw.answer(id).await, Re::Go { .. }));
    }
    // A quarter more than the quota.
    for _ in 0..(80 << 20) / MAX_DATA_BYTES {
        raw.bytes(&chunk).await;
        if size.is_some() || !ask {
            break;
        }
    }
    raw.bytes(&chunk).await;
    if !ask {
        let digest = ftp_digest::Hasher::digest(ftp_digest::Algorithm::Sha256, b"");
        raw.bytes(&header(id, Op::End { length: 0, digest })).await;
    }
    raw.answer(id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_asked_for_and_that_never_ends_ends_its_session() {
    // Neither the right to write nor the lack of it makes a hose of the server.
    for rights in ["read, write", "read"] {
        let rights: Vec<_> = rights.split(", ").collect();
        let siege = Siege::of(Plan::new().user("carol", &format!("rights = {rights:?}")));
        siege
            .attacked(async {
                let mut raw = siege.login("carol").await;
                raw.request(put("endless", None, false)).await;
                let chunk = frame(2, &vec![7; MAX_DATA_BYTES]);
                // Far less than what is sent before the connection is gone, were it read on and on.
                for _ in 0..(6 * MIB).div_ceil(MAX_DATA_BYTES as u64) {
                    raw.bytes(&chunk).await;
                }
                let reply = raw.reply().await.expect("a goodbye");
                assert!(
                    matches!(&reply.re, Re::Bye(fault) if fault.code == Code::Protocol),
                    "{reply:?}"
                );
            })
            .await;
        siege.rig.log().event("the end is logged with its cause", |event| {
            event["event"] == "session_end"
                && event["user"] == "carol"
                && event["cause"]
                    .as_str()
                    .is_some_and(|cause| cause.contains("without `ask`"))
        });
        siege.took_at_most(2 * 1024);
    }
}
