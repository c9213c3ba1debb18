//! The words of a line as arguments, with local patterns and homes expanded where local files are
//! meant: our lines are read by no other shell.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Parser;

use super::super::args::{Line, LineCommand, RemoteCommand, TransferArgs};
use super::super::session::Quoted;
use super::local;
use super::parse::Word;

/// What [`Line`] is parsed from.
pub(super) fn arguments(words: &[Word]) -> Vec<OsString> {
    // Only clap knows which words name files and which belong to options.
    match Line::try_parse_from(marked(words)).map(|line| line.command) {
        Ok(LineCommand::Remote(RemoteCommand::Put(args))) => put(words, &args.transfer, &args.paths),
        Ok(LineCommand::Remote(RemoteCommand::Get(args))) => get(words, &args.transfer, &args.paths),
        Ok(LineCommand::Lcd(_) | LineCommand::Lls(_)) => words.iter().flat_map(local::expand).collect(),
        _ => words.iter().map(plain).collect(),
    }
}

fn put(words: &[Word], transfer: &TransferArgs, paths: &[OsString]) -> Vec<OsString> {
    let is_name = |index| paths.iter().any(|path| marked_word(path) == Some(index));
    let mut arguments = Vec::with_capacity(words.len());
    for (index, word) in words.iter().enumerate() {
        if is_name(index) {
            arguments.extend(local::expand(word));
        } else {
            arguments.push(plain(word));
        }
    }
    // What a pattern stands for are files to send, never the name to send them to.
    let last = paths
        .last()
        .and_then(|path| marked_word(path))
        .map(|index| &words[index]);
    if last.is_some_and(|word| word.pattern && local::expand(word) != [plain(word)]) {
        keep_names(&mut arguments, b"put", transfer);
    }
    arguments
}

fn get(words: &[Word], transfer: &TransferArgs, paths: &[OsString]) -> Vec<OsString> {
    // One name alone is a source.
    let last = paths
        .last()
        .filter(|_| paths.len() > 1 && transfer.target_directory.is_none());
    let local = transfer.target_directory.as_ref().or(last);
    let local = local
        .and_then(|path| marked_word(path))
        .filter(|index| words[*index].tilde);
    let mut arguments = Vec::with_capacity(words.len());
    for (index, word) in words.iter().enumerate() {
        if local == Some(index) {
            arguments.extend(local::expand(word));
        } else {
            arguments.push(plain(word));
        }
    }
    let last = last.and_then(|path| marked_word(path)).map(|index| &words[index]);
    if last.is_some_and(|word| word.pattern && !word.tilde) {
        keep_names(&mut arguments, b"get", transfer);
    }
    arguments
}

/// Sends every name to where we are, unless they go elsewhere.
fn keep_names(arguments: &mut Vec<OsString>, command: &[u8], transfer: &TransferArgs) {
    let is_command = |word: &OsString| word.as_bytes() == command;
    if let (None, Some(at)) = (&transfer.target_directory, arguments.iter().position(is_command)) {
        arguments.insert(at + 1, "--target-directory=.".into());
    }
}

/// The names of which quotes make something else. What is typed with and without them is as without.
pub(super) fn in_quotes(words: &[Word]) -> HashMap<OsString, Quoted> {
    let is_bare = |word: &&Word| word.glob == word.raw;
    let (bare, quoted): (Vec<&Word>, Vec<&Word>) = words.iter().partition(is_bare);
    quoted
        .into_iter()
        .filter(|word| bare.iter().all(|bare| bare.raw != word.raw))
        .map(|word| match word.pattern {
            true => (plain(word), Quoted::Pattern(word.glob.clone())),
            false => (plain(word), Quoted::Literal),
        })
        .collect()
}

/// The words, with the number of each that may mean something else in its place. No word has a NUL.
fn marked(words: &[Word]) -> impl Iterator<Item = OsString> {
    let options_end = words.iter().position(|word| word.raw == b"--").unwrap_or(words.len());
    words.iter().enumerate().map(move |(index, word)| {
        let is_option = index < options_end && word.raw.starts_with(b"-");
        if (word.pattern || word.tilde) && !is_option {
            format!("\0{index}").into()
        } else {
            plain(word)
        }
    })
}

fn marked_word(argument: &OsStr) -> Option<usize> {
    argument.to_str()?.strip_prefix('\0')?.parse().ok()
}

