//! The `[server]` table and its defaults.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ftp_store::TrashPolicy;
use toml::de::DeValue;

use super::read::{
    Section, boolean, count, duration, frequency, optional_time, or_unlimited, path, rate, size, text, time_limit, word,
};
use super::{CareConfig, Durability, FaultList, Level, Limits, LogConfig, ServerConfig, TlsConfig};

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
            user: None,
            group: None,
            sandbox: true,
            core_dumps: false,
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
            trash: TrashPolicy {
                bytes: 10 << 30,
                age: 30 * 24 * 60 * MINUTE,
            },
            care: CareConfig {
                scrub_interval: Some(30 * 24 * 60 * MINUTE),
                scrub_rate: 20 << 20,
                recount_interval: Some(24 * 60 * MINUTE),
            },
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
            upload_per_user: None,
            download_per_user: None,
            upload_per_address: None,
            download_per_address: None,
            requests_per_user: None,
            requests_per_address: None,
            nuisances_per_user: Some(200),
            nuisances_per_address: Some(1_000),
            connects_per_address: Some(100),
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
    let care = section.table("care", faults);
    let config = ServerConfig {
        listen: section.take("listen", faults, address).unwrap_or(default.listen),
        root: section.take("root", faults, path(directory)).unwrap_or(default.root),
        state: section.take("state", faults, path(directory)).unwrap_or(default.state),
        user: section.take("user", faults, account).flatten(),
        group: section.take("group", faults, account).flatten(),
        sandbox: section.take("sandbox", faults, boolean).unwrap_or(default.sandbox),
        core_dumps: section
            .take("core_dumps", faults, boolean)
            .unwrap_or(default.core_dumps),
        staging_expiry: section
            .take("staging_expiry", faults, time_limit)
            .unwrap_or(default.staging_expiry),
        durability: section
            .take("durability", faults, word(DURABILITIES))
            .unwrap_or(default.durability),
        trash: read_trash(&mut section, default.trash, faults),
        tls: read_tls(tls, directory, faults),
        log: read_log(log, default.log, directory, faults),
        limits: read_limits(limits, faults),
        care: read_care(care, default.care, faults),
    };
    if config.group.is_some() && config.user.is_none() {
        faults.add(
            section.place("group").unwrap_or(0..0),
            "`group` is given without `user`".to_owned(),
            Some("name the user whom the server becomes, or remove `group`".to_owned()),
        );
    }
    section.finish(faults);
    config
}

/// The keys of the trash, in `[server]` and in a user's table alike.
pub(super) fn read_trash(section: &mut Section<'_>, default: TrashPolicy, faults: &mut FaultList<'_>) -> TrashPolicy {
    TrashPolicy {
        bytes: section.take("trash", faults, or_off(size(0))).unwrap_or(default.bytes),
        age: section.take("trash_age", faults, time_limit).unwrap_or(default.age),
    }
}

/// A size, or the text "off" for none.
fn or_off(
    convert: impl FnOnce(&DeValue<'_>) -> Result<u64, String>,
) -> impl FnOnce(&DeValue<'_>) -> Result<u64, String> {
    move |value| match value.as_str() {
        Some("off") => Ok(0),
        _ => convert(value),
    }
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

fn read_care(mut section: Section<'_>, default: CareConfig, faults: &mut FaultList<'_>) -> CareConfig {
    let care = CareConfig {
        scrub_interval: section
            .take("scrub_interval", faults, optional_time)
            .unwrap_or(default.scrub_interval),
        scrub_rate: section.take("scrub_rate", faults, rate).unwrap_or(default.scrub_rate),
        recount_interval: section
            .take("recount_interval", faults, optional_time)
            .unwrap_or(default.recount_interval),
    };
    section.finish(faults);
    care
}

fn read_limits(mut section: Section<'_>, faults: &mut FaultList<'_>) -> Limits {
    let default = Limits::default();
    let mut bytes = |key, default| section.take(key, faults, or_unlimited(rate)).unwrap_or(default);
    let (upload_per_user, download_per_user) = (
        bytes("upload_per_user", default.upload_per_user),
        bytes("download_per_user", default.download_per_user),
    );
    let (upload_per_address, download_per_address) = (
        bytes("upload_per_address", default.upload_per_address),
        bytes("download_per_address", default.download_per_address),
    );
    let mut times = |key, default| section.take(key, faults, or_unlimited(frequency)).unwrap_or(default);
    let (requests_per_user, requests_per_address) = (
        times("requests_per_user", default.requests_per_user),
        times("requests_per_address", default.requests_per_address),
    );
    let (nuisances_per_user, nuisances_per_address) = (
        times("nuisances_per_user", default.nuisances_per_user),
        times("nuisances_per_address", default.nuisances_per_address),
    );
    let connects_per_address = times("connects_per_address", default.connects_per_address);
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
        upload_per_user,
        download_per_user,
        upload_per_address,
        download_per_address,
        requests_per_user,
        requests_per_address,
        nuisances_per_user,
        nuisances_per_address,
        connects_per_address,
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

/// The name of a user or group of this machine, or nothing for the empty text.
fn account(value: &DeValue<'_>) -> Result<Option<String>, String> {
    let name = text(value)?;
    if name.contains(['\0', ':', '/']) {
        return Err("must be the name of an account of this machine".to_owned());
    }
    Ok(Some(name).filter(|name| !name.is_empty()))
}

/// A path, or nothing for the empty text.
fn optional_path(directory: &Path) -> impl FnOnce(&DeValue<'_>) -> Result<Option<std::path::PathBuf>, String> + use<> {
    let path = path(directory);
    move |value| match value.as_str() {
        Some("") => Ok(None),
        _ => path(value).map(Some),
    }
}
