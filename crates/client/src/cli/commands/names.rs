//! Names on the server as typed: patterns matched there, since no shell can.

use std::ffi::{OsStr, OsString};

use ftp_client::{Code, Entry, RemotePath};

use super::super::failure::Failure;
use super::super::glob;
use super::super::json::wire_bytes;
use super::super::session::{Quoted, Session};

/// The paths that an argument means: itself, or, if nothing has exactly this name, all that its last
/// component matches, sorted. An argument that matches nothing stays, for the server to refuse.
pub(super) async fn expand(
    session: &mut Session,
    command: &'static str,
    argument: &OsStr,
) -> Result<Vec<RemotePath>, Failure> {
    let path = RemotePath::new(argument);
    let pattern = match session.in_quotes.get(argument) {
        Some(Quoted::Literal) => return Ok(vec![path]),
        Some(Quoted::Pattern(whole)) => file_name(whole).to_vec(),
        None => wire_bytes(path.file_name_wire()),
    };
    if !glob::is_pattern(&pattern) || session.look(command, &path).await?.is_some() {
        return Ok(vec![path]);
    }
    let wire = path.as_wire().trim_end_matches('/');
    let folder = wire.strip_suffix(path.file_name_wire()).unwrap_or_default();
    let folder = RemotePath::from_wire(folder).unwrap_or_else(|_| RemotePath::from(""));
    let mut found = matching(session, command, &folder, &pattern).await?;
    if found.is_empty() {
        return Ok(vec![path]);
    }
    found.sort();
    Ok(found)
}

/// As [`expand`], for a list.
pub(super) async fn expand_all(
    session: &mut Session,
    command: &'static str,
    arguments: &[OsString],
) -> Result<Vec<RemotePath>, Failure> {
    let mut paths = Vec::with_capacity(arguments.len());
    for argument in arguments {
        paths.extend(expand(session, command, argument).await?);
    }
    Ok(paths)
}

/// The last component.
fn file_name(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    path[..end].rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

async fn matching(
    session: &mut Session,
    command: &'static str,
    folder: &RemotePath,
    pattern: &[u8],
) -> Result<Vec<RemotePath>, Failure> {
    let listed = if folder.as_wire().is_empty() {
        RemotePath::from(".")
    } else {
        folder.clone()
    };
    let matches = |entry: &Entry| glob::matches(pattern, &wire_bytes(&entry.name));
    let error = match session.client.list(&listed, false).await {
        Ok(mut listing) => match listing.all(matches).await {
            Ok(found) => return Ok(found.iter().map(|entry| folder.join(&entry.name)).collect()),
            Err(error) => error,
        },
        Err(error) => error,
    };
    match error.code() {
        // Then nothing matches, either.
        Some(Code::NotFound | Code::NotDirectory) => Ok(Vec::new()),
        _ => Err(session.failure(command, &listed, &error)),
    }
}
