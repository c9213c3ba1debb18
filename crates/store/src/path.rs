//! The only door from text to a path: a value of [`FilePath`] cannot leave the home or name the
//! reserved folder, so no later code has to check again.

use std::ffi::OsStr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::Arc;

/// The longest component in bytes (`NAME_MAX` of the usual Linux file systems).
pub const MAX_COMPONENT_BYTES: usize = 255;
/// The longest path in bytes, slashes included (`PATH_MAX` on Linux).
pub const MAX_PATH_BYTES: usize = 4096;
/// The deepest path in components: bounds what a recursive operation holds open at once.
pub const MAX_COMPONENTS: usize = 256;
/// The folder in the top of each home that belongs to the store.
pub const RESERVED_NAME: &str = ".ftpd";

/// A normalised absolute path inside a home: names of any bytes but `/` and NUL. Copies of it and of the paths above it
/// share its memory.
///
/// `Display` and `Debug` are escaped and safe for logs and terminals; [`FilePath::as_bytes`] is the
/// exact form.
#[derive(Clone, Default)]
pub struct FilePath {
    /// Up to `end` the names, each behind a slash.
    text: Arc<[u8]>,
    end: usize,
}

/// The text is not a path inside the home.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A component is longer than [`MAX_COMPONENT_BYTES`].
    #[error("a name in the path has {bytes} bytes; at most {MAX_COMPONENT_BYTES} are possible")]
    ComponentTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The path contains a NUL byte.
    #[error("a path cannot contain a NUL byte")]
    Nul,
    /// The path climbs above the home.
    #[error("the path leads outside the home directory")]
    OutsideHome,
    /// The path names the store's own folder.
    #[error("the name {RESERVED_NAME} in the top directory is reserved for the server")]
    Reserved,
    /// The path has more than [`MAX_COMPONENTS`] components.
    #[error("the path is more than {MAX_COMPONENTS} directories deep")]
    TooDeep,
    /// The path is longer than [`MAX_PATH_BYTES`].
    #[error("the path has {bytes} bytes; at most {MAX_PATH_BYTES} are possible")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
}

impl FilePath {
    /// The home itself, `/`.
    pub fn root() -> Self {
        Self::default()
    }

