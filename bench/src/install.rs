//! Getting the peers from the distribution.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::tools::{find, unpacked};

/// What can be installed together. `nginx-light` has WebDAV's PUT.
const TOGETHER: [&str; 8] = [
    "vsftpd",
    "openssh-server",
    "openssh-client",
    "rsync",
    "nginx-light",
    "lftp",
    "curl",
    "openssl",
];

/// What excludes vsftpd and each other: the package, further ones it needs, and the directory they are unpacked in.
const APART: [(&str, &[&str], &str); 2] = [
    (
        "proftpd",
        &[
            "proftpd-core",
            "proftpd-mod-crypto",
            "libhiredis0.14",
            "libhashkit2",
            "libmemcached11",
            "libmemcachedutil2",
            "libpcre2-posix3",
        ],
        "proftpd",
    ),
    (
        "pure-ftpd",
        &["pure-ftpd", "pure-ftpd-common", "libsodium23"],
        "pureftpd",
    ),
];

/// A file by which Debian's scripts are kept from starting what they install.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs or unpacks every peer that is missing. None of them is started.
pub(crate) fn peers() -> Result<()> {
    if find("apt-get").is_none() {
        bail!("--install knows Debian's apt-get only");
    }
    apt(Path::new("/"), &["update"])?;
    let policy = !Path::new(POLICY).exists();
    if policy {
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").context(POLICY)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
    }
    let installed = apt(
        Path::new("/"),
        &[&["install", "-y", "--no-install-recommends"], &TOGETHER[..]].concat(),
    );
    if policy {
        fs::remove_file(POLICY).context(POLICY)?;
    }
    installed?;
    for (program, packages, directory) in APART {
        if find(program).is_none() {
            unpack(packages, &unpacked().join(directory))?;
        }
    }
    Ok(())
}

fn unpack(packages: &[&str], into: &Path) -> Result<()> {
    let archives = into.join("archives");
    fs::create_dir_all(&archives).with_context(|| archives.display().to_string())?;
    apt(&archives, &[&["download"], packages].concat())?;
    for archive in fs::read_dir(&archives)? {
        let archive = archive?.path();
        let status = Command::new("dpkg")
            .arg("-x")
            .arg(&archive)
            .arg(into)
            .status()
            .context("dpkg")?;
        if !status.success() {
            bail!("{} cannot be unpacked", archive.display());
        }
    }
    Ok(())
}

fn apt(directory: &Path, args: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .current_dir(directory)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed", args.join(" "));
    }
    Ok(())
}
