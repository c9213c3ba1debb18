//! Pure-FTPd with the defaults of Debian's wrapper and raised limits, from its installed or unpacked package.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Site, program};
use crate::measure::Job;

pub(super) fn daemon(site: Site<'_>, tls: bool) -> Result<Job> {
    let arena = site.arena;
    fs::create_dir_all("/etc/ssl/private")?;
    let pureftpd = program("pure-ftpd")?;
    let root = pureftpd.ancestors().nth(3).context("the package's root")?;
    let job = libraries(Job::new(&pureftpd), root)
        .args([
            "-S",
            &format!("127.0.0.1,{}", site.port),
            "-l",
            "unix",
            "-E",
            "-u",
            "500",
        ])
        // Listings are cut at 10,000 entries otherwise.
        .args([
            "-c",
            "3000",
            "-C",
            "3000",
            "-I",
            "30",
            "-p",
            "41000:44999",
            "-L",
            "2000000:64",
        ])
        .args(["-O", &format!("clf:{}", arena.log("pureftpd.log").display())])
        .arg("-g")
        .arg(arena.run("pureftpd.pid"));
    Ok(if tls {
        job.args(["-Y", "3", "-2"]).arg(arena.key("both.pem"))
    } else {
        job
    })
}

/// Has a program find the libraries that were unpacked with it.
pub(super) fn libraries(job: Job, root: &Path) -> Job {
    let Ok(directories) = fs::read_dir(root.join("usr/lib")) else {
        return job;
    };
    let places = directories.flatten().map(|entry| entry.path());
    let places = places.filter(|path| path.to_string_lossy().contains("-linux-gnu"));
    match std::env::join_paths(places) {
        Ok(path) if root != Path::new("/") && !path.is_empty() => job.env("LD_LIBRARY_PATH", path),
        _ => job,
    }
}
