//! Paths in the store's own records: any bytes as readable ASCII, `%` and two hexadecimal digits for
//! what is not (RFC 3986).

use std::fmt::Write as _;

use crate::path::FilePath;

/// A path as text.
pub(crate) fn escape(path: &FilePath) -> String {
    escape_bytes(path.as_bytes())
}

/// The path of such a text, if it is one.
pub(crate) fn unescape(text: &str) -> Option<FilePath> {
    FilePath::resolve(&FilePath::root(), &unescape_bytes(text)?).ok()
}

fn escape_bytes(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02x}").expect("a string takes any text");
        }
    }
    text
}

fn unescape_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escaping_is_reversible_for_every_byte() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape_bytes(&escape_bytes(&all)), Some(all));
        assert_eq!(unescape_bytes("%4"), None);
        assert_eq!(unescape_bytes("%zz"), None);
    }

    proptest! {
        #[test]
        fn unescape_never_panics(text in ".*") {
            let _ = unescape(&text);
        }
    }
}
