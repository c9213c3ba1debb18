//! Names and messages from elsewhere as a terminal may see them.
//!
//! A name is shown as a shell would read it back, so that what is copied from the screen works when
//! pasted. Nothing a file is called can move the cursor, reorder the line or forge one.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The name as a POSIX shell reads it: bare where possible, else in the mildest quotes that do.
/// Bytes that are no text, control and direction-changing characters come as `$'\xff'`.
pub(crate) fn quoted(raw: &[u8]) -> String {
    let Some(text) = std::str::from_utf8(raw).ok().filter(|text| is_plain(text)) else {
        return dollar_quoted(raw);
    };
    if !text.is_empty() && text.chars().all(needs_no_quotes) {
        text.to_owned()
    } else if !text.contains('\'') {
        format!("'{text}'")
    } else if !text.contains(['"', '$', '`', '\\', '!']) {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A pattern of names as our own shell reads it back: what has no backslash before it stays special.
pub(crate) fn quoted_pattern(pattern: &[u8]) -> String {
    let mut text = String::new();
    let mut literal = Vec::new();
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => {
                if !literal.is_empty() {
                    text.push_str(&quoted(&literal));
                    literal.clear();
                }
                text.push(char::from(*byte));
            }
            b'\\' => literal.extend(bytes.next()),
            _ => literal.push(*byte),
        }
    }
    if !literal.is_empty() || text.is_empty() {
        text.push_str(&quoted(&literal));
    }
    text
}

/// The text of a message with everything escaped that is not for a terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for (c, plain) in judged(text) {
        if plain {
            safe.push(c);
        } else {
            safe.extend(c.escape_default());
        }
    }
    Cow::Owned(safe)
}

fn is_plain(text: &str) -> bool {
    judged(text).all(|(_, plain)| plain)
}

/// Each character, and whether a terminal may see it as it is.
fn judged(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    std::iter::from_fn(move || {
        let c = rest.next()?;
        // Joiners hold emoji and Persian words together; between ASCII letters they only deceive.
        let joins = matches!(c, '\u{200c}' | '\u{200d}')
            && !before.is_ascii()
            && rest.peek().is_some_and(|after| !after.is_ascii());
        before = c;
        Some((c, joins || !deceives(c)))
    })
}

/// Control characters, and the format characters that are invisible or change the direction.
pub(crate) fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn needs_no_quotes(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '_' | '-' | '.' | '/' | '+' | ',' | ':' | '=' | '@' | '%')
        || (!c.is_ascii() && !c.is_whitespace())
}

fn dollar_quoted(raw: &[u8]) -> String {
    let mut text = String::from("$'");
    for chunk in raw.utf8_chunks() {
        for (c, plain) in judged(chunk.valid()) {
            match c {
                '\'' => text.push_str(r"\'"),
                '\\' => text.push_str(r"\\"),
                '\n' => text.push_str(r"\n"),
                '\r' => text.push_str(r"\r"),
                '\t' => text.push_str(r"\t"),
                c if plain => text.push(c),
                c => push_bytes(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_bytes(&mut text, chunk.invalid());
    }
    text.push('\'');
    text
}

fn push_bytes(text: &mut String, raw: &[u8]) {
    for byte in raw {
        write!(text, r"\x{byte:02x}").expect("a string takes any text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_stay_bare() {
        for name in ["demo.mp4", "a/b-c_d", "日本語.txt", "🎬", "👩‍👩‍👧"] {
            assert_eq!(quoted(name.as_bytes()), name);
        }
    }

    #[test]
    fn names_that_a_shell_would_split_are_quoted() {
        assert_eq!(quoted(b"my film.mp4"), "'my film.mp4'");
        assert_eq!(quoted(b"it's"), "\"it's\"");
        assert_eq!(quoted(b"it's $5"), r"'it'\''s $5'");
        assert_eq!(quoted(b""), "''");
        assert_eq!(quoted("a\u{3000}b".as_bytes()), "'a\u{3000}b'");
    }

    #[test]
    fn a_pattern_stays_one() {
        assert_eq!(quoted_pattern(b"*.mp4"), "*.mp4");
        assert_eq!(quoted_pattern(b"my [a b]?"), "'my '['a b]'?");
        assert_eq!(quoted_pattern(br"a\*b*"), "'a*b'*");
        assert_eq!(quoted_pattern(b""), "''");
    }

    #[test]
    fn names_that_a_terminal_must_not_see_are_escaped() {
        assert_eq!(quoted(b"a\nb"), r"$'a\nb'");
        assert_eq!(quoted(b"\x1b[31m\xff"), r"$'\x1b[31m\xff'");
        assert_eq!(quoted("exe\u{202e}gpj".as_bytes()), r"$'exe\xe2\x80\xaegpj'");
        assert_eq!(quoted("a\u{200d}b".as_bytes()), r"$'a\xe2\x80\x8db'");
    }

    #[test]
    fn messages_can_not_forge_a_line() {
        assert_eq!(printable("no file a\nftp-cli: done"), "no file a\\nftp-cli: done");
        assert_eq!(printable("all is well: é 漢"), "all is well: é 漢");
    }
}
