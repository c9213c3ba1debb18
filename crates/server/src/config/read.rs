//! From TOML to values: one table at a time, every key asked for by name, the rest reported.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, FaultList, check, parse_duration, parse_frequency, parse_rate, parse_size, server, user};

/// A name that is this similar to a known one was probably meant to be it (Jaro-Winkler, 0 to 1).
const SIMILAR: f64 = 0.75;

/// What is wrong with a value, and what to do about it.
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl From<String> for Complaint {
    fn from(message: String) -> Self {
        Self { message, hint: None }
    }
}

/// The whole file. `None` when it is not TOML, which is then among the faults.
pub(crate) fn document(path: &Path, text: &str, faults: &mut FaultList<'_>) -> Option<Config> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        faults.add(error.span().unwrap_or(0..0), message, None);
    }
    if !errors.is_empty() {
        // What could be recovered may lack keys or have them in the wrong table: it would only
        // produce faults that are none.
        return None;
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut root = Section::new("", Some(document.get_ref()));
    let server = server::read(root.table("server", faults), directory, faults);
    let (users, homes) = user::read_all(&root.table("users", faults), &server, directory, faults);
    root.finish(faults);
    let config = Config {
        file: path.to_owned(),
        server,
        users,
    };
    check::homes(&config, &homes, faults);
    Some(config)
}

/// One table while it is read.
pub(crate) struct Section<'d> {
    /// The dotted name, empty for the whole document.
    name: String,
    table: Option<&'d DeTable<'d>>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    pub(crate) fn new(name: impl Into<String>, table: Option<&'d DeTable<'d>>) -> Self {
        Self {
            name: name.into(),
            table,
            known: Vec::new(),
        }
    }

    /// The keys and values as they stand, for a table whose keys are names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'d str, Range<usize>, &'d Spanned<DeValue<'d>>)> + use<'d> {
        let table = self.table;
        table
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.get_ref().as_ref(), key.span(), value))
    }

    /// The table below `key`; an absent one reads as an empty one.
    pub(crate) fn table(&mut self, key: &'static str, faults: &mut FaultList<'_>) -> Self {
        let name = if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        };
        let table = self.value(key).and_then(|value| as_table(&name, value, faults));
        Self::new(name, table)
    }

    /// The value of `key` as `convert` reads it; `None` when it is absent or wrong.
    pub(crate) fn take<T, E: Into<Complaint>>(
        &mut self,
        key: &'static str,
        faults: &mut FaultList<'_>,
        convert: impl FnOnce(&DeValue<'_>) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.value(key)?;
        match convert(value.get_ref()) {
            Ok(converted) => Some(converted),
            Err(complaint) => {
                let Complaint { message, hint } = complaint.into();
                faults.add(value.span(), format!("`{key}`: {message}"), hint);
                None
            }
        }
    }

    /// Where the value of `key` stands, for a fault that concerns several keys.
    pub(crate) fn place(&self, key: &str) -> Option<Range<usize>> {
        Some(self.table?.get(key)?.span())
    }

    /// Reports every key that nobody has asked for.
    pub(crate) fn finish(self, faults: &mut FaultList<'_>) {
        for (key, place, _) in self.entries() {
            if self.known.contains(&key) {
                continue;
            }
            let shown = crate::escape::printable(key);
            let message = if self.name.is_empty() {
                format!("unknown table or key `{shown}`")
            } else {
                format!("unknown key `{shown}` in [{}]", self.name)
            };
            let hint = match closest(key, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known are {}", quoted(&self.known)),
            };
            faults.add(place, message, Some(hint));
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.push(key);
        self.table?.get(key)
    }
}

/// The table that `value` is, or a fault.
pub(crate) fn as_table<'d>(
    name: &str,
    value: &'d Spanned<DeValue<'d>>,
    faults: &mut FaultList<'_>,
) -> Option<&'d DeTable<'d>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        let found = value.get_ref().type_str();
        faults.add(
            value.span(),
            format!("`{name}` must be a table, written [{name}], not {}", article(found)),
            None,
        );
    }
    table
}

