//! `mv` and `cp`, on the server.

use std::ffi::OsString;

use ftp_client::RemotePath;
use serde::Serialize;

use super::super::args::{CpArgs, MvArgs};
use super::super::failure::{Done, Failure};
use super::super::json::{PathLine, text_and_hex};
use super::super::session::{Session, Tally};
use super::super::targets::means_directory;
use super::names::expand_all;

/// What became of a file.
#[derive(Debug, Serialize)]
struct Arrived {
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

impl Arrived {
    fn at(to: &RemotePath) -> Self {
        let (to, to_hex) = text_and_hex(to.to_os_string().as_encoded_bytes());
        Self {
            to,
            to_hex,
            size: None,
            digest: None,
        }
    }
}

pub(super) async fn mv(session: &mut Session, args: &MvArgs) -> Done {
    let mut tally = Tally::default();
    for (from, to) in pairs(session, "mv", &args.paths).await? {
        match session.client.mv(&from, &to, args.force).await {
            Ok(()) => told(session, "mv", &from, Arrived::at(&to))?,
            Err(error) => tally.add(&session.failure("mv", &from, &error), &session.output)?,
        }
    }
    tally.finish()
}

pub(super) async fn cp(session: &mut Session, args: &CpArgs) -> Done {
    let mut tally = Tally::default();
    for (from, to) in pairs(session, "cp", &args.paths).await? {
        match session.client.cp(&from, &to, args.force).await {
            Ok(stored) => {
                let arrived = Arrived {
                    size: Some(stored.size),
                    digest: Some(stored.digest.to_string()),
                    ..Arrived::at(&to)
                };
                told(session, "cp", &from, arrived)?;
            }
            Err(error) => tally.add(&session.failure("cp", &from, &error), &session.output)?,
        }
    }
    tally.finish()
}

/// Each source with its target: the last name, or below it where that is a directory.
async fn pairs(
    session: &mut Session,
    command: &'static str,
    names: &[OsString],
) -> Result<Vec<(RemotePath, RemotePath)>, Failure> {
    let Some((last, sources)) = names.split_last() else {
        return Err(Failure::usage(format!("{command} needs a source and a target")));
    };
    let sources = expand_all(session, command, sources).await?;
    let target = RemotePath::new(last);
    if means_directory(last) || session.is_directory(command, &target).await? {
        return Ok(sources
            .into_iter()
            .map(|from| {
                let to = target.join(from.file_name_wire());
                (from, to)
            })
            .collect());
    }
    if sources.len() > 1 {
        return Err(
            Failure::usage("several files need an existing directory to go to").about(command, last.as_encoded_bytes())
        );
    }
    Ok(sources.into_iter().map(|from| (from, target.clone())).collect())
}

fn told(session: &Session, command: &'static str, from: &RemotePath, arrived: Arrived) -> Done {
    if session.output.is_json() {
        let from = from.to_os_string();
        session
            .output
            .object(&PathLine::new(command, from.as_encoded_bytes(), arrived))?;
    }
    Ok(())
}
