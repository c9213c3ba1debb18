//! The `[server]` table and its defaults.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::read::{Section, boolean, count, duration, path, size, text, time_limit, word};
use super::{Durability, FaultList, Level, Limits, LogConfig, ServerConfig, TlsConfig};

/// The port of the native protocol.
const DEFAULT_PORT: u16 = 2121;
const MINUTE: Duration = Duration::from_secs(60);
/// No more than a machine has descriptors for.
const MAX_SESSIONS: u64 = 1_000_000;
/// The smallest log file worth rotating.
const MIN_ROTATE_BYTES: u64 = 1024;
const MAX_ROTATE_KEEP: u64 = 999;

const LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
];

const DURABILITIES: &[(&str, Durability)] = &[("full", Durability::Full), ("none", Durability::None)];

impl ServerConfig {
    /// The configuration of a file in `directory` that says nothing.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT)),
            root: directory.join("homes"),
            state: directory.join("state"),
            tls: TlsConfig::Automatic,
            log: LogConfig {
                level: Level::Info,
                file: Some(directory.join("log").join("ftpd.jsonl")),
                rotate_bytes: 64 << 20,
                rotate_keep: 8,
            },
            limits: Limits::default(),
            staging_expiry: 7 * 24 * 60 * MINUTE,
            durability: Durability::Full,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 1_000,
            sessions_before_login: 256,
            sessions_per_address: 256,
            sessions_per_user: 32,
            tls_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(30),
            idle_timeout: 15 * MINUTE,
            drain_timeout: Duration::from_secs(30),
            login_failures: 5,
            shut_out: 15 * MINUTE,
        }
    }
}

impl std::fmt::Display for TlsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Automatic => "automatic",
            Self::Own { .. } => "own certificate",
            Self::Off => "off",
        })
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::None => "none",
        })
    }
}

pub(crate) fn read(mut section: Section<'_>, directory: &Path, faults: &mut FaultList<'_>) -> ServerConfig {
    let default = ServerConfig::in_directory(directory);
    let tls = section.table("tls", faults);
    let log = section.table("log", faults);
    let limits = section.table("limits", faults);
    let config = ServerConfig {
        listen: section.take("listen", faults, address).unwrap_or(default.listen),
        root: section.take("root", faults, path(directory)).unwrap_or(default.root),
        state: section.take("state", faults, path(directory)).unwrap_or(default.state),
        staging_expiry: section
            .take("staging_expiry", faults, time_limit)
            .unwrap_or(default.staging_expiry),
        durability: section
            .take("durability", faults, word(DURABILITIES))
            .unwrap_or(default.durability),
        tls: read_tls(tls, directory, faults),
        log: read_log(log, default.log, directory, faults),
        limits: read_limits(limits, faults),
    };
    section.finish(faults);
    config
}

fn read_tls(mut section: Section<'_>, directory: &Path, faults: &mut FaultList<'_>) -> TlsConfig {
    let enabled = section.take("enabled", faults, boolean).unwrap_or(true);
    let certificate = section.take("certificate", faults, optional_path(directory)).flatten();
    let key = section.take("key", faults, optional_path(directory)).flatten();
    let tls = match (certificate, key) {
        _ if !enabled => TlsConfig::Off,
        (Some(certificate), Some(key)) => TlsConfig::Own { certificate, key },
        (None, None) => TlsConfig::Automatic,
        (certificate, _) => {
            let (given, missing) = if certificate.is_some() {
                ("certificate", "key")
            } else {
                ("key", "certificate")
            };
            faults.add(
                section.place(given).unwrap_or(0..0),
                format!("`{given}` is given without `{missing}`"),
                Some(format!(
                    "add `{missing}`, or remove `{given}` to let the server make its own certificate"
                )),
            );
            TlsConfig::Automatic
        }
    };
    section.finish(faults);
    tls
}

fn read_log(mut section: Section<'_>, default: LogConfig, directory: &Path, faults: &mut FaultList<'_>) -> LogConfig {
    let log = LogConfig {
        level: section.take("level", faults, word(LEVELS)).unwrap_or(default.level),
        file: section
            .take("file", faults, optional_path(directory))
            .unwrap_or(default.file),
        rotate_bytes: section
            .take("rotate_size", faults, size(MIN_ROTATE_BYTES))
            .unwrap_or(default.rotate_bytes),
        rotate_keep: section
            .take("rotate_keep", faults, count(0, MAX_ROTATE_KEEP))
            .unwrap_or(default.rotate_keep),
    };
    section.finish(faults);
    log
}

fn read_limits(mut section: Section<'_>, faults: &mut FaultList<'_>) -> Limits {
    let default = Limits::default();
    let mut sessions = |key, default| section.take(key, faults, count(1, MAX_SESSIONS)).unwrap_or(default);
    let limits = Limits {
        sessions: sessions("sessions", default.sessions),
        sessions_before_login: sessions("sessions_before_login", default.sessions_before_login),
        sessions_per_address: sessions("sessions_per_address", default.sessions_per_address),
        sessions_per_user: sessions("sessions_per_user", default.sessions_per_user),
        login_failures: section
            .take("login_failures", faults, count(1, u64::from(u32::MAX)))
            .unwrap_or(default.login_failures),
        tls_timeout: section
            .take("tls_timeout", faults, time_limit)
            .unwrap_or(default.tls_timeout),
        hello_timeout: section
            .take("hello_timeout", faults, time_limit)
            .unwrap_or(default.hello_timeout),
        login_timeout: section
            .take("login_timeout", faults, time_limit)
            .unwrap_or(default.login_timeout),
        idle_timeout: section
            .take("idle_timeout", faults, time_limit)
            .unwrap_or(default.idle_timeout),
        drain_timeout: section
            .take("drain_timeout", faults, duration)
            .unwrap_or(default.drain_timeout),
        shut_out: section.take("shut_out", faults, duration).unwrap_or(default.shut_out),
    };
    section.finish(faults);
    limits
}

fn address(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        format!(
            "`{}` is not an IP address with a port; write one like \"[::]:{DEFAULT_PORT}\", \
             \"0.0.0.0:{DEFAULT_PORT}\" or \"127.0.0.1:{DEFAULT_PORT}\"",
            crate::escape::printable(&text)
        )
    })
}

/// A path, or nothing for the empty text.
fn optional_path(directory: &Path) -> impl FnOnce(&DeValue<'_>) -> Result<Option<std::path::PathBuf>, String> + use<> {
    let path = path(directory);
    move |value| match value.as_str() {
        Some("") => Ok(None),
        _ => path(value).map(Some),
    }
}
