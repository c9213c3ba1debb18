//! The log line of a transfer: written once, however the transfer ends, also when it is cut.

use ftp_digest::Digest;
use ftp_store::FilePath;
use tokio::time::Instant;

use super::failure::Failure;
use super::session::Session;
use crate::audit::{self, Outcome, Transfer, Who};
use crate::transfers::Running;

/// What is known of a transfer so far. Dropped without an outcome it is logged as cut.
pub(super) struct Record {
    who: Who,
    op: &'static str,
    path: FilePath,
    began: Instant,
    is_open: bool,
    /// The size of the whole file in bytes, as far as it is known.
    pub(super) size: u64,
    /// Bytes of an earlier attempt that were right.
    pub(super) kept: u64,
    /// Bytes of an earlier attempt that were wrong.
    pub(super) repaired: u64,
    /// Bytes that went over the wire.
    pub(super) moved: u64,
    _running: Running,
}

impl Record {
    pub(super) fn new(session: &Session<'_>, op: &'static str, path: &FilePath, began: Instant) -> Self {
        let who = &session.who;
        let user = who.user.clone().unwrap_or_default();
        Self {
            _running: session.door.site.transfers().begin(who.session, user, op, path),
            who: who.clone(),
            op,
            path: path.clone(),
            began,
            is_open: true,
            size: 0,
            kept: 0,
            repaired: 0,
            moved: 0,
        }
    }

    /// The transfer is complete and proven.
    pub(super) fn done(mut self, size: u64, digest: Digest) {
        self.size = size;
        self.write(Some(digest), Outcome::Done);
    }

    /// The transfer was refused or failed.
    pub(super) fn failed(mut self, failure: &Failure) {
        failure.tell(&self.who);
        let code = failure.fault.code.name();
        self.write(
            None,
            Outcome::Failed {
                code: &code,
                cause: &failure.cause,
            },
        );
    }

    /// The connection was lost.
    pub(super) fn lost(mut self, cause: &str) {
        self.write(None, Outcome::Failed { code: "lost", cause });
    }

    fn write(&mut self, digest: Option<Digest>, outcome: Outcome<'_>) {
        self.is_open = false;
        audit::transfer(
            &self.who,
            &Transfer {
                op: self.op,
                path: &self.path,
                size: self.size,
                moved: self.moved,
                resumed_from: self.kept,
                repaired: self.repaired,
                seconds: self.began.elapsed().as_secs_f64(),
                digest: digest.map(|digest| digest.to_string()),
                outcome,
            },
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.is_open {
            self.write(
                None,
                Outcome::Failed {
                    code: "cut",
                    cause: "the session ended in the middle",
                },
            );
        }
    }
}
