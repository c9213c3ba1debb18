//! OpenSSH: `sftp`, and `tar` through `ssh`, by key, with the fastest cipher it has.

use std::fs;

use anyhow::Result;

use super::{Site, Task, program};
use crate::arena::ACCOUNT;
use crate::measure::Job;

/// The fastest on a machine with AES instructions; the default is three times as slow.
const CIPHER: &str = "aes128-gcm@openssh.com";

pub(super) fn daemon(site: Site<'_>) -> Result<Job> {
    let arena = site.arena;
    fs::create_dir_all("/run/sshd")?;
    let text = format!(
        "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile {}\nAuthorizedKeysFile {}\nStrictModes no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM yes\nPrintMotd no\nCiphers {CIPHER}\n\
         MaxStartups 1000:30:2000\nSubsystem sftp internal-sftp\n",
        site.port,
        arena.key("host").display(),
        arena.run("sshd.pid").display(),
        arena.key("authorized").display(),
    );
    let config = arena.run("sshd_config");
    fs::write(&config, text)?;
    // It wants to be called by its full path.
    Ok(Job::new(program("sshd")?).args(["-D", "-e", "-f"]).arg(config))
}

fn client_config(site: Site<'_>) -> Result<String> {
    let text = format!(
        "Host bench\n HostName 127.0.0.1\n Port {}\n User {ACCOUNT}\n IdentityFile {}\n IdentitiesOnly yes\n \
         UserKnownHostsFile /dev/null\n StrictHostKeyChecking no\n LogLevel ERROR\n Compression no\n",
        site.port,
        site.arena.key("id").display()
    );
    let path = site.arena.run("ssh_config");
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

pub(super) fn sftp_job(site: Site<'_>, task: &Task<'_>) -> Result<Option<Job>> {
    let served = |path: &str| site.arena.srv(path).display().to_string();
    let batch = match task {
        Task::Get { remote, local } => format!("get {} {}\n", served(remote), local.display()),
        Task::Put { local, remote } => format!("put {} {}\n", local.display(), served(remote)),
        Task::Discard { remote } => format!("get {} /dev/null\n", served(remote)),
        Task::List { remote } => format!("ls -lf {}\n", served(remote)),
        Task::ResumeGet { remote, local } => format!("reget {} {}\n", served(remote), local.display()),
        Task::ResumePut { local, remote } => format!("reput {} {}\n", local.display(), served(remote)),
        Task::GetTree { remote, local, .. } => format!("get -r {} {}\n", served(remote), local.display()),
        Task::PutTree { local, remote, .. } => {
            format!("mkdir {to}\nput -r {}/. {to}\n", local.display(), to = served(remote))
        }
    };
    // One file for each verb: a resume is prepared together with what it goes on with.
    let verb = batch.split(' ').next().unwrap_or_default();
    let script = site.arena.run(&format!("sftp-{verb}"));
    fs::write(&script, &batch)?;
    let config = client_config(site)?;
    Ok(Some(
        Job::new(program("sftp")?)
            .args(["-q", "-F", &config, "-b"])
            .arg(script)
            .arg("bench"),
    ))
}

pub(super) fn tar_job(site: Site<'_>, task: &Task<'_>) -> Result<Option<Job>> {
    let config = client_config(site)?;
    let served = |path: &str| site.arena.srv(path).display().to_string();
    let script = match task {
        Task::GetTree { remote, local, .. } => format!(
            "mkdir -p {to} && ssh -F {config} bench 'tar -C {} -cf - .' | tar -C {to} -xf -",
            served(remote),
            to = local.display()
        ),
        Task::PutTree { local, remote, .. } => format!(
            "tar -C {} -cf - . | ssh -F {config} bench 'mkdir -p {to} && tar -C {to} -xf -'",
            local.display(),
            to = served(remote)
        ),
        _ => return Ok(None),
    };
    Ok(Some(Job::script(&script)))
}
