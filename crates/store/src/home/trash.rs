//! Removing and replacing so that it can be undone, and undoing it.
//!
//! A removal is one rename into the trash, of a file or of a directory with all that is in it. A file
//! that is replaced gets a second name there first; then the rename that replaces it takes the first
//! one. So at every moment, whatever fails, each file is under its name, in the trash, or both.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use ftp_digest::Digest;
use rustix::io::Errno;

use super::namespace::stat;
use super::{Home, HomeState};
use crate::disk::{self, At, FileId, Kind, Meta};
use crate::error::{Error, Result};
use crate::path::FilePath;
use crate::quota::Tally;
use crate::time::Timestamp;
use crate::trash::{self, Reason, Record};
use crate::tree::Place;
use crate::walk::{self, Removed};

/// The longest page of a listing of the trash.
const PAGE_ITEMS: usize = 256;

/// What becomes of something that is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disposal {
    /// It goes to the trash if that keeps anything and it is not larger than all of it.
    #[default]
    Trash,
    /// It is gone for good, and its room free at once.
    Forever,
}

/// Something in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashItem {
    /// Its number. A higher one came later.
    pub id: u64,
    /// Where it was. For a version found inside a removed directory, where that file was.
    pub path: FilePath,
    /// Why it is in the trash.
    pub reason: Reason,
    /// When it came, by the clock of the machine at that time.
    pub discarded: Timestamp,
    /// For how long it is kept at the most, counting time in which the home is open.
    pub expires_in: Duration,
    /// What it is.
    pub kind: Kind,
    /// Bytes of its regular files.
    pub bytes: u64,
    /// How many names it has: 1, or for a directory with all that is in it.
    pub entries: u64,
    /// When its content last changed.
    pub modified: Timestamp,
    /// The digest kept with a file, if it is still true.
    pub digest: Option<Digest>,
}

/// What is to be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This item.
    Item(u64),
    /// What was under this path: the newest of it, or that of an item.
    Path(FilePath, Option<u64>),
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where it is now.
    pub path: FilePath,
    /// The item it came from.
    pub id: u64,
    /// Bytes of its regular files.
    pub bytes: u64,
    /// Whether it took the place of a file, which is in the trash now.
    pub replaced: bool,
}

/// The handles by which a name in the trash becomes durable.
pub(crate) struct KeptVersion {
    record: File,
    trash: Dir,
}

impl KeptVersion {
    pub(crate) fn record(&self) -> &File {
        &self.record
    }

    pub(crate) fn trash(&self) -> &Dir {
        &self.trash
    }
}

