//! Campaigns of faults, short enough for every run of the tests. `cargo run --release -p ftp-tests
//! --bin campaign` runs as many as wanted.

use ftp_tests::campaign::{self, Options, REGRESSIONS};

#[expect(clippy::print_stderr, reason = "progress and failures are for whoever runs the test")]
fn passes(options: &Options) {
    let (tally, failures) = campaign::run(options, &|line| eprintln!("{line}"));
    let said: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(said.is_empty(), "{}", said.join("\n\n"));
    assert_eq!(tally.rounds(), options.rounds);
}

#[test]
fn whatever_fails_nothing_is_lost() {
    passes(&Options {
        seed: 1,
        rounds: 200,
        episode: 12,
        // Mostly they wait for something.
        jobs: 4,
        ..Options::default()
    });
}

#[test]
fn seeds_that_once_found_a_fault_find_none() {
    for (seed, rounds, why) in REGRESSIONS {
        eprintln!("seed {seed}: {why}");
        passes(&Options {
            seed: *seed,
            rounds: *rounds as u64,
            episode: *rounds,
            jobs: 1,
            ..Options::default()
        });
    }
}
