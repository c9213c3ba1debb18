//! `ftpd scrub`, `ftpd recount` and `ftpd status`: asked of the running server, which knows its readers
//! and its counts; without one, the homes are read directly.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::Args;
use ftp_store::{Pace, Scrub, ScrubOptions, count_closed_home};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use crate::audit::Chain;
use crate::config::{Config, UserConfig, parse_rate, short_size, show_size};
use crate::control::ask::ask;
use crate::control::report::{Counts, Finding, RecountReport, ScrubReport, StatusReport, TransferReport};
use crate::control::{Ask, Re};
use crate::escape::{printable, value};
use crate::output;
use crate::table::table;

#[derive(Debug, Args)]
pub(super) struct ScrubArgs {
    /// Whose files [default: everybody's]
    users: Vec<String>,
    /// How fast to read, such as 50MiB/s [default: scrub_rate of the configuration]
    #[arg(long, value_name = "RATE", value_parser = parse_rate, conflicts_with = "full_speed")]
    rate: Option<u64>,
    /// Read as fast as it goes
    #[arg(long)]
    full_speed: bool,
    /// Give files that have no digest one, of what is there now
    #[arg(long)]
    adopt: bool,
    /// JSON lines: one for each thing that is wrong, and one for each user
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RecountArgs {
    /// Whose homes [default: everybody's]
    users: Vec<String>,
    /// One JSON line for each user
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Stored files are damaged or cannot be read. The report has said which.
#[derive(Debug, thiserror::Error)]
#[error("{damaged} damaged and {unreadable} unreadable: restore from a backup, or have the files uploaded again")]
pub(super) struct Rotten {
    damaged: u64,
    unreadable: u64,
}

pub(super) fn scrub(config: &Config, args: &ScrubArgs) -> anyhow::Result<()> {
    let users = users(config, &args.users)?;
    let rate = (!args.full_speed).then(|| args.rate.unwrap_or(config.server.care.scrub_rate));
    let question = Ask::Scrub {
        users: args.users.clone(),
        rate,
        adopt: args.adopt,
    };
    let mut report = Report::new(args.json);
    if let Some(mut answer) = ask(&config.server.state, &question)? {
        while let Some(re) = answer.next()? {
            match re {
                Re::Finding(finding) => report.finding(&finding)?,
                Re::Scrub(scrubbed) => report.scrubbed(&scrubbed)?,
                Re::Failed { user, message } => report.failed(&user, &message)?,
                _ => {}
            }
        }
    } else {
        let options = ScrubOptions {
            pace: rate.map_or(Pace::FULL, Pace::per_second),
            adopt: args.adopt,
            part: None,
        };
        runtime()?.block_on(scrub_closed_homes(&users, options, &mut report))?;
    }
    report.end()
}

async fn scrub_closed_homes(
    users: &BTreeMap<&String, &UserConfig>,
    options: ScrubOptions,
    report: &mut Report,
) -> anyhow::Result<()> {
    for (user, config) in users {
        if !config.home.exists() {
            report.scrubbed(&ScrubReport {
                user: (*user).clone(),
                ..ScrubReport::default()
            })?;
            continue;
        }
        let began = Instant::now();
        let scrubbing = async {
            let mut scrub = Scrub::of_closed_home(&config.home, options).await?;
            let mut found = Vec::new();
            while let Some(finding) = scrub.next().await? {
                let finding = Finding::new(user, &finding);
                if let Err(error) = report.finding(&finding) {
                    found.push(error);
                    break;
                }
            }
            Ok::<_, ftp_store::Error>((scrub.summary(), found.pop()))
        };
        match scrubbing.await {
            Ok((_, Some(error))) => return Err(error),
            Ok((summary, None)) => {
                let seconds = began.elapsed().as_secs_f64();
                report.scrubbed(&ScrubReport::new(user, &summary, seconds))?;
            }
            Err(error) => report.failed(user, &Chain(&error).to_string())?,
        }
    }
    Ok(())
}

pub(super) fn recount(config: &Config, args: &RecountArgs) -> anyhow::Result<()> {
    let users = users(config, &args.users)?;
    let question = Ask::Recount {
        users: args.users.clone(),
    };
    let mut report = Report::new(args.json);
    if let Some(mut answer) = ask(&config.server.state, &question)? {
        while let Some(re) = answer.next()? {
            match re {
                Re::Recount(recounted) => report.recounted(&recounted)?,
                Re::Failed { user, message } => report.failed(&user, &message)?,
                _ => {}
            }
        }
    } else {
        output::note("no server is running: this is what would be in force");
        for (user, config) in users {
            let counted = if config.home.exists() {
                runtime()?.block_on(count_closed_home(&config.home))
            } else {
                Ok(ftp_store::Counted::default())
            };
            match counted {
                Ok(counted) => report.recounted(&RecountReport {
                    user: user.clone(),
                    found: counted.into(),
                    counted: None,
                    with_staged: true,
                })?,
                Err(error) => report.failed(user, &Chain(&error).to_string())?,
            }
        }
    }
    report.end()
}

pub(super) fn status(config: &Config, args: &StatusArgs) -> anyhow::Result<()> {
    let Some(mut answer) = ask(&config.server.state, &Ask::Status)? else {
        anyhow::bail!(
            "no server is running with the state directory {}",
            config.server.state.display()
        );
    };
    while let Some(re) = answer.next()? {
        if let Re::Status(status) = re {
            let text = if args.json { json_line(&status)? } else { show(&status) };
            output::result(&text)?;
        }
    }
    Ok(())
}

/// The users that are named, or all.
fn users<'c>(config: &'c Config, named: &[String]) -> anyhow::Result<BTreeMap<&'c String, &'c UserConfig>> {
    for name in named {
        anyhow::ensure!(
            config.users.contains_key(name),
            "there is no user `{}` in {}; `user list` shows those there are",
            printable(name),
            config.file.display()
        );
    }
    let is_named = |name: &String| named.is_empty() || named.contains(name);
    Ok(config.users.iter().filter(|(name, _)| is_named(name)).collect())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the threads for reading cannot be started")
}

fn json_line(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string(value)?))
}

