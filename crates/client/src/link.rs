//! A logged-in connection: requests out, replies in, and signs of life in both directions.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ftp_proto::{
    BEAT_INTERVAL, Chunk, Frame, FrameReader, FrameWriter, Limits, Op, PEER_TIMEOUT, ProtocolError, Re, Reply, Request,
};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Error;
use crate::stream::Io;

/// How long an answer may take during which the server only gives signs of life. Reading a very large file for
/// its digest takes hours; nothing takes longer than this.
const ANSWER_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The same for the next part of a body or a listing, which has only to be read: as long as `ftpd` waits for us.
const PART_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Replies that are kept while something is sent. Behind small files that were sent together there are more, which
/// wait in the connection.
const MAX_EARLY: usize = 64;

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
    early: VecDeque<Incoming>,
    /// Whether it is of no more use, although that was no reason to end the request it happened in.
    broken: bool,
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
            early: VecDeque::new(),
            broken: false,
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
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
        self.writer.header(&Request { id, op }).map_err(|error| match error {
            ProtocolError::FrameTooLong { .. } => Error::RequestTooLong,
            error => error.into(),
        })
    }

    /// Ends the body of the request `id` before its end, so that the connection stays usable. Where that
    /// can not be said any more, the connection counts as broken: the reason to end is worth more.
    pub(crate) async fn fail(&mut self, id: u64, message: String) {
        if self.part(id, Op::Fail { message }).is_err() || self.flush().await.is_err() {
            self.abandon();
        }
    }

    /// Marks the connection as of no more use, where the caller's own error is worth more than that.
    pub(crate) fn abandon(&mut self) {
        self.broken = true;
    }

    /// Queues a data frame by a copy.
    pub(crate) fn data(&mut self, sealed: &[u8]) {
        self.writer.data(sealed);
    }

    /// Queues a data frame.
    pub(crate) fn chunk(&mut self, chunk: Chunk) {
        self.writer.chunk(chunk);
    }

    /// A chunk to fill.
    pub(crate) fn spent_chunk(&mut self) -> Chunk {
        self.writer.spent()
    }

    /// Keeps a chunk that was not filled.
    pub(crate) fn give_back(&mut self, chunk: Chunk) {
        self.writer.keep(chunk);
    }

    pub(crate) fn queued(&self) -> usize {
        self.writer.queued()
    }

    /// Sends what is queued.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Closed);
        }
        let mut deadline = Instant::now() + PEER_TIMEOUT;
        loop {
            tokio::select! {
                biased;
                sent = self.writer.flush() => {
                    sent?;
                    self.last_sent = Instant::now();
                    return Ok(());
                }
                // A server that lets nothing pass for a while, because its user has a rate, beats meanwhile.
                frame = self.reader.next(), if self.may_hear() => {
                    self.early.extend(read(frame?)?);
                    deadline = Instant::now() + PEER_TIMEOUT;
                }
                () = sleep_until(deadline) => return Err(Error::TimedOut(PEER_TIMEOUT)),
            }
        }
    }

    /// Whether what arrives early can be kept: a few replies, and no more data than one chunk.
    fn may_hear(&self) -> bool {
        self.early.len() < MAX_EARLY && !matches!(self.early.back(), Some(Incoming::Data(_)))
    }

    /// Sends what is queued, but stops at the first reply that arrives meanwhile: in the middle of an
    /// upload it can only be a refusal.
    pub(crate) async fn flush_unless_answered(&mut self) -> Result<Option<Incoming>, Error> {
        if let Some(incoming) = self.early.pop_front() {
            return Ok(Some(incoming));
        }
        let mut deadline = Instant::now() + PEER_TIMEOUT;
        loop {
            tokio::select! {
                biased;
                frame = self.reader.next() => {
                    if let Some(incoming) = read(frame?)? {
                        return Ok(Some(incoming));
                    }
                    // The server lives, and only lets nothing pass for a while.
                    deadline = Instant::now() + PEER_TIMEOUT;
                }
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
        self.receive_within(ANSWER_PATIENCE).await
    }

    /// As [`Link::receive`], in the middle of a body or a listing.
    pub(crate) async fn receive_part(&mut self) -> Result<Incoming, Error> {
        self.receive_within(PART_PATIENCE).await
    }

    async fn receive_within(&mut self, patience: Duration) -> Result<Incoming, Error> {
        if let Some(incoming) = self.early.pop_front() {
            return Ok(incoming);
        }
        if self.broken {
            return Err(Error::Closed);
        }
        let deadline = Instant::now() + patience;
        loop {
            if let Some(incoming) = self.frame_or_beat().await? {
                return Ok(incoming);
            }
            if Instant::now() >= deadline {
                return Err(Error::Stalled(patience));
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
                // It is older than what is kept.
                incoming = self.frame_or_beat() => if let Some(incoming) = incoming? {
                    self.early.push_front(incoming);
                },
            }
        }
    }

    /// As [`Link::busy`] for work on a thread of its own that holds something: when this returns, the
    /// work is over, even if the connection broke meanwhile.
    pub(crate) async fn busy_to_the_end<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::pin!(work);
        match self.busy(&mut work).await {
            Err(error) => {
                work.await;
                Err(error)
            }
            done => done,
        }
    }

    /// As [`Link::busy`] for work that needs the server no more: a connection that ends meanwhile is of no more use,
    /// and no reason to fail.
    pub(crate) async fn busy_anyway<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        match self.busy(&mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.abandon();
                work.await
            }
        }
    }

    /// The next frame, `None` for a beat; own beats leave meanwhile. While an early frame is kept, only
    /// the own beats are seen to.
    async fn frame_or_beat(&mut self) -> Result<Option<Incoming>, Error> {
        let is_quiet = self.early.is_empty();
        let silence = Instant::now() + PEER_TIMEOUT;
        loop {
            // Before anything is read, so that a steady stream of data does not keep the beats back.
            if self.last_sent.elapsed() >= BEAT_INTERVAL {
                // What is queued already is as good a sign of life.
                if self.queued() == 0 {
                    self.part(0, Op::Beat)?;
                }
                self.flush().await?;
                // It keeps what arrives meanwhile.
                if is_quiet && let Some(incoming) = self.early.pop_front() {
                    return Ok(Some(incoming));
                }
            }
            let beat = self.last_sent + BEAT_INTERVAL;
            tokio::select! {
                biased;
                frame = self.reader.next(), if is_quiet => return read(frame?),
                () = sleep_until(silence), if is_quiet => return Err(Error::TimedOut(PEER_TIMEOUT)),
                () = sleep_until(beat) => {}
            }
        }
    }

    /// Waits for the server to close after a goodbye, but not for long.
    pub(crate) async fn close(mut self) {
        const FAREWELL: Duration = Duration::from_secs(2);
        let _ = timeout(FAREWELL, async {
            self.writer.shutdown().await?;
            while self.reader.next().await?.is_some() {}
            Ok::<(), ProtocolError>(())
        })
        .await;
    }
}

