//! `ftpd` without a command: the server itself.

use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::logging::LogGuard;
use crate::server::{ABORT_TIMEOUT, Foundation, Server};
use crate::{audit, logging};

/// How often the configuration file is looked at. Asking the kernel to tell would miss files on network
/// mounts and those that editors replace.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Serves until a signal ends it.
pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    // Taken before the file is read: a change right after that must not go unnoticed.
    let known = fingerprint(file);
    let config = Config::load(file)?;
    let (warnings, log) = (config.warnings(), config.server.log.clone());
    // Asked before the walls are up: behind them the limits of a container can not be read.
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let foundation = Foundation::lay(config)?;
    let log = logging::start(&log)?;
    for warning in warnings {
        audit::warning(&warning);
    }
    foundation.report();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("the threads of the server cannot be started")?;
    let served = runtime.block_on(serve(foundation, known, &log));
    // A large deletion would keep the process for as long as it takes; the next opening of its home ends it.
    runtime.shutdown_timeout(ABORT_TIMEOUT);
    served
}

async fn serve(foundation: Foundation, known: Option<Fingerprint>, log: &LogGuard) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("signals cannot be handled")?;
    let server = Arc::new(Server::start(foundation).await?);
    let mut impatience = Signals::listen().context("signals cannot be handled")?;
    let running = Arc::clone(&server).run(signals.follow(&server, known, log));
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => return Ok(()),
        // The first signal ends the server; a second one is from somebody who will not wait.
        () = impatience.second() => server.cut(),
    }
    running.await;
    Ok(())
}

/// The signals that the server obeys.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Completes at the second SIGINT or SIGTERM.
    async fn second(&mut self) {
        for _ in 0..2 {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
        }
    }

    /// Reloads the configuration on SIGHUP, which also recounts the quotas, and when the file changes; ends with SIGINT or SIGTERM.
    async fn follow(&mut self, server: &Arc<Server>, mut known: Option<Fingerprint>, log: &LogGuard) {
        let file = server.config().file.clone();
        let mut seen = known;
        let mut timer = tokio::time::interval(WATCH_INTERVAL);
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                // Who asks by hand may have changed files by hand.
                _ = self.hangup.recv() => server.recount(),
                _ = timer.tick() => {
                    let path = file.clone();
                    let now = tokio::task::spawn_blocking(move || fingerprint(&path)).await.unwrap_or_default();
                    // A file that still changes is being written, and half of it may look like a whole one
                    // with fewer users. One that is gone is being replaced; its successor will be noticed.
                    let is_at_rest = now == std::mem::replace(&mut seen, now);
                    if now.is_none() || now == known || !is_at_rest {
                        continue;
                    }
                }
            }
            known = fingerprint(&file);
            let reloading = Arc::clone(server);
            // It reads files, and accepting must go on meanwhile.
            if let Err(error) = tokio::task::spawn_blocking(move || reloading.reload()).await {
                audit::failure(None, "the configuration was not reloaded", &error);
            }
            log.set_level(server.config().server.log.level);
        }
    }
}

/// What changes when a file is written or replaced: inode, size and modification time.
type Fingerprint = (u64, u64, i64, i64);

fn fingerprint(file: &Path) -> Option<Fingerprint> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}
