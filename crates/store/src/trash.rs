//! The trash of a home: what was removed or replaced, until its budget, its age or the room it takes
//! call for it.
//!
//! It lies in the reserved folder, on the file system of the home: an item is a file or a whole
//! directory under its number, moved or linked there in one step, with a record of where it was. Numbers
//! rise with time, so the oldest item has the lowest. This module keeps the items and knows nothing of
//! the home's names; `home/trash.rs` says what users may do with them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use ftp_digest::{Algorithm, Hasher};
use rustix::io::Errno;

use crate::clock::HomeClock;
use crate::disk::{self, At, Kind, Meta};
use crate::error::{Error, Result};
use crate::path::FilePath;
use crate::quota::Tally;
use crate::tree::{Names, Tree};
use crate::walk::{self, Removed};

mod ids;
mod record;

use ids::Ids;
pub use record::Reason;
pub(crate) use record::Record;
use record::{Found, TEMPORARY};

/// The most items of a home. Each takes less than 100 bytes of memory, and one removed directory is
/// one item, however much is in it.
const MAX_ITEMS: usize = 65_536;

/// Ends the names of what is being deleted for good.
const GONE: &str = ".gone";

/// What is known in memory of an item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) tally: Tally,
    pub(crate) is_dir: bool,
    /// Finds the items of a path without reading their records.
    pub(crate) path_hash: u64,
    /// The version of the store that kept it, if it is not this one: counted, and left alone.
    foreign: Option<u64>,
    /// When it came, by the home's clock.
    pub(crate) at: u64,
    /// Whether it lies in its grave, where nobody sees it and what is left waits to be deleted.
    doomed: bool,
    /// Whether it could not be deleted. It counts, and is passed over until the next expiry.
    stuck: bool,
    /// Whether the log was told so.
    pub(crate) is_told: bool,
}

impl Item {
    fn new(is_dir: bool, tally: Tally) -> Self {
        Self {
            tally,
            is_dir,
            path_hash: 0,
            foreign: None,
            at: 0,
            doomed: false,
            stuck: false,
            is_told: false,
        }
    }
}

pub(crate) struct Trash {
    dir: Dir,
    items: Mutex<Items>,
    /// Held by whoever takes something out of the trash: no item, no part of one and no byte of it leaves
    /// twice, and two do not both make room for the same need. Taken before the home's lock of names,
    /// never after: a long deletion must not keep those waiting who only change names.
    making_room: Mutex<()>,
}

#[derive(Default)]
struct Items {
    by_id: BTreeMap<u64, Item>,
    ids: Ids,
}