/// What is told as it comes, and the exit code of it all.
struct Report {
    json: bool,
    damaged: u64,
    unreadable: u64,
    failed: u64,
}

impl Report {
    fn new(json: bool) -> Self {
        Self {
            json,
            damaged: 0,
            unreadable: 0,
            failed: 0,
        }
    }

    fn say(&self, json: &impl Serialize, text: &str) -> anyhow::Result<()> {
        if self.json {
            output::result(&json_line(json)?)?;
        } else {
            output::result(&format!("{text}\n"))?;
        }
        Ok(())
    }

    fn finding(&self, finding: &Finding) -> anyhow::Result<()> {
        let place = format!("{}:{}", printable(&finding.user), value(&finding.path));
        let text = match &finding.cause {
            Some(cause) => format!("UNREADABLE {place}: {}", printable(cause)),
            None => {
                let known = |text: &Option<String>| text.clone().unwrap_or_default();
                format!(
                    "DAMAGED {place}\n    expected {}\n    found    {}\n    {} bytes, modified {}",
                    known(&finding.expected),
                    known(&finding.found),
                    finding.size.unwrap_or_default(),
                    known(&finding.modified)
                )
            }
        };
        self.say(finding, &text)
    }

    fn scrubbed(&mut self, done: &ScrubReport) -> anyhow::Result<()> {
        self.damaged += done.damaged;
        self.unreadable += done.unreadable;
        let mut text = format!(
            "{}: {} sound, {} damaged, {} unreadable; {} read in {:.1} s",
            printable(&done.user),
            done.sound,
            done.damaged,
            done.unreadable,
            short_size(done.bytes),
            done.seconds
        );
        for (count, what) in [
            (done.adopted, "given a digest"),
            (done.without_digest, "without a digest (`--adopt` gives them one)"),
            (
                done.outdated,
                "changed in their place since their digest was kept (`--adopt` gives them a new one)",
            ),
            (done.other_version, "with a digest of another version of ftpd"),
            (done.changed, "changed while they were read"),
        ] {
            if count > 0 {
                text.push_str(&format!("\n    {count} {what}"));
            }
        }
        self.say(done, &text)
    }

