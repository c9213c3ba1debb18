//! Figures for people.

use std::time::Duration;

use ftp_client::Timestamp;
use jiff::tz::TimeZone;

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes in binary units (IEC 80000-13): `512 B`, `1.2 GiB`, `530 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    match scaled(bytes) {
        (value, "B") => format!("{value} B"),
        (value, unit) if value < 99.95 => format!("{value:.1} {unit}"),
        (value, unit) => format!("{value:.0} {unit}"),
    }
}

/// A size of at most five characters for a column, as `ls -h` has it: `512`, `1.2G`, `530M`.
pub(crate) fn short_size(bytes: u64) -> String {
    match scaled(bytes) {
        (value, "B") => format!("{value}"),
        (value, unit) if value < 9.95 => format!("{value:.1}{}", &unit[..1]),
        (value, unit) => format!("{value:.0}{}", &unit[..1]),
    }
}

/// The exact number of bytes with its unit, and a readable one behind it where they differ.
pub(crate) fn exact_size(bytes: u64) -> String {
    if bytes < 1024 {
        size(bytes)
    } else {
        format!("{bytes} B ({})", size(bytes))
    }
}

/// `bytes` in the largest unit that leaves at least 1, and less than 1000 once rounded.
fn scaled(bytes: u64) -> (f64, &'static str) {
    #[expect(clippy::cast_precision_loss, reason = "rounded to three digits anyway")]
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    (value, unit)
}

/// Bytes in a time as a rate: `530 MiB/s`.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    // Below a microsecond the clock says nothing.
    let seconds = time.as_secs_f64().max(1e-6);
    #[expect(clippy::cast_precision_loss, reason = "rounded to three digits anyway")]
    per_second(bytes as f64 / seconds)
}

/// Bytes a second: `530 MiB/s`.
pub(crate) fn per_second(rate: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is not negative, and `as` saturates"
    )]
    let bytes = rate.round() as u64;
    format!("{}/s", size(bytes))
}

/// A time span: `12 ms`, `2.3 s`, `1 min 5 s`, `3 h 20 min`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time < Duration::from_millis(10) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A remaining time in whole seconds: `5 s`, `1 min 5 s`.
pub(crate) fn remaining(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => span(time),
    }
}

/// A point in time as the clock on the wall shows it: `2026-05-01 12:00`.
pub(crate) fn local_time(time: Timestamp) -> String {
    in_zone(time, &TimeZone::system())
}

fn in_zone(time: Timestamp, zone: &TimeZone) -> String {
    instant(time).map_or_else(
        || format!("{} s since 1970", time.seconds),
        |instant| instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

/// A point in time for programs (RFC 3339, in UTC, with all its digits).
pub(crate) fn utc_time(time: Timestamp) -> Option<String> {
    instant(time).map(|instant| instant.to_string())
}

/// A file may carry a time that no calendar reaches.
fn instant(time: Timestamp) -> Option<jiff::Timestamp> {
    let nanos = i32::try_from(time.nanos).ok()?;
    jiff::Timestamp::new(time.seconds, nanos).ok()
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_the_right_unit() {
        for (bytes, long, short) in [
            (0, "0 B", "0"),
            (999, "999 B", "999"),
            (1_000, "1.0 KiB", "1.0K"),
            (1_536, "1.5 KiB", "1.5K"),
            (12 << 20, "12.0 MiB", "12M"),
            (530 << 20, "530 MiB", "530M"),
            ((1 << 30) - 1, "1.0 GiB", "1.0G"),
            (u64::MAX, "16.0 EiB", "16E"),
        ] {
            assert_eq!(size(bytes), long, "{bytes}");
            assert_eq!(short_size(bytes), short, "{bytes}");
        }
        assert_eq!(exact_size(1 << 20), "1048576 B (1.0 MiB)");
    }

    #[test]
    fn spans_grow_coarser() {
        for (millis, text) in [
            (12, "12 ms"),
            (2_340, "2.3 s"),
            (65_000, "1 min 5 s"),
            (12_000_000, "3 h 20 min"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(span(Duration::from_micros(250)), "0.2 ms");
        assert_eq!(remaining(Duration::from_millis(5_900)), "5 s");
    }

    #[test]
    fn a_transfer_too_short_to_measure_has_a_rate_all_the_same() {
        assert_eq!(rate(0, Duration::ZERO), "0 B/s");
        assert_eq!(rate(1 << 20, Duration::from_secs(2)), "512 KiB/s");
    }

    #[test]
    fn times_beyond_every_calendar_are_still_shown() {
        let far = Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(in_zone(far, &TimeZone::UTC), format!("{} s since 1970", i64::MAX));
        assert_eq!(utc_time(far), None);
        let near = Timestamp {
            seconds: 86_400,
            nanos: 500_000_000,
        };
        assert_eq!(in_zone(near, &TimeZone::UTC), "1970-01-02 00:00");
        assert_eq!(utc_time(near).as_deref(), Some("1970-01-02T00:00:00.5Z"));
    }
}