pub(crate) fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(expected("a text in quotes", value)),
    }
}

pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

/// A size of at least `least` bytes.
pub(crate) fn size(least: u64) -> impl FnOnce(&DeValue<'_>) -> Result<u64, String> {
    move |value| {
        let bytes = parse_size(unit_text("a size in quotes, as in \"10 GiB\"", value)?)?;
        if bytes < least {
            return Err(format!("must be at least {}", super::show_size(least)));
        }
        Ok(bytes)
    }
}

/// Bytes a second.
pub(crate) fn rate(value: &DeValue<'_>) -> Result<u64, String> {
    parse_rate(unit_text("a rate in quotes, as in \"10 MiB/s\"", value)?)
}

/// Times a second.
pub(crate) fn frequency(value: &DeValue<'_>) -> Result<u64, String> {
    parse_frequency(unit_text("a rate in quotes, as in \"200/s\"", value)?)
}

/// The text for what has no limit.
const UNLIMITED: &str = "unlimited";

/// A value, or `None` for the word that stands for no limit.
pub(crate) fn or_unlimited<T>(
    convert: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Result<Option<T>, String> {
    move |value| match value.as_str() {
        Some(UNLIMITED) => Ok(None),
        _ => convert(value).map(Some),
    }
}

/// A time that may be zero.
pub(crate) fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    parse_duration(unit_text("a time in quotes, as in \"15 min\"", value)?)
}

/// A time that may not be zero.
pub(crate) fn time_limit(value: &DeValue<'_>) -> Result<Duration, String> {
    match duration(value)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        time => Ok(time),
    }
}

/// A time that may not be zero, or "off".
pub(crate) fn optional_time(value: &DeValue<'_>) -> Result<Option<Duration>, String> {
    match value.as_str() {
        Some("off") => Ok(None),
        _ => time_limit(value).map(Some),
    }
}

/// A whole number within bounds.
pub(crate) fn count<T: TryFrom<u64>>(least: u64, most: u64) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let number = value
            .as_integer()
            .and_then(|digits| i128::from_str_radix(digits.as_str(), digits.radix()).ok())
            .ok_or_else(|| expected("a whole number", value))?;
        u64::try_from(number)
            .ok()
            .filter(|number| (least..=most).contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("must be from {least} to {most}, not {number}"))
    }
}

/// One of a few words.
pub(crate) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl FnOnce(&DeValue<'_>) -> Result<T, Complaint> {
    move |value| {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let text = value.as_str().ok_or_else(|| expected(&quoted(&names), value))?;
        match words.iter().find(|(name, _)| *name == text) {
            Some((_, meaning)) => Ok(*meaning),
            None => Err(unknown_word(text, &names)),
        }
    }
}

/// The complaint about a word that is none of `names`.
pub(crate) fn unknown_word(text: &str, names: &[&'static str]) -> Complaint {
    Complaint {
        message: format!("`{}` is none of {}", crate::escape::printable(text), quoted(names)),
        hint: closest(text, names.iter().copied()).map(|meant| format!("did you mean `{meant}`?")),
    }
}

/// A path, made absolute against `directory`.
pub(crate) fn path(directory: &Path) -> impl FnOnce(&DeValue<'_>) -> Result<PathBuf, String> + use<> {
    let directory = directory.to_owned();
    move |value| {
        let text = text(value)?;
        if text.is_empty() || text.contains('\0') {
            return Err("must name a path".to_owned());
        }
        Ok(plain(&directory.join(text)))
    }
}

/// The path without `.` and doubled separators. `..` stays: what it means depends on links.
pub(crate) fn plain(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| *part != std::path::Component::CurDir)
        .collect()
}

/// The known name that `name` was probably meant to be.
fn closest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn unit_text<'v>(wanted: &str, value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| expected(wanted, value))
}

fn expected(wanted: &str, value: &DeValue<'_>) -> String {
    format!("expected {wanted}, found {}", article(value.type_str()))
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {kind}")
}

pub(crate) fn quoted(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
