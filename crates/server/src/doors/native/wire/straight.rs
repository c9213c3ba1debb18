//! File bytes that go from the kernel's memory to a bare socket by `sendfile`, and never through this process: without
//! TLS, and where nothing has to be hashed.
//!
//! Threads that may wait for the disk do it, a few frames at a time. A frame that was begun is ended, whatever
//! happens to the client's wishes or to the file: the connection stays of use.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use ftp_proto::{DATA_HEAD_BYTES, MAX_DATA_BYTES, PEER_TIMEOUT, ProtocolError, data_head};
use ftp_store::{Error, ReadFile};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::{End, READ_AHEAD_BYTES, Wire};

/// How much is copied at a time where `sendfile` does not work.
const COPY_BYTES: usize = 64 * 1024;

/// A range of a file on its way.
pub(in crate::doors::native) struct Straight {
    file: ReadFile,
    /// A handle of its own: the connection's half is in use meanwhile.
    socket: Arc<TcpStream>,
    at: u64,
    to: u64,
    /// How much is sent before the caller has its say.
    step: u64,
    /// Where that is the next time: at the end of the frame in which it lies.
    pause: u64,
    frame: OpenFrame,
    /// Whether `sendfile` has failed, for whatever reason.
    by_copy: bool,
    /// Why there are no more bytes of the file. Zeros take their place in the frame at hand, and it is the last.
    missing: Option<Error>,
}

/// What is left of the frame at hand.
#[derive(Default)]
struct OpenFrame {
    head: [u8; DATA_HEAD_BYTES],
    head_left: usize,
    payload_left: usize,
}

impl Straight {
    /// Whether everything has left, and no frame is open.
    pub(in crate::doors::native) fn is_done(&self) -> bool {
        self.at == self.to && self.frame.is_done()
    }

    /// Leaves it at the frame that was begun.
    pub(in crate::doors::native) fn stop(&mut self) {
        self.to = self.at + self.frame.payload_left as u64;
    }

    /// Why the range did not leave whole, if that is the file's fault.
    pub(in crate::doors::native) fn failure(self) -> Option<Error> {
        self.missing
    }

    /// Where the frame at hand ends, or the last one did.
    fn frame_end(&self) -> u64 {
        self.at + self.frame.payload_left as u64
    }

