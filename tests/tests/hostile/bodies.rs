//! Bodies without an end, and with the wrong one.

use ftp_client::Code;
use ftp_proto::{MAX_DATA_BYTES, Op, Re};
use ftp_tests::eventually;

use super::{Siege, frame, header, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_end_ends_at_the_quota_or_its_size() {
    let siege = Siege::start();
    let chunk = frame(2, &vec![7; MAX_DATA_BYTES]);
    for (size, ask, code) in [
        (None, true, Code::QuotaBytes),
        (Some(1000), true, Code::LengthMismatch),
        (None, false, Code::BadRequest),
    ] {
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
        match raw.answer(id).await {
            Re::Error(fault) => assert_eq!(fault.code, code, "{fault:?}"),
            other => panic!("{other:?}"),
        }
    }
    siege.alice_works().await;
    // Two chunks and what carries them, of one session at a time.
    siege.took_at_most(3 * 2 * 1024);
    let home = siege.rig.home("mallory");
    eventually("what was begun is staged or gone", || {
        ftp_tests::walk(&home)
            .is_ok_and(|counts| counts.used == 0)
            .then_some(())
    });
}
