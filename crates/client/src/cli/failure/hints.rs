//! The next step after a failure.

use std::io;

use ftp_client::{Code, Error, ErrorKind};
use ftp_proto::scram::ScramError;

use super::super::quote::quoted;

/// What hints depend on beside the error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Situation {
    /// Whom and where: `alice@host:2121`.
    pub(crate) server: String,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// Whether the login used a saved key instead of a password.
    pub(crate) saved_key: bool,
    /// The command line that goes on with a broken transfer.
    pub(crate) resume: Option<String>,
    /// Whether standard input is sent: what went by can not be sent again.
    pub(crate) from_stdin: bool,
    /// Whether commands are typed into our own shell, without the name of the program.
    pub(crate) in_shell: bool,
}

impl Situation {
    /// A command as it would be typed here.
    fn typed(&self, command: &str) -> String {
        if self.in_shell {
            format!("`{command}`")
        } else {
            format!("`ftp-cli {command}`")
        }
    }
}

pub(super) fn of(command: &str, subject: &[u8], error: &Error, situation: &Situation) -> Vec<String> {
    let mut hints = Vec::new();
    // The failure that it follows from has them.
    if matches!(error, Error::NotReached(_)) {
        return hints;
    }
    match error.kind() {
        ErrorKind::Connection => match &situation.resume {
            Some(resume) => hints.push(format!("what was transferred is kept; `{resume}` goes on from there")),
            None if situation.from_stdin && !matches!(error, Error::Connect { .. }) => hints.push(format!(
                "standard input is stored as a whole or not at all: {} shows whether it is there; if not, run it again from the start",
                situation.typed("ls")
            )),
            None => hints.extend(connect(command, error, situation)),
        },
        ErrorKind::Login => hints.extend(login(error, situation)),
        ErrorKind::Mismatch if is_stored_damage(error) => hints.push(format!(
            "nothing was changed there, and trying again does not help: who has the file intact puts it there again by {}; the administrator can restore it from a backup, and finds all damaged files with `ftpd scrub`",
            situation.typed("put --force")
        )),
        ErrorKind::Mismatch => hints.push(
            "no target was made, and what was written to a pipe is damaged; try again, and if it happens again look at the disks and the memory of both machines"
                .to_owned(),
        ),
        ErrorKind::NotFound => hints.extend(not_found(command, error, situation)),
        ErrorKind::NotPermitted => hints.extend(not_permitted(command, subject, error, situation)),
        ErrorKind::Space => hints.extend(space(error, situation)),
        ErrorKind::Other => hints.extend(other(command, error, situation)),
    }
    hints
}

/// Whether the bytes were lost on the server's disk and not on their way.
fn is_stored_damage(error: &Error) -> bool {
    match error {
        Error::StoredDamaged { .. } => true,
        Error::Refused(fault) => fault.code == Code::DigestMismatch && !fault.retry,
        _ => false,
    }
}

fn connect(command: &str, error: &Error, situation: &Situation) -> Option<String> {
    match error {
        Error::Connect { source, .. } if source.kind() == io::ErrorKind::InvalidData && situation.tls => Some(
            "the server does not seem to speak TLS: `--no-tls` does without, in a network that you trust".to_owned(),
        ),
        Error::Connect { .. } => Some(format!("check that ftpd runs and listens at {}", situation.server)),
        Error::Refused(_) => Some("run it again later".to_owned()),
        // The request was under way, and is not repeated without asking: it may have been done.
        _ => Some(match command {
            "cp" | "mkdir" | "mv" | "restore" | "rm" => format!(
                "whether it was done is not known: {} shows what is there; if it was not, run it again",
                situation.typed("ls")
            ),
            "uploads" => format!(
                "{} shows what can be resumed; run it again if need be",
                situation.typed("uploads")
            ),
            // A listing, or `--delete` and `--empty`.
            "trash" => format!(
                "{} shows what is in it now; run it again if need be",
                situation.typed("trash")
            ),
            "get" => "what was written is not complete; run it again".to_owned(),
            _ => "nothing was changed; run it again".to_owned(),
        }),
    }
}

fn login(error: &Error, situation: &Situation) -> Option<String> {
    let stale = matches!(error, Error::Login(message) if *message == ScramError::StaleKey.to_string());
    if error.code() == Some(Code::TryLater) {
        return None;
    }
    if stale || situation.saved_key {
        let server = quoted(situation.server.as_bytes());
        return Some(format!(
            "`ftp-cli login {server}` asks for the password and saves a new key"
        ));
    }
    Some("check the user and the password; the administrator sets them with `ftpd user passwd`".to_owned())
}

fn not_found(command: &str, error: &Error, situation: &Situation) -> Option<String> {
    error.code()?;
    Some(match command {
        "put" | "mkdir" => "`-p` makes missing parent directories".to_owned(),
        "cd" => format!("{} goes to the top of the home", situation.typed("cd /")),
        _ => format!("{} shows what is there", situation.typed("ls")),
    })
}

fn not_permitted(command: &str, subject: &[u8], error: &Error, situation: &Situation) -> Option<String> {
    match (error, error.code()) {
        (Error::LocalExists(_), _) | (_, Some(Code::Exists)) if matches!(command, "put" | "get" | "mv" | "cp") => {
            Some("`--force` replaces it, another target name keeps both".to_owned())
        }
        (Error::UnsafeName(_), _) => Some(format!(
            "{} sends names that no directory can have: it is damaged or hostile; tell its administrator",
            situation.server
        )),
        (Error::LocalLink(_), _) => Some("remove the link, or name the directory it leads to as the target".to_owned()),
        (_, Some(Code::NotEmpty)) => Some(format!(
            "{} removes it with everything in it",
            situation.typed(&format!("rm -r {}", quoted(subject)))
        )),
        (_, Some(Code::OutsideHome)) => {
            Some("`/` is the top of the home, and nothing above it can be reached".to_owned())
        }
        (_, Some(Code::NotPermitted)) => {
            Some("the administrator gives rights in the configuration of ftpd (read, write, delete)".to_owned())
        }
        _ => None,
    }
}

fn space(error: &Error, situation: &Situation) -> Vec<String> {
    match error.code() {
        Some(Code::QuotaBytes | Code::QuotaEntries) => vec![format!(
            "{} shows the quota; make room with {}, discard broken uploads with {}, or ask the administrator for more",
            situation.typed("df"),
            situation.typed("rm"),
            situation.typed("uploads --discard PATH"),
        )],
        Some(_) => vec!["the disk of the server is full; tell its administrator".to_owned()],
        None => vec!["make room on the local disk".to_owned()],
    }
}

fn other(command: &str, error: &Error, situation: &Situation) -> Option<String> {
    match (error, error.code()) {
        (Error::Misbehaved(_), _) if command == "login" && !situation.tls => {
            Some("the server seems to speak TLS: leave out `--no-tls`".to_owned())
        }
        (Error::Misbehaved(_), _) => Some(format!(
            "{} breaks the rules of the protocol: it is damaged, hostile or not an ftpd; tell its administrator",
            situation.server
        )),
        (Error::TooMuchListed(_), _) if command == "ls" => Some("`ls -U` shows the entries as they come".to_owned()),
        (_, Some(Code::IsDirectory)) if matches!(command, "rm" | "get") => {
            Some("`-r` takes directories with everything in them".to_owned())
        }
        (Error::NotAFile(_), _) if command == "put" => {
            Some("`put - NAME` reads standard input, such as a pipe or a device".to_owned())
        }
        _ => None,
    }
}
