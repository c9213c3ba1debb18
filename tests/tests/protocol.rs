//! What the server answers to clients that no real one resembles.

use std::time::{Duration, UNIX_EPOCH};

use ftp_digest::{Algorithm, Hasher};
use ftp_proto::{Code, Frame, MAX_DATA_BYTES, MAX_HEADER_BYTES, Op, Re, ResumeMode};
use ftp_tests::{Channel, PASSWORD, Plan, Raw, Rig, noise, write_noise};

async fn alice(rig: &Rig) -> Raw {
    Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await
}

fn put(path: &str, size: u64, ask: bool) -> Op {
    Op::Put {
        path: path.to_owned(),
        size: Some(size),
        mtime: None,
        digest: Algorithm::Sha256,
        replace: true,
        parents: false,
        ask,
        resume: ResumeMode::Auto,
    }
}

fn get(path: &str) -> Op {
    Op::Get {
        path: path.to_owned(),
        offset: 0,
        length: None,
        digest: Algorithm::Sha256,
        have: None,
    }
}

fn end(bytes: &[u8]) -> Op {
    Op::End {
        length: bytes.len() as u64,
        digest: Hasher::digest(Algorithm::Sha256, bytes),
    }
}

fn code(re: &Re) -> Option<Code> {
    match re {
        Re::Error(fault) | Re::Bye(fault) => Some(fault.code),
        _ => None,
    }
}

