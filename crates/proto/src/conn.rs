//! Frames over a byte stream: the only file of this crate that waits.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::{fmt, io, mem};

use bytes::BytesMut;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::Decoder;

use crate::frame::put_header;
use crate::{Chunk, DATA_HEAD_BYTES, Frame, FrameCodec, LENGTH_BYTES, MAX_DATA_BYTES, ProtocolError};

/// How much is asked of the stream at a time when no frame tells more.
const READ_BYTES: usize = 16 * 1024;

/// The same while data arrives: a whole frame.
const DATA_READ_BYTES: usize = DATA_HEAD_BYTES + MAX_DATA_BYTES;

/// The same at first and after [`FrameReader::shrink`]: a peer that only gives signs of life needs no more.
const IDLE_READ_BYTES: usize = 128;

/// By how much reads grow from there, so that a login takes no large buffer, which would leave a hole behind.
const GROWTH: usize = 4;

/// How many buffers whose frames are still in use are remembered, to be read into once they are free.
const MAX_SPENT: usize = 8;

/// How many sent chunks a writer keeps, to be filled again.
const MAX_SPENT_CHUNKS: usize = 8;

/// Chunks below this are copied behind what is queued, so that many of them leave together.
const COPY_BELOW_BYTES: usize = 16 * 1024;

/// Reads frames.
pub struct FrameReader<R> {
    io: R,
    codec: FrameCodec,
    buffer: BytesMut,
    /// How much the buffer was made for.
    room: usize,
    /// Handles of buffers whose frames were handed out.
    spent: Vec<BytesMut>,
    /// How much the next read asks for.
    wanted: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader with the limits that hold before login.
    pub fn new(io: R) -> Self {
        Self {
            io,
            codec: FrameCodec::new(),
            buffer: BytesMut::new(),
            room: 0,
            spent: Vec::new(),
            wanted: IDLE_READ_BYTES,
        }
    }

    /// Widens the limits to those that hold after login.
    pub fn open(&mut self) {
        self.codec.open();
    }

    /// The next frame, or `None` when the peer ended the stream between two frames.
    ///
    /// # Errors
    /// [`ProtocolError`] for a failed stream or a broken rule; neither can be read on.
    ///
    /// # Cancel safety
    /// Safe: bytes already read stay in the buffer.
    pub async fn next(&mut self) -> Result<Option<Frame>, ProtocolError> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(Some(frame));
            }
            self.make_room()?;
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return self.codec.decode_eof(&mut self.buffer);
            }
        }
    }

    /// A frame that has arrived whole, without waiting.
    ///
    /// # Errors
    /// As [`FrameReader::next`].
    pub fn ready(&mut self) -> Result<Option<Frame>, ProtocolError> {
        let Some(length) = self.front_bytes()?.filter(|length| *length <= self.buffer.len()) else {
            return Ok(None);
        };
        self.wanted = if length > READ_BYTES {
            DATA_READ_BYTES
        } else {
            READ_BYTES
        };
        // The codec makes room for the next head, which takes a whole new buffer where there is none.
        if self.buffer.capacity() >= length + LENGTH_BYTES {
            self.codec.decode(&mut self.buffer)
        } else {
            self.codec.decode(&mut self.buffer.split_to(length))
        }
    }

    fn front_bytes(&mut self) -> Result<Option<usize>, ProtocolError> {
        self.codec.front_bytes(&self.buffer)
    }

    /// Sees to it that there is room for the frame at the front, or for the beginning of one: in a buffer whose
    /// frame nobody holds any more, if there is one.
    fn make_room(&mut self) -> Result<(), ProtocolError> {
        let needed = self.front_bytes()?.unwrap_or(DATA_HEAD_BYTES);
        if needed <= self.buffer.capacity() {
            return Ok(());
        }
        let room = needed.max(self.wanted) + LENGTH_BYTES;
        if self.wanted < READ_BYTES {
            self.wanted = (self.wanted * GROWTH).min(READ_BYTES);
        }
        let free = self.spent.iter_mut().position(|buffer| buffer.try_reclaim(room));
        let mut next = match free {
            Some(free) => self.spent.swap_remove(free),
            None => BytesMut::with_capacity(room),
        };
        next.extend_from_slice(&self.buffer);
        let mut old = mem::replace(&mut self.buffer, next);
        old.clear();
        if mem::replace(&mut self.room, room) >= DATA_READ_BYTES + LENGTH_BYTES && self.spent.len() < MAX_SPENT {
            self.spent.push(old);
        }
        Ok(())
    }

    /// Reads on until the peer ends the stream, and throws away what comes: closing a socket with unread
    /// bytes would make TCP reset the connection, and a goodbye be lost.
    ///
    /// # Errors
    /// [`ProtocolError::Io`] when the stream fails.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn drain(&mut self) -> Result<(), ProtocolError> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(READ_BYTES);
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Gives the buffer's memory back while nothing is in it, for sessions that idle.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.room = 0;
            self.spent = Vec::new();
            self.wanted = IDLE_READ_BYTES;
        }
    }
}

/// Writes frames. What is queued leaves with the next [`FrameWriter::flush`].
pub struct FrameWriter<W> {
    io: W,
    queue: VecDeque<Piece>,
    /// Over all pieces.
    queued: usize,
    /// How much of the first piece has left.
    sent: usize,
    /// Chunks that have left.
    spent: Vec<Chunk>,
    /// An emptied buffer of headers.
    scratch: BytesMut,
}

