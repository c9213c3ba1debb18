//! The text of the configuration before and after a change of one user.

use ftp_proto::scram::Verifier;
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, Value, value};

use super::Changed;
use crate::config::{Config, Rights, show_size};

/// One change of the file.
#[derive(Debug)]
pub(crate) enum Change {
    /// Adds a user who does not exist.
    Add(NewUser),
    /// Gives an existing user another password.
    Passwd { name: String, verifier: Verifier },
    /// Removes an existing user; the files stay.
    Remove { name: String },
}

/// What is written about a new user. What is `None` is left to the defaults.
#[derive(Debug)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) verifier: Verifier,
    pub(crate) quota: Option<u64>,
    pub(crate) max_files: Option<u64>,
    pub(crate) home: Option<String>,
    pub(crate) rights: Option<Rights>,
}

/// Why a change is impossible.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error("user `{0}` exists already; `user passwd {0}` changes the password")]
    Exists(String),
    #[error("`users` in it is no table, so a user can be written only by hand")]
    Form,
    #[error("there is no user `{0}`{hint}", hint = known(.1))]
    Missing(String, Vec<String>),
    #[error("it is not valid TOML; run `check`, and correct it first")]
    Syntax(#[source] toml_edit::TomlError),
    #[error("its form is too unusual to be changed safely; change user `{0}` by hand")]
    Unsafe(String),
}

/// A byte order mark, as some editors put it in front of a text. The parser passes over it and does not write it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text with the change in it.
pub(super) fn apply(text: &str, change: &Change) -> Result<String, EditError> {
    let mut document: DocumentMut = text.parse().map_err(EditError::Syntax)?;
    match change {
        Change::Add(user) => add(&mut document, user)?,
        Change::Passwd { name, verifier } => passwd(&mut document, name, verifier)?,
        Change::Remove { name } => remove(&mut document, name)?,
    }
    let mut edited = document.to_string();
    if text.starts_with(BYTE_ORDER_MARK) && !edited.starts_with(BYTE_ORDER_MARK) {
        edited.insert(0, BYTE_ORDER_MARK);
    }
    Ok(edited)
}

/// Whether the change did to the users what it says and nothing else, as far as there were no faults.
pub(super) fn verify(change: &Change, changed: &Changed) -> Result<(), EditError> {
    let (Ok(before), Ok(after)) = (&changed.before, &changed.after) else {
        return Ok(());
    };
    let name = change.name();
    let others = |config: &Config| {
        let mut users = config.users.clone();
        users.remove(name);
        users
    };
    let written = after.users.get(name).map(|user| &user.verifier);
    if written == change.verifier() && others(before) == others(after) && before.server == after.server {
        return Ok(());
    }
    Err(EditError::Unsafe(name.to_owned()))
}

impl Change {
    fn name(&self) -> &str {
        match self {
            Self::Add(user) => &user.name,
            Self::Passwd { name, .. } | Self::Remove { name } => name,
        }
    }

    /// What the user's verifier is afterwards.
    fn verifier(&self) -> Option<&Verifier> {
        match self {
            Self::Add(user) => Some(&user.verifier),
            Self::Passwd { verifier, .. } => Some(verifier),
            Self::Remove { .. } => None,
        }
    }
}

fn add(document: &mut DocumentMut, user: &NewUser) -> Result<(), EditError> {
    let end = document.trailing().as_str().unwrap_or_default().to_owned();
    let users = document.as_table_mut().entry("users").or_insert_with(|| {
        let mut users = Table::new();
        users.set_implicit(true);
        Item::Table(users)
    });
    match users {
        Item::Table(users) => {
            absent(users, &user.name)?;
            let mut table = Table::new();
            fill(&mut table, user);
            // After everything, and so after the comments that end the file: those belong to the table
            // above them.
            table.set_position(Some(isize::MAX));
            let gap = if end.is_empty() || end.ends_with('\n') {
                "\n"
            } else {
                "\n\n"
            };
            table.decor_mut().set_prefix(format!("{end}{gap}"));
            users.insert(&user.name, Item::Table(table));
            document.set_trailing("");
        }
        Item::Value(Value::InlineTable(users)) => {
            absent(users, &user.name)?;
            let mut table = Table::new();
            fill(&mut table, user);
            users.insert(&user.name, Value::InlineTable(table.into_inline_table()));
        }
        Item::None | Item::Value(_) | Item::ArrayOfTables(_) => return Err(EditError::Form),
    }
    Ok(())
}

