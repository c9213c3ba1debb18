//! Small work that is handed to the store as a group: small uploads, and the directories made between them.

use std::convert::Infallible;

use ftp_proto::Re;
use ftp_store::{FilePath, Home, SmallUpload, SmallWork, Stored};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::record::Record;
use super::reply;
use super::request::{Failure, with_existing};
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

/// Does the work, logs it, and says what is to be answered. It begins when the group `before` is stored, and drops
/// `turn` when it is: so the order is kept, and the disk does not wait for what is told of a group. Nothing is begun
/// for a session that is `over`: the next one of its user may have other plans for these names.
pub(super) async fn run(
    home: Home,
    group: Vec<Work>,
    over: CancellationToken,
    before: Option<oneshot::Receiver<Infallible>>,
    turn: oneshot::Sender<Infallible>,
) -> Vec<Re> {
    let (work, logs): (Vec<_>, Vec<_>) = group.into_iter().map(|work| (work.work, work.log)).unzip();
    if let Some(before) = before {
        let _ = before.await;
    }
    if over.is_cancelled() {
        return Vec::new();
    }
    let results = home.store_small(work).await;
    drop(turn);
    let mut answers = Vec::with_capacity(logs.len());
    for (result, log) in results.into_iter().zip(logs) {
        answers.push(match result {
            Ok(stored) => told(log, stored.as_ref()),
            Err(error) => failed(log, with_existing(&home, error).await),
        });
    }
    answers
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

fn failed(log: Log, failure: Failure) -> Re {
    match log {
        Log::Transfer(record) => record.failed(&failure),
        Log::Directory(who, path) => {
            let outcome = Outcome::Failed {
                code: &failure.fault.code.name(),
                cause: &failure.cause,
            };
            audit::request(&who, "mkdir", &path, None, outcome);
        }
    }
    Re::Error(failure.fault)
}

#[cfg(test)]
mod tests {
    use ftp_store::{Quota, Store, StoreOptions};

    use super::*;

    #[tokio::test]
    async fn a_group_that_waits_for_its_turn_is_not_begun_for_a_session_that_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let home = Store::new(StoreOptions::default())
            .open_home(dir.path(), Quota::default())
            .await
            .unwrap();
        let who = Who::new(1, "127.0.0.1:9".parse().unwrap(), None);
        for (name, is_over) in [("done", false), ("left", true)] {
            let path = FilePath::root().join(name.as_ref()).unwrap();
            let (over, (turn, before), (done, _)) = (CancellationToken::new(), oneshot::channel(), oneshot::channel());
            let group = vec![Work::directory(path, who.clone())];
            let stored = tokio::spawn(run(home.clone(), group, over.clone(), Some(before), done));
            if is_over {
                over.cancel();
            }
            // The group before it is stored.
            drop(turn);
            assert_eq!(stored.await.unwrap().len(), usize::from(!is_over));
            assert_eq!(dir.path().join(name).exists(), !is_over, "{name}");
        }
    }
}
