//! Small downloads: asked for far ahead of their answers, and written many at a time while more arrive.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use ftp_proto::{MAX_DATA_BYTES, Op, Re, Reply};
use tokio::task::JoinHandle;

use crate::batch::Batch;
use crate::download::Received;
use crate::items::Slot;
use crate::landing::{Arrived, Landed, Outcome, land};
use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::observer::{Event, TransferId};
use crate::partial::Published;
use crate::{Error, GetItem};

/// How many small files may be asked for without an answer: more than a fast line brings in a long round trip.
const ASKED_FILES: usize = 2048;

/// How many bytes of requests may be on the way: fewer than a server reads ahead (protocol, 3.3), so that
/// neither side waits for the other.
const ASKED_BYTES: usize = 256 * 1024;

/// What a request has beside its path, about.
const REQUEST_BYTES: usize = 96;

/// Queued requests that are worth a system call.
const FLUSH_BYTES: usize = 16 * 1024;

/// How many files are written in one go, and how many bytes of them.
const LAND_FILES: usize = 64;
const LAND_BYTES: usize = 1024 * 1024;

/// How many times that may wait for the local disk.
const LANDINGS: usize = 3;

/// Small downloads on their way.
#[derive(Default)]
pub(crate) struct Line {
    /// Asked for: the request, the item and the bytes of the request.
    asked: VecDeque<(u64, usize, usize)>,
    asked_bytes: usize,
    arrived: Vec<Arrived>,
    arrived_bytes: usize,
    landing: VecDeque<JoinHandle<Vec<Landed>>>,
    /// What has to be fetched as large files are.
    again: Vec<usize>,
}

impl Line {
    /// Those that have grown since they were listed, and those that arrived damaged: they are fetched once
    /// more, with a look at what is stored.
    pub(crate) fn take_again(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.again)
    }

    fn is_full(&self) -> bool {
        self.asked.len() >= ASKED_FILES || self.asked_bytes >= ASKED_BYTES
    }
}

impl Batch<'_, GetItem> {
    /// Asks for a small file. While too many are on the way, the first ones are taken in.
    pub(crate) async fn ask(&mut self, link: &mut Link, line: &mut Line, index: usize) -> Result<(), Error> {
        while line.is_full() {
            self.take_one(link, line).await?;
        }
        let path = self.items[index].item.remote.as_wire().to_owned();
        let bytes = path.len() + REQUEST_BYTES;
        let op = Op::Get {
            path,
            offset: 0,
            length: Some(MAX_DATA_BYTES as u64 + 1),
            digest: self.options.algorithm,
            have: None,
        };
        match link.request(op) {
            Ok(id) => {
                line.asked.push_back((id, index, bytes));
                line.asked_bytes += bytes;
            }
            Err(error) => self.finish(index, Err(error)),
        }
        if link.queued() >= FLUSH_BYTES {
            link.flush().await?;
        }
        Ok(())
    }

    /// Takes in everything that was asked for, and waits until it is written.
    pub(crate) async fn take_all(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        link.flush().await?;
        while !line.asked.is_empty() {
            self.take_one(link, line).await?;
        }
        self.land_all(line).await;
        Ok(())
    }

    /// Writes what has arrived, and waits for that.
    pub(crate) async fn land_all(&mut self, line: &mut Line) {
        self.start_landing(line);
        self.landed(line, 0).await;
    }

    /// Takes in the next answer.
    async fn take_one(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        let Some((id, index, bytes)) = line.asked.pop_front() else {
            return Ok(());
        };
        line.asked_bytes -= bytes;
        self.begin(index);
        match arrive(link, id).await {
            Ok(Some((bytes, received))) => {
                let Slot { item, state } = &mut self.items[index];
                state.tally.moved(received.size, received.size);
                self.observer.event(&Event::Moved {
                    id: index as TransferId,
                    done: received.size,
                });
                line.arrived_bytes += bytes.len();
                let arrived = Arrived {
                    index,
                    item: Arc::clone(item),
                    bytes,
                    received,
                    replace: state.replace,
                    is_free: state.is_free,
                    is_proven: false,
                };
                line.arrived.push(arrived.prove_if_short(self.options.algorithm));
            }
            Ok(None) => line.again.push(index),
            Err(error @ Error::Refused(_)) => self.failed(index, error)?,
            Err(error) => return Err(error),
        }
        if line.arrived.len() >= LAND_FILES || line.arrived_bytes >= LAND_BYTES {
            self.start_landing(line);
            self.landed(line, LANDINGS).await;
        }
        Ok(())
    }

    fn start_landing(&self, line: &mut Line) {
        if line.arrived.is_empty() {
            return;
        }
        let (algorithm, parents) = (self.options.algorithm, self.options.parents);
        let arrived = std::mem::take(&mut line.arrived);
        line.arrived_bytes = 0;
        let landing = tokio::task::spawn_blocking(move || land(arrived, algorithm, parents));
        line.landing.push_back(landing);
    }

    /// Waits until at most `leave` landings are under way.
    async fn landed(&mut self, line: &mut Line, leave: usize) {
        while line.landing.len() > leave {
            let Some(job) = line.landing.pop_front() else { break };
            for Landed {
                index,
                received,
                outcome,
            } in job.await.expect("writing a file does not panic")
            {
                match outcome {
                    Outcome::Stored(Published { replaced, device }) => {
                        self.wrote(index, device);
                        self.stored(index, &received.stored(replaced), false);
                    }
                    Outcome::Damaged => line.again.push(index),
                    Outcome::Failed(error) => self.finish(index, Err(*error)),
                }
            }
        }
    }
}

/// One small file, not proven yet; `None` if it is not small any more.
async fn arrive(link: &mut Link, id: u64) -> Result<Option<(BytesMut, Received)>, Error> {
    let (size, mtime, body) = match link.reply(id).await? {
        Re::Begin { size, mtime, body, .. } if body <= MAX_DATA_BYTES as u64 + 1 => (size, mtime, body),
        other => return Err(wrong_reply(other)),
    };
    let mut bytes = BytesMut::with_capacity(usize::try_from(body).expect("small"));
    loop {
        match link.receive_part().await? {
            Incoming::Data(chunk) if (bytes.len() + chunk.len()) as u64 <= body => bytes.extend_from_slice(&chunk),
            Incoming::Reply(Reply { id: answered, re }) if answered == id => match re {
                Re::End { length, digest } if bytes.len() as u64 == body && length == body => {
                    if body < size {
                        return Ok(None);
                    }
                    if body > size {
                        return Err(Error::Misbehaved(format!(
                            "a body of {body} bytes for a file of {size}"
                        )));
                    }
                    return Ok(Some((bytes, Received { size, mtime, digest })));
                }
                Re::Error(fault) => return Err(Error::Refused(fault)),
                other => return Err(wrong_reply(other)),
            },
            other => return Err(unexpected(&other)),
        }
    }
}
