//! Connections that have not logged in yet, in the order in which they came.
//!
//! When no place is left, a newcomer takes that of the oldest connection of whoever holds the most: who
//! holds places without logging in, from however many addresses, keeps nobody else from logging in.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub(super) struct Waiting {
    by_address: HashMap<IpAddr, VecDeque<Place>>,
    count: usize,
    last: u64,
}

struct Place {
    /// Counts up, so a lower one is older.
    id: u64,
    displaced: CancellationToken,
}

impl Waiting {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many of them are from this address.
    pub(super) fn count_of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, VecDeque::len)
    }

    /// Takes a place. The token is cancelled when somebody else is given it.
    pub(super) fn enter(&mut self, address: IpAddr) -> (u64, CancellationToken) {
        self.last += 1;
        let displaced = CancellationToken::new();
        self.by_address.entry(address).or_default().push_back(Place {
            id: self.last,
            displaced: displaced.clone(),
        });
        self.count += 1;
        (self.last, displaced)
    }

    /// Gives a place back. Whether it was still held.
    pub(super) fn leave(&mut self, address: IpAddr, id: u64) -> bool {
        let Some(places) = self.by_address.get_mut(&address) else {
            return false;
        };
        let Ok(index) = places.binary_search_by_key(&id, |place| place.id) else {
            return false;
        };
        places.remove(index);
        self.count -= 1;
        if places.is_empty() {
            self.by_address.remove(&address);
        }
        true
    }

    /// Makes room for a newcomer from `address`, at the cost of whoever holds more than it does.
    pub(super) fn make_room(&mut self, address: IpAddr) -> bool {
        let oldest = |places: &VecDeque<Place>| places.front().map_or(0, |place| place.id);
        let most = self
            .by_address
            .iter()
            .max_by_key(|(_, places)| (places.len(), std::cmp::Reverse(oldest(places))));
        let Some((&holder, places)) = most else {
            return false;
        };
        if places.len() <= self.count_of(address) {
            return false;
        }
        if let Some(place) = self.by_address.get_mut(&holder).and_then(VecDeque::pop_front) {
            place.displaced.cancel();
            self.count -= 1;
        }
        if self.count_of(holder) == 0 {
            self.by_address.remove(&holder);
        }
        true
    }
}
