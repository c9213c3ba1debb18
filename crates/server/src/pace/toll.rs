//! What a session owes for what it moved and asked for, and to whom.

use std::sync::Arc;

use super::{Bucket, Share};
use crate::config::{Limits, UserConfig};

/// So much a second, of one user or of one address; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// Bytes that come in.
    pub(crate) upload: Option<u64>,
    /// Bytes that go out.
    pub(crate) download: Option<u64>,
    /// Requests of every kind.
    pub(crate) requests: Option<u64>,
    /// Requests that fail or ask for nothing.
    pub(crate) nuisances: Option<u64>,
}

impl Rates {
    /// What all sessions of a user share.
    pub(crate) fn of_user(user: &UserConfig, limits: &Limits) -> Self {
        Self {
            upload: user.max_upload,
            download: user.max_download,
            requests: limits.requests_per_user,
            nuisances: limits.nuisances_per_user,
        }
    }

    /// What all sessions of an address share.
    pub(crate) fn of_address(limits: &Limits) -> Self {
        Self {
            upload: limits.upload_per_address,
            download: limits.download_per_address,
            requests: limits.requests_per_address,
            nuisances: limits.nuisances_per_address,
        }
    }
}

/// The buckets of one user or of one address.
#[derive(Clone)]
pub(crate) struct Toll {
    upload: Arc<Bucket>,
    download: Arc<Bucket>,
    requests: Arc<Bucket>,
    nuisances: Arc<Bucket>,
}

impl Toll {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            upload: Bucket::new(rates.upload),
            download: Bucket::new(rates.download),
            requests: Bucket::new(rates.requests),
            nuisances: Bucket::new(rates.nuisances),
        }
    }

    /// Takes over changed rates, also for who waits already.
    pub(crate) fn follow(&self, rates: Rates) {
        self.upload.set_rate(rates.upload);
        self.download.set_rate(rates.download);
        self.requests.set_rate(rates.requests);
        self.nuisances.set_rate(rates.nuisances);
    }

    /// Whether forgetting it would change nothing.
    pub(crate) fn is_full(&self) -> bool {
        [&self.upload, &self.download, &self.requests, &self.nuisances]
            .into_iter()
            .all(|bucket| bucket.is_full())
    }
}

/// What one session pays from: to its user and to its address. What is still owed when it is dropped is taken
/// without a wait.
pub(crate) struct Purse {
    upload: [Due; 2],
    download: [Due; 2],
    requests: [Due; 2],
    nuisances: [Due; 2],
}

impl Purse {
    pub(crate) fn new(user: &Toll, address: &Toll) -> Self {
        let both = |of: fn(&Toll) -> &Arc<Bucket>| [Due::to(of(user)), Due::to(of(address))];
        Self {
            upload: both(|toll| &toll.upload),
            download: both(|toll| &toll.download),
            requests: both(|toll| &toll.requests),
            nuisances: both(|toll| &toll.nuisances),
        }
    }

    /// So many bytes came in and went out.
    pub(crate) fn owe_bytes(&mut self, received: u64, sent: u64) {
        owe(&mut self.upload, received);
        owe(&mut self.download, sent);
    }

    /// Whether what comes in has a rate.
    pub(crate) fn limits_uploads(&self) -> bool {
        self.upload.iter().any(|due| due.share.is_limited())
    }

    /// Whether what goes out has a rate.
    pub(crate) fn limits_downloads(&self) -> bool {
        self.download.iter().any(|due| due.share.is_limited())
    }

    pub(crate) fn owe_request(&mut self) {
        owe(&mut self.requests, 1);
    }

    /// A request that failed, or that asked for nothing.
    pub(crate) fn owe_nuisance(&mut self) {
        owe(&mut self.nuisances, 1);
    }

    /// Waits until everything owed is paid.
    ///
    /// # Cancel safety
    /// Safe: what is paid is paid, and the rest stays owed.
    pub(crate) async fn pay(&mut self) {
        let Self {
            upload,
            download,
            requests,
            nuisances,
        } = self;
        for due in [upload, download, requests, nuisances].into_iter().flatten() {
            due.share.take(due.owed).await;
            due.owed = 0;
        }
    }
}

fn owe(dues: &mut [Due; 2], units: u64) {
    for due in dues {
        due.owed += units;
    }
}

/// What is owed to one bucket.
struct Due {
    share: Share,
    owed: u64,
}

impl Due {
    fn to(bucket: &Arc<Bucket>) -> Self {
        Self {
            share: Share::of(bucket),
            owed: 0,
        }
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.share.charge(self.owed);
    }
}
