//! `ftpd`, driven by `ftp-cli` with a saved login.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};

use super::{Site, Task};
use crate::arena::{ACCOUNT, PASSWORD};
use crate::measure::Job;

/// The extended attribute in which `ftpd` keeps the digest of a stored file.
const KEPT: &str = "user.ftpd.digest";

/// The digests that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    Sha256,
    Blake3,
}

impl Digest {
    /// As `--digest` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }

    /// As people write it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Blake3 => "BLAKE3",
        }
    }
}

/// Every default but what one address and one user may do at once. Users of a number of their own are for idle
/// sessions.
pub(super) fn daemon(site: Site<'_>, tls: bool) -> Result<Job> {
    let arena = site.arena;
    let user = if arena.has_account() {
        format!("user = \"{ACCOUNT}\"\ngroup = \"nogroup\"\n")
    } else {
        String::new()
    };
    let state = arena.run("ftpd");
    fs::create_dir_all(&state)?;
    arena.own(&state)?;
    let verifier = ftp_tests::verifier(ACCOUNT, PASSWORD);
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{}\"\nstate = \"{state}/state\"\nroot = \"{state}/homes\"\n{user}\
         [server.tls]\nenabled = {tls}\n\
         [server.log]\nfile = \"{state}/log/ftpd.jsonl\"\n\
         [server.limits]\nsessions = 14000\nsessions_before_login = 14000\nsessions_per_address = 14000\n\
         sessions_per_user = 14000\nconnects_per_address = \"unlimited\"\n\
         [users.{ACCOUNT}]\nverifier = \"{verifier}\"\nhome = \"{home}\"\n",
        site.port,
        state = state.display(),
        home = arena.srv("").display(),
    );
    let config = state.join("users.toml");
    fs::write(&config, text)?;
    arena.own(&config)?;
    Ok(Job::new(arena.program("ftpd")).arg("--config").arg(config))
}

/// Logs in once by the password, so that every job has a key.
pub(super) fn save_profile(site: Site<'_>, tls: bool) -> Result<()> {
    cli(site, tls)
        .args(["login", &target(site.port)])
        .env("FTP_PASSWORD", PASSWORD)
        .quietly()?;
    Ok(())
}

pub(super) fn job(site: Site<'_>, digest: Digest, tls: bool, task: &Task<'_>) -> Job {
    let transfer = |command: &str| cli(site, tls).args([command, "-q", "--digest", digest.name()]);
    let remote = |path: &str| format!("/{path}");
    match task {
        Task::Get { remote: from, local } => transfer("get").args(["-f", "--no-resume"]).arg(remote(from)).arg(local),
        Task::Put { local, remote: to } => transfer("put").args(["-f", "--no-resume"]).arg(local).arg(remote(to)),
        Task::Discard { remote: from } => transfer("get").arg(remote(from)).arg("-"),
        Task::GetTree {
            remote: from, local, ..
        } => transfer("get").args(["-r", "-f"]).arg(remote(from)).arg(local),
        Task::PutTree { local, remote: to, .. } => transfer("put").args(["-r", "-f"]).arg(local).arg(remote(to)),
        Task::List { remote: from } => cli(site, tls).args(["ls", "-lU"]).arg(remote(from)),
        Task::ResumeGet { remote: from, local } => {
            transfer("get").args(["-f", "--resume"]).arg(remote(from)).arg(local)
        }
        Task::ResumePut { local, remote: to } => transfer("put").args(["-f", "--resume"]).arg(local).arg(remote(to)),
    }
}

/// Has the server keep the digest that a download will ask for, as after an upload under this digest. All candidates
/// get the same file, which can keep one digest at a time.
pub(super) fn keep_digest(site: Site<'_>, digest: Digest, tls: bool, remote: &str) -> Result<()> {
    let path = site.arena.srv(remote);
    // What the server kept the first time, one file for each digest.
    let known = site.arena.run(&format!("{}-{remote}", digest.name()));
    if let Ok(value) = fs::read(&known) {
        return setxattr(&path, KEPT, &value, XattrFlags::empty()).with_context(|| path.display().to_string());
    }
    // A digest that is kept already stays, whichever is asked for.
    let _ = removexattr(&path, KEPT);
    cli(site, tls)
        .args(["sum", "--fresh", "--digest", digest.name()])
        .arg(format!("/{remote}"))
        .quietly()?;
    let mut value = [0; 256];
    // A file system without such attributes keeps none, and the server hashes each time.
    let Ok(length) = getxattr(&path, KEPT, &mut value[..]) else {
        return Ok(());
    };
    if !String::from_utf8_lossy(&value[..length]).contains(digest.name()) {
        bail!("the server does not keep the digest of {remote}");
    }
    fs::write(&known, &value[..length]).with_context(|| known.display().to_string())
}

/// The same for all files of a tree, which has one digest for all of them.
pub(super) fn keep_digests(site: Site<'_>, digest: Digest, tls: bool, remote: &str, files: &[String]) -> Result<()> {
    let path = |file: &String| site.arena.srv(remote).join(file);
    let keeps = |file: &String| {
        let mut value = [0; 256];
        getxattr(path(file), KEPT, &mut value[..])
            .is_ok_and(|length| String::from_utf8_lossy(&value[..length]).contains(digest.name()))
    };
    if files.iter().all(keeps) {
        return Ok(());
    }
    for file in files {
        // A digest that is kept already stays, whichever is asked for.
        let _ = removexattr(path(file), KEPT);
    }
    let local = site.arena.cli("kept");
    let task = Task::GetTree {
        remote,
        local: &local,
        files,
    };
    job(site, digest, tls, &task).quietly()?;
    crate::arena::remove(&local)
}

pub(super) fn remove(site: Site<'_>, tls: bool, remote: &str) -> Result<()> {
    // What was never stored is not there to be removed.
    if site.arena.srv(remote).exists() {
        cli(site, tls)
            .args(["rm", "-r", "--forever"])
            .arg(format!("/{remote}"))
            .quietly()?;
    }
    Ok(())
}

fn cli(site: Site<'_>, tls: bool) -> Job {
    let job = Job::new(site.arena.program("ftp-cli"))
        .env("HOME", site.arena.run(""))
        .env("FTP_CLI_CONFIG_DIR", profile(site))
        .args(["--server", &target(site.port)]);
    if tls { job } else { job.arg("--no-tls") }
}

fn target(port: u16) -> String {
    format!("{ACCOUNT}@127.0.0.1:{port}")
}

fn profile(site: Site<'_>) -> PathBuf {
    site.arena.run("profile")
}
