//! Looking into the trash, and taking things out of it.

use std::sync::Arc;

use std::time::Duration;

use rustix::io::Errno;

use super::namespace::refuse_too_deep;
use super::trash::{Restored, TrashItem, Wanted};
use super::{Entry, HomeState};
use crate::disk::{self, Kind};
use crate::error::{Error, Result};
use crate::path::FilePath;
use crate::quota::Tally;
use crate::trash::{self, Item, Record};
use crate::tree::{Place, Tree};
use crate::walk;

impl HomeState {
    /// The next page below an item, all items of the one above it being gone.
    pub(super) fn describe_below(&self, before: u64) -> Result<Vec<TrashItem>> {
        for (id, item) in self.trash().newest(before, usize::MAX, |_| true) {
            if let Some(item) = self.describe(id, &item, None)? {
                return Ok(vec![item]);
            }
        }
        Ok(Vec::new())
    }

    /// What users are shown of an item, or of what was at `path` inside it; `None` if that is not there.
    pub(super) fn describe(&self, id: u64, item: &Item, path: Option<&FilePath>) -> Result<Option<TrashItem>> {
        let Some(record) = self.trash().record(id)? else {
            return Ok(None);
        };
        let name = trash::name(id);
        let fail = |errno| Error::io("look at", &format!("item {id} of the trash"), errno);
        let (entry, tally) = match path.filter(|path| *path != record.path()) {
            None => {
                let Some(meta) = self.trash().stat(id)? else {
                    return Ok(None);
                };
                (Entry::read(self.trash().dir(), name, meta, true), item.tally)
            }
            Some(path) => {
                let Some(place) = self.place_in(id, item, &record, path)? else {
                    return Ok(None);
                };
                let Some(meta) = disk::find_at(&place.dir, &place.name).map_err(fail)? else {
                    return Ok(None);
                };
                let tally = match walk::measure(place.at()) {
                    // Deleted at this moment: nobody is kept from it who only looks.
                    Err(Errno::NOENT) => return Ok(None),
                    measured => measured.map_err(fail)?.tally(),
                };
                (Entry::read(&place.dir, place.name, meta, true), tally)
            }
        };
        let age = self.clock().now().saturating_sub(record.at());
        Ok(Some(TrashItem {
            id,
            path: path.unwrap_or_else(|| record.path()).clone(),
            reason: record.reason(),
            discarded: record.discarded(),
            expires_in: self
                .ledger()
                .trash_policy()
                .age
                .saturating_sub(Duration::from_secs(age)),
            kind: entry.kind,
            bytes: tally.bytes,
            entries: tally.entries,
            modified: entry.modified,
            digest: entry.digest,
        }))
    }

