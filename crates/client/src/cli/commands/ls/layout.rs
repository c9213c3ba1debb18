//! Entries as text: one a line, in columns, or with everything that is known.

use ftp_client::{Entry, Kind};
use unicode_width::UnicodeWidthStr;

use super::super::super::format;
use super::super::super::json::wire_bytes;
use super::super::super::quote::quoted;

/// The columns between names.
const GAP: usize = 2;

/// How entries become text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Kind, size, time and digest before the name.
    pub(super) long: bool,
    /// Sizes rounded.
    pub(super) human: bool,
    /// Names side by side in so many columns.
    pub(super) columns: Option<usize>,
    /// Names fit for a terminal; else their bytes.
    pub(super) quoted: bool,
}

impl Layout {
    /// The lines, each with its newline.
    pub(super) fn text(&self, entries: &[Entry]) -> Vec<u8> {
        match self.columns {
            _ if self.long => self.long_lines(entries),
            Some(columns) => {
                let names: Vec<String> = entries
                    .iter()
                    .map(|entry| quoted(&wire_bytes(&entry.name)) + mark(entry))
                    .collect();
                side_by_side(&names, columns).into_bytes()
            }
            None => {
                let mut text = Vec::new();
                for entry in entries {
                    text.extend(self.name(entry));
                    text.push(b'\n');
                }
                text
            }
        }
    }

    fn name(&self, entry: &Entry) -> Vec<u8> {
        let raw = wire_bytes(&entry.name);
        if self.quoted {
            (quoted(&raw) + mark(entry)).into_bytes()
        } else {
            raw
        }
    }

    fn long_lines(&self, entries: &[Entry]) -> Vec<u8> {
        let sizes: Vec<String> = entries.iter().map(|entry| self.size(entry)).collect();
        let width = sizes.iter().map(String::len).max().unwrap_or(0);
        let mut text = Vec::new();
        for (entry, size) in entries.iter().zip(&sizes) {
            let kind = match entry.kind {
                Kind::Dir => 'd',
                Kind::File => '-',
                Kind::Link => 'l',
                Kind::Other => '?',
            };
            let time = format::local_time(entry.mtime);
            text.extend(format!("{kind} {size:>width$} {time} ").into_bytes());
            text.extend(self.name(entry));
            if let Some(digest) = &entry.digest {
                text.extend(format!("  {digest}").into_bytes());
            }
            text.push(b'\n');
        }
        text
    }

    fn size(&self, entry: &Entry) -> String {
        match entry.kind {
            Kind::File if self.human => format::short_size(entry.size),
            Kind::File => entry.size.to_string(),
            _ => "-".to_owned(),
        }
    }
}

/// What a person sees behind a name, as `ls -p` shows it.
fn mark(entry: &Entry) -> &'static str {
    if entry.kind == Kind::Dir { "/" } else { "" }
}

/// Names in as few lines as fit, sorted downwards as `ls` does.
fn side_by_side(names: &[String], columns: usize) -> String {
    let widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
    let most = (columns / (1 + GAP)).clamp(1, names.len().max(1));
    let (rows, column_widths) = (1..=most)
        .rev()
        .map(|count| {
            let rows = names.len().div_ceil(count).max(1);
            let of_columns: Vec<usize> = widths
                .chunks(rows)
                .map(|column| column.iter().copied().max().unwrap_or(0))
                .collect();
            (rows, of_columns)
        })
        .find(|(_, of_columns)| {
            let gaps = GAP * of_columns.len().saturating_sub(1);
            of_columns.len() <= 1 || of_columns.iter().sum::<usize>() + gaps <= columns
        })
        .unwrap_or((names.len(), Vec::new()));

    let mut text = String::new();
    for row in 0..rows.min(names.len()) {
        let cells = names.iter().zip(&widths).skip(row).step_by(rows);
        let mut line = String::new();
        for ((name, width), column) in cells.zip(&column_widths) {
            line.push_str(name);
            line.push_str(&" ".repeat(column - width + GAP));
        }
        text.push_str(line.trim_end_matches(' '));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use ftp_client::Timestamp;

    use super::*;

    fn entry(name: &[u8], kind: Kind) -> Entry {
        Entry {
            name: ftp_proto::encode_name(name),
            kind,
            size: 1536,
            mtime: Timestamp { seconds: 0, nanos: 0 },
            digest: None,
        }
    }

    const PIPE: Layout = Layout {
        long: false,
        human: false,
        columns: None,
        quoted: false,
    };

    #[test]
    fn a_pipe_gets_the_bytes_of_the_names() {
        let entries = [entry(b"a b\xff", Kind::File), entry(b"dir", Kind::Dir)];
        assert_eq!(PIPE.text(&entries), b"a b\xff\ndir\n");
    }

    #[test]
    fn a_terminal_gets_what_a_shell_can_read() {
        let entries = [entry(b"a b\xff", Kind::File), entry(b"dir", Kind::Dir)];
        let layout = Layout { quoted: true, ..PIPE };
        assert_eq!(layout.text(&entries), b"$'a b\\xff'\ndir/\n");
    }

    #[test]
    fn long_lines_have_kind_size_time_and_name() {
        let entries = [entry(b"film", Kind::File), entry(b"dir", Kind::Dir)];
        let layout = Layout {
            long: true,
            human: true,
            ..PIPE
        };
        let text = String::from_utf8(layout.text(&entries)).unwrap();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        assert_eq!((words[0][0], words[0][1], words[0][4]), ("-", "1.5K", "film"));
        assert_eq!(words[1].first(), Some(&"d"));
        assert_eq!(words[1].last(), Some(&"dir"));
    }

    #[test]
    fn names_stand_side_by_side_as_far_as_they_fit() {
        let names: Vec<String> = ["a", "bb", "漢字", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(side_by_side(&names, 80), "a  bb  漢字  d  e\n");
        assert_eq!(side_by_side(&names, 9), "a     d\nbb    e\n漢字\n");
        assert_eq!(side_by_side(&names, 1), "a\nbb\n漢字\nd\ne\n");
        assert_eq!(side_by_side(&[], 80), "");
    }

    #[test]
    fn a_name_wider_than_the_terminal_has_a_line_of_its_own() {
        let names = vec!["x".repeat(100), "y".to_owned()];
        assert_eq!(side_by_side(&names, 80).lines().count(), 2);
    }
}
