//! Downloads whose sizes, bytes or ends are lies.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use ftp_digest::{Algorithm, BlockHasher};
use ftp_proto::{Code, Entry, Fault, Kind, MAX_DATA_BYTES, Op, Re, Request, Timestamp};
use ftp_tests::{Deceived, Liar, noise};

use super::{THEN, begin, end, entry, honest, send, sha256};

/// A server of one file `x` of so many bytes, which it sends as the script does.
fn file(size: u64, script: impl AsyncFn(&mut Deceived, u64) + Send + 'static) -> Liar {
    Liar::start(async move |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { .. } => server.reply(request.id, Re::Entry(entry("x", Kind::File, size))).await,
        Op::Get { .. } => script(server, request.id).await,
        _ => honest(server, request).await,
    })
}

/// Runs `get` of the file alone, of the file twice (which takes the way of small files) and to a pipe; all of
/// them have to fail alike, and nothing may have its name.
#[track_caller]
fn every_way_fails(liar: &Liar, codes: &[i32], reasons: &[&str]) {
    for args in [&["get", "x"][..], &["get", "x", "y", "./"], &["get", "x", "-"]] {
        let ran = liar.cli().run([&["--retries", "0"], args].concat());
        let code = ran.code().unwrap();
        assert!(codes.contains(&code), "{args:?} ends with {code}:\n{}", ran.stderr());
        let said = ran.stderr();
        assert!(
            reasons.iter().any(|reason| said.contains(reason)),
            "{args:?} says:\n{said}"
        );
        assert!(said.lines().count() <= 4, "{said}");
        assert!(!liar.local("x").exists() && !liar.local("y").exists(), "{args:?}");
    }
}

#[test]
fn a_file_for_which_there_is_no_room_is_refused_before_its_bytes() {
    let liar = file(u64::MAX, async |server: &mut Deceived, id| {
        begin(server, id, u64::MAX, u64::MAX).await;
        // It does not listen to `cancel` either.
        while server.data(&[0; MAX_DATA_BYTES]).await {}
    });
    let ran = liar
        .cli()
        .run(["--retries", "0", "get", "x"])
        .exits(6)
        .says("no room for");
    assert!(
        ran.stderr().contains("18446744073709551615 bytes are announced"),
        "{}",
        ran.stderr()
    );
    assert!(!liar.local("x").exists());
    let left: u64 = fs::read_dir(liar.local(""))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().blocks())
        .sum();
    assert_eq!(left, 0);
}

#[test]
fn bytes_without_end_are_cut_at_what_was_announced() {
    let liar = file(10, async |server: &mut Deceived, id| {
        begin(server, id, 10, 10).await;
        while server.data(&[0; 4096]).await {}
    });
    every_way_fails(&liar, &[1], &["more than the 10 bytes", "bytes of file data"]);
    let small = liar.cli().run(["get", "x", "-"]);
    assert!(small.bytes().len() <= 10);
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    for (size, body) in [(3, 10), (10, 3), (u64::MAX, 5), (0, u64::MAX)] {
        let liar = file(3, async move |server: &mut Deceived, id| {
            begin(server, id, size, body).await;
            server.data(&[7; 10]).await;
            server.reply(id, end(&[7; 10])).await;
        });
        every_way_fails(&liar, &[1, 6], &["a body of", "makes no sense here", "no room for"]);
    }
}

#[test]
fn an_end_before_the_end_is_none() {
    let liar = file(10, async |server: &mut Deceived, id| {
        begin(server, id, 10, 10).await;
        server.data(b"half").await;
        server.reply(id, end(b"half")).await;
    });
    every_way_fails(&liar, &[1], &["makes no sense here"]);
}

#[test]
fn a_digest_or_a_length_that_lies_makes_no_file() {
    for (length, content) in [(4, &b"lies"[..]), (5, b"true")] {
        let liar = file(4, async move |server: &mut Deceived, id| {
            begin(server, id, 4, 4).await;
            server.data(b"true").await;
            let digest = sha256(content);
            server.reply(id, Re::End { length, digest }).await;
        });
        every_way_fails(&liar, &[7, 1], &["the digest differs", "makes no sense here"]);
    }
}

