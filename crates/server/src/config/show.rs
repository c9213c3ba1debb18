//! The configuration as `check` prints it: what would be in force.

use std::fmt::{self, Write};
use std::path::Path;

use ftp_store::TrashPolicy;

use super::{Config, Rights, TlsConfig, UserConfig, show_duration, show_frequency, show_rate, show_size};
use crate::escape::printable;
use crate::table::table;

/// The whole configuration for a person, with every default filled in.
pub(crate) fn show(config: &Config) -> String {
    let mut text = String::new();
    write_all(&mut text, config).expect("writing to a String succeeds");
    text
}

fn write_all(out: &mut String, config: &Config) -> fmt::Result {
    let server = &config.server;
    line(out, "file", &path(&config.file))?;
    line(out, "listen", &server.listen.to_string())?;
    let tls = match &server.tls {
        TlsConfig::Automatic => "TLS 1.3, the server makes its certificate".to_owned(),
        TlsConfig::Own { certificate, key } => format!("TLS 1.3, {} with key {}", path(certificate), path(key)),
        TlsConfig::Off => "off: plaintext".to_owned(),
    };
    line(out, "encryption", &tls)?;
    line(out, "homes", &path(&server.root))?;
    line(out, "state", &path(&server.state))?;
    let runs_as = match (&server.user, &server.group) {
        (None, _) => "whoever starts it".to_owned(),
        (Some(user), None) => format!("{} when root starts it", printable(user)),
        (Some(user), Some(group)) => format!(
            "{} in the group {} when root starts it",
            printable(user),
            printable(group)
        ),
    };
    line(out, "runs as", &runs_as)?;
    line(out, "sandbox", if server.sandbox { "on" } else { "off" })?;
    line(out, "core dumps", if server.core_dumps { "on" } else { "off" })?;
    line(out, "durability", &server.durability.to_string())?;
    line(
        out,
        "staging expiry",
        &format!(
            "unfinished uploads can be resumed for {}",
            show_duration(server.staging_expiry)
        ),
    )?;
    line(out, "trash", &trash(server.trash))?;
    write_care(out, config)?;
    let log = match &server.log.file {
        Some(file) => format!(
            "{} to {}, rotated at {}, {} kept",
            server.log.level,
            path(file),
            show_size(server.log.rotate_bytes),
            server.log.rotate_keep
        ),
        None => format!("{} to standard error only", server.log.level),
    };
    line(out, "log", &log)?;
    write_limits(out, config)?;
    write!(out, "\n{}", show_users(config))
}

fn write_care(out: &mut String, config: &Config) -> fmt::Result {
    let care = &config.server.care;
    let scrub = match care.scrub_interval {
        Some(interval) => format!(
            "each stored file is compared with its digest once in {}, at {}",
            show_duration(interval),
            show_rate(care.scrub_rate)
        ),
        None => "off: stored files are compared with their digests only by `ftpd scrub`".to_owned(),
    };
    line(out, "scrub", &scrub)?;
    let recount = match care.recount_interval {
        Some(interval) => format!("quotas are compared with the disk every {}", show_duration(interval)),
        None => "off: quotas are compared with the disk at start, by SIGHUP and by `ftpd recount`".to_owned(),
    };
    line(out, "recount", &recount)
}

fn write_limits(out: &mut String, config: &Config) -> fmt::Result {
    let limits = &config.server.limits;
    line(
        out,
        "sessions",
        &format!(
            "{} at once, {} before login, {} per address, {} per user",
            limits.sessions, limits.sessions_before_login, limits.sessions_per_address, limits.sessions_per_user
        ),
    )?;
    line(
        out,
        "time limits",
        &format!(
            "TLS {}, hello {}, login {}, idle {}, drain {}",
            show_duration(limits.tls_timeout),
            show_duration(limits.hello_timeout),
            show_duration(limits.login_timeout),
            show_duration(limits.idle_timeout),
            show_duration(limits.drain_timeout)
        ),
    )?;
    line(
        out,
        "failed logins",
        &format!(
            "{} free per address, then slower, then shut out for {}",
            limits.login_failures,
            show_duration(limits.shut_out)
        ),
    )?;
    line(
        out,
        "bandwidth",
        &format!(
            "each address {} up, {} down; each user as below",
            flow(limits.upload_per_address),
            flow(limits.download_per_address)
        ),
    )?;
    let times = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), show_frequency);
    line(
        out,
        "rates",
        &format!(
            "requests {} per user, {} per address; nuisances {} per user, {} per address; connections {} per address",
            times(limits.requests_per_user),
            times(limits.requests_per_address),
            times(limits.nuisances_per_user),
            times(limits.nuisances_per_address),
            times(limits.connects_per_address)
        ),
    )
}

/// The users for a person, with every default filled in.
pub(crate) fn show_users(config: &Config) -> String {
    let rows: Vec<_> = config.users.iter().map(|(name, user)| row(name, user)).collect();
    let heading = match rows.len() {
        0 => return "no users\n".to_owned(),
        1 => "1 user".to_owned(),
        count => format!("{count} users"),
    };
    let users = table(
        &[
            "NAME", "QUOTA", "FILES", "TRASH", "SESSIONS", "UPLOAD", "DOWNLOAD", "RIGHTS", "HOME",
        ],
        &rows,
    );
    format!("{heading}\n{users}")
}

/// What is kept of what was removed or replaced.
fn trash(policy: TrashPolicy) -> String {
    match policy.bytes {
        0 => "off".to_owned(),
        bytes => format!("{} for {}", show_size(bytes), show_duration(policy.age)),
    }
}

/// Bytes a second.
fn flow(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), show_rate)
}

fn row(name: &str, user: &UserConfig) -> [String; 9] {
    [
        name.to_owned(),
        user.quota.map_or_else(|| "unlimited".to_owned(), show_size),
        user.max_files
            .map_or_else(|| "unlimited".to_owned(), |most| most.to_string()),
        trash(user.trash),
        user.max_sessions.to_string(),
        flow(user.max_upload),
        flow(user.max_download),
        user.rights.to_string(),
        path(&user.home),
    ]
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names();
        if names.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&names.join(","))
    }
}

impl Rights {
    /// The rights that are granted, by name.
    pub fn names(self) -> Vec<&'static str> {
        [(self.read, "read"), (self.write, "write"), (self.delete, "delete")]
            .into_iter()
            .filter_map(|(granted, name)| granted.then_some(name))
            .collect()
    }
}

fn line(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "{name:<15} {value}")
}

fn path(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}
