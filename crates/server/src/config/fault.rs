//! What is wrong with a configuration, all of it at once, each with its place.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Every fault found in one configuration file. Its text has one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults {
    /// The file.
    pub file: PathBuf,
    /// The faults in the order of the file; at least one.
    pub faults: Vec<ConfigFault>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Line and column, both from 1, the column in characters. `None` when the whole file is meant.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ConfigFaults {
    pub(crate) fn unreadable(file: &Path, error: &io::Error) -> Self {
        let shown = file.display();
        let (message, hint) = match error.kind() {
            io::ErrorKind::NotFound => (
                "there is no such file".to_owned(),
                Some(format!("`ftpd --config {shown} init` writes a commented one")),
            ),
            io::ErrorKind::PermissionDenied => (
                "this user may not read it".to_owned(),
                Some("run ftpd as the user who owns the file".to_owned()),
            ),
            io::ErrorKind::InvalidData => ("it is not UTF-8 text".to_owned(), None),
            _ => (format!("it cannot be read: {error}"), None),
        };
        Self {
            file: file.to_owned(),
            faults: vec![ConfigFault {
                position: None,
                message,
                hint,
            }],
        }
    }

    /// One line for each fault, as in the text of the whole.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(|fault| {
            let file = self.file.display();
            match fault.position {
                Some((line, column)) => format!("{file}:{line}:{column}: {fault}"),
                None => format!("{file}: {fault}"),
            }
        })
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// Faults while a text is read.
pub(crate) struct FaultList<'t> {
    text: &'t str,
    /// With the place in bytes, by which they are sorted.
    found: Vec<(Range<usize>, ConfigFault)>,
}

impl<'t> FaultList<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            found: Vec::new(),
        }
    }

    /// Notes a fault at a place given in bytes of the text.
    pub(crate) fn add(&mut self, at: Range<usize>, message: impl Into<String>, hint: Option<String>) {
        let position = Some(self.position(at.start));
        let message = message.into();
        self.found.push((
            at,
            ConfigFault {
                position,
                message,
                hint,
            },
        ));
    }

    /// The configuration, if there was no fault.
    pub(crate) fn into_result<T>(mut self, file: &Path, value: Option<T>) -> Result<T, ConfigFaults> {
        self.found.sort_by_key(|(at, _)| at.start);
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(ConfigFaults {
                file: file.to_owned(),
                faults: self.found.into_iter().map(|(_, fault)| fault).collect(),
            }),
        }
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before[start..].chars().count() + 1)
    }
}
