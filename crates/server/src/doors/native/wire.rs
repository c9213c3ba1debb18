//! A logged-in connection from the server's side: requests in, replies out, signs of life in both
//! directions.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ftp_proto::{
    BEAT_INTERVAL, Chunk, DATA_HEAD_BYTES, Fault, Frame, FrameReader, FrameWriter, MAX_DATA_BYTES, Op, PEER_TIMEOUT,
    ProtocolError, Re, Reply, Request,
};
use tokio::time::{Instant, sleep_until};

mod halves;
mod straight;

pub(crate) use halves::{Ingoing, Outgoing, halves};

pub(super) type Reader = FrameReader<Ingoing>;
pub(super) type Writer = FrameWriter<Outgoing>;

/// How much may be read ahead while a request runs, to find a cancel behind it. With the frame being
/// read this bounds what a client can make a session hold.
pub(super) const READ_AHEAD_BYTES: usize = 2 * MAX_DATA_BYTES;

/// Chunks below this are copied out of the buffer they arrived in. A chunk keeps all of that buffer, which has room for
/// the longest one, and what lay beside it there counts nowhere once it is dealt with; this bounds it by four times what
/// counts.
const COPY_BELOW_BYTES: usize = 64 * 1024;

/// Beats that may come in each [`BEAT_INTERVAL`] for nothing. An honest client sends one; more of them come together
/// when the network or this server was held up.
const FREE_BEATS: u32 = 8;

/// Replies are sent when so much of them has gathered, or when there is nothing else to do.
const FLUSH_BYTES: usize = 64 * 1024;

/// What arrives, apart from beats as an honest client sends them.
#[derive(Debug)]
pub(super) enum Incoming {
    Data(Bytes),
    Request(Request),
    /// One beat more than anybody needs, which is no sign of progress but has to be paid for.
    Beat,
}

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client said goodbye, or closed between two requests.
    #[error("closed by the client")]
    Closed,
    /// The connection broke.
    #[error("connection lost")]
    Lost(#[source] ProtocolError),
    /// The server ends the session and says why.
    #[error("{}", .0.message)]
    Bye(Fault),
    /// The client was silent for too long.
    #[error("the client was silent for {} s", .0.as_secs())]
    Silent(Duration),
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        match error.code() {
            Some(code) => Self::Bye(Fault::new(code, error.to_string())),
            None => Self::Lost(error),
        }
    }
}

pub(super) struct Wire {
    reader: Reader,
    writer: Writer,
    /// What was read ahead, each with the memory it takes.
    ahead: VecDeque<(Incoming, usize)>,
    ahead_bytes: usize,
    /// Why nothing more can be read ahead; told when what was read is worked off.
    ended: Option<End>,
    /// Requests that were cancelled before they were looked at.
    cancelled: Vec<u64>,
    last_sent: Instant,
    last_heard: Instant,
    /// Since when something of use is waited for.
    idle_since: Option<Instant>,
    /// How many beats have come since when.
    beats: (u32, Instant),
    moved: Moved,
    /// Whether other threads are in the middle of a frame: nothing may be written before its end.
    frame_is_open: bool,
    /// Whether nothing but beats has come since memory was given back.
    resting: bool,
}