/// `None` for a beat, and for whatever else means nothing.
fn read(frame: Option<Frame>) -> Result<Option<Incoming>, Error> {
    match frame {
        None => Err(Error::Closed),
        // It means nothing, and must not pass for progress.
        Some(Frame::Data(bytes)) if bytes.is_empty() => Ok(None),
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
        Incoming::Reply(reply) => {
            let mut text = format!("{:?}", reply.re);
            text.truncate(text.floor_char_boundary(80));
            Error::Misbehaved(text)
        }
    }
}

/// The error for an answer that comes before its time: the refusal of the request `id`, or something out of place.
pub(crate) fn early_answer(incoming: Incoming, id: u64) -> Error {
    match incoming {
        Incoming::Reply(Reply {
            id: answered,
            re: Re::Error(fault),
        }) if answered == id => Error::Refused(fault),
        other => unexpected(&other),
    }
}

/// The error for a reply of the wrong kind.
pub(crate) fn wrong_reply(re: Re) -> Error {
    unexpected(&Incoming::Reply(Reply { id: 0, re }))
}

#[cfg(test)]
mod tests {
    use ftp_proto::{begin_data, seal_data};

    use super::*;

    type Peer = (
        FrameReader<ReadHalf<tokio::io::DuplexStream>>,
        FrameWriter<WriteHalf<tokio::io::DuplexStream>>,
    );

