//! Limits: how many sessions there may be, and what becomes of addresses that fail to log in.
//!
//! A permit is taken before anything is spent on a connection and travels with its task; dropping it
//! gives the place back. Time is the monotonic clock, so that a wrong wall clock neither shuts anybody
//! out nor lets anybody in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;

/// The pause after the first failed login; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause after a failed login.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Addresses remembered for their failures; about 100 bytes each. Beyond it the oldest is forgotten.
const MAX_REMEMBERED: usize = 50_000;

/// Users remembered for each of them; failures for further ones are never forgiven before their time.
const MAX_USERS_REMEMBERED: usize = 8;

/// What one peer or all together may take.
pub(crate) struct Gate {
    state: Mutex<State>,
}

struct State {
    limits: Limits,
    sessions: usize,
    before_login: usize,
    by_address: HashMap<IpAddr, Here>,
    failures: HashMap<IpAddr, Failures>,
}

/// The connections of one address.
#[derive(Default)]
struct Here {
    all: usize,
    before_login: usize,
}

/// The failed logins of one address.
struct Failures {
    count: u32,
    /// How many of them were for which user. A login as one user forgives nothing tried as another.
    by_user: HashMap<String, u32>,
    last: Instant,
    shut_until: Option<Instant>,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// There are as many connections as allowed.
    #[error("as many sessions as allowed are open")]
    Sessions,
    /// There are as many connections without a login as allowed.
    #[error("as many connections as allowed are waiting for their login")]
    BeforeLogin,
    /// The address has as many connections as allowed.
    #[error("this address has as many sessions as allowed")]
    Address,
}

