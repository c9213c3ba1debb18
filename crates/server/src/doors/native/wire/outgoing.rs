//! The half of a connection that is written to.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::Io;

/// It shows whether there is anything between the frames and the socket.
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
