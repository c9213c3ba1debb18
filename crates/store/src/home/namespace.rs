//! Making, renaming and removing names. Every change happens under the home's lock of names and is
//! counted before that is let go.

use std::ffi::OsString;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::{Home, HomeState, walk};
use crate::blocking::blocking;
use crate::disk::{self, At, Kind, Meta};
use crate::error::{Error, Result};
use crate::path::{FilePath, MAX_COMPONENTS, PathError};
use crate::quota::Booking;
use crate::tree::{Names, Place};

/// What a removal has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files, links and whatever else is no directory.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Bytes of regular files.
    pub bytes: u64,
}

impl Home {
    /// Makes a directory; with `parents` also those on the way to it, and then one that exists is no
    /// error.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::NotFound`] (no parent), [`Error::NotDirectory`],
    /// [`Error::QuotaEntries`], [`Error::OutsideHome`].
    ///
    /// # Cancel safety
    ///
    /// Once begun it runs to its end.
    pub async fn make_dir(&self, path: &FilePath, parents: bool) -> Result<()> {
        let (state, path) = (Arc::clone(self.state()), path.clone());
        blocking(move || {
            if parents {
                return state.make_dirs(&path);
            }
            state.make_dir(&path)
        })
        .await
    }

    /// Removes a file, link, FIFO or socket; never a directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::IsDirectory`], [`Error::OutsideHome`], [`Error::HomeItself`].
    ///
    /// # Cancel safety
    ///
    /// Once begun it runs to its end.
    pub async fn remove_file(&self, path: &FilePath) -> Result<Removed> {
        let (state, path) = (Arc::clone(self.state()), path.clone());
        blocking(move || state.remove_file(&path)).await
    }

    /// Removes a directory; with `recursive` also what is in it. Links in it are removed, not
    /// followed.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NotEmpty`], [`Error::OutsideHome`],
    /// [`Error::HomeItself`]. What was removed before the error stays removed.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the removal after the name at hand; what is removed stays removed, and the
    /// counts are exact.
    pub async fn remove_dir(&self, path: &FilePath, recursive: bool) -> Result<Removed> {
        let (state, path) = (Arc::clone(self.state()), path.clone());
        let dropped = CancellationToken::new();
        let _on_drop = dropped.clone().drop_guard();
        blocking(move || state.remove_dir(&path, recursive, &dropped)).await
    }

    /// Renames a file, link or directory, in one step. With `replace` it may take the place of a
    /// file; of a directory never.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Exists`], [`Error::IsDirectory`] (the target),
    /// [`Error::IntoItself`], [`Error::OutsideHome`], [`Error::HomeItself`], [`PathError::TooDeep`]
    /// for a directory with something in it that would have no path any more.
    ///
    /// # Cancel safety
    ///
    /// Once begun it runs to its end.
    pub async fn rename(&self, from: &FilePath, to: &FilePath, replace: bool) -> Result<()> {
        let (state, from, to) = (Arc::clone(self.state()), from.clone(), to.clone());
        blocking(move || state.rename(&from, &to, replace)).await
    }
}

impl HomeState {
    /// Makes the missing directories on the way to `path`.
    pub(crate) fn make_parents(&self, path: &FilePath) -> Result<()> {
        path.parent().map_or(Ok(()), |parent| self.make_dirs(&parent))
    }

    fn make_dirs(&self, path: &FilePath) -> Result<()> {
        // From below: what exists is seldom missing at the top.
        let mut missing = Vec::new();
        let mut next = Some(path.clone());
        while let Some(path) = next {
            match self.tree().folder(&path) {
                Ok(_) => break,
                Err(Error::NotFound { .. }) => next = path.parent(),
                Err(error) => return Err(error),
            }
            missing.push(path);
        }
        for path in missing.iter().rev() {
            match self.make_dir(path) {
                // Somebody else was faster, or a link leads nowhere.
                Err(Error::Exists { .. }) => drop(self.tree().folder(path)?),
                made => made?,
            }
        }
        Ok(())
    }

    fn make_dir(&self, path: &FilePath) -> Result<()> {
        if path.is_root() {
            return Err(Error::Exists { path: path.clone() });
        }
        let mut booking = Booking::directory(self.ledger())?;
        let place = {
            let _names = self.lock_names();
            let place = self.tree().place(path)?;
            disk::make_dir(&place.dir, &place.name).map_err(|errno| Error::from_errno("make", path, errno))?;
            booking.settle(None);
            place
        };
        self.sync_names(&place.dir, path)
    }

