//! One download: it goes on behind what is here already, or repairs that first where there is doubt, and the digest of
//! the whole decides before the target gets its name.

use std::num::NonZeroU64;
use std::sync::Arc;

use ftp_digest::{BLOCK_DIGEST_BYTES, Digest, MAX_BLOCKS};
use ftp_proto::{BlockList, DATA_HEAD_BYTES, Entry, MAX_HEADER_BYTES, Op, Re, Reply, Stored, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::damage::mismatch;
use crate::followed::followed;
use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::observer::{Event, Observer, TransferId};
use crate::partial::{Partial, Record};
use crate::sink::Sink;
use crate::upload::{Tally, blocking, ends};
use crate::{Error, RemotePath, Resume, TransferOptions};

/// How much may still arrive of a download that was cancelled. A server that goes on behind it does not listen.
const MAX_AFTER_CANCEL_BYTES: usize = 16 * 1024 * 1024;

/// The most that a request has beside its path and its block digests.
const REQUEST_BYTES: usize = 256;

/// What to download.
pub(crate) struct Download<'a> {
    pub(crate) id: TransferId,
    pub(crate) remote: &'a RemotePath,
    pub(crate) options: &'a TransferOptions,
    pub(crate) resume: Resume,
    pub(crate) observer: &'a Arc<dyn Observer>,
}

/// What arrived and was proven.
pub(crate) struct Received {
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) digest: Digest,
}

impl Received {
    /// What is told of it once it has the target's name.
    pub(crate) fn stored(&self, replaced: bool) -> Stored {
        let &Self { size, mtime, digest } = self;
        Stored {
            size,
            mtime,
            digest,
            replaced,
        }
    }
}

impl Download<'_> {
    /// Fills the partial file until it is proven equal. `tally` counts across retries.
    pub(crate) async fn run(
        &self,
        link: &mut Link,
        partial: &Arc<Partial>,
        tally: &mut Tally,
    ) -> Result<Received, Error> {
        let result = self.attempt(link, partial, tally).await;
        if matches!(result, Err(Error::DigestMismatch { .. })) && tally.doubt() {
            // Now that all is here, it is compared.
            return self.attempt(link, partial, tally).await;
        }
        result
    }

    async fn attempt(&self, link: &mut Link, partial: &Arc<Partial>, tally: &mut Tally) -> Result<Received, Error> {
        tally.believed = 0;
        let have = self.held(link, partial, tally.compare).await?;
        if have.is_none() {
            let file = Arc::clone(partial);
            blocking(move || file.cut(0)).await?;
        }
        let id = link.request(Op::Get {
            path: self.remote.as_wire().to_owned(),
            offset: 0,
            length: None,
            digest: self.options.algorithm,
            have: have.clone(),
        })?;
        link.flush().await?;
        let (size, mtime, body) = match link.reply(id).await? {
            Re::Begin { size, mtime, body, .. } => (size, mtime, body),
            other => return Err(wrong_reply(other)),
        };
        let held = have.as_ref().map_or(0, |have| have.length);
        let is_believed = have.is_some_and(|have| have.is_uncompared());
        // What the server sends again of the prefix was damaged here.
        let repaired = held
            .checked_add(body)
            .and_then(|sum| sum.checked_sub(size))
            .filter(|repaired| *repaired <= held);
        let Some(repaired) = repaired else {
            return Err(Error::Misbehaved(format!(
                "a body of {body} bytes for a file of {size}"
            )));
        };
        if held > 0 {
            if is_believed {
                tally.believed(held);
            } else {
                tally.resumed(held - repaired, repaired);
            }
            self.observer.event(&Event::Resumed {
                id: self.id,
                kept: held - repaired,
                repaired,
            });
        }
        let is_suspect = held > 0 && !is_believed;
        let record = Record::new(self.remote.as_wire(), size, mtime, is_suspect);
        let file = Arc::clone(partial);
        let mut sink = Sink::new(Arc::clone(partial), self.options.algorithm, held, size, repaired == 0);
        let prepared = blocking(move || {
            file.check_room(size)?;
            file.remember(&record)
        });
        let result = match prepared.await {
            Ok(()) => self.body(link, id, body, held - repaired, &mut sink, tally).await,
            Err(error) => Err(error),
        };
        let settled = match result {
            Ok(_) => link.busy_anyway(sink.settle()).await,
            Err(_) => Ok(()),
        };
        // The last access must be over before anybody else touches the partial.
        if result.is_err() || settled.is_err() {
            sink.stop().await;
        }
        let (length, promised) = match result {
            Err(error @ Error::Local { .. }) => {
                if cancel(link, id).await.is_err() {
                    link.abandon();
                }
                return Err(error);
            }
            other => other?,
        };
        settled?;
        self.observer.event(&Event::Verifying { id: self.id });
        let found = link.busy_anyway(sink.digest(self.options.algorithm)).await?;
        if is_believed && found != promised {
            return Err(Error::DigestMismatch {
                expected: promised,
                found,
            });
        }
        if length != size || found != promised {
            return Err(mismatch(link, self.remote, promised, found).await);
        }
        Ok(Received {
            size,
            mtime,
            digest: found,
        })
    }

    /// What is here already, if it is to be gone on from: with block digests if it may be the beginning of something
    /// else, or `compare` says so.
    async fn held(&self, link: &mut Link, partial: &Arc<Partial>, compare: bool) -> Result<Option<BlockList>, Error> {
        let file = Arc::clone(partial);
        let length = blocking(move || file.length()).await?;
        if length == 0 || self.resume == Resume::Never {
            return Ok(None);
        }
        let entry = followed(link, self.remote, false).await?;
        let record = partial.record().filter(|record| belongs(record, &entry));
        if self.resume == Resume::Auto && record.is_none() {
            self.observer.event(&Event::StartedAnew { id: self.id });
            return Ok(None);
        }
        let length = length.min(entry.size);
        if !compare && record.is_some_and(|record| !record.suspect) {
            let file = Arc::clone(partial);
            blocking(move || file.cut(length)).await?;
            return Ok(Some(BlockList::uncompared(length)));
        }
        let Some(most) = most_blocks(self.remote.as_wire()) else {
            return Ok(None);
        };
        let (file, observer, id) = (Arc::clone(partial), Arc::clone(self.observer), self.id);
        let wanted = CancellationToken::new();
        let unwanted_when_dropped = wanted.clone().drop_guard();
        let mut work = Box::pin(blocking(move || {
            file.cut(length)?;
            file.blocks(length, most, |done| {
                observer.event(&Event::Comparing {
                    id,
                    done,
                    total: length,
                });
                !wanted.is_cancelled()
            })
        }));
        match link.busy(&mut work).await {
            Ok(blocks) => Ok(blocks?.as_ref().map(BlockList::from)),
            Err(error) => {
                // Nobody else may have the partial before this is over, which is soon.
                drop(unwanted_when_dropped);
                let _ = work.await;
                Err(error)
            }
        }
    }

    /// Takes the body in; the trailer's length and digest come back.
    async fn body(
        &self,
        link: &mut Link,
        id: u64,
        body: u64,
        mut done: u64,
        sink: &mut Sink,
        tally: &mut Tally,
    ) -> Result<(u64, Digest), Error> {
        let mut left = body;
        loop {
            match link.receive_part().await? {
                Incoming::Data(bytes) => {
                    let length = bytes.len() as u64;
                    left = left
                        .checked_sub(length)
                        .ok_or_else(|| Error::Misbehaved(format!("more than the {body} bytes that were announced")))?;
                    link.busy(sink.write(bytes)).await??;
                    done += length;
                    tally.moved(length, done);
                    self.observer.event(&Event::Moved { id: self.id, done });
                }
                Incoming::Reply(Reply { id: answered, re }) if answered == id => match re {
                    Re::At { offset } => link.busy(sink.seek(offset)).await??,
                    Re::End { length, digest } if left == 0 && digest.algorithm() == self.options.algorithm => {
                        return Ok((length, digest));
                    }
                    Re::Error(fault) => return Err(Error::Refused(fault)),
                    other => return Err(wrong_reply(other)),
                },
                other => return Err(unexpected(&other)),
            }
        }
    }
}

