//! Uploads of which the server claims something else than happened.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ftp_digest::BlockHasher;
use ftp_proto::{BlockList, Code, Entry, Fault, Kind, Op, Re, Request, Stored};
use ftp_tests::{Deceived, Liar, MIB, noise};

use super::{THEN, entry, honest, sha256};

const LARGE: usize = 700_000;

/// A server that takes uploads by the script, which is told whether one waits for `go`.
fn taker(script: impl AsyncFn(&mut Deceived, u64, bool) + Send + 'static) -> Liar {
    let liar = Liar::start(async move |server: &mut Deceived, request: Request| match &request.op {
        Op::Put { ask, .. } => script(server, request.id, *ask).await,
        _ => honest(server, request).await,
    });
    fs::write(liar.local("small"), "small").unwrap();
    fs::write(liar.local("large"), noise(LARGE, 1)).unwrap();
    liar
}

fn stored(size: u64, content: &[u8]) -> Re {
    Re::Stored(Stored {
        size,
        mtime: THEN,
        digest: sha256(content),
        replaced: false,
    })
}

#[test]
fn stored_with_another_size_or_digest_is_an_error() {
    let liar = taker(async |server: &mut Deceived, id, ask| {
        if ask {
            server.reply(id, Re::Go { have: None }).await;
        }
        server.take_body().await;
        let content = if ask { noise(LARGE, 1) } else { b"small".to_vec() };
        server.reply(id, stored(content.len() as u64 - 1, &content)).await;
    });
    for name in ["small", "large"] {
        let ran = liar
            .cli()
            .run(["--retries", "0", "put", name])
            .exits(1)
            .says("bytes stored of a file of");
        assert_eq!(ran.stdout(), "");
    }
    let liar = taker(async |server: &mut Deceived, id, ask| {
        if ask {
            server.reply(id, Re::Go { have: None }).await;
        }
        server.take_body().await;
        let size = if ask { LARGE as u64 } else { 5 };
        server.reply(id, stored(size, b"something else")).await;
    });
    for name in ["small", "large"] {
        liar.cli()
            .run(["--retries", "0", "put", name])
            .exits(7)
            .says("the digest differs");
    }
    let ran = liar.cli().feed(["put", "-", "x"], b"piped");
    ran.exits(7).says("the digest differs");
}

#[test]
fn stored_before_the_end_is_an_error() {
    let liar = taker(async |server: &mut Deceived, id, ask| {
        if ask {
            server.reply(id, Re::Go { have: None }).await;
            server.reply(id, stored(LARGE as u64, b"not yet")).await;
        }
        server.take_body().await;
    });
    // More than all buffers on the way hold: the lie is there before the last byte can leave.
    let huge = fs::File::create(liar.local("huge")).unwrap();
    huge.set_len(64 * MIB).unwrap();
    liar.cli()
        .run(["--retries", "0", "put", "huge"])
        .exits(1)
        .says("makes no sense here");
}

#[test]
fn a_prefix_that_can_not_be_is_refused() {
    let digests = |length: usize| {
        let mut hasher = BlockHasher::new(65_536);
        hasher.update(&vec![0; length]);
        BlockList::from(&hasher.finish())
    };
    let right = digests(200_000);
    for have in [
        digests(LARGE + 1),
        BlockList {
            length: u64::MAX,
            ..right.clone()
        },
        BlockList {
            block: 0,
            ..right.clone()
        },
        BlockList {
            block: 65_537,
            ..right.clone()
        },
        BlockList {
            block: u64::MAX,
            ..right.clone()
        },
        BlockList {
            blake3: "!".to_owned(),
            ..right.clone()
        },
        BlockList {
            blake3: "A".repeat(60_000),
            ..right.clone()
        },
    ] {
        let liar = taker(async move |server: &mut Deceived, id, _| {
            server
                .reply(
                    id,
                    Re::Go {
                        have: Some(have.clone()),
                    },
                )
                .await;
            server.take_body().await;
        });
        liar.cli()
            .run(["--retries", "0", "put", "large"])
            .exits(1)
            .says("block digests that do not fit");
    }
    let liar = taker(async move |server: &mut Deceived, id, _| {
        let have = Some(BlockList::uncompared(LARGE as u64 + 1));
        server.reply(id, Re::Go { have }).await;
        server.take_body().await;
    });
    liar.cli()
        .run(["--retries", "0", "put", "large"])
        .exits(1)
        .says("bytes held of a file of");
    // Wrong digests only cost the server's own time: everything is sent again.
    let liar = taker(async move |server: &mut Deceived, id, _| {
        server
            .reply(
                id,
                Re::Go {
                    have: Some(right.clone()),
                },
            )
            .await;
        server.take_body().await;
        server.reply(id, stored(LARGE as u64, &noise(LARGE, 1))).await;
    });
    let put = liar.cli().one(&["put", "large"]);
    assert_eq!(
        (put["kept"].as_u64(), put["moved"].as_u64()),
        (Some(0), Some(LARGE as u64))
    );
}

