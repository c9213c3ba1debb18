//! What the shell does on this side: its directory, and other programs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::exit::Exit;
use super::super::failure::{Done, Failure};
use super::super::glob;
use super::parse::Word;

/// Changes the directory of the program.
pub(super) fn lcd(directory: Option<&Path>) -> Done {
    let home = || env::var_os("HOME").map(PathBuf::from);
    let Some(directory) = directory.map(Path::to_path_buf).or_else(home) else {
        return Err(Failure::usage("lcd without a directory goes home, and HOME is not set").into());
    };
    env::set_current_dir(&directory).map_err(|error| Failure::local("cannot go to", &directory, &error).into())
}

/// The directory of the program.
pub(super) fn lpwd() -> Result<PathBuf, Failure> {
    env::current_dir().map_err(|error| Failure::local("cannot find", Path::new("."), &error))
}

/// The local `ls`.
pub(super) fn ls(args: &[OsString]) -> Command {
    let mut command = Command::new("ls");
    command.args(args);
    command
}

/// The user's own shell, with a command or to be used.
pub(super) fn shell(line: &str) -> Command {
    let mut command = Command::new(env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into()));
    if !line.trim().is_empty() {
        command.arg("-c").arg(line);
    }
    command
}

/// Runs a program in our terminal.
pub(super) fn run(mut command: Command) -> Done {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(Exit::Failed, "command", format!("the command ended with {status}")).into()),
        Err(error) => Err(Failure::local("cannot run", Path::new(command.get_program()), &error).into()),
    }
}

/// A local path, with `~` for the home where it is meant so.
pub(super) fn with_home(raw: &[u8], tilde: bool) -> PathBuf {
    let rest = match raw {
        [b'~'] => Some(&b""[..]),
        [b'~', b'/', rest @ ..] => Some(rest),
        _ => None,
    };
    match (rest.filter(|_| tilde), env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(OsStr::from_bytes(rest)),
        _ => PathBuf::from(OsStr::from_bytes(raw)),
    }
}

/// The path to a name in a folder, which is empty or ends in a slash. It is never taken for an option.
pub(super) fn path_to(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let here: &[u8] = if folder.is_empty() && name.starts_with(b"-") {
        b"./"
    } else {
        b""
    };
    [here, folder, name].concat()
}

/// The local files that a word means: what its pattern matches, sorted, or itself.
pub(super) fn expand(word: &Word) -> Vec<OsString> {
    let path = with_home(&word.raw, word.tilde);
    let itself = || vec![path.clone().into_os_string()];
    let raw = path.as_os_str().as_bytes();
    let split = raw.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let folder = &raw[..split];
    let pattern = word.glob.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if !word.pattern || !glob::is_pattern(pattern) || fs::symlink_metadata(&path).is_ok() {
        return itself();
    }
    let listed = if folder.is_empty() { b"." } else { folder };
    let Ok(listing) = fs::read_dir(OsStr::from_bytes(listed)) else {
        return itself();
    };
    let mut found: Vec<OsString> = listing
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .filter(|name| glob::matches(pattern, name.as_bytes()))
        .map(|name| OsString::from_vec(path_to(folder, name.as_bytes())))
        .collect();
    found.sort();
    if found.is_empty() { itself() } else { found }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::parse::words;
    use super::*;

    fn expanded(line: &str) -> Vec<OsString> {
        words(line).unwrap().iter().flat_map(expand).collect()
    }

    #[test]
    fn unquoted_patterns_stand_for_local_files() {
        let dir = TempDir::new().unwrap();
        for name in ["b.mp4", "a.mp4", "c.txt", "[1].mov"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let at = |name: &str| dir.path().join(name).into_os_string();
        let folder = dir.path().display();
        assert_eq!(expanded(&format!("{folder}/*.mp4")), [at("a.mp4"), at("b.mp4")]);
        assert_eq!(expanded(&format!("'{folder}/*.mp4'")), [at("*.mp4")]);
        assert_eq!(expanded(&format!("{folder}/*.avi")), [at("*.avi")]);
        assert_eq!(expanded(&format!("{folder}/\\[1]*")), [at("[1].mov")]);
    }

    #[test]
    fn a_name_is_never_taken_for_an_option() {
        assert_eq!(path_to(b"", b"--force"), b"./--force");
        assert_eq!(path_to(b"films/", b"--force"), b"films/--force");
        assert_eq!(path_to(b"", b"a-b"), b"a-b");
    }

    #[test]
    fn a_failing_command_is_told() {
        assert!(run(shell("true")).is_ok());
        assert!(run(shell("exit 3")).is_err());
    }
}