/// Whether the partial was begun from what stands on the server now.
fn belongs(record: &Record, entry: &Entry) -> bool {
    record.size == entry.size && record.mtime == entry.mtime
}

/// How many block digests fit into a request beside a path in wire form, if any do (protocol, 13.6).
fn most_blocks(path: &str) -> Option<NonZeroU64> {
    let path_bytes = serde_json::to_string(path).ok()?.len();
    let room = MAX_HEADER_BYTES.checked_sub(REQUEST_BYTES + path_bytes)?;
    // In base64, three bytes take four, and the last ones as many.
    let digests = room / 4 * 3 / BLOCK_DIGEST_BYTES;
    NonZeroU64::new(MAX_BLOCKS.min(digests as u64))
}

/// Stops a download whose bytes can not be stored, so that the connection stays usable.
async fn cancel(link: &mut Link, id: u64) -> Result<(), Error> {
    let cancel = link.request(Op::Cancel { target: id })?;
    link.flush().await?;
    let mut left = MAX_AFTER_CANCEL_BYTES;
    loop {
        let incoming = link.receive_part().await?;
        if ends(&incoming, id) {
            break;
        }
        let weight = match &incoming {
            Incoming::Data(bytes) => bytes.len(),
            Incoming::Reply(_) => DATA_HEAD_BYTES,
        };
        left = left.checked_sub(weight).ok_or_else(|| unexpected(&incoming))?;
    }
    match link.reply(cancel).await? {
        Re::Ok => Ok(()),
        other => Err(wrong_reply(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use ftp_proto::Request;

    use super::*;

    #[test]
    fn as_many_block_digests_as_are_asked_for_fit_beside_any_path() {
        // `PATH_MAX` bytes that are no text take eight times as much in a message.
        for path_bytes in [1, 1000, 4096, 5000, 8100, 8159, 9000] {
            let path = RemotePath::new(&std::ffi::OsString::from_vec(vec![0xff; path_bytes]));
            let Some(most) = most_blocks(path.as_wire()) else {
                assert!(path_bytes > 4096);
                continue;
            };
            let digest_bytes = BLOCK_DIGEST_BYTES * usize::try_from(most.get()).unwrap();
            let have = BlockList {
                length: u64::MAX,
                block: 1 << 63,
                blake3: "A".repeat(digest_bytes.div_ceil(3) * 4),
            };
            let op = Op::Get {
                path: path.as_wire().to_owned(),
                offset: 0,
                length: None,
                digest: ftp_digest::Algorithm::Blake3,
                have: Some(have),
            };
            let json = serde_json::to_vec(&Request { id: u64::MAX, op }).unwrap();
            assert!(json.len() <= MAX_HEADER_BYTES, "{path_bytes}: {} of {most}", json.len());
        }
        assert_eq!(most_blocks("plain/name").unwrap().get(), MAX_BLOCKS);
    }
}
