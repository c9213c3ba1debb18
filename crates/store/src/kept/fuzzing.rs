//! The attribute from a disk on which anything may stand.

use ftp_digest::Digest;

use super::{Kept, Meta, State};
use crate::disk::Kind;
use crate::time::Timestamp;

/// The text of an attribute: only what was written for exactly this state of the file counts.
pub fn kept(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    // The state that the text itself tells, if it tells one.
    let words: Vec<&str> = text.split(' ').collect();
    let [_, _, size, time] = words[..] else {
        assert_eq!(parse(text, &meta(0, 0, 0)), None, "{text:?} tells no state");
        return;
    };
    let time = time.split_once('.');
    let (Ok(size), Some((Ok(seconds), Ok(nanos)))) = (size.parse(), time.map(|(s, n)| (s.parse(), n.parse()))) else {
        return;
    };
    let told = meta(size, seconds, nanos);
    if let Some(digest) = parse(text, &told) {
        assert_eq!(parse(&format!("1 {digest} {}", State(&told)), &told), Some(digest));
    }
    for other in [
        meta(size ^ 1, seconds, nanos),
        meta(size, seconds ^ 1, nanos),
        meta(size, seconds, nanos ^ 1),
    ] {
        assert_eq!(parse(text, &other), None, "{text:?} was written for another state");
    }
}

/// The digest that counts.
fn parse(text: &str, meta: &Meta) -> Option<Digest> {
    match super::parse(text.as_bytes(), meta) {
        Kept::True(digest) => Some(digest),
        Kept::Nothing | Kept::Outdated | Kept::Foreign => None,
    }
}

fn meta(size: u64, seconds: i64, nanos: u32) -> Meta {
    Meta {
        id: (1, 2),
        kind: Kind::File,
        size,
        links: 1,
        modified: Timestamp { seconds, nanos },
        changed: Timestamp::default(),
    }
}
