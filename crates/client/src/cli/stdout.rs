//! Standard output for the bytes of files.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Where to write.
pub(super) enum Stdout {
    /// A file or a device such as `/dev/null`: nobody has to read before it takes more, so a thread in between, and a
    /// copy for it, would only cost.
    Now(File),
    /// A pipe, a socket or a terminal, whose reader may take its time.
    Later(tokio::io::Stdout),
}

impl Stdout {
    /// Looks at what standard output is.
    pub(super) fn open() -> Self {
        let stdout = io::stdout();
        let never_waits = |file: &File| {
            let kind = file.metadata().map(|found| found.file_type());
            kind.is_ok_and(|kind| kind.is_file() || (kind.is_char_device() && !file.is_terminal()))
        };
        match stdout.as_fd().try_clone_to_owned().map(File::from) {
            Ok(file) if never_waits(&file) => Self::Now(file),
            _ => Self::Later(tokio::io::stdout()),
        }
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Now(file) => loop {
                match file.write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    done => return Poll::Ready(done),
                }
            },
            Self::Later(stdout) => Pin::new(stdout).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Now(_) => Poll::Ready(Ok(())),
            Self::Later(stdout) => Pin::new(stdout).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
