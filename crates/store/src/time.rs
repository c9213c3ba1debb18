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

impl Timestamp {
    /// The time by the system's clock.
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
    fn age_is_zero_for_the_future() {
        let (early, late) = (Timestamp::default(), Timestamp { seconds: 2, nanos: 1 });
        assert_eq!(early.age_at(late), Duration::new(2, 1));
        assert_eq!(late.age_at(early), Duration::ZERO);
    }
}
