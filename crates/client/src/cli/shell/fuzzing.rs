//! Lines of the shell and patterns.

use ftp_client::Target;

use super::super::glob;
use super::super::quote::quoted;
use super::parse::{words, words_and_last};

/// A line of the shell: its words, and each of them as a pattern for the names behind the line's end.
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "`cargo fuzz` reaches it"))]
pub fn shell(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let line = lines.next().unwrap_or_default();
    if let Ok(text) = std::str::from_utf8(line) {
        let (_, last) = words_and_last(text);
        assert!(text.is_char_boundary(last.start));
        if let Ok(found) = words(text) {
            assert!(
                found
                    .iter()
                    .all(|word| !word.raw.contains(&0) && text.is_char_boundary(word.start))
            );
            let shown: Vec<_> = found.iter().map(|word| quoted(&word.raw)).collect();
            let again = words(&shown.join(" ")).expect("what is shown can be typed back");
            assert!(
                found
                    .iter()
                    .map(|word| &word.raw)
                    .eq(again.iter().map(|word| &word.raw)),
                "{shown:?}"
            );
        }
        if let Ok(target) = text.parse::<Target>() {
            assert_eq!(target.to_string().parse().as_ref(), Ok(&target));
        }
    }
    for name in lines.take(4) {
        let found = glob::matches(line, name);
        // Quadratic at the most; this is its plain definition, and exponential.
        if line.len() <= 12 && name.len() <= 12 && !line.contains(&b'[') && !line.contains(&b'\\') && name.is_ascii() {
            let hidden = name.first() == Some(&b'.') && line.first() != Some(&b'.');
            assert_eq!(
                found,
                !hidden && plain(line, name),
                "{:?} {:?}",
                line.escape_ascii(),
                name.escape_ascii()
            );
        }
        if !glob::is_pattern(line) && !line.contains(&b'\\') {
            assert_eq!(found, line == name);
        }
    }
}

/// `*` and `?` by their definition.
fn plain(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|taken| plain(rest, &name[taken..])),
        ([b'?', rest @ ..], [_, name @ ..]) => plain(rest, name),
        ([one, rest @ ..], [other, name @ ..]) => one == other && plain(rest, name),
        _ => false,
    }
}
