//! The configuration: one TOML file with a `[server]` table and one table per user.
//!
//! Reading has two stages: `read` turns the text into typed values and notes every fault it meets,
//! so that all of them are reported in one go; what comes out is complete, checked and absolute.

mod check;
mod fault;
mod read;
mod server;
mod show;
mod units;
mod user;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ftp_proto::scram::Verifier;
use ftp_store::TrashPolicy;
use zeroize::Zeroizing;

pub(crate) use check::real;
pub(crate) use fault::FaultList;
pub use fault::{ConfigFault, ConfigFaults};
pub(crate) use show::{show, show_users};
pub(crate) use units::{
    parse_duration, parse_frequency, parse_rate, parse_size, short_size, show_duration, show_frequency, show_rate,
    show_size,
};
pub(crate) use user::{check_name, parse_rights};

/// The commented example: what `init` writes.
pub(crate) const EXAMPLE: &str = include_str!("../../../config/users.toml");

/// A whole configuration, checked. All paths are absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// The `[server]` table.
    pub server: ServerConfig,
    /// The `[users.NAME]` tables by name.
    pub users: BTreeMap<String, UserConfig>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigFaults`] with every fault found, or with the one reason why the file cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigFaults> {
        // Every verifier is in it.
        match std::fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => Self::parse(path, &text),
            Err(error) => Err(ConfigFaults::unreadable(path, &error)),
        }
    }

    /// Checks the text of a file. `path` is named in faults, and relative paths in the text resolve
    /// against its directory.
    ///
    /// # Errors
    /// [`ConfigFaults`] with every fault found.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigFaults> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut faults = FaultList::new(text);
        let config = read::document(&path, text, &mut faults);
        faults.into_result(&path, config)
    }
}

/// The `[server]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where to listen. The default `[::]:2121` takes IPv4 too; a machine without IPv6 needs
    /// `0.0.0.0:2121`.
    pub listen: SocketAddr,
    /// The directory in which a user's home is made when the user's table names no other.
    pub root: PathBuf,
    /// Where the server keeps its own certificate and secret.
    pub state: PathBuf,
    /// Who the server becomes when root starts it, once it has its port.
    pub user: Option<String>,
    /// The group it has then; the user's own if absent.
    pub group: Option<String>,
    /// Whether the kernel confines the server to its own directories.
    pub sandbox: bool,
    /// Whether a crash may leave an image of the memory, with every secret in it.
    pub core_dumps: bool,
    /// Encryption.
    pub tls: TlsConfig,
    /// The log.
    pub log: LogConfig,
    /// What one peer or all of them together may take.
    pub limits: Limits,
    /// How long an unfinished upload can be resumed.
    pub staging_expiry: Duration,
    /// When an upload counts as stored.
    pub durability: Durability,
    /// What is kept of what users remove or replace, of users whose tables say nothing else.
    pub trash: TrashPolicy,
    /// Looking after what is stored.
    pub care: CareConfig,
}

/// The `[server.care]` table: what the server does for stored files by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CareConfig {
    /// The time in which each stored file is compared with its digest once; `None` never does.
    pub scrub_interval: Option<Duration>,
    /// Bytes a second that are read for that.
    pub scrub_rate: u64,
    /// How often the counts of the quotas are compared with the disk; `None` only when asked.
    pub recount_interval: Option<Duration>,
}

/// How connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// TLS 1.3 with a certificate that the server makes for itself.
    Automatic,
    /// TLS 1.3 with a certificate of the administrator.
    Own {
        /// The certificate chain, PEM.
        certificate: PathBuf,
        /// The private key, PEM.
        key: PathBuf,
    },
    /// Plaintext, for a trusted network.
    Off,
}

/// When an upload counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After data and name are on the disk.
    #[default]
    Full,
    /// When the kernel has them: faster, and a power failure may lose the newest files.
    None,
}

/// The `[server.log]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important events that are logged.
    pub level: Level,
    /// The file of JSON lines; `None` logs to standard error only.
    pub file: Option<PathBuf>,
    /// The size in bytes at which the file is rotated.
    pub rotate_bytes: u64,
    /// How many rotated files are kept.
    pub rotate_keep: u32,
}

/// How important an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// The server could not do what it should.
    Error,
    /// Refusals and failures of peers as well.
    Warn,
    /// Logins, requests and transfers as well.
    #[default]
    Info,
    /// What helps to find a fault in the server.
    Debug,
}

/// The `[server.limits]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once. A session that moves a file holds up to about 4 MiB in buffers, one that waits
    /// about 24 KiB, so the default of 1,000 bounds the memory by 4 GiB when all of them move files.
    pub sessions: usize,
    /// Connections at once that have not logged in yet. They cost about 24 KiB each.
    pub sessions_before_login: usize,
    /// Sessions at once from one address. Many users may share one.
    pub sessions_per_address: usize,
    /// Sessions at once of one user whose table says nothing else.
    pub sessions_per_user: usize,
    /// From the connection to the end of the TLS handshake.
    pub tls_timeout: Duration,
    /// From there to the client's hello.
    pub hello_timeout: Duration,
    /// From there to the end of the login.
    pub login_timeout: Duration,
    /// Without a request, after which a session ends.
    pub idle_timeout: Duration,
    /// How long transfers may go on when the server is told to end.
    pub drain_timeout: Duration,
    /// Failed logins of one address before it is slowed down and then shut out.
    pub login_failures: u32,
    /// How long an address is shut out.
    pub shut_out: Duration,
    /// Bytes a second that all sessions of a user may send together, where the user's table says nothing
    /// else; `None` is no limit.
    pub upload_per_user: Option<u64>,
    /// The same for what they receive.
    pub download_per_user: Option<u64>,
    /// Bytes a second that all sessions of an address may send together, whoever their users are.
    pub upload_per_address: Option<u64>,
    /// The same for what they receive.
    pub download_per_address: Option<u64>,
    /// Requests a second of one user.
    pub requests_per_user: Option<u64>,
    /// Requests a second of one address, which many users may share.
    pub requests_per_address: Option<u64>,
    /// Requests a second of one user that fail or ask for nothing.
    pub nuisances_per_user: Option<u64>,
    /// The same of one address.
    pub nuisances_per_address: Option<u64>,
    /// New connections a second of one address: each costs a TLS handshake.
    pub connects_per_address: Option<u64>,
}

/// One `[users.NAME]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserConfig {
    /// What checks the password.
    pub verifier: Verifier,
    /// The directory that this user sees as `/`.
    pub home: PathBuf,
    /// The most bytes the home may hold; `None` is no limit.
    pub quota: Option<u64>,
    /// The most files and directories the home may hold; `None` is no limit.
    pub max_files: Option<u64>,
    /// What the user may do.
    pub rights: Rights,
    /// Sessions of this user at once.
    pub max_sessions: usize,
    /// What is kept of what this user removes or replaces.
    pub trash: TrashPolicy,
    /// Bytes a second that all sessions of this user may send together; `None` is no limit.
    pub max_upload: Option<u64>,
    /// The same for what they receive.
    pub max_download: Option<u64>,
}

/// What a user may do in the own home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// List and download.
    pub read: bool,
    /// Upload, make directories, rename and copy.
    pub write: bool,
    /// Remove, and replace what exists.
    pub delete: bool,
}

impl Rights {
    /// Everything: the default.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        delete: true,
    };
}
