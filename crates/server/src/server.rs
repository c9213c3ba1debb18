//! The server from its start to its end: what it needs is made, doors are opened, the configuration is
//! followed, and everything ends in phases with deadlines.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ftp_store::{Store, StoreOptions};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{self, Shutdown, Strangers};
use crate::care::Care;
use crate::config::{Config, ConfigFault, ConfigFaults, Durability, Limits, ServerConfig};
use crate::control::serve::{Control, Desk};
use crate::doors::native::Door;
use crate::gate::Gate;
use crate::site::Site;
use crate::walls::{self, Raised, Sandbox};
use crate::{care, listen, secret, tls};

/// Connections that may wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// How long sessions may take to end once they are cut, and work on the disk once nobody waits for it.
pub(crate) const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often expired staged uploads are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The file that keeps a second server out of the same state directory.
const LOCK_FILE: &str = "lock";

/// What a server has before it has threads: its port, which may be root's to give, and its walls.
///
/// Walls hold for the thread that puts them up and for those that it starts, so this comes before the runtime.
pub struct Foundation {
    config: Config,
    socket: TcpSocket,
    tls: Option<Arc<rustls::ServerConfig>>,
    walls: Raised,
}

impl Foundation {
    /// Makes the root, the homes and the state directory where they are missing, binds the address, reads what
    /// only root may read, and then gives up every right that is not needed to serve.
    ///
    /// # Errors
    /// When any of that fails.
    pub fn lay(config: Config) -> Result<Self> {
        let server = &config.server;
        let ground = walls::prepare(&config)?;
        let socket = bind(server.listen).map_err(|error| {
            // Who starts the server twice is told that, and not that a port is taken.
            match fs::File::open(server.state.join(LOCK_FILE)).map(|file| take(&file, &server.state)) {
                Ok(Err(taken)) => taken,
                _ => {
                    let hint = if error.kind() == std::io::ErrorKind::PermissionDenied {
                        "; a port below 1024 is for root, with `user` in [server], or for who has CAP_NET_BIND_SERVICE"
                    } else {
                        ""
                    };
                    anyhow::Error::new(error).context(format!("{}{hint}", cannot_listen(server)))
                }
            }
        })?;
        let tls = tls::load_own(server)?;
        let walls = ground.raise(&config)?;
        Ok(Self {
            config,
            socket,
            tls,
            walls,
        })
    }

    /// Tells the log which walls stand.
    pub fn report(&self) {
        self.walls.report();
    }
}

fn cannot_listen(server: &ServerConfig) -> String {
    format!("cannot listen on {}", server.listen)
}

/// A server that has its address and is ready to run.
pub struct Server {
    config: Mutex<Arc<Config>>,
    listener: Mutex<Option<TcpListener>>,
    address: SocketAddr,
    tls: Mutex<Option<Arc<rustls::ServerConfig>>>,
    door: Door,
    care: Care,
    control: Control,
    desk: Arc<Desk>,
    /// The state directory in use: another one in the configuration waits for a restart.
    state: PathBuf,
    /// How many files the process may have open.
    files: u64,
    sessions: TaskTracker,
    last_session: AtomicU64,
    sandbox: Option<Sandbox>,
    /// Held as long as the server lives, so that no second one uses the same state.
    _lock: fs::File,
}

