//! Paths on the server, in wire form.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use ftp_proto::{InvalidName, decode_name, encode_name};

/// A path on the server, absolute or relative to the working directory there. Any bytes but NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(String);

impl RemotePath {
    /// A path as the user typed it, byte for byte.
    pub fn new(raw: &OsStr) -> Self {
        Self(encode_name(raw.as_bytes()))
    }

    /// A path that the server sent.
    ///
    /// # Errors
    /// [`InvalidName`] when it is not in wire form.
    pub fn from_wire(text: &str) -> Result<Self, InvalidName> {
        decode_name(text).map(|_| Self(text.to_owned()))
    }

    /// The wire form.
    pub fn as_wire(&self) -> &str {
        &self.0
    }

    /// The bytes themselves.
    pub fn to_os_string(&self) -> OsString {
        OsString::from_vec(decode_name(&self.0).expect("only wire forms are stored"))
    }

    /// Whether it begins at the top of the home.
    pub fn is_absolute(&self) -> bool {
        self.0.starts_with('/')
    }

    /// Whether it ends in a slash and so can only mean a directory.
    pub fn names_directory(&self) -> bool {
        self.0.ends_with('/') || matches!(self.file_name_wire(), "." | "..")
    }

    /// The path of `name`, in wire form, below this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self.0.as_str() {
            "" => Self(name.to_owned()),
            base if base.ends_with('/') => Self(format!("{base}{name}")),
            base => Self(format!("{base}/{name}")),
        }
    }

    /// The last component, in wire form; empty for `/`.
    pub fn file_name_wire(&self) -> &str {
        let trimmed = self.0.trim_end_matches('/');
        trimmed.rsplit_once('/').map_or(trimmed, |(_, name)| name)
    }
}

impl From<&str> for RemotePath {
    /// For text that is known to be UTF-8 without NUL, such as a path typed in a terminal.
    fn from(text: &str) -> Self {
        Self::new(OsStr::new(text))
    }
}
