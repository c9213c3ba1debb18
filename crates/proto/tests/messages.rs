//! Messages: every one comes back as it was sent, and a peer of another version does no harm.

use ftp_digest::{Algorithm, BlockHasher, Digest, Hasher, MAX_BLOCKS, MIN_BLOCK_BYTES};
use ftp_proto::{
    BlockList, Code, Entry, Fault, FrameWriter, Kind, MAX_HEADER_BYTES, Op, Page, ProtocolError, Purged, Re, Reason,
    Reply, Request, Restored, ResumeMode, Staged, Stored, Timestamp, TrashItem, UsageReport,
};
use proptest::option;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

fn digest() -> impl Strategy<Value = Digest> {
    (prop::sample::select(&Algorithm::ALL[..]), any::<u64>())
        .prop_map(|(algorithm, seed)| Hasher::digest(algorithm, &seed.to_le_bytes()))
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(&Algorithm::ALL[..])
}

fn time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&[Kind::File, Kind::Dir, Kind::Link, Kind::Other][..])
}

fn resume() -> impl Strategy<Value = ResumeMode> {
    prop::sample::select(&[ResumeMode::Always, ResumeMode::Auto, ResumeMode::Never][..])
}

fn blocks() -> impl Strategy<Value = BlockList> {
    (0..200_000usize, any::<bool>()).prop_map(|(length, is_compared)| {
        if !is_compared {
            return BlockList::uncompared(length as u64);
        }
        let mut hasher = BlockHasher::new(MIN_BLOCK_BYTES);
        hasher.update(&vec![7; length]);
        BlockList::from(&hasher.finish())
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (text(), kind(), any::<u64>(), time(), option::of(digest())).prop_map(|(name, kind, size, mtime, digest)| Entry {
        name,
        kind,
        size,
        mtime,
        digest,
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    let codes = vec![Code::Exists, Code::QuotaBytes, Code::TryLater, Code::Internal];
    let figure = || option::of(any::<u64>());
    let figures = (figure(), figure(), figure(), figure());
    (prop::sample::select(codes), text(), figures, option::of(entry())).prop_map(
        |(code, message, (retry_after_ms, limit, used, requested), existing)| Fault {
            retry_after_ms,
            limit,
            used,
            requested,
            existing,
            ..Fault::new(code, message)
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let no_fields = [Op::Beat, Op::Df, Op::Ping, Op::Pwd, Op::Quit, Op::Uploads];
    let put = (
        text(),
        option::of(any::<u64>()),
        option::of(time()),
        algorithm(),
        any::<[bool; 3]>(),
        resume(),
    );
    let get = (
        text(),
        any::<u64>(),
        option::of(any::<u64>()),
        algorithm(),
        option::of(blocks()),
    );
    prop_oneof![
        prop::sample::select(no_fields.to_vec()),
        any::<u64>().prop_map(|offset| Op::At { offset }),
        any::<u64>().prop_map(|target| Op::Cancel { target }),
        text().prop_map(|path| Op::Cd { path }),
        (text(), text(), any::<bool>()).prop_map(|(from, to, replace)| Op::Cp { from, to, replace }),
        (text(), text(), any::<bool>()).prop_map(|(from, to, replace)| Op::Mv { from, to, replace }),
        text().prop_map(|path| Op::Discard { path }),
        (any::<u64>(), digest()).prop_map(|(length, digest)| Op::End { length, digest }),
        text().prop_map(|message| Op::Fail { message }),
        get.prop_map(|(path, offset, length, digest, have)| Op::Get {
            path,
            offset,
            length,
            digest,
            have
        }),
        (text(), any::<bool>()).prop_map(|(path, digests)| Op::Ls { path, digests }),
        (text(), any::<bool>()).prop_map(|(path, parents)| Op::Mkdir { path, parents }),
        put.prop_map(|(path, size, mtime, digest, [replace, parents, ask], resume)| Op::Put {
            path,
            size,
            mtime,
            digest,
            replace,
            parents,
            ask,
            resume
        }),
        option::of(prop::collection::vec(any::<u64>(), 0..4)).prop_map(|items| Op::Purge { items }),
        (
            option::of(any::<u64>()),
            option::of(text()),
            option::of(text()),
            any::<bool>()
        )
            .prop_map(|(item, path, to, replace)| Op::Restore {
                item,
                path,
                to,
                replace
            }),
        (text(), any::<bool>()).prop_map(|(path, forever)| Op::Rm { path, forever }),
        (text(), any::<bool>(), any::<bool>()).prop_map(|(path, recursive, forever)| Op::Rmdir {
            path,
            recursive,
            forever
        }),
        option::of(text()).prop_map(|path| Op::Trash { path }),
        (text(), any::<bool>()).prop_map(|(path, digest)| Op::Stat { path, digest }),
        (text(), algorithm(), any::<bool>()).prop_map(|(path, digest, fresh)| Op::Sum { path, digest, fresh }),
    ]
}

fn trash_item() -> impl Strategy<Value = TrashItem> {
    let reason = prop::sample::select(vec![Reason::Removed, Reason::Replaced, Reason::Other]);
    (
        any::<[u64; 4]>(),
        text(),
        reason,
        time(),
        prop::sample::select(vec![Kind::File, Kind::Dir, Kind::Other]),
        time(),
        option::of(digest()),
    )
        .prop_map(
            |([item, expires, size, entries], path, reason, discarded, kind, mtime, digest)| TrashItem {
                item,
                path,
                reason,
                discarded,
                expires,
                kind,
                size,
                entries,
                mtime,
                digest,
            },
        )
}

fn re() -> impl Strategy<Value = Re> {
    let stored = (any::<u64>(), time(), digest(), any::<bool>());
    let staged = (text(), option::of(any::<u64>()), any::<u64>(), time());
    let usage = (option::of(any::<u64>()), option::of(any::<u64>()), any::<[u64; 9]>());
    prop_oneof![
        prop::sample::select(vec![Re::Beat, Re::Ok]),
        any::<u64>().prop_map(|offset| Re::At { offset }),
        (any::<u64>(), time(), option::of(digest()), any::<u64>()).prop_map(|(size, mtime, digest, body)| Re::Begin {
            size,
            mtime,
            digest,
            body
        }),
        fault().prop_map(Re::Bye),
        fault().prop_map(Re::Error),
        text().prop_map(|path| Re::Cwd { path }),
        (digest(), any::<u64>(), any::<bool>()).prop_map(|(digest, size, kept)| Re::Digest { digest, size, kept }),
        (any::<u64>(), digest()).prop_map(|(length, digest)| Re::End { length, digest }),
        entry().prop_map(Re::Entry),
        option::of(blocks()).prop_map(|have| Re::Go { have }),
        prop::collection::vec(entry(), 0..4).prop_map(|entries| Re::Page(Page { entries })),
        stored.prop_map(|(size, mtime, digest, replaced)| Re::Stored(Stored {
            size,
            mtime,
            digest,
            replaced
        })),
        prop::collection::vec(staged, 0..4).prop_map(|uploads| Re::Uploads {
            uploads: uploads
                .into_iter()
                .map(|(path, size, staged, touched)| Staged {
                    path,
                    size,
                    staged,
                    touched
                })
                .collect()
        }),
        usage.prop_map(
            |(
                limit,
                entries_limit,
                [
                    used,
                    pending,
                    reserved,
                    free,
                    entries,
                    uploads,
                    trash,
                    trash_limit,
                    trash_entries,
                ],
            )| {
                Re::Usage(UsageReport {
                    limit,
                    used,
                    pending,
                    reserved,
                    free,
                    entries_limit,
                    entries,
                    uploads,
                    trash,
                    trash_limit,
                    trash_entries,
                })
            }
        ),
        prop::collection::vec(trash_item(), 0..4).prop_map(|items| Re::Trash { items }),
        (any::<u64>(), any::<u64>()).prop_map(|(entries, bytes)| Re::Purged(Purged { entries, bytes })),
        (text(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(path, item, size, replaced)| Re::Restored(
            Restored {
                path,
                item,
                size,
                replaced
            }
        )),
    ]
}

proptest! {
    #[test]
    fn any_request_comes_back_as_it_was(id in any::<u64>(), op in op()) {
        let request = Request { id, op };
        let json = serde_json::to_vec(&request).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Request>(&json).unwrap(), request);
    }

    #[test]
    fn any_reply_comes_back_as_it_was(id in any::<u64>(), re in re()) {
        let reply = Reply { id, re };
        let json = serde_json::to_vec(&reply).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Reply>(&json).unwrap(), reply);
    }

    #[test]
    fn keys_of_a_later_version_are_passed_over(id in any::<u64>(), op in op(), re in re()) {
        let (request, reply) = (Request { id, op }, Reply { id, re });
        let mut json = serde_json::to_value(&request).unwrap();
        json["from_the_future"] = serde_json::json!({ "deep": [1, null] });
        prop_assert_eq!(serde_json::from_value::<Request>(json).unwrap(), request);
        let mut json = serde_json::to_value(&reply).unwrap();
        json["from_the_future"] = serde_json::json!("x");
        prop_assert_eq!(serde_json::from_value::<Reply>(json).unwrap(), reply);
    }
}

fn request(json: &str) -> Request {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

#[test]
fn unknown_requests_replies_codes_and_kinds_of_a_later_version_are_told_apart_from_malformed_ones() {
    let unknown = request(r#"{"id":7,"op":"teleport","to":"mars"}"#);
    assert_eq!(unknown, Request { id: 7, op: Op::Unknown });
    let reply: Reply = serde_json::from_str(r#"{"id":7,"re":"teleported","where":{}}"#).unwrap();
    assert_eq!(reply, Reply { id: 7, re: Re::Unknown });
    let reply: Reply =
        serde_json::from_str(r#"{"id":7,"re":"error","code":"on_mars","message":"m","retry":true}"#).unwrap();
    assert!(matches!(
        reply.re,
        Re::Error(Fault {
            code: Code::Unknown,
            retry: true,
            ..
        })
    ));
    let entry = r#"{"id":7,"re":"entry","name":"n","kind":"portal","size":0,"mtime":[0,0],"digest":"sha9:00"}"#;
    let reply: Reply = serde_json::from_str(entry).unwrap();
    assert!(matches!(
        reply.re,
        Re::Entry(Entry {
            kind: Kind::Other,
            digest: None,
            ..
        })
    ));

    for malformed in [
        "",
        "[]",
        "7",
        "{",
        "{}",
        r#"{"id":1}"#,
        r#"{"id":-1,"op":"ping"}"#,
        r#"{"id":1,"op":7}"#,
        r#"{"id":1,"op":"cd"}"#,
        r#"{"id":1,"op":"cd","path":7}"#,
        r#"{"id":1,"op":"at","offset":-1}"#,
        r#"{"id":1,"op":"end","length":0,"digest":"sha9:00"}"#,
        r#"{"id":1,"op":"sum","path":"a","digest":"sha9"}"#,
    ] {
        assert!(serde_json::from_str::<Request>(malformed).is_err(), "{malformed}");
    }
}

#[test]
fn keys_with_a_default_may_be_left_out() {
    assert_eq!(
        request(r#"{"op":"get","path":"a"}"#),
        Request {
            id: 0,
            op: Op::Get {
                path: "a".to_owned(),
                offset: 0,
                length: None,
                digest: Algorithm::Sha256,
                have: None
            }
        }
    );
    assert_eq!(
        request(r#"{"path":"a","op":"put","id":3}"#),
        Request {
            id: 3,
            op: Op::Put {
                path: "a".to_owned(),
                size: None,
                mtime: None,
                digest: Algorithm::Sha256,
                replace: false,
                parents: false,
                ask: false,
                resume: ResumeMode::Auto
            }
        }
    );
}

#[test]
fn a_full_block_list_fits_a_header_and_a_longer_one_is_refused() {
    let full = BlockList {
        length: MAX_BLOCKS * MIN_BLOCK_BYTES,
        block: MIN_BLOCK_BYTES,
        blake3: String::new(),
    };
    let with = |blocks: u64| {
        use base64::Engine as _;
        let digests = vec![0xab; usize::try_from(blocks * 32).unwrap()];
        BlockList {
            length: blocks * MIN_BLOCK_BYTES,
            blake3: base64::engine::general_purpose::STANDARD.encode(digests),
            ..full.clone()
        }
    };
    let get = |have| Request {
        id: u64::MAX,
        op: Op::Get {
            path: "p".repeat(4096),
            offset: 0,
            length: None,
            digest: Algorithm::Sha256,
            have: Some(have),
        },
    };
    let mut writer = FrameWriter::new(Vec::new());
    writer.header(&get(with(MAX_BLOCKS))).unwrap();
    assert!(with(MAX_BLOCKS).parse().is_some());
    assert_eq!(with(MAX_BLOCKS + 1).parse(), None);
    assert_eq!(full.parse(), None, "digests are missing");

    let error = writer.header(&get(BlockList {
        blake3: "A".repeat(MAX_HEADER_BYTES),
        ..full.clone()
    }));
    assert!(matches!(error, Err(ProtocolError::FrameTooLong { .. })));
}
