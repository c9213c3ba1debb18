//! Where bytes were lost when a download does not have the digest that was promised.

use ftp_digest::Digest;
use ftp_proto::{Op, Re};

use crate::link::{Link, wrong_reply};
use crate::{Error, RemotePath};

/// The error for a download that was promised `expected` and has `found`. The server is asked to read
/// the file again: if that gives another digest than the one kept with the file, the file was damaged
/// where it is stored and stays so; else something happened on the way, and another try can help.
pub(crate) async fn mismatch(link: &mut Link, remote: &RemotePath, expected: Digest, found: Digest) -> Error {
    match on_disk(link, remote, expected).await {
        Ok(Some(found)) => Error::StoredDamaged { expected, found },
        // Whether the question failed is of no interest: the next try shows.
        Ok(None) | Err(_) => Error::DigestMismatch { expected, found },
    }
}

/// The digest of the stored bytes, if it is not the one kept with them.
async fn on_disk(link: &mut Link, remote: &RemotePath, kept: Digest) -> Result<Option<Digest>, Error> {
    let path = || remote.as_wire().to_owned();
    let stat = Op::Stat {
        path: path(),
        digest: true,
    };
    match link.call(stat).await? {
        Re::Entry(entry) if entry.digest == Some(kept) => {}
        // No digest is kept, or another file is there by now.
        Re::Entry(_) => return Ok(None),
        other => return Err(wrong_reply(other)),
    }
    let sum = Op::Sum {
        path: path(),
        digest: kept.algorithm(),
        fresh: true,
    };
    match link.call(sum).await? {
        Re::Digest { digest, .. } => Ok((digest != kept).then_some(digest)),
        other => Err(wrong_reply(other)),
    }
}
