//! Listing what is staged, page by page.

use std::sync::Arc;

use crate::error::Result;
use crate::home::HomeState;
use crate::staging::{self, StagedUpload, StagingId};

/// The longest page.
const PAGE_UPLOADS: usize = 256;

/// The staged uploads of a home, as they are found one after the other, in no order.
pub struct StagedListing {
    home: Arc<HomeState>,
    ids: Option<Ids>,
    is_over: bool,
}

type Ids = Box<dyn Iterator<Item = Result<StagingId>> + Send>;

impl StagedListing {
    pub(super) fn new(home: Arc<HomeState>) -> Self {
        Self {
            home,
            ids: None,
            is_over: false,
        }
    }

    /// The next page, of at most 256 uploads; `None` at the end. Those that end meanwhile may be in it or not.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io), which ends the listing.
    ///
    /// # Cancel safety
    ///
    /// A dropped call ends the listing.
    pub async fn next_page(&mut self) -> Result<Option<Vec<StagedUpload>>> {
        if std::mem::replace(&mut self.is_over, true) {
            return Ok(None);
        }
        let (home, ids) = (Arc::clone(&self.home), self.ids.take());
        let looking = move || {
            let mut ids: Ids = match ids {
                Some(ids) => ids,
                None => Box::new(staging::ids(home.staging())?),
            };
            let (now, mut page) = (home.clock().now(), Vec::new());
            while page.len() < PAGE_UPLOADS {
                let Some(id) = ids.next() else {
                    return Ok((page, None));
                };
                page.extend(staging::look(home.staging(), &id?, now)?);
            }
            Ok((page, Some(ids)))
        };
        let (page, ids) = self.home.jobs().blocking(looking).await?;
        self.is_over = ids.is_none();
        self.ids = ids;
        Ok((!page.is_empty()).then_some(page))
    }
}
