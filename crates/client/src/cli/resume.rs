//! The command line that goes on with a broken transfer.

use std::ffi::{OsStr, OsString};

use ftp_client::Algorithm;

use super::args::{Global, TransferArgs};
use super::quote::quoted;

/// The command as it can be pasted into a shell; into ours without the program and its server. `word`
/// quotes a path for it.
pub(crate) fn command(
    command: &str,
    global: Option<&Global>,
    transfer: &TransferArgs,
    paths: &[OsString],
    word: impl Fn(&OsStr) -> String,
) -> String {
    let mut words: Vec<String> = Vec::new();
    if let Some(global) = global {
        words.push("ftp-cli".to_owned());
        words.extend(server_words(global));
    }
    words.push(command.to_owned());
    words.push("--resume".to_owned());
    let switches = [
        (transfer.recursive, "-r"),
        (transfer.force, "-f"),
        (transfer.parents, "-p"),
    ];
    words.extend(
        switches
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, word)| (*word).to_owned()),
    );
    if transfer.digest != Algorithm::default() {
        words.push(format!("--digest={}", transfer.digest));
    }
    if let Some(directory) = &transfer.target_directory {
        words.push("-t".to_owned());
        words.push(quoted(directory.as_encoded_bytes()));
    }
    let is_option = |path: &OsString| path.as_encoded_bytes().starts_with(b"-") && path != "-";
    if paths.iter().any(is_option) {
        words.push("--".to_owned());
    }
    words.extend(paths.iter().map(|path| word(path)));
    words.join(" ")
}

/// The server as it was typed; the environment or the profile will choose it again.
fn server_words(global: &Global) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(server) = &global.server {
        words.push(format!("--server={}", quoted(server.to_string().as_bytes())));
    }
    if global.no_tls {
        words.push("--no-tls".to_owned());
    }
    if global.password_stdin {
        words.push("--password-stdin".to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Command, CommandLine, RemoteCommand};
    use super::*;

    fn in_quotes(path: &OsStr) -> String {
        quoted(path.as_encoded_bytes())
    }

    fn resumed(args: &[&str]) -> String {
        let line = CommandLine::try_parse_from([&["ftp-cli"], args].concat()).unwrap();
        let (name, transfer, paths) = match line.command {
            Command::Remote(RemoteCommand::Put(put)) => ("put", put.transfer, put.paths),
            Command::Remote(RemoteCommand::Get(get)) => ("get", get.transfer, get.paths),
            other => panic!("{other:?}"),
        };
        command(name, Some(&line.global), &transfer, &paths, in_quotes)
    }

    #[test]
    fn the_command_is_the_one_typed_with_the_flag() {
        assert_eq!(resumed(&["put", "demo.mp4"]), "ftp-cli put --resume demo.mp4");
        assert_eq!(
            resumed(&[
                "-s",
                "alice@host",
                "get",
                "-rf",
                "--no-resume",
                "--digest",
                "md5",
                "my films",
                "d/"
            ]),
            "ftp-cli --server=alice@host:2121 get --resume -r -f --digest=md5 'my films' d/"
        );
        assert_eq!(
            resumed(&["put", "-t", "dir", "--", "-odd", "a\nb"]),
            r"ftp-cli put --resume -t dir -- -odd $'a\nb'"
        );
    }

    #[test]
    fn in_the_shell_the_program_goes_without_saying() {
        let line = CommandLine::try_parse_from(["ftp-cli", "put", "a"]).unwrap();
        let Command::Remote(RemoteCommand::Put(put)) = line.command else {
            panic!("put is put");
        };
        assert_eq!(
            command("put", None, &put.transfer, &put.paths, in_quotes),
            "put --resume a"
        );
    }
}
