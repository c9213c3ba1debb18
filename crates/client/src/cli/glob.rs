//! Patterns of names: `*`, `?` and `[...]` (POSIX.1-2024, XCU 2.14), on bytes.

/// Whether the name contains anything that could be a pattern.
pub(crate) fn is_pattern(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// Whether `name` matches `pattern`. `*` stands for any bytes, `?` for one character, `[...]` for one
/// of a set; a backslash takes the next byte as it is. A leading dot has to be written.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    // The last `*` seen, and where its match ends: on a mismatch it takes one byte more. Only the last
    // one need ever be retried, so the time is at most pattern times name.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), name.get(n)) {
            (Some(b'*'), _) => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            (None, None) => return true,
            (Some(_), Some(_)) => {
                if let Some((pattern_bytes, name_bytes)) = one(&pattern[p..], &name[n..]) {
                    p += pattern_bytes;
                    n += name_bytes;
                    continue;
                }
            }
            _ => {}
        }
        match star {
            Some((star_p, star_n)) if star_n < name.len() => {
                star = Some((star_p, star_n + 1));
                p = star_p + 1;
                n = star_n + 1;
            }
            _ => return false,
        }
    }
}

/// Matches the first element of the pattern; how many bytes of both it took.
fn one(pattern: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let first = *name.first()?;
    match pattern {
        [b'?', ..] => Some((1, char_bytes(name))),
        [b'\\', literal, ..] => (*literal == first).then_some((2, 1)),
        [b'[', rest @ ..] => match set(rest, first) {
            Some((true, set_bytes)) => Some((1 + set_bytes, 1)),
            Some((false, _)) => None,
            // Without a closing bracket it is only a bracket.
            None => (first == b'[').then_some((1, 1)),
        },
        [literal, ..] => (*literal == first).then_some((1, 1)),
        [] => None,
    }
}

/// Whether the set behind `[` contains the byte, and its length with the closing bracket.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    // A bracket in the first place is a member.
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|byte| *byte == b']')?;
    let mut members = &pattern[start..end];
    let mut found = false;
    while let [first, more @ ..] = members {
        members = more;
        if let [b'-', last, more @ ..] = members {
            found |= (*first..=*last).contains(&byte);
            members = more;
        } else {
            found |= *first == byte;
        }
    }
    Some((found != negated, end + 1))
}

/// The length of the first character; a byte that begins none counts for itself.
fn char_bytes(name: &[u8]) -> usize {
    let first = name.utf8_chunks().next();
    first
        .and_then(|chunk| chunk.valid().chars().next())
        .map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.mp4", "demo.mp4", true),
            ("*.mp4", "demo.mp3", false),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("a*b*c", "aXbbYc", true),
            ("?.txt", "漢.txt", true),
            ("??", "漢", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("", "", true),
            ("**", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!matches("a*".repeat(200).as_bytes(), "a".repeat(199).as_bytes()));
        assert!(!matches(
            format!("{}b", "*a".repeat(100)).as_bytes(),
            "a".repeat(5_000).as_bytes()
        ));
    }
}
