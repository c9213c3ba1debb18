//! The clock of a home: seconds for which the home has been served, over all runs of the server.
//!
//! What expires is measured by it and by nothing else. It never jumps, whoever sets the machine's
//! clock to whatever, and it stands still while no server runs: nothing expires because a machine was
//! off for a while. It is kept in the reserved folder as `1 SECONDS`, and travels with the home.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::Dir;
use rustix::io::Errno;
use tokio::time::Instant;

use crate::disk;
use crate::error::{Error, Result};

const FILE: &str = "clock";
const TEMPORARY: &str = "clock.tmp";
const VERSION: &str = "1";
/// A version and twenty digits fit well.
const MAX_FILE_BYTES: usize = 64;

/// Seconds of a home's clock.
pub(crate) type Tick = u64;

pub(crate) struct HomeClock {
    /// What the clock showed at `since`.
    base: AtomicU64,
    since: Instant,
}

impl HomeClock {
    /// Goes on where the last run has stopped; at zero in a new home, or when the file was lost.
    ///
    /// # Errors
    ///
    /// [`Error::FormatVersion`] for a clock kept by another version.
    pub(crate) fn open(reserved: &Dir) -> Result<Self> {
        let fail = |errno: Errno| Error::io("read the clock of the home", FILE, errno);
        let base = match disk::open_file(reserved, OsStr::new(FILE)) {
            Ok(file) => {
                let mut buffer = [0; MAX_FILE_BYTES];
                let length = disk::read_at(&file, &mut buffer, 0).map_err(|error| Error::io("read", FILE, error))?;
                parse(buffer.get(..length).unwrap_or_default())?
            }
            Err(Errno::NOENT) => 0,
            Err(errno) => return Err(fail(errno)),
        };
        Ok(Self {
            base: AtomicU64::new(base),
            since: Instant::now(),
        })
    }

    /// What it shows.
    pub(crate) fn now(&self) -> Tick {
        self.base
            .load(Ordering::Relaxed)
            .saturating_add(self.since.elapsed().as_secs())
    }

    /// Something on disk bears this tick: the clock cannot have been behind it.
    pub(crate) fn at_least(&self, tick: Tick) {
        self.base.fetch_max(tick, Ordering::Relaxed);
    }

    /// Keeps what it shows, so that the next run goes on from there.
    pub(crate) fn save(&self, reserved: &Dir) -> Result<()> {
        let text = format!("{VERSION} {}\n", self.now());
        disk::replace_own(reserved, FILE, TEMPORARY, text.as_bytes())
            .map(drop)
            .map_err(|errno| Error::io("keep the clock of the home", FILE, errno))
    }
}

fn parse(text: &[u8]) -> Result<Tick> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let Some((version, ticks)) = text.trim_end().split_once(' ') else {
        // A power cut may leave it empty. What expires later than it might does no harm.
        return Ok(0);
    };
    if version != VERSION {
        return Err(Error::FormatVersion {
            what: "clock of the home",
            found: version.chars().filter(char::is_ascii_graphic).take(20).collect(),
            known: VERSION,
        });
    }
    Ok(ticks.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_counts_the_time_of_all_runs_and_no_other() {
        let temp = tempfile::tempdir().unwrap();
        let dir = disk::open_or_create_root(temp.path()).unwrap();
        let clock = HomeClock::open(&dir).unwrap();
        assert_eq!(clock.now(), 0);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(clock.now(), 100);
        clock.save(&dir).unwrap();
        tokio::time::advance(Duration::from_secs(1000)).await;
        let next = HomeClock::open(&dir).unwrap();
        assert_eq!(next.now(), 100, "what no run has kept does not count");
        next.at_least(150);
        next.at_least(120);
        assert_eq!(next.now(), 150);
    }

    #[test]
    fn another_version_is_refused_and_a_torn_file_begins_anew() {
        let error = parse(b"2 17\n").unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
        for torn in [&b""[..], b"1", b"1 ", b"1 x", b"\xff\xff"] {
            assert_eq!(parse(torn).unwrap(), 0);
        }
        assert_eq!(parse(b"1 17\n").unwrap(), 17);
    }
}
