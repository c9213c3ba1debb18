//! A partial download beside its target, and its publication under the target's name.

mod record;

use std::fs::{self, File};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ftp_digest::{Algorithm, BlockDigests, Digest, Hasher, block_bytes_for};
use ftp_proto::Timestamp;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;

pub(crate) use self::record::Record;
use crate::Error;
use crate::hashing::{catch_up, hash_file};

/// The longest name of a file (POSIX `NAME_MAX` on every common file system).
const NAME_BYTES: usize = 255;

/// How the names of partial files end.
const SUFFIX: &str = ".ftp-part";

/// The unit of `st_blocks` (POSIX leaves it open; it is 512 on Linux).
const BLOCK_BYTES: u64 = 512;

/// How often another download may come between opening a partial file and locking it.
const OPEN_TRIES: usize = 16;

/// What is on the disk when a file has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Nothing that anybody knows of.
    Nothing,
    /// Its bytes.
    Data,
    /// Its bytes and its name.
    Whole,
}

/// What came of giving a file its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// Whether another file was replaced.
    pub(crate) replaced: bool,
    /// The file system (`st_dev`).
    pub(crate) device: u64,
}

/// An open partial file. Held under a lock: two downloads never write to one partial.
pub(crate) struct Partial {
    target: PathBuf,
    part: PathBuf,
    file: File,
}

/// The name of the partial file of `target`: hidden, beside it, and never too long.
pub(crate) fn part_path(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().as_bytes();
    let room = NAME_BYTES - 1 - SUFFIX.len() - record::SUFFIX.len();
    let mut part = b".".to_vec();
    if name.len() <= room {
        part.extend_from_slice(name);
    } else {
        // Cut names are told apart by a digest of the whole.
        let tag = Hasher::digest(Algorithm::Blake3, name).hex();
        part.extend_from_slice(&name[..room - 17]);
        part.push(b'.');
        part.extend_from_slice(&tag.as_bytes()[..16]);
    }
    part.extend_from_slice(SUFFIX.as_bytes());
    target.with_file_name(std::ffi::OsString::from_vec(part))
}

/// Whether a target has a name that partial downloads or their records have. Such a file would be taken for
/// the beginning of another one, and be gone.
pub(crate) fn is_partial_name(target: &Path) -> bool {
    let name = target.file_name().unwrap_or_default().as_bytes();
    let name = record::without_suffix(name);
    name.starts_with(b".") && name.ends_with(SUFFIX.as_bytes())
}

/// Locks a partial file. Where the file system has no locks, the download goes on without one.
fn lock(file: &File, part: &Path) -> Result<(), Error> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error @ Errno::WOULDBLOCK) => Err(Error::local("another download holds", part)(error.into())),
        Err(error) => Err(Error::local("cannot lock", part)(error.into())),
    }
}

/// Opens and locks; `None` if the name meanwhile belongs to another file or to none, because the
/// download that held the lock until now published or discarded its own.
fn open_locked(part: &Path) -> Result<Option<File>, Error> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(part, flags, Mode::from_raw_mode(0o666))
        .map(File::from)
        .map_err(io::Error::from)
        .map_err(Error::local("cannot write", part))?;
    lock(&file, part)?;
    let opened = file.metadata().map_err(Error::local("cannot read", part))?;
    if !opened.is_file() {
        return Err(Error::NotAFile(part.to_path_buf()));
    }
    match fs::symlink_metadata(part) {
        Ok(named) if (named.dev(), named.ino()) == (opened.dev(), opened.ino()) => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::local("cannot read", part)(error)),
    }
}

impl Partial {
    /// Opens or makes the partial file of `target`. Blocks.
    pub(crate) fn open(target: &Path) -> Result<Self, Error> {
        let part = part_path(target);
        for _ in 0..OPEN_TRIES {
            if let Some(file) = open_locked(&part)? {
                let target = target.to_path_buf();
                let partial = Self { target, part, file };
                partial.refuse_other_versions()?;
                return Ok(partial);
            }
        }
        let source = io::ErrorKind::WouldBlock.into();
        Err(Error::local("another download holds", &part)(source))
    }

    /// What another version has begun is neither gone on with nor thrown away.
    fn refuse_other_versions(&self) -> Result<(), Error> {
        match record::version(&self.part) {
            Some(version) if version != record::VERSION && self.length()? > 0 => {
                let known = record::VERSION;
                let message = format!(
                    "its record has version {version}, and this program knows version {known}; finish it with the \
                     program that began it, or remove it"
                );
                let source = io::Error::new(io::ErrorKind::InvalidData, message);
                Err(Error::local("cannot go on with", &self.part)(source))
            }
            _ => Ok(()),
        }
    }

