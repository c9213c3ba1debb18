//! `stat` and `sum`.

use ftp_client::{Digest, Entry, Kind, RemotePath};
use serde::Serialize;

use super::super::args::{StatArgs, SumArgs};
use super::super::failure::Done;
use super::super::format;
use super::super::json::{EntryLine, PathLine};
use super::super::quote::quoted;
use super::super::session::{Session, Tally};
use super::names::expand_all;

pub(super) async fn stat(session: &mut Session, args: &StatArgs) -> Done {
    let mut tally = Tally::default();
    for path in expand_all(session, "stat", &args.paths).await? {
        match session.client.stat(&path, true).await {
            Ok(entry) if session.output.is_json() => {
                let line = PathLine::new("stat", path.to_os_string().as_encoded_bytes(), EntryLine::from(&entry));
                session.output.object(&line)?;
            }
            Ok(entry) => session.output.bytes(text(&path, &entry).as_bytes())?,
            Err(error) => tally.add(&session.failure("stat", &path, &error), &session.output)?,
        }
    }
    tally.finish()
}

fn text(path: &RemotePath, entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::Dir => "directory",
        Kind::File => "file",
        Kind::Link => "symbolic link",
        Kind::Other => "neither file nor directory",
    };
    let name = quoted(path.to_os_string().as_encoded_bytes());
    let mut text = format!("path      {name}\nkind      {kind}\n");
    if entry.kind == Kind::File {
        text.push_str(&format!("size      {}\n", format::exact_size(entry.size)));
    }
    text.push_str(&format!("modified  {}\n", format::local_time(entry.mtime)));
    if let Some(digest) = &entry.digest {
        text.push_str(&format!("digest    {digest}\n"));
    }
    text
}

#[derive(Debug, Serialize)]
struct Sum {
    digest: String,
    size: u64,
    /// Whether it is the one kept since the upload.
    kept: bool,
}

pub(super) async fn sum(session: &mut Session, args: &SumArgs) -> Done {
    let mut tally = Tally::default();
    for path in expand_all(session, "sum", &args.paths).await? {
        match session.client.sum(&path, args.digest, args.fresh).await {
            Ok(found) => sum_line(session, &path, found)?,
            Err(error) => tally.add(&session.failure("sum", &path, &error), &session.output)?,
        }
    }
    tally.finish()
}

fn sum_line(session: &Session, path: &RemotePath, (digest, size, kept): (Digest, u64, bool)) -> Done {
    let path = path.to_os_string();
    let digest = digest.to_string();
    if session.output.is_json() {
        let line = PathLine::new("sum", path.as_encoded_bytes(), Sum { digest, size, kept });
        session.output.object(&line)?;
    } else {
        let mut line = format!("{digest}  ").into_bytes();
        line.extend(session.output.name(path.as_encoded_bytes()));
        line.push(b'\n');
        session.output.bytes(&line)?;
    }
    Ok(())
}
