//! `cd` and `pwd`.

use std::ffi::OsStr;

use ftp_client::RemotePath;

use super::super::args::CdArgs;
use super::super::failure::Done;
use super::super::json::{Nothing, PathLine};
use super::super::session::Session;

/// Whether the way there does not begin where we are.
pub(super) fn is_absolute(args: &CdArgs) -> bool {
    args.directory
        .as_ref()
        .is_none_or(|path| path.as_encoded_bytes().starts_with(b"/"))
}

/// Changes the directory, and remembers it for the next invocation. The shell keeps its own.
pub(super) async fn cd(session: &mut Session, args: &CdArgs) -> Done {
    let path = RemotePath::new(args.directory.as_deref().unwrap_or(OsStr::new("/")));
    let arrived = match session.client.cd(&path).await {
        Ok(arrived) => arrived,
        Err(error) => return Err(session.failure("cd", &path, &error).into()),
    };
    if !session.situation.in_shell {
        session.profiles.set_directory(&session.target, &arrived)?;
    }
    if session.output.is_json() {
        let line = PathLine::new("cd", arrived.to_os_string().as_encoded_bytes(), Nothing {});
        session.output.object(&line)?;
    }
    Ok(())
}

pub(super) async fn pwd(session: &mut Session) -> Done {
    let here = match session.client.pwd().await {
        Ok(here) => here.to_os_string(),
        Err(error) => return Err(session.failure("pwd", &RemotePath::from(""), &error).into()),
    };
    if session.output.is_json() {
        session
            .output
            .object(&PathLine::new("pwd", here.as_encoded_bytes(), Nothing {}))?;
    } else {
        let mut line = session.output.name(here.as_encoded_bytes());
        line.push(b'\n');
        session.output.bytes(&line)?;
    }
    Ok(())
}
