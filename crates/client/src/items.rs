//! The items of a list, as far as they are known and not done: a tree of any size is transferred with a
//! bounded part of it in memory.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut, Range};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ftp_digest::Digest;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::Error;
use crate::upload::Tally;

/// How many items a walk hands over at a time, and how many times that it may be ahead.
pub(crate) const CHUNK_ITEMS: usize = 128;
pub(crate) const CHUNKS_AHEAD: usize = 512;

/// From how many items on nothing more is taken in before some of them are done.
const MAX_HELD: usize = 8 * 1024;

/// What a walk meets.
pub(crate) enum Met<I> {
    Item(I),
    /// What can not be transferred, and why.
    PassedOver(PathBuf, Box<Error>),
}

/// How much there is to transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.files += 1;
        // A server may claim any size.
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// A walk that goes on.
pub(crate) struct Walk<I> {
    pub(crate) found: mpsc::Receiver<Vec<Met<I>>>,
    /// Of all that was found so far, taken in or not.
    pub(crate) totals: watch::Receiver<Totals>,
    /// Who walks.
    pub(crate) job: JoinHandle<()>,
}

/// Where the items come from.
enum Feed<I> {
    Listed(std::vec::IntoIter<I>),
    /// With the one who walks, until that was seen to end.
    Walked(mpsc::Receiver<Vec<Met<I>>>, Option<JoinHandle<()>>),
}

/// How far one item is.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) began: Option<Instant>,
    pub(crate) tally: Tally,
    pub(crate) replace: bool,
    pub(crate) attempts: u32,
    pub(crate) mismatches: u32,
    /// What the last message of an upload promised, while no answer to it came.
    pub(crate) promised: Option<Digest>,
    /// Whether the target of a download was looked for, and there was none.
    pub(crate) cleared: bool,
    /// Whether neither the target nor a partial file of it was there.
    pub(crate) is_free: bool,
    pub(crate) is_closed: bool,
}

/// An item and how far it is.
pub(crate) struct Slot<I> {
    pub(crate) item: Arc<I>,
    pub(crate) state: State,
}

/// The items that are known and not done, numbered from 0 in the order of the list.
pub(crate) struct Items<I> {
    feed: Feed<I>,
    slots: VecDeque<Slot<I>>,
    /// The number of the first slot; whatever comes before is done.
    first: usize,
    is_exhausted: bool,
}

impl<I> Items<I> {
    /// A list that is known.
    pub(crate) fn listed(items: Vec<I>) -> Self {
        let is_exhausted = items.is_empty();
        Self {
            is_exhausted,
            ..Self::new(Feed::Listed(items.into_iter()))
        }
    }

    /// What a walk finds.
    pub(crate) fn walked(found: mpsc::Receiver<Vec<Met<I>>>, job: JoinHandle<()>) -> Self {
        Self::new(Feed::Walked(found, Some(job)))
    }

    fn new(feed: Feed<I>) -> Self {
        Self {
            feed,
            slots: VecDeque::new(),
            first: 0,
            is_exhausted: false,
        }
    }

    /// Some of what is known and not taken in yet; nothing at the end of the list, and while a walk has found
    /// no more.
    pub(crate) fn ready(&mut self) -> Vec<Met<I>> {
        match &mut self.feed {
            Feed::Listed(items) => {
                let found = items.by_ref().take(CHUNK_ITEMS).map(Met::Item).collect();
                self.is_exhausted = items.len() == 0;
                found
            }
            Feed::Walked(found, _) => found.try_recv().unwrap_or_default(),
        }
    }

