//! `ftpd` without a command: the server itself.

use std::path::Path;

use anyhow::Context as _;

use crate::config::Config;
use crate::{audit, logging};

/// Serves until a signal ends it.
pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let _log = logging::start(&config.server.log)?;
    for warning in config.warnings().into_iter().chain(root_warning()) {
        audit::warning(&warning);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the threads of the server cannot be started")?;
    runtime.block_on(async { anyhow::bail!("the server half is not linked in yet") })
}

/// What to tell whoever starts the server as root, where a fault in it would cost the whole machine.
fn root_warning() -> Option<String> {
    rustix::process::geteuid().is_root().then(|| {
        "ftpd runs as root and does not need to: the default port is not privileged; run it as a user of its own who \
         owns the homes, as in `useradd --system ftpd` and `User=ftpd` in a systemd unit"
            .to_owned()
    })
}