#[test]
fn jumps_lead_nowhere_but_forward_within_the_file() {
    for jumps in [&[u64::MAX][..], &[11], &[4, 4], &[4, 0], &[0, 0]] {
        let liar = file(10, async move |server: &mut Deceived, id| {
            begin(server, id, 10, 10).await;
            for offset in jumps {
                server.reply(id, Re::At { offset: *offset }).await;
            }
            server.data(b"12345").await;
            server.reply(id, Re::At { offset: 0 }).await;
            server.data(b"12345").await;
            server.reply(id, end(b"1234512345")).await;
        });
        every_way_fails(&liar, &[1], &["a jump from", "makes no sense here"]);
        for entry in fs::read_dir(liar.local("")).unwrap() {
            assert!(entry.unwrap().metadata().unwrap().len() <= 4096, "{jumps:?}");
        }
    }
}

#[test]
fn answers_that_nobody_asked_for_end_the_connection() {
    let fault = || Re::Error(Fault::new(Code::NotFound, "of another request"));
    for re in [
        fault(),
        Re::Ok,
        end(b"x"),
        Re::Unknown,
        Re::Cwd { path: "/".to_owned() },
    ] {
        let liar = file(10, async move |server: &mut Deceived, id| {
            begin(server, id, 10, 10).await;
            server.data(b"half").await;
            server.reply(id + 1, re.clone()).await;
            while server.data(b"more").await {}
        });
        every_way_fails(&liar, &[1], &["makes no sense here"]);
    }
}

#[test]
fn frames_that_are_too_long_are_not_read() {
    for head in [
        &[0xff, 0xff, 0xff, 0xff, 1][..],
        &[0, 4, 0, 2, 2],
        &[0, 0, 0, 0, 1],
        &[0, 0, 0, 2, 9, 9],
    ] {
        let liar = file(10, async move |server: &mut Deceived, _| {
            server.bytes(head).await;
            while server.bytes(&[b'{'; 4096]).await {}
        });
        every_way_fails(&liar, &[1], &["makes no sense here"]);
    }
}

#[test]
fn headers_that_are_no_messages_are_told_in_a_line() {
    let long = format!(
        r#"{{"id":1,"re":"begin","size":"{}"}}"#,
        "\u{202e}\u{1b}[2J".repeat(3000)
    );
    for json in ["[", "null", r#"{"re":5}"#, "\u{fffd}", &long] {
        let json = json.to_owned();
        let liar = file(10, async move |server: &mut Deceived, _| {
            server.frame(0x01, json.as_bytes()).await;
        });
        let ran = liar.cli().run(["--retries", "0", "get", "x"]).exits(1);
        assert!(ran.stderr().len() < 2000, "{}", ran.stderr().len());
        assert!(ran.stderr().chars().all(|c| c == '\n' || !c.is_control()));
    }
}

#[test]
fn times_that_no_calendar_has_are_kept_as_far_as_the_disk_can() {
    for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, u32::MAX), (-1, 999_999_999)] {
        let mtime = Timestamp { seconds, nanos };
        let stat = Entry {
            mtime,
            ..entry("x", Kind::File, 4)
        };
        let liar = Liar::start(async move |server: &mut Deceived, request: Request| match &request.op {
            Op::Stat { .. } => server.reply(request.id, Re::Entry(stat.clone())).await,
            Op::Get { .. } => {
                let begin = Re::Begin {
                    size: 4,
                    mtime,
                    digest: None,
                    body: 4,
                };
                server.reply(request.id, begin).await;
                server.data(b"true").await;
                server.reply(request.id, end(b"true")).await;
            }
            _ => honest(server, request).await,
        });
        liar.cli().run(["stat", "x"]).ok();
        liar.cli().run(["--json", "stat", "x"]).ok();
        liar.cli().run(["get", "x"]).ok();
        assert_eq!(fs::read(liar.local("x")).unwrap(), b"true");
    }
}

/// A partial file of so many bytes with a record, as a broken download leaves them.
fn partial(liar: &Liar, bytes: &[u8], size: u64) {
    fs::write(liar.local(".x.ftp-part"), bytes).unwrap();
    let record = serde_json::json!({"version": 1, "remote": "x", "size": size, "mtime": THEN});
    fs::write(liar.local(".x.ftp-part.json"), record.to_string()).unwrap();
}

