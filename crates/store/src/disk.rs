//! Raw system calls; `nameless.rs` and `prompt.rs` have a few of their own. Everything takes an open handle and one
//! name beneath it, never follows a link, and says nothing about meaning: `Errno` in, meaning made by the caller.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, Permissions, PermissionsExt as _};
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, Stat, StatxFlags, Timespec, Timestamps,
    UTIME_OMIT, XattrFlags,
};
use rustix::io::{Errno, retry_on_intr};

use crate::time::Timestamp;

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A FIFO, socket or device: shown, never opened.
    Other,
    /// A symbolic link.
    Symlink,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::Directory => Self::Directory,
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// Which inode: device and number.
pub(crate) type FileId = (u64, u64);

/// The part of `struct stat` the store decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) id: FileId,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    /// How many names it has.
    pub(crate) links: u64,
    pub(crate) modified: Timestamp,
    pub(crate) changed: Timestamp,
}

impl Meta {
    /// What counts against the byte quota.
    pub(crate) fn counted_bytes(&self) -> u64 {
        if self.kind == Kind::File { self.size } else { 0 }
    }
}

#[expect(
    clippy::unnecessary_cast,
    reason = "the field types of `stat` differ between architectures"
)]
impl From<Stat> for Meta {
    fn from(stat: Stat) -> Self {
        let time = |seconds, nanos: u64| Timestamp {
            seconds,
            nanos: u32::try_from(nanos).unwrap_or(0),
        };
        Self {
            id: (stat.st_dev as u64, stat.st_ino as u64),
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            links: stat.st_nlink as u64,
            modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }
}

/// Permissions of new files and directories before the process's umask.
pub(crate) const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const DIR_MODE: Mode = Mode::from_raw_mode(0o777);
/// Of homes and the reserved folder: the owner alone.
const PRIVATE_MODE: u32 = 0o700;

/// Creates the directory of a home where it is missing, with its parents, and opens it.
pub(crate) fn open_or_create_root(path: &Path) -> std::io::Result<Dir> {
    match open_root(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_private_dir(path)?;
            open_root(path)
        }
        opened => opened,
    }
}

/// Opens the directory of a home.
pub(crate) fn open_root(path: &Path) -> std::io::Result<Dir> {
    let root = Dir::open_ambient_dir(path, ambient_authority())?;
    // `cap-std` opens with `O_PATH`, which can be neither listed nor synced.
    Ok(open_dir(&root, OsStr::new("."))?)
}

/// Makes a directory for its owner alone (mode 0700) where it is missing, with its parents, so that it survives a
/// power cut: an acknowledged file is worth nothing in a home that is gone.
///
/// # Errors
///
/// Those of the system, which name no path.
pub fn make_private_dir(path: &Path) -> std::io::Result<()> {
    // A relative path of one name has the empty path for its parent.
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.is_dir())
        .collect();
    for path in missing.iter().rev() {
        match std::fs::DirBuilder::new().mode(PRIVATE_MODE).create(path) {
            // Two homes may be in the same new directory, and be opened at the same time.
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists || !path.is_dir() => return Err(error),
            _ => {}
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(File::open(parent.unwrap_or(Path::new(".")))?)?;
    }
    Ok(())
}

/// Opens the store's own directory `name`, which no link may stand in for.
pub(crate) fn open_or_create_private(parent: &Dir, name: &str) -> Result<Dir, Errno> {
    let mut builder = DirBuilder::new();
    builder.mode(PRIVATE_MODE);
    match parent.create_dir_with(name, &builder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
        _ => open_dir(parent, OsStr::new(name)),
    }
}

/// Flags of every opened directory: readable, so that it can be listed and synced.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// Flags of every file opened for reading: a FIFO does not block, a terminal does not attach.
pub(crate) const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Opens a relative path beneath `root` without following any link; `ELOOP` where one stands.
pub(crate) fn open_without_links(root: &Dir, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    let opened = retry_on_intr(|| rustix::fs::openat2(root, path, flags, Mode::empty(), resolve));
    match opened {
        // No `openat2` (before Linux 5.6, or forbidden by a sandbox).
        Err(Errno::NOSYS | Errno::PERM) => open_by_steps(root, path, flags),
        opened => opened,
    }
}

/// The same name by name: a relative path without `..` whose steps follow no link stays beneath.
fn open_by_steps(root: &Dir, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut names = path.iter().peekable();
    let mut at = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() {
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
        } else {
            flags
        };
        at = match open_at(&at, name, flags | OFlags::NOFOLLOW) {
            // `O_DIRECTORY` answers a link with "not a directory".
            Err(Errno::NOTDIR) if stat_at(&at, name)?.kind == Kind::Symlink => {
                return Err(Errno::LOOP);
            }
            opened => opened?,
        };
    }
    Ok(at)
}

