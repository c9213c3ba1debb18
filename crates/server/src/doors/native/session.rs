//! The life of a session after its login, top to bottom.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use ftp_proto::{BEAT_INTERVAL, Code, Fault, MAX_DATA_BYTES, Re, Request};
use ftp_store::{FilePath, Home, SmallLane};
use futures::FutureExt as _;
use futures::future::{MaybeDone, maybe_done};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::group::{self, Answer, Work};
use super::login::Entered;
use super::wire::{End, Incoming, READ_AHEAD_BYTES, Wire};
use super::{Door, request};
use crate::audit::{self, Who};
use crate::config::Rights;
use crate::pace::{Purse, Toll};
use crate::site::Account;

/// How many small uploads of a session, with the directories between them, may be on their way to the disk at
/// once: a group that is being stored, the one behind it, and those that gather for the next one.
const MAX_PENDING: usize = 3 * MAX_GROUP;

/// How many of them are handed over as a group at the most. They share the cost of the hand-over and of being
/// made durable, and a file descriptor each meanwhile.
const MAX_GROUP: usize = 128;

/// How many groups may be handed over: the disk finds the next one ready, whatever the session does meanwhile.
const MAX_RUNNING: usize = 2;

/// How many bytes of small uploads may wait for the disk.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// How much of a download leaves in one hand-over where other threads send it: a client that cancels, or its
/// neighbours, wait for no more.
const DOWNLOAD_STEP_BYTES: u64 = 2 * 1024 * 1024;

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
    purse: &'a mut Purse,
    requests: &'a mut u64,
    /// Small uploads whose answers are outstanding, first those of the running groups.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// The files among them.
    pending_files: HashSet<FilePath>,
    /// What gathers for the next group.
    gathered: Vec<Work>,
    running: VecDeque<Running>,
    /// Begins nothing more when the session is over: the next one of its user may have other plans for these names.
    lane: SmallLane,
    _over_when_dropped: DropGuard,
}

/// A small upload whose answer is outstanding.
struct Pending {
    id: u64,
    bytes: usize,
    path: FilePath,
}

/// The next so many of the pending, which are being stored.
struct Running {
    count: usize,
    job: MaybeDone<JoinHandle<Vec<Answer>>>,
}

/// Serves requests until the session ends, and logs why it did.
pub(super) async fn run(door: &Door, entered: Entered, who: Who, toll: &Toll) {
    let mut life = Life {
        who: &who,
        began: Instant::now(),
        requests: 0,
        cause: None,
    };
    let Entered {
        account,
        seat,
        reader,
        writer,
        ..
    } = entered;
    let mut wire = Wire::new(reader, writer);
    let mut purse = Purse::new(account.toll(), toll);
    // A byte each way for the login, so that the first request waits for what earlier sessions owe.
    purse.owe_bytes(1, 1);
    let end = tokio::select! {
        biased;
        () = door.cut.cancelled() => shutting_down(),
        () = account.revoked().cancelled() => {
            End::Bye(Fault::new(Code::LoginFailed, "the administrator changed or removed this account"))
        }
        end = serve(door, &account, &mut wire, &mut purse, &who, &mut life.requests) => match end {
            Err(end) => end,
            Ok(never) => match never {},
        },
    };
    // What was not paid for is owed to who comes next, or a new connection would be a way around the rates.
    let moved = wire.take_moved();
    purse.owe_bytes(moved.received, moved.sent);
    drop(purse);
    if let End::Lost(error) = &end {
        tracing::debug!(session = who.session, error = %error, "connection lost");
    }
    Box::pin(wire.close(&end)).await;
    life.cause = Some(end.to_string());
    drop(life);
    drop(seat);
}

/// Logs the end of a session, also when its task panics.
struct Life<'a> {
    who: &'a Who,
    began: Instant,
    requests: u64,
    cause: Option<String>,
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        let cause = self.cause.as_deref().unwrap_or("a fault of the server");
        audit::session_end(self.who, cause, self.began.elapsed().as_secs_f64(), self.requests);
    }
}

