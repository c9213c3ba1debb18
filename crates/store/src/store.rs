//! All homes of a server, and what they share.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cap_std::fs::Dir;

use crate::blocking::blocking;
use crate::commit::Committer;
use crate::disk::{self, FileId};
use crate::error::{Error, Result};
use crate::home::{Home, HomeState};
use crate::path::RESERVED_NAME;
use crate::quota::Quota;

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
    /// How long a staged upload is kept after it was last worked on. Only time in which the home is
    /// open counts, whatever the clocks of the machine say.
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
    /// Which directory each home was when it was last opened.
    known: Arc<Mutex<HashMap<PathBuf, FileId>>>,
}

/// A home that is open or being opened; the lock is held while somebody opens it.
type HomeCell = tokio::sync::Mutex<Option<Home>>;

/// What all homes share.
pub(crate) struct Shared {
    options: RwLock<StoreOptions>,
    committer: Arc<Committer>,
}

impl Shared {
    pub(crate) fn options(&self) -> StoreOptions {
        *self.options.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn committer(&self) -> &Arc<Committer> {
        &self.committer
    }
}

impl Store {
    /// A store without homes.
    pub fn new(options: StoreOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                options: RwLock::new(options),
                committer: Arc::default(),
            }),
            homes: Arc::default(),
            known: Arc::default(),
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
    /// A directory that has taken the place of a home that was open is accepted if it has been a home
    /// too. An empty one shows that a disk is not mounted, or that the home was moved or deleted: what
    /// would be stored there would be gone when the home is back.
    ///
    /// # Errors
    ///
    /// [`Error::HomeGone`] for such a directory, or none, where a home was open before;
    /// [`Error::InUse`] if another process has the home open and does not end within a second,
    /// [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe: a home that was being opened is open for the next caller.
    pub async fn open_home(&self, dir: &Path, quota: Quota) -> Result<Home> {
        let path = dir.to_owned();
        let known = self.lock_known().get(dir).copied();
        let (root, id) = blocking(move || match known {
            None => open_root(&path),
            Some(known) => open_again(&path, known),
        })
        .await?;
        let cell = Arc::clone(self.lock_homes().entry(id).or_default());
        let mut cell = cell.lock_owned().await;
        if let Some(home) = &*cell {
            self.lock_known().insert(dir.to_owned(), id);
            home.set_quota(quota);
            return Ok(home.clone());
        }
        let (shared, path, all_known) = (Arc::clone(&self.shared), dir.to_owned(), Arc::clone(&self.known));
        // The lock of the cell goes with the work: whoever comes after a dropped call finds the home
        // open, not locked by nobody.
        blocking(move || {
            let home = Home::new(HomeState::open(shared, root, &path, quota)?);
            *cell = Some(home.clone());
            all_known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(path, id);
            Ok(home)
        })
        .await
    }

    /// Deletes the staged uploads in all open homes that nobody has worked on for as long as they are
    /// kept, and keeps what the clocks of the homes show. Returns how many.
    ///
    /// # Errors
    ///
    /// The first failure; the other homes are seen to nevertheless.
    ///
    /// # Cancel safety
    ///
    /// Safe: what has not been deleted is left for the next call.
    pub async fn expire(&self) -> Result<u64> {
        let cells: Vec<_> = self.lock_homes().values().cloned().collect();
        let mut expired = Ok(0);
        for cell in cells {
            // One that is just being opened looks for expired uploads by itself.
            let Some(home) = cell.try_lock().ok().and_then(|home| home.clone()) else {
                continue;
            };
            let state = Arc::clone(home.state());
            match blocking(move || state.expire()).await {
                Ok(count) => expired = expired.map(|sum: u64| sum + count),
                Err(error) => expired = expired.and(Err(error)),
            }
        }
        expired
    }

    fn lock_known(&self) -> MutexGuard<'_, HashMap<PathBuf, FileId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_homes(&self) -> MutexGuard<'_, HashMap<FileId, Arc<HomeCell>>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_root(path: &Path) -> Result<(Dir, FileId)> {
    identify(path, disk::open_or_create_root(path))
}

/// Opens a home that has been open before as the directory `known`.
fn open_again(path: &Path, known: FileId) -> Result<(Dir, FileId)> {
    let gone = || Error::HomeGone { dir: path.to_owned() };
    let opened = match disk::open_root(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Err(gone()),
        opened => opened,
    };
    let (root, id) = identify(path, opened)?;
    let was_home = id == known
        || disk::find_at(&root, OsStr::new(RESERVED_NAME))
            .map_err(|errno| Error::io("look into the home", &format!("{path:?}"), errno))?
            .is_some();
    if was_home { Ok((root, id)) } else { Err(gone()) }
}

fn identify(path: &Path, opened: std::io::Result<Dir>) -> Result<(Dir, FileId)> {
    let fail = |error| Error::io("open or create the home", &format!("{path:?}"), error);
    let root = opened.map_err(fail)?;
    let meta = disk::stat_fd(&root).map_err(|errno| fail(errno.into()))?;
    Ok((root, meta.id))
}
