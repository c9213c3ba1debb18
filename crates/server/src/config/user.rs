//! The `[users.NAME]` tables.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::de::DeValue;

use ftp_proto::scram::Verifier;

use super::read::{Complaint, Section, as_table, count, or_unlimited, path, rate, size, text, unknown_word};
use super::server::read_trash;
use super::{FaultList, Rights, ServerConfig, UserConfig};

/// The longest user name in bytes: it is part of a path, of every log line and of the login header.
pub(crate) const MAX_NAME_BYTES: usize = 64;

/// The users, and where in the text the home of each is set.
pub(crate) fn read_all(
    section: &Section<'_>,
    server: &ServerConfig,
    directory: &Path,
    faults: &mut FaultList<'_>,
) -> (BTreeMap<String, UserConfig>, BTreeMap<String, Range<usize>>) {
    let mut users = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (name, place, value) in section.entries() {
        if let Err(message) = check_name(name) {
            faults.add(place.clone(), message, None);
        }
        let title = format!("users.{}", crate::escape::printable(name));
        let Some(table) = as_table(&title, value, faults) else {
            continue;
        };
        let section = Section::new(title, Some(table));
        let home_place = section.place("home").unwrap_or_else(|| place.clone());
        places.insert(name.to_owned(), home_place);
        if let Some(user) = read(section, name, place, server, directory, faults) {
            users.insert(name.to_owned(), user);
        }
    }
    (users, places)
}

fn read(
    mut section: Section<'_>,
    name: &str,
    place: Range<usize>,
    server: &ServerConfig,
    directory: &Path,
    faults: &mut FaultList<'_>,
) -> Option<UserConfig> {
    let verifier = section.take("verifier", faults, verifier);
    if section.place("verifier").is_none() {
        let shown = crate::escape::printable(name);
        let hint = format!("`ftpd --config FILE user passwd {shown}` asks for a password and writes it");
        faults.add(place, format!("user `{shown}` has no `verifier`"), Some(hint));
    }
    let home = section.take("home", faults, path(directory));
    let quota = section.take("quota", faults, or_unlimited(size(0))).flatten();
    let max_files = section
        .take("max_files", faults, or_unlimited(count(0, i64::MAX.unsigned_abs())))
        .flatten();
    let rights = section.take("rights", faults, rights);
    let max_sessions = section.take("max_sessions", faults, count(1, u64::from(u32::MAX)));
    let trash = read_trash(&mut section, server.trash, faults);
    let max_upload = section.take("max_upload", faults, or_unlimited(rate));
    let max_download = section.take("max_download", faults, or_unlimited(rate));
    section.finish(faults);
    Some(UserConfig {
        verifier: verifier?,
        home: home.unwrap_or_else(|| server.root.join(name)),
        quota,
        max_files,
        rights: rights.unwrap_or(Rights::ALL),
        max_sessions: max_sessions.unwrap_or(server.limits.sessions_per_user),
        trash,
        max_upload: max_upload.unwrap_or(server.limits.upload_per_user),
        max_download: max_download.unwrap_or(server.limits.download_per_user),
    })
}

/// Whether a user may have this name: letters and digits of any script and `. _ - @ +`, so that it
/// is one harmless component of a path and one word in a log and on a command line.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fault = |why: &str| {
        Err(format!(
            "`{}` cannot be a user name: {why}",
            crate::escape::printable(name)
        ))
    };
    if name.is_empty() {
        return fault("it is empty");
    }
    if name.len() > MAX_NAME_BYTES {
        return fault(&format!(
            "it has {} bytes, and {MAX_NAME_BYTES} are the most",
            name.len()
        ));
    }
    if let Some(c) = name.chars().find(|c| !(c.is_alphanumeric() || "._-@+".contains(*c))) {
        return fault(&format!("it contains {c:?}; letters, digits and . _ - @ + are allowed"));
    }
    if name.starts_with(['.', '-']) {
        return fault("it begins with a dot or a dash");
    }
    // Clients send the prepared form (RFC 5802 section 5.1), so nobody could log in with another.
    match stringprep::saslprep(name) {
        Ok(prepared) if prepared == name => Ok(()),
        Ok(prepared) => fault(&format!("it is written unusually; write `{prepared}`")),
        Err(_) => fault("it contains characters that no login can carry"),
    }
}

/// Rights from words such as `read` and `write`.
///
/// # Errors
/// A complaint that names the first unknown word.
pub(crate) fn parse_rights<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Rights, Complaint> {
    let mut rights = Rights {
        read: false,
        write: false,
        delete: false,
    };
    for word in words {
        match word {
            "read" => rights.read = true,
            "write" => rights.write = true,
            "delete" => rights.delete = true,
            _ => return Err(unknown_word(word, &["read", "write", "delete"])),
        }
    }
    Ok(rights)
}

fn rights(value: &DeValue<'_>) -> Result<Rights, Complaint> {
    let words: Option<Vec<_>> = value
        .as_array()
        .and_then(|array| array.iter().map(|word| word.get_ref().as_str()).collect());
    match words {
        Some(words) => parse_rights(words),
        None => Err("expected a list such as [\"read\", \"write\", \"delete\"]"
            .to_owned()
            .into()),
    }
}

fn verifier(value: &DeValue<'_>) -> Result<Verifier, String> {
    text(value)?
        .parse()
        .map_err(|invalid: ftp_proto::scram::InvalidVerifier| invalid.to_string())
}