#[test]
fn a_resume_over_lies_is_refused_or_proven() {
    let (whole, held) = (noise(300_000, 1), 200_000);
    let size = whole.len() as u64;
    // More of the prefix than there is, and more than the file.
    for body in [0, 99_999, size + 1, u64::MAX] {
        let liar = file(size, async move |server: &mut Deceived, id| {
            begin(server, id, size, body).await
        });
        partial(&liar, &whole[..held], size);
        liar.cli()
            .run(["--retries", "0", "get", "x"])
            .exits(1)
            .says("a body of");
    }
    // It claims that a wrong prefix is right, and then that all of it is: the digest of the whole finds out.
    let rest = whole[held..].to_vec();
    let promised = end(&whole);
    let is_first = AtomicBool::new(true);
    let liar = file(size, async move |server: &mut Deceived, id| {
        if is_first.swap(false, Ordering::Relaxed) {
            begin(server, id, size, size - held as u64).await;
            server.data(&rest).await;
        } else {
            begin(server, id, size, 0).await;
        }
        server.reply(id, promised.clone()).await;
    });
    let mut damaged = whole[..held].to_vec();
    damaged[10] ^= 1;
    partial(&liar, &damaged, size);
    liar.cli()
        .run(["--retries", "0", "get", "x"])
        .exits(7)
        .says("the digest differs");
    assert!(!liar.local("x").exists());
}

#[test]
fn the_same_bytes_again_and_again_are_no_progress() {
    // Each try gets its first block and no more: without a bound this would never end.
    let size = 1_000_000;
    let liar = Liar::start(async move |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { .. } => server.reply(request.id, Re::Entry(entry("x", Kind::File, size))).await,
        Op::Get { have, .. } => {
            let held = have.as_ref().map_or(0, |have| have.length);
            let repaired = held.min(65_536);
            begin(server, request.id, size, size - held + repaired).await;
            if held > 0 {
                server.reply(request.id, Re::At { offset: 0 }).await;
            }
            server.data(&[0; 65_536]).await;
            // The end of the connection: a frame of no kind.
            server.bytes(&[0, 0, 0, 5]).await;
            server.shut().await;
        }
        _ => honest(server, request).await,
    });
    liar.cli().run(["--retries", "2", "get", "x"]).exits(8);
    assert!(!liar.local("x").exists());
}

#[test]
fn what_an_honest_server_repairs_is_taken() {
    let whole = noise(300_000, 1);
    let (size, held) = (whole.len() as u64, 200_000);
    let sent = whole.clone();
    let liar = Liar::start(async move |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { .. } => server.reply(request.id, Re::Entry(entry("x", Kind::File, size))).await,
        // It is believed at first, and then asked for the blocks of everything.
        Op::Get { have: Some(have), .. } if have.is_uncompared() => {
            begin(server, request.id, size, size - held as u64).await;
            server.data(&sent[held..]).await;
            server.reply(request.id, end(&sent)).await;
        }
        Op::Get { have: Some(have), .. } => {
            let mut hasher = BlockHasher::new(have.block);
            hasher.update(&sent);
            let differing = hasher.finish().differing(&have.parse().unwrap());
            assert_eq!(differing, [(65_536, 65_536)]);
            begin(server, request.id, size, 65_536).await;
            server.reply(request.id, Re::At { offset: 65_536 }).await;
            server.data(&sent[65_536..131_072]).await;
            server.reply(request.id, end(&sent)).await;
        }
        Op::Get { .. } => send(server, request.id, &sent).await,
        _ => honest(server, request).await,
    });
    let mut damaged = whole[..held].to_vec();
    damaged[70_000] ^= 1;
    partial(&liar, &damaged, size);
    let ran = liar.cli().one(&["get", "x"]);
    assert_eq!((&ran["repaired"], &ran["outcome"]), (&65_536.into(), &"resumed".into()));
    assert_eq!(
        ran["digest"],
        ftp_digest::Hasher::digest(Algorithm::Sha256, &whole).to_string()
    );
}
