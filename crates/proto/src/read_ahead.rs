//! A buffer below TLS.
//!
//! rustls asks its stream for 4 KiB at a time, which would be four system calls for each record of
//! 16 KiB. [`ReadAhead`] asks the stream for much at once and hands it out in the pieces wanted. Its
//! buffer grows while it is filled and is kept as long as much arrives; after a short read, as of an
//! idle peer's signs of life, it is given back.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// The most that is asked of the stream at once: a data frame with its TLS records.
const MAX_READ_BYTES: usize = 272 * 1024;

/// What is asked for at first, and again after a read of less than half of it. Only what arrives is touched; a
/// smaller buffer, once given back, would leave a hole between connections that nothing else fits into.
const MIN_READ_BYTES: usize = 64 * 1024;

/// By how much the buffer grows when a read has filled it.
const GROWTH: usize = 4;

/// A stream whose reads are buffered and whose writes go straight through.
pub struct ReadAhead<S> {
    stream: S,
    buffer: BytesMut,
    wanted: usize,
}

impl<S> ReadAhead<S> {
    /// Wraps a stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            wanted: MIN_READ_BYTES,
        }
    }
}

impl<S> ReadAhead<S> {
    /// Follows what a read of `count` bytes tells of the next one.
    fn adapt(&mut self, count: usize) {
        if count < MIN_READ_BYTES / 2 {
            self.wanted = MIN_READ_BYTES;
        } else if count >= self.wanted {
            self.wanted = (self.wanted * GROWTH).min(MAX_READ_BYTES);
        }
    }
}

/// Shows how much is held, and nothing of it.
impl<S> fmt::Debug for ReadAhead<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadAhead({} bytes)", self.buffer.len())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.buffer.is_empty() {
            this.buffer.reserve(this.wanted);
            match poll_read_buf(Pin::new(&mut this.stream), cx, &mut this.buffer) {
                Poll::Ready(read) => this.adapt(read?),
                Poll::Pending => {
                    if this.wanted == MIN_READ_BYTES {
                        this.buffer = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            }
        }
        let take = this.buffer.len().min(out.remaining());
        out.put_slice(&this.buffer[..take]);
        this.buffer.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn every_byte_comes_through_in_order_and_an_idle_stream_holds_no_buffer() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut near = ReadAhead::new(near);
        let sent: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        far.write_all(&sent).await.unwrap();
        let mut received = vec![0; sent.len()];
        for piece in received.chunks_mut(4096) {
            near.read_exact(piece).await.unwrap();
        }
        assert_eq!(received, sent);
        assert_eq!(near.wanted, MAX_READ_BYTES);
        let mut byte = [0];
        far.write_all(b"x").await.unwrap();
        assert_eq!(near.read(&mut byte).await.unwrap(), 1);
        assert!(futures::poll!(std::pin::pin!(near.read(&mut byte))).is_pending());
        assert_eq!(near.buffer.capacity(), 0);
        near.write_all(b"back").await.unwrap();
        drop(far);
        assert_eq!(near.read(&mut byte).await.unwrap(), 0);
    }
}
