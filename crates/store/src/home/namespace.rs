//! Making, renaming and removing names. Every change happens under the home's lock of names and is
//! counted before that is let go.

use std::ffi::OsStr;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::io::Errno;

use super::trash::{Disposal, KeptVersion};
use super::{Home, HomeState};
use crate::disk::{self, Kind, Meta};
use crate::error::{Error, Result};
use crate::path::{FilePath, MAX_COMPONENTS, PathError};
use crate::quota::Booking;
use crate::tree::{Names, Place};
use crate::walk::{self, Removed};

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
        let jobs = self.jobs();
        jobs.blocking(move || {
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
    pub async fn remove_file(&self, path: &FilePath, disposal: Disposal) -> Result<Removed> {
        let (state, path) = (Arc::clone(self.state()), path.clone());
        self.jobs().blocking(move || state.remove_file(&path, disposal)).await
    }

    /// Removes a directory; with `recursive` also what is in it, all of it in one step. Links in it are
    /// removed, not followed. An empty directory is not kept in the trash unless `recursive` is asked for.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NotEmpty`], [`Error::OutsideHome`],
    /// [`Error::HomeItself`], [`Error::Mount`].
    ///
    /// # Cancel safety
    ///
    /// Once begun it runs to its end.
    pub async fn remove_dir(&self, path: &FilePath, recursive: bool, disposal: Disposal) -> Result<Removed> {
        let (state, path) = (Arc::clone(self.state()), path.clone());
        let jobs = self.jobs();
        if recursive {
            return jobs.walking(move || state.discard_dir(&path, disposal)).await;
        }
        jobs.blocking(move || state.remove_empty_dir(&path)).await
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
        self.jobs().blocking(move || state.rename(&from, &to, replace)).await
    }
}

impl HomeState {
    /// Makes the missing directories on the way to `path`.
    pub(crate) fn make_parents(&self, path: &FilePath) -> Result<()> {
        path.parent().map_or(Ok(()), |parent| self.make_dirs(&parent))
    }

    pub(crate) fn make_dirs(&self, path: &FilePath) -> Result<()> {
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
        self.make_room();
        let place = {
            let _names = self.lock_names();
            let place = self.tree().place(path)?;
            disk::make_dir(&place.dir, &place.name).map_err(|errno| Error::from_errno("make", path, errno))?;
            booking.settle(None);
            place
        };
        self.sync_names(&place.dir, path)
    }

    fn remove_empty_dir(&self, path: &FilePath) -> Result<Removed> {
        let place = {
            let _names = self.lock_names();
            let place = self.tree().place(path)?;
            if stat(&place, path)?.kind != Kind::Directory {
                return Err(Error::NotDirectory { path: path.clone() });
            }
            disk::remove_dir(&place.dir, &place.name).map_err(|errno| Error::from_errno("remove", path, errno))?;
            self.ledger().remove_stored(0);
            place
        };
        self.sync_names(&place.dir, path)?;
        Ok(Removed {
            dirs: 1,
            ..Removed::default()
        })
    }

    fn rename(&self, from: &FilePath, to: &FilePath, replace: bool) -> Result<()> {
        if to.starts_with(from) && to != from {
            return Err(into_itself(from, to));
        }
        let (source, target, kept) = {
            let _names = self.lock_names();
            let source = self.tree().place(from)?;
            let moved = stat(&source, from)?;
            let target = self.tree().place(to)?;
            let old =
                disk::find_at(&target.dir, &target.name).map_err(|errno| Error::from_errno("look at", to, errno))?;
            if moved.kind == Kind::Directory {
                refuse_too_deep((&source, from), &target)?;
            }
            let kept = self.rename_at((&source, &moved, from), (&target, old, to), replace)?;
            (source, target, kept)
        };
        self.sync_kept(kept.as_ref(), to)?;
        // The new name first: a power cut between the two leaves both rather than none.
        self.sync_names(&target.dir, to)?;
        self.sync_names(&source.dir, from)?;
        self.make_room();
        Ok(())
    }

    /// Call with the lock of names held. Returns what was kept of a file that was replaced.
    fn rename_at(
        &self,
        (source, moved, from): (&Place, &Meta, &FilePath),
        (target, old, to): (&Place, Option<Meta>, &FilePath),
        replace: bool,
    ) -> Result<Option<KeptVersion>> {
        let path = || to.clone();
        let fail = |errno| match errno {
            Errno::INVAL => into_itself(from, to),
            errno => Error::from_errno("rename", from, errno),
        };
        let Some(old) = old else {
            return self
                .sources()
                .across(&[moved.id], || disk::rename_new(source.at(), target.at()))
                .map(|()| None)
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
            return self
                .rename_onto_itself((source, moved, from), (target, to))
                .map(|()| None);
        }
        let kept = self
            .replace((target, &old, to), moved.id, || {
                disk::rename_over(source.at(), target.at())
            })
            .map_err(fail)?;
        self.ledger().remove_stored(old.counted_bytes());
        Ok(kept)
    }

    /// Two names of one file: the kernel leaves both, a user means that the old one goes. One name that is only spelled
    /// in two ways, or seen through two mounts, is all there is of the file, and stays.
    fn rename_onto_itself(
        &self,
        (source, moved, from): (&Place, &Meta, &FilePath),
        (target, to): (&Place, &FilePath),
    ) -> Result<()> {
        let fail = |errno| Error::from_errno("rename", from, errno);
        let same_dir = disk::stat_fd(&source.dir).map_err(fail)?.id == disk::stat_fd(&target.dir).map_err(fail)?.id;
        if same_dir && source.name == target.name {
            return Ok(());
        }
        let are_two = moved.links > 1
            && disk::share_a_mount(&*source.dir, &*target.dir).map_err(fail)?
            && (!same_dir || are_names_in(&source.dir, [&source.name, &target.name]).map_err(fail)?);
        if !are_two {
            return Err(Error::Exists { path: to.clone() });
        }
        self.unlink(source, moved).map_err(fail)
    }
}

/// Whether both, which differ, stand in a directory in this very spelling.
fn are_names_in(dir: &Dir, wanted: [&OsStr; 2]) -> Result<bool, Errno> {
    let mut found = 0;
    for name in Names::of(dir)? {
        found += usize::from(wanted.contains(&name?.as_os_str()));
    }
    Ok(found == wanted.len())
}

/// Looks at what stands at a place.
pub(super) fn stat(place: &Place, path: &FilePath) -> Result<Meta> {
    disk::stat_at(&place.dir, &place.name).map_err(|errno| Error::from_errno("look at", path, errno))
}

/// Refuses to move a directory where what is in it would lie too deep.
pub(super) fn refuse_too_deep((source, from): (&Place, &FilePath), target: &Place) -> Result<()> {
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
