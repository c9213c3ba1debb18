//! Files opened for download.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use bytes::BytesMut;
use ftp_digest::{Algorithm, BlockDigests, BlockHasher, Digest, Hasher};
use tokio_util::sync::CancellationToken;

use crate::blocking::{Jobs, blocking, stopped};
use crate::disk::{self, Kind};
use crate::error::{Error, Result};
use crate::home::{Home, HomeState};
use crate::path::FilePath;
use crate::source::Source;
use crate::time::Timestamp;

/// How much one hand-over reads or copies of a long file: enough to be worth it, little enough that
/// a dropped call ends soon.
pub(crate) const STEP_BYTES: u64 = 16 * 1024 * 1024;
/// The buffer for that.
const BUFFER_BYTES: usize = 256 * 1024;

/// A regular file opened for reading: this version of it, whatever its name means later.
#[derive(Clone)]
pub struct ReadFile {
    path: FilePath,
    source: Arc<Source>,
    jobs: Jobs,
    size: u64,
    modified: Timestamp,
    kept: Option<Digest>,
}

impl Home {
    /// Opens a file for reading. Links are followed as long as they stay inside the home; a FIFO or
    /// device is refused without waiting for it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::IsDirectory`], [`Error::NotAFile`], [`Error::OutsideHome`],
    /// [`Error::PermissionDenied`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn open_read(&self, path: &FilePath) -> Result<ReadFile> {
        let (state, path) = (Arc::clone(self.state()), path.clone());
        self.jobs().blocking(move || state.open_read(&path)).await
    }

    /// The digest of a file, as [`ReadFile::digest`] gives it.
    ///
    /// # Errors
    ///
    /// Those of [`Home::open_read`] and [`ReadFile::digest`].
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it ends the reading after a few megabytes.
    pub async fn digest(&self, path: &FilePath, algorithm: Algorithm, fresh: bool) -> Result<Digest> {
        self.open_read(path).await?.digest(algorithm, fresh).await
    }
}

impl HomeState {
    pub(crate) fn open_read(&self, path: &FilePath) -> Result<ReadFile> {
        let file = self.tree().file(path)?;
        let fail = |errno| Error::from_errno("look at", path, errno);
        let meta = disk::stat_fd(&file).map_err(fail)?;
        match meta.kind {
            Kind::File => {}
            Kind::Directory => return Err(Error::IsDirectory { path: path.clone() }),
            Kind::Other | Kind::Symlink => return Err(Error::NotAFile { path: path.clone() }),
        }
        let source = self.sources().share(file).map_err(fail)?;
        let meta = source.meta();
        Ok(ReadFile {
            path: path.clone(),
            size: meta.size,
            modified: meta.modified,
            kept: source.kept_digest(),
            source,
            jobs: self.jobs().clone(),
        })
    }
}

impl ReadFile {
    /// The path it was opened by.
    pub fn path(&self) -> &FilePath {
        &self.path
    }

    /// Its size in bytes at opening.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its modification time at opening.
    pub fn modified(&self) -> Timestamp {
        self.modified
    }

    /// The digest kept with it, if it was true at opening.
    pub fn kept_digest(&self) -> Option<Digest> {
        self.kept
    }

