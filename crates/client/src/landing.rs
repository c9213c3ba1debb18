//! Small files on their way to the local disk: written many at a time, on a thread of its own, which also proves those
//! that were too long to be proven where they arrived.
//!
//! A file whose name is free is written without one and linked when it is whole: nothing is left behind
//! by a crash, and no other download can meet it half-way. Where that is not possible (the name is taken,
//! or the file system can not do it) it goes by way of a partial file, as large ones do.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use ftp_digest::{Algorithm, Hasher};
use ftp_proto::{Kind, Timestamp};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::download::Received;
use crate::partial::{Durable, Partial, Published, part_path, set_mtime};
use crate::{Error, GetItem};

/// Files up to this size are proven where they arrive, with their bytes still in the cache, for the threads that write
/// have more to do. To hash longer ones would keep the connection waiting.
const PROVEN_AT_ONCE_BYTES: usize = 32 * 1024;

/// A small file as it arrived.
pub(crate) struct Arrived {
    pub(crate) index: usize,
    pub(crate) item: Arc<GetItem>,
    pub(crate) bytes: BytesMut,
    /// With the digest that the server promised.
    pub(crate) received: Received,
    pub(crate) replace: bool,
    /// Whether the name was found to be free.
    pub(crate) is_free: bool,
    /// Whether the bytes are known to be those of the digest.
    pub(crate) is_proven: bool,
}

impl Arrived {
    /// Proves it if it is short.
    pub(crate) fn prove_if_short(mut self, algorithm: Algorithm) -> Self {
        self.is_proven = self.bytes.len() <= PROVEN_AT_ONCE_BYTES && self.is_intact(algorithm);
        self
    }

    fn is_intact(&self, algorithm: Algorithm) -> bool {
        Hasher::digest(algorithm, &self.bytes) == self.received.digest
    }
}

/// What became of it.
pub(crate) struct Landed {
    pub(crate) index: usize,
    pub(crate) received: Received,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    /// It has its name.
    Stored(Published),
    /// Its bytes are not those that were promised.
    Damaged,
    Failed(Box<Error>),
}

/// The directory of the last file, and its file system (`st_dev`): files of one directory come in a row.
type Folder = Option<(PathBuf, OwnedFd, u64)>;

/// Writes what arrived and is proven, or proves to be right here, in order. Blocks.
pub(crate) fn land(arrived: Vec<Arrived>, algorithm: Algorithm, parents: bool) -> Vec<Landed> {
    let mut folder: Folder = None;
    let land = |file: Arrived| {
        let outcome = if file.is_proven || file.is_intact(algorithm) {
            match write(&file, parents, &mut folder) {
                Ok(published) => Outcome::Stored(published),
                Err(error) => Outcome::Failed(Box::new(error)),
            }
        } else {
            Outcome::Damaged
        };
        Landed {
            index: file.index,
            received: file.received,
            outcome,
        }
    };
    arrived.into_iter().map(land).collect()
}