/// Bytes that passed in each direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Wire {
    /// Takes over a connection whose login is done.
    pub(super) fn new(mut reader: Reader, writer: Writer) -> Self {
        reader.open();
        let now = Instant::now();
        Self {
            reader,
            writer,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            ended: None,
            cancelled: Vec::new(),
            last_sent: now,
            last_heard: now,
            idle_since: None,
            beats: (0, now),
            moved: Moved::default(),
            frame_is_open: false,
            resting: false,
        }
    }

    /// Queues a reply.
    pub(super) fn reply(&mut self, id: u64, re: Re) -> Result<(), End> {
        if id != 0 {
            // The client may have waited for this answer.
            self.idle_since = None;
        }
        let queued = self.writer.queued();
        self.writer.header(&Reply { id, re })?;
        self.moved.sent += (self.writer.queued() - queued) as u64;
        Ok(())
    }

    /// Queues a short data frame by a copy.
    pub(super) fn data(&mut self, sealed: &[u8]) {
        self.moved.sent += sealed.len() as u64;
        self.writer.data(sealed);
    }

    /// Queues a data frame.
    pub(super) fn chunk(&mut self, chunk: Chunk) {
        self.moved.sent += (DATA_HEAD_BYTES + chunk.payload().len()) as u64;
        self.writer.chunk(chunk);
    }

    /// A chunk to fill.
    pub(super) fn spent_chunk(&mut self) -> Chunk {
        self.writer.spent()
    }

    /// Keeps a chunk that was not filled.
    pub(super) fn give_back(&mut self, chunk: Chunk) {
        self.writer.keep(chunk);
    }

    /// What has passed since the last call.
    pub(super) fn take_moved(&mut self) -> Moved {
        std::mem::take(&mut self.moved)
    }

    /// Whether so much is queued that it is to be sent.
    pub(super) fn has_much(&self) -> bool {
        self.writer.queued() >= FLUSH_BYTES
    }

    /// Sends what is queued, if it is much.
    pub(super) async fn flush_if_much(&mut self) -> Result<(), End> {
        if self.has_much() { self.flush().await } else { Ok(()) }
    }

    /// Sends what is queued.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        let deadline = Instant::now() + PEER_TIMEOUT;
        tokio::select! {
            biased;
            sent = self.writer.flush() => sent?,
            () = sleep_until(deadline) => return Err(End::Silent(PEER_TIMEOUT)),
        }
        self.last_sent = Instant::now();
        Ok(())
    }

    /// Whether a request is there without waiting.
    pub(super) fn ready(&mut self) -> Result<bool, End> {
        if self.ahead.is_empty()
            && self.ended.is_none()
            && let Some(frame) = self.reader.ready()?
        {
            self.arrived(Some(frame))?;
        }
        Ok(!self.ahead.is_empty() || self.ended.is_some())
    }

    /// The next request, if it is there without waiting and `fits`.
    pub(super) fn next_if(&mut self, fits: impl FnOnce(&Request) -> bool) -> Result<Option<Request>, End> {
        self.ready()?;
        if !matches!(self.ahead.front(), Some((Incoming::Request(request), _)) if fits(request)) {
            return Ok(None);
        }
        let Some((Incoming::Request(request), bytes)) = self.ahead.pop_front() else {
            return Ok(None);
        };
        self.ahead_bytes -= bytes;
        Ok(Some(request))
    }

    /// The next request or chunk. Beats are sent and passed over meanwhile; `idle` bounds the wait
    /// whatever the beats say, and however many calls it takes.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn receive(&mut self, idle: Duration) -> Result<Incoming, End> {
        let idle_until = *self.idle_since.get_or_insert_with(Instant::now) + idle;
        let is_beat = matches!(self.ahead.front(), Some((Incoming::Beat, _)));
        if is_beat && Instant::now() >= idle_until {
            return Err(End::Silent(idle));
        }
        if let Some((incoming, bytes)) = self.ahead.pop_front() {
            self.ahead_bytes -= bytes;
            return Ok(self.useful(incoming));
        }
        if let Some(end) = self.ended.take() {
            return Err(end);
        }
        loop {
            let (beat, silence) = (self.last_sent + BEAT_INTERVAL, self.last_heard + PEER_TIMEOUT);
            tokio::select! {
                biased;
                frame = self.reader.next() => {
                    self.last_heard = Instant::now();
                    let frame = frame?.ok_or(End::Closed)?;
                    self.moved.received += frame_bytes(&frame);
                    if let Some(incoming) = self.sort(frame)? {
                        self.resting = false;
                        return Ok(self.useful(incoming));
                    }
                    if self.resting {
                        self.reader.shrink();
                    }
                }
                () = sleep_until(idle_until) => return Err(End::Silent(idle)),
                () = sleep_until(silence) => return Err(End::Silent(PEER_TIMEOUT)),
                () = sleep_until(beat) => self.beat().await?,
            }
        }
    }

    /// A chunk together with those behind it that are there already, `most` bytes in all: what is done for each hand-over to the disk
    /// costs far more than to send a chunk of a few bytes.
    pub(super) fn gather(&mut self, chunk: Bytes, most: usize) -> Result<Vec<Bytes>, End> {
        let mut length = chunk.len();
        let mut gathered = vec![chunk];
        while self.ready()?
            && let Some((Incoming::Data(next), bytes)) = self.ahead.front()
            && length + next.len() <= most
        {
            length += next.len();
            self.ahead_bytes -= bytes;
            if let Some((Incoming::Data(next), _)) = self.ahead.pop_front() {
                gathered.push(next);
            }
        }
        Ok(gathered)
    }

    /// Runs work of the server without looking dead to the client, and to its end whatever the client says
    /// or becomes.
    pub(super) async fn busy<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(work);
        loop {
            let beat = self.last_sent + BEAT_INTERVAL;
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep_until(beat) => self.beat().await?,
                end = self.read_ahead() => self.ended = Some(end),
            }
        }
    }

    /// As [`Wire::busy`], for a wait that serves nobody once the client is gone.
    pub(super) async fn while_present<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(work);
        loop {
            let beat = self.last_sent + BEAT_INTERVAL;
            tokio::select! {
                biased;
                done = &mut work => {
                    self.excuse_silence();
                    return Ok(done);
                }
                () = sleep_until(beat) => self.beat().await?,
                end = self.read_ahead() => return Err(end),
            }
        }
    }

    /// While as much was read ahead as may be, nothing could be heard.
    pub(super) fn excuse_silence(&mut self) {
        if self.ahead_bytes >= READ_AHEAD_BYTES {
            self.last_heard = Instant::now();
        }
    }

    /// As [`Wire::busy`], but `None` when the client cancels the request `id`; the work is dropped then.
    pub(super) async fn unless_cancelled<T>(
        &mut self,
        id: u64,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, End> {
        tokio::pin!(work);
        loop {
            let beat = self.last_sent + BEAT_INTERVAL;
            tokio::select! {
                biased;
                done = &mut work => return Ok(Some(done)),
                watched = self.watch(id) => {
                    watched?;
                    return Ok(None);
                }
                () = sleep_until(beat) => self.beat().await?,
            }
        }
    }

    /// Sends what is queued unless the client cancels the request `id` first: then `false`, and the rest
    /// stays queued, for a frame that was begun must be ended.
    pub(super) async fn flush_unless_cancelled(&mut self, id: u64) -> Result<bool, End> {
        let deadline = Instant::now() + PEER_TIMEOUT;
        if self.take_cancel(id) {
            return Ok(false);
        }
        loop {
            tokio::select! {
                biased;
                // First, for a client that takes everything in at once would never be heard otherwise.
                frame = self.reader.next(), if self.ahead_bytes < READ_AHEAD_BYTES => {
                    self.arrived(frame?)?;
                    if self.take_cancel(id) {
                        return Ok(false);
                    }
                }
                sent = self.writer.flush() => {
                    sent?;
                    self.last_sent = Instant::now();
                    // Whoever takes in a chunk lives, even if it has no time for beats.
                    self.last_heard = self.last_sent;
                    return Ok(true);
                }
                () = sleep_until(deadline) => return Err(End::Silent(PEER_TIMEOUT)),
            }
        }
    }

    /// Reads ahead until the request `id` is cancelled or nothing more can be read.
    async fn watch(&mut self, id: u64) -> Result<(), End> {
        loop {
            if self.take_cancel(id) {
                return Ok(());
            }
            if let Some(end) = self.ended.take() {
                return Err(end);
            }
            self.read_a_frame_ahead().await?;
        }
    }

    /// Reads ahead as long as there is room; comes back only when nothing more can be read.
    async fn read_ahead(&mut self) -> End {
        loop {
            if self.ended.is_some() {
                return std::future::pending().await;
            }
            if let Err(end) = self.read_a_frame_ahead().await {
                return end;
            }
        }
    }

    async fn read_a_frame_ahead(&mut self) -> Result<(), End> {
        if self.ahead_bytes >= READ_AHEAD_BYTES {
            return std::future::pending().await;
        }
        let frame = self.reader.next().await?;
        self.arrived(frame)
    }

    fn arrived(&mut self, frame: Option<Frame>) -> Result<(), End> {
        self.last_heard = Instant::now();
        let frame = frame.ok_or(End::Closed)?;
        self.moved.received += frame_bytes(&frame);
        let bytes = frame.payload_bytes() + size_of::<(Incoming, usize)>();
        let Some(incoming) = self.sort(frame)? else {
            return Ok(());
        };
        if let Incoming::Request(Request {
            op: Op::Cancel { target },
            ..
        }) = &incoming
        {
            self.cancelled.push(*target);
        }
        self.ahead_bytes += bytes;
        self.ahead.push_back((incoming, bytes));
        Ok(())
    }

    /// What has to be dealt with; `None` for a beat that costs nothing.
    fn sort(&mut self, frame: Frame) -> Result<Option<Incoming>, End> {
        let incoming = parse(frame)?;
        if !matches!(incoming, Incoming::Beat) {
            return Ok(Some(incoming));
        }
        let (count, since) = &mut self.beats;
        let now = Instant::now();
        if now.duration_since(*since) >= BEAT_INTERVAL {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        Ok((*count > FREE_BEATS).then_some(incoming))
    }

    /// Ends the wait for something of use, if this is.
    fn useful(&mut self, incoming: Incoming) -> Incoming {
        if !matches!(incoming, Incoming::Beat) {
            self.idle_since = None;
        }
        incoming
    }

    /// Whether the client has cancelled the request `id`.
    pub(super) fn is_cancelled(&self, id: u64) -> bool {
        self.cancelled.contains(&id)
    }

    pub(super) fn take_cancel(&mut self, id: u64) -> bool {
        let found = self.cancelled.contains(&id);
        self.cancelled.retain(|target| *target != id);
        found
    }

    /// Forgets cancels whose requests are over: their turn has come.
    pub(super) fn cancel_answered(&mut self, target: u64) {
        self.cancelled.retain(|other| *other != target);
    }

    async fn beat(&mut self) -> Result<(), End> {
        self.reply(0, Re::Beat)?;
        self.flush().await
    }

    /// Gives memory back before a wait.
    pub(super) fn shrink(&mut self) {
        self.reader.shrink();
        self.writer.shrink();
        self.resting = true;
    }

    /// Says goodbye as far as that is possible, and closes.
    pub(super) async fn close(mut self, end: &End) {
        const FAREWELL: Duration = Duration::from_secs(2);
        let fault = match end {
            End::Bye(fault) => Some(fault.clone()),
            End::Silent(_) => Some(Fault::new(ftp_proto::Code::TimedOut, end.to_string())),
            End::Closed | End::Lost(_) => None,
        };
        // In the middle of a frame it would pass for bytes of the file.
        let fault = fault.filter(|_| !self.frame_is_open);
        let goodbye = async {
            if let Some(fault) = fault {
                self.writer.header(&Reply {
                    id: 0,
                    re: Re::Bye(fault),
                })?;
            }
            self.writer.shutdown().await?;
            match end {
                End::Lost(_) => Ok::<(), ProtocolError>(()),
                _ => self.reader.drain().await,
            }
        };
        let _ = tokio::time::timeout(FAREWELL, goodbye).await;
    }
}

fn frame_bytes(frame: &Frame) -> u64 {
    (frame.payload_bytes() + DATA_HEAD_BYTES) as u64
}

fn parse(frame: Frame) -> Result<Incoming, End> {
    match frame {
        Frame::Data(bytes) if bytes.len() < COPY_BELOW_BYTES => Ok(Incoming::Data(Bytes::copy_from_slice(&bytes))),
        Frame::Data(bytes) => Ok(Incoming::Data(bytes)),
        Frame::Header(json) => {
            let request: Request = serde_json::from_slice(&json).map_err(ProtocolError::Malformed)?;
            Ok(match request.op {
                Op::Beat => Incoming::Beat,
                _ => Incoming::Request(request),
            })
        }
    }
}
