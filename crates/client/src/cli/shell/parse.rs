//! A line as words: the quoting of POSIX shells, and `$'...'`, so that whatever our lists show can be
//! typed back. No variables, no substitutions: `$` and backquotes are ordinary characters.

use std::iter::Peekable;
use std::str::CharIndices;

/// A word of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// What it means; names need not be UTF-8.
    pub(super) raw: Vec<u8>,
    /// The same as a pattern: a backslash is before what quotes keep from being special.
    pub(super) glob: Vec<u8>,
    /// Where it begins in the line, in bytes.
    pub(super) start: usize,
    /// Whether it has a `*`, `?` or `[` outside of quotes.
    pub(super) pattern: bool,
    /// Whether it begins with a `~` outside of quotes.
    pub(super) tilde: bool,
}

/// The line is no sequence of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// An escape in `$'...'` that means nothing.
    #[error("there is an unknown escape in $'...'; known are \\n \\t \\r \\\\ \\' \\xHH, \\OOO and \\uHHHH")]
    Escape,
    /// A NUL, which no name can contain.
    #[error("a name can not contain NUL")]
    Nul,
    /// A quote that is never closed.
    #[error("the quote {0} is not closed")]
    Open(&'static str),
}

/// The words of a line. `#` at the beginning of a word begins a comment.
pub(super) fn words(line: &str) -> Result<Vec<Word>, Malformed> {
    let scanned = Scanner::new(line).scan();
    match scanned.fault {
        Some(fault) => Err(fault),
        None => Ok(scanned.words),
    }
}

/// The words before the end of `line`, and the one that ends there, which may be empty and whose
/// quotes may be open.
pub(super) fn words_and_last(line: &str) -> (Vec<Word>, Word) {
    let mut scanned = Scanner::new(line).scan();
    let last = if scanned.ends_in_word {
        scanned.words.pop()
    } else {
        None
    };
    let last = last.unwrap_or_else(|| Word {
        start: line.len(),
        ..Word::default()
    });
    (scanned.words, last)
}

struct Scanned {
    words: Vec<Word>,
    ends_in_word: bool,
    fault: Option<Malformed>,
}

struct Scanner<'a> {
    rest: Peekable<CharIndices<'a>>,
    word: Option<Word>,
    words: Vec<Word>,
}

impl<'a> Scanner<'a> {
    fn new(line: &'a str) -> Self {
        Self {
            rest: line.char_indices().peekable(),
            word: None,
            words: Vec::new(),
        }
    }

    fn scan(mut self) -> Scanned {
        let fault = self.run().err();
        let ends_in_word = self.word.is_some();
        self.words.extend(self.word.take());
        let has_nul = self.words.iter().any(|word| word.raw.contains(&0));
        Scanned {
            words: self.words,
            ends_in_word,
            fault: fault.or(has_nul.then_some(Malformed::Nul)),
        }
    }

