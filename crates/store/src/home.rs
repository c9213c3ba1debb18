//! One user's home: an open directory handle and everything that is shared by those who use it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::blocking::{Jobs, blocking};
use crate::clock::HomeClock;
use crate::commit::Publication;
use crate::disk;
use crate::error::{Error, Result};
use crate::kept;
use crate::leftovers::Leftovers;
use crate::nameless::Naming;
use crate::path::{FilePath, RESERVED_NAME};
use crate::quota::{Booking, Ledger, Quota, Usage};
use crate::slots::Slots;
use crate::source::Sources;
use crate::staging::{self, StagedUpload, StagingId};
use crate::store::Shared;
use crate::trash::Trash;
use crate::tree::Tree;
use crate::upload::doubt::Doubtful;
use crate::upload::hashed::Hashed;
use crate::walk;

mod entry;
mod listing;
mod namespace;
mod recount;
mod restore;
mod room;
mod trash;

pub use entry::Entry;
pub use listing::Listing;
pub use recount::{Counted, Recount, count_closed_home};
pub(crate) use trash::KeptVersion;
pub use trash::{Disposal, Restored, TrashItem, Wanted};

/// How long the lock of a home is waited for: the last uploads of a server that has been told to end
/// need a moment, one that goes on running does not let go at all.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is tried meanwhile.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
/// How often the processor is offered to whoever holds the lock of names, before it counts as held for long.
const MOMENT_YIELDS: usize = 16;

/// A user's home. Clones share it.
#[derive(Clone)]
pub struct Home {
    state: Arc<HomeState>,
    /// By which its requests come to a thread.
    jobs: Jobs,
}

/// What is shared by all who use a home.
pub(crate) struct HomeState {
    shared: Arc<Shared>,
    tree: Tree,
    reserved: Dir,
    staging: Dir,
    trash: Trash,
    clock: HomeClock,
    ledger: Arc<Ledger>,
    slots: Arc<Slots>,
    leftovers: Leftovers,
    hashed: Hashed,
    doubtful: Doubtful,
    sources: Arc<Sources>,
    jobs: Jobs,
    /// Held while names change, together with the counts: never across an `.await`, always inside
    /// the closure that touches the disk. Taken after the trash's lock of room by whoever needs both.
    names: Mutex<()>,
    /// How often that was locked, for a recount to know whether anything changed.
    name_changes: AtomicU64,
    numbers: AtomicU64,
    /// How files without a name get one here, once that was tried.
    naming: OnceLock<Naming>,
    /// Whether a thread is about to bring the trash within its bounds.
    is_tidied_soon: AtomicBool,
    /// Locked for as long as this process has the home open.
    _lock: std::fs::File,
}

impl Home {
    pub(crate) fn new(state: HomeState) -> Self {
        let jobs = state.jobs.clone();
        Self {
            state: Arc::new(state),
            jobs,
        }
    }

    /// The same home for somebody whose requests, once `over` is cancelled, are not begun any more. Those that run
    /// go on to their end.
    #[must_use]
    pub fn until(&self, over: CancellationToken) -> Self {
        Self {
            state: Arc::clone(&self.state),
            jobs: self.jobs.until(over),
        }
    }

    pub(crate) fn state(&self) -> &Arc<HomeState> {
        &self.state
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Puts another quota in force, also for uploads that run. A quota below what is stored already
    /// only refuses more.
    pub fn set_quota(&self, quota: Quota) {
        self.state.ledger.set_quota(quota);
    }

    /// What the home holds and may hold, at this moment.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file system does not tell its free space.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn usage(&self) -> Result<Usage> {
        let state = Arc::clone(&self.state);
        blocking(move || {
            let free = state.disk_free(&FilePath::root())?;
            Ok(state.ledger.usage(free))
        })
        .await
    }
}