fn fill(table: &mut Table, user: &NewUser) {
    table["verifier"] = value(user.verifier.to_string());
    if let Some(bytes) = user.quota {
        table["quota"] = value(show_size(bytes));
    }
    if let Some(most) = user.max_files {
        table["max_files"] = value(i64::try_from(most).unwrap_or(i64::MAX));
    }
    if let Some(home) = &user.home {
        table["home"] = value(home);
    }
    if let Some(rights) = user.rights {
        table["rights"] = value(Array::from_iter(rights.names()));
    }
}

fn passwd(document: &mut DocumentMut, name: &str, verifier: &Verifier) -> Result<(), EditError> {
    let user = users(document, name)?
        .get_mut(name)
        .and_then(Item::as_table_like_mut)
        .ok_or(EditError::Form)?;
    let mut text = Value::from(verifier.to_string());
    match user.get_mut("verifier").and_then(Item::as_value_mut) {
        Some(old) => {
            *text.decor_mut() = old.decor().clone();
            *old = text;
        }
        None => {
            user.insert("verifier", Item::Value(text));
        }
    }
    Ok(())
}

fn remove(document: &mut DocumentMut, name: &str) -> Result<(), EditError> {
    let removed = users(document, name)?.remove(name);
    // Comments above the table stay: they may be about anything.
    if let Some(Item::Table(table)) = removed
        && let Some(comments) = table.decor().prefix().and_then(|prefix| prefix.as_str())
        && !comments.trim().is_empty()
    {
        keep(document, table.position(), comments);
    }
    Ok(())
}

/// Puts comments in front of the first table behind `position`, or at the end of the file.
fn keep(document: &mut DocumentMut, position: Option<isize>, comments: &str) {
    let join = |own: Option<&str>| format!("{comments}{}", own.unwrap_or_default());
    let next = next_position(document.as_table(), position);
    match next.and_then(|next| table_at(document.as_table_mut(), next)) {
        Some(table) => {
            let both = join(table.decor().prefix().and_then(|prefix| prefix.as_str()));
            table.decor_mut().set_prefix(both);
        }
        None => {
            let both = join(document.trailing().as_str());
            document.set_trailing(both);
        }
    }
}

/// The position of the first table with a header behind `position`.
fn next_position(table: &Table, position: Option<isize>) -> Option<isize> {
    tables(table)
        .flat_map(|child| {
            let own = child
                .position()
                .filter(|own| !child.is_implicit() && Some(*own) > position);
            own.into_iter().chain(next_position(child, position))
        })
        .min()
}

fn tables(table: &Table) -> impl Iterator<Item = &Table> {
    table.iter().filter_map(|(_, item)| item.as_table())
}

/// The table with a header at exactly this position.
fn table_at(table: &mut Table, position: isize) -> Option<&mut Table> {
    for (_, item) in table.iter_mut() {
        let Item::Table(child) = item else {
            continue;
        };
        if child.position() == Some(position) && !child.is_implicit() {
            return Some(child);
        }
        if let Some(found) = table_at(child, position) {
            return Some(found);
        }
    }
    None
}

/// The table of users, if `name` is among them.
fn users<'d>(document: &'d mut DocumentMut, name: &str) -> Result<&'d mut dyn TableLike, EditError> {
    let Some(item) = document.get_mut("users") else {
        return Err(EditError::Missing(name.to_owned(), Vec::new()));
    };
    let users = item.as_table_like_mut().ok_or(EditError::Form)?;
    if users.contains_key(name) {
        return Ok(users);
    }
    let names = users.iter().map(|(name, _)| name.to_owned()).collect();
    Err(EditError::Missing(name.to_owned(), names))
}

fn absent(users: &dyn TableLike, name: &str) -> Result<(), EditError> {
    if users.contains_key(name) {
        return Err(EditError::Exists(name.to_owned()));
    }
    Ok(())
}

/// The users there are, as the end of a sentence.
fn known(names: &[String]) -> String {
    /// More names would bury the sentence.
    const SHOWN: usize = 5;
    match names.len() {
        0 => ", nor any other; `user add` adds one".to_owned(),
        1..=SHOWN => format!("; there are {}", names.join(", ")),
        count => format!("; there are {count}, and `user list` shows them"),
    }
}
