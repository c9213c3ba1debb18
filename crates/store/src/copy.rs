//! Copies inside a home, without the bytes leaving the server: staged and published like an upload.

use std::sync::Arc;

use ftp_digest::{Algorithm, Digest, Hasher};
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::blocking::{Aside, blocking, stopped};
use crate::commit::{Publication, Stored};
use crate::disk;
use crate::error::{Error, Result};
use crate::home::{Home, HomeState};
use crate::path::FilePath;
use crate::quota::Booking;
use crate::read::{ReadFile, STEP_BYTES, hash_range};
use crate::staged::{Fate, StagedFile};
use crate::staging::{self, StagingId};

/// The buffer where the kernel cannot copy by itself.
const BUFFER_BYTES: usize = 256 * 1024;

/// A copy under way, handed from step to step.
struct Copying {
    from: ReadFile,
    staged: StagedFile,
    /// Whether the copy has the very blocks of its source.
    shares_blocks: bool,
    /// Whether the kernel copies; it may say at the first try that it cannot.
    in_kernel: bool,
}

impl Home {
    /// Copies a regular file, by sharing its blocks where the file system can. The copy keeps the
    /// modification time of its source, and its digest. A copy that has blocks of its own is read
    /// back for that digest, and compared with the one kept with the source if there is one.
    ///
    /// # Errors
    ///
    /// Those of [`Home::open_read`] for the source and of [`Home::begin_upload`] for the target,
    /// [`Error::SourceChanged`], [`Error::Damaged`] when the source is damaged, and
    /// [`Error::DigestMismatch`] when the copy is.
    ///
    /// # Cancel safety
    ///
    /// Before publication has begun, dropping ends the copy after a few megabytes and leaves nothing.
    /// From then on it runs to its end.
    pub async fn copy(&self, from: &FilePath, to: &FilePath, replace: bool) -> Result<Stored> {
        let (state, from, to) = (Arc::clone(self.state()), from.clone(), to.clone());
        let jobs = self.jobs();
        let begin = move || Copying::begin(state, &from, to, replace).map(Aside::new);
        let mut copying = jobs.blocking(begin).await?;
        while !copying.is_complete() {
            let step = move || copying.into_inner().step().map(Aside::new);
            copying = jobs.blocking(step).await?;
        }
        let kept = copying.from.kept_digest();
        let digest = match kept {
            Some(kept) if copying.shares_blocks => kept,
            _ => {
                let mut hasher = Hasher::new(kept.map_or_else(Algorithm::default, |kept| kept.algorithm()));
                while hasher.length() < copying.from.size() {
                    let step = move || {
                        let (copying, hasher) = copying.into_inner().hash_step(hasher)?;
                        Ok((Aside::new(copying), hasher))
                    };
                    (copying, hasher) = jobs.blocking(step).await?;
                }
                hasher.finish()
            }
        };
        if !copying.from.unchanged().await? {
            return copying.fail(|copying| copying.source_changed()).await;
        }
        if let Some(kept) = kept.filter(|kept| *kept != digest) {
            if let Err(error) = copying.from.prove().await {
                return copying.fail(|_| error).await;
            }
            let mismatch = move |copying: &Copying| Error::DigestMismatch {
                path: copying.staged.target().clone(),
                expected: Box::new(kept),
                found: Box::new(digest),
            };
            return copying.fail(mismatch).await;
        }
        let (answer, stored) = oneshot::channel();
        tokio::task::spawn_blocking(move || copying.into_inner().publish(digest, replace, answer));
        stored.await.map_err(|_| stopped())?
    }
}

impl Aside<Copying> {
    /// Gives the copy up, and answers when it is gone.
    async fn fail<T: Send + 'static>(self, why: impl FnOnce(&Copying) -> Error + Send + 'static) -> Result<T> {
        blocking(move || {
            let copying = self.into_inner();
            Err(why(&copying))
        })
        .await
    }
}

impl Copying {
    fn begin(home: Arc<HomeState>, from: &FilePath, to: FilePath, replace: bool) -> Result<Self> {
        let from = home.open_read(from)?;
        let place = home.tree().place(&to)?;
        let old = home.target(&place, &to, replace)?;
        home.sweep();
        home.check_disk(&to, from.size())?;
        let booking = Booking::file(home.ledger(), from.size(), None, old.is_none())?;
        home.make_room();
        // A number at a time, past files of an earlier process that could not be deleted.
        let id = loop {
            let id = StagingId::temporary(home.next_number());
            if staging::staged_bytes(home.staging(), &id)?.is_none() {
                break id;
            }
        };
        let mut staged = StagedFile::open(home, to, id, None, booking, None, Fate::Temporary)?;
        // Where the file system cannot share blocks, the next best way is tried step by step.
        let shares_blocks = disk::clone_file(from.file(), staged.file()).is_ok();
        if shares_blocks {
            staged.take_stock();
        }
        Ok(Self {
            from,
            staged,
            shares_blocks,
            in_kernel: true,
        })
    }

    fn is_complete(&self) -> bool {
        self.staged.length() >= self.from.size()
    }

    fn step(mut self) -> Result<Self> {
        let end = (self.staged.length() + STEP_BYTES).min(self.from.size());
        while self.staged.length() < end {
            let at = self.staged.length();
            let left = usize::try_from(end - at).unwrap_or(BUFFER_BYTES);
            if self.in_kernel {
                match disk::copy_range(self.from.file(), self.staged.file(), at, left) {
                    Ok(0) => return Err(self.source_changed()),
                    Ok(count) => self.staged.grow(at + count as u64),
                    Err(errno) if self.staged.home().makes_way(Some(errno)) => {}
                    Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => {
                        self.staged.take_stock();
                        return Err(self.staged.write_error(left as u64, &errno.into()));
                    }
                    Err(_) => self.in_kernel = false,
                }
            } else {
                let mut buffer = vec![0; left.min(BUFFER_BYTES)];
                let count = disk::read_at(self.from.file(), &mut buffer, at)
                    .map_err(|error| Error::io("read", self.from.path(), error))?;
                if count == 0 {
                    return Err(self.source_changed());
                }
                self.staged.write_at(at, &buffer[..count])?;
            }
        }
        Ok(self)
    }

    fn hash_step(self, mut hasher: Hasher) -> Result<(Self, Hasher)> {
        let end = (hasher.length() + STEP_BYTES).min(self.from.size());
        let target = self.staged.target();
        hash_range(self.staged.file(), target, end, &mut hasher)?;
        Ok((self, hasher))
    }

    fn publish(mut self, digest: Digest, replace: bool, answer: oneshot::Sender<Result<Stored>>) {
        let home = Arc::clone(self.staged.home());
        match self.staged.seal(Some(self.from.modified()), &digest) {
            Ok(meta) => {
                self.from.keep_digest_now(&digest);
                home.publish(Publication {
                    staged: self.staged,
                    meta,
                    digest,
                    replace,
                    answer,
                });
            }
            Err(error) => {
                drop(self.staged);
                let _ = answer.send(Err(error));
            }
        }
    }

    fn source_changed(&self) -> Error {
        Error::SourceChanged {
            path: self.from.path().clone(),
        }
    }
}