    /// Sends a step, or as much of it as the socket takes now. How many bytes of the connection that was.
    fn push(&mut self) -> io::Result<u64> {
        let socket = Arc::clone(&self.socket);
        let mut sent = 0;
        while !self.is_done() {
            if self.frame.is_done() {
                if self.at >= self.pause {
                    break;
                }
                self.frame = OpenFrame::begin(self.to - self.at);
            }
            match self.push_some(socket.as_fd()) {
                Ok(count) => sent += count as u64,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(sent)
    }

    fn push_some(&mut self, socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        if self.frame.head_left > 0 {
            let head = &self.frame.head[DATA_HEAD_BYTES - self.frame.head_left..];
            let count = send(socket, head, SendFlags::MORE | SendFlags::DONTWAIT)?;
            self.frame.head_left -= count;
            return Ok(count);
        }
        let count = self.push_payload(socket)?;
        self.frame.payload_left -= count;
        self.at += count as u64;
        Ok(count)
    }

    fn push_payload(&mut self, socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        let left = self.frame.payload_left;
        if !self.by_copy {
            let mut from = self.at;
            match rustix::fs::sendfile(socket, self.file.descriptor(), Some(&mut from), left) {
                Ok(count) if count > 0 => return Ok(count),
                Err(errno @ (Errno::AGAIN | Errno::INTR)) => return Err(errno),
                // The file has ended, or its file system gives no pages away, or the disk or the connection has
                // failed: the two calls that it consists of tell.
                Ok(_) | Err(_) => self.by_copy = true,
            }
        }
        let mut buffer = [0; COPY_BYTES];
        let mut piece = &mut buffer[..left.min(COPY_BYTES)];
        if self.missing.is_none() {
            match rustix::io::pread(self.file.descriptor(), &mut *piece, self.at) {
                Ok(count) if count > 0 => piece = &mut piece[..count],
                Err(errno @ Errno::INTR) => return Err(errno),
                read => {
                    let path = self.file.path().clone();
                    self.missing = Some(match read {
                        Ok(_) => Error::SourceChanged { path },
                        Err(errno) => Error::Io {
                            what: "read",
                            place: path.to_string(),
                            source: errno.into(),
                        },
                    });
                    self.stop();
                }
            }
        }
        send(socket, piece, SendFlags::DONTWAIT)
    }
}

impl OpenFrame {
    /// The next one of so many bytes.
    fn begin(left: u64) -> Self {
        let payload = usize::try_from(left).unwrap_or(usize::MAX).min(MAX_DATA_BYTES);
        Self {
            head: data_head(payload).expect("it was cut to the maximum"),
            head_left: DATA_HEAD_BYTES,
            payload_left: payload,
        }
    }

    fn is_done(&self) -> bool {
        self.head_left == 0 && self.payload_left == 0
    }
}

impl Wire {
    /// Whether there is nothing between here and the socket.
    pub(in crate::doors::native) fn is_bare(&self) -> bool {
        self.writer.get_ref().bare().is_some()
    }

    /// Prepares to send the bytes `at..to` of a file, in steps of about `step` bytes; `None` where something stands
    /// between here and the socket. What is queued has to be sent before.
    pub(in crate::doors::native) fn straight(
        &self,
        file: &ReadFile,
        (at, to): (u64, u64),
        step: u64,
    ) -> Option<Straight> {
        let handle = self.writer.get_ref().bare()?.as_fd().try_clone_to_owned().ok()?;
        let socket = TcpStream::from_std(handle.into()).ok()?;
        debug_assert_eq!(self.writer.queued(), 0, "what is queued comes first");
        Some(Straight {
            file: file.clone(),
            socket: Arc::new(socket),
            at,
            to,
            step,
            pause: at,
            frame: OpenFrame::default(),
            by_copy: false,
            missing: None,
        })
    }

    /// Sends the next step, and hears what the client says meanwhile; if it cancels the request `id`, no further than
    /// to the end of the frame at hand. Counts the file's bytes that leave in `moved`.
    pub(in crate::doors::native) async fn push(
        &mut self,
        id: u64,
        mut straight: Straight,
        moved: &mut u64,
    ) -> Result<Straight, End> {
        let mut deadline = Instant::now() + PEER_TIMEOUT;
        straight.pause = straight.at.saturating_add(straight.step);
        // Also when this is dropped.
        self.frame_is_open = true;
        loop {
            let (from, frame_end) = (straight.at, straight.frame_end());
            if self.is_cancelled(id) {
                straight.pause = frame_end;
            }
            let began = Instant::now();
            let work = tokio::task::spawn_blocking(move || {
                let pushed = straight.push();
                (straight, pushed)
            });
            let pushed;
            // The thread never waits for the client, only for the disk.
            (straight, pushed) = match self.hear_during(work, None).await? {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is shutting down.
                    Err(_) => return Err(lost(io::ErrorKind::Interrupted.into())),
                },
            };
            *moved += straight.at - from;
            deadline += began.elapsed();
            let sent = pushed.map_err(lost)?;
            self.moved.sent += sent;
            if sent > 0 {
                self.last_sent = Instant::now();
                // Whoever takes bytes in lives, even if it has no time for beats.
                self.last_heard = self.last_sent;
            }
            if straight.frame.is_done() {
                self.frame_is_open = false;
                return Ok(straight);
            }
            if straight.frame_end() != frame_end {
                deadline = Instant::now() + PEER_TIMEOUT;
            }
            let socket = Arc::clone(&straight.socket);
            self.hear_during(room(&socket), Some(deadline)).await?.map_err(lost)?;
        }
    }

    /// Waits for work that sends, and sends nothing itself.
    async fn hear_during<T>(&mut self, work: impl Future<Output = T>, deadline: Option<Instant>) -> Result<T, End> {
        let silence = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(work, silence);
        loop {
            tokio::select! {
                biased;
                frame = self.reader.next(), if self.ahead_bytes < READ_AHEAD_BYTES => self.arrived(frame?)?,
                done = &mut work => return Ok(done),
                () = &mut silence => return Err(End::Silent(PEER_TIMEOUT)),
            }
        }
    }
}

fn lost(error: io::Error) -> End {
    End::Lost(ProtocolError::Io(error))
}

/// Waits until the socket takes bytes.
async fn room(socket: &TcpStream) -> io::Result<()> {
    loop {
        socket.writable().await?;
        // Asked again, for the runtime knows nothing of what other threads have met.
        let asked = socket.try_io(Interest::WRITABLE, || {
            let mut polled = [PollFd::new(socket, PollFlags::OUT)];
            match poll(&mut polled, Some(&Timespec::default()))? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        match asked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            asked => return asked,
        }
    }
}