    /// How many bytes it holds. Blocks.
    pub(crate) fn length(&self) -> Result<u64, Error> {
        Ok(self
            .file
            .metadata()
            .map_err(Error::local("cannot read", &self.part))?
            .len())
    }

    /// What it was begun from, if that is known.
    pub(crate) fn record(&self) -> Option<Record> {
        record::read(&self.part)
    }

    /// Remembers what it is begun from. Blocks.
    pub(crate) fn remember(&self, record: &Record) -> Result<(), Error> {
        record::write(&self.part, record)
    }

    /// Refuses a file of `size` bytes for which the disk has no room. Blocks.
    pub(crate) fn check_room(&self, size: u64) -> Result<(), Error> {
        let look = |error: Errno| Error::local("cannot read", &self.part)(error.into());
        let disk = rustix::fs::fstatvfs(&self.file).map_err(look)?;
        let own = self.file.metadata().map_err(Error::local("cannot read", &self.part))?;
        // Some file systems, above all those of other programs, do not know what room they have.
        if disk.f_blocks == 0 {
            return Ok(());
        }
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let room = free.saturating_add(own.blocks().saturating_mul(BLOCK_BYTES));
        if size <= room {
            return Ok(());
        }
        let figures = format!("{size} bytes are announced, and there is room for {room}");
        let source = io::Error::new(io::ErrorKind::StorageFull, figures);
        Err(Error::local("no room for", &self.target)(source))
    }

    /// Cuts it to `length`. Blocks.
    pub(crate) fn cut(&self, length: u64) -> Result<(), Error> {
        self.file
            .set_len(length)
            .map_err(Error::local("cannot write", &self.part))
    }

    /// Writes at an offset. Blocks.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(Error::local("cannot write", &self.part))
    }

    /// Removes it. Blocks.
    pub(crate) fn discard(&self) -> Result<(), Error> {
        record::remove(&self.part);
        fs::remove_file(&self.part).map_err(Error::local("cannot remove", &self.part))
    }

    /// The digests of the first `length` bytes in `most` blocks or fewer; `None` when `report`, which is told the bytes
    /// done, ends it. Blocks.
    pub(crate) fn blocks(
        &self,
        length: u64,
        most: NonZeroU64,
        report: impl Fn(u64) -> bool + Sync,
    ) -> Result<Option<BlockDigests>, Error> {
        let done = AtomicU64::new(0);
        let go_on = |step| report(done.fetch_add(step, Ordering::Relaxed) + step);
        let block_bytes = length.div_ceil(most.get()).next_power_of_two();
        BlockDigests::of_file(&self.file, length, block_bytes.max(block_bytes_for(length)), go_on)
            .map_err(Error::local("cannot read", &self.part))
    }

    /// Takes what stands before `length` and `hasher` has not seen into it, as long as that is wanted. Blocks.
    pub(crate) fn catch_up(&self, length: u64, hasher: &mut Hasher, is_wanted: impl Fn() -> bool) -> Result<(), Error> {
        catch_up(&self.file, length, hasher, is_wanted).map_err(Error::local("cannot read", &self.part))
    }

    /// The digest of what it holds. Blocks.
    pub(crate) fn digest(&self, algorithm: Algorithm) -> Result<Digest, Error> {
        let length = self.length()?;
        hash_file(&self.file, length, algorithm).map_err(Error::local("cannot read", &self.part))
    }

    /// Gives it the target's name, with the source's time. Blocks.
    pub(crate) fn publish(&self, mtime: Timestamp, replace: bool, durable: Durable) -> Result<Published, Error> {
        set_mtime(&self.file, mtime).map_err(Error::local("cannot set the time of", &self.part))?;
        if durable != Durable::Nothing {
            self.file.sync_all().map_err(Error::local("cannot write", &self.part))?;
        }
        let device = self
            .file
            .metadata()
            .map_err(Error::local("cannot read", &self.part))?
            .dev();
        let replaced = rename(&self.part, &self.target, replace)?;
        record::remove(&self.part);
        if durable == Durable::Whole {
            sync_directory_of(&self.target)?;
        }
        Ok(Published { replaced, device })
    }
}

pub(crate) fn set_mtime(file: &File, mtime: Timestamp) -> io::Result<()> {
    let omit = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    };
    let time = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: mtime.nanos.into(),
    };
    Ok(rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: omit,
            last_modification: time,
        },
    )?)
}