#[test]
fn a_server_that_believes_and_then_does_not_is_asked_once_more_and_no_oftener() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let liar = taker(async move |server: &mut Deceived, id, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        let have = Some(BlockList::uncompared(200_000));
        server.reply(id, Re::Go { have }).await;
        server.take_body().await;
        let fault = Fault::new(Code::DigestMismatch, "the digest differs");
        server.reply(id, Re::Error(fault)).await;
    });
    liar.cli()
        .run(["--retries", "0", "put", "large"])
        .exits(7)
        .says("the digest differs");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn a_target_that_exists_in_spite_of_force_is_refused_once() {
    let existing = |kind| entry("small", kind, u64::MAX);
    for found in [Some(existing(Kind::File)), Some(existing(Kind::Dir)), None] {
        let liar = taker(async move |server: &mut Deceived, id, ask| {
            if !ask {
                server.take_body().await;
            }
            let mut fault = Fault::new(Code::Exists, "it exists");
            fault.existing = found.clone();
            server.reply(id, Re::Error(fault)).await;
        });
        for name in ["small", "large"] {
            liar.cli().run(["put", "--force", name]).exits(5).says("exists");
        }
    }
}

#[test]
fn an_existing_file_is_identical_only_if_its_digest_is() {
    let existing = Entry {
        digest: Some(sha256(b"tiny!")),
        ..entry("small", Kind::File, 5)
    };
    let liar = taker(async move |server: &mut Deceived, id, _| {
        server.take_body().await;
        let mut fault = Fault::new(Code::Exists, "it exists");
        fault.existing = Some(existing.clone());
        server.reply(id, Re::Error(fault)).await;
    });
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(THEN.seconds.unsigned_abs());
    fs::File::options()
        .write(true)
        .open(liar.local("small"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    let ran = liar.cli().run(["put", "small"]).exits(5).says("exists already");
    assert_eq!(ran.stdout(), "");
}

#[test]
fn refusals_for_ever_are_believed_after_some_tries() {
    let liar = taker(async |server: &mut Deceived, id, ask| {
        if !ask {
            server.take_body().await;
        }
        let fault = serde_json::json!({"id": id, "re": "error", "code": "of_a_later_version",
            "message": "come back", "retry": true, "retry_after_ms": 1});
        server.say(&fault).await;
    });
    let ran = liar
        .cli()
        .run(["--retries", "1", "put", "small", "large", "./"])
        .exits(1)
        .says("come back");
    assert!(ran.stderr().contains("trying again"), "{}", ran.stderr());
}

#[test]
fn an_answer_under_a_wrong_id_belongs_to_nobody() {
    let liar = taker(async |server: &mut Deceived, id, ask| {
        if ask {
            server.reply(id + 1, Re::Go { have: None }).await;
        } else {
            server.take_body().await;
            server
                .reply(id + 1, Re::Error(Fault::new(Code::NotFound, "of another")))
                .await;
        }
    });
    for name in ["small", "large"] {
        liar.cli()
            .run(["--retries", "0", "put", name])
            .exits(1)
            .says("makes no sense here");
    }
}
