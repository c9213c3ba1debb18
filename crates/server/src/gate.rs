//! Limits: how many sessions there may be, and what becomes of addresses that fail to log in.
//!
//! A permit is taken before anything is spent on a connection and travels with its task; dropping it
//! gives the place back. Time is the monotonic clock, so that a wrong wall clock neither shuts anybody
//! out nor lets anybody in.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Limits;
use crate::pace::{Level, Rates, Toll};

mod waiting;

use waiting::Waiting;

/// The pause after the first failed login; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause after a failed login.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a connection from an address that connects too often may be kept waiting. It costs a place and a
/// descriptor meanwhile, but a client that comes often and means well only notices a delay.
const LONGEST_KNOCK: Duration = Duration::from_secs(5);

/// Addresses remembered for their failures; about 200 bytes each. Beyond it the oldest are forgotten.
const MAX_REMEMBERED: usize = 50_000;

/// As many addresses are kept without looking whether they are still needed.
const FIRST_FORGET: usize = 1_024;

/// Users remembered for each of them; failures for further ones are never forgiven before their time.
const MAX_USERS_REMEMBERED: usize = 8;

/// What one peer or all together may take.
pub(crate) struct Gate {
    state: Mutex<State>,
}

struct State {
    limits: Limits,
    sessions: usize,
    waiting: Waiting,
    by_address: HashMap<IpAddr, Here>,
    failures: HashMap<IpAddr, Failures>,
    /// Keyed by chance, so that nobody can choose names that are taken for one another.
    fingerprints: RandomState,
    /// How many addresses may be known before the idle ones are looked for.
    forget_at: usize,
}

/// The connections of one address, and what it has taken of its rates.
struct Here {
    all: usize,
    connects: Level,
    toll: Toll,
}

impl Here {
    fn new(limits: &Limits) -> Self {
        Self {
            all: 0,
            connects: Level::new(limits.connects_per_address),
            toll: Toll::new(Rates::of_address(limits)),
        }
    }

    /// Whether forgetting it would change nothing.
    fn is_idle(&mut self) -> bool {
        self.all == 0 && self.connects.is_full() && self.toll.is_full()
    }
}

/// The failed logins of one address.
struct Failures {
    count: u32,
    /// How many of them were for which user, by a fingerprint: a name may have thousands of bytes. A login as
    /// one user forgives nothing tried as another.
    by_user: Vec<(u64, u32)>,
    last: Instant,
    shut_until: Option<Instant>,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// There are as many connections as allowed.
    #[error("as many sessions as allowed are open")]
    Sessions,
    /// There are as many connections without a login as allowed, and nobody has more than the newcomer.
    #[error("as many connections as allowed are waiting for their login")]
    BeforeLogin,
    /// The address has as many connections as allowed.
    #[error("this address has as many sessions as allowed")]
    Address,
    /// The address has opened more connections lately than allowed.
    #[error("this address connects more often than allowed")]
    TooOften,
}

