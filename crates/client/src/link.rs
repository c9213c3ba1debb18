//! A logged-in connection: requests out, replies in, and signs of life in both directions.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ftp_proto::{BEAT_INTERVAL, Frame, FrameReader, FrameWriter, Limits, Op, PEER_TIMEOUT, Re, Reply, Request};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Error;
use crate::stream::Io;

/// What arrives, apart from beats.
#[derive(Debug)]
pub(crate) enum Incoming {
    Data(Bytes),
    Reply(Reply),
}

pub(crate) struct Link {
    reader: FrameReader<ReadHalf<Box<dyn Io>>>,
    writer: FrameWriter<WriteHalf<Box<dyn Io>>>,
    limits: Limits,
    agent: String,
    last_id: u64,
    last_sent: Instant,
    /// Arrived while something else was awaited.
    early: Option<Incoming>,
}

impl Link {
    /// Takes over a connection whose login is done.
    pub(crate) fn new(
        mut reader: FrameReader<ReadHalf<Box<dyn Io>>>,
        writer: FrameWriter<WriteHalf<Box<dyn Io>>>,
        limits: Limits,
        agent: String,
    ) -> Self {
        reader.open();
        Self {
            reader,
            writer,
            limits,
            agent,
            last_id: 0,
            last_sent: Instant::now(),
            early: None,
        }
    }

    pub(crate) fn agent(&self) -> &str {
        &self.agent
    }

    /// The largest `put` that may go without asking.
    pub(crate) fn small_put_bytes(&self) -> u64 {
        self.limits
            .small_put_bytes
            .min(ftp_proto::MAX_DATA_BYTES as u64)
            .min(self.limits.max_data_bytes)
    }

    /// The size of the chunks to send.
    pub(crate) fn chunk_bytes(&self) -> usize {
        usize::try_from(self.limits.max_data_bytes)
            .unwrap_or(usize::MAX)
            .clamp(1, ftp_proto::MAX_DATA_BYTES)
    }

    /// Queues a request under a fresh id.
    pub(crate) fn request(&mut self, op: Op) -> Result<u64, Error> {
        self.last_id += 1;
        self.part(self.last_id, op)?;
        Ok(self.last_id)
    }

    /// Queues a part of the body of the request `id`.
    pub(crate) fn part(&mut self, id: u64, op: Op) -> Result<(), Error> {
        Ok(self.writer.header(&Request { id, op })?)
    }

    /// Queues a data frame.
    pub(crate) fn data(&mut self, sealed: BytesMut) {
        self.writer.data(sealed);
    }

    pub(crate) fn queued(&self) -> usize {
        self.writer.queued()
    }

    /// Sends what is queued.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        match timeout(PEER_TIMEOUT, self.writer.flush()).await {
            Ok(sent) => sent?,
            Err(_) => return Err(Error::TimedOut(PEER_TIMEOUT)),
        }
        self.last_sent = Instant::now();
        Ok(())
    }

    /// Sends what is queued, but stops at the first reply that arrives meanwhile: in the middle of an
    /// upload it can only be a refusal.
    pub(crate) async fn flush_unless_answered(&mut self) -> Result<Option<Incoming>, Error> {
        if self.early.is_some() {
            return Ok(self.early.take());
        }
        let deadline = Instant::now() + PEER_TIMEOUT;
        loop {
            tokio::select! {
                biased;
                frame = self.reader.next() => if let Some(incoming) = read(frame?)? {
                    return Ok(Some(incoming));
                },
                sent = self.writer.flush() => {
                    sent?;
                    self.last_sent = Instant::now();
                    return Ok(None);
                }
                () = sleep_until(deadline) => return Err(Error::TimedOut(PEER_TIMEOUT)),
            }
        }
    }

    /// The next reply or chunk. Beats are sent and passed over meanwhile.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn receive(&mut self) -> Result<Incoming, Error> {
        if let Some(incoming) = self.early.take() {
            return Ok(incoming);
        }
        loop {
            if let Some(incoming) = self.frame_or_beat().await? {
                return Ok(incoming);
            }
        }
    }

    /// The next reply to the request `id`; [`Re::Error`] becomes [`Error::Refused`].
    pub(crate) async fn reply(&mut self, id: u64) -> Result<Re, Error> {
        match self.receive().await? {
            Incoming::Reply(Reply { id: answered, re }) if answered == id => match re {
                Re::Error(fault) => Err(Error::Refused(fault)),
                re => Ok(re),
            },
            other => Err(unexpected(&other)),
        }
    }

    /// Sends one request and waits for its one reply.
    pub(crate) async fn call(&mut self, op: Op) -> Result<Re, Error> {
        let id = self.request(op)?;
        self.flush().await?;
        self.reply(id).await
    }

    /// Waits for work on this side without looking dead to the server, and notices when the
    /// connection breaks meanwhile.
    pub(crate) async fn busy<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                incoming = self.frame_or_beat(), if self.early.is_none() => self.early = incoming?,
            }
        }
    }

    /// Waits for a frame or until a beat is due, whichever is first.
    async fn frame_or_beat(&mut self) -> Result<Option<Incoming>, Error> {
        let silence = Instant::now() + PEER_TIMEOUT;
        loop {
            let beat = self.last_sent + BEAT_INTERVAL;
            tokio::select! {
                biased;
                frame = self.reader.next() => return read(frame?),
                () = sleep_until(silence) => return Err(Error::TimedOut(PEER_TIMEOUT)),
                () = sleep_until(beat) => {
                    self.part(0, Op::Beat)?;
                    self.flush().await?;
                }
            }
        }
    }

    /// Waits for the server to close after a goodbye, but not for long.
    pub(crate) async fn close(mut self) {
        const FAREWELL: Duration = Duration::from_secs(2);
        let _ = timeout(FAREWELL, async {
            self.writer.shutdown().await?;
            while self.reader.next().await?.is_some() {}
            Ok::<(), ftp_proto::ProtocolError>(())
        })
        .await;
    }
}

/// `None` for a beat.
fn read(frame: Option<Frame>) -> Result<Option<Incoming>, Error> {
    match frame {
        None => Err(Error::Closed),
        Some(Frame::Data(bytes)) => Ok(Some(Incoming::Data(bytes))),
        Some(Frame::Header(json)) => {
            let reply: Reply = serde_json::from_slice(&json).map_err(|error| Error::Misbehaved(error.to_string()))?;
            match reply.re {
                Re::Beat => Ok(None),
                Re::Bye(fault) => Err(Error::Bye(fault)),
                _ => Ok(Some(Incoming::Reply(reply))),
            }
        }
    }
}

/// The error for something that has no place here.
pub(crate) fn unexpected(incoming: &Incoming) -> Error {
    match incoming {
        Incoming::Data(bytes) => Error::Misbehaved(format!("{} bytes of file data", bytes.len())),
        Incoming::Reply(Reply {
            re: Re::Error(fault), ..
        }) => Error::Refused(fault.clone()),
        Incoming::Reply(reply) => {
            let mut text = format!("{:?}", reply.re);
            text.truncate(text.floor_char_boundary(80));
            Error::Misbehaved(text)
        }
    }
}

/// The error for a reply of the wrong kind.
pub(crate) fn wrong_reply(re: Re) -> Error {
    unexpected(&Incoming::Reply(Reply { id: 0, re }))
}
