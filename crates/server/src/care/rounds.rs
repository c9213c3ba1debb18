//! Which part of whose files is to be scrubbed next, across restarts.
//!
//! Each home has [`PARTS`] parts, and an interval as many slots; in each slot one part is due. What is
//! kept is how far each user's home is, as a time, in `scrub.json` of the state directory. A server that
//! was away catches up slot by slot, at most one interval.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::tls::write_private;

/// How many parts a home has: what a restart may have to do again, and how often the names of a home are
/// looked through in an interval.
pub(super) const PARTS: u64 = 64;

pub(crate) const FILE: &str = "scrub.json";
const VERSION: u64 = 1;
/// The longest wait before the configuration and the clock are looked at again.
const MAX_WAIT: Duration = Duration::from_secs(60 * 60);
/// The shortest slot; a shorter interval is not kept up with anyhow.
const MIN_SLOT_MILLIS: u64 = 10;

/// How far the scrub of each home is.
#[derive(Debug)]
pub(super) struct Rounds {
    file: PathBuf,
    /// By user: all slots that ended by this time, in milliseconds since 1970, are done.
    done: BTreeMap<String, u64>,
    /// Whether the file says something else.
    is_unsaved: bool,
}

#[derive(Serialize, Deserialize)]
struct Form {
    version: u64,
    done_until_ms: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

impl Rounds {
    /// Reads how far the last server came.
    ///
    /// # Errors
    /// A file of another version, or a damaged one: it is left as it is.
    pub(super) fn load(state: &Path) -> Result<Self> {
        let file = state.join(FILE);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self {
                    file,
                    done: BTreeMap::new(),
                    is_unsaved: false,
                });
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let shown = file.display();
        let damaged = || format!("{shown} is damaged; remove it, and the scrub begins anew");
        let VersionOnly { version } = serde_json::from_slice(&text).with_context(damaged)?;
        if version != VERSION {
            bail!(
                "{shown} has version {version}, and this ftpd knows version {VERSION}; use the ftpd that wrote it, or \
                 move the file away, and the scrub begins anew"
            );
        }
        let form: Form = serde_json::from_slice(&text).with_context(damaged)?;
        Ok(Self {
            file,
            done: form.done_until_ms,
            is_unsaved: false,
        })
    }

    /// Whose home is furthest behind, which of its parts is due, and how long until then.
    pub(super) fn next<'u>(
        &mut self,
        users: impl Iterator<Item = &'u str>,
        interval: Duration,
        now: SystemTime,
    ) -> (String, u64, Duration) {
        let slot = slot_millis(interval);
        let now = millis(now);
        // The slot that ends next, for who is new.
        let present = now - now % slot;
        let oldest = present.saturating_sub(slot * PARTS);
        let mut next: Option<(u64, &str)> = None;
        for user in users {
            let done = self.done.entry(user.to_owned()).or_insert_with(|| {
                self.is_unsaved = true;
                present
            });
            // A clock that was wrong, or another interval.
            if *done > now {
                *done = present;
            }
            *done = (*done).max(oldest);
            let done = *done - *done % slot;
            if next.is_none_or(|(least, _)| done < least) {
                next = Some((done, user));
            }
        }
        let Some((done, user)) = next else {
            return (String::new(), 0, MAX_WAIT);
        };
        let wait = Duration::from_millis((done + slot).saturating_sub(now)).min(MAX_WAIT);
        (user.to_owned(), (done / slot) % PARTS, wait)
    }

    /// Notes that the part of the user that was due is done.
    pub(super) fn done(&mut self, user: &str, interval: Duration) {
        let slot = slot_millis(interval);
        if let Some(done) = self.done.get_mut(user) {
            *done = *done - *done % slot + slot;
            self.is_unsaved = true;
        }
    }

    /// Makes durable what was noted. Users who are no more are forgotten.
    ///
    /// # Errors
    /// When the file cannot be written; the next call tries again.
    pub(super) fn save<'u>(&mut self, users: impl Iterator<Item = &'u str>) -> Result<()> {
        if !self.is_unsaved {
            return Ok(());
        }
        let known: Vec<_> = users.collect();
        self.done.retain(|name, _| known.contains(&name.as_str()));
        let form = Form {
            version: VERSION,
            done_until_ms: self.done.clone(),
        };
        let mut text = serde_json::to_vec(&form).context("numbers and names are always JSON")?;
        text.push(b'\n');
        write_private(&self.file, &text)?;
        self.is_unsaved = false;
        Ok(())
    }
}

fn slot_millis(interval: Duration) -> u64 {
    let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    (millis / PARTS).max(MIN_SLOT_MILLIS)
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn at(slots: u64) -> SystemTime {
        UNIX_EPOCH + DAY * 20_000 + Duration::from_millis(slots * slot_millis(DAY))
    }

    #[test]
    fn each_part_is_due_once_in_an_interval_also_across_restarts() {
        let state = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        for slot in 0..=PARTS {
            // A server that runs for a moment in each slot.
            let mut rounds = Rounds::load(state.path()).unwrap();
            loop {
                let (user, part, wait) = rounds.next(["alice"].into_iter(), DAY, at(slot));
                if !wait.is_zero() {
                    break;
                }
                seen.push(part);
                rounds.done(&user, DAY);
            }
            rounds.save(["alice"].into_iter()).unwrap();
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..PARTS).collect::<Vec<_>>());
    }

    #[test]
    fn who_is_furthest_behind_is_next_and_nobody_is_more_than_an_interval_behind() {
        let state = tempfile::tempdir().unwrap();
        let mut rounds = Rounds::load(state.path()).unwrap();
        rounds.next(["a"].into_iter(), DAY, at(0));
        let users = || ["a", "b"].into_iter();
        let (user, _, wait) = rounds.next(users(), DAY, at(1000));
        assert_eq!((user.as_str(), wait), ("a", Duration::ZERO));
        for _ in 0..PARTS {
            let (user, _, wait) = rounds.next(users(), DAY, at(1000));
            assert_eq!((user.as_str(), wait), ("a", Duration::ZERO));
            rounds.done(&user, DAY);
        }
        assert!(!rounds.next(users(), DAY, at(1000)).2.is_zero());
        assert!(!rounds.next(users(), DAY, at(10)).2.is_zero(), "a clock that was wrong");
        assert_eq!(rounds.next([].into_iter(), DAY, at(0)).2, MAX_WAIT);
    }

    #[test]
    fn state_of_another_version_or_a_damaged_one_is_refused_and_left_alone() {
        let state = tempfile::tempdir().unwrap();
        for (text, reason) in [
            ("{\"version\":2,\"anything\":[]}", "has version 2"),
            ("{\"version\":1}", "is damaged"),
            ("", "is damaged"),
        ] {
            let file = state.path().join(FILE);
            std::fs::write(&file, text).unwrap();
            let error = Rounds::load(state.path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }
}