impl Trash {
    /// Puts the folder in order after whatever ended the last process, and counts what is in it. What cannot
    /// be deleted, or recorded on a full disk, is no reason to keep the user out.
    pub(crate) fn open(dir: Dir, reserved: &Dir, home: &Tree, clock: &HomeClock) -> Result<(Self, Tally)> {
        let mut items = Items {
            ids: Ids::open(reserved),
            ..Items::default()
        };
        let mut total = Tally::default();
        for name in names(&dir)? {
            let (id, found) = if let Some(number) = name.strip_suffix(GONE) {
                let Ok(id) = number.parse() else { continue };
                (id, finish_burial(&dir, id)?)
            } else if let Some(id) = record::id_of(&name) {
                if stat(&dir, id)?.is_none() && !matches!(record::read(&dir, id)?, Found::Foreign(_)) {
                    tolerate(record::delete(&dir, id));
                }
                (id, None)
            } else if let Ok(id) = name.parse() {
                (id, recover(&dir, id, home, clock)?)
            } else {
                if name.ends_with(TEMPORARY) {
                    tolerate(remove(&dir, &name));
                }
                continue;
            };
            items.ids.beyond(id);
            if let Some(item) = found {
                total.add(item.tally);
                items.by_id.insert(id, item);
            }
        }
        let trash = Self {
            dir,
            items: Mutex::new(items),
            making_room: Mutex::default(),
        };
        Ok((trash, total))
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// A number for a new item, with its record on disk.
    pub(crate) fn announce(&self, record: &Record, reserved: &Dir) -> Result<(u64, std::fs::File)> {
        let id = self.items().ids.take(reserved);
        Ok((id, record.save(&self.dir, id)?))
    }

    /// Takes an announcement back.
    pub(crate) fn retract(&self, id: u64) {
        if let Err(error) = record::delete(&self.dir, id) {
            // It is deleted when the home is next opened.
            tracing::debug!(%error, "record of nothing stays in the trash");
        }
    }

    /// The announced item is there.
    pub(crate) fn insert(&self, id: u64, record: &Record, is_dir: bool, tally: Tally) {
        let item = Item {
            path_hash: path_hash(record.path()),
            at: record.at(),
            ..Item::new(is_dir, tally)
        };
        self.items().by_id.insert(id, item);
    }

    /// The items below `before`, the newest first, that `wanted` wants; at most `limit`.
    pub(crate) fn newest(&self, before: u64, limit: usize, wanted: impl Fn(&Item) -> bool) -> Vec<(u64, Item)> {
        let items = self.items();
        let below = items.by_id.range(..before).rev();
        below
            .filter(|(_, item)| item.foreign.is_none() && wanted(item))
            .map(|(id, item)| (*id, *item))
            .take(limit)
            .collect()
    }

    pub(crate) fn item(&self, id: u64) -> Option<Item> {
        self.items().by_id.get(&id).copied()
    }

    /// Where an item was and when it came; `None` if it is not there any more.
    pub(crate) fn record(&self, id: u64) -> Result<Option<Record>> {
        match record::read(&self.dir, id)? {
            Found::Record(record) => Ok(Some(record)),
            Found::Nothing => Ok(None),
            Found::Foreign(version) => Err(foreign(id, version)),
        }
    }

    /// Refuses an item of another version, also before its record is looked at.
    pub(crate) fn refuse_foreign(&self, id: u64) -> Result<()> {
        let version = self.item(id).and_then(|item| item.foreign);
        version.map_or(Ok(()), |version| Err(foreign(id, version)))
    }

    /// What lies under the item's number.
    pub(crate) fn stat(&self, id: u64) -> Result<Option<Meta>> {
        stat(&self.dir, id)
    }

    /// The item has left the trash under another name: forgets it.
    pub(crate) fn forget(&self, id: u64) -> Result<()> {
        self.items().by_id.remove(&id);
        record::delete(&self.dir, id)
    }

    /// A part of the item, which is a directory, has left it.
    pub(crate) fn shrink(&self, id: u64, part: Tally) {
        if let Some(item) = self.items().by_id.get_mut(&id) {
            item.tally.subtract(part);
        }
    }

    /// Deletes an item for good, its files by `unlink`. Returns what is gone from the disk, also when that
    /// failed before its end: the rest stays an item.
    pub(crate) fn delete(
        &self,
        id: u64,
        unlink: impl FnMut(&Meta, At<'_>) -> Result<(), Errno>,
    ) -> (Tally, Result<()>) {
        let Some(item) = self.items().by_id.remove(&id) else {
            return (Tally::default(), Ok(()));
        };
        let mut removed = Removed::default();
        let result = self.delete_files(id, &item, unlink, &mut removed);
        let left = match &result {
            Ok(()) => None,
            // A disk that fails may not let the rest be counted either.
            Err(_) => measure(&self.dir, id).unwrap_or_else(|_| {
                let mut left = item.tally;
                left.subtract(removed.tally());
                Some(left)
            }),
        };
        let mut gone = item.tally;
        if let Some(left) = left {
            gone.subtract(left);
            let item = Item {
                tally: left,
                doomed: item.is_dir && self.stat(id).is_ok_and(|found| found.is_none()),
                stuck: true,
                is_told: true,
                ..item
            };
            self.items().by_id.insert(id, item);
        }
        (gone, result)
    }

    fn delete_files(
        &self,
        id: u64,
        item: &Item,
        mut unlink: impl FnMut(&Meta, At<'_>) -> Result<(), Errno>,
        removed: &mut Removed,
    ) -> Result<()> {
        let (name, gone) = (name(id), grave(id));
        let fail = |errno| cannot_delete(&format!("item {id} of the trash"), errno);
        if item.is_dir {
            // Under its new name it is no item any more, however far the deletion comes.
            let at = (&self.dir, OsStr::new(&name));
            match disk::rename_new(at, (&self.dir, &gone)) {
                Ok(()) | Err(Errno::EXIST | Errno::NOENT) => {}
                Err(errno) => return Err(fail(errno)),
            }
            bury((&self.dir, &gone), unlink, removed)?;
        } else if let Some(meta) = self.stat(id)? {
            match unlink(&meta, (&self.dir, OsStr::new(&name))) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(fail(errno)),
            }
        }
        self.retract(id);
        Ok(())
    }

    /// A number for a directory that is to be deleted for good, and its name in the folder.
    pub(crate) fn grave(&self, reserved: &Dir) -> (u64, OsString) {
        let id = self.items().ids.take(reserved);
        (id, grave(id))
    }

    /// A directory under the name of its grave: an item that nobody sees until it is deleted.
    pub(crate) fn insert_doomed(&self, id: u64, tally: Tally) {
        let item = Item {
            doomed: true,
            ..Item::new(true, tally)
        };
        self.items().by_id.insert(id, item);
    }

    /// The oldest item that may be deleted, and can be as far as is known.
    pub(crate) fn oldest(&self) -> Option<(u64, Item)> {
        let items = self.items();
        let mut oldest = items
            .by_id
            .iter()
            .filter(|(_, item)| item.foreign.is_none() && !item.stuck);
        oldest.next().map(|(id, item)| (*id, *item))
    }

    /// Has another try made at what could not be deleted. Returns what waits for nothing else.
    pub(crate) fn try_again(&self) -> Vec<(u64, Item)> {
        let mut items = self.items();
        for item in items.by_id.values_mut() {
            item.stuck = false;
        }
        let doomed = items.by_id.iter().filter(|(_, item)| item.doomed);
        doomed.map(|(id, item)| (*id, *item)).collect()
    }

    /// Whether there are more items than are kept track of.
    pub(crate) fn is_overfull(&self) -> bool {
        self.items().by_id.len() > MAX_ITEMS
    }

    /// Looks at each item again, and forgets those that somebody has taken away behind the store's back.
    /// Returns what all of them hold. Call while nobody changes the trash.
    pub(crate) fn recount(&self) -> Result<Tally> {
        let mut total = Tally::default();
        let items = self.items().by_id.clone();
        for (id, item) in items {
            match measure(&self.dir, id)? {
                Some(tally) => {
                    total.add(tally);
                    self.items().by_id.insert(id, Item { tally, ..item });
                }
                None => self.forget(id)?,
            }
        }
        Ok(total)
    }

    pub(crate) fn lock_room(&self) -> MutexGuard<'_, ()> {
        self.making_room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn items(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn foreign(item: u64, found: u64) -> Error {
    Error::TrashVersion {
        item,
        found,
        known: record::VERSION,
    }
}

/// What an item is called in the folder.
pub(crate) fn name(id: u64) -> OsString {
    id.to_string().into()
}

/// What it is called while it is being deleted.
fn grave(id: u64) -> OsString {
    format!("{id}{GONE}").into()
}

pub(crate) fn path_hash(path: &FilePath) -> u64 {
    let hex = Hasher::digest(Algorithm::Blake3, path.as_bytes()).hex();
    // The records tell apart what agrees in this.
    hex.get(..16)
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or(0)
}

/// Deletes a directory that nobody looks at any more, its files by `unlink`.
pub(crate) fn bury(
    at: At<'_>,
    unlink: impl FnMut(&Meta, At<'_>) -> Result<(), Errno>,
    removed: &mut Removed,
) -> Result<()> {
    walk::remove_dir(at, unlink, removed)
        .map_err(|errno| cannot_delete(&format!("{} in the trash", at.1.display()), errno))
}

fn cannot_delete(what: &str, errno: Errno) -> Error {
    match errno {
        // Whoever empties the trash can understand that.
        Errno::ROFS => Error::ReadOnly { path: FilePath::root() },
        errno => Error::io("delete", what, errno),
    }
}

fn stat(dir: &Dir, id: u64) -> Result<Option<Meta>> {
    disk::find_at(dir, &name(id)).map_err(|errno| Error::io("look at", &format!("item {id} of the trash"), errno))
}

fn remove(dir: &Dir, name: &str) -> Result<()> {
    match disk::unlink(dir, name) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::io("delete from the trash", name, errno)),
    }
}

/// Counts what lies in the trash of a home that no server has open.
pub(crate) fn count(dir: &Dir) -> Result<Tally> {
    let mut total = Tally::default();
    for name in names(dir)? {
        if let Ok(id) = name.parse()
            && let Some(tally) = measure(dir, id)?
        {
            total.add(tally);
        }
    }
    Ok(total)
}

/// What an item holds; `None` if it is not there.
fn measure(dir: &Dir, id: u64) -> Result<Option<Tally>> {
    let measured = match walk::measure((dir, &name(id))) {
        Err(Errno::NOENT) => walk::measure((dir, &grave(id))),
        measured => measured,
    };
    match measured {
        Ok(found) => Ok(Some(found.tally())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("count what is in", &format!("item {id} of the trash"), errno)),
    }
}

/// Deletes what lies in a grave, where the last process was ended while it did. What stays is an item.
fn finish_burial(dir: &Dir, id: u64) -> Result<Option<Item>> {
    let name = grave(id);
    let unlink = |_: &Meta, (dir, name): At<'_>| disk::unlink(dir, name);
    let Err(error) = bury((dir, &name), unlink, &mut Removed::default()) else {
        return Ok(None);
    };
    tracing::warn!(%error, item = id, "stays in the trash and counts; it is tried again now and then");
    Ok(measure(dir, id)?.map(|tally| Item {
        doomed: true,
        stuck: true,
        is_told: true,
        ..Item::new(true, tally)
    }))
}

/// Takes note of a failure that the next opening of the home gets over.
fn tolerate(result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the trash is not quite in order");
    }
}

/// An item as it is found when the home is opened; `None` if it is none.
fn recover(dir: &Dir, id: u64, home: &Tree, clock: &HomeClock) -> Result<Option<Item>> {
    let (Some(meta), Some(tally)) = (stat(dir, id)?, measure(dir, id)?) else {
        return Ok(None);
    };
    let is_dir = meta.kind == Kind::Directory;
    let record = match record::read(dir, id)? {
        Found::Foreign(version) => {
            tracing::warn!(item = id, version, "item in the trash of another version left alone");
            return Ok(Some(Item {
                foreign: Some(version),
                ..Item::new(is_dir, tally)
            }));
        }
        Found::Record(record) => record,
        Found::Nothing => {
            // A power cut took the record, not the file.
            let record = Record::lost(id, clock.now());
            tolerate(record.save(dir, id).map(drop));
            record
        }
    };
    clock.at_least(record.at());
    if meta.links > 1 && stands_at(home, record.path(), &meta) {
        // A replacement that was ended between keeping the old version and publishing the new one.
        match remove(dir, &id.to_string()) {
            Ok(()) => {
                tolerate(record::delete(dir, id));
                return Ok(None);
            }
            failed => tolerate(failed),
        }
    }
    Ok(Some(Item {
        path_hash: path_hash(record.path()),
        at: record.at(),
        ..Item::new(is_dir, tally)
    }))
}

/// Whether the path still means this very file.
fn stands_at(home: &Tree, path: &FilePath, meta: &Meta) -> bool {
    let Ok(place) = home.place(path) else {
        return false;
    };
    disk::find_at(&place.dir, &place.name).is_ok_and(|found| found.is_some_and(|found| found.id == meta.id))
}

fn names(dir: &Dir) -> Result<Vec<String>> {
    let fail = |errno| Error::io("list", "the trash", errno);
    let mut all = Vec::new();
    for name in Names::of(dir).map_err(fail)? {
        // Whatever is not named by the store is not touched by it.
        all.extend(name.map_err(fail)?.into_string());
    }
    Ok(all)
}
