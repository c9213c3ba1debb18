//! One staged upload per path: whoever comes last takes over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::staging::StagingId;

/// How long a newcomer waits for the older upload to be wound up. Its session only has to notice
/// and let one write end.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(10);

/// The running uploads of a home, and whoever waits for one.
#[derive(Default)]
pub(crate) struct Slots {
    slots: Mutex<HashMap<StagingId, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// Held by the upload that runs; handed on in the order of arrival.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Told to stop when somebody newer arrives.
    newest: Mutex<CancellationToken>,
}

/// The right to touch one staged upload; dropping it lets the next one in.
pub(crate) struct Claim {
    slots: Arc<Slots>,
    id: StagingId,
    slot: Arc<Slot>,
    superseded: CancellationToken,
    guard: Option<OwnedMutexGuard<()>>,
}

/// Why a claim was not granted.
pub(crate) enum Denied {
    /// The older upload did not end in time.
    Busy,
    /// Somebody newer arrived while waiting.
    Superseded,
}

impl Slots {
    /// Claims a staged upload that nobody holds; `None` when somebody does.
    pub(crate) fn try_claim(self: &Arc<Self>, id: &StagingId) -> Option<Claim> {
        let mut slots = self.lock();
        let (slot, is_new) = match slots.entry(id.clone()) {
            Entry::Vacant(free) => (Arc::clone(free.insert(Arc::default())), true),
            Entry::Occupied(taken) => (Arc::clone(taken.get()), false),
        };
        let guard = Arc::clone(&slot.turn).try_lock_owned().ok()?;
        if !is_new {
            *slot.newest() = CancellationToken::new();
        }
        let superseded = slot.newest().clone();
        Some(self.claim_of(id, slot, superseded, Some(guard)))
    }

    /// Tells the present holder to stop and waits until it has let go.
    pub(crate) async fn take_over(self: &Arc<Self>, id: &StagingId) -> Result<Claim, Denied> {
        let superseded = CancellationToken::new();
        let mut claim = {
            let mut slots = self.lock();
            let slot = Arc::clone(slots.entry(id.clone()).or_default());
            std::mem::replace(&mut *slot.newest(), superseded.clone()).cancel();
            self.claim_of(id, slot, superseded.clone(), None)
        };
        let turn = Arc::clone(&claim.slot.turn).lock_owned();
        let guard = tokio::select! {
            biased;
            () = superseded.cancelled() => return Err(Denied::Superseded),
            guard = tokio::time::timeout(TAKE_OVER_TIMEOUT, turn) => guard.map_err(|_| Denied::Busy)?,
        };
        claim.guard = Some(guard);
        Ok(claim)
    }

    fn claim_of(
        self: &Arc<Self>,
        id: &StagingId,
        slot: Arc<Slot>,
        superseded: CancellationToken,
        guard: Option<OwnedMutexGuard<()>>,
    ) -> Claim {
        Claim {
            slots: Arc::clone(self),
            id: id.clone(),
            slot,
            superseded,
            guard,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StagingId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn newest(&self) -> MutexGuard<'_, CancellationToken> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Cancelled when somebody newer wants the upload.
    pub(crate) fn superseded(&self) -> &CancellationToken {
        &self.superseded
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut slots = self.slots.lock();
        self.guard = None;
        // The map's and this one: nobody else holds or waits.
        if Arc::strong_count(&self.slot) == 2 {
            slots.remove(&self.id);
        }
    }
}