impl Home {
    /// A page of what is in the trash, the newest first: items with lower numbers than `before`, at most
    /// 256. An empty page is the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn trash(&self, before: Option<u64>) -> Result<Vec<TrashItem>> {
        let state = Arc::clone(self.state());
        let jobs = self.jobs();
        jobs.blocking(move || {
            let items = state.trash().newest(before.unwrap_or(u64::MAX), PAGE_ITEMS, |_| true);
            let mut page = Vec::with_capacity(items.len());
            for (id, item) in &items {
                page.extend(state.describe(*id, item, None)?);
            }
            // Whatever left the trash meanwhile must not end the listing.
            match items.last() {
                Some((last, _)) if page.is_empty() => state.describe_below(*last),
                _ => Ok(page),
            }
        })
        .await
    }

    /// A page of the versions of a path that are in the trash, the newest first, also those inside removed
    /// directories: of items with lower numbers than `before`, at most 256. An empty page is the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn versions(&self, path: &FilePath, before: Option<u64>) -> Result<Vec<TrashItem>> {
        let (state, path) = (Arc::clone(self.state()), path.clone());
        let looking = move || state.versions(&path, before.unwrap_or(u64::MAX), PAGE_ITEMS);
        self.jobs().walking(looking).await
    }

    /// Puts something from the trash back, where it was or to `to`, making missing parents. With `replace`
    /// it may take the place of a file, which goes to the trash; of a directory never.
    ///
    /// # Errors
    ///
    /// [`Error::NotInTrash`], [`Error::Exists`], [`Error::IsDirectory`], [`Error::QuotaBytes`],
    /// [`Error::QuotaEntries`], [`Error::OutsideHome`], [`Error::TrashVersion`].
    ///
    /// # Cancel safety
    ///
    /// Once begun it runs to its end.
    pub async fn restore(&self, wanted: &Wanted, to: Option<&FilePath>, replace: bool) -> Result<Restored> {
        let (state, wanted, to) = (Arc::clone(self.state()), wanted.clone(), to.cloned());
        let restoring = move || state.restore(&wanted, to.as_ref(), replace);
        self.jobs().walking(restoring).await
    }

    /// Deletes items of the trash for good; all of them without `ids`. Returns what is gone. Numbers that
    /// are not in the trash are passed over.
    ///
    /// # Errors
    ///
    /// [`Error::TrashVersion`] if one of `ids` was kept by another version, before anything is deleted;
    /// [`Error::Io`] and [`Error::ReadOnly`], the first one: everything else is deleted nevertheless.
    ///
    /// # Cancel safety
    ///
    /// Once begun it runs to its end.
    pub async fn purge(&self, ids: Option<Vec<u64>>) -> Result<Removed> {
        let state = Arc::clone(self.state());
        let jobs = self.jobs();
        jobs.blocking(move || {
            let (mut gone, mut failed) = (Removed::default(), None);
            let ids = ids.unwrap_or_else(|| {
                let all = state.trash().newest(u64::MAX, usize::MAX, |_| true);
                all.into_iter().map(|(id, _)| id).collect()
            });
            ids.iter().try_for_each(|id| state.trash().refuse_foreign(*id))?;
            for id in ids {
                // Anew for each: whoever restores something does not wait for all of it.
                let _room = state.trash().lock_room();
                let Some(item) = state.trash().item(id) else { continue };
                let tally = match state.delete_item(id) {
                    Ok(tally) => tally,
                    Err(error) => {
                        failed.get_or_insert(error);
                        continue;
                    }
                };
                gone.bytes += tally.bytes;
                gone.dirs += u64::from(item.is_dir && tally.entries > 0);
                gone.files += tally.entries.saturating_sub(u64::from(item.is_dir));
            }
            // What is deleted for good does not come back with a power cut.
            state.sync_names(state.trash().dir(), &FilePath::root())?;
            failed.map_or(Ok(gone), Err)
        })
        .await
    }
}

impl HomeState {
    /// Removes a file, link, FIFO or socket.
    pub(super) fn remove_file(&self, path: &FilePath, disposal: Disposal) -> Result<Removed> {
        let mut removed = Removed::default();
        let fail = |errno| Error::from_errno("remove", path, errno);
        let (place, kept) = {
            let _names = self.lock_names();
            let place = self.tree().place(path)?;
            let meta = stat(&place, path)?;
            if meta.kind == Kind::Directory {
                return Err(Error::IsDirectory { path: path.clone() });
            }
            let kept = match disposal {
                Disposal::Trash => self.discard(&place, &meta, path).map_err(fail)?,
                Disposal::Forever => None,
            };
            if kept.is_none() {
                self.unlink(&place, &meta).map_err(fail)?;
            }
            removed.count(&meta);
            (place, kept)
        };
        self.sync_kept(kept.as_ref(), path)?;
        self.sync_names(&place.dir, path)?;
        self.make_room();
        Ok(removed)
    }

    /// Deletes the name of something that is no directory. Call with the lock of names held.
    pub(super) fn unlink(&self, place: &Place, meta: &Meta) -> Result<(), Errno> {
        self.sources()
            .across(&[meta.id], || disk::unlink(&place.dir, &place.name))?;
        self.ledger().remove_stored(meta.counted_bytes());
        Ok(())
    }

