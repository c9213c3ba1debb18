//! One download: what is here already is compared, damaged blocks are fetched again, the rest
//! follows, and the digest of the whole decides before the target gets its name.

use std::sync::Arc;

use bytes::Bytes;
use ftp_digest::{BlockDigests, Digest, Hasher, block_bytes_for};
use ftp_proto::{BlockList, Entry, Op, Re, Reply, Stored, Timestamp};
use tokio::task::JoinHandle;

use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::observer::{Event, Observer, TransferId};
use crate::partial::{Partial, Record};
use crate::source::hash_prefix;
use crate::upload::{Tally, blocking, ends};
use crate::{Error, RemotePath, Resume, TransferOptions};

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
        let held = self.held(link, partial).await?;
        let (have, prefix) = match held {
            Some((blocks, prefix)) => (Some(blocks), prefix),
            None => {
                let file = Arc::clone(partial);
                blocking(move || file.cut(0)).await?;
                (None, Hasher::new(self.options.algorithm))
            }
        };
        let id = link.request(Op::Get {
            path: self.remote.as_wire().to_owned(),
            offset: 0,
            length: None,
            digest: self.options.algorithm,
            have: have.as_ref().map(BlockList::from),
        })?;
        link.flush().await?;
        let (size, mtime, body) = match link.reply(id).await? {
            Re::Begin { size, mtime, body, .. } => (size, mtime, body),
            other => return Err(wrong_reply(other)),
        };
        let held = have.map_or(0, |have| have.length());
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
            tally.resumed(held - repaired, repaired);
            self.observer.event(&Event::Resumed {
                id: self.id,
                kept: held - repaired,
                repaired,
            });
        }
        let record = Record::new(self.remote.as_wire(), size, mtime);
        let file = Arc::clone(partial);
        let mut sink = Sink::new(Arc::clone(partial), prefix, held, size, repaired == 0);
        let result = match blocking(move || file.remember(&record)).await {
            Ok(()) => self.body(link, id, body, held - repaired, &mut sink, tally).await,
            Err(error) => Err(error),
        };
        // The last write must be over before anybody else touches the partial.
        let settled = sink.settle().await;
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
        let found = link.busy_to_the_end(sink.digest(self.options.algorithm)).await??;
        if length != size || found != promised {
            return Err(Error::DigestMismatch {
                expected: promised,
                found,
            });
        }
        Ok(Received {
            size,
            mtime,
            digest: found,
        })
    }

    /// The block digests of what is here already, if it is to be gone on from.
    async fn held(&self, link: &mut Link, partial: &Arc<Partial>) -> Result<Option<(BlockDigests, Hasher)>, Error> {
        let file = Arc::clone(partial);
        let length = blocking(move || file.length()).await?;
        if length == 0 || self.resume == Resume::Never {
            return Ok(None);
        }
        let op = Op::Stat {
            path: self.remote.as_wire().to_owned(),
            digest: false,
        };
        let entry = match link.call(op).await? {
            Re::Entry(entry) => entry,
            other => return Err(wrong_reply(other)),
        };
        if self.resume == Resume::Auto && !belongs(partial, &entry) {
            self.observer.event(&Event::StartedAnew { id: self.id });
            return Ok(None);
        }
        let length = length.min(entry.size);
        let (file, observer, id, algorithm) = (
            Arc::clone(partial),
            Arc::clone(self.observer),
            self.id,
            self.options.algorithm,
        );
        let work = blocking(move || {
            file.cut(length)?;
            hash_prefix(file.file(), length, block_bytes_for(length), algorithm, |done| {
                observer.event(&Event::Comparing {
                    id,
                    done,
                    total: length,
                });
            })
            .map_err(Error::local("cannot read", file.path()))
        });
        Ok(Some(link.busy_to_the_end(work).await??))
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
            match link.receive().await? {
                Incoming::Data(bytes) => {
                    let length = bytes.len() as u64;
                    left = left
                        .checked_sub(length)
                        .ok_or_else(|| Error::Misbehaved(format!("more than the {body} bytes that were announced")))?;
                    link.busy(sink.write(bytes)).await??;
                    done += length;
                    tally.moved += length;
                    self.observer.event(&Event::Moved { id: self.id, done });
                }
                Incoming::Reply(Reply { id: answered, re }) if answered == id => match re {
                    Re::At { offset } => sink.seek(offset)?,
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
fn belongs(partial: &Partial, entry: &Entry) -> bool {
    partial
        .record()
        .is_some_and(|record| record.size == entry.size && record.mtime == entry.mtime)
}

/// Stops a download whose bytes can not be stored, so that the connection stays usable.
async fn cancel(link: &mut Link, id: u64) -> Result<(), Error> {
    let cancel = link.request(Op::Cancel { target: id })?;
    link.flush().await?;
    while !ends(&link.receive().await?, id) {}
    match link.reply(cancel).await? {
        Re::Ok => Ok(()),
        other => Err(wrong_reply(other)),
    }
}

/// Writes what arrives, one chunk behind the network, and hashes it on the way.
struct Sink {
    partial: Arc<Partial>,
    position: u64,
    size: u64,
    hasher: Option<Hasher>,
    job: Option<JoinHandle<Result<Option<Hasher>, Error>>>,
}

impl Sink {
    /// `intact` says that the prefix needs no repair, so that its hash may be gone on with.
    fn new(partial: Arc<Partial>, prefix: Hasher, position: u64, size: u64, intact: bool) -> Self {
        Self {
            partial,
            position,
            size,
            hasher: intact.then_some(prefix),
            job: None,
        }
    }

    fn seek(&mut self, offset: u64) -> Result<(), Error> {
        if offset > self.size {
            return Err(Error::Misbehaved(format!(
                "an offset of {offset} in a file of {} bytes",
                self.size
            )));
        }
        self.position = offset;
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.settle().await?;
        let offset = self.position;
        self.position += bytes.len() as u64;
        if self.position > self.size {
            return Err(Error::Misbehaved(format!(
                "bytes beyond the end of a file of {} bytes",
                self.size
            )));
        }
        let partial = Arc::clone(&self.partial);
        let hasher = self.hasher.take();
        self.job = Some(tokio::task::spawn_blocking(move || {
            partial.write_at(offset, &bytes)?;
            Ok(hasher.filter(|hasher| hasher.length() == offset).map(|mut hasher| {
                hasher.update(&bytes);
                hasher
            }))
        }));
        Ok(())
    }

    /// Waits for the write that is under way.
    async fn settle(&mut self) -> Result<(), Error> {
        if let Some(job) = self.job.as_mut() {
            let result = job.await;
            self.job = None;
            self.hasher = match result {
                Ok(result) => result?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
        }
        Ok(())
    }

    /// The digest of the whole file: the running one if every byte passed by in order.
    async fn digest(&mut self, algorithm: ftp_digest::Algorithm) -> Result<Digest, Error> {
        match self.hasher.take() {
            Some(hasher) if hasher.length() == self.size => Ok(hasher.finish()),
            _ => {
                let partial = Arc::clone(&self.partial);
                blocking(move || partial.digest(algorithm)).await
            }
        }
    }
}
