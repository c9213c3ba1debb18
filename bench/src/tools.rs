//! Programs of this machine: where they are, and which version.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where packages are unpacked that cannot be installed beside each other.
pub(crate) fn unpacked() -> PathBuf {
    crate::sandbox::workspace().join("target/bench-peers")
}

/// Finds a program on the path, among the system's, or among the unpacked packages.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin".into(), "/sbin".into(), "/usr/local/sbin".into()]);
    places.extend(["proftpd", "pureftpd"].map(|name| unpacked().join(name).join("usr/sbin")));
    places
        .into_iter()
        .map(|place| place.join(program))
        .find(|file| file.is_file())
}

/// The first line of what a program says about its version.
pub(crate) fn version(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

/// The versions of everything that takes part, as name and version.
pub(crate) fn versions() -> Vec<(String, String)> {
    const ASKED: [(&str, &[&str]); 11] = [
        ("vsftpd", &["-v"]),
        ("proftpd", &["-v"]),
        ("pure-ftpd", &["-h"]),
        ("nginx", &["-v"]),
        ("sshd", &["-V"]),
        ("rsync", &["--version"]),
        ("curl", &["--version"]),
        ("lftp", &["--version"]),
        ("openssl", &["version"]),
        ("tar", &["--version"]),
        ("cp", &["--version"]),
    ];
    asked_or_packaged(&ASKED)
}

fn asked_or_packaged(asked: &[(&str, &[&str])]) -> Vec<(String, String)> {
    let all = asked.iter().filter_map(|(name, args)| {
        let program = find(name)?;
        let said = match *name {
            // It says its version on standard input's descriptor.
            "vsftpd" => package(name),
            _ if program.starts_with(unpacked()) => archive(&program),
            _ => version(&program, args),
        };
        Some(((*name).to_owned(), said?))
    });
    all.collect()
}

/// The name of the archive that a program was unpacked from, which has its version.
fn archive(program: &Path) -> Option<String> {
    let root = program.ancestors().nth(3)?;
    let name = program.file_name()?.to_str()?;
    let archives = std::fs::read_dir(root.join("archives")).ok()?.flatten();
    let mut names = archives.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let archive = names.find(|it| it.starts_with(&format!("{name}_")) || it.starts_with(&format!("{name}-core_")))?;
    Some(archive.split('_').take(2).collect::<Vec<&str>>().join(" "))
}

fn package(name: &str) -> Option<String> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Version}", name])
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
