//! Auditing the counts of an open home against the disk, exactly, while it is in use.
//!
//! The first round walks over everything without holding anybody up, and remembers of each directory
//! what it holds and its times. Names change only under the lock of names, and each who takes it is
//! counted: if nobody took it, the round was exact. Else the next rounds look at the directories
//! alone and read again those whose times have moved; the last one does so under the lock, so that
//! even a home that never rests is counted exactly, and changes wait only for that short round.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cap_std::fs::Dir;
use rustix::io::Errno;

use super::{Home, HomeState};
use crate::blocking::blocking;
use crate::disk::{self, FileId, Kind, Meta};
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::path::{FilePath, RESERVED_NAME, is_reserved};
use crate::quota::Tally;
use crate::scrub::open_existing;
use crate::staging;
use crate::time::Timestamp;
use crate::trash;
use crate::tree::Names;
use crate::walk;

/// Names looked at in one hand-over to a blocking thread.
const STEP_NAMES: u64 = 512;
/// Rounds without the lock before the one with it.
const FREE_ROUNDS: usize = 3;

/// What a home holds, as counted in memory or on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sizes of all regular files.
    pub bytes: u64,
    /// Files, directories, links and whatever else has a name.
    pub entries: u64,
    /// Bytes in staged files.
    pub pending: u64,
    /// How many uploads are staged.
    pub uploads: u64,
    /// Bytes in the trash.
    pub trash: u64,
    /// Files, directories, links and whatever else has a name, in the trash.
    pub trash_entries: u64,
}

/// The outcome of a recount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// What was in force before.
    pub counted: Counted,
    /// What is on the disk, and in force now.
    pub found: Counted,
    /// Whether staged uploads were compared. They are not while uploads or copies run; `found` has
    /// what is in force then.
    pub with_staged: bool,
}

impl Recount {
    /// Whether the counts were off.
    pub fn has_drift(&self) -> bool {
        self.counted != self.found
    }
}

impl Home {
    /// Compares the counts in force with the disk and corrects them. `pace` is in names a second.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the disk cannot be read; the counts stay as they were then.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is corrected before all is counted.
    pub async fn recount(&self, mut pace: Pace) -> Result<Recount> {
        let home = Arc::clone(self.state());
        let mut round = blocking(move || Round::begin(home, HashMap::new())).await?;
        for _ in 0..FREE_ROUNDS {
            loop {
                let (back, more) = blocking(move || {
                    let mut round = round;
                    let more = round.step(STEP_NAMES)?;
                    Ok((round, more))
                })
                .await?;
                round = back;
                pace.spend(std::mem::take(&mut round.looked_at)).await;
                if !more {
                    break;
                }
            }
            match blocking(move || round.settle_if_undisturbed()).await? {
                Ok(recount) => return Ok(recount),
                Err(again) => round = again,
            }
        }
        blocking(move || round.settle_under_the_lock()).await
    }

    /// Whether an operation has met something since the last recount that shows the counts to be off.
    pub fn suspects_drift(&self) -> bool {
        self.state().ledger().is_suspect()
    }
}

/// Counts what lies in a home that no server has open. Nothing is changed.
///
/// # Errors
///
/// [`Error::Io`].
///
/// # Cancel safety
///
/// Safe: nothing is changed.
pub async fn count_closed_home(dir: &Path) -> Result<Counted> {
    let dir = dir.to_owned();
    blocking(move || {
        let root = open_existing(&dir)?;
        let stored = walk::count(&root, &FilePath::root())?;
        let own = |name: &str| {
            let reserved = disk::open_dir(&root, OsStr::new(RESERVED_NAME));
            // Where there is none, no server has ever opened it.
            reserved
                .and_then(|reserved| disk::open_dir(&reserved, OsStr::new(name)))
                .ok()
        };
        let staged = own("staging").map_or(Ok((0, 0)), |staging| staging::count(&staging))?;
        let trashed = own("trash").map_or(Ok(Tally::default()), |trash| trash::count(&trash))?;
        Ok(counted(stored, staged, trashed))
    })
    .await
}

/// Bytes and number of staged uploads.
type Staged = (u64, u64);

fn counted(stored: Tally, (pending, uploads): Staged, trash: Tally) -> Counted {
    Counted {
        bytes: stored.bytes,
        entries: stored.entries,
        pending,
        uploads,
        trash: trash.bytes,
        trash_entries: trash.entries,
    }
}

