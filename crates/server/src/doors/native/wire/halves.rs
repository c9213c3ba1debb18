//! A connection in two halves: one that is read from, one that is written to.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

/// Any connected stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The half that is read from.
pub(crate) type Ingoing = Box<dyn AsyncRead + Send + Unpin>;

/// A stream in two halves, of which nothing is known.
pub(crate) fn halves(stream: impl Io + 'static) -> (Ingoing, Outgoing) {
    let (read, write) = tokio::io::split(Box::new(stream) as Box<dyn Io>);
    (Box::new(read), Outgoing::Covered(write))
}

/// The half that is written to. It shows whether there is anything between the frames and the socket.
pub(crate) enum Outgoing {
    /// TLS, or another stream.
    Covered(WriteHalf<Box<dyn Io>>),
    /// Nothing.
    Bare(OwnedWriteHalf),
}

impl Outgoing {
    /// The socket, if what is written to it leaves as it is.
    pub(super) fn bare(&self) -> Option<&TcpStream> {
        match self {
            Self::Covered(_) => None,
            Self::Bare(half) => Some(half.as_ref()),
        }
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match self.get_mut() {
            Self::Covered(half) => Pin::new(half),
            Self::Bare(half) => Pin::new(half),
        }
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Covered(half) => half.is_write_vectored(),
            Self::Bare(half) => half.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}
