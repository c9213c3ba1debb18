//! Paths on the server, in wire form.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use ftp_proto::{InvalidName, decode_name, encode_name};

use crate::Error;

/// The longest name of a file in bytes (protocol, 3.2).
const MAX_NAME_BYTES: usize = 255;

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

    /// The bytes themselves. A path to which something was joined that is no wire form is taken as text.
    pub fn to_os_string(&self) -> OsString {
        OsString::from_vec(decode_name(&self.0).unwrap_or_else(|_| self.0.clone().into_bytes()))
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

    /// The directory in which the last component is, unless that is the working directory or the top of the home, which
    /// are there in any case.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.trim_end_matches('/').rsplit_once('/')?;
        let parent = parent.trim_end_matches('/');
        (!matches!(parent, "" | ".")).then(|| Self(parent.to_owned()))
    }

    /// The last component, in wire form; empty for `/`.
    pub fn file_name_wire(&self) -> &str {
        let trimmed = self.0.trim_end_matches('/');
        trimmed.rsplit_once('/').map_or(trimmed, |(_, name)| name)
    }
}

/// The name of an entry as a local file name, if it is one component and no more.
///
/// # Errors
/// [`Error::UnsafeName`] for anything that would lead elsewhere, or that no directory can hold.
pub(crate) fn file_name(wire: &str) -> Result<OsString, Error> {
    let is_name = |raw: &Vec<u8>| {
        !matches!(raw.as_slice(), b"" | b"." | b"..")
            && raw.len() <= MAX_NAME_BYTES
            && !raw.iter().any(|byte| matches!(byte, b'/' | 0))
    };
    match decode_name(wire).ok().filter(is_name) {
        Some(raw) => Ok(OsString::from_vec(raw)),
        None => Err(Error::UnsafeName(wire.to_owned())),
    }
}

impl From<&str> for RemotePath {
    /// For text that is known to be UTF-8 without NUL, such as a path typed in a terminal.
    fn from(text: &str) -> Self {
        Self::new(OsStr::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = "n".repeat(MAX_NAME_BYTES + 1);
        for name in ["..", ".", "", "a/b", "/", "/etc/passwd", "../x", "\0zz", "\0", &long] {
            assert!(matches!(file_name(name), Err(Error::UnsafeName(_))), "{name:?}");
        }
        assert_eq!(file_name("..a b\n").unwrap(), "..a b\n");
        assert_eq!(file_name(&long[1..]).unwrap(), long[1..]);
    }

    #[test]
    fn the_parent_is_told_unless_it_is_there_in_any_case() {
        let parent = |path: &str| {
            RemotePath::from(path)
                .parent()
                .map(|parent| parent.as_wire().to_owned())
        };
        for (path, above) in [("a/b", "a"), ("/a//b/", "/a"), ("./a/b", "./a"), ("../b", "..")] {
            assert_eq!(parent(path).as_deref(), Some(above), "{path}");
        }
        for path in ["", "/", "a", "a/", "/a", "./a", "//a"] {
            assert_eq!(parent(path), None, "{path}");
        }
    }

    #[test]
    fn a_name_that_is_no_wire_form_harms_nothing() {
        assert_eq!(RemotePath::from("a").join("\0zz").to_os_string(), "a/\0zz");
    }
}
