//! Puts load on a server and prints what it measured.
//!
//! ```text
//! cargo run --release -p ftp-tests --bin load -- idle 10000
//! cargo run --release -p ftp-tests --bin load -- transfers 500
//! cargo run --release -p ftp-tests --bin load -- soak 10m
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::process::ExitCode;
use std::time::Duration;

use ftp_tests::load;

const USAGE: &str =
    "usage: load idle CONNECTIONS | load transfers TRANSFERS [MIB] | load soak DURATION (as in 10m or 30s)";

/// How long idle sessions are left alone: a few beats.
const REST: Duration = Duration::from_secs(40);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let report = match args.as_slice() {
        ["idle", connections] => connections
            .parse()
            .ok()
            .map(|connections| runtime.block_on(load::idle(connections, REST)).report),
        ["transfers", transfers] => run_transfers(&runtime, transfers, "2"),
        ["transfers", transfers, mib] => run_transfers(&runtime, transfers, mib),
        ["soak", time] => duration(time).map(|time| runtime.block_on(load::soak(time)).report),
        _ => None,
    };
    match report {
        Some(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run_transfers(runtime: &tokio::runtime::Runtime, transfers: &str, mib: &str) -> Option<load::Report> {
    let (transfers, mib): (usize, u64) = (transfers.parse().ok()?, mib.parse().ok()?);
    Some(runtime.block_on(load::transfers(transfers, mib << 20)).report)
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(60 * number)),
        _ => None,
    }
}
