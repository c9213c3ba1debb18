//! Files opened for download.

use std::fs::File;
use std::sync::Arc;

use bytes::BytesMut;
use ftp_digest::{Algorithm, BlockDigests, BlockHasher, Digest, Hasher};

use crate::blocking::blocking;
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
        blocking(move || state.open_read(&path)).await
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
        let (buffer, _) = self.read_hashed(offset, length, buffer, None).await?;
        Ok(buffer)
    }

    /// Like [`ReadFile::read_at`], and takes what it appended into `hasher`, on the same thread and
    /// so in the same hand-over.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Safe for the file; buffer and hasher are lost.
    pub async fn read_hashed(
        &self,
        offset: u64,
        length: usize,
        mut buffer: BytesMut,
        mut hasher: Option<Hasher>,
    ) -> Result<(BytesMut, Option<Hasher>)> {
        let (source, path) = (Arc::clone(&self.source), self.path.clone());
        blocking(move || {
            let start = buffer.len();
            buffer.resize(start + length, 0);
            let read = disk::read_at(source.file(), &mut buffer[start..], offset)
                .map_err(|error| Error::io("read", &path, error))?;
            buffer.truncate(start + read);
            if let Some(hasher) = &mut hasher {
                hasher.update(&buffer[start..]);
            }
            Ok((buffer, hasher))
        })
        .await
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
        let (hasher, _) = self.hash(self.size, algorithm, None).await?;
        let digest = hasher.finish();
        if !self.unchanged().await? {
            let path = self.path.clone();
            return Err(Error::SourceChanged { path });
        }
        self.keep_digest(digest).await;
        Ok(digest)
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

    /// Reads the first `length` bytes once, for their digests in blocks of `block_bytes` and for the
    /// running digest of the whole.
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
        algorithm: Algorithm,
    ) -> Result<(BlockDigests, Hasher)> {
        let blocks = BlockHasher::new(block_bytes);
        let (hasher, blocks) = self.hash(length, algorithm, Some(blocks)).await?;
        let blocks = blocks.expect("the block hasher comes back from every step");
        Ok((blocks.finish(), hasher))
    }

    /// Hashes the first `length` bytes in steps.
    async fn hash(
        &self,
        length: u64,
        algorithm: Algorithm,
        mut blocks: Option<BlockHasher>,
    ) -> Result<(Hasher, Option<BlockHasher>)> {
        let mut hasher = Hasher::new(algorithm);
        while hasher.length() < length {
            let (source, path) = (Arc::clone(&self.source), self.path.clone());
            (hasher, blocks) = blocking(move || {
                let end = (hasher.length() + STEP_BYTES).min(length);
                hash_range(source.file(), &path, end, &mut hasher, |bytes| {
                    if let Some(blocks) = &mut blocks {
                        blocks.update(bytes);
                    }
                })?;
                Ok((hasher, blocks))
            })
            .await?;
        }
        Ok((hasher, blocks))
    }

    /// Keeps a digest that the caller has computed from this version, unless a true one is kept
    /// already or the file has changed. Best effort, without an error.
    ///
    /// # Cancel safety
    ///
    /// Safe: it happens or not.
    pub async fn keep_digest(&self, digest: Digest) {
        let file = self.clone();
        let kept = blocking(move || {
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

/// Takes the bytes of `file` from where `hasher` stands up to `end` into it, and shows them to `also`.
///
/// # Errors
///
/// [`Error::SourceChanged`] if the file ends before.
pub(crate) fn hash_range(
    file: &File,
    path: &FilePath,
    end: u64,
    hasher: &mut Hasher,
    mut also: impl FnMut(&[u8]),
) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while hasher.length() < end {
        let left = usize::try_from(end - hasher.length()).unwrap_or(BUFFER_BYTES);
        let wanted = &mut buffer[..left.min(BUFFER_BYTES)];
        let count = disk::read_at(file, wanted, hasher.length()).map_err(|error| Error::io("read", &path, error))?;
        if count == 0 {
            return Err(Error::SourceChanged { path: path.clone() });
        }
        hasher.update(&wanted[..count]);
        also(&wanted[..count]);
    }
    Ok(())
}
