//! `get`

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ftp_client::{GetItem, Kind, RemotePath};
use tokio::io::AsyncWriteExt;

use super::super::args::GetArgs;
use super::super::failure::{Done, Failure, Situation};
use super::super::quote::{quoted, quoted_pattern};
use super::super::resume;
use super::super::session::{Quoted, Session, Tally};
use super::super::stdout::Stdout;
use super::super::targets::{self, Destination, Last};
use super::super::watch::Batch;
use super::names::expand_all;
use super::put::is_directory;

pub(super) async fn get(session: &mut Session, args: &GetArgs) -> Done {
    if args.paths.last().is_some_and(|last| last == "-") && args.transfer.target_directory.is_none() {
        session.output.set_data_on_stdout(true);
        let done = stream(session, args).await;
        session.output.set_data_on_stdout(false);
        return done;
    }
    let directory = args.transfer.target_directory.as_deref();
    let (names, destination) = targets::split(&args.paths, directory, &mut Sides(session)).await?;
    let sources = expand_all(session, "get", names).await?;
    if let (Destination::As(name), true) = (&destination, sources.len() > 1) {
        let failure = Failure::usage(format!("{} files match, and the target is no directory", sources.len()));
        return Err(failure
            .about("get", name.as_encoded_bytes())
            .hint("end the target in `/`")
            .into());
    }

    let mut tally = Tally::default();
    let mut items = Vec::new();
    for source in &sources {
        match local_name(source, &destination) {
            Ok(local) => collect(session, source, &local, args, &mut items, &mut tally).await?,
            Err(failure) => tally.add(&failure, &session.output)?,
        }
    }
    if !items.is_empty() {
        let watching = session.watch.begin(Batch {
            command: "get",
            to_stdout: false,
            situation: situation(session, args),
        });
        session.client.get_each(items, &args.transfer.options()).await;
        tally.add_part(watching.finish())?;
    }
    tally.finish()
}

/// Downloads to standard output.
async fn stream(session: &mut Session, args: &GetArgs) -> Done {
    let [name, _] = args.paths.as_slice() else {
        return Err(Failure::usage("standard output takes one file: write `get FILE -`")
            .hint("a file that is called - is written ./-")
            .into());
    };
    let remote = RemotePath::new(name);
    let watching = session.watch.begin(Batch {
        command: "get",
        to_stdout: true,
        // What went into a pipe can not be resumed.
        situation: session.situation.clone(),
    });
    let mut stdout = Stdout::open();
    let options = args.transfer.options();
    let received = session.client.get_stream(&remote, &mut stdout, &options);
    // What became of it was told to the watch.
    drop(received.await);
    let flushed = stdout.flush().await;
    watching.finish()?;
    flushed?;
    Ok(())
}

/// The hints for this transfer: how to go on with it.
pub(in super::super) fn situation(session: &Session, args: &GetArgs) -> Situation {
    let global = (!session.situation.in_shell).then_some(&session.global);
    let to_stdout = args.paths.last().is_some_and(|path| path == "-");
    // Quotes keep another shell from expanding a pattern, and ours from taking it for one.
    let word = |path: &OsStr| match session.in_quotes.get(path) {
        Some(Quoted::Pattern(pattern)) => quoted_pattern(pattern),
        None if session.situation.in_shell => quoted_pattern(path.as_bytes()),
        _ => quoted(path.as_bytes()),
    };
    Situation {
        resume: (!to_stdout).then(|| resume::command("get", global, &args.transfer, &args.paths, word)),
        ..session.situation.clone()
    }
}

/// Adds what a path on the server stands for.
async fn collect(
    session: &mut Session,
    source: &RemotePath,
    local: &Path,
    args: &GetArgs,
    items: &mut Vec<GetItem>,
    tally: &mut Tally,
) -> Done {
    let entry = match session.client.stat_followed(source).await {
        Ok(entry) => entry,
        Err(error) => return tally.add(&session.failure("get", source, &error), &session.output),
    };
    if entry.kind != Kind::Dir {
        items.push(GetItem {
            remote: source.clone(),
            local: local.to_path_buf(),
            within: None,
            kind: entry.kind,
            size: entry.size,
        });
        return Ok(());
    }
    if !args.transfer.recursive {
        let subject = source.to_os_string();
        return tally.add(&is_directory("get", subject.as_encoded_bytes()), &session.output);
    }
    match session.client.walk_remote(source, local).await {
        Ok(walk) => {
            items.extend(walk.items);
            for (path, error) in &walk.passed_over {
                tally.add(&session.failure("get", path, error), &session.output)?;
            }
            Ok(())
        }
        Err(error) => tally.add(&session.failure("get", source, &error), &session.output),
    }
}

fn local_name(source: &RemotePath, destination: &Destination<'_>) -> Result<PathBuf, Failure> {
    let folder = match destination {
        Destination::As(name) => return Ok(PathBuf::from(name)),
        Destination::Here => Path::new(""),
        Destination::Into(folder) if *folder == "." => Path::new(""),
        Destination::Into(folder) => Path::new(folder),
    };
    let whole = source.to_os_string();
    let raw = whole.as_bytes();
    let trimmed = &raw[..raw.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1)];
    match trimmed.rsplit(|byte| *byte == b'/').next() {
        None | Some(b"" | b"." | b"..") => {
            Err(Failure::usage("this has no name of its own; give it one: get -r PATH NAME").about("get", raw))
        }
        Some(name) => Ok(folder.join(OsStr::from_bytes(name))),
    }
}

/// Sources are remote, targets are local.
struct Sides<'a>(&'a mut Session);

impl Last for Sides<'_> {
    async fn is_directory(&mut self, name: &OsStr) -> Result<bool, Failure> {
        Ok(Path::new(name).is_dir())
    }

    async fn is_source(&mut self, name: &OsStr) -> Result<bool, Failure> {
        let found = super::names::expand(self.0, "get", name).await?;
        match found.as_slice() {
            [path] => Ok(self.0.look("get", path).await?.is_some()),
            several => Ok(!several.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_own_name_unless_they_get_another() {
        let name = |source: &str, destination| local_name(&RemotePath::from(source), &destination);
        assert_eq!(
            name("films/demo.mp4", Destination::Here).unwrap(),
            Path::new("demo.mp4")
        );
        assert_eq!(name("films/", Destination::Here).unwrap(), Path::new("films"));
        assert_eq!(
            name("demo.mp4", Destination::As(OsStr::new("x"))).unwrap(),
            Path::new("x")
        );
        assert_eq!(
            name("a/demo.mp4", Destination::Into(OsStr::new("d/"))).unwrap(),
            Path::new("d/demo.mp4")
        );
        for nameless in ["/", "..", "a/.."] {
            assert!(name(nameless, Destination::Here).is_err(), "{nameless}");
        }
    }
}
