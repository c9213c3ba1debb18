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

/// What an idle session may cost where so many of them share what all have in common.
const MOST_SESSION_BYTES: u64 = 40 * 1024;
const MANY: usize = 1000;

/// How many times as long as the median the slowest of many equal transfers may take.
const STARVED: f64 = 4.0;

const USAGE: &str =
    "usage: load idle CONNECTIONS | load transfers TRANSFERS [MIB] | load soak DURATION (as in 10m or 30s)";

/// How long idle sessions are left alone: a few beats.
const REST: Duration = Duration::from_secs(40);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let report = match args.as_slice() {
        ["idle", connections] => connections.parse().ok().map(|connections| {
            let idle = runtime.block_on(load::idle(connections, REST));
            let dear = connections >= MANY && idle.session_bytes > MOST_SESSION_BYTES;
            let why = dear.then(|| format!("more than {MOST_SESSION_BYTES} bytes a session"));
            (idle.report, why)
        }),
        ["transfers", transfers] => run_transfers(&runtime, transfers, "2"),
        ["transfers", transfers, mib] => run_transfers(&runtime, transfers, mib),
        ["soak", time] => duration(time).map(|time| (runtime.block_on(load::soak(time)).report, None)),
        _ => None,
    };
    match report {
        Some((report, why)) => {
            print!("{report}");
            let Some(why) = why else { return ExitCode::SUCCESS };
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run_transfers(
    runtime: &tokio::runtime::Runtime,
    transfers: &str,
    mib: &str,
) -> Option<(load::Report, Option<String>)> {
    let (transfers, mib): (usize, u64) = (transfers.parse().ok()?, mib.parse().ok()?);
    let done = runtime.block_on(load::transfers(transfers, mib << 20));
    let why = (done.slowest_to_median > STARVED).then(|| format!("one took more than {STARVED} times the median"));
    Some((done.report, why))
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
