//! What uploading and downloading a list have in common: the tries, and how far each item is.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ftp_digest::Digest;
use ftp_proto::{Kind, Stored};

use crate::link::Link;
use crate::observer::{Event, Observer, TransferId};
use crate::upload::Tally;
use crate::{Client, Error, ErrorKind, Outcome, RemotePath, Resume, TransferOptions, Transferred};

/// How often a file may arrive damaged before that is reported.
const MAX_MISMATCHES: u32 = 2;

/// One thing to transfer.
pub(crate) trait Item: Sized {
    fn local(&self) -> &Path;
    fn remote(&self) -> &RemotePath;
    fn kind(&self) -> Kind;
    fn size(&self) -> u64;

    /// Works off what is not done. An error means that the connection is of no more use.
    fn run(batch: &mut Batch<'_, Self>, link: &mut Link) -> impl Future<Output = Result<(), Error>> + Send;
}

/// How far one item is.
#[derive(Default)]
pub(crate) struct State {
    began: Option<Instant>,
    pub(crate) tally: Tally,
    pub(crate) replace: bool,
    attempts: u32,
    mismatches: u32,
    /// What the last message of an upload promised, while no answer to it came.
    pub(crate) promised: Option<Digest>,
    /// Whether the target of a download was looked for, and there was none.
    pub(crate) cleared: bool,
    /// Whether neither the target nor a partial file of it was there.
    pub(crate) is_free: bool,
    pub(crate) result: Option<Result<Option<Transferred>, Error>>,
}

/// A list that is being transferred, over as many connections as it takes.
pub(crate) struct Batch<'a, I> {
    pub(crate) items: Arc<[I]>,
    pub(crate) states: Vec<State>,
    pub(crate) options: &'a TransferOptions,
    pub(crate) observer: &'a Arc<dyn Observer>,
    /// Grows with every item done, and with every byte of one that was never reached before: a server that
    /// has the same bytes sent again and again does not keep us trying for ever.
    pub(crate) progress: u64,
}

impl Client {
    /// Works a list off until each item has its result.
    pub(crate) async fn work_off<I: Item>(&mut self, batch: &mut Batch<'_, I>) {
        let mut retry = self.retry();
        while !batch.is_done() {
            let before = batch.progress;
            let error = match self.take().await {
                Ok(mut link) => match I::run(batch, &mut link).await {
                    Ok(()) => {
                        self.keep(link);
                        break;
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if batch.progress > before {
                retry.progress();
            }
            if let Err(error) = retry.pause(error).await {
                batch.give_up(error);
            }
        }
    }
}

impl<'a, I: Item> Batch<'a, I> {
    pub(crate) fn new(items: Vec<I>, options: &'a TransferOptions, observer: &'a Arc<dyn Observer>) -> Self {
        let files = items.iter().filter(|item| item.kind() != Kind::Dir);
        observer.event(&Event::Planned {
            files: files.clone().count() as u64,
            // A server may claim any size.
            bytes: files.map(Item::size).fold(0, u64::saturating_add),
        });
        let state = || State {
            replace: options.force,
            ..State::default()
        };
        Self {
            states: items.iter().map(|_| state()).collect(),
            items: items.into(),
            options,
            observer,
            progress: 0,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.states.iter().all(|state| state.result.is_some())
    }

    pub(crate) fn begin(&mut self, index: usize) {
        let item = &self.items[index];
        if self.states[index].began.is_none() {
            self.states[index].began = Some(Instant::now());
            self.observer.event(&Event::Started {
                id: index as TransferId,
                name: item.remote().file_name_wire(),
                size: Some(item.size()),
            });
        }
    }

    /// Counts a try. What it may go on from comes back: after the first one the partial is this call's own.
    pub(crate) fn attempt(&mut self, index: usize) -> Resume {
        let state = &mut self.states[index];
        state.attempts += 1;
        match self.options.resume {
            Resume::Never if state.attempts > 1 => Resume::Auto,
            resume => resume,
        }
    }

    /// Records that the file is there, proven equal.
    pub(crate) fn stored(&mut self, index: usize, stored: &Stored, identical: bool) {
        let state = &self.states[index];
        let Tally {
            kept, repaired, moved, ..
        } = state.tally;
        let transferred = Transferred {
            size: stored.size,
            kept,
            repaired,
            moved,
            digest: stored.digest,
            mtime: stored.mtime,
            elapsed: state.began.map(|began| began.elapsed()).unwrap_or_default(),
            replaced: stored.replaced,
            identical,
        };
        self.finish(index, Ok(Some(transferred)));
    }

    /// Records a failure for good, or gives the error back when another try can help.
    pub(crate) fn failed(&mut self, index: usize, error: Error) -> Result<(), Error> {
        let state = &mut self.states[index];
        state.mismatches += u32::from(error.kind() == ErrorKind::Mismatch);
        let can_help = error.may_retry() && state.mismatches <= MAX_MISMATCHES;
        if can_help || matches!(error, Error::Misbehaved(_) | Error::Bye(_)) {
            return Err(error);
        }
        self.finish(index, Err(error));
        Ok(())
    }

    pub(crate) fn finish(&mut self, index: usize, result: Result<Option<Transferred>, Error>) {
        let id = index as TransferId;
        match &result {
            Ok(Some(result)) => self.observer.event(&Event::Finished { id, result }),
            Ok(None) => {}
            Err(error) => {
                self.begin(index);
                self.observer.event(&Event::Failed { id, error });
            }
        }
        self.progress += 1;
        self.states[index].result = Some(result);
    }

    /// The connection can not be had: the first item says why, the others that they were not reached.
    fn give_up(&mut self, error: Error) {
        let (kind, mut first) = (error.kind(), Some(error));
        for index in 0..self.items.len() {
            if self.states[index].result.is_none() {
                let error = first.take().unwrap_or(Error::NotReached(kind));
                self.finish(index, Err(error));
            }
        }
    }

    pub(crate) fn outcomes(self) -> Vec<Outcome> {
        let outcome = |(item, state): (&I, State)| Outcome {
            local: item.local().to_path_buf(),
            remote: item.remote().clone(),
            result: state.result.unwrap_or(Err(Error::Closed)),
        };
        self.items.iter().zip(self.states).map(outcome).collect()
    }
}