fn write(file: &Arrived, parents: bool, folder: &mut Folder) -> Result<Published, Error> {
    let item = &file.item;
    let parent = match item.local.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if folder.as_ref().is_none_or(|(path, ..)| path != parent) {
        refuse_links(&item.local, item.within.as_deref(), item.kind)?;
        if parents {
            make_directory(parent, true)?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        *folder = rustix::fs::open(parent, flags, Mode::empty())
            .and_then(|opened| {
                let device = rustix::fs::fstat(&opened)?.st_dev;
                Ok((parent.to_path_buf(), opened, device))
            })
            .ok();
    }
    if file.is_free
        && let (Some((_, folder, device)), Some(name)) = (&folder, item.local.file_name())
        && write_nameless(folder, name, &file.bytes, file.received.mtime)
    {
        return Ok(Published {
            replaced: false,
            device: *device,
        });
    }
    // By its path, and so with a look at the links on the way.
    refuse_links(&item.local, item.within.as_deref(), item.kind)?;
    write_small(&item.local, &file.bytes, file.received.mtime, file.replace)
}

/// Writes a file without a name and links it to its own. Whether that was possible: where it was not,
/// nothing has happened, and whoever tries otherwise learns why.
fn write_nameless(folder: &OwnedFd, name: &OsStr, bytes: &[u8], mtime: Timestamp) -> bool {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(folder, c".", flags, Mode::from_raw_mode(0o666)) else {
        return false;
    };
    let mut file = File::from(file);
    if file.write_all(bytes).is_err() || set_mtime(&file, mtime).is_err() {
        return false;
    }
    let linked = match rustix::fs::linkat(&file, c"", folder, name, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 that takes a privilege (`CAP_DAC_READ_SEARCH`).
        Err(Errno::NOENT) => link_by_way_of_proc(&file, folder, name),
        linked => linked,
    };
    linked.is_ok()
}

/// Gives an open file a name, whatever privileges there are; it has to look for the file first.
fn link_by_way_of_proc(file: &File, folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(rustix::fs::CWD, open, folder, name, AtFlags::SYMLINK_FOLLOW)
}

/// Writes a small file beside its target and gives it the name.
fn write_small(target: &Path, bytes: &[u8], mtime: Timestamp, replace: bool) -> Result<Published, Error> {
    let partial = Partial::open(target)?;
    let published = partial
        .cut(0)
        .and_then(|()| partial.write_at(0, bytes))
        .and_then(|()| partial.publish(mtime, replace, Durable::Nothing));
    if published.is_err() {
        // It is fetched again as a whole, if at all.
        let _ = partial.discard();
    }
    published
}

/// Makes directories, in order; which of them were not there before comes back with the outcome. Blocks.
pub(crate) fn make_directories(items: Vec<(usize, Arc<GetItem>)>, parents: bool) -> Vec<(usize, Result<bool, Error>)> {
    let make = |item: &GetItem| {
        refuse_links(&item.local, item.within.as_deref(), Kind::Dir)?;
        match rustix::fs::mkdir(&item.local, Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) if item.local.is_dir() => Ok(false),
            Err(Errno::NOENT) if parents => make_directory(&item.local, true).map(|()| false),
            Err(errno) => Err(Error::local("cannot make", &item.local)(errno.into())),
        }
    };
    items.into_iter().map(|(index, item)| (index, make(&item))).collect()
}

/// What stands in the way of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// Something has its name.
    Target,
    /// Only a partial file.
    Partial,
}

/// Looks at the targets of files. Blocks.
pub(crate) fn look(items: Vec<(usize, Arc<GetItem>)>) -> Vec<(usize, Found)> {
    let is_missing =
        |path: &Path| std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    let found = |target: &Path| {
        if !is_missing(target) {
            Found::Target
        } else if is_missing(&part_path(target)) {
            Found::Nothing
        } else {
            Found::Partial
        }
    };
    items
        .into_iter()
        .map(|(index, item)| (index, found(&item.local)))
        .collect()
}

/// Refuses a target that is reached through a symbolic link beneath the directory that the user named: that
/// one may be a link, but no link in it decides where a tree goes. Blocks.
pub(crate) fn refuse_links(target: &Path, within: Option<&Path>, kind: Kind) -> Result<(), Error> {
    let Some(within) = within else {
        return Ok(());
    };
    // A link in the place of a file is replaced, never followed; in the place of a directory it would be.
    let first = if kind == Kind::Dir {
        Some(target)
    } else {
        target.parent()
    };
    let mut next = first;
    while let Some(path) = next.filter(|path| *path != within && path.starts_with(within)) {
        if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(Error::LocalLink(path.to_path_buf()));
        }
        next = path.parent();
    }
    Ok(())
}

pub(crate) fn make_directory(path: &Path, parents: bool) -> Result<(), Error> {
    let made = if parents {
        std::fs::create_dir_all(path)
    } else {
        std::fs::create_dir(path)
    };
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(Error::local("cannot make", path)),
    }
}

