//! What Tab offers: commands, local names and remote names.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::CommandFactory;

use super::super::args::Line;
use super::super::quote::quoted;
use super::local::path_to;
use super::parse::{Word, words_and_last};

/// More names than this nobody reads.
pub(super) const MAX_NAMES: usize = 1_000;

/// A name that may complete a word, and whether it is a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The last component.
    pub(super) raw: Vec<u8>,
    pub(super) is_directory: bool,
}

/// What stands at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the word begins in the line, in bytes.
    pub(super) start: usize,
    /// What names it.
    pub(super) side: Side,
    /// The word up to its last slash, as it means.
    pub(super) folder: Vec<u8>,
    /// The word behind its last slash.
    pub(super) prefix: Vec<u8>,
}

/// What a word names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Command,
    Local,
    /// Local; remote where nothing local fits.
    Either,
    Option,
    Remote,
}

/// What stands at the end of `line`, which ends at the cursor.
pub(super) fn place(line: &str) -> Place {
    let (before, word) = words_and_last(line);
    let side = side(&before, &word, line);
    let split = word
        .raw
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let (folder, prefix) = word.raw.split_at(split);
    Place {
        start: word.start,
        side,
        folder: folder.to_vec(),
        prefix: prefix.to_vec(),
    }
}

fn side(before: &[Word], word: &Word, line: &str) -> Side {
    if line.trim_start().starts_with('!') {
        return Side::Local;
    }
    let Some(command) = before.first() else {
        return Side::Command;
    };
    if word.raw.starts_with(b"-") {
        return Side::Option;
    }
    match command.raw.as_slice() {
        b"lcd" | b"lls" => Side::Local,
        b"put" => Side::Either,
        b"help" => Side::Command,
        _ => Side::Remote,
    }
}

/// The names among `names` that go on from the place, as they are shown and as they replace the word.
pub(super) fn candidates(place: &Place, mut names: Vec<Name>) -> Vec<(String, String)> {
    names.retain(|name| name.raw.starts_with(&place.prefix));
    names.sort();
    let only = names.len() == 1;
    names
        .into_iter()
        .map(|name| {
            let slash = if name.is_directory { "/" } else { "" };
            let shown = quoted(&name.raw) + slash;
            // Unquoted on purpose: a tilde means the home only then.
            let (tilde, folder) = match place.folder.strip_prefix(b"~/") {
                Some(rest) => ("~/", rest),
                None => ("", place.folder.as_slice()),
            };
            let is_path = !matches!(place.side, Side::Command | Side::Option);
            let whole = if is_path && tilde.is_empty() {
                path_to(folder, &name.raw)
            } else {
                [folder, &name.raw].concat()
            };
            // A finished file name is followed by the next word, a directory by what is in it.
            let end = if only && !name.is_directory { " " } else { slash };
            (shown, format!("{tilde}{}{end}", quoted(&whole)))
        })
        .collect()
}

/// The names of the commands, or the options of the one the line begins with.
pub(super) fn words_of_clap(line: &str, side: Side) -> Vec<Name> {
    let commands = Line::command();
    let name = |raw: String| Name {
        raw: raw.into_bytes(),
        is_directory: false,
    };
    match side {
        Side::Command => commands
            .get_subcommands()
            .map(|command| name(command.get_name().to_owned()))
            .collect(),
        Side::Option => {
            let (before, _) = words_and_last(line);
            let command = before
                .first()
                .and_then(|word| std::str::from_utf8(&word.raw).ok())
                .and_then(|word| commands.find_subcommand(word));
            command
                .into_iter()
                .flat_map(clap::Command::get_arguments)
                .filter_map(|argument| argument.get_long().map(|long| name(format!("--{long}"))))
                .collect()
        }
        Side::Either | Side::Local | Side::Remote => Vec::new(),
    }
}

/// The names in a local directory.
pub(super) fn local_names(place: &Place) -> Vec<Name> {
    let folder = super::local::with_home(&place.folder, true);
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        &folder
    };
    let Ok(listing) = fs::read_dir(folder) else {
        return Vec::new();
    };
    listing
        .filter_map(Result::ok)
        .map(|entry| Name {
            raw: entry.file_name().as_bytes().to_vec(),
            // Through links: what leads to a directory is entered like one.
            is_directory: fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir()),
        })
        .filter(|name| !name.raw.starts_with(b".") || place.prefix.starts_with(b"."))
        .take(MAX_NAMES)
        .collect()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn names(names: &[(&str, bool)]) -> Vec<Name> {
        let name = |(raw, is_directory): &(&str, bool)| Name {
            raw: raw.as_bytes().to_vec(),
            is_directory: *is_directory,
        };
        names.iter().map(name).collect()
    }

    #[test]
    fn the_command_decides_which_side_is_completed() {
        for (line, side) in [
            ("", Side::Command),
            ("pu", Side::Command),
            ("help p", Side::Command),
            ("get f", Side::Remote),
            ("put f", Side::Either),
            ("lcd f", Side::Local),
            ("!cat f", Side::Local),
            ("put --re", Side::Option),
        ] {
            assert_eq!(place(line).side, side, "{line:?}");
        }
    }

    #[test]
    fn a_completed_word_is_quoted_as_a_whole() {
        let at = place("get 'my dir/fi");
        assert_eq!(
            (at.start, at.folder.as_slice(), at.prefix.as_slice()),
            (4, &b"my dir/"[..], &b"fi"[..])
        );
        let found = candidates(&at, names(&[("film.mp4", false), ("other", false)]));
        assert_eq!(found, [("film.mp4".to_owned(), "'my dir/film.mp4' ".to_owned())]);
    }

    #[test]
    fn directories_end_in_a_slash_and_wait_for_more() {
        let found = candidates(&place("cd fi"), names(&[("films", true)]));
        assert_eq!(found, [("films/".to_owned(), "films/".to_owned())]);
        let found = candidates(&place("lcd ~/fi"), names(&[("my films", true), ("films", true)]));
        assert_eq!(found, [("films/".to_owned(), "~/films/".to_owned())]);
    }

    #[test]
    fn a_name_that_looks_like_an_option_is_none() {
        let found = candidates(&place("rm "), names(&[("--forever", false)]));
        assert_eq!(found, [("--forever".to_owned(), "./--forever ".to_owned())]);
        let found = candidates(&place("rm films/"), names(&[("--forever", false)]));
        assert_eq!(found[0].1, "films/--forever ");
        let found = candidates(&place("rm --fore"), names(&[("--forever", false)]));
        assert_eq!(found[0].1, "--forever ");
    }

    #[test]
    fn commands_and_their_options_are_known() {
        let all = words_of_clap("", Side::Command);
        for command in ["put", "lcd", "exit"] {
            assert!(all.contains(&names(&[(command, false)])[0]), "{command}");
        }
        let options = words_of_clap("put --re", Side::Option);
        assert!(options.contains(&names(&[("--resume", false)])[0]), "{options:?}");
    }

    #[test]
    fn local_names_come_from_the_disk() {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("films")).unwrap();
        fs::write(dir.path().join(".hidden"), "").unwrap();
        let line = format!("lcd {}/", dir.path().display());
        assert_eq!(local_names(&place(&line)), names(&[("films", true)]));
        assert_eq!(local_names(&place(&format!("{line}."))).len(), 2);
        assert!(local_names(&place("lcd /no/such/")).is_empty());
    }
}
