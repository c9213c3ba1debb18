//! How many lines of the log somebody can cause. What is beyond is counted, and the count is logged, so
//! that a flood neither fills the disk nor pushes out of the rotated log what happened before it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::gate::network;

/// Lines are counted by the minute: what was held back is told so often.
pub(crate) const PERIOD: Duration = Duration::from_secs(60);

/// Failed requests of one session that are logged one by one in a period: as many as a person may want to
/// read of an upload of a tree that goes wrong.
pub(super) const SESSION_LINES: u32 = 100;

/// Failed connections of one address that are logged one by one in a period: more than its penalties let
/// anybody fail who is not after something.
const ADDRESS_LINES: u32 = 20;

/// The same of all addresses together, 10 a second: an attack may come from many.
const ALL_LINES: u32 = 600;

/// Addresses told apart in a period. What further ones do counts as one.
const MAX_ADDRESSES: usize = 1024;

/// Addresses that have a line of their own about what was held back.
const MAX_TOLD: usize = 16;

/// A number of lines in each period.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: u32,
    since: Instant,
    written: u32,
    held_back: u64,
}

impl Allowance {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most,
            since: Instant::now(),
            written: 0,
            held_back: 0,
        }
    }

    /// Whether one more line may be written. Otherwise it is counted.
    pub(crate) fn take(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.since) >= PERIOD {
            (self.since, self.written) = (now, 0);
        }
        if self.written < self.most {
            self.written += 1;
            return true;
        }
        self.held_back += 1;
        false
    }

    /// How many lines were held back since this was last asked.
    pub(crate) fn held_back(&mut self) -> u64 {
        std::mem::take(&mut self.held_back)
    }
}

/// What connections without a login may cause, by address.
pub(crate) struct Strangers {
    state: Mutex<State>,
}

struct State {
    by_address: HashMap<IpAddr, Allowance>,
    all: Allowance,
    /// Held back for addresses that were one too many.
    others: u64,
}

impl State {
    fn new() -> Self {
        Self {
            by_address: HashMap::new(),
            all: Allowance::new(ALL_LINES),
            others: 0,
        }
    }
}

impl Strangers {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State::new()),
        }
    }

    /// Whether a line about this address may be written. Otherwise it is counted.
    pub(crate) fn may_log(&self, peer: IpAddr) -> bool {
        let mut state = self.state();
        let State {
            by_address,
            all,
            others,
        } = &mut *state;
        let address = network(peer);
        if by_address.len() >= MAX_ADDRESSES && !by_address.contains_key(&address) {
            *others += 1;
            return false;
        }
        let here = by_address
            .entry(address)
            .or_insert_with(|| Allowance::new(ADDRESS_LINES));
        if here.written == here.most || all.take() {
            return here.take();
        }
        here.held_back += 1;
        false
    }

    /// Begins a new period. What was held back in the last one comes back: by address, the most first, and
    /// what is left of the others under no address.
    pub(crate) fn turn(&self) -> Vec<(Option<IpAddr>, u64)> {
        let mut ended = std::mem::replace(&mut *self.state(), State::new());
        let mut held_back: Vec<_> = ended
            .by_address
            .iter_mut()
            .map(|(address, allowance)| (Some(*address), allowance.held_back()))
            .filter(|(_, lines)| *lines > 0)
            .collect();
        held_back.sort_by_key(|(address, lines)| (std::cmp::Reverse(*lines), *address));
        let rest = held_back.split_off(held_back.len().min(MAX_TOLD));
        let rest = ended.others + rest.iter().map(|(_, lines)| lines).sum::<u64>();
        held_back.extend((rest > 0).then_some((None, rest)));
        held_back
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> IpAddr {
        IpAddr::V4(u32::try_from(0x0a00_0000 + number).unwrap().into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_allowance_lasts_a_period_and_what_is_beyond_is_counted() {
        let mut allowance = Allowance::new(2);
        let taken = [(); 5].map(|()| allowance.take());
        assert_eq!(taken, [true, true, false, false, false]);
        assert_eq!(allowance.held_back(), 3);
        assert_eq!(allowance.held_back(), 0);
        tokio::time::advance(PERIOD).await;
        assert!(allowance.take());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_uses_up_its_own_lines_only() {
        let strangers = Strangers::new();
        let written = (0..1000).filter(|_| strangers.may_log(address(1))).count();
        assert_eq!(written, ADDRESS_LINES as usize);
        assert!(strangers.may_log(address(2)));
        assert_eq!(strangers.turn(), [(Some(address(1)), 1000 - u64::from(ADDRESS_LINES))]);
        assert!(strangers.may_log(address(1)));
        assert_eq!(strangers.turn(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_are_bounded_together_and_every_line_is_counted() {
        let strangers = Strangers::new();
        let many = 3 * MAX_ADDRESSES;
        let mut written = 0;
        for number in 0..many {
            for _ in 0..2 {
                written += u64::from(strangers.may_log(address(number)));
            }
        }
        assert_eq!(written, u64::from(ALL_LINES));
        let told = strangers.turn();
        assert_eq!(told.len(), MAX_TOLD + 1);
        assert_eq!(told.last().unwrap().0, None);
        assert_eq!(
            told.iter().map(|(_, lines)| lines).sum::<u64>() + written,
            2 * many as u64
        );
    }
}
