//! Points in time as the file system keeps them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A POSIX modification time: seconds since 1970-01-01 00:00 UTC, leap seconds not counted, and
/// nanoseconds (0 to 999,999,999) that always count forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after `seconds`.
    pub nanos: u32,
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanos: after.subsec_nanos(),
            },
            Err(error) => {
                let before = error.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |whole| -whole);
                match before.subsec_nanos() {
                    0 => Self { seconds, nanos: 0 },
                    nanos => Self {
                        seconds: seconds.saturating_sub(1),
                        nanos: 1_000_000_000 - nanos,
                    },
                }
            }
        }
    }
}

/// Two changes within one step of the file system's clock have the same time. FAT has the longest
/// step, of two seconds; before Linux 6.13 others had up to ten milliseconds.
const CLOCK_STEP: Duration = Duration::from_secs(2);

impl Timestamp {
    /// Whether a change at `now` could get this very time: what was read of a file of this time then
    /// proves nothing about what it holds a moment later.
    pub(crate) fn is_within_a_step_of(self, now: Self) -> bool {
        self.age_at(now) < CLOCK_STEP && now.age_at(self) < CLOCK_STEP
    }

    /// The time by the system's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "staged uploads are told apart from expired ones by the times of their files"
    )]
    pub(crate) fn now() -> Self {
        SystemTime::now().into()
    }

    /// How long before `later` this time lies; zero when it does not.
    pub(crate) fn age_at(self, later: Self) -> Duration {
        let nanos = |time: Self| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
        let age = (nanos(later) - nanos(self)).max(0);
        Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_nanoseconds_counting_forward() {
        let half = UNIX_EPOCH - Duration::from_millis(1500);
        let expected = Timestamp {
            seconds: -2,
            nanos: 500_000_000,
        };
        assert_eq!(Timestamp::from(half), expected);
        let whole = Timestamp::from(UNIX_EPOCH - Duration::from_secs(3));
        assert_eq!((whole.seconds, whole.nanos), (-3, 0));
    }

    #[test]
    fn step_of_the_clock_reaches_to_either_side() {
        let at = |seconds| Timestamp { seconds, nanos: 7 };
        for (seconds, within) in [(3, false), (4, true), (5, true), (6, true), (7, false)] {
            assert_eq!(at(5).is_within_a_step_of(at(seconds)), within, "{seconds}");
        }
    }

    #[test]
    fn age_is_zero_for_the_future() {
        let (early, late) = (Timestamp::default(), Timestamp { seconds: 2, nanos: 1 });
        assert_eq!(early.age_at(late), Duration::new(2, 1));
        assert_eq!(late.age_at(early), Duration::ZERO);
    }
}
