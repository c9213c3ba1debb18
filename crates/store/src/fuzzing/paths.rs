//! Paths: what is resolved agrees with a simple model, and nothing of it leads out of the home.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use crate::path::{FilePath, MAX_COMPONENT_BYTES, MAX_COMPONENTS, MAX_PATH_BYTES, RESERVED_NAME, is_reserved};

/// Two lines: the working directory, and a path as a client writes it.
pub fn paths(input: &[u8]) {
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let (cwd, text) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    // A session's working directory is always one that was resolved before.
    let cwd = resolve(&FilePath::root(), cwd).unwrap_or_default();
    resolve(&cwd, text);
}

fn resolve(cwd: &FilePath, text: &[u8]) -> Option<FilePath> {
    let found = FilePath::resolve(cwd, text).ok();
    let names: Option<Vec<_>> = found
        .as_ref()
        .map(|path| path.components().map(|name| name.as_bytes().to_vec()).collect());
    let base = cwd.components().map(|name| name.as_bytes().to_vec()).collect();
    assert_eq!(names, model(base, text), "{cwd} and {:?}", text.escape_ascii());
    if let Some(path) = &found {
        check(path);
    }
    found
}

/// `..` by name, as `docs/protocol.md` section 8 says it; `None` for what is refused.
fn model(cwd: Vec<Vec<u8>>, text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut names = if text.first() == Some(&b'/') { Vec::new() } else { cwd };
    let (mut legal, mut name) = (text.len() <= MAX_PATH_BYTES, Vec::new());
    for byte in text.iter().chain(b"/") {
        if *byte != b'/' {
            legal &= *byte != 0;
            name.push(*byte);
            continue;
        }
        legal &= name.len() <= MAX_COMPONENT_BYTES;
        match &std::mem::take(&mut name)[..] {
            b"" | b"." => {}
            b".." => legal &= names.pop().is_some(),
            other => names.push(other.to_vec()),
        }
    }
    legal &= names.len() <= MAX_COMPONENTS && names.iter().map(|name| name.len() + 1).sum::<usize>() <= MAX_PATH_BYTES;
    legal &= names.first().is_none_or(|first| !reserved(first));
    legal.then_some(names)
}

/// Every spelling in ASCII is reserved; one beyond it only if the rest of it spells the name.
fn reserved(name: &[u8]) -> bool {
    let letters: Vec<u8> = name
        .iter()
        .filter(|byte| byte.is_ascii())
        .map(u8::to_ascii_lowercase)
        .collect();
    let spelt = letters == RESERVED_NAME.as_bytes();
    if name.is_ascii() {
        return spelt;
    }
    let reserved = is_reserved(OsStr::from_bytes(name));
    assert!(spelt || !reserved, "{:?} is reserved", name.escape_ascii().to_string());
    reserved
}

fn check(path: &FilePath) {
    // The path that the kernel sees, from the home's handle.
    let relative = path.relative();
    let harmless =
        |part: Component<'_>| matches!(part, Component::Normal(_)) || (path.is_root() && part == Component::CurDir);
    assert!(relative.components().all(harmless), "{relative:?}");
    assert_eq!(FilePath::from_relative(relative).as_ref(), Ok(path));
    let exact = path.as_bytes();
    assert_eq!(FilePath::resolve(path, exact).as_ref(), Ok(path));
    assert_eq!(
        FilePath::resolve(&FilePath::root(), Path::new(&relative).as_os_str().as_bytes()).as_ref(),
        Ok(path)
    );
    let shown = path.to_string();
    assert!(!shown.chars().any(is_hazardous), "{shown:?}");
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        assert_eq!(parent.join(name).as_ref(), Ok(path));
        assert!(path.starts_with(&parent) && !parent.starts_with(path));
    }
}

/// What steers a terminal or turns text around (Unicode categories Cc and, of Cf, what is in use).
fn is_hazardous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
