//! Sizes and times as a person writes them: "10 GiB", "1.5 MB", "30 s", "7 days".

use std::time::Duration;

/// The longest time accepted, so that adding it to any clock cannot overflow.
const MAX_DURATION: Duration = Duration::from_secs(3_650 * 86_400);

/// Bytes in each unit, largest first; `show` uses the binary ones.
const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Milliseconds in each unit, largest first; the first name of each is the one that `show` uses.
const TIMES: &[(&[&str], u64)] = &[
    (&["days", "d", "day"], 86_400_000),
    (&["h", "hour", "hours", "hr"], 3_600_000),
    (&["min", "minute", "minutes", "m"], 60_000),
    (&["s", "sec", "second", "seconds"], 1_000),
    (&["ms", "millisecond", "milliseconds"], 1),
];

/// Bytes from a size such as `10 GiB`, `10GB` or `1.5 MiB`. Fractions of a byte are cut off.
///
/// # Errors
/// A sentence that says what is wrong and shows the form.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let form = || {
        format!(
            "`{text}` is not a size; write a number and a unit (B, kB, KiB, MB, MiB, GB, GiB, TB, TiB), as in \"10 GiB\""
        )
    };
    let (number, unit) = split(text).ok_or_else(form)?;
    let (_, bytes) = SIZES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .ok_or_else(form)?;
    scaled(number, *bytes)
        .ok_or_else(form)?
        .ok_or_else(|| format!("`{text}` is more than {} bytes, the largest size there is", u64::MAX))
}

/// A time such as `30 s`, `15 min`, `2h` or `7 days`, exact to the millisecond.
///
/// # Errors
/// A sentence that says what is wrong and shows the form.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let form = || format!("`{text}` is not a time; write a number and a unit (ms, s, min, h, days), as in \"15 min\"");
    let (number, unit) = split(text).ok_or_else(form)?;
    let (_, millis) = TIMES.iter().find(|(names, _)| names.contains(&unit)).ok_or_else(form)?;
    scaled(number, *millis)
        .ok_or_else(form)?
        .map(Duration::from_millis)
        .filter(|time| *time <= MAX_DURATION)
        .ok_or_else(|| {
            format!(
                "`{text}` is longer than {}, the longest time accepted",
                show_duration(MAX_DURATION)
            )
        })
}

/// A size without loss: the largest unit that divides it.
pub(crate) fn show_size(bytes: u64) -> String {
    let (unit, size) = SIZES
        .iter()
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))
        .unwrap_or(&("B", 1));
    format!("{} {unit}", bytes / size)
}

/// A size in few characters, rounded: `1.4 GiB`.
pub(crate) fn short_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut figure = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        // 1023.95 and above would be shown as 1024.0.
        if figure < 1023.95 {
            break;
        }
        figure /= 1024.0;
        unit = larger;
    }
    format!("{figure:.1} {unit}")
}

/// A time without loss: the largest unit that divides it.
pub(crate) fn show_duration(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0 s".to_owned();
    }
    let (names, unit) = TIMES
        .iter()
        .find(|(_, unit)| millis.is_multiple_of(*unit))
        .expect("one millisecond divides every number of them");
    let name = if millis == *unit && names[0] == "days" {
        "day"
    } else {
        names[0]
    };
    format!("{} {name}", millis / unit)
}

/// The lowest rate of bytes accepted: with less, one chunk of a transfer would wait for minutes.
pub(crate) const MIN_RATE: u64 = 1024;

/// The highest rate of requests accepted; who needs more needs no limit.
const MAX_FREQUENCY: u64 = 1_000_000;

/// Bytes a second from a rate such as `10 MiB/s`.
///
/// # Errors
/// A sentence that says what is wrong and shows the form.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let form = || format!("`{text}` is not a rate; write a size and \"/s\", as in \"10 MiB/s\"");
    let size = text.trim_end().strip_suffix("/s").ok_or_else(form)?;
    let bytes = parse_size(size).map_err(|_| form())?;
    if bytes < MIN_RATE {
        return Err(format!("must be at least {}", show_rate(MIN_RATE)));
    }
    Ok(bytes)
}

/// Times a second from a rate such as `200/s`.
///
/// # Errors
/// A sentence that says what is wrong and shows the form.
pub(crate) fn parse_frequency(text: &str) -> Result<u64, String> {
    let form = || format!("`{text}` is not a rate; write a whole number and \"/s\", as in \"200/s\"");
    let number = text.trim().strip_suffix("/s").ok_or_else(form)?.trim_end();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(form());
    }
    number
        .parse()
        .ok()
        .filter(|times| (1..=MAX_FREQUENCY).contains(times))
        .ok_or_else(|| format!("must be from 1/s to {MAX_FREQUENCY}/s, or \"unlimited\""))
}