/// Renames, and says whether something was replaced; without `replace` never onto something that is there.
fn rename(from: &Path, to: &Path, replace: bool) -> Result<bool, Error> {
    let failed = Error::local("cannot write", to);
    let here = rustix::fs::CWD;
    match rustix::fs::renameat_with(here, from, here, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(false),
        // Without the flag, as some file systems are, the name may be free.
        Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) if replace => {
            let replaced = to.symlink_metadata().is_ok();
            fs::rename(from, to).map_err(failed)?;
            Ok(replaced)
        }
        Err(Errno::EXIST) => Err(Error::LocalExists(to.to_path_buf())),
        // A hard link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS) => match rustix::fs::linkat(here, from, here, to, AtFlags::empty()) {
            Ok(()) => fs::remove_file(from).map(|()| false).map_err(failed),
            Err(Errno::EXIST) => Err(Error::LocalExists(to.to_path_buf())),
            Err(error) => Err(failed(error.into())),
        },
        Err(error) => Err(failed(error.into())),
    }
}

fn sync_directory_of(target: &Path) -> Result<(), Error> {
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|handle| handle.sync_all())
        .map_err(Error::local("cannot sync the directory of", target))
}

/// Makes everything on the file system of `path` durable, once for many files.
pub(crate) fn sync_file_system(path: &Path) -> Result<(), Error> {
    let directory = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new("."))
    };
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let handle = File::open(directory).map_err(Error::local("cannot open", directory))?;
    rustix::fs::syncfs(&handle)
        .map_err(io::Error::from)
        .map_err(Error::local("cannot write", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_partial_files_are_never_too_long() {
        for length in [1, 200, 239, 240, 255] {
            let name = "n".repeat(length);
            let part = record::path(&part_path(&Path::new("/some/where").join(&name)));
            assert!(part.file_name().unwrap().len() <= NAME_BYTES, "{length}");
            assert_eq!(part.parent(), Some(Path::new("/some/where")));
        }
        let (a, b) = ("a".repeat(254) + "1", "a".repeat(254) + "2");
        assert_ne!(part_path(Path::new(&a)), part_path(Path::new(&b)));
    }

    #[test]
    fn publishing_without_replace_leaves_an_existing_target() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        fs::write(&target, "old").unwrap();
        let time = Timestamp {
            seconds: 1_000_000_000,
            nanos: 5,
        };
        let partial = Partial::open(&target).unwrap();
        partial.write_at(0, b"new").unwrap();
        assert!(matches!(
            partial.publish(time, false, Durable::Whole),
            Err(Error::LocalExists(_))
        ));
        drop(partial);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        let published = Partial::open(&target).unwrap().publish(time, true, Durable::Whole);
        assert!(published.unwrap().replaced);
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(crate::source::mtime(&fs::metadata(&target).unwrap()), time);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left beside the target"
        );
    }

    #[test]
    fn partial_of_another_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        let part = part_path(&target);
        fs::write(&part, "bytes").unwrap();
        let newer = "{\"version\":2,\"begun\":\"otherwise\"}";
        fs::write(record::path(&part), newer).unwrap();
        let error = Partial::open(&target).err().unwrap();
        let Error::Local { source, .. } = error else {
            panic!("{error:?}")
        };
        assert!(source.to_string().contains("version 2"), "{source}");
        assert_eq!(fs::read(&part).unwrap(), b"bytes");
        assert_eq!(fs::read_to_string(record::path(&part)).unwrap(), newer);
        fs::remove_file(&part).unwrap();
        Partial::open(&target).unwrap();
    }

    #[test]
    fn a_free_name_is_not_reported_as_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let partial = Partial::open(&dir.path().join("file")).unwrap();
        let time = Timestamp { seconds: 0, nanos: 0 };
        let published = partial.publish(time, true, Durable::Nothing).unwrap();
        assert!(!published.replaced);
        assert_eq!(published.device, fs::metadata(dir.path()).unwrap().dev());
    }

    #[test]
    fn whoever_gets_the_lock_has_the_file_of_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        let time = Timestamp { seconds: 0, nanos: 0 };
        let publish_often = || {
            for _ in 0..500 {
                // Refused while the other one holds it.
                if let Ok(partial) = Partial::open(&target) {
                    partial.publish(time, true, Durable::Nothing).unwrap();
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(publish_often);
            scope.spawn(publish_often);
        });
    }

    #[test]
    fn a_second_download_to_the_same_target_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        let first = Partial::open(&target).unwrap();
        assert!(Partial::open(&target).is_err());
        drop(first);
        Partial::open(&target).unwrap();
    }
}
