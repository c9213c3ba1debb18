//! Reading a local file that is being uploaded: chunks for the wire, and the hash on the way.

use std::fs::{File, Metadata};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use ftp_digest::{Algorithm, BlockDigests, Digest, Hasher};
use ftp_proto::{Chunk, DATA_HEAD_BYTES, Timestamp, begin_data};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::Error;
use crate::hashing::{catch_up, hash_file};

/// What `statfs` tells of a memory file system.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// A local file, opened once, whose identity is remembered: what is sent must be one state of it.
pub(crate) struct Source {
    file: File,
    path: PathBuf,
    state: State,
    /// Whether it is on a memory file system, which has no disk to wait for, and knows no `RWF_NOWAIT`; once asked.
    in_memory: OnceLock<bool>,
}

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    size: u64,
    mtime: Timestamp,
    ctime: (i64, i64),
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            mtime: mtime(metadata),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The modification time as it travels.
pub(crate) fn mtime(metadata: &Metadata) -> Timestamp {
    Timestamp {
        seconds: metadata.mtime(),
        nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
    }
}

impl Source {
    /// Opens a regular file. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        // Without O_NONBLOCK, opening a FIFO would wait for a writer that may never come.
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .map(File::from)
            .map_err(io::Error::from)
            .map_err(Error::local("cannot open", path))?;
        let metadata = file.metadata().map_err(Error::local("cannot read", path))?;
        if !metadata.is_file() {
            return Err(Error::NotAFile(path.to_path_buf()));
        }
        Ok(Self {
            in_memory: OnceLock::new(),
            file,
            path: path.to_path_buf(),
            state: State::of(&metadata),
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.state.size
    }

    pub(crate) fn mtime(&self) -> Timestamp {
        self.state.mtime
    }

    /// Fails when the file is not what it was when it was opened. Blocks.
    pub(crate) fn check_unchanged(&self) -> Result<(), Error> {
        let metadata = self.file.metadata().map_err(Error::local("cannot read", &self.path))?;
        if State::of(&metadata) == self.state {
            Ok(())
        } else {
            Err(Error::SourceChanged)
        }
    }

    /// Reads `length` bytes at `offset` into a buffer ready to be sealed as a data frame. Blocks.
    pub(crate) fn chunk(&self, offset: u64, length: usize) -> Result<BytesMut, Error> {
        let mut buffer = begin_data(length);
        buffer.resize(DATA_HEAD_BYTES + length, 0);
        self.read_exact(offset, &mut buffer[DATA_HEAD_BYTES..])?;
        Ok(buffer)
    }

    /// Fills chunks, one behind the other, with what stands from `offset` on, and takes it into `hasher`. Blocks.
    pub(crate) fn fill(&self, mut offset: u64, chunks: &mut [Chunk], hasher: &mut Option<Hasher>) -> Result<(), Error> {
        for chunk in chunks {
            let bytes = chunk.as_mut();
            self.read_exact(offset, bytes)?;
            offset += bytes.len() as u64;
            if let Some(hasher) = hasher {
                hasher.update(bytes);
            }
        }
        Ok(())
    }

    /// Fills `bytes` from `offset` on if all of them are in memory, so that no disk is waited for.
    pub(crate) fn fill_now(&self, offset: u64, bytes: &mut [u8]) -> bool {
        let in_memory = || rustix::fs::fstatfs(&self.file).is_ok_and(|found| found.f_type == TMPFS_MAGIC);
        let read = if *self.in_memory.get_or_init(in_memory) {
            self.file.read_at(bytes, offset).map_err(|_| Errno::IO)
        } else {
            rustix::io::preadv2(
                &self.file,
                &mut [IoSliceMut::new(bytes)],
                offset,
                ReadWriteFlags::NOWAIT,
            )
        };
        read == Ok(bytes.len())
    }

    fn read_exact(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| self.read_error(error))
    }

    fn read_error(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::SourceChanged,
            _ => Error::local("cannot read", &self.path)(error),
        }
    }

    /// The block digests of the first `length` bytes; `None` when `report`, which is told the bytes done, ends it.
    /// Blocks.
    pub(crate) fn blocks(
        &self,
        length: u64,
        block_bytes: u64,
        report: impl Fn(u64) -> bool + Sync,
    ) -> Result<Option<BlockDigests>, Error> {
        let done = AtomicU64::new(0);
        let go_on = |step| report(done.fetch_add(step, Ordering::Relaxed) + step);
        BlockDigests::of_file(&self.file, length, block_bytes, go_on).map_err(|error| self.read_error(error))
    }

    /// The hash of the whole file, as long as it is wanted. Blocks.
    pub(crate) fn hash(&self, algorithm: Algorithm, is_wanted: impl Fn() -> bool) -> Result<Hasher, Error> {
        let mut hasher = Hasher::new(algorithm);
        catch_up(&self.file, self.size(), &mut hasher, is_wanted).map_err(|error| self.read_error(error))?;
        Ok(hasher)
    }

    /// The digest of the whole file. Blocks.
    pub(crate) fn digest(&self, algorithm: Algorithm) -> Result<Digest, Error> {
        let digest = hash_file(&self.file, self.size(), algorithm).map_err(Error::local("cannot read", &self.path))?;
        self.check_unchanged()?;
        Ok(digest)
    }
}
