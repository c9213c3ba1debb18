//! Changing users in the configuration file: comments, order and formatting stay as they are.
//!
//! The file is replaced by one rename, so a server that reads it at any moment sees the old text or
//! the new one, and it is locked meanwhile, so two administrators cannot undo each other's change.

mod edit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{Config, ConfigFaults, EXAMPLE};
pub(crate) use edit::{Change, EditError, NewUser};

/// The verifiers in it are nobody else's business.
const FILE_MODE: u32 = 0o600;

/// Why the configuration file was not changed. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersFileError {
    #[error("cannot change {}", path.display())]
    Edit {
        path: PathBuf,
        #[source]
        error: EditError,
    },
    #[error("{} exists already and stays as it is; to start anew, move it away first", path.display())]
    Exists { path: PathBuf },
    #[error(transparent)]
    Faults(#[from] ConfigFaults),
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

/// Writes the commented example to a new file.
pub(crate) fn create(path: &Path) -> Result<(), UsersFileError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)?;
        file.write_all(EXAMPLE.as_bytes())?;
        file.sync_all()?;
        sync_directory(path)
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => UsersFileError::Exists { path: path.to_owned() },
        _ => write_error(path, error),
    })
}

/// The configuration around a change. Faults that have nothing to do with the change may be in both.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) before: Result<Config, ConfigFaults>,
    pub(crate) after: Result<Config, ConfigFaults>,
}

/// Makes one change. A fault elsewhere in the file stops no change; one that the change would bring
/// does.
pub(crate) fn change(path: &Path, change: &Change) -> Result<Changed, UsersFileError> {
    let unreadable = |error: io::Error| ConfigFaults::unreadable(path, &error);
    // The file behind a link is replaced, not the link.
    let target = path.canonicalize().map_err(unreadable)?;
    let mut locked = lock(&target).map_err(unreadable)?;
    let mut text = Zeroizing::new(String::new());
    locked.read_to_string(&mut text).map_err(unreadable)?;
    let edit_error = |error| UsersFileError::Edit {
        path: path.to_owned(),
        error,
    };
    let edited = edit::apply(&text, change).map(Zeroizing::new).map_err(edit_error)?;
    let changed = Changed {
        before: Config::parse(path, &text),
        after: Config::parse(path, &edited),
    };
    if let Err(faults) = &changed.after
        && brings_fault(faults, changed.before.as_ref().err())
    {
        return Err(faults.clone().into());
    }
    edit::verify(change, &changed).map_err(edit_error)?;
    replace(&target, &locked, &edited).map_err(|error| write_error(path, error))?;
    Ok(changed)
}

fn brings_fault(after: &ConfigFaults, before: Option<&ConfigFaults>) -> bool {
    let known = |message: &String| before.is_some_and(|before| before.faults.iter().any(|old| old.message == *message));
    !after.faults.iter().all(|fault| known(&fault.message))
}

/// The file, locked against every other `ftpd user`. The lock ends with the handle.
fn lock(path: &Path) -> io::Result<File> {
    loop {
        let file = File::open(path)?;
        file.lock()?;
        // Whoever held the lock before has put another file in its place.
        let (held, named) = (file.metadata()?, fs::metadata(path)?);
        if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            return Ok(file);
        }
    }
}

/// Puts `text` in the place of `old`, with its owner and mode, durably.
fn replace(path: &Path, old: &File, text: &str) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".tmp");
    let staged = PathBuf::from(staged);
    // What a killed `ftpd user` left: the lock says that nobody is writing it.
    fs::remove_file(&staged).ok();
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&staged)?;
        let (old, new) = (old.metadata()?, file.metadata()?);
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            // Otherwise a change by root would take the file from the user who runs the server.
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        sync_directory(path)
    };
    write().inspect_err(|_| {
        // It may not exist; then there is nothing to clear away.
        fs::remove_file(&staged).ok();
    })
}

/// Makes the name of `path` durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn write_error(path: &Path, error: io::Error) -> UsersFileError {
    UsersFileError::Write {
        path: path.to_owned(),
        error,
    }
}
