//! All homes of a server, and what they share.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use cap_std::fs::Dir;

use crate::blocking::blocking;
use crate::commit::Committer;
use crate::disk::{self, FileId};
use crate::error::{Error, Result};
use crate::home::{Home, HomeState};
use crate::quota::Quota;
use crate::time::Timestamp;

/// What has happened when an operation reports success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Data and names are on the disk: a power cut takes nothing back.
    #[default]
    Full,
    /// Data and names are with the operating system: a crash of the server takes nothing back.
    None,
}

/// What holds for all homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// What has happened when an operation reports success.
    pub durability: Durability,
    /// How long a staged upload is kept after it was last worked on.
    pub staging_expiry: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            // A long weekend.
            staging_expiry: Duration::from_secs(4 * 24 * 60 * 60),
        }
    }
}

/// All homes of a server. Clones share it; homes stay open as long as it lives.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    homes: Arc<Mutex<HashMap<FileId, Arc<HomeCell>>>>,
}

/// A home that is open or being opened; the lock is held while somebody opens it.
type HomeCell = tokio::sync::Mutex<Option<Home>>;

/// What all homes share.
pub(crate) struct Shared {
    options: RwLock<StoreOptions>,
    committer: Committer,
}

impl Shared {
    pub(crate) fn options(&self) -> StoreOptions {
        *self.options.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn committer(&self) -> &Committer {
        &self.committer
    }
}

impl Store {
    /// A store without homes.
    pub fn new(options: StoreOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                options: RwLock::new(options),
                committer: Committer::default(),
            }),
            homes: Arc::default(),
        }
    }

    /// Puts other options in force, for everything that begins from now on.
    pub fn set_options(&self, options: StoreOptions) {
        *self.shared.options.write().unwrap_or_else(PoisonError::into_inner) = options;
    }

    /// Opens the home in `dir`, which is created with its parents (mode 0700) where it is missing.
    ///
    /// The first time, the home is locked against other processes, its staging folder is put in order
    /// and its content is counted, which takes a moment for each hundred thousand files. Later calls
    /// give the same home and put `quota` in force.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if another process has the home open and does not end within a second,
    /// [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe: a home that was being opened is open for the next caller.
    pub async fn open_home(&self, dir: &Path, quota: Quota) -> Result<Home> {
        let path = dir.to_owned();
        let (root, id) = blocking(move || open_root(&path)).await?;
        let cell = Arc::clone(self.lock_homes().entry(id).or_default());
        let mut cell = cell.lock_owned().await;
        if let Some(home) = &*cell {
            home.set_quota(quota);
            return Ok(home.clone());
        }
        let (shared, path) = (Arc::clone(&self.shared), dir.to_owned());
        // The lock of the cell goes with the work: whoever comes after a dropped call finds the home
        // open, not locked by nobody.
        blocking(move || {
            let home = Home::new(HomeState::open(shared, root, &path, quota, Timestamp::now())?);
            *cell = Some(home.clone());
            Ok(home)
        })
        .await
    }

    /// Deletes the staged uploads in all open homes that nobody has worked on for as long as they are
    /// kept, counted up to `now`. Returns how many.
    ///
    /// # Errors
    ///
    /// The first failure; the other homes are seen to nevertheless.
    ///
    /// # Cancel safety
    ///
    /// Safe: what has not been deleted is left for the next call.
    pub async fn expire(&self, now: SystemTime) -> Result<u64> {
        let cells: Vec<_> = self.lock_homes().values().cloned().collect();
        let mut expired = Ok(0);
        for cell in cells {
            // One that is just being opened looks for expired uploads by itself.
            let Some(home) = cell.try_lock().ok().and_then(|home| home.clone()) else {
                continue;
            };
            let state = Arc::clone(home.state());
            match blocking(move || state.expire(now.into())).await {
                Ok(count) => expired = expired.map(|sum: u64| sum + count),
                Err(error) => expired = expired.and(Err(error)),
            }
        }
        expired
    }

    fn lock_homes(&self) -> MutexGuard<'_, HashMap<FileId, Arc<HomeCell>>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_root(path: &Path) -> Result<(Dir, FileId)> {
    let fail = |error| Error::io("open or create the home", &format!("{path:?}"), error);
    let root = disk::open_or_create_root(path).map_err(fail)?;
    let meta = disk::stat_fd(&root).map_err(|errno| fail(errno.into()))?;
    Ok((root, meta.id))
}