/// Opens the directory `name`, not through a link.
pub(crate) fn open_dir(parent: impl AsFd, name: &OsStr) -> Result<Dir, Errno> {
    let flags = DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = open_at(parent, name, flags)?;
    Ok(Dir::from_std_file(File::from(fd)))
}

/// As [`open_dir`], but `EXDEV` where another file system is mounted there.
pub(crate) fn open_dir_of_mount(parent: &Dir, name: &OsStr) -> Result<Dir, Errno> {
    let flags = DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match retry_on_intr(|| rustix::fs::openat2(parent, name, flags, Mode::empty(), ResolveFlags::NO_XDEV)) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let dir = open_dir(parent, name)?;
            if share_a_mount(parent, &dir)? {
                Ok(dir)
            } else {
                Err(Errno::XDEV)
            }
        }
        opened => Ok(Dir::from_std_file(File::from(opened?))),
    }
}

/// Lets the owner of an open directory do everything in it.
pub(crate) fn grant_owner(dir: &Dir) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(dir)?.st_mode) | Mode::RWXU;
    rustix::fs::fchmod(dir, mode)
}

/// The same for a directory that cannot be opened. A link that is swapped in leads no further than `parent`.
pub(crate) fn grant_owner_at(parent: &Dir, name: &OsStr) -> Result<(), Errno> {
    let mode = Permissions::from_mode(PRIVATE_MODE);
    let granted = parent.set_permissions(name, mode);
    granted.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::ACCESS))
}

fn open_at(parent: impl AsFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(&parent, name, flags, Mode::empty()))
}

/// Opens the file `name` for reading, not through a link; never blocks.
pub(crate) fn open_file(parent: impl AsFd, name: &OsStr) -> Result<File, Errno> {
    let flags = READ | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open_at(parent, name, flags).map(File::from)
}

/// Opens the store's own file `name` for reading and writing, creating it where it is missing.
pub(crate) fn open_own(parent: &Dir, name: &str) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(parent, name, flags, FILE_MODE)).map(File::from)
}

/// Creates the store's own file `name` for reading and writing; `EEXIST` where there is one.
pub(crate) fn open_new(parent: &Dir, name: &str) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(parent, name, flags, FILE_MODE)).map(File::from)
}

pub(crate) fn stat_fd(file: impl AsFd) -> Result<Meta, Errno> {
    rustix::fs::fstat(file).map(Meta::from)
}

/// Looks at `name` itself, never at what a link points to.
pub(crate) fn stat_at(parent: impl AsFd, name: &OsStr) -> Result<Meta, Errno> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(Meta::from)
}

/// Like [`stat_at`], with absence as a value.
pub(crate) fn find_at(parent: impl AsFd, name: &OsStr) -> Result<Option<Meta>, Errno> {
    match stat_at(parent, name) {
        Err(Errno::NOENT) => Ok(None),
        found => found.map(Some),
    }
}

/// Whether names can be renamed between two directories: the same mount, or at least the same file system
/// where the kernel does not tell mounts apart (before Linux 5.8).
pub(crate) fn share_a_mount(one: impl AsFd, other: impl AsFd) -> Result<bool, Errno> {
    let look = |dir: &dyn AsFd| {
        let found = rustix::fs::statx(dir.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        let is_told = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        Ok((
            is_told.then_some(found.stx_mnt_id),
            (found.stx_dev_major, found.stx_dev_minor),
        ))
    };
    match (look(&one.as_fd()), look(&other.as_fd())) {
        (Err(Errno::NOSYS), _) => Ok(true),
        (one, other) => Ok(one? == other?),
    }
}

pub(crate) fn make_dir(parent: &Dir, name: &OsStr) -> Result<(), Errno> {
    rustix::fs::mkdirat(parent, name, DIR_MODE)
}

pub(crate) fn unlink(parent: &Dir, name: impl AsRef<OsStr>) -> Result<(), Errno> {
    rustix::fs::unlinkat(parent, name.as_ref(), AtFlags::empty())
}

pub(crate) fn remove_dir(parent: &Dir, name: &OsStr) -> Result<(), Errno> {
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// A directory and a name in it.
pub(crate) type At<'a> = (&'a Dir, &'a OsStr);

/// Renames over whatever file stands at the target.
pub(crate) fn rename_over(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    rustix::fs::renameat(from.0, from.1, to.0, to.1)
}

/// Renames onto a free name; `EEXIST` when it is taken, also when it is taken at this moment.
pub(crate) fn rename_new(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        // The file system cannot do it in one call, or a directory was to go into itself.
        Err(Errno::INVAL | Errno::NOSYS) => rename_new_by_steps(from, to),
        renamed => renamed,
    }
}

/// Gives a file a second name, which must be free. A link is linked, not followed.
pub(crate) fn link(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
}

/// The same in two calls, the first of which only one can make: a link for a file; for a directory
/// an empty one, whose place it may take.
fn rename_new_by_steps(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    if stat_at(from.0, from.1)?.kind != Kind::Directory {
        link(from, to)?;
        return unlink(from.0, from.1);
    }
    make_dir(to.0, to.1)?;
    let renamed = rename_over(from, to);
    if renamed.is_err() {
        // Nothing is lost if it stays: it is empty.
        let _ = remove_dir(to.0, to.1);
    }
    renamed
}

/// Makes data and metadata of a file, or the names in a directory, survive a power cut.
pub(crate) fn sync(file: impl AsFd) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::fsync(&file))
}

