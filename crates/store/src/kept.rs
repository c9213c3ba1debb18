//! The digest kept with a file, in an extended attribute, together with the size and modification
//! time for which it is true: `1 sha256:HEX SIZE SECONDS.NANOS`.
//!
//! Anything else under that name, or a file that has changed since, counts as no digest. On a file
//! system without such attributes nothing is kept.

use std::fs::File;

use ftp_digest::Digest;
use rustix::io::Errno;

use crate::disk::{self, Meta};

const ATTRIBUTE: &str = "user.ftpd.digest";
const VERSION: &str = "1";
/// SHA-512 in hexadecimal and three numbers of at most twenty digits fit well.
const MAX_ATTRIBUTE_BYTES: usize = 256;

/// The digest kept with the file, if it is true for the file as `meta` describes it.
pub(crate) fn read(file: &File, meta: &Meta) -> Option<Digest> {
    let mut buffer = [0; MAX_ATTRIBUTE_BYTES];
    let length = disk::read_attribute(file, ATTRIBUTE, &mut buffer).ok()?;
    parse(std::str::from_utf8(buffer.get(..length)?).ok()?, meta)
}

/// Keeps a digest with the file. Best effort: whoever needs it later can compute it again.
pub(crate) fn write(file: &File, meta: &Meta, digest: &Digest) {
    let text = format!("{VERSION} {digest} {}", state(meta));
    if let Err(errno) = disk::write_attribute(file, ATTRIBUTE, text.as_bytes())
        && errno != Errno::OPNOTSUPP
    {
        tracing::debug!(%errno, "digest not kept");
    }
}

fn parse(text: &str, meta: &Meta) -> Option<Digest> {
    let (digest, told) = text.strip_prefix(VERSION)?.strip_prefix(' ')?.split_once(' ')?;
    (told == state(meta)).then(|| digest.parse().ok())?
}

fn state(meta: &Meta) -> String {
    let modified = meta.modified;
    format!("{} {}.{:09}", meta.size, modified.seconds, modified.nanos)
}

#[cfg(test)]
mod tests {
    use ftp_digest::{Algorithm, Hasher};

    use super::*;
    use crate::disk::Kind;
    use crate::time::Timestamp;

    #[test]
    fn only_the_known_form_for_the_present_state_counts() {
        let digest = Hasher::digest(Algorithm::Sha256, b"x");
        let mut meta = Meta {
            id: (1, 2),
            kind: Kind::File,
            size: 1,
            modified: Timestamp { seconds: 5, nanos: 7 },
            changed: Timestamp::default(),
        };
        let text = format!("1 {digest} 1 5.000000007");
        assert_eq!(parse(&text, &meta), Some(digest));
        for wrong in [
            text.replacen('1', "2", 1),
            text.replace("sha256", "crc"),
            format!("{text} "),
            text.replace(' ', ""),
            String::new(),
        ] {
            assert_eq!(parse(&wrong, &meta), None, "{wrong}");
        }
        meta.modified.nanos = 8;
        assert_eq!(parse(&text, &meta), None);
    }
}
