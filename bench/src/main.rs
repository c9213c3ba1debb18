//! Measures `ftpd` and `ftp-cli` side by side with other servers and their clients.
//!
//! One command starts all of them in turn on the same files, in a network, process and mount namespace of their own,
//! and prints medians. `README.md` beside this crate says how; `docs/performance.md` is what came out.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod arena;
mod delay;
mod install;
mod limits;
mod measure;
mod meter;
mod peers;
mod plan;
mod report;
mod results;
mod sandbox;
mod tools;
mod warmer;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Measures ftpd and ftp-cli side by side with other servers.
#[derive(Debug, Parser)]
#[command(name = "ftp-bench", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and save the figures
    Run(RunArgs),
    /// Show workloads and candidates, and what is missing on this machine
    List,
    /// Write docs/performance.md and its charts from the saved figures
    Report(ReportArgs),
}

/// What to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// One GiB instead of four, three rounds: minutes
    #[arg(long, conflicts_with = "tiny")]
    quick: bool,
    /// Everything once in the smallest size, without peers unless named: seconds
    #[arg(long)]
    tiny: bool,
    /// Only this workload; may be repeated
    #[arg(long, value_name = "NAME")]
    workload: Vec<String>,
    /// Only these peers besides our own; `none` for none; may be repeated
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Only these of our own candidates; may be repeated
    #[arg(long, value_name = "NAME")]
    own: Vec<String>,
    /// How often each candidate runs
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Install the peers from the distribution first (Debian, as root)
    #[arg(long)]
    install: bool,
    /// Programs of another build: a directory with ftpd and ftp-cli
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Also write docs/performance.md and its charts
    #[arg(long)]
    report: bool,
    /// Set by the program itself within its namespaces: the directory for everything
    #[arg(long, hide = true)]
    arena: Option<PathBuf>,
}

/// What to write.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReportArgs {
    /// Where to write it
    #[arg(long, value_name = "DIR", default_value_os_t = sandbox::workspace().join("docs"))]
    docs: PathBuf,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match run(line.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ftp-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) if args.arena.is_some() => {
            workloads::run_all(&args)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(args) => sandbox::run(&args),
        Command::List => {
            workloads::list();
            Ok(ExitCode::SUCCESS)
        }
        Command::Report(args) => {
            report::write(&args.docs)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