/// The same for everything written to the file system so far. It reports failed writes from
/// Linux 5.8 on.
pub(crate) fn sync_file_system(file: impl AsFd) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::syncfs(&file))
}

/// Bytes an unprivileged process can still write to the file system.
pub(crate) fn free_bytes(file: impl AsFd) -> Result<u64, Errno> {
    let info = retry_on_intr(|| rustix::fs::fstatvfs(&file))?;
    Ok(info.f_bavail.saturating_mul(info.f_frsize))
}

pub(crate) fn set_modified(file: &File, modified: Timestamp) -> Result<(), Errno> {
    rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: modified.seconds,
                // What came over a wire may be no proper fraction of a second.
                tv_nsec: modified.nanos.min(999_999_999).into(),
            },
        },
    )
}

pub(crate) fn read_attribute(file: &File, name: &str, buffer: &mut [u8]) -> Result<usize, Errno> {
    rustix::fs::fgetxattr(file, name, buffer)
}

pub(crate) fn write_attribute(file: &File, name: &str, value: &[u8]) -> Result<(), Errno> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
}

/// Takes the exclusive lock of a file without waiting; `EWOULDBLOCK` when another process has it.
pub(crate) fn lock(file: &File) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive))
}

pub(crate) fn truncate(file: &File, length: u64) -> Result<(), Errno> {
    retry_on_intr(|| rustix::fs::ftruncate(file, length))
}

/// Makes `to` share all blocks of `from`, where the file system can.
pub(crate) fn clone_file(from: &File, to: &File) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(to, from)
}

/// Copies up to `length` bytes inside the kernel; 0 at the end of `from`.
pub(crate) fn copy_range(from: &File, to: &File, offset: u64, length: usize) -> Result<usize, Errno> {
    let (mut read, mut written) = (offset, offset);
    retry_on_intr(|| rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length))
}

