//! Frames over a byte stream: the only file of this crate that waits.

use bytes::{Buf, BytesMut};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::Decoder;

use crate::frame::put_header;
use crate::{Frame, FrameCodec, ProtocolError};

/// How much is asked of the stream at a time when no frame tells more.
const READ_BYTES: usize = 16 * 1024;

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    io: R,
    codec: FrameCodec,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader with the limits that hold before login.
    pub fn new(io: R) -> Self {
        Self {
            io,
            codec: FrameCodec::new(),
            buffer: BytesMut::new(),
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
            if let Some(frame) = self.codec.decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            if self.buffer.capacity() == self.buffer.len() {
                self.buffer.reserve(READ_BYTES);
            }
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
        self.codec.decode(&mut self.buffer)
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
        }
    }
}

/// Writes frames. What is queued leaves with the next [`FrameWriter::flush`].
#[derive(Debug)]
pub struct FrameWriter<W> {
    io: W,
    queue: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// A writer with an empty queue.
    pub fn new(io: W) -> Self {
        Self {
            io,
            queue: BytesMut::new(),
        }
    }

    /// Queues a header.
    ///
    /// # Errors
    /// [`ProtocolError::FrameTooLong`] when the message is too long for a header.
    pub fn header(&mut self, message: &impl Serialize) -> Result<(), ProtocolError> {
        let json = serde_json::to_vec(message).map_err(ProtocolError::Malformed)?;
        put_header(&mut self.queue, &json)
    }

    /// Queues a data frame that [`crate::seal_data`] completed. Costs no copy when the queue is empty.
    pub fn data(&mut self, sealed: BytesMut) {
        if self.queue.is_empty() {
            self.queue = sealed;
        } else {
            self.queue.extend_from_slice(&sealed);
        }
    }

    /// How many bytes are queued.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Sends everything queued.
    ///
    /// # Errors
    /// [`ProtocolError::Io`] when the stream fails.
    ///
    /// # Cancel safety
    /// Safe: what was not sent stays queued, and the next call goes on with it.
    pub async fn flush(&mut self) -> Result<(), ProtocolError> {
        while self.queue.has_remaining() {
            if self.io.write_buf(&mut self.queue).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into());
            }
        }
        self.queue.clear();
        Ok(self.io.flush().await?)
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
        if self.queue.is_empty() {
            self.queue = BytesMut::new();
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
