//! Mounts that only the server under test sees, made in a mount namespace of its own, as far as this machine permits.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Server, skipped};

/// Whether a server can be given mounts of its own. Says for `test` when it cannot.
pub(crate) fn are_permitted(test: &str) -> bool {
    let mut command = unshare();
    command
        .args(["mount", "-t", "tmpfs", "none", "/tmp"])
        .stdin(Stdio::null());
    let why = match command.output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("no unshare: {error}"),
    };
    skipped(test, &format!("no mounts can be made here ({why})"));
    false
}

/// The same program, started where `script` has made its mounts.
pub(crate) fn within(command: &Command, script: &str) -> Command {
    let mut within = unshare();
    within
        .args(["/bin/sh", "-e", "-c", &format!("{script}\nexec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("FTPD_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    within
}

/// Runs a script among the mounts of a server.
pub(crate) fn run(server: &Server, script: &str) {
    let mut command = Command::new("nsenter");
    command.args(["-t", &server.pid().to_string(), "-m"]);
    if !is_root() {
        command.args(["-U", "--preserve-credentials"]);
    }
    let output = command.args(["/bin/sh", "-e", "-c", script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A path as the server sees it.
pub(crate) fn seen_by(server: &Server, path: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", server.pid()));
    root.join(path.strip_prefix("/").unwrap())
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    // Whoever is not root becomes it in a namespace of users, where that is permitted.
    command.arg(if is_root() { "-m" } else { "-rm" });
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
