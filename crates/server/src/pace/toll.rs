//! What a session owes for what it moved and asked for, and to whom.

use std::sync::Arc;

use super::{Bucket, Share};
use crate::config::{Limits, UserConfig};

/// The rates of one user, for all sessions together.
pub(crate) struct Tolls {
    upload: Arc<Bucket>,
    download: Arc<Bucket>,
    asking: Toll,
}

/// Rates of requests, of one user or of one address.
#[derive(Clone)]
pub(crate) struct Toll {
    requests: Arc<Bucket>,
    nuisances: Arc<Bucket>,
}

impl Tolls {
    pub(crate) fn new(user: &UserConfig, limits: &Limits) -> Self {
        Self {
            upload: Bucket::new(user.max_upload),
            download: Bucket::new(user.max_download),
            asking: Toll::new(limits.requests_per_user, limits.nuisances_per_user),
        }
    }

    /// Takes over changed rates, also for who waits already.
    pub(crate) fn follow(&self, user: &UserConfig, limits: &Limits) {
        self.upload.set_rate(user.max_upload);
        self.download.set_rate(user.max_download);
        self.asking.follow(limits.requests_per_user, limits.nuisances_per_user);
    }
}

impl Toll {
    pub(crate) fn new(requests: Option<u64>, nuisances: Option<u64>) -> Self {
        Self {
            requests: Bucket::new(requests),
            nuisances: Bucket::new(nuisances),
        }
    }

    pub(crate) fn follow(&self, requests: Option<u64>, nuisances: Option<u64>) {
        self.requests.set_rate(requests);
        self.nuisances.set_rate(nuisances);
    }

    /// Whether forgetting it would change nothing.
    pub(crate) fn is_full(&self) -> bool {
        self.requests.is_full() && self.nuisances.is_full()
    }
}

/// What one session pays from.
pub(crate) struct Purse {
    upload: Due,
    download: Due,
    requests: [Due; 2],
    nuisances: [Due; 2],
}

impl Purse {
    pub(crate) fn new(user: &Tolls, address: &Toll) -> Self {
        let both = |of: fn(&Toll) -> &Arc<Bucket>| [Due::to(of(&user.asking)), Due::to(of(address))];
        Self {
            upload: Due::to(&user.upload),
            download: Due::to(&user.download),
            requests: both(|toll| &toll.requests),
            nuisances: both(|toll| &toll.nuisances),
        }
    }

    /// So many bytes came in and went out.
    pub(crate) fn owe_bytes(&mut self, received: u64, sent: u64) {
        self.upload.owed += received;
        self.download.owed += sent;
    }

    /// Whether what comes in has a rate.
    pub(crate) fn limits_uploads(&self) -> bool {
        self.upload.share.is_limited()
    }

    pub(crate) fn owe_request(&mut self) {
        for due in &mut self.requests {
            due.owed += 1;
        }
    }

    /// A request that failed, or that asked for nothing.
    pub(crate) fn owe_nuisance(&mut self) {
        for due in &mut self.nuisances {
            due.owed += 1;
        }
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
        for due in [upload, download].into_iter().chain(requests).chain(nuisances) {
            due.share.take(due.owed).await;
            due.owed = 0;
        }
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