/// A place, given back when dropped.
pub(crate) struct Permit {
    gate: Arc<Gate>,
    address: IpAddr,
    logged_in: bool,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let state = State {
            limits,
            sessions: 0,
            before_login: 0,
            by_address: HashMap::new(),
            failures: HashMap::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
        })
    }

    /// Changes the limits; whoever is in stays in.
    pub(crate) fn set_limits(&self, limits: Limits) {
        self.state().limits = limits;
    }

    pub(crate) fn limits(&self) -> Limits {
        self.state().limits.clone()
    }

    /// Takes a place for a new connection.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, Refusal> {
        let address = network(peer);
        let mut state = self.state();
        if state.sessions >= state.limits.sessions {
            return Err(Refusal::Sessions);
        }
        if state.before_login >= state.limits.sessions_before_login {
            return Err(Refusal::BeforeLogin);
        }
        let most = state.limits.sessions_per_address;
        // One address must not take every place that others need to log in.
        let most_before_login = state.limits.sessions_before_login.div_ceil(2);
        let here = state.by_address.entry(address).or_default();
        if here.all >= most || here.before_login >= most_before_login {
            return Err(Refusal::Address);
        }
        here.all += 1;
        here.before_login += 1;
        state.sessions += 1;
        state.before_login += 1;
        drop(state);
        Ok(Permit {
            gate: Arc::clone(self),
            address,
            logged_in: false,
        })
    }

    /// How long the address is still shut out.
    pub(crate) fn shut_out(&self, peer: IpAddr) -> Option<Duration> {
        let now = Instant::now();
        let until = self.state().failures.get(&network(peer))?.shut_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Notes a failed login: how long its answer is to wait, and whether the address is shut out from now
    /// on, after how many failures.
    pub(crate) fn failed(&self, peer: IpAddr, user: &str) -> (Duration, Option<u32>) {
        let now = Instant::now();
        let mut state = self.state();
        let (free, shut_out) = (state.limits.login_failures.max(1), state.limits.shut_out);
        state.forget_old(now, shut_out);
        let entry = state.failures.entry(network(peer)).or_insert(Failures {
            count: 0,
            by_user: HashMap::new(),
            last: now,
            shut_until: None,
        });
        if now.duration_since(entry.last) > shut_out {
            (entry.count, entry.shut_until) = (0, None);
            entry.by_user.clear();
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        if entry.by_user.len() < MAX_USERS_REMEMBERED || entry.by_user.contains_key(user) {
            *entry.by_user.entry(user.to_owned()).or_default() += 1;
        }
        let doublings = entry.count.min(16) - 1;
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        if entry.count.is_multiple_of(free) {
            entry.shut_until = Some(now + shut_out);
            return (pause, Some(entry.count));
        }
        (pause, None)
    }

    /// Notes a login that succeeded: the failures of the same user from the same address are forgiven.
    pub(crate) fn succeeded(&self, peer: IpAddr, user: &str) {
        let mut state = self.state();
        let Some(entry) = state.failures.get_mut(&network(peer)) else {
            return;
        };
        entry.count -= entry.by_user.remove(user).unwrap_or(0).min(entry.count);
        if entry.count == 0 {
            state.failures.remove(&network(peer));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops failures that are too old to count, and the oldest ones when there are too many.
    fn forget_old(&mut self, now: Instant, shut_out: Duration) {
        if self.failures.len() < MAX_REMEMBERED {
            return;
        }
        self.failures
            .retain(|_, failures| now.duration_since(failures.last) < shut_out);
        if self.failures.len() < MAX_REMEMBERED {
            return;
        }
        // Many at once, so that the next failures need no scan.
        let mut ages: Vec<Instant> = self.failures.values().map(|failures| failures.last).collect();
        let (_, oldest, _) = ages.select_nth_unstable(MAX_REMEMBERED / 8);
        let oldest = *oldest;
        self.failures.retain(|_, failures| failures.last > oldest);
    }
}

impl Permit {
    /// The login is done: the connection no longer counts among those before it.
    pub(crate) fn logged_in(&mut self) {
        if !self.logged_in {
            self.logged_in = true;
            let mut state = self.gate.state();
            state.before_login -= 1;
            if let Some(here) = state.by_address.get_mut(&self.address) {
                here.before_login -= 1;
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.sessions -= 1;
        if !self.logged_in {
            state.before_login -= 1;
        }
        if let Some(here) = state.by_address.get_mut(&self.address) {
            here.all -= 1;
            here.before_login -= usize::from(!self.logged_in);
            if here.all == 0 {
                state.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 address, which one host has
/// for itself.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(change: impl FnOnce(&mut Limits)) -> Arc<Gate> {
        let mut limits = Limits::default();
        change(&mut limits);
        Gate::new(limits)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_counted_per_address_and_given_back() {
        let gate = gate(|limits| limits.sessions_per_address = 2);
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = gate.admit(a).unwrap();
        let _second = gate.admit(a).unwrap();
        assert_eq!(gate.admit(a).err(), Some(Refusal::Address));
        let _other = gate.admit(b).unwrap();
        drop(first);
        let _third = gate.admit(a).unwrap();
        assert_eq!(gate.state().sessions, 3);
    }

    #[test]
    fn waiting_for_a_login_has_its_own_limit() {
        let gate = gate(|limits| limits.sessions_before_login = 1);
        let mut first = gate.admit(address("192.0.2.1")).unwrap();
        assert_eq!(gate.admit(address("192.0.2.2")).err(), Some(Refusal::BeforeLogin));
        first.logged_in();
        gate.admit(address("192.0.2.2")).unwrap();
    }

    #[test]
    fn one_address_leaves_others_room_to_log_in() {
        let gate = gate(|limits| limits.sessions_before_login = 4);
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        let held: Vec<_> = (0..2).map(|_| gate.admit(a).unwrap()).collect();
        assert_eq!(gate.admit(a).err(), Some(Refusal::Address));
        gate.admit(b).unwrap();
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_as_oneself_forgives_no_guesses_at_others() {
        let gate = gate(|limits| limits.login_failures = 3);
        let peer = address("192.0.2.1");
        gate.failed(peer, "bob");
        gate.failed(peer, "mallory");
        gate.succeeded(peer, "mallory");
        gate.failed(peer, "bob");
        assert_eq!(gate.failed(peer, "bob").1, Some(3));
    }

    #[test]
    fn one_network_of_ipv6_counts_as_one_address() {
        let gate = gate(|limits| limits.sessions_per_address = 1);
        let _first = gate.admit(address("2001:db8::1")).unwrap();
        assert!(gate.admit(address("2001:db8::2")).is_err());
        assert!(gate.admit(address("2001:db8:0:1::1")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_slow_down_then_shut_out_for_a_while() {
        let gate = gate(|limits| {
            limits.login_failures = 3;
            limits.shut_out = Duration::from_secs(600);
        });
        let peer = address("192.0.2.1");
        let (first, none) = gate.failed(peer, "bob");
        let (second, _) = gate.failed(peer, "bob");
        assert_eq!(none, None);
        assert!(second > first);
        assert_eq!(gate.shut_out(peer), None);
        assert_eq!(gate.failed(peer, "bob").1, Some(3));
        assert_eq!(gate.shut_out(peer), Some(Duration::from_secs(600)));
        assert_eq!(gate.shut_out(address("192.0.2.2")), None);
        tokio::time::advance(Duration::from_secs(601)).await;
        assert_eq!(gate.shut_out(peer), None);
        gate.succeeded(peer, "bob");
        assert_eq!(gate.failed(peer, "bob").0, first);
    }
}
