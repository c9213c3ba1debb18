//! The life of a session after its login, top to bottom.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use ftp_proto::{BEAT_INTERVAL, Code, Fault, Re, Request};
use ftp_store::{FilePath, Home};
use futures::FutureExt as _;
use futures::future::{MaybeDone, maybe_done};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::login::Entered;
use super::wire::{End, Incoming, Wire};
use super::{Door, request};
use crate::audit::{self, Who};
use crate::config::Rights;
use crate::site::Account;

/// How many small uploads of a session may be on their way to the disk at once. They share the cost of
/// being made durable, and hold at most as many small files in memory.
const MAX_PENDING: usize = 64;

/// How many bytes of small uploads may wait for the disk.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// How long a session without requests keeps its buffers.
const SHRINK_AFTER: Duration = Duration::from_millis(200);

/// A logged-in user's session. No request can be served without one.
pub(super) struct Session<'a> {
    pub(super) door: &'a Door,
    pub(super) wire: &'a mut Wire,
    pub(super) who: Who,
    pub(super) home: Home,
    pub(super) cwd: FilePath,
    account: &'a Account,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
}

/// A small upload whose answer is outstanding.
struct Pending {
    id: u64,
    bytes: usize,
    path: FilePath,
    task: MaybeDone<JoinHandle<Re>>,
}

/// Serves requests until the session ends, and logs why it did.
pub(super) async fn run(door: &Door, entered: Entered, who: Who) {
    let began = Instant::now();
    let Entered {
        account,
        seat,
        reader,
        writer,
        ..
    } = entered;
    let mut wire = Wire::new(reader, writer);
    let mut requests = 0;
    let end = tokio::select! {
        biased;
        () = door.cut.cancelled() => shutting_down(),
        () = account.revoked().cancelled() => {
            End::Bye(Fault::new(Code::LoginFailed, "the administrator changed or removed this account"))
        }
        end = serve(door, &account, &mut wire, &who, &mut requests) => match end {
            Err(end) => end,
            Ok(never) => match never {},
        },
    };
    if let End::Lost(error) = &end {
        tracing::debug!(session = who.session, error = %error, "connection lost");
    }
    wire.close(&end).await;
    audit::session_end(&who, &end.to_string(), began.elapsed().as_secs_f64(), requests);
    drop(seat);
}

/// Opens the home, which the first time may take longer than a login may, and serves requests in it.
async fn serve(
    door: &Door,
    account: &Account,
    wire: &mut Wire,
    who: &Who,
    requests: &mut u64,
) -> Result<Infallible, End> {
    let home = wire.busy(door.site.open(account)).await?.map_err(|error| {
        audit::failure(Some(who.session), "cannot open a home", &error);
        let message = "the server cannot open this user's home; its log says why";
        End::Bye(Fault::new(Code::Internal, message))
    })?;
    let mut session = Session {
        door,
        wire,
        who: who.clone(),
        home,
        cwd: FilePath::root(),
        account,
        pending: VecDeque::new(),
        pending_bytes: 0,
    };
    loop {
        let request = session.next().await?;
        *requests += 1;
        request::dispatch(&mut session, request).await?;
    }
}

fn shutting_down() -> End {
    End::Bye(Fault::new(
        Code::ShuttingDown,
        "the server is shutting down; uploads can be resumed when it is back",
    ))
}

impl Session<'_> {
    /// The next request. Answers that are due are sent first.
    async fn next(&mut self) -> Result<Request, End> {
        let idle = self.idle_timeout();
        loop {
            self.answer_finished().await?;
            if self.wire.ready()? {
                return expect_request(self.wire.receive(idle).await?);
            }
            self.wire.flush().await?;
            if self.door.drain.is_cancelled() && self.pending.is_empty() {
                return Err(shutting_down());
            }
            let Self {
                wire, pending, door, ..
            } = self;
            tokio::select! {
                biased;
                incoming = wire.receive(idle) => return expect_request(incoming?),
                () = finished(pending.front_mut()) => {}
                () = door.drain.cancelled(), if pending.is_empty() => return Err(shutting_down()),
                () = tokio::time::sleep(SHRINK_AFTER), if pending.is_empty() => {
                    wire.shrink();
                    tokio::select! {
                        biased;
                        incoming = wire.receive(idle) => return expect_request(incoming?),
                        () = door.drain.cancelled() => return Err(shutting_down()),
                    }
                }
            }
        }
    }

    /// How long a client may send nothing of use while it beats.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.door.gate.limits().idle_timeout
    }

    /// What the user may do now; a reload may have changed it.
    pub(super) fn rights(&self) -> Rights {
        self.account.rights()
    }

    /// Lets a small upload go on by itself. Its answer is sent in its turn.
    pub(super) async fn defer(
        &mut self,
        id: u64,
        path: FilePath,
        bytes: usize,
        task: impl Future<Output = Re> + Send + 'static,
    ) -> Result<(), End> {
        // Two uploads to one path must not overtake each other.
        if self.pending.iter().any(|pending| pending.path == path) {
            self.settle(0).await?;
        }
        let task = maybe_done(self.door.tasks.spawn(task));
        self.pending.push_back(Pending { id, bytes, path, task });
        self.pending_bytes += bytes;
        while self.pending.len() > MAX_PENDING || self.pending_bytes > MAX_PENDING_BYTES {
            self.settle(self.pending.len() - 1).await?;
        }
        Ok(())
    }

    /// Waits until at most `leave` small uploads are outstanding, and queues their answers.
    pub(super) async fn settle(&mut self, leave: usize) -> Result<(), End> {
        while self.pending.len() > leave {
            let Some(mut first) = self.pending.pop_front() else {
                break;
            };
            if (&mut first.task).now_or_never().is_none() {
                self.wire.flush().await?;
                // The disk may be slow; the client must not take that for death.
                while timeout(BEAT_INTERVAL, &mut first.task).await.is_err() {
                    self.wire.reply(0, Re::Beat)?;
                    self.wire.flush().await?;
                }
            }
            self.pending_bytes -= first.bytes;
            let done = std::pin::Pin::new(&mut first.task)
                .take_output()
                .expect("it has just ended");
            let re = done.unwrap_or_else(|error| {
                audit::failure(Some(self.who.session), "an upload ended unexpectedly", &error);
                Re::Error(Fault::new(
                    Code::Internal,
                    "the server failed to do this; its log says why",
                ))
            });
            self.wire.reply(first.id, re)?;
            self.wire.flush_if_much().await?;
        }
        Ok(())
    }

    async fn answer_finished(&mut self) -> Result<(), End> {
        while self
            .pending
            .front_mut()
            .is_some_and(|pending| (&mut pending.task).now_or_never().is_some())
        {
            self.settle(self.pending.len() - 1).await?;
        }
        Ok(())
    }
}

/// Waits for the end of an upload's task, whose result stays in its place.
async fn finished(pending: Option<&mut Pending>) {
    match pending {
        Some(pending) => (&mut pending.task).await,
        None => std::future::pending().await,
    }
}

fn expect_request(incoming: Incoming) -> Result<Request, End> {
    match incoming {
        Incoming::Request(request) => Ok(request),
        Incoming::Data(_) => Err(ftp_proto::ProtocolError::Unexpected("file data outside of a body").into()),
    }
}
