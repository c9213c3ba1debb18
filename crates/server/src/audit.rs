//! The one place that writes audit events: what happened, to whom, with which outcome.
//!
//! Every event carries a field `event`; the names and units of the other fields are part of the
//! log's format and are listed in `docs/operations.md`. No secret is ever among them, and names need
//! no escaping by the caller: the log's writers do it.

use std::error::Error;
use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ftp_store::{Recount, ScrubSummary};
use tracing::{error, info, warn};

use crate::config::{ConfigFaults, TlsConfig};

mod allowance;

pub(crate) use allowance::{Allowance, PERIOD, Strangers};

/// Whose request it is.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// The session's number, unique as long as the server runs.
    pub(crate) session: u64,
    /// The other end of the connection.
    pub(crate) peer: SocketAddr,
    /// The user, once logged in.
    pub(crate) user: Option<Arc<str>>,
    /// How many failures may be logged one by one.
    lines: Arc<Mutex<Allowance>>,
}

impl Who {
    /// A session from now on.
    pub(crate) fn new(session: u64, peer: SocketAddr, user: Option<String>) -> Self {
        Self {
            session,
            peer,
            user: user.map(Arc::from),
            lines: Arc::new(Mutex::new(Allowance::new(allowance::SESSION_LINES))),
        }
    }

    /// Whether one more failure may be logged. If so, those that were not are told first.
    fn may_log(&self) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let may = lines.take();
        if may {
            self.tell_held_back(&mut lines);
        }
        may
    }

    fn tell_held_back(&self, lines: &mut Allowance) {
        let held_back = lines.held_back();
        if held_back > 0 {
            warn!(
                event = "held_back",
                session = self.session,
                peer = %self.peer,
                user = self.user.as_deref(),
                lines = held_back,
                "more failures of this session were not logged one by one"
            );
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    /// As asked.
    Done,
    /// Refused or failed.
    Failed {
        /// The stable code that the client was told.
        code: &'a str,
        /// The reason in words, with what is not told to the client.
        cause: &'a str,
    },
}

impl<'a> Outcome<'a> {
    fn code(self) -> &'a str {
        match self {
            Self::Done => "ok",
            Self::Failed { code, .. } => code,
        }
    }

    fn cause(self) -> Option<&'a str> {
        match self {
            Self::Done => None,
            Self::Failed { cause, .. } => Some(cause),
        }
    }
}

/// What became of a transfer.
#[derive(Clone)]
pub(crate) struct Transfer<'a> {
    /// `put`, `get` or `cp`.
    pub(crate) op: &'a str,
    /// The file in the user's home.
    pub(crate) path: &'a dyn Display,
    /// The size of the whole file in bytes, as far as it is known.
    pub(crate) size: u64,
    /// Bytes that went over the wire.
    pub(crate) moved: u64,
    /// Bytes that an earlier attempt had brought and that were kept.
    pub(crate) resumed_from: u64,
    /// Bytes that an earlier attempt had brought and that had to be sent again.
    pub(crate) repaired: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// The digest of the whole file, `algorithm:hex`.
    pub(crate) digest: Option<String>,
    /// How it ended.
    pub(crate) outcome: Outcome<'a>,
}

/// The steps in which the server ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shutdown {
    /// Nobody new comes in; transfers may end.
    Draining {
        /// Sessions that are still open.
        sessions: usize,
        /// How long they get.
        deadline: Duration,
    },
    /// The deadline has passed; what still runs is cut and can be resumed.
    Aborting {
        /// Sessions that are cut.
        sessions: usize,
    },
    /// All sessions have ended.
    Done,
}

/// The server accepts connections.
pub(crate) fn listening(addr: SocketAddr, tls: &TlsConfig) {
    info!(event = "server", addr = %addr, tls = %tls, "listening");
}

/// A connection was turned away before it cost anything.
pub(crate) fn session_refused(peer: SocketAddr, reason: &str) {
    warn!(event = "session_refused", peer = %peer, cause = reason, "connection refused");
}

/// A user has logged in, `seconds` after the connection was accepted.
pub(crate) fn login(who: &Who, seconds: f64) {
    info!(
        event = "login",
        session = who.session,
        peer = %who.peer,
        user = who.user.as_deref(),
        seconds = rounded(seconds),
        outcome = "ok",
        "login"
    );
}