/// A part of what is queued.
enum Piece {
    /// Headers and short chunks.
    Short(BytesMut),
    Chunk(Chunk),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Chunk(chunk) => chunk.frame(),
        }
    }
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// A writer with an empty queue.
    pub fn new(io: W) -> Self {
        Self {
            io,
            queue: VecDeque::new(),
            queued: 0,
            sent: 0,
            spent: Vec::new(),
            scratch: BytesMut::new(),
        }
    }

    /// The stream, for those who write frames to it by other means. While frames are queued it is not theirs.
    pub fn get_ref(&self) -> &W {
        &self.io
    }

    /// Queues a header.
    ///
    /// # Errors
    /// [`ProtocolError::FrameTooLong`] when the message is too long for a header.
    pub fn header(&mut self, message: &impl Serialize) -> Result<(), ProtocolError> {
        let json = serde_json::to_vec(message).map_err(ProtocolError::Malformed)?;
        self.short(|bytes| put_header(bytes, &json))
    }

    /// Queues a data frame that [`crate::seal_data`] completed, by a copy.
    pub fn data(&mut self, sealed: &[u8]) {
        let copied = self.short(|bytes| {
            bytes.extend_from_slice(sealed);
            Ok(())
        });
        debug_assert!(copied.is_ok(), "nothing in it can fail");
    }

    /// Queues a chunk, which costs no copy unless it is short.
    pub fn chunk(&mut self, chunk: Chunk) {
        if chunk.frame().len() < COPY_BELOW_BYTES {
            self.data(chunk.frame());
            self.keep(chunk);
        } else {
            self.queued += chunk.frame().len();
            self.queue.push_back(Piece::Chunk(chunk));
        }
    }

    /// A chunk to fill: one that was sent, if there is one.
    pub fn spent(&mut self) -> Chunk {
        self.spent.pop().unwrap_or_default()
    }

    /// Keeps a chunk that is of no more use, to be filled again.
    pub fn keep(&mut self, chunk: Chunk) {
        if self.spent.len() < MAX_SPENT_CHUNKS {
            self.spent.push(chunk);
        }
    }

    /// Appends to the last piece, if that is one of headers.
    fn short(&mut self, append: impl FnOnce(&mut BytesMut) -> Result<(), ProtocolError>) -> Result<(), ProtocolError> {
        if !matches!(self.queue.back(), Some(Piece::Short(_))) {
            self.queue.push_back(Piece::Short(mem::take(&mut self.scratch)));
        }
        let Some(Piece::Short(bytes)) = self.queue.back_mut() else {
            return Ok(());
        };
        let before = bytes.len();
        let appended = append(bytes);
        self.queued += bytes.len() - before;
        appended
    }

    /// How many bytes are queued.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Sends everything queued.
    ///
    /// # Errors
    /// [`ProtocolError::Io`] when the stream fails.
    ///
    /// # Cancel safety
    /// Safe: what was not sent stays queued, and the next call goes on with it.
    pub async fn flush(&mut self) -> Result<(), ProtocolError> {
        while self.queued > 0 {
            let count = self.write_some().await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.advance(count);
        }
        Ok(self.io.flush().await?)
    }

    async fn write_some(&mut self) -> io::Result<usize> {
        let mut pieces = self.queue.iter().map(Piece::bytes);
        let first = pieces.next().map_or(&[][..], |first| &first[self.sent..]);
        match pieces.next() {
            None => self.io.write(first).await,
            Some(second) => {
                let slices = [IoSlice::new(first), IoSlice::new(second)];
                self.io.write_vectored(&slices).await
            }
        }
    }

    fn advance(&mut self, count: usize) {
        self.queued -= count;
        self.sent += count;
        while let Some(first) = self.queue.front()
            && self.sent >= first.bytes().len()
        {
            self.sent -= first.bytes().len();
            match self.queue.pop_front() {
                Some(Piece::Chunk(chunk)) => self.keep(chunk),
                Some(Piece::Short(mut bytes)) => {
                    bytes.clear();
                    self.scratch = bytes;
                }
                None => {}
            }
        }
    }

    /// Queues a header and sends everything.
    ///
    /// # Errors
    /// As [`FrameWriter::header`] and [`FrameWriter::flush`].
    ///
    /// # Cancel safety
    /// The header is queued at the first poll; after that as [`FrameWriter::flush`].
    pub async fn send(&mut self, message: &impl Serialize) -> Result<(), ProtocolError> {
        self.header(message)?;
        self.flush().await
    }

    /// Gives the queue's memory back while nothing is in it, for sessions that idle.
    pub fn shrink(&mut self) {
        if self.queued == 0 {
            self.queue = VecDeque::new();
            self.spent = Vec::new();
            self.scratch = BytesMut::new();
        }
    }

    /// Sends everything queued and ends the stream in this direction.
    ///
    /// # Errors
    /// As [`FrameWriter::flush`].
    ///
    /// # Cancel safety
    /// As [`FrameWriter::flush`].
    pub async fn shutdown(&mut self) -> Result<(), ProtocolError> {
        self.flush().await?;
        Ok(self.io.shutdown().await?)
    }
}

/// Shows how much is held, and nothing of it.
impl<R> fmt::Debug for FrameReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameReader({} bytes)", self.buffer.len())
    }
}

/// Shows how much is held, and nothing of it.
impl<W> fmt::Debug for FrameWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameWriter({} bytes)", self.queued)
    }
}
