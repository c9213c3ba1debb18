//! What concerns several values, or the files behind them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Config, FaultList, TlsConfig};

/// Reports homes that share files with another home, or with what the server must keep to itself:
/// its certificate and secret, its log, and the configuration with the verifiers.
pub(crate) fn homes(config: &Config, places: &BTreeMap<String, Range<usize>>, faults: &mut FaultList<'_>) {
    let server = &config.server;
    let mut kept = vec![
        ("the configuration file", real(&config.file)),
        ("`state`", real(&server.state)),
    ];
    if let Some(log) = server.log.file.as_deref() {
        kept.push(("the log file", real(log)));
    }
    if let TlsConfig::Own { key, .. } = &server.tls {
        kept.push(("the TLS key", real(key)));
    }
    // Sorted by components, an ancestor stands before everything beneath it.
    let mut homes: Vec<_> = config
        .users
        .iter()
        .map(|(name, user)| (real(&user.home), name, &user.home))
        .collect();
    homes.sort();
    let mut above: Vec<&(PathBuf, &String, &PathBuf)> = Vec::new();
    for entry in &homes {
        let (home, name, shown) = entry;
        let place = places.get(*name).cloned().unwrap_or(0..0);
        while above.pop_if(|(outer, ..)| !home.starts_with(outer)).is_some() {}
        if let Some((_, other, other_home)) = above.last() {
            let message = format!(
                "the home of `{name}`, {}, overlaps the home of `{other}`, {}",
                shown.display(),
                other_home.display()
            );
            faults.add(
                place.clone(),
                message,
                Some("give each user a directory of their own".to_owned()),
            );
        }
        for (what, path) in &kept {
            if path.starts_with(home) || (home.starts_with(path) && path != home) {
                let message = format!("the home of `{name}`, {}, contains or lies in {what}", shown.display());
                let hint = "users could read the server's secrets; choose another directory".to_owned();
                faults.add(place.clone(), message, Some(hint));
            }
        }
        above.push(entry);
    }
}

/// The path with links followed as far as it exists.
pub(crate) fn real(path: &Path) -> PathBuf {
    let mut missing: Vec<OsString> = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(found) = existing.canonicalize() {
            return missing.into_iter().rev().fold(found, |path, part| path.join(part));
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name.to_owned());
                existing = parent;
            }
            // `..` in what does not exist, or nothing that exists at all.
            _ => return path.to_owned(),
        }
    }
}

impl Config {
    /// What an administrator should know and change, though the server can run: one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let file = self.file.display();
        let mut warnings = Vec::new();
        if let Ok(metadata) = fs::metadata(&self.file)
            && metadata.permissions().mode() & 0o077 != 0
        {
            let mode = metadata.permissions().mode() & 0o777;
            warnings.push(format!(
                "{file} has mode {mode:04o}, so other users of this machine may read the verifiers in it and guess \
                 passwords; `chmod 600 {file}` stops that"
            ));
        }
        if self.server.tls == TlsConfig::Off && !self.server.listen.ip().is_loopback() {
            warnings.push(format!(
                "TLS is off and {} can be reached from other machines: files travel readable for everybody in \
                 between; set `enabled = true` in [server.tls]",
                self.server.listen
            ));
        }
        if self.users.is_empty() {
            warnings.push(format!(
                "there are no users, so nobody can log in; `ftpd --config {file} user add NAME` adds one"
            ));
        }
        warnings
    }

    /// Why the server could not start though the file has no fault: one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let TlsConfig::Own { certificate, key } = &self.server.tls else {
            return Vec::new();
        };
        let problem = |path: &PathBuf| {
            let error = fs::File::open(path).err()?;
            Some(format!("{} of [server.tls] cannot be read: {error}", path.display()))
        };
        [certificate, key].into_iter().filter_map(problem).collect()
    }
}