pub(crate) fn make_parents(target: &Path) -> Result<(), Error> {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => make_directory(parent, true),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_count_beneath_the_named_directory_only() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("real/inner")).unwrap();
        symlink("real", at("named")).unwrap();
        symlink("inner", at("real/link")).unwrap();
        let judged = |target: &str, kind| refuse_links(&at(target), Some(&at("named")), kind);
        assert!(judged("named/inner/file", Kind::File).is_ok());
        assert!(judged("named/new/file", Kind::File).is_ok());
        // It is replaced, not followed.
        assert!(judged("named/link", Kind::File).is_ok());
        for (target, kind) in [
            ("named/link", Kind::Dir),
            ("named/link/file", Kind::File),
            ("named/link/a/b", Kind::Dir),
        ] {
            assert!(
                matches!(judged(target, kind), Err(Error::LocalLink(link)) if link == at("named/link")),
                "{target}"
            );
        }
        assert!(refuse_links(&at("real/link/file"), None, Kind::File).is_ok());
    }

    #[test]
    fn a_file_without_a_name_gets_one_on_older_kernels_too() {
        let dir = tempfile::tempdir().unwrap();
        let folder = OwnedFd::from(File::open(dir.path()).unwrap());
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, c".", flags, Mode::from_raw_mode(0o600)) {
            // The file system has no such files, and names none.
            Err(Errno::OPNOTSUPP) => return,
            file => File::from(file.unwrap()),
        };
        let link = |name: &str| link_by_way_of_proc(&file, &folder, name.as_ref());
        assert_eq!(link("a"), Ok(()));
        assert_eq!(link("a"), Err(Errno::EXIST));
        assert!(dir.path().join("a").exists());
    }

    fn arrived(items: &[Arc<GetItem>], index: usize, content: &[u8], is_free: bool, replace: bool) -> Arrived {
        Arrived {
            index,
            item: Arc::clone(&items[index]),
            bytes: BytesMut::from(content),
            received: Received {
                size: content.len() as u64,
                mtime: Timestamp { seconds: 7, nanos: 8 },
                digest: Hasher::digest(Algorithm::Sha256, b"right"),
            },
            replace,
            is_free,
            is_proven: false,
        }
        .prove_if_short(Algorithm::Sha256)
    }

    #[test]
    fn files_land_whole_or_not_at_all_and_leave_nothing_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("taken"), "before").unwrap();
        std::fs::write(at("old"), "before").unwrap();
        let names = ["free", "taken", "old", "damaged", "partial", "none/file", "long"];
        let items: Vec<_> = names
            .iter()
            .map(|name| {
                Arc::new(GetItem {
                    remote: crate::RemotePath::from(*name),
                    local: at(name),
                    within: None,
                    kind: Kind::File,
                    size: 5,
                })
            })
            .collect();
        std::fs::write(part_path(&at("partial")), "of an earlier try").unwrap();
        let found = look([0, 1, 4].map(|index: usize| (index, Arc::clone(&items[index]))).into());
        assert_eq!(found, [(0, Found::Nothing), (1, Found::Target), (4, Found::Partial)]);
        let batch = vec![
            arrived(&items, 0, b"right", true, false),
            // Somebody was faster than the look at it.
            arrived(&items, 1, b"right", true, false),
            arrived(&items, 2, b"right", false, true),
            arrived(&items, 3, b"wrong", true, false),
            arrived(&items, 4, b"right", false, false),
            arrived(&items, 5, b"right", true, false),
            // Too long to be proven at once.
            arrived(&items, 6, &[0; PROVEN_AT_ONCE_BYTES + 1], true, false),
        ];
        let landed = land(batch, Algorithm::Sha256, false);
        let told: Vec<_> = landed
            .iter()
            .map(|landed| match &landed.outcome {
                Outcome::Stored(published) if published.replaced => "replaced",
                Outcome::Stored(_) => "stored",
                Outcome::Damaged => "damaged",
                Outcome::Failed(error) if matches!(**error, Error::LocalExists(_)) => "exists",
                Outcome::Failed(_) => "failed",
            })
            .collect();
        assert_eq!(
            told,
            ["stored", "exists", "replaced", "damaged", "stored", "failed", "damaged"]
        );
        let content = |name: &str| std::fs::read_to_string(at(name)).unwrap();
        assert_eq!(
            (content("taken"), content("old")),
            ("before".to_owned(), "right".to_owned())
        );
        let metadata = std::fs::metadata(at("free")).unwrap();
        assert_eq!(crate::source::mtime(&metadata), Timestamp { seconds: 7, nanos: 8 });
        let left: std::collections::BTreeSet<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, ["free", "old", "partial", "taken"].map(str::to_owned).into());
    }
}