/// Opens the home, which the first time may take longer than a login may, and serves requests in it.
async fn serve<'a>(
    door: &'a Door,
    account: &'a Account,
    wire: &'a mut Wire,
    purse: &'a mut Purse,
    who: &Who,
    requests: &'a mut u64,
) -> Result<Infallible, End> {
    let home = wire.busy(Box::pin(door.site.open(account))).await?.map_err(|error| {
        audit::failure(Some(who.session), "cannot open a home", &error);
        let message = "the server cannot open this user's home; its log says why";
        End::Bye(Fault::new(Code::Internal, message))
    })?;
    let over = CancellationToken::new();
    let mut session = Session {
        door,
        wire,
        who: who.clone(),
        lane: home.small_lane(over.clone()),
        // Nor does a change that waits: the next session may have other plans for these names.
        home: home.until(over.clone()),
        cwd: FilePath::root(),
        account,
        purse,
        requests,
        pending: VecDeque::new(),
        pending_bytes: 0,
        pending_files: HashSet::new(),
        gathered: Vec::new(),
        running: VecDeque::new(),
        _over_when_dropped: over.drop_guard(),
    };
    loop {
        let request = session.next().await?;
        session.count_request();
        // Boxed, so that a session that waits does not hold room for the largest request.
        Box::pin(request::dispatch(&mut session, request)).await?;
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
            self.pay().await?;
            let incoming = if self.wire.ready()? {
                Some(self.wire.receive(idle).await?)
            } else if self.gathered.len() < MAX_GROUP && !self.gathered.is_empty() {
                self.wire.receive(idle).now_or_never().transpose()?
            } else {
                None
            };
            let incoming = match incoming {
                Some(incoming) => incoming,
                None => match self.wait(idle).await? {
                    Some(incoming) => incoming,
                    None => continue,
                },
            };
            match incoming {
                Incoming::Request(request) => return Ok(request),
                Incoming::Data(_) => {
                    return Err(ftp_proto::ProtocolError::Unexpected("file data outside of a body").into());
                }
                Incoming::Beat => self.note_nuisance(),
            }
        }
    }

    /// Waits for what the client sends, or with `None` until a group is stored.
    async fn wait(&mut self, idle: Duration) -> Result<Option<Incoming>, End> {
        self.start_group();
        self.wire.flush().await?;
        if self.door.drain.is_cancelled() && self.pending.is_empty() {
            return Err(shutting_down());
        }
        let Self {
            wire,
            pending,
            running,
            door,
            ..
        } = self;
        tokio::select! {
            biased;
            incoming = wire.receive(idle) => incoming.map(Some),
            () = finished(running.front_mut()) => Ok(None),
            () = door.drain.cancelled(), if pending.is_empty() => Err(shutting_down()),
            () = tokio::time::sleep(SHRINK_AFTER), if pending.is_empty() => {
                wire.shrink();
                tokio::select! {
                    biased;
                    incoming = wire.receive(idle) => incoming.map(Some),
                    () = door.drain.cancelled() => Err(shutting_down()),
                }
            }
        }
    }

    /// The next part of a body. Beats beyond those that anybody needs are paid for like other nuisances; the time
    /// that takes is idle time.
    ///
    /// # Cancel safety
    /// Safe: what is paid is paid.
    pub(super) async fn receive(&mut self) -> Result<Incoming, End> {
        let idle = self.idle_timeout();
        loop {
            match self.wire.receive(idle).await? {
                Incoming::Beat => {
                    self.note_nuisance();
                    if !self.is_paid() {
                        self.wait_for_rates().await?;
                    }
                }
                incoming => return Ok(incoming),
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

    /// Waits until what was moved and asked for is within the user's and the address's rates.
    pub(super) async fn pay(&mut self) -> Result<(), End> {
        if self.is_paid() {
            return Ok(());
        }
        let (door, may_end) = (self.door, self.pending.is_empty());
        tokio::select! {
            biased;
            paid = self.wait_for_rates() => paid,
            () = door.drain.cancelled(), if may_end => Err(shutting_down()),
        }
    }

    /// Whether everything that was moved and asked for could be paid at once.
    fn is_paid(&mut self) -> bool {
        let moved = self.wire.take_moved();
        self.purse.owe_bytes(moved.received, moved.sent);
        self.purse.pay().now_or_never().is_some()
    }

    async fn wait_for_rates(&mut self) -> Result<(), End> {
        // What is answered already does not wait.
        self.wire.flush().await?;
        let Self { wire, purse, .. } = self;
        // Boxed, so that a session that waits for requests has no room for it.
        wire.while_present(Box::pin(purse.pay())).await
    }

    /// As [`Session::pay`] in the middle of a transfer; `false` when the client cancels it.
    pub(super) async fn pay_unless_cancelled(&mut self, id: u64) -> Result<bool, End> {
        if self.is_paid() {
            return Ok(true);
        }
        let Self { wire, purse, .. } = self;
        let paid = wire.unless_cancelled(id, purse.pay()).await?.is_some();
        wire.excuse_silence();
        Ok(paid)
    }

    /// A chunk of an upload together with those behind it that are there already. Under a rate no more than one
    /// chunk's length, which is paid before the next one is taken.
    pub(super) fn gather(&mut self, chunk: Bytes) -> Result<Vec<Bytes>, End> {
        let most = if self.purse.limits_uploads() {
            MAX_DATA_BYTES
        } else {
            READ_AHEAD_BYTES
        };
        self.wire.gather(chunk, most)
    }

    /// How much of a download may leave before it is paid for.
    pub(super) fn download_step(&self) -> u64 {
        if self.purse.limits_downloads() {
            MAX_DATA_BYTES as u64
        } else {
            DOWNLOAD_STEP_BYTES
        }
    }

    /// Counts a request that is about to be done.
    pub(super) fn count_request(&mut self) {
        *self.requests += 1;
        self.purse.owe_request();
    }

    /// Notes that the request at hand failed, or asked for nothing.
    pub(super) fn note_nuisance(&mut self) {
        self.purse.owe_nuisance();
    }

    /// Lets small work go on by itself, with others as a group. Its answer is sent in its turn.
    pub(super) async fn defer(&mut self, id: u64, path: FilePath, bytes: usize, work: Work) -> Result<(), End> {
        // What is done to one path, or to something above it, must not be overtaken.
        if self.is_pending(&path) {
            self.settle(0).await?;
        }
        if work.is_file() {
            self.pending_files.insert(path.clone());
        }
        self.pending.push_back(Pending { id, bytes, path });
        self.pending_bytes += bytes;
        self.gathered.push(work);
        if self.gathered.len() >= MAX_GROUP {
            self.answer_finished().await?;
            self.start_group();
        }
        while self.pending.len() >= MAX_PENDING || self.pending_bytes > MAX_PENDING_BYTES {
            self.settle(self.pending.len() - 1).await?;
        }
        Ok(())
    }

    /// Whether a pending file has this path, or one above it.
    fn is_pending(&self, path: &FilePath) -> bool {
        if self.pending_files.is_empty() {
            return false;
        }
        let mut next = Some(path.clone());
        while let Some(path) = next {
            if self.pending_files.contains(&path) {
                return true;
            }
            next = path.parent();
        }
        false
    }

    /// Hands over what has gathered, unless enough is handed over already. Behind a group that is being stored only
    /// a full one: the larger it is, the less each costs.
    fn start_group(&mut self) {
        let least = if self.running.is_empty() { 1 } else { MAX_GROUP };
        if self.running.len() >= MAX_RUNNING || self.gathered.len() < least {
            return;
        }
        let count = self.gathered.len().min(MAX_GROUP);
        let group: Vec<_> = self.gathered.drain(..count).collect();
        let running = group::run(self.home.clone(), &self.lane, group);
        self.running.push_back(Running {
            count,
            job: maybe_done(self.door.tasks.spawn(running)),
        });
    }

    /// Waits until at most `leave` small uploads are outstanding, and queues their answers.
    pub(super) async fn settle(&mut self, leave: usize) -> Result<(), End> {
        while self.pending.len() > leave {
            self.start_group();
            let Some(mut running) = self.running.pop_front() else {
                break;
            };
            if (&mut running.job).now_or_never().is_none() {
                self.wire.flush().await?;
                // The disk may be slow; the client must not take that for death.
                while timeout(BEAT_INTERVAL, &mut running.job).await.is_err() {
                    self.wire.reply(0, Re::Beat)?;
                    self.wire.flush().await?;
                }
            }
            let done = std::pin::Pin::new(&mut running.job)
                .take_output()
                .expect("it has just ended");
            let (count, failed) = (running.count, done.as_ref().is_err());
            if let Err(error) = &done {
                audit::failure(Some(self.who.session), "an upload ended unexpectedly", error);
            }
            // The next ones are stored while these are answered.
            self.start_group();
            let mut answers = done.unwrap_or_default().into_iter();
            for first in self.pending.drain(..count).collect::<Vec<_>>() {
                self.pending_bytes -= first.bytes;
                self.pending_files.remove(&first.path);
                let answer = answers.next().filter(|_| !failed);
                let Answer { re, is_nuisance } = answer.unwrap_or_else(|| unexpected_end().into());
                if is_nuisance {
                    self.purse.owe_nuisance();
                }
                self.wire.reply(first.id, re)?;
                self.wire.flush_if_much().await?;
            }
        }
        Ok(())
    }

    async fn answer_finished(&mut self) -> Result<(), End> {
        while let Some(running) = self.running.front_mut()
            && (&mut running.job).now_or_never().is_some()
        {
            let leave = self.pending.len() - running.count;
            self.settle(leave).await?;
        }
        Ok(())
    }
}

fn unexpected_end() -> Re {
    Re::Error(Fault::new(
        Code::Internal,
        "the server failed to do this; its log says why",
    ))
}

/// Waits for the end of a group, whose results stay in their place.
async fn finished(running: Option<&mut Running>) {
    match running {
        Some(running) => (&mut running.job).await,
        None => std::future::pending().await,
    }
}