    /// As [`Items::ready`], but waits for a walk to find more, or to end.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn more(&mut self) -> Vec<Met<I>> {
        let Feed::Walked(found, job) = &mut self.feed else {
            return self.ready();
        };
        if let Some(found) = found.recv().await {
            return found;
        }
        // A walk that came to grief must not pass for a whole one.
        if let Some(job) = job
            && let Err(error) = job.await
        {
            std::panic::resume_unwind(error.into_panic());
        }
        *job = None;
        self.is_exhausted = true;
        Vec::new()
    }

    /// Appends an item.
    pub(crate) fn push(&mut self, item: I, replace: bool) {
        let item = Arc::new(item);
        let state = State {
            replace,
            ..State::default()
        };
        self.slots.push_back(Slot { item, state });
    }

    /// The numbers of those that are known and not all done.
    pub(crate) fn range(&self) -> Range<usize> {
        self.first..self.first + self.slots.len()
    }

    /// Whether the whole list is taken in.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }

    /// Whether so much is held that some has to be done before more is taken in.
    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() >= MAX_HELD
    }

    /// Whether every item of the list is done.
    pub(crate) fn are_done(&self) -> bool {
        self.is_exhausted && self.slots.is_empty()
    }

    /// Whether an item is known and not done.
    pub(crate) fn is_open(&self, index: usize) -> bool {
        index >= self.first && !self[index].state.is_closed
    }

    /// Closes an item, which is forgotten with the next ones before which nothing is open.
    pub(crate) fn close(&mut self, index: usize) {
        let state = &mut self[index].state;
        debug_assert!(!state.is_closed, "an item has one end");
        state.is_closed = true;
        while self.slots.front().is_some_and(|slot| slot.state.is_closed) {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

/// Of an item that is open.
impl<I> Index<usize> for Items<I> {
    type Output = Slot<I>;

    fn index(&self, index: usize) -> &Slot<I> {
        &self.slots[index - self.first]
    }
}

impl<I> IndexMut<usize> for Items<I> {
    fn index_mut(&mut self, index: usize) -> &mut Slot<I> {
        &mut self.slots[index - self.first]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_in(items: &mut Items<u32>) -> usize {
        let found = items.ready();
        let count = found.len();
        for found in found {
            let Met::Item(item) = found else {
                panic!("nothing is passed over")
            };
            items.push(item, false);
        }
        count
    }

    #[test]
    fn what_is_done_is_forgotten_and_numbers_stay() {
        let mut items = Items::listed((0..300).collect());
        assert_eq!((take_in(&mut items), take_in(&mut items)), (CHUNK_ITEMS, CHUNK_ITEMS));
        items.close(1);
        assert_eq!(items.range(), 0..256);
        assert!(items.is_open(0) && !items.is_open(1));
        items.close(0);
        assert_eq!(items.range(), 2..256);
        assert!(!items.is_open(0));
        assert_eq!(*items[200].item, 200);
        for index in 2..256 {
            items.close(index);
        }
        assert!(!items.are_done(), "44 were not taken in");
        assert_eq!((take_in(&mut items), take_in(&mut items)), (44, 0));
        assert_eq!(*items[299].item, 299);
        for index in 256..300 {
            items.close(index);
        }
        assert!(items.are_done());
        assert!(Items::<u32>::listed(Vec::new()).are_done());
    }

    #[tokio::test]
    async fn a_walk_is_waited_for() {
        let (walk, found) = mpsc::channel(1);
        let mut items = Items::walked(found, tokio::spawn(async {}));
        assert!(items.ready().is_empty());
        walk.send(vec![Met::Item(7)]).await.unwrap();
        assert!(matches!(&items.more().await[..], [Met::Item(7)]));
        drop(walk);
        assert!(!items.are_done() && items.more().await.is_empty());
        assert!(items.are_done());
    }

    #[tokio::test]
    #[should_panic(expected = "grief")]
    async fn a_walk_that_came_to_grief_is_not_taken_for_a_whole_one() {
        let (walk, found) = mpsc::channel::<Vec<Met<u32>>>(1);
        let job = tokio::spawn(async move {
            let _walk = walk;
            panic!("grief");
        });
        Items::walked(found, job).more().await;
    }
}
