//! What each user did, in figures.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::entry::Entry;
use crate::config::short_size;
use crate::escape::printable;
use crate::table::table;

/// What stands in the table for failed logins under names that no user has.
const NOBODY: &str = "(no such user)";

/// Figures by user.
pub(super) struct Summary {
    users: BTreeMap<String, Figures>,
    /// Failed logins under names that no user has: anybody can claim any number of names, so they
    /// share one row.
    nobody: Figures,
}

#[derive(Default, Serialize)]
struct Figures {
    logins: u64,
    uploads: u64,
    bytes_up: u64,
    downloads: u64,
    bytes_down: u64,
    /// Failed and refused requests, transfers and logins.
    failures: u64,
    #[serde(serialize_with = "moment")]
    last_seen: Option<Timestamp>,
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn moment<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(&format_args!("{time:.3}")),
        None => serializer.serialize_none(),
    }
}

impl Summary {
    pub(super) fn new<'n>(users: impl Iterator<Item = &'n str>) -> Self {
        Self {
            users: users.map(|name| (name.to_owned(), Figures::default())).collect(),
            nobody: Figures::default(),
        }
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        let Some(user) = entry.text("user") else {
            return;
        };
        let figures = if entry.event() == "login_failed" {
            self.users.get_mut(user).unwrap_or(&mut self.nobody)
        } else {
            self.users.entry(user.to_owned()).or_default()
        };
        figures.add(entry);
    }

    /// The table for a person, in local time. Users without any event are in it too.
    pub(super) fn table(&self) -> String {
        let nobody = (NOBODY, &self.nobody);
        let users = self.users.iter().map(|(name, figures)| (name.as_str(), figures));
        let rows: Vec<_> = users
            .chain((self.nobody.failures > 0).then_some(nobody))
            .map(|(name, figures)| figures.row(name))
            .collect();
        let headings = [
            "USER",
            "LOGINS",
            "UPLOADS",
            "SENT UP",
            "DOWNLOADS",
            "SENT DOWN",
            "FAILURES",
            "LAST SEEN",
        ];
        table(&headings, &rows)
    }

    /// One JSON array; the row of names that no user has carries the user `null`.
    pub(super) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Row<'a> {
            user: Option<&'a str>,
            #[serde(flatten)]
            figures: &'a Figures,
        }
        let users = self.users.iter().map(|(name, figures)| Row {
            user: Some(name),
            figures,
        });
        let nobody = (self.nobody.failures > 0).then_some(Row {
            user: None,
            figures: &self.nobody,
        });
        let rows: Vec<_> = users.chain(nobody).collect();
        let mut text = serde_json::to_string_pretty(&rows).expect("texts and numbers always become JSON");
        text.push('\n');
        text
    }
}

impl Figures {
    fn add(&mut self, entry: &Entry) {
        let bytes = entry.number("bytes").unwrap_or(0);
        match (entry.event(), entry.text("op")) {
            ("login", _) => self.logins += 1,
            ("transfer", Some("put")) => {
                self.bytes_up += bytes;
                self.uploads += u64::from(!entry.failed());
            }
            ("transfer", Some("get")) => {
                self.bytes_down += bytes;
                self.downloads += u64::from(!entry.failed());
            }
            _ => {}
        }
        self.failures += if entry.event() == "held_back" {
            entry.number("lines").unwrap_or(0)
        } else {
            u64::from(entry.failed())
        };
        self.last_seen = self.last_seen.max(entry.time());
    }

    fn row(&self, name: &str) -> [String; 8] {
        let last_seen = self.last_seen.map_or_else(
            || "never".to_owned(),
            |time| {
                time.to_zoned(TimeZone::system())
                    .strftime("%Y-%m-%d %H:%M:%S")
                    .to_string()
            },
        );
        [
            printable(name).into_owned(),
            self.logins.to_string(),
            self.uploads.to_string(),
            short_size(self.bytes_up),
            self.downloads.to_string(),
            short_size(self.bytes_down),
            self.failures.to_string(),
            last_seen,
        ]
    }
}