fn plain(word: &Word) -> OsString {
    OsString::from_vec(word.raw.clone())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::super::parse;
    use super::*;

    const HERE: &str = "--target-directory=.";

    fn arguments_of(line: &str) -> Vec<String> {
        let words = parse::words(line).unwrap();
        arguments(&words)
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn two_files_that_match_a_pattern_are_both_sent() {
        let dir = TempDir::new().unwrap();
        let folder = dir.path().display();
        for name in ["a.mp4", "b.mp4"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let (a, b) = (&*format!("{folder}/a.mp4"), &*format!("{folder}/b.mp4"));
        for (line, expected) in [
            ("put *.mp4", &["put", HERE, a, b][..]),
            ("put *.mp4 -f", &["put", HERE, a, b, "-f"]),
            ("put *.mp4 -r", &["put", HERE, a, b, "-r"]),
            ("put *.mp4 --digest blake3", &["put", HERE, a, b, "--digest", "blake3"]),
            ("put -f -- *.mp4", &["put", HERE, "-f", "--", a, b]),
            ("--json put *.mp4", &["--json", "put", HERE, a, b]),
            ("put *.mp4 films", &["put", a, b, "films"]),
            ("put -t films *.mp4", &["put", "-t", "films", a, b]),
            ("put -rt films *.mp4", &["put", "-rt", "films", a, b]),
            ("put *.mp4 -rt films", &["put", a, b, "-rt", "films"]),
            ("put -t *.mp4 *.mp4", &["put", "-t", &format!("{folder}/*.mp4"), a, b]),
            ("put --resume '*.mp4'", &["put", "--resume", &format!("{folder}/*.mp4")]),
        ] {
            let line = line.replace("'*.mp4'", &format!("'{folder}/*.mp4'"));
            let line = line.replace(" *.mp4", &format!(" {folder}/*.mp4"));
            assert_eq!(arguments_of(&line), expected, "{line}");
        }
        assert_eq!(arguments_of(&format!("put {a} {b}")), ["put", a, b]);
        assert_eq!(arguments_of(&format!("put {a} {b} -f")), ["put", a, b, "-f"]);
    }

    #[test]
    fn patterns_of_remote_names_stay_for_the_server() {
        for (line, expected) in [
            ("get *.mp4", &["get", "*.mp4"][..]),
            ("get *.mp4 -f", &["get", "*.mp4", "-f"]),
            ("get *.mp4 --digest blake3", &["get", "*.mp4", "--digest", "blake3"]),
            ("get -rt films *.mp4", &["get", "-rt", "films", "*.mp4"]),
            ("get *.mp4 'my films'", &["get", "*.mp4", "my films"]),
            ("get a.mp4 b*.mp4 -r", &["get", HERE, "a.mp4", "b*.mp4", "-r"]),
            ("get a.mp4 b.mp4", &["get", "a.mp4", "b.mp4"]),
            ("rm /*", &["rm", "/*"]),
        ] {
            assert_eq!(arguments_of(line), expected, "{line}");
        }
    }

    #[test]
    fn quotes_keep_a_name_from_being_a_pattern() {
        let quoted = |line| in_quotes(&parse::words(line).unwrap());
        let found = quoted(r#"rm 'a*' "b?" c\[1] $'d*' plain e*'*' f*"#);
        assert_eq!(found.len(), 5, "{found:?}");
        for name in ["a*", "b?", "c[1]", "d*"] {
            assert_eq!(found[OsStr::new(name)], Quoted::Literal, "{name}");
        }
        assert_eq!(found[OsStr::new("e**")], Quoted::Pattern(br"e*\*".to_vec()));
        assert!(quoted("rm a* 'a*'").is_empty());
    }

    #[test]
    fn a_tilde_is_the_home_where_files_of_this_machine_are_meant() {
        let home = std::env::var("HOME").unwrap();
        assert_eq!(arguments_of("get a ~/b -f"), ["get", "a", &format!("{home}/b"), "-f"]);
        assert_eq!(arguments_of("get -t ~/b a"), ["get", "-t", &format!("{home}/b"), "a"]);
        assert_eq!(arguments_of("get ~/a"), ["get", "~/a"]);
        assert_eq!(arguments_of("put ~/a"), ["put", &format!("{home}/a")]);
    }

    #[test]
    fn a_line_that_makes_no_sense_stays_as_it_is() {
        assert_eq!(arguments_of("put --no-such *"), ["put", "--no-such", "*"]);
        assert_eq!(arguments_of("put --digest * a"), ["put", "--digest", "*", "a"]);
    }
}
