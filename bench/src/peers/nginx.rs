//! nginx: files by `sendfile`, uploads by WebDAV's PUT into a temporary file on the same file system, then a rename.

use std::fs;

use anyhow::Result;

use super::ftp::CONNECTIONS;
use super::{Site, Task, curl_list, program};
use crate::arena::ACCOUNT;
use crate::measure::Job;

/// Connections at once over a long way: each waits for its answer.
const FAR_CONNECTIONS: u32 = 100;

pub(super) fn daemon(site: Site<'_>, tls: bool) -> Result<Job> {
    let arena = site.arena;
    let run = arena.run("nginx");
    for name in ["body", "p", "f", "u", "s"] {
        fs::create_dir_all(run.join(name))?;
    }
    arena.own_all(&run)?;
    let log = arena.log("nginx");
    let ssl = if tls { " ssl" } else { "" };
    let keys = if tls {
        format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:S:10m;",
            arena.key("cert.pem").display(),
            arena.key("key.pem").display()
        )
    } else {
        String::new()
    };
    let text = format!(
        "user {ACCOUNT} nogroup;\nworker_processes auto;\ndaemon off;\npid {run}/pid;\nerror_log {log}.err;\n\
         worker_rlimit_nofile 20000;\nevents {{ worker_connections 16000; }}\nhttp {{\n access_log {log}.access;\n \
         sendfile on; tcp_nopush on; default_type application/octet-stream;\n client_max_body_size 0; \
         keepalive_timeout 300; keepalive_requests 100000;\n client_body_temp_path {run}/body; proxy_temp_path {run}/p; \
         fastcgi_temp_path {run}/f; uwsgi_temp_path {run}/u; scgi_temp_path {run}/s;\n server {{ listen \
         127.0.0.1:{port}{ssl} backlog=4096; {keys}\n root {root};\n location / {{ dav_methods PUT DELETE MKCOL; \
         create_full_put_path on; autoindex on; }} }} }}\n",
        run = run.display(),
        log = log.display(),
        port = site.port,
        root = arena.srv("").display(),
    );
    let config = arena.run("nginx.conf");
    fs::write(&config, text)?;
    Ok(Job::new(program("nginx")?).arg("-c").arg(config))
}

pub(super) fn job(site: Site<'_>, tls: bool, task: &Task<'_>) -> Result<Option<Job>> {
    let scheme = if tls { "https" } else { "http" };
    let url = |path: &str| format!("{scheme}://127.0.0.1:{}/{path}", site.port);
    let curl = || Job::new("curl").args(["-fsSk", "-H", "Expect:"]);
    let connections = if site.far { FAR_CONNECTIONS } else { CONNECTIONS };
    let parallel = || {
        curl().args([
            "--parallel",
            "--parallel-immediate",
            "--parallel-max",
            &connections.to_string(),
        ])
    };
    Ok(Some(match task {
        Task::Get { remote, local } => curl().arg("-o").arg(local).arg(url(remote)),
        Task::Put { local, remote } => curl().arg("-T").arg(local).arg(url(remote)),
        Task::Discard { remote } => curl().args(["-o", "/dev/null"]).arg(url(remote)),
        Task::List { remote } => curl().arg(url(&format!("{remote}/"))),
        Task::ResumeGet { remote, local } => curl().args(["-C", "-", "-o"]).arg(local).arg(url(remote)),
        // HTTP has no way to go on with a PUT.
        Task::ResumePut { .. } => return Ok(None),
        Task::GetTree { remote, local, files } => {
            let lines = files.iter().map(|file| {
                let from = url(&format!("{remote}/{file}"));
                format!("url=\"{from}\"\noutput=\"{}/{file}\"\ncreate-dirs\n", local.display())
            });
            parallel().arg("-K").arg(curl_list(site.arena, "curl-get", lines)?)
        }
        Task::PutTree { local, remote, files } => {
            let lines = files.iter().map(|file| {
                let to = url(&format!("{remote}/{file}"));
                format!("url=\"{to}\"\nupload-file=\"{}/{file}\"\n", local.display())
            });
            parallel()
                .args(["-o", "/dev/null", "-K"])
                .arg(curl_list(site.arena, "curl-put", lines)?)
        }
    }))
}
