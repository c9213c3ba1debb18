//! What the server does for stored files by itself: comparing them with their digests, a part at a
//! time, and the counts of the quotas with the disk. Both read gently, disturb no transfer, and end
//! where they are when the server drains.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ftp_store::{Home, Pace, Part, ScrubFault, ScrubOptions, ScrubSummary};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::audit;
use crate::config::CareConfig;
use crate::site::Site;

mod rounds;

pub(crate) use rounds::FILE as STATE_FILE;

use rounds::{PARTS, Rounds};

/// Names a second that a recount in the background looks at: below one hundredth of what a disk gives.
const RECOUNT_NAMES: u64 = 10_000;
/// How often homes are asked whether an operation has met a wrong count.
const SUSPICION_INTERVAL: Duration = Duration::from_secs(60);
/// How long a part of a scrub that could not be noted as done waits for its next try.
const RETRY_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The care for all homes of a site.
pub(crate) struct Care {
    site: Arc<Site>,
    state: PathBuf,
    config: Mutex<CareConfig>,
    changed: Notify,
    recount_asked: Notify,
}

impl Care {
    pub(crate) fn new(site: Arc<Site>, state: PathBuf, config: CareConfig) -> Self {
        Self {
            site,
            state,
            config: Mutex::new(config),
            changed: Notify::new(),
            recount_asked: Notify::new(),
        }
    }

    /// Puts another configuration in force.
    pub(crate) fn set_config(&self, config: CareConfig) {
        let old = std::mem::replace(&mut *self.config.lock().unwrap_or_else(PoisonError::into_inner), config);
        if old != config {
            self.changed.notify_one();
        }
    }

    /// Has all homes recounted soon.
    pub(crate) fn recount_soon(&self) {
        self.recount_asked.notify_one();
    }

    /// Works until it is dropped.
    pub(crate) async fn run(&self) {
        tokio::join!(self.scrub_by_schedule(), self.recount_by_schedule());
    }

    fn config(&self) -> CareConfig {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn recount_by_schedule(&self) {
        let mut last = Instant::now();
        loop {
            let due = self.config().recount_interval.map(|interval| last + interval);
            let all = tokio::select! {
                () = self.recount_asked.notified() => true,
                () = sleep_until(due) => true,
                () = tokio::time::sleep(SUSPICION_INTERVAL) => due.is_some_and(|due| due <= Instant::now()),
            };
            if all {
                last = Instant::now();
            }
            for (user, account) in self.site.all() {
                if let Some(home) = account.opened()
                    && (all || home.suspects_drift())
                {
                    recount(&user, &home).await;
                }
            }
        }
    }

    async fn scrub_by_schedule(&self) {
        let mut rounds = match Rounds::load(&self.state) {
            Ok(rounds) => rounds,
            Err(error) => {
                audit::failure(None, "stored files are not scrubbed by schedule", &*error);
                return std::future::pending().await;
            }
        };
        loop {
            let Some(interval) = self.config().scrub_interval else {
                self.changed.notified().await;
                continue;
            };
            let names: Vec<String> = self.site.all().into_iter().map(|(name, _)| name).collect();
            #[expect(
                clippy::disallowed_methods,
                reason = "rounds outlive restarts, and judge a jump of the clock for themselves"
            )]
            let now = SystemTime::now();
            let (user, part, wait) = rounds.next(names.iter().map(String::as_str), interval, now);
            // It waits for the disk, and this task takes in connections too.
            let saving = tokio::task::spawn_blocking(move || {
                let saved = rounds.save(names.iter().map(String::as_str));
                (rounds, saved)
            });
            let Ok((back, saved)) = saving.await else {
                return std::future::pending().await;
            };
            rounds = back;
            if let Err(error) = saved {
                audit::failure(None, "cannot note how far stored files are scrubbed", &*error);
                tokio::time::sleep(RETRY_INTERVAL).await;
                continue;
            }
            if !wait.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.changed.notified() => {}
                }
                continue;
            }
            // Asked for only now: an account from before a reload would put its old quota in force. A home that
            // cannot be opened is told of where its user needs it.
            if let Some(account) = self.site.account(&user)
                && let Ok(home) = self.site.open(&account).await
            {
                self.scrub(&user, &home, part).await;
            }
            rounds.done(&user, interval);
        }
    }

    async fn scrub(&self, user: &str, home: &Home, part: u64) {
        let options = ScrubOptions {
            pace: Pace::per_second(self.config().scrub_rate),
            adopt: false,
            part: Some(Part { index: part, of: PARTS }),
        };
        let began = Instant::now();
        match scrub(user, home, options).await {
            Ok(summary) if summary == ScrubSummary::default() => {}
            Ok(summary) => audit::scrubbed(user, &summary, began.elapsed().as_secs_f64()),
            Err(error) => audit::failure(None, &format!("cannot scrub the home of {user}"), &error),
        }
    }
}

/// Compares files of a home with their digests; what is wrong is logged.
async fn scrub(user: &str, home: &Home, options: ScrubOptions) -> Result<ScrubSummary, ftp_store::Error> {
    let mut scrub = home.scrub(options).await?;
    while let Some(finding) = scrub.next().await? {
        log_finding(user, &finding);
    }
    Ok(scrub.summary())
}

/// Compares the counts of a home with the disk, corrects them, and logs what was off.
async fn recount(user: &str, home: &Home) {
    match home.recount(Pace::per_second(RECOUNT_NAMES)).await {
        Ok(recount) => audit::recounted(user, &recount),
        Err(error) => audit::failure(None, &format!("cannot recount the home of {user}"), &error),
    }
}

/// Tells the log of something that is wrong.
pub(crate) fn log_finding(user: &str, finding: &ftp_store::Finding) {
    let path = finding.path.display();
    match &finding.fault {
        ScrubFault::Damaged {
            expected,
            found,
            size,
            modified,
        } => audit::damaged(user, &path, expected, found, Some((*size, &time_text(*modified)))),
        ScrubFault::Unreadable { cause } => audit::unreadable(user, &path, cause),
    }
}

/// RFC 3339, or seconds where the calendar ends.
pub(crate) fn time_text(time: ftp_store::Timestamp) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    match jiff::Timestamp::new(time.seconds, nanos) {
        Ok(moment) => moment.to_string(),
        Err(_) => format!("@{}", time.seconds),
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