    fn remove_file(&self, path: &FilePath) -> Result<Removed> {
        let mut removed = Removed::default();
        let place = {
            let _names = self.lock_names();
            let place = self.tree().place(path)?;
            let meta = stat(&place, path)?;
            if meta.kind == Kind::Directory {
                return Err(Error::IsDirectory { path: path.clone() });
            }
            self.unlink(&place, &meta, path, &mut removed)?;
            place
        };
        self.sync_names(&place.dir, path)?;
        Ok(removed)
    }

    /// Stops between two names once `dropped` is cancelled: nobody reads the result then.
    fn remove_dir(&self, path: &FilePath, recursive: bool, dropped: &CancellationToken) -> Result<Removed> {
        let place = self.tree().place(path)?;
        if stat(&place, path)?.kind != Kind::Directory {
            return Err(Error::NotDirectory { path: path.clone() });
        }
        let mut removed = Removed::default();
        if recursive {
            self.empty_dir(&place, path, &mut removed, dropped)?;
        }
        self.unlink_dir(place.at(), path, &mut removed, dropped)?;
        if !dropped.is_cancelled() {
            self.sync_names(&place.dir, path)?;
        }
        Ok(removed)
    }

    /// Removes everything in a directory, depth first. The lock of names is taken for each name
    /// alone, so that a large tree does not hold up the user's other sessions.
    fn empty_dir(
        &self,
        top: &Place,
        path: &FilePath,
        removed: &mut Removed,
        dropped: &CancellationToken,
    ) -> Result<()> {
        let fail = |errno| Error::from_errno("remove what is in", path, errno);
        let open = |parent: &Dir, name: OsString| {
            let dir = disk::open_dir(parent, &name).map_err(fail)?;
            let names = Names::of(&dir).map_err(fail)?;
            Ok::<_, Error>((dir, name, names))
        };
        let mut levels = vec![open(&top.dir, top.name.clone())?];
        while let Some((level, _, names)) = levels.last_mut() {
            let Some(name) = names.next() else {
                let emptied = levels.pop().map(|(_, name, _)| name);
                if let (Some((parent, ..)), Some(name)) = (levels.last(), emptied) {
                    self.unlink_dir((parent, &name), path, removed, dropped)?;
                }
                continue;
            };
            let name = name.map_err(fail)?;
            let names_lock = self.lock_names();
            if dropped.is_cancelled() {
                return Ok(());
            }
            let Some(meta) = disk::find_at(&*level, &name).map_err(fail)? else {
                continue;
            };
            if meta.kind == Kind::Directory {
                drop(names_lock);
                let next = open(level, name)?;
                levels.push(next);
            } else {
                self.unlink_at((level, &name), &meta, removed).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &FilePath, to: &FilePath, replace: bool) -> Result<()> {
        if to.starts_with(from) && to != from {
            return Err(into_itself(from, to));
        }
        let (source, target) = {
            let _names = self.lock_names();
            let source = self.tree().place(from)?;
            let moved = stat(&source, from)?;
            let target = self.tree().place(to)?;
            let old =
                disk::find_at(&target.dir, &target.name).map_err(|errno| Error::from_errno("look at", to, errno))?;
            if moved.kind == Kind::Directory {
                refuse_too_deep((&source, from), &target)?;
            }
            self.rename_at((&source, &moved, from), (&target, old, to), replace)?;
            (source, target)
        };
        // The new name first: a power cut between the two leaves both rather than none.
        self.sync_names(&target.dir, to)?;
        self.sync_names(&source.dir, from)
    }

    /// Call with the lock of names held.
    fn rename_at(
        &self,
        (source, moved, from): (&Place, &Meta, &FilePath),
        (target, old, to): (&Place, Option<Meta>, &FilePath),
        replace: bool,
    ) -> Result<()> {
        let path = || to.clone();
        let fail = |errno| match errno {
            Errno::INVAL => into_itself(from, to),
            errno => Error::from_errno("rename", from, errno),
        };
        let Some(old) = old else {
            return self
                .sources()
                .across(&[moved.id], || disk::rename_new(source.at(), target.at()))
                .map_err(|errno| match errno {
                    Errno::EXIST => Error::Exists { path: path() },
                    errno => fail(errno),
                });
        };
        if !replace {
            return Err(Error::Exists { path: path() });
        }
        if old.kind == Kind::Directory {
            return Err(Error::IsDirectory { path: path() });
        }
        if moved.kind == Kind::Directory {
            return Err(Error::NotDirectory { path: path() });
        }
        if old.id == moved.id {
            return self.rename_onto_itself(source, moved, from, target);
        }
        self.sources()
            .across(&[moved.id, old.id], || disk::rename_over(source.at(), target.at()))
            .map_err(fail)?;
        self.ledger().remove_stored(old.counted_bytes());
        Ok(())
    }

    /// Two names of one file: the kernel leaves both, a user means that the old one goes.
    fn rename_onto_itself(&self, source: &Place, moved: &Meta, from: &FilePath, target: &Place) -> Result<()> {
        let same_dir =
            disk::stat_fd(&source.dir).ok().map(|meta| meta.id) == disk::stat_fd(&target.dir).ok().map(|meta| meta.id);
        if same_dir && source.name == target.name {
            return Ok(());
        }
        self.unlink(source, moved, from, &mut Removed::default())
    }

    /// Call with the lock of names held.
    fn unlink(&self, place: &Place, meta: &Meta, path: &FilePath, removed: &mut Removed) -> Result<()> {
        self.unlink_at(place.at(), meta, removed)
            .map_err(|errno| Error::from_errno("remove", path, errno))
    }

    fn unlink_at(&self, (dir, name): At<'_>, meta: &Meta, removed: &mut Removed) -> Result<(), Errno> {
        self.sources().across(&[meta.id], || disk::unlink(dir, name))?;
        self.ledger().remove_stored(meta.counted_bytes());
        removed.files += 1;
        removed.bytes += meta.counted_bytes();
        Ok(())
    }

    fn unlink_dir(
        &self,
        (dir, name): At<'_>,
        path: &FilePath,
        removed: &mut Removed,
        dropped: &CancellationToken,
    ) -> Result<()> {
        let _names = self.lock_names();
        if dropped.is_cancelled() {
            return Ok(());
        }
        disk::remove_dir(dir, name).map_err(|errno| Error::from_errno("remove", path, errno))?;
        self.ledger().remove_stored(0);
        removed.dirs += 1;
        Ok(())
    }
}

fn stat(place: &Place, path: &FilePath) -> Result<Meta> {
    disk::stat_at(&place.dir, &place.name).map_err(|errno| Error::from_errno("look at", path, errno))
}

/// Refuses to move a directory where what is in it would lie too deep.
fn refuse_too_deep((source, from): (&Place, &FilePath), target: &Place) -> Result<()> {
    // A move up or sideways makes nothing deeper, and is spared the walk.
    if target.depth > source.depth
        && walk::is_deeper_than(MAX_COMPONENTS - target.depth, source.at())
            .map_err(|errno| Error::from_errno("look into", from, errno))?
    {
        return Err(PathError::TooDeep.into());
    }
    Ok(())
}

fn into_itself(from: &FilePath, to: &FilePath) -> Error {
    Error::IntoItself {
        from: from.clone(),
        to: to.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use crate::{Quota, Store, StoreOptions};

    use super::*;

    #[tokio::test]
    async fn dropped_removal_stops() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("dir/sub")).unwrap();
        std::fs::write(temp.path().join("dir/file"), "abc").unwrap();
        let store = Store::new(StoreOptions::default());
        let home = store.open_home(temp.path(), Quota::default()).await.unwrap();
        let at_rest = Arc::strong_count(home.state());
        let dir = FilePath::root().join("dir".as_ref()).unwrap();
        let names = home.state().lock_names();
        {
            let mut removal = pin!(home.remove_dir(&dir, true));
            let polled = removal.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
        }
        drop(names);
        while Arc::strong_count(home.state()) > at_rest {
            tokio::task::yield_now().await;
        }
        assert_eq!(std::fs::read_dir(temp.path().join("dir")).unwrap().count(), 2);
        assert_eq!(home.usage().await.unwrap().entries, 3);
    }
}