    /// The open file, for a caller whose operating system moves bytes from it to elsewhere (`sendfile`), on a thread
    /// that may wait for the disk. What is moved has to be compared with a digest, for it passes nobody's eyes.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.source.file().as_fd()
    }

    /// Appends up to `length` bytes from `offset` on to `buffer`; fewer only at the end of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe for the file; the buffer is lost.
    pub async fn read_at(&self, offset: u64, length: usize, buffer: BytesMut) -> Result<BytesMut> {
        let (source, path) = (Arc::clone(&self.source), self.path.clone());
        let (mut buffer, jobs) = (buffer, &self.jobs);
        jobs.blocking(move || {
            let start = buffer.len();
            buffer.resize(start + length, 0);
            let read = disk::read_at(source.file(), &mut buffer[start..], offset)
                .map_err(|error| Error::io("read", &path, error))?;
            buffer.truncate(start + read);
            Ok(buffer)
        })
        .await
    }

    /// Fills `buffer` with what stands from `offset` on, if all of it is in memory: a disk is never waited for, so
    /// this may be called where [`ReadFile::read_chunks`] would cost a change of threads. `false` for anything else,
    /// also where the file ends; what is in the buffer then is of no meaning.
    ///
    /// By `preadv2` with `RWF_NOWAIT` (Linux 4.14, not on every file system), and on a memory file system as it is.
    pub fn read_now(&self, offset: u64, buffer: &mut [u8]) -> bool {
        self.source.read_now(buffer, offset)
    }

    /// Fills `chunks`, one behind the other, with what stands from `offset` on, and takes it into `hasher`, all in
    /// one hand-over, which begins before the future is awaited: so the next bytes are read while others are sent. It
    /// waits where the home has as many threads as it may.
    ///
    /// # Errors
    ///
    /// [`Error::SourceChanged`] if the file ends before, [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe for the file; chunks and hasher are lost.
    pub fn read_chunks<C: AsMut<[u8]> + Send + 'static>(
        &self,
        offset: u64,
        mut chunks: Vec<C>,
        mut hasher: Option<Hasher>,
    ) -> impl Future<Output = Result<(Vec<C>, Option<Hasher>)>> + Send + use<C> {
        let (source, path) = (Arc::clone(&self.source), self.path.clone());
        let jobs = &self.jobs;
        jobs.blocking(move || {
            let mut at = offset;
            for chunk in &mut chunks {
                let bytes = chunk.as_mut();
                let read = disk::read_at(source.file(), bytes, at).map_err(|error| Error::io("read", &path, error))?;
                if read < bytes.len() {
                    return Err(Error::SourceChanged { path });
                }
                at += read as u64;
                if let Some(hasher) = &mut hasher {
                    hasher.update(bytes);
                }
            }
            Ok((chunks, hasher))
        })
    }

    /// The digest of the open file: the one kept at opening if `fresh` is not asked for, else by
    /// reading the file. What was read is kept, unless a true digest is kept already: one that
    /// differs from a fresh one shows damage on the disk, and is not to be papered over.
    ///
    /// # Errors
    ///
    /// [`Error::SourceChanged`] if the file changed since it was opened, [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it ends the reading after a few megabytes.
    pub async fn digest(&self, algorithm: Algorithm, fresh: bool) -> Result<Digest> {
        if let Some(kept) = self.kept.filter(|kept| kept.algorithm() == algorithm)
            && !fresh
        {
            return Ok(kept);
        }
        let hasher = self.scan(self.size, Hasher::new(algorithm), Hasher::update).await?;
        let digest = hasher.finish();
        if !self.unchanged().await? {
            let path = self.path.clone();
            return Err(Error::SourceChanged { path });
        }
        self.keep_digest(digest).await;
        Ok(digest)
    }

    /// Reads the file and compares it with the digest kept with it, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], [`Error::SourceChanged`], [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it ends the reading after a few megabytes.
    pub async fn prove(&self) -> Result<()> {
        let Some(kept) = self.kept else { return Ok(()) };
        let found = self.digest(kept.algorithm(), true).await?;
        if found == kept {
            return Ok(());
        }
        Err(Error::Damaged {
            path: self.path.clone(),
            expected: Box::new(kept),
            found: Box::new(found),
        })
    }

    /// Whether the open file is still what it was at opening: size and times. Renaming or replacing
    /// it through the store does not change it: the version that was opened can be read to its end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn unchanged(&self) -> Result<bool> {
        let (source, path) = (Arc::clone(&self.source), self.path.clone());
        blocking(move || source.unchanged(&path)).await
    }

    /// Reads the first `length` bytes once, for their digests in blocks of `block_bytes` and, if one is named, for
    /// the running digest of the whole by that algorithm.
    ///
    /// # Errors
    ///
    /// [`Error::SourceChanged`] if the file has fewer bytes, [`Error::Io`].
    ///
    /// # Panics
    ///
    /// If `block_bytes` is zero.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it ends the reading after a few megabytes.
    pub async fn read_prefix(
        &self,
        length: u64,
        block_bytes: u64,
        algorithm: Option<Algorithm>,
    ) -> Result<(BlockDigests, Option<Hasher>)> {
        let Some(algorithm) = algorithm else {
            return Ok((self.blocks(length, block_bytes).await?, None));
        };
        let start = (BlockHasher::new(block_bytes), Hasher::new(algorithm));
        let (blocks, whole) = self
            .scan(length, start, |(blocks, whole), bytes| {
                blocks.update(bytes);
                whole.update(bytes);
            })
            .await?;
        Ok((blocks.finish(), Some(whole)))
    }

    /// The running hash of the first `length` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::SourceChanged`] if the file is shorter, and what reading gave.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it ends the reading after a few megabytes.
    pub async fn hash_prefix(&self, length: u64, algorithm: Algorithm) -> Result<Hasher> {
        self.scan(length, Hasher::new(algorithm), Hasher::update).await
    }

    /// The block digests alone, which two threads may share.
    async fn blocks(&self, length: u64, block_bytes: u64) -> Result<BlockDigests> {
        let (source, path) = (Arc::clone(&self.source), self.path.clone());
        let wanted = CancellationToken::new();
        let _unwanted_when_dropped = wanted.clone().drop_guard();
        let jobs = &self.jobs;
        jobs.blocking(move || {
            let read = BlockDigests::of_file(source.file(), length, block_bytes, |_| !wanted.is_cancelled());
            blocks_read(read, &path)
        })
        .await
    }

    /// Shows the first `length` bytes to `take` in order, in one hand-over for each step.
    async fn scan<T: Send + 'static>(
        &self,
        length: u64,
        mut state: T,
        take: impl Fn(&mut T, &[u8]) + Copy + Send + 'static,
    ) -> Result<T> {
        let mut at = 0;
        while at < length {
            let (source, path) = (Arc::clone(&self.source), self.path.clone());
            let end = (at + STEP_BYTES).min(length);
            let step = move || {
                read_range(source.file(), &path, (at, end), |bytes| take(&mut state, bytes))?;
                Ok(state)
            };
            state = self.jobs.blocking(step).await?;
            at = end;
        }
        Ok(state)
    }

    /// Keeps a digest that the caller has computed from this version, unless a true one is kept
    /// already or the file has changed. Best effort, without an error.
    ///
    /// # Cancel safety
    ///
    /// Safe: it happens or not.
    pub async fn keep_digest(&self, digest: Digest) {
        let file = self.clone();
        let jobs = &self.jobs;
        let kept = jobs.blocking(move || {
            file.keep_digest_now(&digest);
            Ok(())
        });
        if let Err(error) = kept.await {
            tracing::debug!(%error, "digest not kept");
        }
    }

    pub(crate) fn keep_digest_now(&self, digest: &Digest) {
        self.source.keep_digest(digest);
    }

    pub(crate) fn file(&self) -> &File {
        self.source.file()
    }
}