/// A rate of bytes without loss.
pub(crate) fn show_rate(bytes: u64) -> String {
    format!("{}/s", show_size(bytes))
}

/// A rate of requests.
pub(crate) fn show_frequency(times: u64) -> String {
    format!("{times}/s")
}

/// The number and the unit of `text`, trimmed.
fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    Some((&text[..end], text[end..].trim_start()))
}

/// `number` times `unit`: the outer `None` when it is no decimal number, the inner when it is too large.
fn scaled(number: &str, unit: u64) -> Option<Option<u64>> {
    /// More digits than any sensible figure has; the product stays within 128 bits.
    const MAX_DIGITS: usize = 22;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || whole.len() + fraction.len() > MAX_DIGITS {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(u64::try_from(digits * u128::from(unit) / scale).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        for (text, bytes) in [
            ("10 GiB", 10 << 30),
            ("10GB", 10_000_000_000),
            ("1.5 MiB", 1_572_864),
            ("0 B", 0),
            ("  7kib ", 7168),
            ("0.1 B", 0),
            ("16777215.999 TiB", 18_446_742_974_197_923_840 + 1_098_412_116_148),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_without_number_or_unit_are_refused_with_the_form() {
        for text in [
            "",
            "10",
            "GiB",
            "10 G",
            "1,5 MB",
            "-1 B",
            "1..5 MB",
            ".5 MB",
            "5. MB",
            "10 GiB extra",
        ] {
            assert!(parse_size(text).unwrap_err().contains("as in \"10 GiB\""), "{text}");
        }
        assert!(parse_size("16777216 TiB").unwrap_err().contains("largest"));
    }

    #[test]
    fn times_are_read_in_long_and_short_units() {
        for (text, seconds) in [
            ("30 s", 30.0),
            ("15min", 900.0),
            ("2h", 7200.0),
            ("7 days", 604_800.0),
            ("1.5 s", 1.5),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        assert!(parse_duration("30").unwrap_err().contains("15 min"));
        assert!(parse_duration("3651 days").unwrap_err().contains("3650 days"));
    }

    #[test]
    fn rates_of_bytes_are_sizes_a_second_and_have_a_least() {
        assert_eq!(parse_rate("10 MiB/s"), Ok(10 << 20));
        assert_eq!(parse_rate(" 1.5MB/s "), Ok(1_500_000));
        assert_eq!(parse_rate("1 KiB/s"), Ok(MIN_RATE));
        assert!(parse_rate("1023 B/s").unwrap_err().contains("at least 1 KiB/s"));
        for text in ["10 MiB", "10/s", "MiB/s", "10 Mbit/s", "/s", ""] {
            assert!(parse_rate(text).unwrap_err().contains("as in \"10 MiB/s\""), "{text}");
        }
    }

    #[test]
    fn rates_of_requests_are_whole_numbers_a_second_within_bounds() {
        assert_eq!(parse_frequency("200/s"), Ok(200));
        assert_eq!(parse_frequency(" 1 /s"), Ok(1));
        assert_eq!(parse_frequency("1000000/s"), Ok(MAX_FREQUENCY));
        for text in ["0/s", "1000001/s", "99999999999999999999/s"] {
            assert!(parse_frequency(text).unwrap_err().contains("from 1/s"), "{text}");
        }
        for text in ["200", "1.5/s", "-1/s", "/s", "fast", ""] {
            assert!(parse_frequency(text).unwrap_err().contains("as in \"200/s\""), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_value() {
        for rate in [MIN_RATE, 10 << 20, 1_500_000] {
            assert_eq!(parse_rate(&show_rate(rate)), Ok(rate));
            assert_eq!(parse_frequency(&show_frequency(1 + rate % 1000)), Ok(1 + rate % 1000));
        }
        for bytes in [0, 1, 1023, 1024, 1_000_000, 10 << 30, u64::MAX] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        for millis in [0, 1, 999, 1_000, 60_000, 90_000, 86_400_000, 604_800_000] {
            let time = Duration::from_millis(millis);
            assert_eq!(parse_duration(&show_duration(time)), Ok(time));
        }
    }

    #[test]
    fn short_sizes_never_show_four_digits() {
        assert_eq!(short_size(1023), "1023 B");
        assert_eq!(short_size(1024), "1.0 KiB");
        assert_eq!(short_size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(short_size(u64::MAX), "16.0 EiB");
    }
}
