//! `ftpd log`: reads the JSON lines of the log, the rotated files included, and shows what was asked
//! for. Files are streamed: the size of the log does not matter.

mod entry;
mod files;
mod filter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod human;
mod summary;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::config::Config;
use crate::output;
use entry::Entry;
use files::{Files, Line};
use filter::{Filter, since};
use summary::Summary;

/// How often `--follow` looks for new lines: quick for a person, nothing for the machine.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How many old lines `--follow` begins with, as `tail` does.
const FOLLOW_LINES: usize = 10;

/// What to show.
#[derive(Debug, Default, Args)]
pub(crate) struct LogArgs {
    /// Go on showing what is added, until Ctrl-C
    #[arg(long, short, conflicts_with = "summary")]
    follow: bool,
    /// Only events of this user
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// Only this operation (put, get, rm, mv, ...) or event (login, session_end, ...); may be repeated
    #[arg(long, value_name = "OP")]
    op: Vec<String>,
    /// Only what failed or was refused
    #[arg(long)]
    failed: bool,
    /// Only what is not older than a time such as 2h or "7 days", or than a moment such as
    /// 2026-01-31T12:00:00Z or "2026-01-31 13:00" (local time)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// The matching lines as they stand in the file; with --summary, one JSON array
    #[arg(long)]
    json: bool,
    /// Only the last N of the matching lines [default: all, with --follow 10]
    #[arg(long, short = 'n', value_name = "N", conflicts_with = "summary")]
    lines: Option<usize>,
    /// A table with the logins, transfers, bytes and failures of each user
    #[arg(long)]
    summary: bool,
}

/// Why the log cannot be shown.
#[derive(Debug, thiserror::Error)]
enum LogViewError {
    #[error("there is no log: `file` in [server.log] of {0} is empty, so ftpd logs to standard error only")]
    Off(String),
    #[error("there is no log yet at {0}; a server writes it when it runs")]
    Missing(String),
}

/// Shows the log of a configuration.
///
/// # Errors
/// When there is no log, it cannot be read, or nobody reads the output.
pub(crate) fn run(config: &Config, args: &LogArgs) -> anyhow::Result<()> {
    let Some(path) = &config.server.log.file else {
        return Err(LogViewError::Off(config.file.display().to_string()).into());
    };
    let files = Files::open(path, args.since)?;
    if files.is_empty() && !args.follow {
        return Err(LogViewError::Missing(path.display().to_string()).into());
    }
    let out = BufWriter::new(io::stdout().lock());
    let broken = if args.summary {
        summarize(config, files, args, out)?
    } else {
        show(path, files, args, out)?
    };
    if broken > 0 {
        output::note(&format!(
            "note: skipped lines of the log that are no JSON objects: {broken}"
        ));
    }
    Ok(())
}

/// Shows the lines, and returns how many were broken. With `follow` it only ends by an error.
fn show(path: &Path, mut files: Files, args: &LogArgs, mut out: impl Write) -> anyhow::Result<u64> {
    let filter = Filter::new(args);
    let mut broken = 0;
    let mut select = |line: Line<'_>| match line {
        Line::Whole(text) => match Entry::parse(text) {
            Some(entry) if filter.matches(&entry) => Some(if args.json {
                text.to_owned()
            } else {
                human::line(&entry)
            }),
            Some(_) => None,
            None => {
                broken += 1;
                None
            }
        },
        Line::Broken => {
            broken += 1;
            None
        }
    };
    let last = args.lines.or(args.follow.then_some(FOLLOW_LINES));
    match last {
        Some(last) => {
            let mut kept = VecDeque::new();
            files.read(&mut |line| {
                if let Some(text) = select(line) {
                    kept.push_back(text);
                    if kept.len() > last {
                        kept.pop_front();
                    }
                }
                Ok(())
            })?;
            for text in kept {
                writeln!(out, "{text}")?;
            }
        }
        None => files.read(&mut |line| write_some(&mut out, select(line)))?,
    }
    out.flush()?;
    if args.follow {
        loop {
            thread::sleep(POLL_INTERVAL);
            files.renew(path)?;
            files.read(&mut |line| write_some(&mut out, select(line)))?;
            out.flush()?;
        }
    }
    files.read_rest(&mut |line| write_some(&mut out, select(line)))?;
    out.flush()?;
    Ok(broken)
}

fn write_some(out: &mut impl Write, text: Option<String>) -> io::Result<()> {
    match text {
        Some(text) => writeln!(out, "{text}"),
        None => Ok(()),
    }
}

fn summarize(config: &Config, mut files: Files, args: &LogArgs, mut out: impl Write) -> anyhow::Result<u64> {
    let filter = Filter::new(args);
    let mut summary = Summary::new(config.users.keys().map(String::as_str));
    let mut broken = 0;
    let mut count = |line: Line<'_>| {
        let entry = match line {
            Line::Whole(text) => Entry::parse(text),
            Line::Broken => None,
        };
        match entry {
            Some(entry) if filter.matches(&entry) => summary.add(&entry),
            Some(_) => {}
            None => broken += 1,
        }
        Ok(())
    };
    files.read(&mut count)?;
    files.read_rest(&mut count)?;
    let text = if args.json { summary.json() } else { summary.table() };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(broken)
}
