//! The digest kept with a file, in an extended attribute, together with the size and modification
//! time for which it is true: `1 sha256:HEX SIZE SECONDS.NANOS`.
//!
//! Anything else under that name, or a file that has changed since, counts as no digest. What
//! another version wrote is left as it is. On a file system without such attributes nothing is kept.
//!
//! # When it is believed
//!
//! Neither the inode nor the change time belongs to that state: a backup restores neither, and every
//! `chmod`, link and rename moves the latter, so that damage would go unnoticed after each of them.
//! A digest is therefore a promise that travels with the bytes, and whoever changes them without
//! changing size and time, a program as well as a bad disk, has damaged them. `docs/operations.md`
//! says what tells so, and what cannot.

use std::fmt::{self, Write as _};
use std::fs::File;

use ftp_digest::Digest;
use rustix::io::Errno;

use crate::disk::{self, Meta};

const ATTRIBUTE: &str = "user.ftpd.digest";
const VERSION: &str = "1";
/// SHA-512 in hexadecimal and three numbers of at most twenty digits fit well.
const MAX_ATTRIBUTE_BYTES: usize = 256;

/// What is kept with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// No digest, or something that no version of this program wrote.
    Nothing,
    /// The digest of the file as it is described.
    True(Digest),
    /// The digest of something that the file no longer is.
    Outdated,
    /// What another version of this program wrote.
    Foreign,
}

/// The digest kept with the file, if it is true for the file as `meta` describes it.
pub(crate) fn read(file: &File, meta: &Meta) -> Option<Digest> {
    match look(file, meta) {
        Kept::True(digest) => Some(digest),
        Kept::Nothing | Kept::Outdated | Kept::Foreign => None,
    }
}

/// What is kept with the file.
pub(crate) fn look(file: &File, meta: &Meta) -> Kept {
    let mut buffer = [0; MAX_ATTRIBUTE_BYTES];
    match disk::read_attribute(file, ATTRIBUTE, &mut buffer) {
        Ok(length) => parse(buffer.get(..length).unwrap_or_default(), meta),
        // Longer than this version writes.
        Err(Errno::RANGE) => Kept::Foreign,
        Err(_) => Kept::Nothing,
    }
}

/// Keeps a digest with the file. Best effort: whoever needs it later can compute it again.
pub(crate) fn write(file: &File, meta: &Meta, digest: &Digest) {
    let mut text = String::with_capacity(MAX_ATTRIBUTE_BYTES);
    write!(text, "{VERSION} {digest} {}", State(meta)).expect("writing to a String succeeds");
    if let Err(errno) = disk::write_attribute(file, ATTRIBUTE, text.as_bytes())
        && errno != Errno::OPNOTSUPP
    {
        tracing::debug!(%errno, "digest not kept");
    }
}

/// Whether the file system of this file keeps digests.
pub(crate) fn is_possible(file: &File) -> bool {
    disk::read_attribute(file, ATTRIBUTE, &mut [0; 1]) != Err(Errno::OPNOTSUPP)
}

fn parse(text: &[u8], meta: &Meta) -> Kept {
    let known = || {
        let (version, rest) = std::str::from_utf8(text).ok()?.split_once(' ')?;
        if version != VERSION {
            let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
            return is_number.then_some(Kept::Foreign);
        }
        let (digest, told) = rest.split_once(' ')?;
        let digest = digest.parse().ok()?;
        Some(if told == State(meta).to_string() {
            Kept::True(digest)
        } else {
            Kept::Outdated
        })
    };
    known().unwrap_or(Kept::Nothing)
}

/// What the digest is of.
struct State<'a>(&'a Meta);

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modified = self.0.modified;
        write!(f, "{} {}.{:09}", self.0.size, modified.seconds, modified.nanos)
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

#[cfg(test)]
mod tests {
    use ftp_digest::{Algorithm, Hasher};

    use super::*;
    use crate::disk::Kind;
    use crate::time::Timestamp;

    fn meta() -> Meta {
        Meta {
            id: (1, 2),
            kind: Kind::File,
            size: 1,
            links: 1,
            modified: Timestamp { seconds: 5, nanos: 7 },
            changed: Timestamp::default(),
        }
    }

    #[test]
    fn only_the_known_form_for_the_present_state_counts() {
        let digest = Hasher::digest(Algorithm::Sha256, b"x");
        let mut meta = meta();
        let text = format!("1 {digest} 1 5.000000007");
        assert_eq!(parse(text.as_bytes(), &meta), Kept::True(digest));
        for wrong in [text.replace("sha256", "crc"), text.replace(' ', ""), String::new()] {
            assert_eq!(parse(wrong.as_bytes(), &meta), Kept::Nothing, "{wrong}");
        }
        assert_eq!(parse(&[0xff; 9], &meta), Kept::Nothing);
        assert_eq!(parse(format!("{text} ").as_bytes(), &meta), Kept::Outdated);
        meta.modified.nanos = 8;
        assert_eq!(parse(text.as_bytes(), &meta), Kept::Outdated);
        meta = self::meta();
        meta.size = 2;
        assert_eq!(parse(text.as_bytes(), &meta), Kept::Outdated);
    }

    #[test]
    fn other_versions_are_told_apart_from_nothing() {
        let digest = Hasher::digest(Algorithm::Sha256, b"x");
        for version in ["0", "2", "10"] {
            let text = format!("{version} {digest} 1 5.000000007 and more");
            assert_eq!(parse(text.as_bytes(), &meta()), Kept::Foreign, "{version}");
        }
    }
}