/// What is remembered of a directory.
struct Folder {
    /// As it was before it was read.
    meta: Meta,
    /// Whether its times were old enough then to show every later change.
    is_settled: bool,
    /// What lies directly in it.
    tally: Tally,
    children: Vec<OsString>,
}

/// One walk over a home.
struct Round {
    home: Arc<HomeState>,
    /// How often the lock of names had been taken when the round began.
    began: u64,
    known: HashMap<FileId, Folder>,
    /// The directories of this round.
    seen: HashMap<FileId, Folder>,
    levels: Vec<Level>,
    tally: Tally,
    looked_at: u64,
}

/// A directory on the way down.
struct Level {
    dir: Dir,
    id: FileId,
    /// What is left of its names, while it is read; a known one is not.
    names: Option<Names>,
    /// What was found in it.
    folder: Folder,
    /// The child to go into next, once its names are read.
    next: usize,
}

impl Round {
    fn begin(home: Arc<HomeState>, known: HashMap<FileId, Folder>) -> Result<Self> {
        let began = {
            // Whoever holds the lock has been counted already, and may change names yet.
            let _names = home.lock_names();
            home.name_changes.load(Ordering::SeqCst)
        };
        Self::begin_at(home, known, began)
    }

    fn begin_at(home: Arc<HomeState>, known: HashMap<FileId, Folder>, began: u64) -> Result<Self> {
        let root = home
            .tree()
            .root()
            .try_clone()
            .map_err(|error| Error::io("count", "the home", error))?;
        let mut round = Self {
            began,
            home,
            known,
            seen: HashMap::new(),
            levels: Vec::new(),
            tally: Tally::default(),
            looked_at: 0,
        };
        round.enter(root).map_err(fail)?;
        Ok(round)
    }

    fn enter(&mut self, dir: Dir) -> Result<(), Errno> {
        let meta = disk::stat_fd(&dir)?;
        self.looked_at += 1;
        let known = self
            .known
            .remove(&meta.id)
            .filter(|folder| folder.is_settled && folder.meta == meta);
        let (names, folder) = match known {
            Some(folder) => (None, folder),
            None => {
                let folder = Folder {
                    meta,
                    is_settled: !meta.changed.is_within_a_step_of(Timestamp::now()),
                    tally: Tally::default(),
                    children: Vec::new(),
                };
                (Some(Names::of(&dir)?), folder)
            }
        };
        self.levels.push(Level {
            dir,
            id: meta.id,
            names,
            folder,
            next: 0,
        });
        Ok(())
    }

    /// Looks at so many names; whether there are more.
    fn step(&mut self, names: u64) -> Result<bool> {
        let end = self.looked_at.saturating_add(names);
        while self.looked_at < end {
            let is_top = self.levels.len() == 1;
            let Some(level) = self.levels.last_mut() else {
                return Ok(false);
            };
            if let Some(names) = &mut level.names {
                match names.next() {
                    None => level.names = None,
                    Some(name) => {
                        let name = name.map_err(fail)?;
                        if !(is_top && is_reserved(&name)) {
                            self.looked_at += 1;
                            level.look_at(name).map_err(fail)?;
                        }
                    }
                }
            } else if let Some(child) = level.folder.children.get(level.next) {
                level.next += 1;
                match disk::open_dir(&level.dir, child).and_then(|dir| self.enter(dir)) {
                    Ok(()) => {}
                    // Gone, or another thing by now.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    // As at the opening of the home: it counts, what is in it does not.
                    Err(Errno::ACCESS) => self.looked_at += 1,
                    Err(errno) => return Err(fail(errno)),
                }
            } else if let Some(level) = self.levels.pop() {
                self.tally.bytes += level.folder.tally.bytes;
                self.tally.entries += level.folder.tally.entries;
                self.seen.insert(level.id, level.folder);
            }
        }
        Ok(true)
    }

    /// Corrects the counts if no name has changed since the round began, or hands out the next round.
    fn settle_if_undisturbed(self) -> Result<Result<Recount, Self>> {
        let home = Arc::clone(&self.home);
        let room = home.trash().lock_room();
        let names = home.lock_names();
        // Taking the lock counts as well.
        if home.name_changes.load(Ordering::SeqCst) == self.began + 1 {
            return Ok(Ok(self.settle(&home)?));
        }
        drop(names);
        drop(room);
        Self::begin(home, self.seen).map(Err)
    }