impl HomeState {
    /// Opens a home: locks it, puts its staging folder in order and counts what it holds.
    pub(crate) fn open(shared: Arc<Shared>, root: Dir, path: &Path, quota: Quota) -> Result<Self> {
        let fail = |what| {
            move |errno: Errno| {
                let place = format!("{RESERVED_NAME} in {path:?}");
                Error::io(what, &place, errno)
            }
        };
        let reserved = disk::open_or_create_private(&root, RESERVED_NAME).map_err(fail("open or create"))?;
        let lock = disk::open_own(&reserved, "lock").map_err(fail("open the lock file of"))?;
        lock_patiently(&lock).map_err(|errno| match errno {
            Errno::WOULDBLOCK => Error::InUse { dir: path.to_owned() },
            errno => fail("lock")(errno),
        })?;
        if !kept::is_possible(&lock) {
            tracing::warn!(
                home = %path.display(),
                "the file system has no extended attributes, so no digest is kept with a file: scrubs of this home \
                 find nothing, and each download costs a hash"
            );
        }
        let staging =
            disk::open_or_create_private(&reserved, "staging").map_err(fail("open or create the staging folder of"))?;

        let tree = Tree::new(root);
        let ledger = Ledger::new(quota, walk::count(tree.root(), &FilePath::root())?);
        let clock = HomeClock::open(&reserved)?;
        // Whose records the clock learns from, should its file be lost, before anything rests or expires by it.
        let trash = disk::open_or_create_private(&reserved, "trash").map_err(fail("open or create the trash of"))?;
        let (trash, tally) = Trash::open(trash, &reserved, &tree, &clock)?;
        ledger.add_trash(tally);
        let leftovers = Leftovers::default();
        staging::recover(&staging, (&ledger, &leftovers), shared.options().staging_expiry, &clock)?;
        Ok(Self {
            shared,
            tree,
            reserved,
            staging,
            trash,
            clock,
            ledger: Arc::new(ledger),
            slots: Arc::default(),
            leftovers,
            hashed: Hashed::default(),
            doubtful: Doubtful::default(),
            sources: Arc::default(),
            jobs: Jobs::new(),
            names: Mutex::new(()),
            name_changes: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
            naming: OnceLock::new(),
            is_tidied_soon: AtomicBool::new(false),
            _lock: lock,
        })
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(crate) fn staging(&self) -> &Dir {
        &self.staging
    }

    pub(crate) fn trash(&self) -> &Trash {
        &self.trash
    }

    pub(crate) fn clock(&self) -> &HomeClock {
        &self.clock
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    pub(crate) fn hashed(&self) -> &Hashed {
        &self.hashed
    }

    pub(crate) fn doubtful(&self) -> &Doubtful {
        &self.doubtful
    }

    pub(crate) fn leftovers(&self) -> &Leftovers {
        &self.leftovers
    }

    pub(crate) fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    pub(crate) fn lock_names(&self) -> MutexGuard<'_, ()> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        self.name_changes.fetch_add(1, Ordering::SeqCst);
        names
    }

    /// The same if nobody holds it for more than a moment.
    pub(crate) fn try_lock_names(&self) -> Option<MutexGuard<'_, ()>> {
        for _ in 0..MOMENT_YIELDS {
            let names = match self.names.try_lock() {
                Ok(names) => names,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    std::thread::yield_now();
                    continue;
                }
            };
            self.name_changes.fetch_add(1, Ordering::SeqCst);
            return Some(names);
        }
        None
    }

    /// How often the names of this home were locked: the same as before where none has changed meanwhile.
    pub(crate) fn times_names_were_locked(&self) -> u64 {
        self.name_changes.load(Ordering::SeqCst)
    }

    /// How files without a name get one here.
    pub(crate) fn naming(&self) -> Naming {
        *self.naming.get_or_init(|| Naming::of(&self.staging))
    }

    #[cfg(test)]
    pub(crate) fn set_naming(&self, naming: Naming) {
        self.naming.set(naming).expect("before anybody asks");
    }

    /// A number that no staged file of this process has yet.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Refuses what the file system has no room for, even if the trash gives way.
    pub(crate) fn check_disk(&self, path: &FilePath, requested: u64) -> Result<()> {
        let free = self.make_disk_room(requested, || self.disk_free(path))?;
        if requested > free {
            return Err(Error::NoSpace { free, requested });
        }
        Ok(())
    }

    pub(crate) fn publish(&self, publication: Publication) {
        self.publish_all(vec![publication]);
    }

    /// Publishes them as one group.
    pub(crate) fn publish_all(&self, publications: Vec<Publication>) {
        let durability = self.shared.options().durability;
        self.shared.committer().publish(publications, durability);
    }

    /// Whether what is done has to survive a power cut.
    pub(crate) fn is_durable(&self) -> bool {
        self.shared.options().durability == crate::Durability::Full
    }

    /// Makes changed names durable, if that is asked for.
    pub(crate) fn sync_names(&self, dir: &Dir, path: &FilePath) -> Result<()> {
        if !self.is_durable() {
            return Ok(());
        }
        disk::sync(dir).map_err(|errno| Error::from_errno("make durable the change of", path, errno))
    }

    /// Deletes a staged upload that the caller has claimed, whatever version its record has. Returns
    /// whether there was one.
    pub(crate) fn discard_staged(&self, id: &StagingId) -> Result<bool> {
        self.hashed.forget(id);
        if self.clear(id)? {
            return Ok(true);
        }
        let staged = staging::staged_bytes(&self.staging, id)?;
        // A recount leaves alone what is between the disk and its count.
        let _moving = Booking::nothing(&self.ledger);
        let deletion = staging::delete(&self.staging, id);
        if let Some(bytes) = staged
            && deletion.is_gone
        {
            self.ledger.remove_staged(bytes);
        }
        deletion.result
    }

    /// Deletes what has been kept for long enough, in the staging folder and in the trash, and keeps what
    /// the clock shows. Returns how many staged uploads are gone. Each part is done whatever becomes of the
    /// others: a full disk refuses to keep the clock, and is emptied by the rest.
    pub(crate) fn expire(&self) -> Result<u64> {
        self.expire_trash();
        self.hashed.expire();
        while self.sweep() {}
        let (mut expired, mut failed) = (0, None);
        for id in staging::ids(&self.staging)? {
            match id.and_then(|id| self.expire_staged(&id)) {
                Ok(is_gone) => expired += u64::from(is_gone),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        // At the end, when there is room for it.
        if let Err(error) = self.clock.save(&self.reserved) {
            failed.get_or_insert(error);
        }
        failed.map_or(Ok(expired), Err)
    }

    /// Deletes a staged upload that nobody has worked on for long enough.
    fn expire_staged(&self, id: &StagingId) -> Result<bool> {
        let now = self.clock.now();
        let expiry = self.shared.options().staging_expiry;
        let rests = |upload: &StagedUpload| upload.idle.is_some() && !upload.has_expired(expiry);
        if staging::look(&self.staging, id, now)?.is_none_or(|upload| rests(&upload)) {
            return Ok(false);
        }
        // One that is running is not expired, however slow. One that ended meanwhile is young.
        let Some(_claim) = self.slots.try_claim(id) else {
            return Ok(false);
        };
        let Some(upload) = staging::look(&self.staging, id, now)?.filter(|upload| !rests(upload)) else {
            return Ok(false);
        };
        if upload.idle.is_none() {
            staging::rest(&self.staging, id, &self.clock)?;
            return Ok(false);
        }
        let is_gone = self.discard_staged(id)?;
        if is_gone {
            tracing::info!(path = %upload.path, bytes = upload.staged, "staged upload expired");
        }
        Ok(is_gone)
    }

    fn disk_free(&self, path: &FilePath) -> Result<u64> {
        disk::free_bytes(&self.staging).map_err(|errno| Error::from_errno("ask for the free space of", path, errno))
    }
}

/// Takes the lock of a home, giving a server that is just ending a moment to let go.
fn lock_patiently(file: &std::fs::File) -> Result<(), Errno> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match disk::lock(file) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOCK_INTERVAL),
            locked => return locked,
        }
    }
}
