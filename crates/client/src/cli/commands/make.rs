//! `mkdir` and `rm`.

use ftp_client::{Code, Error, Kind, RemotePath};

use super::super::args::{MkdirArgs, RmArgs};
use super::super::failure::Done;
use super::super::json::{Nothing, PathLine};
use super::super::session::{Session, Tally};
use super::names::expand_all;

pub(super) async fn mkdir(session: &mut Session, args: &MkdirArgs) -> Done {
    let mut tally = Tally::default();
    for directory in &args.directories {
        let path = RemotePath::new(directory);
        match session.client.mkdir(&path, args.parents).await {
            Ok(()) => told(session, "mkdir", &path)?,
            Err(error) => tally.add(&session.failure("mkdir", &path, &error), &session.output)?,
        }
    }
    tally.finish()
}

pub(super) async fn rm(session: &mut Session, args: &RmArgs) -> Done {
    let mut tally = Tally::default();
    for path in expand_all(session, "rm", &args.paths).await? {
        match remove(session, &path, args).await {
            Ok(()) => told(session, "rm", &path)?,
            Err(error) if args.force && error.code() == Some(Code::NotFound) => {}
            Err(error) => tally.add(&session.failure("rm", &path, &error), &session.output)?,
        }
    }
    tally.finish()
}

async fn remove(session: &mut Session, path: &RemotePath, args: &RmArgs) -> Result<(), Error> {
    if !args.recursive {
        return session.client.rm(path, args.forever).await;
    }
    match session.client.stat(path, false).await?.kind {
        Kind::Dir => session.client.rmdir(path, true, args.forever).await,
        _ => session.client.rm(path, args.forever).await,
    }
}

/// Says so to programs; people take silence for success.
fn told(session: &Session, command: &'static str, path: &RemotePath) -> Done {
    if session.output.is_json() {
        let path = path.to_os_string();
        session
            .output
            .object(&PathLine::new(command, path.as_encoded_bytes(), Nothing {}))?;
    }
    Ok(())
}