    /// Moves a file to the trash. `None` if it is not kept there: too large, or the file system cannot.
    /// Call with the lock of names held.
    fn discard(&self, place: &Place, meta: &Meta, path: &FilePath) -> Result<Option<KeptVersion>, Errno> {
        let Some((id, record, kept)) = self.announce(path, Reason::Removed, meta.counted_bytes())? else {
            return Ok(None);
        };
        let name = trash::name(id);
        let moved = self
            .sources()
            .across(&[meta.id], || disk::rename_new(place.at(), (self.trash().dir(), &name)));
        match moved {
            Ok(()) => {
                self.ledger().discard_stored(tally_of(meta));
                self.trash().insert(id, &record, false, tally_of(meta));
                Ok(Some(kept))
            }
            Err(errno) => {
                self.trash().retract(id);
                // A sandbox that lets nobody make links and FIFOs lets nobody move them.
                let is_walled = meta.kind != Kind::File && matches!(errno, Errno::ACCESS | Errno::PERM);
                if errno == Errno::XDEV || is_walled {
                    Ok(None)
                } else {
                    Err(errno)
                }
            }
        }
    }

    /// Writes the record of something of so many bytes that is about to come into the trash, if it is kept.
    fn announce(
        &self,
        path: &FilePath,
        reason: Reason,
        bytes: u64,
    ) -> Result<Option<(u64, Record, KeptVersion)>, Errno> {
        let policy = self.ledger().trash_policy();
        if policy.bytes == 0 || bytes > policy.bytes {
            return Ok(None);
        }
        let trash = self.trash().dir().try_clone();
        let trash = trash.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let record = Record::new(path, reason, self.clock().now());
        match self.trash().announce(&record, &self.reserved) {
            Ok((id, file)) => Ok(Some((id, record, KeptVersion { record: file, trash }))),
            Err(error) => match error.errno() {
                // Whoever removes files from a full disk must not be refused for want of room.
                Some(Errno::NOSPC | Errno::DQUOT) => {
                    tracing::warn!(%error, %path, "not kept in the trash");
                    Ok(None)
                }
                // What else fails is no reason to delete for good what was to be kept.
                errno => Err(errno.unwrap_or(Errno::IO)),
            },
        }
    }