    fn settle_under_the_lock(self) -> Result<Recount> {
        let home = Arc::clone(&self.home);
        let _room = home.trash().lock_room();
        let _names = home.lock_names();
        // Nobody changes names meanwhile.
        let mut round = Self::begin_at(Arc::clone(&home), self.remembered(), 0)?;
        while round.step(u64::MAX)? {}
        round.settle(&home)
    }

    /// All that is known of directories, from this round and the one before.
    fn remembered(self) -> HashMap<FileId, Folder> {
        let mut known = self.known;
        known.extend(self.seen);
        known.extend(
            self.levels
                .into_iter()
                .filter(|level| level.names.is_none())
                .map(|level| (level.id, level.folder)),
        );
        known
    }

    /// Call with the locks of room and of names held.
    fn settle(self, home: &HomeState) -> Result<Recount> {
        let before = home.ledger().correct_stored(self.tally);
        let (trash_before, trash) = home.recount_trash()?;
        let staged = home.recount_staged()?;
        let in_force = home.ledger().staged();
        let (was, is) = staged.unwrap_or((in_force, in_force));
        Ok(Recount {
            counted: counted(before, was, trash_before),
            found: counted(self.tally, is, trash),
            with_staged: staged.is_some(),
        })
    }
}

impl Level {
    fn look_at(&mut self, name: OsString) -> Result<(), Errno> {
        let Some(meta) = disk::find_at(&self.dir, &name)? else {
            return Ok(());
        };
        let tally = &mut self.folder.tally;
        tally.entries += 1;
        tally.bytes += meta.counted_bytes();
        if meta.kind == Kind::Directory {
            self.folder.children.push(name);
        }
        Ok(())
    }
}

impl HomeState {
    /// Compares the trash. Returns its counts before and after. Call with the locks of room and of names
    /// held: then nobody puts anything in or takes it out meanwhile.
    fn recount_trash(&self) -> Result<(Tally, Tally)> {
        let found = self.trash().recount()?;
        Ok((self.ledger().correct_trash(found), found))
    }

    /// Compares what is staged, unless something is being staged: its count and its bytes move apart
    /// for moments. Returns the counts before and after.
    fn recount_staged(&self) -> Result<Option<(Staged, Staged)>> {
        let Some(ticket) = self.ledger().at_rest() else {
            return Ok(None);
        };
        let found = staging::count(self.staging())?;
        Ok(self
            .ledger()
            .correct_staged(ticket, found)
            .map(|before| (before, found)))
    }
}

fn fail(errno: Errno) -> Error {
    Error::io("count", "what is in the home", errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Booking;
    use crate::{Quota, Store, StoreOptions};

    #[tokio::test]
    async fn known_directory_is_trusted_only_with_its_old_times() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("dir")).unwrap();
        std::fs::write(temp.path().join("dir/file"), "abc").unwrap();
        let store = Store::new(StoreOptions::default());
        let home = store.open_home(temp.path(), Quota::default()).await.unwrap();
        let count = |known: HashMap<FileId, Folder>| {
            let mut round = Round::begin(Arc::clone(home.state()), known).unwrap();
            while round.step(1).unwrap() {}
            round
        };
        let told = Tally {
            bytes: 1000,
            entries: 7,
        };
        for (is_settled, is_same, bytes) in [(true, true, 1000), (true, false, 3), (false, true, 3)] {
            let mut known = count(HashMap::new()).seen;
            for folder in known.values_mut().filter(|folder| folder.children.is_empty()) {
                folder.is_settled = is_settled;
                folder.tally = told;
                if !is_same {
                    folder.meta.changed.nanos ^= 1;
                }
            }
            assert_eq!(count(known).tally.bytes, bytes, "{is_settled} {is_same}");
        }
    }

    #[tokio::test]
    async fn what_is_between_the_disk_and_its_count_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::new(StoreOptions::default());
        let home = store.open_home(temp.path(), Quota::default()).await.unwrap();
        let ledger = home.state().ledger();
        ledger.add_staged(5);
        // Its file is deleted, and not discounted yet.
        let moving = Booking::nothing(ledger);
        assert!(!home.recount(Pace::FULL).await.unwrap().with_staged);
        ledger.remove_staged(5);
        drop(moving);
        let recount = home.recount(Pace::FULL).await.unwrap();
        assert!(recount.with_staged && !recount.has_drift(), "{recount:?}");
    }
}