/// A login failed. `user` is what the peer claimed to be, if it came so far.
pub(crate) fn login_failed(session: u64, peer: SocketAddr, user: Option<&str>, cause: &str) {
    warn!(
        event = "login_failed",
        session,
        peer = %peer,
        user,
        outcome = "login_failed",
        cause,
        "login failed"
    );
}

/// Failed logins and connections of an address, or of all others together, that were not logged one by one.
pub(crate) fn held_back(address: Option<IpAddr>, lines: u64) {
    warn!(
        event = "held_back",
        peer = address.map(tracing::field::display),
        lines,
        "more failed logins and connections were not logged one by one"
    );
}

/// An address is shut out for a while after too many failed logins.
pub(crate) fn shut_out(address: IpAddr, failures: u32, time: Duration) {
    warn!(
        event = "shut_out",
        peer = %address,
        failures,
        seconds = time.as_secs_f64(),
        "address shut out"
    );
}

/// A session is over, for whatever reason.
pub(crate) fn session_end(who: &Who, reason: &str, seconds: f64, requests: u64) {
    who.tell_held_back(&mut who.lines.lock().unwrap_or_else(PoisonError::into_inner));
    info!(
        event = "session_end",
        session = who.session,
        peer = %who.peer,
        user = who.user.as_deref(),
        seconds = rounded(seconds),
        requests,
        cause = reason,
        "session ended"
    );
}

/// A request that changed something, or one that was refused. Transfers have their own event.
pub(crate) fn request(who: &Who, op: &str, path: &dyn Display, to: Option<&dyn Display>, outcome: Outcome<'_>) {
    macro_rules! event {
        ($macro:ident) => {
            $macro!(
                event = "request",
                session = who.session,
                peer = %who.peer,
                user = who.user.as_deref(),
                op,
                path = %path,
                to = to.map(tracing::field::display),
                outcome = outcome.code(),
                cause = outcome.cause(),
                "request"
            )
        };
    }
    match outcome {
        Outcome::Done => event!(info),
        Outcome::Failed { .. } if !who.may_log() => {}
        Outcome::Failed { .. } => event!(warn),
    }
}

/// A transfer has ended, complete or not.
pub(crate) fn transfer(who: &Who, transfer: &Transfer<'_>) {
    macro_rules! event {
        ($macro:ident) => {
            $macro!(
                event = "transfer",
                session = who.session,
                peer = %who.peer,
                user = who.user.as_deref(),
                op = transfer.op,
                path = %transfer.path,
                size = transfer.size,
                bytes = transfer.moved,
                seconds = rounded(transfer.seconds),
                mb_per_s = rate(transfer.moved, transfer.seconds),
                resumed_from = nonzero(transfer.resumed_from),
                repaired = nonzero(transfer.repaired),
                digest = transfer.digest,
                outcome = transfer.outcome.code(),
                cause = transfer.outcome.cause(),
                "transfer"
            )
        };
    }
    match transfer.outcome {
        Outcome::Done => event!(info),
        Outcome::Failed { .. } if !who.may_log() => {}
        Outcome::Failed { .. } => event!(warn),
    }
}

/// A stored file has other bytes than those that were stored. `size` and `modified` are known to a scrub.
pub(crate) fn damaged(
    user: &str,
    path: &dyn Display,
    expected: &dyn Display,
    found: &dyn Display,
    seen: Option<(u64, &dyn Display)>,
) {
    error!(
        event = "damaged",
        user,
        path = %path,
        size = seen.map(|(size, _)| size),
        modified = seen.map(|(_, modified)| tracing::field::display(modified)),
        expected = %expected,
        found = %found,
        outcome = "digest_mismatch",
        cause = "its bytes are not those that were stored; restore it from a backup, or have it uploaded again",
        "stored file damaged"
    );
}

/// A stored file or directory cannot be read.
pub(crate) fn unreadable(user: &str, path: &dyn Display, cause: &str) {
    error!(
        event = "damaged",
        user,
        path = %path,
        outcome = "unreadable",
        cause,
        "stored file cannot be read"
    );
}

/// A scrub of a home, or the part of it that was due, is over.
pub(crate) fn scrubbed(user: &str, summary: &ScrubSummary, seconds: f64) {
    info!(
        event = "scrub",
        user,
        sound = summary.sound,
        damaged = summary.damaged,
        unreadable = summary.unreadable,
        changed = nonzero(summary.changed),
        without_digest = nonzero(summary.without_digest + summary.outdated + summary.foreign),
        adopted = nonzero(summary.adopted),
        bytes = summary.bytes,
        seconds = rounded(seconds),
        outcome = if summary.is_clean() { "ok" } else { "digest_mismatch" },
        "stored files compared with their digests"
    );
}

