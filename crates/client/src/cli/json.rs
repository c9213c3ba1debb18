//! The objects that `--json` prints, one a line.
//!
//! A name that is not UTF-8 comes twice: readable, and exact in hexadecimal under `..._hex`.

use std::io;

use ftp_client::{Digest, Entry, Kind, Transferred};
use serde::Serialize;

use super::failure::Failure;
use super::format;
use super::quote::deceives;

/// What became of one file of a transfer.
#[derive(Debug, Serialize)]
pub(crate) struct TransferLine<'a> {
    pub(crate) command: &'static str,
    pub(crate) outcome: &'static str,
    #[serde(flatten)]
    pub(crate) ends: Ends,
    #[serde(flatten)]
    pub(crate) figures: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorObject<'a>>,
}

/// Both ends of a transfer.
#[derive(Debug, Serialize)]
pub(crate) struct Ends {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    local: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_hex: Option<String>,
    remote: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_hex: Option<String>,
}

impl Ends {
    /// The three names as bytes.
    pub(crate) fn new(name: &[u8], local: &[u8], remote: &[u8]) -> Self {
        let (name, name_hex) = text_and_hex(name);
        let (local, local_hex) = text_and_hex(local);
        let (remote, remote_hex) = text_and_hex(remote);
        Self {
            name,
            name_hex,
            local,
            local_hex,
            remote,
            remote_hex,
        }
    }
}

/// The figures of a transfer; sizes in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    size: u64,
    kept: u64,
    repaired: u64,
    moved: u64,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<String>,
    seconds: f64,
    replaced: bool,
}

impl From<&Transferred> for Figures {
    fn from(result: &Transferred) -> Self {
        Self {
            size: result.size,
            kept: result.kept,
            repaired: result.repaired,
            moved: result.moved,
            digest: result.digest.to_string(),
            mtime: format::utc_time(result.mtime),
            seconds: result.elapsed.as_secs_f64(),
            replaced: result.replaced,
        }
    }
}

/// A failure on a line of its own.
#[derive(Debug, Serialize)]
pub(crate) struct FailureLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    error: ErrorObject<'a>,
}

impl<'a> From<&'a Failure> for FailureLine<'a> {
    fn from(failure: &'a Failure) -> Self {
        let (path, path_hex) = match &failure.subject {
            Some((_, subject)) if !subject.is_empty() => {
                let (text, hex) = text_and_hex(subject);
                (Some(text), hex)
            }
            _ => (None, None),
        };
        Self {
            command: failure.subject.as_ref().map(|(command, _)| *command),
            path,
            path_hex,
            error: failure.into(),
        }
    }
}

/// Why something failed. Programs decide on `code` or `exit`, never on the sentence.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorObject<'a> {
    code: &'a str,
    exit: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hints: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    existing: Option<EntryLine>,
}

impl<'a> From<&'a Failure> for ErrorObject<'a> {
    fn from(failure: &'a Failure) -> Self {
        let fault = failure.fault.as_ref();
        Self {
            code: &failure.code,
            exit: failure.exit as u8,
            message: &failure.message,
            hints: &failure.hints,
            retry: fault.map(|fault| fault.retry),
            limit: fault.and_then(|fault| fault.limit),
            used: fault.and_then(|fault| fault.used),
            requested: fault.and_then(|fault| fault.requested),
            existing: fault.and_then(|fault| fault.existing.as_ref()).map(EntryLine::from),
        }
    }
}

/// One entry of a listing.
#[derive(Debug, Serialize)]
pub(crate) struct EntryLine {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    kind: Kind,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

impl From<&Entry> for EntryLine {
    fn from(entry: &Entry) -> Self {
        let (name, name_hex) = text_and_hex(&wire_bytes(&entry.name));
        Self {
            name,
            name_hex,
            kind: entry.kind,
            size: entry.size,
            mtime: format::utc_time(entry.mtime),
            digest: entry.digest.as_ref().map(Digest::to_string),
        }
    }
}

/// A path with what a command has to say about it.
#[derive(Debug, Serialize)]
pub(crate) struct PathLine<T> {
    command: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(flatten)]
    more: T,
}

impl<T> PathLine<T> {
    /// The path as bytes.
    pub(crate) fn new(command: &'static str, path: &[u8], more: T) -> Self {
        let (path, path_hex) = text_and_hex(path);
        Self {
            command,
            path,
            path_hex,
            more,
        }
    }
}

/// Nothing more to say.
#[derive(Debug, Serialize)]
pub(crate) struct Nothing {}

/// An object on a line of its own. What must not reach a terminal is escaped, which changes nothing for whoever
/// reads it as JSON.
pub(crate) fn json_line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut out = serde_json::Serializer::with_formatter(&mut line, ForTerminals);
    value.serialize(&mut out)?;
    line.push(b'\n');
    Ok(line)
}

/// Writes JSON that a terminal can be shown.
struct ForTerminals;

impl serde_json::ser::Formatter for ForTerminals {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| deceives(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

/// The bytes of a name that came in wire form.
pub(crate) fn wire_bytes(name: &str) -> Vec<u8> {
    // The library hands out names it has checked; one that is not in wire form is text.
    ftp_proto::decode_name(name).unwrap_or_else(|_| name.as_bytes().to_vec())
}

/// The name as text, and in hexadecimal when the text is not exact.
pub(crate) fn text_and_hex(raw: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(raw) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (
            String::from_utf8_lossy(raw).into_owned(),
            Some(raw.iter().map(|byte| format!("{byte:02x}")).collect()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use ftp_client::Timestamp;

    use super::*;

    #[test]
    fn a_name_that_is_not_text_comes_in_hexadecimal_too() {
        let entry = Entry {
            name: ftp_proto::encode_name(b"a\xff"),
            kind: Kind::File,
            size: 7,
            mtime: Timestamp { seconds: 1, nanos: 0 },
            digest: None,
        };
        let line = serde_json::to_string(&EntryLine::from(&entry)).unwrap();
        assert_eq!(
            line,
            "{\"name\":\"a\u{fffd}\",\"name_hex\":\"61ff\",\"kind\":\"file\",\"size\":7,\"mtime\":\"1970-01-01T00:00:01Z\"}"
        );
    }

    #[test]
    fn a_terminal_that_is_shown_json_is_not_steered() {
        let name = "\u{1b}[31m\u{7f}\u{9b}2J\u{202e}gpj\u{200d}\u{e0041}\n\"é漢🎬";
        let line = json_line(&name).unwrap();
        let text = String::from_utf8(line.clone()).unwrap();
        assert!(text.trim_end().chars().all(|c| !deceives(c)), "{text:?}");
        assert!(text.contains("é漢🎬"), "{text}");
        assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), name);
    }

    #[test]
    fn a_failure_is_an_object_with_code_and_figures() {
        let failure = Failure::usage("no").about("put", b"x").hint("yes");
        let line = serde_json::to_string(&FailureLine::from(&failure)).unwrap();
        assert_eq!(
            line,
            r#"{"command":"put","path":"x","error":{"code":"usage","exit":2,"message":"no","hints":["yes"]}}"#
        );
    }
}
