//! Text from others, as the log and the terminal get it.

use crate::config::{parse_duration, parse_size, short_size, show_duration, show_size};
use crate::escape::{is_hazardous, printable, value};

/// Any text: nothing that steers a terminal or ends a line gets out, and units read back what they show.
pub fn escape(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let shown = printable(text);
    assert!(is_safe(&shown), "{shown:?}");
    let quoted = value(text);
    assert!(is_safe(&quoted), "{quoted:?}");
    if quoted.starts_with('"') && quoted.len() > 1 {
        // The quotes inside are escaped: a reader finds the end of the value.
        let inner = quoted[1..quoted.len() - 1].replace("\\\\", "").replace("\\\"", "");
        assert!(quoted.ends_with('"') && !inner.contains('"'), "{quoted}");
    } else {
        assert!(
            !quoted.contains(char::is_whitespace) && !quoted.contains('='),
            "{quoted:?}"
        );
    }
    if let Ok(bytes) = parse_size(text) {
        assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        short_size(bytes);
    }
    if let Ok(time) = parse_duration(text) {
        assert_eq!(parse_duration(&show_duration(time)), Ok(time));
    }
}

/// Where files cost no disk, if there is such a place.
pub(crate) fn memory() -> std::path::PathBuf {
    let shared = std::path::Path::new("/dev/shm");
    if shared.is_dir() {
        shared.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// Whether text may go to a terminal as one line.
pub(crate) fn is_safe(text: &str) -> bool {
    !text.contains(is_hazardous)
}
