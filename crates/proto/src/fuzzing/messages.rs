//! Messages, names, digests and block lists: what is understood survives being written and read again.

use std::fmt::Debug;

use ftp_digest::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    BlockList, LoginReply, LoginRequest, Op, Re, Reply, Request, ServerHello, Timestamp, decode_name, encode_name,
};

/// A header of either direction, before or after the login.
pub fn messages(json: &[u8]) {
    if let Some(request) = round_trip::<Request>(json) {
        request_parts(&request.op);
    }
    if let Some(reply) = round_trip::<Reply>(json) {
        reply_parts(&reply.re);
    }
    round_trip::<LoginRequest>(json);
    round_trip::<LoginReply>(json);
    // These stand in no header of their own.
    round_trip::<ServerHello>(json);
    if let Some(list) = round_trip::<BlockList>(json) {
        blocks(&list);
    }
    if let Ok(text) = std::str::from_utf8(json) {
        digest(text);
        names(json);
    }
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) -> Option<T> {
    let message: T = serde_json::from_slice(json).ok()?;
    let text = serde_json::to_string(&message).expect("what was read can be written");
    let again: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text} of {message:?}"));
    assert_eq!(again, message, "{text}");
    assert_eq!(serde_json::to_string(&again).expect("as before"), text);
    Some(message)
}

fn request_parts(op: &Op) {
    match op {
        Op::Get { have: Some(list), .. } => blocks(list),
        Op::Put { mtime: Some(time), .. } => timestamp(*time),
        _ => {}
    }
}

fn reply_parts(re: &Re) {
    match re {
        Re::Go { have: Some(list) } => blocks(list),
        Re::Begin { mtime, .. } => timestamp(*mtime),
        Re::Entry(entry) => timestamp(entry.mtime),
        _ => {}
    }
}

fn timestamp(time: Timestamp) {
    assert!(time.nanos < 1_000_000_000);
}

/// A block list that fits itself.
fn blocks(list: &BlockList) {
    let Some(found) = list.parse() else {
        return;
    };
    let again = BlockList::from(&found);
    assert_eq!((again.length, again.block), (list.length, list.block));
    assert_eq!(again.parse().as_ref(), Some(&found));
    assert!(found.differing(&found).is_empty());
    // One digest changed: exactly its block differs.
    let mut raw = found.to_bytes();
    if let Some(last) = raw.last_mut() {
        *last ^= 1;
        let changed = ftp_digest::BlockDigests::from_parts(list.length, list.block, &raw).expect("as long as before");
        let ranges = found.differing(&changed);
        let start = (list.length - 1) / list.block * list.block;
        assert_eq!(ranges, [(start, list.length - start)]);
    }
}

fn digest(text: &str) {
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(Digest::from_bytes(digest.algorithm(), digest.as_bytes()), Some(digest));
    }
}

/// A name of a disk, and the same bytes as a name from the wire.
pub fn names(input: &[u8]) {
    let on_disk: Vec<u8> = input.iter().copied().filter(|byte| *byte != 0).collect();
    let text = encode_name(&on_disk);
    assert_eq!(decode_name(&text).as_ref(), Ok(&on_disk));
    if let Ok(valid) = std::str::from_utf8(&on_disk) {
        assert_eq!(text, valid, "valid text is its own wire form");
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(raw) = decode_name(text) {
        let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
        assert_eq!(slashes(&raw), slashes(input), "an escape must not make a separator");
        assert!(!raw.contains(&0));
        assert_eq!(decode_name(&encode_name(&raw)), Ok(raw));
    }
}
