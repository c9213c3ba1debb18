//! The usual clients of FTP.

use anyhow::Result;

use super::{Site, Task, curl_list};
use crate::arena::{ACCOUNT, PASSWORD};
use crate::measure::Job;

/// Connections at once for many small files: more make no peer faster.
pub(super) const CONNECTIONS: u32 = 8;

fn url(site: Site<'_>, path: &str) -> String {
    format!("ftp://127.0.0.1:{}/{path}", site.port)
}

fn curl(tls: bool) -> Job {
    let job = Job::new("curl").args(["-sS", "--user", &format!("{ACCOUNT}:{PASSWORD}")]);
    if tls { job.args(["--ssl-reqd", "-k"]) } else { job }
}

pub(super) fn curl_job(site: Site<'_>, tls: bool, task: &Task<'_>) -> Result<Option<Job>> {
    let parallel = |job: Job| {
        job.args([
            "--parallel",
            "--parallel-immediate",
            "--parallel-max",
            &CONNECTIONS.to_string(),
        ])
    };
    Ok(Some(match task {
        Task::Get { remote, local } => curl(tls).arg("-o").arg(local).arg(url(site, remote)),
        Task::Put { local, remote } => curl(tls).arg("-T").arg(local).arg(url(site, remote)),
        Task::Discard { remote } => curl(tls).args(["-o", "/dev/null"]).arg(url(site, remote)),
        Task::List { remote } => curl(tls).arg(url(site, &format!("{remote}/"))),
        Task::ResumeGet { remote, local } => curl(tls).args(["-C", "-", "-o"]).arg(local).arg(url(site, remote)),
        Task::ResumePut { local, remote } => curl(tls).args(["-C", "-", "-T"]).arg(local).arg(url(site, remote)),
        Task::GetTree { remote, local, files } => {
            let lines = files.iter().map(|file| {
                let from = url(site, &format!("{remote}/{file}"));
                format!("url=\"{from}\"\noutput=\"{}/{file}\"\ncreate-dirs\n", local.display())
            });
            parallel(curl(tls))
                .arg("-K")
                .arg(curl_list(site.arena, "curl-get", lines)?)
        }
        Task::PutTree { local, remote, files } => {
            let lines = files.iter().map(|file| {
                let to = url(site, &format!("{remote}/{file}"));
                format!("url=\"{to}\"\nupload-file=\"{}/{file}\"\n", local.display())
            });
            parallel(curl(tls))
                .arg("--ftp-create-dirs")
                .arg("-K")
                .arg(curl_list(site.arena, "curl-put", lines)?)
        }
    }))
}

pub(super) fn lftp_job(site: Site<'_>, tls: bool, task: &Task<'_>) -> Option<Job> {
    let command = match task {
        Task::Get { remote, local } => format!("get {remote} -o {}", local.display()),
        Task::Put { local, remote } => format!("put {} -o {remote}", local.display()),
        Task::Discard { .. } => return None,
        Task::List { remote } => format!("cls -l {remote}"),
        Task::ResumeGet { remote, local } => format!("get -c {remote} -o {}", local.display()),
        Task::ResumePut { local, remote } => format!("put -c {} -o {remote}", local.display()),
        Task::GetTree { remote, local, .. } => {
            format!("mirror --parallel={CONNECTIONS} {remote} {}", local.display())
        }
        Task::PutTree { local, remote, .. } => {
            format!("mirror -R --parallel={CONNECTIONS} {} {remote}", local.display())
        }
    };
    let tls = if tls {
        "set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ssl:verify-certificate no;"
    } else {
        "set ftp:ssl-allow no;"
    };
    let script = format!(
        "set net:timeout 20; set net:max-retries 2; set xfer:clobber on; set cmd:fail-exit yes; set ftp:use-mdtm no; \
         {tls} open -u {ACCOUNT},\"{PASSWORD}\" -p {} ftp://127.0.0.1; {command}",
        site.port
    );
    Some(
        Job::new("lftp")
            .args(["--norc", "-c", &script])
            .env("HOME", site.arena.run("")),
    )
}
