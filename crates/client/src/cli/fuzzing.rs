//! Entry points of the fuzz targets that concern the program: lines of the shell, patterns, what is shown.

use std::time::Duration;

use ftp_client::{RemotePath, Timestamp};

use super::format;
use super::quote::{printable, quoted};

#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "`cargo fuzz` reaches it"))]
pub use super::profile::fuzzing::profile;
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "`cargo fuzz` reaches it"))]
pub use super::shell::fuzzing::shell;

/// Names, messages and figures from elsewhere, as the terminal gets them.
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "`cargo fuzz` reaches it"))]
pub fn terminal(input: &[u8]) {
    assert_harmless(&quoted(input));
    if let Ok(text) = std::str::from_utf8(input) {
        assert_harmless(&printable(text));
        if let Ok(path) = RemotePath::from_wire(text) {
            assert_harmless(&quoted(path.to_os_string().as_encoded_bytes()));
            assert_eq!(
                RemotePath::new(&path.to_os_string()).to_os_string(),
                path.to_os_string()
            );
            assert!(!path.file_name_wire().contains('/'));
        }
    }
    let figures: Vec<u64> = input
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| u64::from_le_bytes(*bytes))
        .collect();
    if let [first, second, ..] = figures[..] {
        let time = Duration::from_nanos(second);
        let moment = Timestamp {
            seconds: first.cast_signed(),
            nanos: u32::try_from(second % 1_000_000_000).unwrap_or(0),
        };
        for text in [
            format::size(first),
            format::exact_size(first),
            format::rate(first, time),
            format::per_second(f64::from_bits(second)),
            format::span(time),
            format::remaining(Duration::from_secs(first)),
            format::local_time(moment),
            format::utc_time(moment).unwrap_or_default(),
        ] {
            assert_harmless(&text);
        }
        assert!(format::short_size(first).len() <= 5);
    }
}

/// Nothing in it steers the terminal, ends the line, or turns it around.
fn assert_harmless(text: &str) {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    assert!(!text.contains(steers), "{text:?}");
}

#[cfg(test)]
#[path = "../../../../fuzz/shared/replay.rs"]
mod replay;

#[cfg(test)]
#[test]
fn every_committed_line_keeps_the_promises() {
    replay::replay("profile", profile);
    replay::replay("shell", shell);
    replay::replay("terminal", terminal);
}