/// Fills `buffer` from `offset` on; short only at the end of the file.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Lets go of what the kernel remembers of the file and has on disk, so that it is read from there.
pub(crate) fn forget_cached(file: &File) {
    // A hint: without it the bytes come from memory, which is right as well.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Writes the store's own file `name` by way of `temporary`, so that a reader sees the old content or
/// the new one. Returns the file.
pub(crate) fn replace_own(parent: &Dir, name: &str, temporary: &str, text: &[u8]) -> Result<File, Errno> {
    replace_own_by(parent, name, temporary, text, |_| Ok(()))
}

/// The same for a content that must not be lost: after a power cut the old or the new one stands there.
pub(crate) fn replace_own_durably(parent: &Dir, name: &str, temporary: &str, text: &[u8]) -> Result<File, Errno> {
    replace_own_by(parent, name, temporary, text, |file| sync(file))
}

fn replace_own_by(
    parent: &Dir,
    name: &str,
    temporary: &str,
    text: &[u8],
    settle: impl FnOnce(&File) -> Result<(), Errno>,
) -> Result<File, Errno> {
    let file = open_own(parent, temporary)?;
    let replaced = truncate(&file, 0)
        .and_then(|()| write_at(&file, text, 0).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)))
        .and_then(|()| settle(&file))
        .and_then(|()| rename_over((parent, OsStr::new(temporary)), (parent, OsStr::new(name))));
    if let Err(errno) = replaced {
        // Should it stay, it is deleted when the home is next opened.
        let _ = unlink(parent, temporary);
        return Err(errno);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn both_ways_of_opening_agree_and_follow_no_link() {
        let temp = tempfile::tempdir().unwrap();
        let root = open_or_create_root(temp.path()).unwrap();
        std::fs::create_dir_all(temp.path().join("a/b")).unwrap();
        std::fs::write(temp.path().join("a/b/file"), "").unwrap();
        symlink("a", temp.path().join("link")).unwrap();
        symlink("b/file", temp.path().join("a/last")).unwrap();
        symlink("/", temp.path().join("out")).unwrap();
        for (path, flags, expected) in [
            (".", DIRECTORY, Ok("")),
            ("a/b", DIRECTORY, Ok("a/b")),
            ("a/b/file", READ, Ok("a/b/file")),
            ("a/b/file", DIRECTORY, Err(Errno::NOTDIR)),
            ("a/b/file/x", READ, Err(Errno::NOTDIR)),
            ("a/none", READ, Err(Errno::NOENT)),
            ("link", DIRECTORY, Err(Errno::LOOP)),
            ("link/b", DIRECTORY, Err(Errno::LOOP)),
            ("a/last", READ, Err(Errno::LOOP)),
            ("out/etc", DIRECTORY, Err(Errno::LOOP)),
        ] {
            let expected = expected.map(|path| {
                let file = File::open(temp.path().join(path)).unwrap();
                stat_fd(file).unwrap().id
            });
            let id = |fd: Result<OwnedFd, Errno>| fd.map(|fd| stat_fd(fd).unwrap().id);
            let path = Path::new(path);
            assert_eq!(id(open_without_links(&root, path, flags)), expected, "{path:?}");
            assert_eq!(id(open_by_steps(&root, path, flags)), expected, "{path:?} by steps");
        }
    }

    #[test]
    fn going_by_steps_follows_no_link_that_is_swapped_in() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let temp = tempfile::tempdir().unwrap();
        let root = open_or_create_root(&temp.path().join("home")).unwrap();
        let at = |name: &str| temp.path().join(name);
        for dir in ["home/swap/sub", "outside/sub"] {
            std::fs::create_dir_all(at(dir)).unwrap();
            std::fs::write(at(dir).join("file"), dir).unwrap();
        }
        symlink(at("outside"), at("home/link")).unwrap();
        symlink(at("outside/sub"), at("home/swap/link")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let swap = |one: &str, other: &str| {
                        rustix::fs::renameat_with(CWD, at(one), CWD, at(other), RenameFlags::EXCHANGE)
                    };
                    // The second fails while the first has put a link in its way.
                    let _ = swap("home/swap", "home/link");
                    let _ = swap("home/swap/sub", "home/swap/link");
                }
            });
            let (mut inside, mut refused) = (0, 0);
            // Until the swaps were met in both states, whatever the scheduler thinks of them.
            for _ in 0..5_000_000 {
                if inside >= 1000 && refused >= 1000 {
                    break;
                }
                match open_by_steps(&root, Path::new("swap/sub/file"), READ | OFlags::CLOEXEC) {
                    Ok(fd) => {
                        let text = std::io::read_to_string(File::from(fd)).unwrap();
                        assert_eq!(text, "home/swap/sub");
                        inside += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(inside >= 1000 && refused >= 1000, "{inside} inside, {refused} refused");
        });
    }

    #[test]
    fn both_ways_of_renaming_move_everything_onto_free_names_only() {
        for rename in [rename_new, rename_new_by_steps] {
            let temp = tempfile::tempdir().unwrap();
            let root = open_or_create_root(temp.path()).unwrap();
            let at = |name: &str| temp.path().join(name);
            let rename = |from: &str, to: &str| rename((&root, OsStr::new(from)), (&root, OsStr::new(to)));
            std::fs::write(at("file"), "a").unwrap();
            std::fs::write(at("taken"), "b").unwrap();
            std::fs::create_dir(at("dir")).unwrap();
            std::fs::write(at("dir/inside"), "c").unwrap();
            std::fs::create_dir(at("empty")).unwrap();
            for from in ["file", "dir"] {
                for to in ["taken", "empty"] {
                    assert_eq!(rename(from, to), Err(Errno::EXIST), "{from} to {to}");
                }
            }
            assert_eq!(rename("dir", "dir/itself"), Err(Errno::INVAL));
            assert_eq!(rename("none", "new"), Err(Errno::NOENT));
            assert_eq!(std::fs::read_dir(at("dir")).unwrap().count(), 1);
            assert_eq!(std::fs::read(at("taken")).unwrap(), b"b");
            rename("file", "new file").unwrap();
            rename("dir", "new dir").unwrap();
            assert_eq!(std::fs::read(at("new file")).unwrap(), b"a");
            assert_eq!(std::fs::read(at("new dir/inside")).unwrap(), b"c");
            assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 4);
        }
    }
}