/// What came of reading block digests; that nobody wanted them any more is told to nobody.
pub(crate) fn blocks_read(read: std::io::Result<Option<BlockDigests>>, path: &FilePath) -> Result<BlockDigests> {
    match read {
        Ok(Some(blocks)) => Ok(blocks),
        Ok(None) => Err(stopped()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(Error::SourceChanged { path: path.clone() })
        }
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Takes the bytes of `file` from where `hasher` stands up to `end` into it.
///
/// # Errors
///
/// [`Error::SourceChanged`] if the file ends before.
pub(crate) fn hash_range(file: &File, path: &FilePath, end: u64, hasher: &mut Hasher) -> Result<()> {
    read_range(file, path, (hasher.length(), end), |bytes| hasher.update(bytes))
}

/// Shows the bytes `from..to` of `file` to `take`, in order.
///
/// # Errors
///
/// [`Error::SourceChanged`] if the file ends before.
fn read_range(file: &File, path: &FilePath, (from, to): (u64, u64), mut take: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = from;
    while at < to {
        let left = usize::try_from(to - at).unwrap_or(BUFFER_BYTES);
        let wanted = &mut buffer[..left.min(BUFFER_BYTES)];
        let count = disk::read_at(file, wanted, at).map_err(|error| Error::io("read", &path, error))?;
        if count == 0 {
            return Err(Error::SourceChanged { path: path.clone() });
        }
        take(&wanted[..count]);
        at += count as u64;
    }
    Ok(())
}
