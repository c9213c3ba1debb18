//! The programs under test: built by cargo beside the tests, with the same profile.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The server, built and up to date.
pub fn ftpd() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("ftpd"))
}

/// The client, built and up to date.
pub fn ftp_cli() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("ftp-cli"))
}

fn built(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(build).join(name)
}

/// Builds both programs and tells where they are. Cargo builds the programs of a package only for
/// the tests of that package, so what is missing is built here; nothing is where all is up to date.
fn build() -> PathBuf {
    if let Some(directory) = env::var_os("FTP_TESTS_PROGRAMS") {
        return directory.into();
    }
    let own = env::current_exe().unwrap();
    let directory = own.parent().unwrap();
    // Tests lie in a directory of their own beneath it, other programs of the rig do not.
    let profile = match directory.parent() {
        Some(above) if directory.ends_with("deps") => above,
        _ => directory,
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With a test among the targets, features are the same as under `cargo test --workspace`, and
    // nothing is compiled twice.
    cargo
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--bins",
            "--test",
            "e2e",
            "--target-dir",
        ])
        .arg(profile.parent().unwrap())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let done = cargo.output().unwrap();
    assert!(
        done.status.success(),
        "the programs under test do not build:\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
    profile.to_owned()
}