    /// Resolves what a user typed: absolute if it starts with `/`, else relative to `cwd`.
    ///
    /// `.` and empty components are skipped; `..` is resolved by name, before any link is looked at.
    ///
    /// # Errors
    ///
    /// Refuses climbing above the root, NUL, the reserved folder and everything beyond the limits of
    /// this module.
    pub fn resolve(cwd: &Self, text: &[u8]) -> Result<Self, PathError> {
        if text.contains(&0) {
            return Err(PathError::Nul);
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong { bytes: text.len() });
        }
        let mut path = Vec::with_capacity(cwd.end + 1 + text.len());
        if !text.starts_with(b"/") {
            path.extend_from_slice(cwd.names());
        }
        for component in text.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    let parent = path.iter().rposition(|byte| *byte == b'/');
                    path.truncate(parent.ok_or(PathError::OutsideHome)?);
                }
                name if name.len() > MAX_COMPONENT_BYTES => {
                    return Err(PathError::ComponentTooLong { bytes: name.len() });
                }
                name => push(&mut path, name),
            }
        }
        Self::checked(&path)
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    ///
    /// Refuses a name that is empty, `.`, `..` or contains a slash as [`PathError::OutsideHome`],
    /// and whatever [`FilePath::resolve`] refuses.
    pub fn join(&self, name: &OsStr) -> Result<Self, PathError> {
        let bytes = name.as_bytes();
        if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') {
            return Err(PathError::OutsideHome);
        }
        Self::resolve(self, bytes)
    }

    /// The directory that contains it; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let end = self.last_slash()?;
        Some(Self {
            text: Arc::clone(&self.text),
            end,
        })
    }

    fn last_slash(&self) -> Option<usize> {
        self.names().iter().rposition(|byte| *byte == b'/')
    }

    /// Whether it is a name in the directory `parent`.
    pub(crate) fn is_in(&self, parent: &Self) -> bool {
        self.last_slash() == Some(parent.end) && self.starts_with(parent)
    }

    /// The last name; `None` for the root.
    pub fn file_name(&self) -> Option<&OsStr> {
        let slash = self.last_slash()?;
        Some(OsStr::from_bytes(&self.names()[slash + 1..]))
    }

    /// Whether it is the home itself.
    pub fn is_root(&self) -> bool {
        self.end == 0
    }

    /// Whether it is `base` or lies beneath it.
    pub fn starts_with(&self, base: &Self) -> bool {
        let rest = self.names().strip_prefix(base.names());
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// The names from the root down.
    pub fn components(&self) -> impl Iterator<Item = &OsStr> {
        let names = self.names().split(|byte| *byte == b'/');
        names.skip(1).map(OsStr::from_bytes)
    }

    /// How many names it has.
    pub(crate) fn depth(&self) -> usize {
        self.names().iter().filter(|byte| **byte == b'/').count()
    }

    /// The exact text form, with a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        if self.is_root() { b"/" } else { self.names() }
    }

    /// That without the slash of the root.
    fn names(&self) -> &[u8] {
        &self.text[..self.end]
    }

    /// The path relative to the home's handle; `.` for the root.
    pub(crate) fn relative(&self) -> &Path {
        let relative = self.names().get(1..).unwrap_or(b".");
        Path::new(OsStr::from_bytes(relative))
    }

    /// What the file system spelled out for a path beneath the home.
    pub(crate) fn from_relative(path: &Path) -> Result<Self, PathError> {
        let mut names = Vec::with_capacity(1 + path.as_os_str().len());
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => push(&mut names, name.as_bytes()),
                Component::ParentDir | Component::Prefix(_) | Component::RootDir => {
                    return Err(PathError::OutsideHome);
                }
            }
        }
        Self::checked(&names)
    }

    fn checked(names: &[u8]) -> Result<Self, PathError> {
        let path = Self {
            text: names.into(),
            end: names.len(),
        };
        if path.depth() > MAX_COMPONENTS {
            return Err(PathError::TooDeep);
        }
        if path.end > MAX_PATH_BYTES {
            return Err(PathError::TooLong { bytes: path.end });
        }
        if path.components().next().is_some_and(is_reserved) {
            return Err(PathError::Reserved);
        }
        Ok(path)
    }
}

fn push(names: &mut Vec<u8>, name: &[u8]) {
    names.push(b'/');
    names.extend_from_slice(name);
}

impl PartialEq for FilePath {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for FilePath {}

impl Hash for FilePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.names().hash(state);
    }
}

/// Whether a name in the top directory is the store's own. Letter case and characters that stand for
/// nothing are ignored, because the file system may ignore them (`casefold` of ext4 and f2fs).
pub(crate) fn is_reserved(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let letters = name.chars().filter(|character| !is_ignorable(*character));
    letters
        .map(|letter| letter.to_ascii_lowercase())
        .eq(RESERVED_NAME.chars())
}