/// The session ends with a reason, and nothing comes after it.
async fn ends(mut raw: Raw, reason: &str) {
    let bye = raw.reply().await.expect("a goodbye");
    assert_eq!(code(&bye.re), Some(Code::Protocol), "{bye:?}");
    assert!(
        matches!(&bye.re, Re::Bye(fault) if fault.message.contains(reason)),
        "{bye:?}"
    );
    assert!(raw.frame().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_too_long_end_the_session_before_they_are_read() {
    let rig = Rig::start();
    let longest = |kind: u8, payload: u32| [&(payload + 1).to_be_bytes()[..], &[kind]].concat();
    for (kind, most) in [(1, MAX_HEADER_BYTES), (2, MAX_DATA_BYTES)] {
        let mut raw = alice(&rig).await;
        raw.bytes(&longest(kind, u32::try_from(most).unwrap() + 1)).await;
        ends(raw, &most.to_string()).await;
    }
    let mut raw = alice(&rig).await;
    raw.bytes(&[0xff; 5]).await;
    ends(raw, "").await;
    let mut raw = alice(&rig).await;
    raw.bytes(&[0; 5]).await;
    ends(raw, "empty").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_login_much_shorter_frames_are_too_long() {
    let rig = Rig::start();
    let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
    raw.login_reply().await.unwrap();
    raw.bytes(&[0, 0, 0x20, 0, 1]).await;
    assert_eq!(raw.login_reply().await.unwrap_err().code, Code::Protocol);
    let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
    raw.login_reply().await.unwrap();
    raw.data(b"x").await;
    assert_eq!(raw.login_reply().await.unwrap_err().code, Code::Protocol);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_ends_the_session() {
    let rig = Rig::start();
    for (kind, payload) in [
        (1, &b"{\"op\":\"pwd\""[..]),
        (1, b"\xff\xfe"),
        (1, b"[]"),
        (1, b"{\"op\":\"stat\",\"id\":1}"),
        (1, b"{\"op\":\"stat\",\"id\":-1,\"path\":\"/\"}"),
        (1, b"{\"op\":\"end\",\"id\":1,\"length\":0,\"digest\":\"sha256:00\"}"),
        (3, b"{}"),
        (2, b"data that nobody asked for"),
    ] {
        let mut raw = alice(&rig).await;
        raw.frame_of(kind, payload).await;
        ends(raw, "").await;
    }
    rig.cli("alice").run(["pwd"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_request_is_an_error_and_the_session_goes_on() {
    let rig = Rig::start();
    let mut raw = alice(&rig).await;
    raw.frame_of(1, br#"{"op":"levitate","id":7,"height":3}"#).await;
    assert_eq!(code(&raw.answer(7).await), Some(Code::UnknownRequest));
    assert!(matches!(raw.ask(Op::Pwd).await, Re::Cwd { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_ignored() {
    let rig = Rig::start();
    let mut raw = alice(&rig).await;
    raw.frame_of(
        1,
        br#"{"op":"stat","id":7,"path":"/","colour":"blue","deep":{"er":[1]}}"#,
    )
    .await;
    assert!(matches!(raw.answer(7).await, Re::Entry(entry) if entry.name == "/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let rig = Rig::start();
    std::fs::write(rig.home("alice").join("f"), "content").unwrap();
    let mut raw = alice(&rig).await;
    let mut asked = Vec::new();
    for round in 0..50 {
        let path = format!("d{round}");
        asked.push(
            raw.request(Op::Mkdir {
                path: path.clone(),
                parents: false,
            })
            .await,
        );
        let small = format!("{path}/file");
        let id = raw.request(put(&small, 3, false)).await;
        raw.data(b"abc").await;
        raw.send(&ftp_proto::Request { id, op: end(b"abc") }).await;
        asked.push(id);
        asked.push(
            raw.request(Op::Stat {
                path: small,
                digest: true,
            })
            .await,
        );
        asked.push(
            raw.request(Op::Stat {
                path: "missing".to_owned(),
                digest: false,
            })
            .await,
        );
    }
    for (index, id) in asked.into_iter().enumerate() {
        let re = raw.answer(id).await;
        match index % 4 {
            0 => assert_eq!(re, Re::Ok),
            1 => assert!(matches!(&re, Re::Stored(stored) if stored.size == 3), "{re:?}"),
            2 => assert!(matches!(&re, Re::Entry(entry) if entry.digest.is_some()), "{re:?}"),
            _ => assert_eq!(code(&re), Some(Code::NotFound)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_is_cancelled_in_the_middle_and_the_session_goes_on() {
    let rig = Rig::start();
    let raw = alice(&rig).await;
    cancel_in_the_middle(&rig, raw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_the_kernel_sends_is_cancelled_like_any_other() {
    let rig = Plan::new().plaintext().user("alice", "").start();
    // Never is there room for a whole step.
    let raw = Raw::login(rig.address(), Channel::Narrow, "alice", PASSWORD).await;
    cancel_in_the_middle(&rig, raw).await;
}

async fn cancel_in_the_middle(rig: &Rig, mut raw: Raw) {
    // More than all buffers on the way can hold, so that the cancel is always in time.
    let file = rig.home("alice").join("f");
    write_noise(&file, 128 * 1024 * 1024, 1);
    // Of a file so old a digest is kept, and nobody has to see its bytes.
    let old = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    std::fs::File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let sum = Op::Sum {
        path: "f".to_owned(),
        digest: Algorithm::Sha256,
        fresh: false,
    };
    assert!(matches!(raw.ask(sum).await, Re::Digest { .. }));
    let id = raw.request(get("f")).await;
    assert!(matches!(raw.answer(id).await, Re::Begin { digest: Some(_), .. }));
    // The server has come to wait for this reader.
    for _ in 0..64 {
        assert!(matches!(raw.frame().await, Some(Frame::Data(_))));
    }
    let cancel = raw.request(Op::Cancel { target: id }).await;
    let (bytes, re) = raw.body(id).await;
    assert_eq!(code(&re), Some(Code::Cancelled), "{re:?}");
    // What the sockets held, and a step.
    assert!(bytes.len() < 48 * 1024 * 1024, "{} bytes", bytes.len());
    assert_eq!(raw.answer(cancel).await, Re::Ok);
    assert!(matches!(raw.ask(Op::Pwd).await, Re::Cwd { .. }));
    // A cancel of what is over, or never was, does nothing.
    assert_eq!(raw.ask(Op::Cancel { target: id }).await, Re::Ok);
    assert_eq!(raw.ask(Op::Cancel { target: 999 }).await, Re::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_read_with_its_own_digest() {
    let rig = Rig::start();
    let bytes = noise(1_000_000, 1);
    std::fs::write(rig.home("alice").join("f"), &bytes).unwrap();
    let mut raw = alice(&rig).await;
    for (offset, length, expected) in [
        (10, Some(5), &bytes[10..15]),
        (999_990, Some(100), &bytes[999_990..]),
        (500_000, None, &bytes[500_000..]),
        (1_000_000, None, &[][..]),
    ] {
        let path = "f".to_owned();
        let id = raw
            .request(Op::Get {
                path,
                offset,
                length,
                digest: Algorithm::Md5,
                have: None,
            })
            .await;
        assert!(
            matches!(raw.answer(id).await, Re::Begin { size: 1_000_000, body, .. } if body == expected.len() as u64)
        );
        let (got, re) = raw.body(id).await;
        assert!(got == expected);
        let digest = Hasher::digest(Algorithm::Md5, expected);
        assert_eq!(
            re,
            Re::End {
                length: expected.len() as u64,
                digest
            }
        );
    }
    let path = "f".to_owned();
    let beyond = Op::Get {
        path,
        offset: 1_000_001,
        length: None,
        digest: Algorithm::Md5,
        have: None,
    };
    assert_eq!(code(&raw.ask(beyond).await), Some(Code::BadRequest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_refused_leaves_the_session_usable() {
    let rig = Rig::start();
    let mut raw = alice(&rig).await;
    // Announced too short, wrong digest, wrong length, given up.
    for (announced, sent, trailer, expected) in [
        (2, &b"abc"[..], end(b"abc"), Code::LengthMismatch),
        (3, b"abc", end(b"abd"), Code::DigestMismatch),
        (3, b"ab", end(b"ab"), Code::LengthMismatch),
        (
            3,
            b"ab",
            Op::Fail {
                message: "no more".to_owned(),
            },
            Code::Cancelled,
        ),
    ] {
        for ask in [true, false] {
            let id = raw.request(put("f", announced, ask)).await;
            if ask {
                assert!(matches!(raw.answer(id).await, Re::Go { .. }));
            }
            raw.data(sent).await;
            raw.send(&ftp_proto::Request {
                id,
                op: trailer.clone(),
            })
            .await;
            let re = raw.answer(id).await;
            assert_eq!(code(&re), Some(expected), "ask {ask}: {re:?}");
            assert!(matches!(raw.ask(Op::Pwd).await, Re::Cwd { .. }));
            raw.ask(Op::Discard { path: "f".to_owned() }).await;
        }
    }
    assert!(rig.cli("alice").names("/").is_empty());
    rig.check_df("alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_put_to_nowhere_is_drained_and_refused() {
    let rig = Rig::start();
    let mut raw = alice(&rig).await;
    for path in ["missing/f", "../f", ".ftpd/f", "a\0b"] {
        let id = raw.request(put(path, 3, false)).await;
        raw.data(b"abc").await;
        raw.send(&ftp_proto::Request { id, op: end(b"abc") }).await;
        assert!(code(&raw.answer(id).await).is_some(), "{path:?}");
    }
    assert!(matches!(raw.ask(Op::Pwd).await, Re::Cwd { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_connection_is_not_the_end_of_a_file() {
    let rig = Rig::start();
    let mut raw = alice(&rig).await;
    let id = raw.request(put("f", 1_000_000, true)).await;
    assert!(matches!(raw.answer(id).await, Re::Go { .. }));
    raw.data(&[7; 100_000]).await;
    drop(raw);
    rig.log().outcome("put", "/f", "lost");
    assert!(rig.cli("alice").names("/").is_empty());

    // Without an announced size neither.
    let mut raw = alice(&rig).await;
    let Op::Put {
        path,
        mtime,
        digest,
        replace,
        parents,
        ask,
        resume,
        ..
    } = put("g", 0, true)
    else {
        unreachable!("a put is a put")
    };
    let id = raw
        .request(Op::Put {
            path,
            size: None,
            mtime,
            digest,
            replace,
            parents,
            ask,
            resume,
        })
        .await;
    assert!(matches!(raw.answer(id).await, Re::Go { .. }));
    raw.data(&[7; 1000]).await;
    drop(raw);
    rig.log().outcome("put", "/g", "lost");
    assert!(rig.cli("alice").names("/").is_empty());
    rig.check_df("alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_it_speaks_and_how_much_it_takes() {
    let rig = Rig::start();
    let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
    let ftp_proto::LoginReply::Hello(hello) = raw.login_reply().await.unwrap() else {
        panic!("no hello")
    };
    assert_eq!(hello.version, 1);
    assert_eq!(hello.mechanisms, ["SCRAM-SHA-256-PLUS"]);
    assert_eq!(hello.limits.max_data_bytes, MAX_DATA_BYTES as u64);
    let mut digests = hello.digests.clone();
    digests.sort();
    assert_eq!(digests, ["blake3", "md5", "sha1", "sha256", "sha512"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn goodbye_is_answered() {
    let rig = Rig::start();
    let mut raw = alice(&rig).await;
    assert_eq!(raw.ask(Op::Quit).await, Re::Ok);
    assert!(raw.frame().await.is_none());
    let event = rig
        .log()
        .event("the end is logged", |event| event["event"] == "session_end");
    assert_eq!(event["user"], "alice");
}