    fn run(&mut self) -> Result<(), Malformed> {
        while let Some((at, c)) = self.rest.next() {
            match c {
                c if c.is_whitespace() && c.is_ascii() => self.words.extend(self.word.take()),
                '#' if self.word.is_none() => return Ok(()),
                '\'' => {
                    self.begin(at);
                    self.single()?;
                }
                '"' => {
                    self.begin(at);
                    self.double()?;
                }
                '$' if self.rest.peek().is_some_and(|(_, next)| *next == '\'') => {
                    self.begin(at);
                    self.rest.next();
                    self.dollar()?;
                }
                '\\' => {
                    self.begin(at);
                    match self.rest.next() {
                        Some((_, literal)) => self.push(literal),
                        None => return Err(Malformed::Open("\\")),
                    }
                }
                c => {
                    let first = self.word.is_none();
                    let word = self.begin(at);
                    word.pattern |= matches!(c, '*' | '?' | '[');
                    word.tilde |= first && c == '~';
                    for bytes in [&mut word.raw, &mut word.glob] {
                        bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
            }
        }
        Ok(())
    }

    fn single(&mut self) -> Result<(), Malformed> {
        for (_, c) in self.rest.by_ref() {
            if c == '\'' {
                return Ok(());
            }
            push(&mut self.word, c);
        }
        Err(Malformed::Open("'"))
    }

    fn double(&mut self) -> Result<(), Malformed> {
        while let Some((_, c)) = self.rest.next() {
            match c {
                '"' => return Ok(()),
                '\\' => match self.rest.next() {
                    Some((_, literal @ ('"' | '\\' | '$' | '`'))) => self.push(literal),
                    Some((_, other)) => {
                        self.push('\\');
                        self.push(other);
                    }
                    None => break,
                },
                c => self.push(c),
            }
        }
        Err(Malformed::Open("\""))
    }

    fn dollar(&mut self) -> Result<(), Malformed> {
        while let Some((_, c)) = self.rest.next() {
            match c {
                '\'' => return Ok(()),
                '\\' => self.escape()?,
                c => self.push(c),
            }
        }
        Err(Malformed::Open("$'"))
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        let Some((_, c)) = self.rest.next() else {
            return Err(Malformed::Open("$'"));
        };
        match c {
            'a' => self.push('\x07'),
            'b' => self.push('\x08'),
            'e' | 'E' => self.push('\x1b'),
            'f' => self.push('\x0c'),
            'n' => self.push('\n'),
            'r' => self.push('\r'),
            't' => self.push('\t'),
            'v' => self.push('\x0b'),
            '\\' | '\'' | '"' | '?' => self.push(c),
            'x' => {
                let byte = self.number(16, 2, 0)?;
                self.push_byte(byte)?;
            }
            '0'..='7' => {
                let byte = self.number(8, 2, c.to_digit(8).unwrap_or(0))?;
                self.push_byte(byte)?;
            }
            'u' => self.code_point(4)?,
            'U' => self.code_point(8)?,
            _ => return Err(Malformed::Escape),
        }
        Ok(())
    }

    fn code_point(&mut self, digits: usize) -> Result<(), Malformed> {
        let value = self.number(16, digits, 0)?;
        self.push(char::from_u32(value).ok_or(Malformed::Escape)?);
        Ok(())
    }

    /// A number of at most so many further digits. Octal ones may end before the first of them.
    fn number(&mut self, radix: u32, digits: usize, first: u32) -> Result<u32, Malformed> {
        let mut value = first;
        for place in 0..digits {
            match self.rest.next_if(|(_, c)| c.is_digit(radix)) {
                Some((_, c)) => value = value * radix + c.to_digit(radix).unwrap_or(0),
                None if place == 0 && radix == 16 => return Err(Malformed::Escape),
                None => break,
            }
        }
        Ok(value)
    }

    fn begin(&mut self, at: usize) -> &mut Word {
        self.word.get_or_insert_with(|| Word {
            start: at,
            ..Word::default()
        })
    }

    fn push(&mut self, c: char) {
        push(&mut self.word, c);
    }

    fn push_byte(&mut self, value: u32) -> Result<(), Malformed> {
        let byte = u8::try_from(value).map_err(|_| Malformed::Escape)?;
        push_bytes(&mut self.word, &[byte]);
        Ok(())
    }
}

fn push(word: &mut Option<Word>, c: char) {
    push_bytes(word, c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Adds a character that is quoted.
fn push_bytes(word: &mut Option<Word>, bytes: &[u8]) {
    if let Some(word) = word {
        if let [b'*' | b'?' | b'[' | b'\\'] = bytes {
            word.glob.push(b'\\');
        }
        word.glob.extend(bytes);
        word.raw.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::quote::{quoted, quoted_pattern};
    use super::*;

    fn raw(line: &str) -> Result<Vec<Vec<u8>>, Malformed> {
        words(line).map(|words| words.into_iter().map(|word| word.raw).collect())
    }

    fn text(line: &str) -> Vec<String> {
        raw(line)
            .unwrap()
            .into_iter()
            .map(|word| String::from_utf8(word).unwrap())
            .collect()
    }

    #[test]
    fn words_are_split_and_unquoted_as_in_a_shell() {
        assert_eq!(text("put  a\tb "), ["put", "a", "b"]);
        assert_eq!(text(r#"'a b' "c d" e\ f"#), ["a b", "c d", "e f"]);
        assert_eq!(text(r#"a'b'"c"d"#), ["abcd"]);
        assert_eq!(text(r#""a\"b\\c\d""#), [r#"a"b\c\d"#]);
        assert_eq!(text("a '' b # comment"), ["a", "", "b"]);
        assert_eq!(text("a#b $HOME `x`"), ["a#b", "$HOME", "`x`"]);
        assert_eq!(text(r"$'a\tb\u6f22\101\''"), ["a\tb漢A'"]);
        assert_eq!(raw(r"$'\xff\x7f'").unwrap(), [vec![0xff, 0x7f]]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(raw("a 'b"), Err(Malformed::Open("'")));
        assert_eq!(raw("a \"b"), Err(Malformed::Open("\"")));
        assert_eq!(raw("$'a"), Err(Malformed::Open("$'")));
        assert_eq!(raw("a\\"), Err(Malformed::Open("\\")));
        assert_eq!(raw(r"$'\x00'"), Err(Malformed::Nul));
        assert_eq!(raw(r"$'\xzz'"), Err(Malformed::Escape));
        assert_eq!(raw(r"$'\777'"), Err(Malformed::Escape));
    }

    #[test]
    fn patterns_count_outside_of_quotes_only() {
        let patterns: Vec<bool> = words("*.mp4 '*.mp4' \\*")
            .unwrap()
            .into_iter()
            .map(|word| word.pattern)
            .collect();
        assert_eq!(patterns, [true, false, false]);
        let tildes: Vec<bool> = words("~/a '~/a' a~")
            .unwrap()
            .into_iter()
            .map(|word| word.tilde)
            .collect();
        assert_eq!(tildes, [true, false, false]);
    }

    #[test]
    fn of_a_pattern_only_what_is_not_quoted_is_special() {
        let globs = |line| {
            let words = words(line).unwrap();
            words
                .into_iter()
                .map(|word| String::from_utf8(word.glob).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            globs(r#"a*'b*' c\[1\]* "d?"? $'\x2a\\'*"#),
            [r"a*b\*", r"c\[1]*", r"d\??", r"\*\\*"]
        );
    }

    #[test]
    fn the_word_at_the_cursor_may_be_unfinished_or_empty() {
        let last = |line| {
            let (before, last) = words_and_last(line);
            (before.len(), last.start, String::from_utf8(last.raw).unwrap())
        };
        assert_eq!(last("get fi"), (1, 4, "fi".to_owned()));
        assert_eq!(last("get "), (1, 4, String::new()));
        assert_eq!(last("get 'my fi"), (1, 4, "my fi".to_owned()));
        assert_eq!(last(""), (0, 0, String::new()));
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed_back(name in proptest::collection::vec(1_u8.., 0..40)) {
            prop_assert_eq!(raw(&quoted(&name)), Ok(vec![name]));
        }

        #[test]
        fn text_that_is_shown_can_be_typed_back(name in "[^\0]{0,40}") {
            prop_assert_eq!(text(&quoted(name.as_bytes())), vec![name]);
        }

        #[test]
        fn a_pattern_that_is_shown_can_be_typed_back(line in r"[a*?\[\\' é]{0,12}") {
            for word in words(&line).unwrap_or_default() {
                let again = words(&quoted_pattern(&word.glob)).unwrap();
                prop_assert_eq!(&again[0].glob, &word.glob);
            }
        }

        #[test]
        fn no_line_is_too_odd(line in ".{0,60}") {
            let _ = words(&line);
            let (_, last) = words_and_last(&line);
            prop_assert!(line.is_char_boundary(last.start));
        }
    }
}