    /// Where something that was at `path` lies inside a removed directory, if that is where it was.
    fn place_in(&self, id: u64, item: &Item, record: &Record, path: &FilePath) -> Result<Option<Place>> {
        if !item.is_dir || path == record.path() || !path.starts_with(record.path()) {
            return Ok(None);
        }
        let mut inside = FilePath::root();
        for name in path.components().skip(record.path().depth()) {
            // A name that is reserved at the top cannot be told from it here.
            let Ok(next) = inside.join(name) else { return Ok(None) };
            inside = next;
        }
        let dir = match disk::open_dir(self.trash().dir(), &trash::name(id)) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::io("open", &format!("item {id} of the trash"), errno)),
        };
        match Tree::new(dir).place(&inside) {
            Ok(place) => Ok(Some(place)),
            Err(Error::NotFound { .. } | Error::NotDirectory { .. } | Error::OutsideHome { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn versions(&self, path: &FilePath, before: u64, limit: usize) -> Result<Vec<TrashItem>> {
        let hash = trash::path_hash(path);
        let mut versions = Vec::new();
        let candidates = self
            .trash()
            .newest(before, usize::MAX, |item| item.is_dir || item.path_hash == hash);
        for (id, item) in candidates {
            let Some(record) = self.trash().record(id)? else {
                continue;
            };
            if path.starts_with(record.path()) {
                versions.extend(self.describe(id, &item, Some(path))?);
            }
            if versions.len() >= limit {
                break;
            }
        }
        Ok(versions)
    }

    pub(super) fn restore(&self, wanted: &Wanted, to: Option<&FilePath>, replace: bool) -> Result<Restored> {
        let path = match wanted {
            Wanted::Item(id) => return self.restore_from(*id, None, to, replace),
            Wanted::Path(path, Some(id)) => return self.restore_from(*id, Some(path), to, replace),
            Wanted::Path(path, None) => path,
        };
        let mut before = u64::MAX;
        loop {
            let newest = self.versions(path, before, 1)?;
            let missing = || Error::NotInTrash { what: path.to_string() };
            let id = newest.first().ok_or_else(missing)?.id;
            match self.restore_from(id, Some(path), to, replace) {
                // It left the trash since it was found; an older one may be there.
                Err(Error::NotInTrash { .. }) => before = id,
                restored => return restored,
            }
        }
    }

    /// Restores an item, or what was at `path` inside it.
    fn restore_from(&self, id: u64, path: Option<&FilePath>, to: Option<&FilePath>, replace: bool) -> Result<Restored> {
        let missing = || Error::NotInTrash {
            what: match path {
                Some(path) => format!("{path} in item {id}"),
                None => format!("item {id}"),
            },
        };
        let record = self.trash().record(id)?.ok_or_else(missing)?;
        let from = path.unwrap_or(record.path());
        let to = to.unwrap_or(from);
        let item = self.trash().item(id).ok_or_else(missing)?;
        match self.tree().place(to) {
            Err(Error::NotFound { .. }) => {
                // A refusal leaves no directories behind that were made for it.
                let TrashItem { bytes, entries, .. } = self.describe(id, &item, path)?.ok_or_else(missing)?;
                let made = std::iter::successors(to.parent(), FilePath::parent)
                    .take_while(|above| matches!(self.tree().folder(above), Err(Error::NotFound { .. })))
                    .count() as u64;
                self.ledger()
                    .check_restore(Tally { bytes, entries }, entries.saturating_add(made))?;
                self.make_parents(to)?;
            }
            place => drop(place?),
        }

        let room = self.trash().lock_room();
        let names = self.lock_names();
        // Only now does nobody delete it or take a part of it: what was known of it before may be wrong.
        let item = self.trash().item(id).ok_or_else(missing)?;
        let is_whole = from == record.path();
        let source = if is_whole {
            Place {
                dir: Arc::new(
                    self.trash()
                        .dir()
                        .try_clone()
                        .map_err(|error| Error::io("open", "the trash", error))?,
                ),
                name: trash::name(id),
                depth: 0,
            }
        } else {
            self.place_in(id, &item, &record, from)?.ok_or_else(missing)?
        };
        let fail = |errno| Error::from_errno("restore", to, errno);
        let meta = disk::find_at(&source.dir, &source.name)
            .map_err(fail)?
            .ok_or_else(missing)?;
        let target = self.tree().place(to)?;
        let old = disk::find_at(&target.dir, &target.name).map_err(fail)?;
        match &old {
            Some(_) if !replace => return Err(Error::Exists { path: to.clone() }),
            Some(old) if old.kind == Kind::Directory => return Err(Error::IsDirectory { path: to.clone() }),
            Some(_) if meta.kind == Kind::Directory => return Err(Error::Exists { path: to.clone() }),
            // A second name of what stands there, which no rename would take away from the trash.
            Some(old) if !is_whole && old.id == meta.id => return Err(Error::Exists { path: to.clone() }),
            _ => {}
        }
        if is_whole && old.as_ref().is_some_and(|old| old.id == meta.id) {
            // A replacement that failed has left a second name of what stands there.
            let bytes = self.delete_item(id)?.bytes;
            return Ok(Restored {
                path: to.clone(),
                id,
                bytes,
                replaced: false,
            });
        }
        if meta.kind == Kind::Directory {
            refuse_too_deep((&source, from), &target)?;
        }
        let tally = if is_whole {
            item.tally
        } else {
            walk::measure(source.at()).map_err(fail)?.tally()
        };
        self.ledger().restore(tally, tally.entries - u64::from(old.is_some()))?;
        let moved = match &old {
            None => self
                .sources()
                .across(&[meta.id], || disk::rename_new(source.at(), target.at()))
                .map(|()| None),
            Some(old) => self.replace((&target, old, to), meta.id, || {
                disk::rename_over(source.at(), target.at())
            }),
        };
        let kept = moved.map_err(|errno| {
            self.ledger().discard_stored(tally);
            fail(errno)
        })?;
        if let Some(old) = &old {
            self.ledger().remove_stored(old.counted_bytes());
        }
        if is_whole {
            // Without its record it is found nowhere; a record that stays is deleted at the next opening.
            if let Err(error) = self.trash().forget(id) {
                tracing::warn!(%error, "record of a restored item stays in the trash");
            }
        } else {
            self.trash().shrink(id, tally);
        }
        drop(names);
        drop(room);
        self.sync_kept(kept.as_ref(), to)?;
        self.sync_names(&target.dir, to)?;
        // What was kept has synced the trash already, and after the rename.
        if !is_whole || kept.is_none() {
            self.sync_names(&source.dir, to)?;
        }
        self.make_room();
        Ok(Restored {
            path: to.clone(),
            id,
            bytes: tally.bytes,
            replaced: old.is_some(),
        })
    }
}
