//! The configuration as `check` prints it: what would be in force.

use std::fmt::{self, Write};
use std::path::Path;

use super::{Config, Rights, TlsConfig, UserConfig, show_duration, show_size};
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
    line(out, "durability", &server.durability.to_string())?;
    line(
        out,
        "staging expiry",
        &format!(
            "unfinished uploads can be resumed for {}",
            show_duration(server.staging_expiry)
        ),
    )?;
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
    let users = table(&["NAME", "QUOTA", "FILES", "SESSIONS", "RIGHTS", "HOME"], &rows);
    format!("{heading}\n{users}")
}

fn row(name: &str, user: &UserConfig) -> [String; 6] {
    [
        name.to_owned(),
        user.quota.map_or_else(|| "unlimited".to_owned(), show_size),
        user.max_files
            .map_or_else(|| "unlimited".to_owned(), |most| most.to_string()),
        user.max_sessions.to_string(),
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
