//! Text from others, made safe for a terminal and for one line of a log.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character could move the cursor, end a line, or make text look like other text:
/// controls, line and paragraph separators, bidirectional controls, and what takes no room. The joiners
/// U+200C and U+200D stay, because emoji and several scripts need them.
pub(crate) fn is_hazardous(c: char) -> bool {
    // Nearly everything is ASCII, and judged at once.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with hazardous characters and backslashes escaped as in Rust: `\n`, `\u{202e}`, `\\`.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\\' || is_hazardous(c))
}

/// The text as the value in `key=value`: bare if it is one plain word, else printable and in quotes.
pub(crate) fn value(text: &str) -> Cow<'_, str> {
    let is_word = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    if !text.is_empty() && text.as_bytes().iter().all(is_word) {
        return Cow::Borrowed(text);
    }
    let plain = |c: char| !(c.is_whitespace() || c == '"' || c == '\\' || c == '=' || is_hazardous(c));
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let inner = escaped(text, |c| c == '\\' || c == '"' || is_hazardous(c));
    Cow::Owned(format!("\"{inner}\""))
}

fn escaped(text: &str, hazardous: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hazardous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            '\\' | '"' if hazardous(c) => safe.extend(['\\', c]),
            c if hazardous(c) => write!(safe, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String succeeds"),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_of_any_script_stays_as_it_is() {
        for text in ["a b", "übung", "文件", "👩‍🚀", "می\u{200c}خواهم"] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn what_could_forge_a_line_or_turn_text_around_is_escaped() {
        assert_eq!(printable("a\nb\r\t"), "a\\nb\\r\\t");
        assert_eq!(printable("\u{1b}[31m"), "\\u{1b}[31m");
        assert_eq!(printable("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(printable("a\u{9b}b\u{2028}\u{0}"), "a\\u{9b}b\\u{2028}\\u{0}");
    }

    #[test]
    fn an_escape_cannot_be_confused_with_a_name_that_looks_like_one() {
        assert_eq!(printable("a\\nb"), "a\\\\nb");
        assert_ne!(printable("a\\nb"), printable("a\nb"));
    }

    #[test]
    fn values_that_are_not_one_word_are_quoted() {
        assert_eq!(value("alice"), "alice");
        assert_eq!(value(""), "\"\"");
        assert_eq!(value("a b"), "\"a b\"");
        assert_eq!(value("x outcome=ok"), "\"x outcome=ok\"");
        assert_eq!(value("say \"hi\"\n"), "\"say \\\"hi\\\"\\n\"");
    }
}
