//! The command line of `ftpd`: what can be asked, and the exit code of the answer.

mod care;
mod serve;
mod users;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::config::{self, Config, ConfigFaults};
use crate::{log_view, output, users_file, walls};

/// Everything else that went wrong.
const FAILURE: u8 = 1;
/// Wrong usage, which includes a configuration with faults. The code that clap uses.
const USAGE: u8 = 2;
/// A scrub has found damaged or unreadable files.
const ROTTEN: u8 = 3;

/// An async multi-user file server with verified, resumable transfers
#[derive(Debug, Parser)]
#[command(
    name = "ftpd",
    version,
    after_help = "Examples:
  ftpd --config users.toml init                             write a commented configuration
  ftpd --config users.toml user add alice --quota 10GiB     add a user, asking for the password
  ftpd --config users.toml check                            show what would be in force
  ftpd --config users.toml                                  serve until Ctrl-C or SIGTERM
  ftpd --config users.toml log --failed --since 2h          show what went wrong lately
  ftpd --config users.toml status                           show sessions, transfers and homes now
  ftpd --config users.toml scrub                            read stored files, find damaged ones

Exit codes: 0 done, 1 failure, 2 wrong usage or a configuration with faults, 3 damaged files found"
)]
struct Cli {
    /// The configuration file
    #[arg(long, short, env = "FTPD_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration and print what would be in force
    Check,
    /// Write a commented configuration file with every key and its default
    Init,
    /// Show the log: newest lines, filtered, followed or summed up per user
    #[command(after_help = "Examples:
  ftpd -c users.toml log -n 20                          the last 20 events
  ftpd -c users.toml log --follow --user alice          what alice does, as it happens
  ftpd -c users.toml log --op put --failed --since 2h   uploads that failed in the last two hours
  ftpd -c users.toml log --summary                      logins, transfers and bytes per user")]
    Log(log_view::LogArgs),
    /// Compare the counts of the quotas with the disk, and correct them
    #[command(after_help = "Examples:
  ftpd -c users.toml recount          all homes; a running server corrects its counts
  ftpd -c users.toml recount alice    one home

Without a running server it counts the disk and shows what would be in force.")]
    Recount(care::RecountArgs),
    /// Read stored files and compare them with the digests kept when they were stored
    #[command(after_help = "Examples:
  ftpd -c users.toml scrub                      all files, at scrub_rate
  ftpd -c users.toml scrub alice --full-speed   one home, as fast as it goes
  ftpd -c users.toml scrub --rate 50MiB/s       no faster than that
  ftpd -c users.toml scrub --adopt              give files put there by hand their digests

Works with a running server, whose transfers it does not disturb, and without. Damaged files are named
and left as they are. Exit codes: 0 all sound, 3 damaged or unreadable files found, 1 failure.")]
    Scrub(care::ScrubArgs),
    /// Show how the running server is doing: sessions, transfers, limits, homes
    #[command(after_help = "Examples:
  ftpd -c users.toml status          for people
  ftpd -c users.toml status --json   for programs")]
    Status(care::StatusArgs),
    /// Add, change, remove and list users
    #[command(subcommand)]
    User(users::UserCommand),
}

/// Runs the command line `args`, the first of which is the program's own name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Verifiers, keys and passwords come into the memory of almost every command. Only the server may be told
    // otherwise, by its configuration.
    if let Err(error) = walls::hold_core_dumps() {
        output::note(&format!("error: core dumps cannot be switched off: {error}"));
        return ExitCode::from(FAILURE);
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap too; printing can only fail when nobody listens.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let Some(file) = cli.config else {
        return Err(Usage.into());
    };
    if cli.command.is_some() {
        walls::forbid_core_dumps().context("core dumps cannot be switched off")?;
    }
    match cli.command {
        None => serve::run(&file),
        Some(Command::Check) => check(&file),
        Some(Command::Init) => init(&file),
        Some(Command::Log(args)) => log_view::run(&Config::load(&file)?, &args),
        Some(Command::Recount(args)) => care::recount(&Config::load(&file)?, &args),
        Some(Command::Scrub(args)) => care::scrub(&Config::load(&file)?, &args),
        Some(Command::Status(args)) => care::status(&Config::load(&file)?, &args),
        Some(Command::User(command)) => users::run(&file, command),
    }
}

/// A command line without the one thing that is always needed.
#[derive(Debug, thiserror::Error)]
#[error("no configuration is named: give --config FILE or set FTPD_CONFIG; `ftpd --config FILE init` writes one")]
struct Usage;

/// Says what went wrong, once, and chooses the exit code.
fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        // Whoever reads our output has seen enough.
        return ExitCode::SUCCESS;
    }
    let faults = error.chain().find_map(|cause| cause.downcast_ref::<ConfigFaults>());
    if let Some(faults) = faults {
        for line in faults.lines() {
            output::note(&format!("error: {line}"));
        }
        return ExitCode::from(USAGE);
    }
    output::note(&format!("error: {error:#}"));
    if error.is::<care::Rotten>() {
        return ExitCode::from(ROTTEN);
    }
    if error.is::<Usage>() {
        return ExitCode::from(USAGE);
    }
    ExitCode::from(FAILURE)
}

fn check(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    output::result(&config::show(&config))?;
    for warning in config.warnings() {
        output::warning(&warning);
    }
    let problems = config.problems();
    if !problems.is_empty() {
        anyhow::bail!("the server cannot start with this: {}", problems.join("; "));
    }
    Ok(())
}

fn init(file: &Path) -> anyhow::Result<()> {
    users_file::create(file)?;
    let shown = file.display();
    output::result(&format!(
        "wrote {shown}, with every key and its default\nnext: ftpd --config {shown} user add NAME\n"
    ))?;
    Ok(())
}
