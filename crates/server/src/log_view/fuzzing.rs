//! `ftpd log` on any file.

use std::path::Path;

use super::*;
use crate::fuzzing::is_safe;

/// The first line says what is asked for, in letters: `f` only failures, `j` JSON, `s` a summary, `n` the last
/// two lines, `u` only alice, `o` only uploads. The rest is the file of the log.
pub fn log(input: &[u8]) {
    let (asked, text) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[][..]),
    };
    let asks = |letter: u8| asked.contains(&letter);
    let args = LogArgs {
        user: asks(b'u').then(|| "alice".to_owned()),
        op: if asks(b'o') { vec!["put".to_owned()] } else { Vec::new() },
        failed: asks(b'f'),
        json: asks(b'j'),
        lines: asks(b'n').then_some(2),
        ..LogArgs::default()
    };
    let dir = tempfile::tempdir_in(crate::fuzzing::memory()).expect("a directory");
    let path = dir.path().join("ftpd.jsonl");
    std::fs::write(&path, text).expect("it can be written");
    let open = || Files::open(&path, None).expect("it can be read");
    let mut out = Vec::new();
    if asks(b's') {
        let config = Config::parse(Path::new("/users.toml"), "").expect("nothing is said");
        summarize(&config, open(), &args, &mut out).expect("a buffer takes anything");
        if args.json {
            let rows: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
            assert!(rows.is_array());
            return;
        }
    } else {
        let broken = show(&path, open(), &args, &mut out).expect("a buffer takes anything");
        let lines = text.split(|byte| *byte == b'\n').count();
        let shown = out.iter().filter(|byte| **byte == b'\n').count();
        assert!(shown <= args.lines.unwrap_or(usize::MAX) && shown as u64 + broken <= lines as u64);
    }
    let shown = String::from_utf8(out).expect("it is text");
    for line in shown.lines() {
        if args.json {
            assert!(
                text.split(|byte| *byte == b'\n')
                    .any(|written| written == line.as_bytes())
            );
        } else {
            assert!(is_safe(line), "{line:?}");
        }
    }
}
