//! The load of `cargo run --release -p ftp-tests --bin load`, small enough for every day.

use std::time::Duration;

use ftp_tests::load;

#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_cost_little_memory() {
    let measured = load::idle(100, Duration::ZERO).await;
    // The target is 40 KiB a session of thousands; so few also pay for what all of them share, and this
    // may be a build without optimisation.
    assert!(measured.session_bytes <= 80 * 1024, "\n{}", measured.report);
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_at_once_are_all_done_and_verified() {
    load::transfers(20, 600_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_work_leaves_nothing_over() {
    let soaked = load::soak(Duration::from_secs(3)).await;
    assert!(soaked.rounds > 0);
}
