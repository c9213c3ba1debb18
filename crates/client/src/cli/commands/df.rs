//! `df`: the quota and its use.

use std::fmt::Write as _;

use ftp_client::{RemotePath, UsageReport};

use super::super::args::DfArgs;
use super::super::failure::Done;
use super::super::format;
use super::super::session::Session;

pub(super) async fn df(session: &mut Session, args: &DfArgs) -> Done {
    let usage = match session.client.df().await {
        Ok(usage) => usage,
        Err(error) => return Err(session.failure("df", &RemotePath::from(""), &error).into()),
    };
    if session.output.is_json() {
        session.output.object(&usage)?;
    } else {
        session.output.bytes(text(&usage, args.human).as_bytes())?;
    }
    Ok(())
}

fn text(usage: &UsageReport, human: bool) -> String {
    let size = |bytes| {
        if human {
            format::size(bytes)
        } else {
            format::exact_size(bytes)
        }
    };
    let mut text = String::new();
    let mut row = |name: &str, value: String, remark: String| {
        let line = format!("{name:<9} {value:>30}  {remark}");
        writeln!(text, "{}", line.trim_end()).expect("a string takes any text");
    };
    let none = String::new;
    row("limit", usage.limit.map_or_else(|| "none".to_owned(), size), none());
    let share = usage.limit.filter(|limit| *limit > 0).map_or_else(none, |limit| {
        format!("{}%", u128::from(usage.used) * 100 / u128::from(limit))
    });
    row("used", size(usage.used), share);
    let uploads = match usage.uploads {
        0 => none(),
        number => format!("in {} that can be resumed", format::count(number, "upload", "uploads")),
    };
    row("pending", size(usage.pending), uploads);
    let reserved = if usage.reserved > 0 {
        "announced by running uploads"
    } else {
        ""
    };
    row("reserved", size(usage.reserved), reserved.to_owned());
    let trash = match usage.trash_limit {
        0 => "off".to_owned(),
        limit => format!("of at most {}, gives way when room is needed", format::size(limit)),
    };
    row("trash", size(usage.trash), trash);
    row("free", size(usage.free), none());
    let limit = usage.entries_limit.map_or_else(none, |limit| format!("of {limit}"));
    row("entries", usage.entries.to_string(), limit);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_shown_with_everything_that_counts_in_it() {
        let usage = UsageReport {
            limit: Some(10 << 30),
            used: 3 << 30,
            pending: 1 << 20,
            reserved: 0,
            free: 6 << 30,
            entries_limit: Some(100),
            entries: 12,
            uploads: 1,
            trash: 5 << 20,
            trash_limit: 1 << 30,
            trash_entries: 3,
        };
        let shown = text(&usage, true);
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["limit", "10.0", "GiB"]);
        assert_eq!(lines[1], ["used", "3.0", "GiB", "30%"]);
        assert_eq!(lines[2].join(" "), "pending 1.0 MiB in 1 upload that can be resumed");
        assert_eq!(
            lines[4].join(" "),
            "trash 5.0 MiB of at most 1.0 GiB, gives way when room is needed"
        );
        assert_eq!(lines[6], ["entries", "12", "of", "100"]);
        assert!(text(&usage, false).contains("3221225472 B (3.0 GiB)"));
    }
}
