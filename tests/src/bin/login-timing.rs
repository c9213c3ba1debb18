//! Measures whether the time of a login's answers tells users from strangers.
//!
//! `cargo run --release -p ftp-tests --bin login-timing [SAMPLES]`: so many logins each (2,000 unless said) as
//! a known and as an unknown user, in turns, each from an address of its own, so that no failure slows
//! down another. Both answers are timed: the challenge, and the refusal of a wrong proof. The two sorts
//! of times are compared by the Mann-Whitney U test; a standard score beyond 4 is a difference.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ftp_tests::{Channel, Plan, Raw};

/// Chance exceeds this once in 16,000 measurements.
const MOST: f64 = 4.0;

/// Logins at a time. The pause after a failure passes while others are measured.
const AT_ONCE: u32 = 8;

/// One login that fails: how long the challenge and the refusal took.
async fn login(address: SocketAddr, number: u32, user: &'static str) -> (Duration, Duration) {
    let source: IpAddr = Ipv4Addr::from_bits(0x7f01_0000 + number).into();
    let mut raw = Raw::connect_from(source, address, Channel::Tls).await.unwrap();
    let asked = Instant::now();
    let mut challenged = Duration::ZERO;
    let mut proved = asked;
    let refused = raw
        .try_login_between(user, "not the password", async || {
            challenged = asked.elapsed();
            proved = Instant::now();
        })
        .await;
    refused.unwrap_err();
    (challenged, proved.elapsed())
}

/// The standard score of U under the hypothesis that both are of one sort, and the medians.
#[expect(clippy::cast_precision_loss, reason = "a score of three digits")]
fn compare(one: &mut [Duration], other: &mut [Duration]) -> (f64, Duration, Duration) {
    let mut all: Vec<(Duration, bool)> = one.iter().map(|time| (*time, true)).collect();
    all.extend(other.iter().map(|time| (*time, false)));
    all.sort_unstable();
    let ranks: f64 = (1..)
        .zip(&all)
        .filter(|(_, (_, first))| *first)
        .map(|(rank, _)| f64::from(rank))
        .sum();
    let (n, m) = (one.len() as f64, other.len() as f64);
    let u = ranks - n * (n + 1.0) / 2.0;
    let score = (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    one.sort_unstable();
    other.sort_unstable();
    (score, one[one.len() / 2], other[other.len() / 2])
}

#[tokio::main]
async fn main() -> ExitCode {
    let samples: u32 = std::env::args().nth(1).map_or(2_000, |text| text.parse().unwrap());
    // Salts of the rig are names: these are of one length, as real ones are.
    let mut plan = Plan::new().user("alice", "").limits("login_failures = 1000000");
    for number in 0..20 {
        plan = plan.user(&format!("us-{number:02}"), "");
    }
    let rig = plan.start();
    let address = rig.address();
    let (mut known, mut unknown) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    let mut running = tokio::task::JoinSet::new();
    for number in 0..2 * samples {
        // In turns, so that what the machine does meanwhile hits both alike; fair ones (Thue and Morse), for the first
        // of a pair meets another machine than the second.
        let is_known = number.count_ones() % 2 == 0;
        let user = if is_known { "alice" } else { "nobod" };
        running.spawn(async move { (is_known, login(address, number, user).await) });
        while running.len() >= usize::try_from(AT_ONCE).unwrap() || (number + 1 == 2 * samples && !running.is_empty()) {
            let (is_known, (challenge, refusal)) = running.join_next().await.unwrap().unwrap();
            let times = if is_known { &mut known } else { &mut unknown };
            times.0.push(challenge);
            times.1.push(refusal);
        }
    }
    let challenges = compare(&mut known.0, &mut unknown.0);
    let refusals = compare(&mut known.1, &mut unknown.1);
    let mut differs = false;
    for (what, (score, known, unknown)) in [("challenge", challenges), ("refusal", refusals)] {
        println!("{what}: median {known:?} for a user, {unknown:?} for nobody, score {score:.2}");
        differs |= score.abs() > MOST;
    }
    println!("{} logins each; beyond {MOST} is a difference", samples);
    ExitCode::from(u8::from(differs))
}
