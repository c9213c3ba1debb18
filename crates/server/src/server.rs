//! The server from its start to its end: what it needs is made, doors are opened, the configuration is
//! followed, and everything ends in phases with deadlines.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use ftp_store::{Store, StoreOptions};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{self, Shutdown};
use crate::config::{Config, Durability, ServerConfig};
use crate::doors::native::Door;
use crate::gate::Gate;
use crate::site::Site;
use crate::{listen, tls};

/// Connections that may wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// How long sessions may take to end once they are cut.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often expired staged uploads are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// A server that has its address and is ready to run.
pub struct Server {
    config: Mutex<Arc<Config>>,
    listener: Mutex<Option<TcpListener>>,
    address: SocketAddr,
    tls: Mutex<Option<Arc<rustls::ServerConfig>>>,
    door: Door,
    sessions: TaskTracker,
    last_session: AtomicU64,
    /// Held as long as the server lives, so that no second one uses the same state.
    _lock: fs::File,
}

impl Server {
    /// Makes the root, the homes, the state directory and the certificate where they are missing, and
    /// binds the address.
    ///
    /// # Errors
    /// When any of that fails, or another server uses the same state directory.
    pub async fn bind(config: Config) -> Result<Self> {
        raise_file_limit();
        let server = &config.server;
        for directory in [&server.root, &server.state]
            .into_iter()
            .chain(config.users.values().map(|user| &user.home))
        {
            make_private_dir(directory)?;
        }
        let lock = lock(&server.state)?;
        let tls = tls::load(server)?;
        let site = Site::new(Store::new(store_options(server)), &server.state)?;
        site.apply(&config.users);
        let listener = bind(server.listen).with_context(|| format!("cannot listen on {}", server.listen))?;
        let address = listener.local_addr().context("the listener has no address")?;
        let door = Door {
            site: Arc::new(site),
            gate: Gate::new(server.limits.clone()),
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        Ok(Self {
            config: Mutex::new(Arc::new(config)),
            listener: Mutex::new(Some(listener)),
            address,
            tls: Mutex::new(tls),
            door,
            sessions: TaskTracker::new(),
            last_session: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// The address that was bound, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` completes; then lets transfers end within the drain time, cuts what is
    /// left, and returns.
    ///
    /// # Cancel safety
    /// Not safe: a dropped server leaves its sessions running.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        audit::listening(self.address, &self.config().server.tls);
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listener) = listener else { return };
        let server = Arc::clone(&self);
        let accepting = listen::accept(
            listener,
            Arc::clone(&self.door.gate),
            self.door.drain.clone(),
            move |tcp, peer, permit| {
                let session = server.last_session.fetch_add(1, Ordering::Relaxed) + 1;
                let (server, tls) = (Arc::clone(&server), server.tls());
                let tracker = server.sessions.clone();
                tracker.spawn(async move { server.door.serve(tcp, peer, session, permit, tls).await });
            },
        );
        let upkeep = self.upkeep();
        tokio::select! {
            () = accepting => {}
            () = upkeep => {}
            () = shutdown => {}
        }
        self.end().await;
    }

    /// Takes over the configuration file as it is now. A faulty one is reported, and the old one stays.
    pub fn reload(&self) {
        let old = self.config();
        let new = match Config::load(&old.file) {
            Ok(config) => config,
            Err(faults) => return audit::reload_failed(&faults),
        };
        for user in new.users.values() {
            if let Err(error) = make_private_dir(&user.home) {
                audit::failure(None, "cannot make a home", &*error);
            }
        }
        match tls::load(&new.server) {
            Ok(tls) => *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls,
            Err(error) => return audit::failure(None, "the certificate was not reloaded, the old one stays", &*error),
        }
        for key in restart_keys(&old.server, &new.server) {
            audit::warning(&format!(
                "a change of server.{key} needs a restart and is not in force yet"
            ));
        }
        self.door.site.store().set_options(store_options(&new.server));
        self.door.gate.set_limits(new.server.limits.clone());
        let changes = self.door.site.apply(&new.users);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        audit::reloaded(changes.added, changes.changed, changes.removed);
    }

    /// Does not wait for transfers any longer once the server is ending.
    pub fn cut(&self) {
        self.door.cut.cancel();
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has to be done now and then.
    async fn upkeep(&self) {
        let failed = |name: &str, error: &ftp_store::Error| {
            audit::failure(None, &format!("cannot open the home of {name}"), error);
        };
        self.door.site.open_all(failed).await;
        let mut timer = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            timer.tick().await;
            match self.door.site.store().expire(SystemTime::now()).await {
                Ok(0) => {}
                Ok(expired) => audit::warning(&format!("{expired} staged uploads expired and were removed")),
                Err(error) => audit::failure(None, "cannot remove expired uploads", &error),
            }
        }
    }

    async fn end(&self) {
        let drain_timeout = self.door.gate.limits().drain_timeout;
        self.door.drain.cancel();
        self.sessions.close();
        audit::shutdown(Shutdown::Draining {
            sessions: self.sessions.len(),
            deadline: drain_timeout,
        });
        let drained = tokio::select! {
            () = self.sessions.wait() => true,
            () = self.door.cut.cancelled() => false,
            () = tokio::time::sleep(drain_timeout) => false,
        };
        if !drained {
            audit::shutdown(Shutdown::Aborting {
                sessions: self.sessions.len(),
            });
            self.door.cut.cancel();
            let _ = tokio::time::timeout(ABORT_TIMEOUT, self.sessions.wait()).await;
        }
        // Uploads that are being published run to their end.
        self.door.tasks.close();
        let _ = tokio::time::timeout(ABORT_TIMEOUT, self.door.tasks.wait()).await;
        audit::shutdown(Shutdown::Done);
    }
}

/// The keys whose change takes effect only at a restart.
fn restart_keys(old: &ServerConfig, new: &ServerConfig) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if old.listen != new.listen {
        keys.push("listen");
    }
    if old.state != new.state {
        keys.push("state");
    }
    if (&old.log.file, old.log.rotate_bytes, old.log.rotate_keep)
        != (&new.log.file, new.log.rotate_bytes, new.log.rotate_keep)
    {
        keys.push("log");
    }
    keys
}

fn store_options(config: &ServerConfig) -> StoreOptions {
    StoreOptions {
        durability: match config.durability {
            Durability::Full => ftp_store::Durability::Full,
            Durability::None => ftp_store::Durability::None,
        },
        staging_expiry: config.staging_expiry,
    }
}

/// Binds with address reuse, so that a restart need not wait for old connections. IPv6's unspecified
/// address takes IPv4 too, and on a machine without IPv6 stands for IPv4's.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(v6) => match TcpSocket::new_v6() {
            Ok(socket) => {
                if v6.ip().is_unspecified() {
                    rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
                }
                socket
            }
            Err(error)
                if v6.ip().is_unspecified() && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) =>
            {
                return bind((Ipv4Addr::UNSPECIFIED, v6.port()).into());
            }
            Err(error) => return Err(error),
        },
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn make_private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

fn lock(state: &Path) -> Result<fs::File> {
    let path = state.join("lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another ftpd uses {}; stop it first", state.display()))?;
    Ok(file)
}

/// Each session takes a descriptor for its socket and some for its files; the usual soft limit of
/// 1,024 is far below what one machine can serve.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        audit::warning(&format!("the limit of open files cannot be raised: {error}"));
    }
}
