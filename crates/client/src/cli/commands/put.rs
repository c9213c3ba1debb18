//! `put`

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ftp_client::RemotePath;

use super::super::args::PutArgs;
use super::super::exit::Exit;
use super::super::failure::{Done, Failure, Situation};
use super::super::quote::quoted;
use super::super::resume;
use super::super::session::{Session, Tally};
use super::super::targets::{self, Destination, Last};
use super::super::watch::Batch;

pub(super) async fn put(session: &mut Session, args: &PutArgs) -> Done {
    if args.paths.iter().any(|path| path == "-") {
        return stream(session, args).await;
    }
    let directory = args.transfer.target_directory.as_deref();
    let (sources, destination) = targets::split(&args.paths, directory, &mut Sides(session)).await?;

    if let (Destination::As(name), [source]) = (&destination, sources)
        && fs::symlink_metadata(name).is_ok()
    {
        let (source, name) = (quoted(source.as_bytes()), quoted(name.as_bytes()));
        session.output.note(&format!(
            "uploading {source} as {name}; with `-t .` both would keep their names"
        ));
    }

    let mut tally = Tally::default();
    let mut trees = Vec::new();
    for source in sources {
        let source = Path::new(source);
        let named = remote_name(source, &destination);
        match named.and_then(|remote| look(source, args).map(|()| remote)) {
            Ok(remote) => trees.push((source.to_path_buf(), remote)),
            Err(failure) => tally.add(&failure, &session.output)?,
        }
    }
    if !trees.is_empty() {
        let watching = session.watch.begin(Batch {
            command: "put",
            to_stdout: false,
            situation: situation(session, args),
        });
        session.client.put_trees(trees, &args.transfer.options()).await;
        tally.add_part(watching.finish())?;
    }
    tally.finish()
}

/// Uploads standard input.
async fn stream(session: &mut Session, args: &PutArgs) -> Done {
    let [_, name] = args.paths.as_slice() else {
        return Err(Failure::usage("standard input is one file: write `put - NAME`")
            .hint("a file that is called - is written ./-")
            .into());
    };
    let remote = RemotePath::new(name);
    let nameless = args.transfer.target_directory.is_some() || targets::means_directory(name) || name == "-";
    if nameless || session.is_directory("put", &remote).await? {
        return Err(Failure::usage("standard input has no name of its own: write `put - NAME`").into());
    }
    let watching = session.watch.begin(Batch {
        command: "put",
        to_stdout: false,
        situation: situation(session, args),
    });
    let options = args.transfer.options();
    let sent = session.client.put_stream(tokio::io::stdin(), &remote, &options);
    // What became of it was told to the watch.
    drop(sent.await);
    watching.finish()
}

/// The hints for this transfer: how to go on with it.
pub(in super::super) fn situation(session: &Session, args: &PutArgs) -> Situation {
    let global = (!session.situation.in_shell).then_some(&session.global);
    let from_stdin = args.paths.iter().any(|path| path == "-");
    Situation {
        // Of a stream nothing is kept.
        resume: (!from_stdin).then(|| {
            let word = |path: &OsStr| quoted(path.as_bytes());
            resume::command("put", global, &args.transfer, &args.paths, word)
        }),
        from_stdin,
        ..session.situation.clone()
    }
}

/// Whether a local path can be uploaded, before anything is.
fn look(source: &Path, args: &PutArgs) -> Result<(), Failure> {
    let subject = source.as_os_str().as_bytes();
    match fs::metadata(source) {
        Ok(metadata) if metadata.is_dir() && !args.transfer.recursive => Err(is_directory("put", subject)),
        Ok(_) => Ok(()),
        Err(error) => {
            let failure = Failure::local("cannot read", source, &error).about("put", subject);
            Err(Failure {
                message: error.to_string(),
                ..failure
            })
        }
    }
}

/// The failure of a directory without `-r`.
pub(super) fn is_directory(command: &'static str, subject: &[u8]) -> Failure {
    Failure::new(Exit::Failed, "is_directory", "this is a directory")
        .about(command, subject)
        .hint("`-r` takes directories with everything in them")
}

fn remote_name(source: &Path, destination: &Destination<'_>) -> Result<RemotePath, Failure> {
    let folder = match destination {
        Destination::As(name) => return Ok(RemotePath::new(name)),
        Destination::Here => None,
        Destination::Into(folder) => Some(folder),
    };
    let name = own_name(source)?;
    Ok(match folder {
        None => RemotePath::new(&name),
        Some(folder) if *folder == "." => RemotePath::new(&name),
        Some(folder) => RemotePath::new(folder).join(RemotePath::new(&name).as_wire()),
    })
}

/// The last component; of `.` and `..`, the name of the directory that is meant.
fn own_name(source: &Path) -> Result<OsString, Failure> {
    if let Some(name) = source.file_name() {
        return Ok(name.to_owned());
    }
    let subject = source.as_os_str().as_bytes();
    let full = source
        .canonicalize()
        .map_err(|error| Failure::local("cannot find", source, &error).about("put", subject))?;
    full.file_name()
        .map(OsStr::to_owned)
        .ok_or_else(|| Failure::usage("this has no name of its own; give it one: put -r / NAME").about("put", subject))
}

/// Sources are local, targets are remote.
struct Sides<'a>(&'a mut Session);

impl Last for Sides<'_> {
    async fn is_directory(&mut self, name: &OsStr) -> Result<bool, Failure> {
        self.0.is_directory("put", &RemotePath::new(name)).await
    }

    async fn is_source(&mut self, name: &OsStr) -> Result<bool, Failure> {
        Ok(fs::symlink_metadata(name).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_own_name_unless_they_get_another() {
        let name = |source: &str, destination| {
            remote_name(Path::new(source), &destination).map(|path| path.as_wire().to_owned())
        };
        assert_eq!(name("dir/demo.mp4", Destination::Here).unwrap(), "demo.mp4");
        assert_eq!(
            name("demo.mp4", Destination::As(OsStr::new("demo1.mp4"))).unwrap(),
            "demo1.mp4"
        );
        assert_eq!(
            name("demo.mp4", Destination::Into(OsStr::new("films/"))).unwrap(),
            "films/demo.mp4"
        );
        assert_eq!(
            name("demo.mp4", Destination::Into(OsStr::new("/"))).unwrap(),
            "/demo.mp4"
        );
        assert!(name("/", Destination::Here).is_err());
    }

    #[test]
    fn the_directory_where_we_are_has_a_name() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(own_name(Path::new(".")).unwrap(), here.file_name().unwrap());
    }
}
