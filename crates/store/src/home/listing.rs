//! Listings of any length, a page at a time.

use std::pin::Pin;
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::io::Errno;

use super::{Entry, Home};
use crate::blocking::Jobs;
use crate::disk;
use crate::error::{Error, Result};
use crate::path::{FilePath, is_reserved};
use crate::tree::Names;

/// The longest page: with names of 255 bytes well below 100 KiB of memory.
const PAGE_ENTRIES: usize = 256;

/// A listing under way. Entries come in the order of the file system, each once; those that are made
/// or removed meanwhile may show or not.
pub struct Listing {
    path: FilePath,
    jobs: Jobs,
    side: Side,
}

/// Where the open directory is.
enum Side {
    Here(Box<Pages>),
    Away(Pin<Box<dyn Future<Output = Result<Page>> + Send>>),
    Done,
}

type Page = (Box<Pages>, Vec<Entry>);

struct Pages {
    path: FilePath,
    dir: Arc<Dir>,
    names: Names,
    /// In the top directory the store's own folder is passed over.
    hides_reserved: bool,
    with_digests: bool,
}

impl Home {
    /// Begins to list a directory, through links that stay inside the home.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::OutsideHome`],
    /// [`Error::PermissionDenied`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn list(&self, path: &FilePath, with_digests: bool) -> Result<Listing> {
        let (state, path) = (Arc::clone(self.state()), path.clone());
        let (jobs, own) = (self.jobs(), self.jobs().clone());
        jobs.blocking(move || {
            let folder = state.tree().folder(&path)?;
            let names = Names::of(&folder.dir).map_err(|errno| Error::from_errno("list", &path, errno))?;
            let pages = Pages {
                path: path.clone(),
                names,
                hides_reserved: folder.real.is_root(),
                dir: folder.dir,
                with_digests,
            };
            Ok(Listing {
                path,
                jobs: own,
                side: Side::Here(Box::new(pages)),
            })
        })
        .await
    }
}

impl Listing {
    /// The directory that is listed.
    pub fn path(&self) -> &FilePath {
        &self.path
    }

    /// The next entries, at least one and at most 256; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], which ends the listing.
    ///
    /// # Cancel safety
    ///
    /// Safe: the page is delivered by the next call.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>> {
        match std::mem::replace(&mut self.side, Side::Done) {
            Side::Here(pages) => {
                self.side = Side::Away(Box::pin(self.jobs.blocking(move || pages.next())));
            }
            side => self.side = side,
        }
        let Side::Away(job) = &mut self.side else {
            return Ok(None);
        };
        let page = job.await;
        self.side = Side::Done;
        let (pages, entries) = page?;
        if entries.is_empty() {
            return Ok(None);
        }
        self.side = Side::Here(pages);
        Ok(Some(entries))
    }
}

impl Pages {
    fn next(mut self: Box<Self>) -> Result<Page> {
        let mut entries = Vec::new();
        while entries.len() < PAGE_ENTRIES {
            let Some(name) = self.names.next() else {
                break;
            };
            let fail = |errno| Error::from_errno("list", &self.path, errno);
            let name = name.map_err(fail)?;
            if self.hides_reserved && is_reserved(&name) {
                continue;
            }
            match disk::stat_at(&*self.dir, &name) {
                Ok(meta) => entries.push(Entry::read(&*self.dir, name, meta, self.with_digests)),
                // Gone since its name was read.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(fail(errno)),
            }
        }
        Ok((self, entries))
    }
}
