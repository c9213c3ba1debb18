//! What stands between a fault in the server and the rest of the machine.
//!
//! Everything here happens before the first thread is started: Landlock and "no new privileges" hold for the
//! thread that asks for them and those it starts, and whatever only root may do has been done by then.

mod identity;
mod memory;
mod prepare;
mod sandbox;

use anyhow::{Context as _, Result};

use crate::audit::{self, Walls};
use crate::config::Config;
use identity::Identity;
pub(crate) use memory::{forbid_core_dumps, hold_core_dumps};
pub(crate) use prepare::make_private_dir;
pub(crate) use sandbox::Sandbox;

/// The first half: makes what is missing, and gives it to whom the server becomes.
///
/// # Errors
/// When the user or group does not exist, or a directory can not be made.
pub(crate) fn prepare(config: &Config) -> Result<Ground> {
    let server = &config.server;
    let is_root = rustix::process::geteuid().is_root();
    let named = server
        .user
        .as_deref()
        .map(|user| Identity::find(user, server.group.as_deref()))
        .transpose()?;
    let mut warnings = Vec::new();
    let becomes = match named {
        Some(identity) if is_root => Some(identity),
        Some(identity) => {
            if !identity.is_current() {
                warnings.push(format!(
                    "`user = \"{}\"` is not in force: only root can become another user, and ftpd was started by \
                     user {}",
                    identity.name(),
                    rustix::process::geteuid().as_raw()
                ));
            }
            None
        }
        None => {
            warnings.extend(is_root.then(root_warning));
            None
        }
    };
    prepare::make_directories(config, becomes.as_ref())?;
    Ok(Ground { becomes, warnings })
}

/// Where the server stands before its walls are up.
pub(crate) struct Ground {
    becomes: Option<Identity>,
    warnings: Vec<String>,
}

/// The walls that stand.
pub(crate) struct Raised {
    /// What the kernel lets the server reach; `None` is everything that its user may.
    pub(crate) sandbox: Option<Sandbox>,
    warnings: Vec<String>,
    walls: Walls,
}

impl Ground {
    /// The second half: gives up root's rights and whatever the server does not need, for good.
    ///
    /// # Errors
    /// When the rights can not be given up, or could be regained, or the server could not work without them.
    pub(crate) fn raise(self, config: &Config) -> Result<Raised> {
        let Self { becomes, mut warnings } = self;
        let mut missing = Vec::new();
        if let Some(identity) = &becomes {
            identity.assume()?;
            // To become another user makes a process what this machine says such ones are.
            hold_core_dumps().context("core dumps cannot be switched off")?;
            warnings.extend(prepare::check(config, identity)?);
        } else if rustix::process::geteuid().is_root() {
            missing.push("an own user: the server runs as root".to_owned());
        } else {
            identity::drop_capabilities().context("the capabilities of the server cannot be given up")?;
        }
        rustix::thread::set_no_new_privs(true).context("the server cannot renounce new privileges")?;
        if config.server.core_dumps {
            missing.push("no core dumps: switched on by `core_dumps`".to_owned());
            memory::permit_core_dumps().context("core dumps cannot be switched on")?;
        } else {
            forbid_core_dumps().context("core dumps cannot be switched off")?;
        }
        let landlock = sandbox::enforce(config)?;
        missing.extend(landlock.missing);
        Ok(Raised {
            sandbox: landlock.sandbox,
            warnings,
            walls: Walls {
                user: becomes.map(|identity| identity.name().to_owned()),
                core_dumps: config.server.core_dumps,
                landlock: landlock.standing,
                missing,
            },
        })
    }
}

impl Raised {
    /// Logs which walls stand and which do not, once there is a log.
    pub(crate) fn report(&self) {
        for warning in &self.warnings {
            audit::warning(warning);
        }
        audit::walls(&self.walls);
    }
}

/// What to tell whoever starts the server as root and names nobody whom it could become.
fn root_warning() -> String {
    "ftpd runs as root, where a fault in it would cost the whole machine; `useradd --system --shell /usr/sbin/nologin \
     ftpd` and `user = \"ftpd\"` in [server] let it keep its port and give up the rest"
        .to_owned()
}