/// Unicode's Default_Ignorable_Code_Point.
fn is_ignorable(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("/");
        }
        self.components()
            .try_for_each(|name| write!(f, "/{}", Escaped(name.as_bytes())))
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Bytes as text in which nothing can forge a line or steer a terminal.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if self.0.iter().all(is_plain)
            && let Ok(text) = std::str::from_utf8(self.0)
        {
            return f.write_str(text);
        }
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    // `escape_debug` keeps combining marks after a first character; these and the
                    // invisible or bidirectional ones are spelled out.
                    '\'' => f.write_str("'")?,
                    _ if is_invisible(character) => write!(f, "{}", character.escape_unicode())?,
                    _ => write!(f, "{}", character.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Zero-width and bidirectional control characters (Unicode general category Cf, common part).
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolve(cwd: &str, text: &[u8]) -> Result<String, PathError> {
        let cwd = FilePath::resolve(&FilePath::root(), cwd.as_bytes()).unwrap();
        FilePath::resolve(&cwd, text).map(|path| path.to_string())
    }

    #[test]
    fn relative_and_absolute_text_resolve_by_name() {
        assert_eq!(resolve("/a/b", b"c").unwrap(), "/a/b/c");
        assert_eq!(resolve("/a/b", b"/c//d/./").unwrap(), "/c/d");
        assert_eq!(resolve("/a/b", b"../../x").unwrap(), "/x");
        assert_eq!(resolve("/a", b"").unwrap(), "/a");
        assert_eq!(resolve("/a", b"..").unwrap(), "/");
    }

    #[test]
    fn climbing_above_the_root_is_refused_not_clamped() {
        for text in ["..", "/../bob", "../bob", "a/../../bob", "/.."] {
            assert_eq!(resolve("/", text.as_bytes()), Err(PathError::OutsideHome), "{text}");
        }
    }

    #[test]
    fn the_reserved_folder_has_no_path() {
        let hidden = [
            ".f\u{ad}tpd",
            "\u{200b}.FTPd/staging",
            ".ftpd\u{fe0f}",
            ".\u{e0100}ftpd",
        ];
        for text in [".ftpd", "/.ftpd/staging/x", "a/../.ftpd", ".FTPD"]
            .into_iter()
            .chain(hidden)
        {
            assert_eq!(resolve("/", text.as_bytes()), Err(PathError::Reserved), "{text}");
        }
        assert_eq!(resolve("/", b"a/.ftpd").unwrap(), "/a/.ftpd");
        assert_eq!(resolve("/", b".ftpd/../a").unwrap(), "/a");
        assert_eq!(resolve("/", b".ftpd2").unwrap(), "/.ftpd2");
    }

    #[test]
    fn limits_hold_exactly() {
        let name = "n".repeat(MAX_COMPONENT_BYTES);
        assert!(resolve("/", name.as_bytes()).is_ok());
        assert_eq!(
            resolve("/", format!("{name}n").as_bytes()),
            Err(PathError::ComponentTooLong { bytes: 256 })
        );
        assert!(resolve("/", "a/".repeat(MAX_COMPONENTS).as_bytes()).is_ok());
        assert_eq!(
            resolve("/", "a/".repeat(MAX_COMPONENTS + 1).as_bytes()),
            Err(PathError::TooDeep)
        );
        let longest = format!("/{name}").repeat(16);
        assert_eq!(longest.len(), MAX_PATH_BYTES);
        assert!(resolve("/", longest.as_bytes()).is_ok());
        assert_eq!(resolve(&longest, b"x"), Err(PathError::TooLong { bytes: 4098 }));
        assert_eq!(resolve("/", b"a\0b"), Err(PathError::Nul));
    }

    #[test]
    fn join_takes_one_name_only() {
        let base = FilePath::resolve(&FilePath::root(), b"a").unwrap();
        for name in ["", ".", "..", "b/c"] {
            assert!(base.join(OsStr::new(name)).is_err(), "{name}");
        }
        let joined = base.join(OsStr::from_bytes(b"\xff")).unwrap();
        assert_eq!(joined.as_bytes(), b"/a/\xff");
        assert_eq!(joined.parent(), Some(base.clone()));
        assert!(joined.starts_with(&base) && !base.starts_with(&joined));
        assert!(FilePath::root().join(OsStr::new(".ftpd")).is_err());
    }

    #[test]
    fn text_for_people_is_escaped() {
        let text = "l1\nl2\u{1b}[31m\u{202e}'\u{4e2d}\u{1f600}";
        let path = FilePath::resolve(&FilePath::root(), text.as_bytes()).unwrap();
        assert_eq!(path.to_string(), "/l1\\nl2\\u{1b}[31m\\u{202e}'\u{4e2d}\u{1f600}");
        let path = FilePath::resolve(&FilePath::root(), b"\xffx").unwrap();
        assert_eq!(format!("{path:?}"), "\"/\\xffx\"");
    }

    proptest! {
        #[test]
        fn resolved_paths_are_normal_and_resolve_to_themselves(text in proptest::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>()], 0..64)) {
            if let Ok(path) = FilePath::resolve(&FilePath::root(), &text) {
                for name in path.components() {
                    prop_assert!(!matches!(name.as_bytes(), b"" | b"." | b".."));
                    prop_assert!(!name.as_bytes().contains(&b'/'));
                }
                prop_assert!(path.to_string().chars().all(|c| !c.is_control()));
                prop_assert_eq!(FilePath::resolve(&path, path.as_bytes()), Ok(path.clone()));
                prop_assert_eq!(FilePath::from_relative(path.relative()), Ok(path));
            }
        }
    }
}
