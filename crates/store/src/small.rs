//! Small files read whole, many in one hand-over.

use std::sync::Arc;

use bytes::BytesMut;
use ftp_digest::{Algorithm, Digest};

use crate::blocking::blocking;
use crate::disk::{self, Kind};
use crate::error::Result;
use crate::home::{Home, HomeState};
use crate::kept;
use crate::path::FilePath;
use crate::time::Timestamp;

/// A small file as it was at one moment.
pub struct SmallFile {
    /// The path it was asked for by.
    pub path: FilePath,
    /// Its modification time.
    pub modified: Timestamp,
    /// The digest kept with it, by the algorithm that was asked for.
    pub digest: Digest,
    /// What the caller's buffer began with, and behind it all bytes of the file.
    pub bytes: BytesMut,
}

impl Home {
    /// Reads the first of these files, at least one, each whole together with its kept digest, until
    /// `together` bytes of them are in memory. What is not as usual comes back as `None` and is to be opened by
    /// [`Home::open_read`]: a failure of any kind, no true digest by this algorithm, more than `each` bytes, a
    /// change meanwhile. `buffer` gives a buffer with room for so many bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) when the server is shutting down.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn read_small(
        &self,
        wanted: Vec<(FilePath, Algorithm)>,
        each: u64,
        together: u64,
        buffer: fn(usize) -> BytesMut,
    ) -> Result<Vec<Option<SmallFile>>> {
        let state = Arc::clone(self.state());
        blocking(move || {
            let mut left = together;
            let mut files = Vec::with_capacity(wanted.len());
            for (path, algorithm) in &wanted {
                let file = state.read_small(path, *algorithm, each, buffer);
                left = left.saturating_sub(file.as_ref().map_or(0, |file| file.bytes.len() as u64));
                files.push(file);
                if left == 0 {
                    break;
                }
            }
            Ok(files)
        })
        .await
    }
}

impl HomeState {
    fn read_small(
        &self,
        path: &FilePath,
        algorithm: Algorithm,
        most: u64,
        buffer: fn(usize) -> BytesMut,
    ) -> Option<SmallFile> {
        let file = self.tree().file(path).ok()?;
        let meta = disk::stat_fd(&file).ok()?;
        if meta.kind != Kind::File || meta.size > most {
            return None;
        }
        let digest = kept::read(&file, &meta).filter(|kept| kept.algorithm() == algorithm)?;
        let length = usize::try_from(meta.size).ok()?;
        let mut bytes = buffer(length);
        let start = bytes.len();
        bytes.resize(start + length, 0);
        let read = disk::read_at(&file, &mut bytes[start..], 0).ok()?;
        // The store's own changes of the name move the change time too; then it is opened with more care.
        let is_same = read == length && disk::stat_fd(&file) == Ok(meta);
        is_same.then(|| SmallFile {
            path: path.clone(),
            modified: meta.modified,
            digest,
            bytes,
        })
    }
}