/// The counts of a home were compared with the disk. Drift is somebody's work behind the server's back.
pub(crate) fn recounted(user: &str, recount: &Recount) {
    let (was, is) = (&recount.counted, &recount.found);
    if !recount.has_drift() {
        return info!(
            event = "recount",
            user,
            used = is.bytes,
            entries = is.entries,
            outcome = "ok",
            "counts agree with the disk"
        );
    }
    warn!(
        event = "recount",
        user,
        used = is.bytes,
        used_before = was.bytes,
        entries = is.entries,
        entries_before = was.entries,
        pending = is.pending,
        pending_before = was.pending,
        uploads = is.uploads,
        uploads_before = was.uploads,
        outcome = "corrected",
        cause = "files were added, changed or removed in the home without the server",
        "counts corrected"
    );
}

/// The configuration was read again and is in force.
pub(crate) fn reloaded(added: usize, changed: usize, removed: usize) {
    info!(
        event = "config",
        added,
        changed,
        removed,
        outcome = "ok",
        "configuration reloaded"
    );
}

/// The configuration was read again and has faults; the old one stays in force.
pub(crate) fn reload_failed(faults: &ConfigFaults) {
    for line in faults.lines() {
        error!(
            event = "config",
            outcome = "failed",
            cause = line,
            "the configuration has a fault, the old one stays in force"
        );
    }
}

/// The server is ending.
pub(crate) fn shutdown(phase: Shutdown) {
    match phase {
        Shutdown::Draining { sessions, deadline } => info!(
            event = "server",
            sessions,
            seconds = deadline.as_secs_f64(),
            "draining: no new sessions, transfers may end"
        ),
        Shutdown::Aborting { sessions } => warn!(
            event = "server",
            sessions, "cutting what still runs; uploads can be resumed"
        ),
        Shutdown::Done => info!(event = "server", "stopped"),
    }
}

/// What stands between a fault in the server and the machine.
#[derive(Clone, Debug)]
pub(crate) struct Walls {
    /// Whom the server has become, if it was started by root.
    pub(crate) user: Option<String>,
    /// Whether a crash may leave an image of the memory.
    pub(crate) core_dumps: bool,
    /// What Landlock keeps out.
    pub(crate) landlock: Option<String>,
    /// The walls that do not stand, and why.
    pub(crate) missing: Vec<String>,
}

/// The walls stand, as far as they do.
pub(crate) fn walls(walls: &Walls) {
    macro_rules! event {
        ($macro:ident, $missing:expr) => {
            $macro!(
                event = "walls",
                user = walls.user,
                no_new_privs = true,
                core_dumps = walls.core_dumps,
                landlock = walls.landlock,
                missing = $missing,
                "walls"
            )
        };
    }
    if walls.missing.is_empty() {
        event!(info, None::<String>);
    } else {
        event!(warn, walls.missing.join("; "));
    }
}

/// Something the administrator should look at. `what` is a whole sentence.
pub(crate) fn warning(what: &str) {
    warn!(event = "server", "{what}");
}

/// The server could not do what it should. `what` says what, `cause` why, with all its sources.
pub(crate) fn failure(session: Option<u64>, what: &str, cause: &(dyn Error + 'static)) {
    error!(event = "failure", session, cause = %Chain(cause), "{what}");
}

/// The server could not do what a session asked for. However often that is asked, it causes no more lines than other
/// failures of the session.
pub(crate) fn request_failure(who: &Who, cause: &str) {
    if who.may_log() {
        error!(
            event = "failure",
            session = who.session,
            user = who.user.as_deref(),
            cause,
            "a request failed"
        );
    }
}

/// An error with its sources, on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Milliseconds are enough.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Megabytes (10^6 bytes) a second; nothing for what took no measurable time.
fn rate(bytes: u64, seconds: f64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
    let megabytes = bytes as f64 / 1e6;
    (seconds > 0.0 && bytes > 0).then(|| (megabytes / seconds * 10.0).round() / 10.0)
}

fn nonzero(bytes: u64) -> Option<u64> {
    (bytes > 0).then_some(bytes)
}
