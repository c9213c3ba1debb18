//! What uploading and downloading a list have in common: the tries, and how far each item is.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ftp_proto::{Kind, Stored};
use tokio::sync::watch;

use crate::items::{Items, Met, Slot, Totals, Walk};
use crate::link::Link;
use crate::observer::{Ends, Event, Observer, TransferId};
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

/// A list that is being transferred, over as many connections as it takes.
pub(crate) struct Batch<'a, I> {
    pub(crate) items: Items<I>,
    pub(crate) options: &'a TransferOptions,
    pub(crate) observer: &'a Arc<dyn Observer>,
    /// Grows with every item done, and with every byte of one that was never reached before: a server that
    /// has the same bytes sent again and again does not keep us trying for ever.
    pub(crate) progress: u64,
    /// Whether the list is one file.
    pub(crate) is_single: bool,
    /// What a walk has found.
    totals: Option<watch::Receiver<Totals>>,
    announced: Totals,
    /// Directories that a download has made: nothing else is in them.
    pub(crate) fresh: HashSet<PathBuf>,
    /// The first item that was written to each file system (`st_dev`).
    pub(crate) written: HashMap<u64, (TransferId, Arc<I>)>,
    /// The item for which the last try ended although the server was there.
    blamed: Option<usize>,
    /// In the order in which they came, with their numbers, if anybody wants them.
    outcomes: Option<Vec<(usize, Outcome)>>,
}

impl Client {
    /// Works a list off until each item has its result.
    pub(crate) async fn work_off<I: Item>(&mut self, batch: &mut Batch<'_, I>) {
        let mut retry = self.retry();
        while !batch.items.are_done() {
            let before = batch.progress;
            batch.blamed = None;
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
                match batch.blamed {
                    // The others may have better luck; without progress, each has one try more.
                    Some(index) => batch.finish(index, Err(error)),
                    None => batch.give_up(error).await,
                }
            }
        }
    }
}

impl<'a, I: Item> Batch<'a, I> {
    /// A list that is known.
    pub(crate) fn listed(items: Vec<I>, options: &'a TransferOptions, observer: &'a Arc<dyn Observer>) -> Self {
        let mut totals = Totals::default();
        let files = items.iter().filter(|item| item.kind() != Kind::Dir);
        files.for_each(|item| totals.add(item.size()));
        announce(totals, observer);
        let is_single = items.len() == 1;
        Self {
            is_single,
            ..Self::new(Items::listed(items), None, options, observer)
        }
    }

    /// A list that is still walked.
    pub(crate) fn walked(walk: Walk<I>, options: &'a TransferOptions, observer: &'a Arc<dyn Observer>) -> Self {
        Self::new(
            Items::walked(walk.found, walk.job),
            Some(walk.totals),
            options,
            observer,
        )
    }

    fn new(
        items: Items<I>,
        totals: Option<watch::Receiver<Totals>>,
        options: &'a TransferOptions,
        observer: &'a Arc<dyn Observer>,
    ) -> Self {
        Self {
            items,
            options,
            observer,
            progress: 0,
            is_single: false,
            totals,
            announced: Totals::default(),
            fresh: HashSet::new(),
            written: HashMap::new(),
            blamed: None,
            outcomes: None,
        }
    }

    /// Keeps what becomes of each item, for [`Batch::outcomes`].
    pub(crate) fn keeping_outcomes(mut self) -> Self {
        self.outcomes = Some(Vec::new());
        self
    }

    /// Takes in more of the list.
    pub(crate) fn take_in(&mut self, found: Vec<Met<I>>) {
        // Before anything of it begins; `announcing` tells what is found while nothing is taken in.
        if let Some(totals) = &self.totals {
            let totals = *totals.borrow();
            if totals != self.announced {
                self.announced = totals;
                announce(totals, self.observer);
            }
        }
        for found in found {
            match found {
                Met::Item(item) => self.items.push(item, self.options.force),
                Met::PassedOver(path, error) => self.observer.event(&Event::PassedOver {
                    path: &path,
                    error: &error,
                }),
            }
        }
    }

