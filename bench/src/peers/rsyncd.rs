//! The rsync daemon with its defaults: a temporary file, a check of the whole file, a rename, no `fsync`.

use std::fs;

use anyhow::Result;

use super::{Site, Task, program};
use crate::arena::ACCOUNT;
use crate::measure::Job;

pub(super) fn daemon(site: Site<'_>) -> Result<Job> {
    let arena = site.arena;
    let pid = arena.run("rsyncd.pid");
    crate::arena::remove(&pid)?;
    let text = format!(
        "port = {}\naddress = 127.0.0.1\nuse chroot = no\nuid = {ACCOUNT}\ngid = nogroup\nmax connections = 0\n\
         log file = {}\npid file = {}\n[srv]\npath = {}\nread only = no\n",
        site.port,
        arena.log("rsyncd.log").display(),
        pid.display(),
        arena.srv("").display()
    );
    let config = arena.run("rsyncd.conf");
    fs::write(&config, text)?;
    let config = format!("--config={}", config.display());
    Ok(Job::new(program("rsync")?).args(["--daemon", "--no-detach", &config]))
}

pub(super) fn job(site: Site<'_>, task: &Task<'_>) -> Option<Job> {
    let url = |path: &str| format!("rsync://127.0.0.1:{}/srv/{path}", site.port);
    let rsync = || Job::new("rsync").arg("-a");
    let resume = || rsync().args(["--partial", "--append-verify"]);
    Some(match task {
        Task::Get { remote, local } => rsync().arg(url(remote)).arg(local),
        Task::Put { local, remote } => rsync().arg(local).arg(url(remote)),
        Task::Discard { .. } => return None,
        Task::List { remote } => rsync()
            .arg("--no-recursive")
            .arg("--dirs")
            .arg(url(&format!("{remote}/"))),
        Task::ResumeGet { remote, local } => resume().arg(url(remote)).arg(local),
        Task::ResumePut { local, remote } => resume().arg(local).arg(url(remote)),
        Task::GetTree { remote, local, .. } => rsync()
            .arg(url(&format!("{remote}/")))
            .arg(format!("{}/", local.display())),
        Task::PutTree { local, remote, .. } => rsync()
            .arg(format!("{}/", local.display()))
            .arg(url(&format!("{remote}/"))),
    })
}
