//! Small uploads: whole in memory, and stored many at a time, in one hand-over and as one group.

use std::sync::Arc;

use bytes::Bytes;
use ftp_digest::{Digest, Hasher};
use tokio::sync::oneshot;

use super::UploadSpec;
use crate::blocking::{blocking, stopped};
use crate::commit::{Publication, Stored};
use crate::error::{Error, Result};
use crate::home::{Home, HomeState};
use crate::last_folder::LastFolder;
use crate::path::FilePath;
use crate::quota::Booking;
use crate::staged::StagedFile;
use crate::staging::StagingId;

/// A small file to be stored, or a directory to be made on the way.
pub enum SmallWork {
    /// A file.
    File(SmallUpload),
    /// A directory with its parents; one that exists is no error.
    Directory(FilePath),
}

/// A small file to be stored.
pub struct SmallUpload {
    /// The target.
    pub path: FilePath,
    /// As for [`Home::begin_upload`].
    pub spec: UploadSpec,
    /// All its bytes.
    pub bytes: Bytes,
    /// As for [`Upload::commit`](super::Upload::commit).
    pub length: u64,
    /// As for [`Upload::commit`](super::Upload::commit).
    pub digest: Digest,
}

/// What became of one of them so far.
enum Answer {
    Now(Result<Option<Stored>>),
    Later(oneshot::Receiver<Result<Stored>>),
    /// It is not as usual, and takes the long way.
    Alone(SmallUpload),
}

impl Home {
    /// Does all of it in one hand-over; the files become durable as one group. The results are in the order of
    /// the work, with what was stored of each file. Paths of files must differ, and none be above another path
    /// of the same work.
    ///
    /// # Errors
    ///
    /// Each result has those of [`Home::begin_upload`], [`Upload::write_at`](super::Upload::write_at) and
    /// [`Upload::commit`](super::Upload::commit), or of [`Home::make_dir`].
    ///
    /// # Cancel safety
    ///
    /// Once begun, what was handed over runs to its end.
    pub async fn store_small(&self, work: Vec<SmallWork>) -> Vec<Result<Option<Stored>>> {
        let (state, number) = (Arc::clone(self.state()), work.len());
        let Ok(answers) = blocking(move || Ok(state.store_small(work))).await else {
            return (0..number).map(|_| Err(stopped())).collect();
        };
        let mut results = Vec::with_capacity(number);
        for answer in answers {
            results.push(match answer {
                Answer::Now(result) => result,
                Answer::Later(stored) => stored.await.unwrap_or_else(|_| Err(stopped())).map(Some),
                Answer::Alone(upload) => self.store_alone(upload).await.map(Some),
            });
        }
        results
    }

    async fn store_alone(&self, upload: SmallUpload) -> Result<Stored> {
        let mut running = self.begin_upload(&upload.path, upload.spec).await?;
        if !upload.bytes.is_empty() {
            running.write_at(0, upload.bytes).await?;
        }
        running.commit(upload.length, upload.digest).await
    }
}

impl HomeState {
    fn store_small(self: &Arc<Self>, work: Vec<SmallWork>) -> Vec<Answer> {
        let bytes = |work: &SmallWork| match work {
            SmallWork::File(upload) => upload.bytes.len() as u64,
            SmallWork::Directory(_) => 0,
        };
        // Where there is no room for all of them, each is judged by itself.
        let has_room = self.check_disk(&FilePath::root(), work.iter().map(bytes).sum()).is_ok();
        self.sweep();
        let mut folder = LastFolder::default();
        let mut publications = Vec::with_capacity(work.len());
        let answers = work
            .into_iter()
            .map(|work| match work {
                SmallWork::Directory(path) => Answer::Now(self.make_dirs(&path).map(|()| None)),
                SmallWork::File(upload) if !has_room => Answer::Alone(upload),
                SmallWork::File(upload) => match self.stage_small(&mut folder, &upload) {
                    Ok(Some((publication, stored))) => {
                        publications.push(publication);
                        Answer::Later(stored)
                    }
                    Ok(None) => Answer::Alone(upload),
                    Err(error) => Answer::Now(Err(error)),
                },
            })
            .collect();
        self.publish_all(publications);
        answers
    }

    /// Stages and proves a small file; `None` if it is not as usual.
    fn stage_small(
        self: &Arc<Self>,
        folder: &mut LastFolder,
        upload: &SmallUpload,
    ) -> Result<Option<(Publication, oneshot::Receiver<Result<Stored>>)>> {
        let SmallUpload {
            path,
            spec,
            bytes,
            length,
            digest,
        } = upload;
        let size = bytes.len() as u64;
        if size != *length || spec.size.is_some_and(|announced| announced != size) || spec.keep {
            return Ok(None);
        }
        if Hasher::digest(digest.algorithm(), bytes) != *digest {
            return Ok(None);
        }
        let id = StagingId::of(path);
        let Some(claim) = self.slots().try_claim(&id) else {
            return Ok(None);
        };
        let place = match folder.place(self, path) {
            Err(Error::NotFound { .. }) if spec.make_parents => {
                self.make_parents(path)?;
                folder.place(self, path)
            }
            place => place,
        }?;
        let is_new = self.occupant(&place, path, spec.replace)?.is_none();
        let Ok(booking) = Booking::file(self.ledger(), size, None, is_new) else {
            // What an earlier upload has left may make the difference.
            return Ok(None);
        };
        self.make_room();
        let Some(mut staged) = StagedFile::open_new(Arc::clone(self), path.clone(), id, claim, booking)? else {
            return Ok(None);
        };
        if !bytes.is_empty() {
            staged.write_at(0, bytes)?;
        }
        let meta = staged.seal(spec.modified, digest)?;
        let (answer, stored) = oneshot::channel();
        let publication = Publication {
            staged,
            meta,
            digest: *digest,
            replace: spec.replace,
            answer,
        };
        Ok(Some((publication, stored)))
    }
}