    fn recounted(&self, done: &RecountReport) -> anyhow::Result<()> {
        let found = &done.found;
        let user = printable(&done.user);
        let mut text = if let Some(counted) = done.counted.filter(|_| done.has_drift()) {
            format!(
                "{user}: CORRECTED: {}",
                [
                    drift("used", counted.used, found.used),
                    drift("entries", counted.entries, found.entries),
                    drift("pending", counted.pending, found.pending),
                    drift("uploads", counted.uploads, found.uploads),
                ]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", ")
            )
        } else {
            format!("{user}: {}", counts(found))
        };
        if !done.with_staged {
            text.push_str("; uploads run, so what is staged was not compared");
        }
        self.say(done, &text)
    }

    fn failed(&mut self, user: &str, message: &str) -> anyhow::Result<()> {
        self.failed += 1;
        if self.json {
            return self.say(&json!({"user": user, "error": message}), "");
        }
        output::note(&format!("error: {}: {}", printable(user), printable(message)));
        Ok(())
    }

    fn end(self) -> anyhow::Result<()> {
        if self.damaged > 0 || self.unreadable > 0 {
            return Err(Rotten {
                damaged: self.damaged,
                unreadable: self.unreadable,
            }
            .into());
        }
        anyhow::ensure!(self.failed == 0, "{} of the homes could not be seen to", self.failed);
        Ok(())
    }
}

fn counts(counts: &Counts) -> String {
    let mut text = format!("{} bytes in {} entries", counts.used, counts.entries);
    if counts.uploads > 0 {
        text.push_str(&format!(
            "; {} bytes staged in {} uploads",
            counts.pending, counts.uploads
        ));
    }
    text
}

fn drift(what: &str, was: u64, is: u64) -> Option<String> {
    let by = i128::from(is) - i128::from(was);
    (by != 0).then(|| format!("{what} {was} -> {is} ({by:+})"))
}

fn show(status: &StatusReport) -> String {
    let mut text = format!(
        "ftpd {}, process {}, on {}, up for {}{}\nconnections: {} of {}, {} of {} before login, at most {} per address\n",
        printable(&status.program),
        status.pid,
        printable(&status.address),
        elapsed(status.uptime_seconds),
        if status.draining { ", draining" } else { "" },
        status.connections,
        status.sessions_limit,
        status.connections_before_login,
        status.sessions_before_login_limit,
        status.sessions_per_address_limit,
    );
    let of = |limit: Option<u64>, show: fn(u64) -> String| {
        limit.map_or_else(String::new, |limit| format!(" of {}", show(limit)))
    };
    let rows: Vec<_> = status
        .users
        .iter()
        .map(|user| {
            let (used, entries, pending) = match &user.usage {
                Some(usage) => (
                    format!("{}{}", short_size(usage.used), of(usage.limit, show_size)),
                    format!(
                        "{}{}",
                        usage.entries,
                        of(usage.entries_limit, |limit| limit.to_string())
                    ),
                    format!("{} in {}", short_size(usage.pending + usage.reserved), usage.uploads),
                ),
                None => ("not open".to_owned(), String::new(), String::new()),
            };
            [
                printable(&user.user).into_owned(),
                format!("{} of {}", user.sessions, user.sessions_limit),
                used,
                entries,
                pending,
                printable(&user.home).into_owned(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(
            &["USER", "SESSIONS", "USED", "ENTRIES", "UPLOADS", "HOME"],
            &rows,
        ));
    }
    let row = |transfer: &TransferReport| {
        [
            format!("#{}", transfer.session),
            printable(&transfer.user).into_owned(),
            printable(&transfer.op).into_owned(),
            elapsed(transfer.seconds),
            value(&transfer.path).into_owned(),
        ]
    };
    let rows: Vec<_> = status.transfers.iter().map(row).collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["SESSION", "USER", "TRANSFER", "FOR", "PATH"], &rows));
    }
    text
}

/// A time in the two largest units.
fn elapsed(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds are shown, of a time that has passed"
    )]
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
