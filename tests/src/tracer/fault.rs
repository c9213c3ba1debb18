//! What goes wrong by order.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;

use super::Call;
use crate::eventually;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The kernel does nothing and the program is told this.
    Fail(Errno),
    /// A write or copy does no more than so many bytes.
    Short(u64),
    /// The call begins only when the fault is cleared.
    Hold,
}

/// An order to disturb some calls: all that `matches` says, but for the first `after`, `times` of them.
pub struct Fault {
    matches: Box<dyn Fn(&Call) -> bool + Send + Sync>,
    effect: Effect,
    after: u64,
    times: u64,
}

impl Fault {
    /// Disturbs every call that matches; it is judged as it begins, without a result.
    pub fn new(effect: Effect, matches: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self {
            matches: Box::new(matches),
            effect,
            after: 0,
            times: u64::MAX,
        }
    }

    /// Lets so many pass first.
    #[must_use]
    pub fn after(mut self, calls: u64) -> Self {
        self.after = calls;
        self
    }

    /// Disturbs no more than one.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.times = 1;
        self
    }
}

/// A fault that waits for its calls.
pub(super) struct Armed {
    fault: Fault,
    met: AtomicU64,
    done: AtomicU64,
    first: OnceLock<String>,
}

impl From<Fault> for Armed {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            met: AtomicU64::new(0),
            done: AtomicU64::new(0),
            first: OnceLock::new(),
        }
    }
}

impl Armed {
    /// What to do to the call. Only the tracing thread asks.
    pub(super) fn judge(&self, call: &Call) -> Option<Effect> {
        if !(self.fault.matches)(call) {
            return None;
        }
        let met = self.met.fetch_add(1, Ordering::Relaxed);
        let hit = met >= self.fault.after && met - self.fault.after < self.fault.times;
        hit.then(|| {
            self.first.get_or_init(|| format!("{} {:?}", call.name, call.paths));
            self.done.fetch_add(1, Ordering::Relaxed);
            self.fault.effect
        })
    }
}

impl fmt::Debug for Armed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?}, done to {:?} of {:?}",
            self.fault.effect, self.done, self.met
        )
    }
}

/// What an injected fault has met.
#[derive(Debug)]
pub struct Hits(Arc<Armed>);

impl Hits {
    pub(super) fn new(armed: Arc<Armed>) -> Self {
        Self(armed)
    }

    /// How many calls it has disturbed.
    pub fn count(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// The first of them, for a person; empty if there was none.
    pub fn first(&self) -> &str {
        self.0.first.get().map_or("", String::as_str)
    }

    /// Waits for the first.
    pub fn wait(&self) {
        eventually("the fault happens", || (self.count() > 0).then_some(()));
    }
}
