//! Runs a campaign of faults against `ftpd` and `ftp-cli`; see [`ftp_tests::campaign`].
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for developers")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ftp_tests::campaign::{self, Options};

const USAGE: &str = "\
campaign [--rounds N] [--minutes N] [--seed N] [--episode N] [--jobs N] [--keep-going]

  --rounds N      how many rounds in all (200; without end with --minutes)
  --minutes N     begin no episode after so long
  --seed N        the seed of the first episode; each further one has the next (1)
  --episode N     rounds of an episode (20)
  --jobs N        episodes at once (2)
  --keep-going    do not stop at the first failure";

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let (tally, failures) = campaign::run(&options, &|line| println!("{line}"));
    println!("done in {}", tally.progress(began.elapsed()));
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut rounds = None;
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
            value.parse::<u64>().map_err(|error| format!("{arg} {value}: {error}"))
        };
        let small = |number: u64| usize::try_from(number).map_err(|error| error.to_string());
        match arg.as_str() {
            "--rounds" => rounds = Some(number()?),
            "--minutes" => options.time = Some(Duration::from_secs(60 * number()?)),
            "--seed" => options.seed = number()?,
            "--episode" => options.episode = small(number()?.max(1))?,
            "--jobs" => options.jobs = small(number()?)?,
            "--keep-going" => options.keep_going = true,
            _ => return Err(format!("{arg} is not known")),
        }
    }
    options.rounds = match (rounds, options.time) {
        (Some(rounds), _) => rounds,
        (None, Some(_)) => u64::MAX,
        (None, None) => options.rounds,
    };
    Ok(options)
}
