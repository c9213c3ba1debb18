//! Small work that is handed to the store as a group: small uploads, and the directories made between them.

use ftp_proto::Re;
use ftp_store::{FilePath, Home, SmallLane, SmallUpload, SmallWork, Stored};

use super::failure::{Failure, with_existing};
use super::record::Record;
use super::reply;
use crate::audit::{self, Outcome, Who};

/// One piece of it, and how its outcome is logged.
pub(super) struct Work {
    work: SmallWork,
    log: Log,
}

enum Log {
    Transfer(Record),
    Directory(Who, FilePath),
}

impl Work {
    pub(super) fn file(upload: SmallUpload, record: Record) -> Self {
        Self {
            work: SmallWork::File(upload),
            log: Log::Transfer(record),
        }
    }

    /// A directory that is made with its parents.
    pub(super) fn directory(path: FilePath, who: Who) -> Self {
        Self {
            work: SmallWork::Directory(path.clone()),
            log: Log::Directory(who, path),
        }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.work, SmallWork::File(_))
    }
}

/// What is answered, and whether it is a failure that has to be paid for.
pub(super) struct Answer {
    pub(super) re: Re,
    pub(super) is_nuisance: bool,
}

impl From<Re> for Answer {
    fn from(re: Re) -> Self {
        Self { re, is_nuisance: false }
    }
}

/// Hands the work over, behind that of earlier groups. The future logs it, and says what is to be answered; nothing if
/// the session was over before it began.
pub(super) fn run(home: Home, lane: &SmallLane, group: Vec<Work>) -> impl Future<Output = Vec<Answer>> + Send + use<> {
    let (work, logs): (Vec<_>, Vec<_>) = group.into_iter().map(|work| (work.work, work.log)).unzip();
    let storing = lane.store(work);
    async move {
        let results = storing.await;
        let mut answers = Vec::with_capacity(logs.len());
        for (result, log) in results.into_iter().zip(logs) {
            answers.push(match result {
                Ok(stored) => told(log, stored.as_ref()).into(),
                Err(error) => failed(log, with_existing(&home, error).await),
            });
        }
        answers
    }
}

fn told(log: Log, stored: Option<&Stored>) -> Re {
    match (log, stored) {
        (Log::Transfer(record), Some(stored)) => {
            record.done(stored.size, stored.digest);
            Re::Stored(reply::stored(stored))
        }
        (Log::Directory(who, path), _) => {
            audit::request(&who, "mkdir", &path, None, Outcome::Done);
            Re::Ok
        }
        (Log::Transfer(_), None) => unreachable!("a stored file is told of"),
    }
}

fn failed(log: Log, failure: Failure) -> Answer {
    let is_nuisance = failure.is_nuisance();
    match log {
        Log::Transfer(record) => record.failed(&failure),
        Log::Directory(who, path) => {
            failure.tell(&who);
            let outcome = Outcome::Failed {
                code: &failure.fault.code.name(),
                cause: &failure.cause,
            };
            audit::request(&who, "mkdir", &path, None, outcome);
        }
    }
    Answer {
        re: Re::Error(failure.fault),
        is_nuisance,
    }
}