    /// Runs `rename`, which puts something else (the file `other`) where `old` stands, and keeps the old
    /// version in the trash if that keeps anything. Its bytes are counted there; the caller takes them
    /// out of what is stored. Call with the lock of names held.
    pub(crate) fn replace(
        &self,
        (place, old, path): (&Place, &Meta, &FilePath),
        other: FileId,
        rename: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<Option<KeptVersion>, Errno> {
        let ids = [old.id, other];
        let announced = self.announce(path, Reason::Replaced, old.counted_bytes())?;
        let Some((id, record, kept)) = announced else {
            return self.sources().across(&ids, rename).map(|()| None);
        };
        let name = trash::name(id);
        let at = (self.trash().dir(), name.as_os_str());
        let (linked, renamed) = self.sources().across(&ids, || {
            let linked = disk::link(place.at(), at);
            let renamed = rename();
            let stays = linked.is_ok() && renamed.is_err() && disk::unlink(at.0, at.1).is_err();
            if stays {
                // A second name of what stands there: it counts until it leaves the trash.
                self.ledger().add_trash(tally_of(old));
                self.trash().insert(id, &record, false, tally_of(old));
            }
            (linked, renamed)
        });
        if let Err(errno) = renamed
            && self.trash().item(id).is_some()
        {
            return Err(errno);
        }
        match (&renamed, linked) {
            (Ok(()), Ok(())) => {
                self.ledger().add_trash(tally_of(old));
                self.trash().insert(id, &record, false, tally_of(old));
                return Ok(Some(kept));
            }
            (_, Err(errno)) => tracing::warn!(%errno, %path, "older version not kept in the trash"),
            (Err(_), Ok(())) => {}
        }
        self.trash().retract(id);
        renamed.map(|()| None)
    }

    /// Removes a directory and everything in it: counted first, so that nothing can fail once it is gone, then
    /// taken away by one rename.
    pub(super) fn discard_dir(&self, path: &FilePath, disposal: Disposal) -> Result<Removed> {
        let keeps = disposal == Disposal::Trash;
        let fail = |errno| Error::from_errno("remove", path, errno);
        let measured = self.measure_aside(path);
        let (place, removed, kept, doomed) = {
            let _names = self.lock_names();
            let place = self.tree().place(path)?;
            let meta = stat(&place, path)?;
            if meta.kind != Kind::Directory {
                return Err(Error::NotDirectory { path: path.clone() });
            }
            let removed = match measured {
                // It is the same one, and nobody has changed a name since.
                Some((removed, id, locked)) if id == meta.id && locked + 1 == self.times_names_were_locked() => removed,
                _ => walk::measure_without_mounts(place.at()).map_err(fail)?,
            };
            let announced = if keeps {
                self.announce(path, Reason::Removed, removed.bytes).map_err(fail)?
            } else {
                None
            };
            let (id, name) = match &announced {
                Some((id, ..)) => (*id, trash::name(*id)),
                None => self.trash().grave(&self.reserved),
            };
            disk::rename_new(place.at(), (self.trash().dir(), &name)).map_err(|errno| {
                if announced.is_some() {
                    self.trash().retract(id);
                }
                fail(errno)
            })?;
            self.ledger().discard_stored(removed.tally());
            let kept = announced.map(|(_, record, kept)| {
                self.trash().insert(id, &record, true, removed.tally());
                kept
            });
            if kept.is_none() {
                self.trash().insert_doomed(id, removed.tally());
            }
            let doomed = kept.is_none().then_some(id);
            (place, removed, kept, doomed)
        };
        let deleted = doomed.map_or(Ok(()), |id| {
            // A recount finds it in the trash and in its count, or in neither.
            let _room = self.trash().lock_room();
            self.delete_item(id).map(drop)
        });
        self.sync_kept(kept.as_ref(), path)?;
        self.sync_names(&place.dir, path)?;
        self.make_room();
        deleted.map(|()| removed)
    }

    /// Counts a directory before the lock of names is taken, so that nobody else of the home waits for a large
    /// one, with which it is and how often that was locked by then. `None` for whatever is judged under the lock.
    fn measure_aside(&self, path: &FilePath) -> Option<(Removed, FileId, u64)> {
        let (place, locked) = {
            // Whoever holds the lock has been counted already, and may change names yet.
            let _names = self.lock_names();
            (self.tree().place(path).ok()?, self.times_names_were_locked())
        };
        let meta = disk::stat_at(&place.dir, &place.name).ok()?;
        let removed = walk::measure_without_mounts(place.at()).ok()?;
        Some((removed, meta.id, locked))
    }

    fn unlink_at(&self, meta: &Meta, (dir, name): At<'_>) -> Result<(), Errno> {
        self.sources().across(&[meta.id], || disk::unlink(dir, name))
    }

    pub(super) fn delete_item(&self, id: u64) -> Result<Tally> {
        let (gone, result) = self.trash().delete(id, |meta, at| self.unlink_at(meta, at));
        self.ledger().remove_trash(gone);
        result.map(|()| gone)
    }

    /// Makes durable what came into the trash, if that is asked for.
    pub(super) fn sync_kept(&self, kept: Option<&KeptVersion>, path: &FilePath) -> Result<()> {
        let Some(kept) = kept.filter(|_| self.is_durable()) else {
            return Ok(());
        };
        disk::sync(&kept.record)
            .and_then(|()| disk::sync(&kept.trash))
            .map_err(|errno| Error::from_errno("make durable in the trash", path, errno))
    }
}

fn tally_of(meta: &Meta) -> Tally {
    Tally {
        bytes: meta.counted_bytes(),
        entries: 1,
    }
}