    fn link() -> (Link, Peer) {
        let (near, far) = tokio::io::duplex(4096);
        let near: Box<dyn Io> = Box::new(near);
        let (read, write) = tokio::io::split(near);
        let link = Link::new(
            FrameReader::new(read),
            FrameWriter::new(write),
            Limits::default(),
            String::new(),
        );
        let (read, write) = tokio::io::split(far);
        let mut reader = FrameReader::new(read);
        reader.open();
        (link, (reader, FrameWriter::new(write)))
    }

    async fn send_data((_, writer): &mut Peer) {
        let mut chunk = begin_data(1);
        chunk.extend_from_slice(b"x");
        writer.data(&seal_data(chunk).unwrap());
        writer.flush().await.unwrap();
    }

    async fn assert_beat((reader, _): &mut Peer) {
        let Some(Frame::Header(json)) = reader.next().await.unwrap() else {
            panic!("no beat");
        };
        let request: Request = serde_json::from_slice(&json).unwrap();
        assert!(matches!(request.op, Op::Beat), "{request:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn beats_leave_while_data_keeps_arriving() {
        let (mut link, mut peer) = link();
        send_data(&mut peer).await;
        tokio::time::advance(BEAT_INTERVAL).await;
        assert!(matches!(link.receive().await, Ok(Incoming::Data(_))));
        assert_beat(&mut peer).await;
    }

    #[tokio::test(start_paused = true)]
    async fn beats_leave_during_work_that_an_early_reply_interrupts() {
        let (mut link, mut peer) = link();
        send_data(&mut peer).await;
        link.busy(tokio::time::sleep(BEAT_INTERVAL * 2)).await.unwrap();
        assert_beat(&mut peer).await;
        assert!(matches!(link.receive().await, Ok(Incoming::Data(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_while_a_beat_leaves_is_neither_waited_for_nor_overtaken() {
        let (mut link, (mut reader, mut writer)) = link();
        let mut chunk = begin_data(10_000);
        chunk.resize(10_000, 0);
        link.data(&seal_data(chunk).unwrap());
        tokio::time::advance(BEAT_INTERVAL).await;
        let peer = async {
            for id in 1..=2 {
                writer.send(&Reply { id, re: Re::Ok }).await.unwrap();
            }
            // What the other side sends has no room until this is read.
            sleep_until(Instant::now() + Duration::from_secs(1)).await;
            assert!(matches!(reader.next().await, Ok(Some(Frame::Data(_)))));
            writer.send(&Reply { id: 3, re: Re::Ok }).await.unwrap();
            (reader, writer)
        };
        let answers = async {
            for id in 1..=3 {
                assert!(matches!(link.reply(id).await, Ok(Re::Ok)), "{id}");
            }
        };
        tokio::join!(peer, answers);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_beats_may_take_its_time_and_a_silent_one_may_not() {
        let (mut link, (mut reader, mut writer)) = link();
        let big = |link: &mut Link| {
            let mut chunk = begin_data(10_000);
            chunk.resize(10_000, 0);
            link.data(&seal_data(chunk).unwrap());
        };
        let answer = |id, re| Reply { id, re };
        let slow = tokio::spawn(async move {
            for beats in 0..20 {
                sleep_until(Instant::now() + BEAT_INTERVAL).await;
                writer.send(&answer(0, Re::Beat)).await.unwrap();
                if beats < 2 {
                    writer.send(&answer(beats + 1, Re::Ok)).await.unwrap();
                }
            }
            assert!(matches!(reader.next().await, Ok(Some(Frame::Data(_)))));
            (reader, writer)
        });
        big(&mut link);
        link.flush().await.unwrap();
        // What was answered meanwhile is not lost.
        assert!(matches!(link.reply(1).await, Ok(Re::Ok)));
        assert!(matches!(link.reply(2).await, Ok(Re::Ok)));
        let held = slow.await.unwrap();
        big(&mut link);
        let began = Instant::now();
        assert!(matches!(link.flush().await, Err(Error::TimedOut(_))));
        assert_eq!(began.elapsed(), PEER_TIMEOUT);
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_waits_for_a_server_that_beats() {
        let (mut link, (mut reader, mut writer)) = link();
        let slow = tokio::spawn(async move {
            for _ in 0..20 {
                sleep_until(Instant::now() + BEAT_INTERVAL).await;
                let beat = Reply { id: 0, re: Re::Beat };
                writer.send(&beat).await.unwrap();
            }
            assert!(matches!(reader.next().await, Ok(Some(Frame::Data(_)))));
        });
        let mut chunk = begin_data(10_000);
        chunk.resize(10_000, 0);
        link.data(&seal_data(chunk).unwrap());
        assert!(matches!(link.flush_unless_answered().await, Ok(None)));
        slow.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_can_not_be_told_of_a_failure_is_broken() {
        let (mut link, peer) = link();
        drop(peer);
        link.fail(1, "no reason".to_owned()).await;
        assert!(link.is_broken());
        assert!(matches!(link.flush().await, Err(Error::Closed)));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_needs_no_server_outlives_its_goodbye() {
        let (mut link, mut peer) = link();
        let bye = ftp_proto::Fault::new(ftp_proto::Code::ShuttingDown, "the end");
        peer.1
            .send(&Reply {
                id: 0,
                re: Re::Bye(bye),
            })
            .await
            .unwrap();
        let work = async {
            tokio::time::sleep(BEAT_INTERVAL).await;
            "done"
        };
        assert_eq!(link.busy_anyway(work).await, "done");
        assert!(link.is_broken());
    }

    /// A peer that beats for ever, and says `more` beside it.
    async fn beat_for_ever((mut reader, mut writer): Peer, more: Option<bytes::BytesMut>) {
        let beat = async {
            loop {
                writer.header(&Reply { id: 0, re: Re::Beat }).unwrap();
                if let Some(more) = &more {
                    writer.data(more);
                }
                writer.flush().await.unwrap();
                tokio::time::sleep(BEAT_INTERVAL).await;
            }
        };
        tokio::select! {
            () = beat => {}
            _ = reader.drain() => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_without_an_answer_are_waited_for_no_longer_than_a_day() {
        let (mut link, peer) = link();
        let began = Instant::now();
        tokio::select! {
            answer = link.receive() => assert!(matches!(answer, Err(Error::Stalled(ANSWER_PATIENCE)))),
            () = beat_for_ever(peer, None) => unreachable!("it beats for ever"),
        }
        assert!(began.elapsed() >= ANSWER_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn empty_frames_and_beats_are_no_progress_of_a_body() {
        let (mut link, peer) = link();
        let empty = seal_data(begin_data(0)).unwrap();
        tokio::select! {
            part = link.receive_part() => assert!(matches!(part, Err(Error::Stalled(PART_PATIENCE)))),
            () = beat_for_ever(peer, Some(empty)) => unreachable!("it beats for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_never_ends_is_silence() {
        let (mut link, (_reader, mut writer)) = link();
        let mut frame = begin_data(100);
        frame.resize(ftp_proto::DATA_HEAD_BYTES + 100, b'x');
        let mut frame = seal_data(frame).unwrap();
        frame.truncate(50);
        let drip = async {
            loop {
                // A byte now and then, and never the last one.
                writer.data(&frame.split_to(1));
                writer.flush().await.unwrap();
                tokio::time::sleep(BEAT_INTERVAL).await;
            }
        };
        tokio::select! {
            answer = link.receive() => assert!(matches!(answer, Err(Error::TimedOut(_))), "{answer:?}"),
            () = drip => unreachable!("it drips for ever"),
        }
    }

    #[tokio::test]
    async fn an_answer_to_another_request_is_no_refusal_of_this_one() {
        let (mut link, mut peer) = link();
        let fault = ftp_proto::Fault::new(ftp_proto::Code::NotFound, "nothing there");
        peer.1
            .send(&Reply {
                id: 7,
                re: Re::Error(fault),
            })
            .await
            .unwrap();
        assert!(matches!(link.call(Op::Pwd).await, Err(Error::Misbehaved(_))));
    }

    #[tokio::test]
    async fn a_request_that_is_too_long_is_refused_here() {
        let (mut link, _peer) = link();
        let path = "x".repeat(ftp_proto::MAX_HEADER_BYTES);
        let too_long = link.request(Op::Rm { path, forever: false });
        assert!(matches!(too_long, Err(Error::RequestTooLong)), "{too_long:?}");
        assert_eq!(link.queued(), 0);
    }
}