    pub(crate) fn begin(&mut self, index: usize) {
        let Slot { item, state } = &mut self.items[index];
        if state.began.is_none() {
            state.began = Some(Instant::now());
            self.observer.event(&Event::Started {
                id: index as TransferId,
                ends: ends(&**item),
                size: Some(item.size()),
            });
        }
    }

    /// Counts a try. What it may go on from comes back: after the first one the partial is this call's own.
    pub(crate) fn attempt(&mut self, index: usize) -> Resume {
        let state = &mut self.items[index].state;
        state.attempts += 1;
        match self.options.resume {
            Resume::Never if state.attempts > 1 => Resume::Auto,
            resume => resume,
        }
    }

    /// Notes the file system to which an item was written.
    pub(crate) fn wrote(&mut self, index: usize, device: u64) {
        let item = &self.items[index].item;
        let first = || (index as TransferId, Arc::clone(item));
        self.written.entry(device).or_insert_with(first);
    }

    /// Records that the file is there, proven equal.
    pub(crate) fn stored(&mut self, index: usize, stored: &Stored, identical: bool) {
        let state = &self.items[index].state;
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
        let state = &mut self.items[index].state;
        state.mismatches += u32::from(error.kind() == ErrorKind::Mismatch);
        let can_help = error.may_retry() && state.mismatches <= MAX_MISMATCHES;
        if can_help || matches!(error, Error::Misbehaved(_) | Error::Bye(_)) {
            let is_its_own = matches!(error, Error::Refused(_) | Error::DigestMismatch { .. });
            self.blamed = is_its_own.then_some(index);
            return Err(error);
        }
        self.finish(index, Err(error));
        Ok(())
    }

    /// Tells what became of an item, which is forgotten then.
    pub(crate) fn finish(&mut self, index: usize, result: Result<Option<Transferred>, Error>) {
        if result.is_err() {
            self.begin(index);
        }
        let item = Arc::clone(&self.items[index].item);
        let (id, ends) = (index as TransferId, ends(&*item));
        self.observer.event(&match &result {
            Ok(Some(result)) => Event::Finished { id, ends, result },
            Ok(None) => Event::DirectoryMade { ends },
            Err(error) => Event::Failed { id, ends, error },
        });
        if let Some(outcomes) = &mut self.outcomes {
            let outcome = Outcome {
                local: item.local().to_path_buf(),
                remote: item.remote().clone(),
                result,
            };
            outcomes.push((index, outcome));
        }
        self.progress += 1;
        self.items.close(index);
    }

    /// The connection can not be had: the first item says why, the others that they were not reached.
    async fn give_up(&mut self, error: Error) {
        let (kind, mut first) = (error.kind(), Some(error));
        while !self.items.are_done() {
            for index in self.items.range() {
                if self.items.is_open(index) {
                    let error = first.take().unwrap_or(Error::NotReached(kind));
                    self.finish(index, Err(error));
                }
            }
            let found = self.items.more().await;
            self.take_in(found);
        }
    }

    /// A failure that shows when the item is done already.
    pub(crate) fn amend(&mut self, id: TransferId, error: Error) {
        let mut outcomes = self.outcomes.iter_mut().flatten();
        if let Some((_, outcome)) = outcomes.find(|(index, _)| *index as TransferId == id) {
            outcome.result = Err(error);
        }
    }

    /// What became of each item, in the order of the list.
    pub(crate) fn outcomes(self) -> Vec<Outcome> {
        let mut outcomes = self.outcomes.unwrap_or_default();
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

/// Tells how much will move.
fn announce(totals: Totals, observer: &Arc<dyn Observer>) {
    let Totals { files, bytes } = totals;
    observer.event(&Event::Planned { files, bytes });
}

/// Tells how much a walk has found while `work` goes on.
pub(crate) async fn announcing(
    mut totals: watch::Receiver<Totals>,
    observer: &Arc<dyn Observer>,
    work: impl Future<Output = ()>,
) {
    let telling = async {
        while totals.changed().await.is_ok() {
            let found = *totals.borrow_and_update();
            announce(found, observer);
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = telling => {}
        () = work => {}
    }
}

/// Both ends of an item.
pub(crate) fn ends(item: &impl Item) -> Ends<'_> {
    Ends {
        local: item.local(),
        remote: item.remote(),
    }
}