impl Server {
    /// Makes the certificate where it is missing, counts on the accounts, and listens.
    ///
    /// # Errors
    /// When any of that fails, or another server uses the same state directory.
    pub async fn start(foundation: Foundation) -> Result<Self> {
        let Foundation {
            config,
            socket,
            tls,
            walls,
        } = foundation;
        let files = raise_file_limit();
        let server = &config.server;
        let lock = lock(&server.state)?;
        let tls = match tls {
            Some(tls) => Some(tls),
            None => tls::load(&server.tls, &server.state)?,
        };
        let site = Site::new(Store::new(store_options(server)), &server.state)?;
        site.apply(&config.users, &server.limits);
        let listener = socket.listen(BACKLOG).with_context(|| cannot_listen(server))?;
        let address = listener.local_addr().context("the listener has no address")?;
        let control = Control::bind(&server.state)?;
        let site = Arc::new(site);
        let door = Door {
            site: Arc::clone(&site),
            gate: Gate::new(within(files, &server.limits)),
            tasks: TaskTracker::new(),
            strangers: Strangers::new(),
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        let desk = Desk {
            site: Arc::clone(&site),
            gate: Arc::clone(&door.gate),
            address,
            began: Instant::now(),
            drain: door.drain.clone(),
        };
        Ok(Self {
            care: Care::new(site, server.state.clone(), server.care),
            control,
            desk: Arc::new(desk),
            state: server.state.clone(),
            config: Mutex::new(Arc::new(config)),
            listener: Mutex::new(Some(listener)),
            address,
            tls: Mutex::new(tls),
            door,
            files,
            sessions: TaskTracker::new(),
            last_session: AtomicU64::new(0),
            sandbox: walls.sandbox,
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
        let answering = self.control.run(&self.desk);
        tokio::pin!(answering);
        tokio::select! {
            () = accepting => {}
            () = self.upkeep() => {}
            () = self.tell_held_back() => {}
            () = &mut answering => {}
            () = shutdown => {}
        }
        // Who asks how the server is doing is answered to its end.
        tokio::select! {
            () = self.end() => {}
            () = answering => {}
        }
    }

    /// Takes over the configuration file as it is now. A faulty one is reported, and the old one stays.
    pub fn reload(&self) {
        let old = self.config();
        let new = match Config::load(&old.file) {
            Ok(config) => config,
            Err(faults) => return audit::reload_failed(&faults),
        };
        if let Err(faults) = self.within_sandbox(&new) {
            return audit::reload_failed(&faults);
        }
        for user in new.users.values() {
            if let Err(error) = walls::make_private_dir(&user.home) {
                audit::failure(None, "cannot make a home", &*error);
            }
        }
        match tls::load(&new.server.tls, &self.state) {
            Ok(tls) => *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls,
            // The rest takes force all the same: who was removed has to go.
            Err(error) => audit::failure(None, "the certificate was not reloaded, the old one stays", &*error),
        }
        for key in restart_keys(&old.server, &new.server) {
            audit::warning(&format!(
                "a change of server.{key} needs a restart and is not in force yet"
            ));
        }
        self.door.site.store().set_options(store_options(&new.server));
        self.door.gate.set_limits(within(self.files, &new.server.limits));
        self.care.set_config(new.server.care);
        let changes = self.door.site.apply(&new.users, &new.server.limits);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        audit::reloaded(changes.added, changes.changed, changes.removed);
    }

    /// Has the counts of the quotas compared with the disk soon.
    pub fn recount(&self) {
        self.care.recount_soon();
    }

    /// Walls are never widened, so what lies outside of them waits for a restart.
    fn within_sandbox(&self, new: &Config) -> Result<(), ConfigFaults> {
        let outside = self.sandbox.as_ref().map(|sandbox| sandbox.outside(new));
        let faults: Vec<_> = outside
            .into_iter()
            .flatten()
            .map(|message| ConfigFault {
                position: None,
                message,
                hint: Some("it needs a restart".to_owned()),
            })
            .collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(ConfigFaults {
            file: new.file.clone(),
            faults,
        })
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
        tokio::join!(self.care.run(), self.expire());
    }

    async fn expire(&self) {
        let mut timer = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            timer.tick().await;
            match self.door.site.store().expire().await {
                Ok(0) => {}
                Ok(expired) => audit::warning(&format!("{expired} staged uploads expired and were removed")),
                Err(error) => audit::failure(None, "cannot remove expired uploads", &error),
            }
        }
    }

    /// Logs now and then what was not logged one by one.
    async fn tell_held_back(&self) {
        let mut timer = tokio::time::interval(audit::PERIOD);
        loop {
            timer.tick().await;
            for (address, lines) in self.door.strangers.turn() {
                audit::held_back(address, lines);
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
        for (address, lines) in self.door.strangers.turn() {
            audit::held_back(address, lines);
        }
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
    if (&old.user, &old.group) != (&new.user, &new.group) {
        keys.push("user");
    }
    if old.sandbox != new.sandbox {
        keys.push("sandbox");
    }
    if old.core_dumps != new.core_dumps {
        keys.push("core_dumps");
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
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
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
    Ok(socket)
}

/// The files that a server keeps in its state directory.
pub(crate) fn state_files(state: &Path) -> impl Iterator<Item = PathBuf> {
    [LOCK_FILE, secret::FILE, care::STATE_FILE]
        .into_iter()
        .chain(tls::STATE_FILES)
        .map(|name| state.join(name))
}

fn lock(state: &Path) -> Result<fs::File> {
    let path = state.join(LOCK_FILE);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    take(&file, state)?;
    Ok(file)
}

/// Takes the lock for as long as the file is open.
fn take(file: &fs::File, state: &Path) -> Result<()> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another ftpd uses {}; stop it first", state.display()))
}

/// Each session takes a descriptor for its socket and some for its files; the usual soft limit of
/// 1,024 is far below what one machine can serve. The limit comes back.
fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        audit::warning(&format!("the limit of open files cannot be raised: {error}"));
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The limits with no more sessions than there are descriptors for. A quarter is kept for files: whoever
/// is in must be able to go on when nobody else can come in.
fn within(files: u64, limits: &Limits) -> Limits {
    let mut limits = limits.clone();
    let most = usize::try_from(files - files / 4).unwrap_or(usize::MAX);
    if limits.sessions > most {
        audit::warning(&format!(
            "only {most} of the {} sessions of the configuration are let in, for the process may have {files} files \
             open; raise that limit (`ulimit -n`, `LimitNOFILE=` of systemd) or lower `sessions`",
            limits.sessions
        ));
        limits.sessions = most;
    }
    limits
}
