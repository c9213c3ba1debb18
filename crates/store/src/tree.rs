//! Finding things beneath a home, and nowhere else.
//!
//! The kernel follows no link on our behalf. A path without links is opened as it stands
//! (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`). A path with links is first spelled out
//! beneath the home by `cap-std`, checked like any other path (so a link into the reserved folder is
//! refused), and then opened without links. A link swapped in between the two only makes the second
//! step fail, so there is no moment at which a race can win.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::OFlags;
use rustix::io::{Errno, retry_on_intr};

use crate::disk::{self, At};
use crate::error::{Error, Result};
use crate::path::{FilePath, PathError};

/// How often a path whose links keep changing is looked at again.
const RESOLVE_ATTEMPTS: usize = 8;

/// The handle of a home, beneath which everything is found.
pub(crate) struct Tree {
    root: Dir,
}

/// A name in an open directory, which need not exist.
pub(crate) struct Place {
    pub(crate) dir: Arc<Dir>,
    pub(crate) name: OsString,
    /// How many names lead to it, where it really is.
    pub(crate) depth: usize,
}

impl Place {
    pub(crate) fn at(&self) -> At<'_> {
        (&self.dir, &self.name)
    }
}

/// An open directory and where it really is.
pub(crate) struct Folder {
    pub(crate) dir: Arc<Dir>,
    pub(crate) real: FilePath,
}

impl Folder {
    /// The place of `path`, which is in it.
    pub(crate) fn place(&self, path: &FilePath) -> Result<Place> {
        let name = path.file_name().ok_or(Error::HomeItself)?;
        let depth = if path.is_in(&self.real) {
            // No link on the way, and so nothing to judge that was not judged.
            path.depth()
        } else {
            match self.real.join(name) {
                Err(PathError::Reserved | PathError::OutsideHome) => {
                    return Err(Error::OutsideHome { path: path.clone() });
                }
                real => real?.depth(),
            }
        };
        Ok(Place {
            dir: Arc::clone(&self.dir),
            name: name.to_owned(),
            depth,
        })
    }
}

impl Tree {
    pub(crate) fn new(root: Dir) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Dir {
        &self.root
    }

    /// Opens a directory, through links that stay inside.
    pub(crate) fn folder(&self, path: &FilePath) -> Result<Folder> {
        let (fd, real) = self.open(path, disk::DIRECTORY)?;
        Ok(Folder {
            dir: Arc::new(Dir::from_std_file(File::from(fd))),
            real,
        })
    }

    /// Opens something for reading without ever blocking, through links that stay inside.
    pub(crate) fn file(&self, path: &FilePath) -> Result<File> {
        self.open(path, disk::READ).map(|(fd, _)| File::from(fd))
    }

    /// Opens the directory in which `path` is or would be.
    pub(crate) fn place(&self, path: &FilePath) -> Result<Place> {
        // The user asked for the child: what is missing or wrong is the parent on the way.
        let parent = path.parent().ok_or(Error::HomeItself)?;
        self.folder(&parent)?.place(path)
    }

    fn open(&self, path: &FilePath, flags: OFlags) -> Result<(OwnedFd, FilePath)> {
        let mut real = path.clone();
        for _ in 0..RESOLVE_ATTEMPTS {
            match disk::open_without_links(&self.root, real.relative(), flags) {
                Ok(fd) => return Ok((fd, real)),
                Err(Errno::LOOP) => real = self.spell_out(path)?,
                // A mount or a link that leads out.
                Err(Errno::XDEV) => return Err(Error::OutsideHome { path: path.clone() }),
                Err(errno) => return Err(Error::from_errno("open", path, errno)),
            }
        }
        Err(Error::OutsideHome { path: path.clone() })
    }

    /// The path without links, if it stays beneath the home and outside the reserved folder.
    fn spell_out(&self, path: &FilePath) -> Result<FilePath> {
        let spelled = match self.root.canonicalize(path.relative()) {
            Ok(spelled) => spelled,
            Err(error) => {
                return match Errno::from_io_error(&error) {
                    // `cap-std` reports an escape without a system error.
                    None | Some(Errno::XDEV) => Err(Error::OutsideHome { path: path.clone() }),
                    // What was a link is none any more: the path itself is looked at again.
                    Some(Errno::INVAL) => Ok(path.clone()),
                    Some(errno) => Err(Error::from_errno("resolve", path, errno)),
                };
            }
        };
        FilePath::from_relative(&spelled).map_err(|error| match error {
            PathError::Reserved | PathError::OutsideHome => Error::OutsideHome { path: path.clone() },
            error => error.into(),
        })
    }
}

/// Reads the names of a directory in the order of the file system, without `.` and `..`.
pub(crate) struct Names {
    dir: rustix::fs::Dir,
}

impl Names {
    /// Takes over a handle of its own: two readers of one handle would share a position.
    pub(crate) fn of(dir: &Dir) -> Result<Self, Errno> {
        retry_on_intr(|| rustix::fs::Dir::read_from(dir)).map(|dir| Self { dir })
    }
}

impl Iterator for Names {
    type Item = Result<OsString, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        use std::os::unix::ffi::OsStrExt as _;
        loop {
            let entry = match self.dir.read()? {
                Ok(entry) => entry,
                Err(errno) => return Some(Err(errno)),
            };
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                return Some(Ok(OsStr::from_bytes(name).to_owned()));
            }
        }
    }
}
