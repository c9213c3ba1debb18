//! The control socket: how `ftpd status`, `recount` and `scrub` ask a running server.
//!
//! A Unix socket in the state directory, of mode 0600, and whoever connects has to be the server's own
//! user or root besides; no user of the service can reach it. One question a connection, one JSON object
//! a line, each with the version of the form; the answer ends with `end` or `error`. Beats tell that a
//! long answer is still being worked on.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) mod ask;
pub(crate) mod report;
pub(crate) mod serve;

use report::{Finding, RecountReport, ScrubReport, StatusReport};

/// The form of the messages. Another one is refused.
const VERSION: u64 = 1;
/// The longest question: a list of a few hundred users.
const MAX_QUESTION_BYTES: u64 = 64 * 1024;
/// The longest line of an answer: the status of a server with ten thousand users and transfers.
const MAX_ANSWER_BYTES: u64 = 16 * 1024 * 1024;
/// How long a question may take to arrive, and a line to be taken.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an answer shows a sign of life.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Without one for so long, the server is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// Questions at once.
const MAX_CONNECTIONS: usize = 8;

const FILE: &str = "control";
/// The name while it is not ready.
const NEW_FILE: &str = "control.new";
/// What a Unix socket's address takes, without the final NUL.
const MAX_ADDRESS_BYTES: usize = 107;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// How the server is doing.
    Status,
    /// Compare the counts of these users' homes with the disk, and correct them.
    Recount {
        /// Nobody stands for all.
        users: Vec<String>,
    },
    /// Compare the stored files of these users with their digests.
    Scrub {
        /// Nobody stands for all.
        users: Vec<String>,
        /// Bytes a second; absent for as fast as it goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<u64>,
        /// Whether files without a digest get one.
        adopt: bool,
    },
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "re", rename_all = "snake_case")]
pub(crate) enum Re {
    /// More is to come.
    Beat,
    Status(Box<StatusReport>),
    Recount(RecountReport),
    Finding(Finding),
    Scrub(ScrubReport),
    /// Something about one user failed; others follow.
    Failed {
        user: String,
        message: String,
    },
    /// The question can not be answered.
    Error {
        message: String,
    },
    /// That was all.
    End,
}

/// A message with the version of its form.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u64,
    #[serde(flatten)]
    message: T,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

/// A line that is no message of this version.
#[derive(Debug, thiserror::Error)]
enum Misfit {
    #[error(
        "it speaks version {0} of the control protocol, and this ftpd version {VERSION}; use programs of one version"
    )]
    Version(u64),
    #[error("it does not speak the control protocol of ftpd")]
    Form(#[source] serde_json::Error),
}

fn to_line<T: Serialize>(message: T) -> Vec<u8> {
    let envelope = Envelope {
        version: VERSION,
        message,
    };
    let mut line = serde_json::to_vec(&envelope).expect("text and numbers are always JSON");
    line.push(b'\n');
    line
}

fn from_line<T: for<'a> Deserialize<'a>>(line: &[u8]) -> Result<T, Misfit> {
    match serde_json::from_slice::<VersionOnly>(line) {
        Ok(VersionOnly { version }) if version != VERSION => Err(Misfit::Version(version)),
        Ok(_) => serde_json::from_slice::<Envelope<T>>(line)
            .map(|envelope| envelope.message)
            .map_err(Misfit::Form),
        Err(error) => Err(Misfit::Form(error)),
    }
}

/// Uses the address of `name` in `directory`, however long that is: an open directory gives a short one.
fn with_address<T>(directory: &Path, name: &str, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = directory.join(name);
    if path.as_os_str().len() <= MAX_ADDRESS_BYTES {
        return work(&path);
    }
    let open = std::fs::File::open(directory)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    if !short.exists() {
        let message = format!(
            "the address is longer than {MAX_ADDRESS_BYTES} bytes, and there is no /proc to shorten it; choose a shorter `state`"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    work(&short.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_their_version_and_another_one_is_refused() {
        let ask = Ask::Recount {
            users: vec!["alice".to_owned()],
        };
        let line = to_line(&ask);
        assert_eq!(
            String::from_utf8_lossy(&line),
            "{\"version\":1,\"ask\":\"recount\",\"users\":[\"alice\"]}\n"
        );
        assert_eq!(from_line::<Ask>(&line).unwrap(), ask);
        let newer = b"{\"version\":2,\"ask\":\"levitate\"}";
        assert!(matches!(from_line::<Ask>(newer), Err(Misfit::Version(2))));
        for line in [
            &b"{\"version\":1,\"ask\":\"levitate\"}"[..],
            b"{}",
            b"GET / HTTP/1.1",
            b"",
        ] {
            assert!(matches!(from_line::<Ask>(line), Err(Misfit::Form(_))));
        }
    }

    #[test]
    fn address_of_any_length_is_found() {
        let temp = tempfile::tempdir().unwrap();
        for length in [1, 100, 200] {
            let directory = temp.path().join("d".repeat(length));
            std::fs::create_dir(&directory).unwrap();
            let listener = with_address(&directory, FILE, |path| std::os::unix::net::UnixListener::bind(path)).unwrap();
            let connected = with_address(&directory, FILE, |path| std::os::unix::net::UnixStream::connect(path));
            assert!(connected.is_ok(), "{length}");
            drop(listener);
        }
    }
}
