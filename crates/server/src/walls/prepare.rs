//! What the server needs on disk: made while root can, owned by whom the server becomes.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{Access, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::identity::Identity;
use crate::config::{Config, TlsConfig};

/// Makes the root, the homes, the state directory and that of the log where they are missing.
pub(super) fn make_directories(config: &Config, owner: Option<&Identity>) -> Result<()> {
    let server = &config.server;
    let log = server.log.file.as_deref().and_then(Path::parent);
    let homes = config.users.values().map(|user| user.home.as_path());
    for directory in [server.root.as_path(), &server.state]
        .into_iter()
        .chain(log)
        .chain(homes)
    {
        match owner {
            None => make_private_dir(directory)?,
            Some(owner) => {
                make_owned_dir(directory, owner)
                    .with_context(|| format!("cannot make the directory {}", directory.display()))?;
            }
        }
    }
    Ok(())
}

/// Makes a directory that only its owner can enter, with its parents.
pub(crate) fn make_private_dir(path: &Path) -> Result<()> {
    ftp_store::make_private_dir(path).with_context(|| format!("cannot make the directory {}", path.display()))
}

/// As [`make_private_dir`], and every directory that was missing is then `owner`'s.
///
/// Root acts here where others may write: each step is beneath a handle, and what is given away is what was made
/// a moment ago, never what a link leads to.
fn make_owned_dir(path: &Path, owner: &Identity) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut missing: Vec<&OsStr> = Vec::new();
    let mut there = path;
    while !there.is_dir() {
        match (there.parent(), there.components().next_back()) {
            (Some(parent), Some(Component::Normal(name))) => {
                missing.push(name);
                there = parent;
            }
            _ => bail!("a path through `..` must exist"),
        }
    }
    let open = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at: OwnedFd = rustix::fs::openat(CWD, there, open, Mode::empty())?;
    for name in missing.into_iter().rev() {
        match rustix::fs::mkdirat(&at, name, Mode::RWXU) {
            Ok(()) => {}
            // A home that two users' tables spell differently.
            Err(Errno::EXIST) => {
                at = rustix::fs::openat(&at, name, open | OFlags::NOFOLLOW, Mode::empty())?;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let made = rustix::fs::openat(&at, name, open | OFlags::NOFOLLOW, Mode::empty())?;
        ensure!(
            rustix::fs::fstat(&made)?.st_uid == rustix::process::geteuid().as_raw(),
            "somebody exchanged it while it was made"
        );
        rustix::fs::fchown(&made, Some(owner.uid()), Some(owner.gid()))?;
        // What is stored in it is said to be durable, and is not without its name.
        rustix::fs::fsync(&made)?;
        rustix::fs::fsync(&at)?;
        at = made;
    }
    Ok(())
}

/// Whether the server can work now that it is `identity`. What comes back is worth a warning.
pub(super) fn check(config: &Config, identity: &Identity) -> Result<Vec<String>> {
    let name = identity.name();
    let mut faults = Vec::new();
    for (path, access, remedy) in needed(config) {
        let Err(error) = rustix::fs::access(&path, access) else {
            continue;
        };
        if error == Errno::NOENT && !remedy.must_exist() {
            continue;
        }
        faults.push(format!("{}: {error}; {}", path.display(), remedy.advice(&path, name)));
    }
    if !faults.is_empty() {
        bail!(
            "the user `{name}`, whom `user` in [server] names, cannot use {}",
            faults.join("; nor ")
        );
    }
    let TlsConfig::Own { certificate, key } = &config.server.tls else {
        return Ok(Vec::new());
    };
    let unreadable = [certificate, key]
        .into_iter()
        .filter(|path| rustix::fs::access(path.as_path(), Access::READ_OK).is_err());
    Ok(unreadable
        .map(|path| {
            format!(
                "{} was read as root, and the user `{name}` cannot read it: a renewed certificate needs a restart",
                path.display()
            )
        })
        .collect())
}

/// What to do about a path that can not be used.
#[derive(Clone, Copy)]
enum Remedy {
    /// The whole directory is the server's.
    OwnTree,
    /// The file, if there is one, is the server's.
    OwnFile,
    /// It has to be readable.
    Readable,
}

impl Remedy {
    fn must_exist(self) -> bool {
        !matches!(self, Self::OwnFile)
    }

    fn advice(self, path: &Path, user: &str) -> String {
        let path = path.display();
        match self {
            Self::OwnTree => format!(
                "`chown -R {user}: {path}` gives it to the server, which must be able to enter the directories above \
                 it as well"
            ),
            Self::OwnFile => format!("`chown {user}: {path}` gives it to the server"),
            Self::Readable => format!(
                "`chown {user}: {path}` lets the server read it, which must be able to enter the directories above it \
                 as well"
            ),
        }
    }
}

fn needed(config: &Config) -> Vec<(PathBuf, Access, Remedy)> {
    let server = &config.server;
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let mut needed = vec![(config.file.clone(), Access::READ_OK, Remedy::Readable)];
    let homes = config.users.values().map(|user| &user.home);
    let trees = [&server.root, &server.state].into_iter().chain(homes);
    needed.extend(trees.map(|tree| (tree.clone(), all, Remedy::OwnTree)));
    // What an earlier start as root left.
    let files = crate::server::state_files(&server.state);
    needed.extend(files.map(|file| (file, Access::READ_OK | Access::WRITE_OK, Remedy::OwnFile)));
    if let Some(file) = &server.log.file {
        if let Some(directory) = file.parent() {
            needed.push((
                directory.to_owned(),
                Access::WRITE_OK | Access::EXEC_OK,
                Remedy::OwnTree,
            ));
        }
        needed.push((file.clone(), Access::READ_OK | Access::WRITE_OK, Remedy::OwnFile));
    }
    needed
}