/// A place, given back when dropped.
pub(crate) struct Permit {
    gate: Arc<Gate>,
    address: IpAddr,
    knock: Duration,
    toll: Toll,
    waiting: u64,
    displaced: CancellationToken,
    logged_in: bool,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let state = State {
            limits,
            sessions: 0,
            waiting: Waiting::default(),
            by_address: HashMap::new(),
            failures: HashMap::new(),
            fingerprints: RandomState::new(),
            forget_at: FIRST_FORGET,
        };
        Arc::new(Self {
            state: Mutex::new(state),
        })
    }

    /// Changes the limits; whoever is in stays in.
    pub(crate) fn set_limits(&self, limits: Limits) {
        let mut state = self.state();
        for here in state.by_address.values_mut() {
            here.connects.set_rate(limits.connects_per_address);
            here.toll.follow(Rates::of_address(&limits));
        }
        state.limits = limits;
    }

    pub(crate) fn limits(&self) -> Limits {
        self.state().limits.clone()
    }

    /// How many connections there are, and how many of them have not logged in.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let state = self.state();
        (state.sessions, state.waiting.count())
    }

    /// Takes a place for a new connection.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, Refusal> {
        let address = network(peer);
        let mut state = self.state();
        let most = state.limits.sessions_per_address;
        // One address must not take every place that others need to log in.
        let most_before_login = state.limits.sessions_before_login.div_ceil(2);
        state.forget_idle();
        let State { limits, by_address, .. } = &mut *state;
        let here = by_address.entry(address).or_insert_with(|| Here::new(limits));
        let (all, knock) = (here.all, here.connects.wait());
        if all >= most || state.waiting.count_of(address) >= most_before_login {
            return Err(Refusal::Address);
        }
        if knock > LONGEST_KNOCK {
            return Err(Refusal::TooOften);
        }
        // Who is in stays in, who has not come so far makes room.
        if state.sessions >= state.limits.sessions {
            if !state.waiting.make_room(address) {
                return Err(Refusal::Sessions);
            }
            state.sessions -= 1;
        }
        if state.waiting.count() >= state.limits.sessions_before_login {
            if !state.waiting.make_room(address) {
                return Err(Refusal::BeforeLogin);
            }
            state.sessions -= 1;
        }
        let (waiting, displaced) = state.waiting.enter(address);
        let here = state.by_address.get_mut(&address).expect("it was entered above");
        here.connects.take(1);
        here.all += 1;
        let toll = here.toll.clone();
        state.sessions += 1;
        drop(state);
        Ok(Permit {
            gate: Arc::clone(self),
            address,
            knock,
            toll,
            waiting,
            displaced,
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
        let user = state.fingerprints.hash_one(user);
        state.forget_old(now, shut_out);
        let entry = state.failures.entry(network(peer)).or_insert(Failures {
            count: 0,
            by_user: Vec::new(),
            last: now,
            shut_until: None,
        });
        if now.duration_since(entry.last) > shut_out {
            (entry.count, entry.shut_until) = (0, None);
            entry.by_user.clear();
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        if let Some((_, count)) = entry.by_user.iter_mut().find(|(known, _)| *known == user) {
            *count = count.saturating_add(1);
        } else if entry.by_user.len() < MAX_USERS_REMEMBERED {
            entry.by_user.push((user, 1));
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
        let user = state.fingerprints.hash_one(user);
        let Some(entry) = state.failures.get_mut(&network(peer)) else {
            return;
        };
        if let Some(index) = entry.by_user.iter().position(|(known, _)| *known == user) {
            let (_, failures) = entry.by_user.swap_remove(index);
            entry.count = entry.count.saturating_sub(failures);
        }
        if entry.count == 0 {
            state.failures.remove(&network(peer));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops addresses without connections whose rates are untouched, when there are many.
    fn forget_idle(&mut self) {
        if self.by_address.len() < self.forget_at {
            return;
        }
        self.by_address.retain(|_, here| !here.is_idle());
        if self.by_address.len() >= MAX_REMEMBERED {
            // A flood from everywhere: what is not connected is not worth its memory.
            self.by_address.retain(|_, here| here.all > 0);
        }
        // So that a scan is paid for by as many new addresses.
        self.forget_at = (self.by_address.len() * 2).clamp(FIRST_FORGET, MAX_REMEMBERED);
    }

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
    /// How long the connection has to wait before anything is spent on it.
    pub(crate) fn knock(&self) -> Duration {
        self.knock
    }

    /// The rates that all sessions of the address share.
    pub(crate) fn toll(&self) -> &Toll {
        &self.toll
    }

    /// The login is done: the connection no longer counts among those before it.
    pub(crate) fn logged_in(&mut self) {
        let mut state = self.gate.state();
        if !state.waiting.leave(self.address, self.waiting) {
            // Its place was given away at the very moment at which it came in.
            state.sessions += 1;
        }
        self.logged_in = true;
    }

    /// Cancelled when the connection has to go before its login, to make room for others.
    pub(crate) fn displaced(&self) -> &CancellationToken {
        &self.displaced
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if self.logged_in || state.waiting.leave(self.address, self.waiting) {
            state.sessions -= 1;
        }
        if let Some(here) = state.by_address.get_mut(&self.address) {
            here.all -= 1;
            if here.is_idle() {
                state.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 address, which one host has
/// for itself.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
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

    #[tokio::test(start_paused = true)]
    async fn who_connects_too_often_waits_and_then_is_refused() {
        let gate = gate(|limits| limits.connects_per_address = Some(2));
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        let knocks = |count: usize| -> Vec<Duration> {
            (0..count)
                .map(|_| gate.admit(a).map(|permit| permit.knock()))
                .map_while(Result::ok)
                .collect()
        };
        // Two are saved, and a debt of ten is paid in five seconds.
        let seconds: Vec<f64> = knocks(13).iter().map(Duration::as_secs_f64).collect();
        assert_eq!(
            seconds,
            [0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]
        );
        assert_eq!(gate.admit(a).err(), Some(Refusal::TooOften));
        assert_eq!(gate.admit(b).unwrap().knock(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(gate.admit(a).unwrap().knock(), Duration::ZERO);
        gate.set_limits(Limits {
            connects_per_address: None,
            ..Limits::default()
        });
        assert_eq!(knocks(1000), [Duration::ZERO; 100].repeat(10));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_forgotten_once_they_owe_nothing() {
        let gate = gate(|_| {});
        for host in 0..3 * FIRST_FORGET as u32 {
            drop(gate.admit(IpAddr::V4(host.into())).unwrap());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let known = gate.state().by_address.len();
        assert!(known <= FIRST_FORGET, "{known}");
        let _held = gate.admit(address("192.0.2.1")).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        gate.state().forget_at = 0;
        gate.admit(address("192.0.2.1")).unwrap();
        assert_eq!(gate.state().by_address.len(), 1);
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
        assert_eq!(gate.admit(address("192.0.2.1")).err(), Some(Refusal::Address));
        first.logged_in();
        gate.admit(address("192.0.2.1")).unwrap();
    }

    #[test]
    fn who_holds_the_most_places_without_a_login_makes_room_for_others() {
        let gate = gate(|limits| limits.sessions_before_login = 6);
        let (a, b, c) = (address("192.0.2.1"), address("192.0.2.2"), address("192.0.2.3"));
        let of_a: Vec<_> = (0..3).map(|_| gate.admit(a).unwrap()).collect();
        let of_b: Vec<_> = (0..3).map(|_| gate.admit(b).unwrap()).collect();
        let displaced = |permits: &[Permit]| permits.iter().map(|p| p.displaced().is_cancelled()).collect::<Vec<_>>();
        // The oldest of all, for both hold as many.
        let first = gate.admit(c).unwrap();
        assert_eq!(displaced(&of_a), [true, false, false]);
        let second = gate.admit(c).unwrap();
        assert_eq!(displaced(&of_b), [true, false, false]);
        // Nobody has more than the newcomer.
        assert_eq!(gate.admit(c).err(), Some(Refusal::BeforeLogin));
        assert!(!first.displaced().is_cancelled() && !second.displaced().is_cancelled());
        drop((of_a, of_b, first, second));
        assert_eq!(gate.state().waiting.count(), 0);
        assert_eq!(gate.state().sessions, 0);
        assert!(gate.state().by_address.values().all(|here| here.all == 0));
    }

    #[test]
    fn who_is_logged_in_stays_in_and_who_is_not_makes_room() {
        let gate = gate(|limits| limits.sessions = 3);
        let (a, b, c) = (address("192.0.2.1"), address("192.0.2.2"), address("192.0.2.3"));
        let mut logged_in = gate.admit(a).unwrap();
        logged_in.logged_in();
        let waiting = [gate.admit(b).unwrap(), gate.admit(b).unwrap()];
        let mut late = gate.admit(c).unwrap();
        assert!(waiting[0].displaced().is_cancelled() && !logged_in.displaced().is_cancelled());
        assert_eq!(gate.state().sessions, 3);
        late.logged_in();
        // One that is displaced while it comes in counts all the same.
        let mut racing = waiting;
        racing[0].logged_in();
        assert_eq!(gate.state().sessions, 4);
        assert_eq!(gate.admit(b).err(), Some(Refusal::Sessions));
        drop((logged_in, late, racing));
        assert_eq!(gate.state().sessions, 0);
    }

    #[test]
    fn many_addresses_with_one_place_each_displace_the_oldest() {
        let gate = gate(|limits| limits.sessions_before_login = 4);
        let held: Vec<_> = (0..100u8)
            .map(|host| gate.admit(IpAddr::from([10, 0, 0, host])).unwrap())
            .collect();
        let displaced = held.iter().filter(|permit| permit.displaced().is_cancelled()).count();
        assert_eq!(displaced, 96);
        assert!(held[96..].iter().all(|permit| !permit.displaced().is_cancelled()));
        assert_eq!(gate.state().waiting.count(), 4);
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
    async fn millions_of_addresses_and_names_take_little_memory() {
        let gate = gate(|limits| limits.login_failures = u32::MAX);
        for number in 0..200_000_u32 {
            gate.failed(IpAddr::V4((0x0a00_0000 + number).into()), "somebody");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(gate.state().failures.len() <= MAX_REMEMBERED);
        }
        let peer = address("192.0.2.1");
        for number in 0..10_000 {
            gate.failed(peer, &format!("{number}{}", "x".repeat(4000)));
        }
        let state = gate.state();
        assert_eq!(state.failures[&peer].by_user.len(), MAX_USERS_REMEMBERED);
        let per_address = size_of::<(IpAddr, Failures)>() + MAX_USERS_REMEMBERED * size_of::<(u64, u32)>();
        assert!(
            per_address * MAX_REMEMBERED < 16 << 20,
            "{per_address} bytes for each address"
        );
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
