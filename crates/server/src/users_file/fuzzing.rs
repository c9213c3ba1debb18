//! Any configuration: read, shown, and changed by `ftpd user`.

use std::path::Path;

use ftp_proto::scram::Verifier;

use super::edit::{self, Change, EditError, NewUser};
use super::{Changed, brings_fault};
use crate::config::{Config, Rights, show};
use crate::fuzzing::is_safe;

/// A verifier that stands in no input.
const VERIFIER: &str = "SCRAM-SHA-256$4096:bmV3IHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\
                        :AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// The first byte says which change is tried; the rest is `users.toml`.
pub fn users(input: &[u8]) {
    let Some((choice, text)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let before = Config::parse(path(), text);
    match &before {
        Ok(config) => {
            let shown = show(config);
            assert!(shown.lines().all(is_safe), "{shown:?}");
            config
                .warnings()
                .iter()
                .for_each(|warning| assert!(is_safe(warning), "{warning:?}"));
        }
        Err(faults) => {
            assert!(!faults.faults.is_empty());
            faults.lines().for_each(|line| assert!(is_safe(&line), "{line:?}"));
        }
    }
    let change = change(*choice);
    if let Ok(edited) = edit::apply(text, &change) {
        check(text, &edited, &change);
        let after = Config::parse(path(), &edited);
        let was_whole = before.is_ok();
        let brings = after
            .as_ref()
            .err()
            .is_some_and(|after| brings_fault(after, before.as_ref().err()));
        let changed = Changed { before, after };
        match edit::verify(&change, &changed) {
            // Two users may get one home, or one more than may be.
            Ok(()) => assert!(!was_whole || brings || changed.after.is_ok()),
            Err(EditError::Unsafe(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

fn path() -> &'static Path {
    Path::new("/nowhere/users.toml")
}

fn change(choice: u8) -> Change {
    let name = ["alice", "bob", "new", "a.b@c"][usize::from(choice / 3) % 4].to_owned();
    let verifier: Verifier = VERIFIER.parse().expect("it is right");
    match choice % 3 {
        0 => Change::Add(NewUser {
            name,
            verifier,
            quota: (choice & 64 != 0).then_some(5 << 30),
            max_files: (choice & 64 != 0).then_some(7),
            home: (choice & 128 != 0).then(|| "/srv/n".to_owned()),
            rights: (choice & 128 != 0).then_some(Rights {
                delete: false,
                ..Rights::ALL
            }),
        }),
        1 => Change::Passwd { name, verifier },
        _ => Change::Remove { name },
    }
}

/// What was changed is what was meant, whatever else is wrong with the file.
fn check(text: &str, edited: &str, change: &Change) {
    let (mut before, mut after) = (parsed(text), parsed(edited));
    let (name, written) = match change {
        Change::Add(user) => (&user.name, Some(&user.verifier)),
        Change::Passwd { name, verifier } => (name, Some(verifier)),
        Change::Remove { name } => (name, None),
    };
    let verifier = user(&mut after, name).and_then(|user| user.get("verifier")).cloned();
    let expected = written.map(|verifier| toml::Value::String(verifier.to_string()));
    assert_eq!(verifier, expected, "{edited}");
    for table in [&mut before, &mut after] {
        match change {
            Change::Passwd { .. } => drop(user(table, name).map(|user| user.remove("verifier"))),
            _ => drop(users_of(table).map(|users| users.remove(name))),
        }
        // A table of users that holds none says nothing.
        if users_of(table).is_some_and(|users| users.is_empty()) {
            table.remove("users");
        }
    }
    assert_eq!(format!("{before:?}"), format!("{after:?}"), "{edited}");
    assert_eq!(text.starts_with('\u{feff}'), edited.starts_with('\u{feff}'), "{edited}");
    if !matches!(change, Change::Remove { .. }) {
        let comments = |text: &str| {
            let mut lines: Vec<_> = text
                .trim_start_matches('\u{feff}')
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with('#'))
                .map(str::to_owned)
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(comments(text), comments(edited), "{edited}");
    }
}

fn parsed(text: &str) -> toml::Table {
    text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn users_of(table: &mut toml::Table) -> Option<&mut toml::Table> {
    table.get_mut("users")?.as_table_mut()
}

fn user<'t>(table: &'t mut toml::Table, name: &str) -> Option<&'t mut toml::Table> {
    users_of(table)?.get_mut(name)?.as_table_mut()
}
