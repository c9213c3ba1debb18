//! Rates by a paused clock: figures are exact.

use futures::FutureExt as _;

use super::*;

/// How long `work` takes by the paused clock.
async fn seconds(work: impl Future<Output = ()>) -> f64 {
    let began = Instant::now();
    work.await;
    began.elapsed().as_secs_f64()
}

/// Equal but for the timer's millisecond.
#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 0.01, "{found} s instead of {expected} s");
}

#[tokio::test(start_paused = true)]
async fn a_full_bucket_gives_a_second_at_once_and_then_its_rate() {
    let bucket = Bucket::new(Some(1000));
    let mut share = Share::of(&bucket);
    close(seconds(share.take(1000)).await, 0.0);
    // Exactly empty is no debt yet.
    close(seconds(share.take(500)).await, 0.0);
    close(seconds(share.take(1)).await, 0.5);
    let rest = async {
        for _ in 0..100 {
            share.take(100).await;
        }
        share.take(1).await;
    };
    close(seconds(rest).await, 10.0);
}

#[tokio::test(start_paused = true)]
async fn time_without_use_is_saved_for_a_second_and_no_longer() {
    let bucket = Bucket::new(Some(1000));
    let mut share = Share::of(&bucket);
    share.take(1000).await;
    assert!(!bucket.is_full());
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(bucket.is_full());
    share.take(1001).await;
    close(seconds(share.take(1)).await, 0.001);
}

#[tokio::test(start_paused = true)]
async fn many_sessions_together_have_the_rate_once() {
    let bucket = Bucket::new(Some(1000));
    let session = || {
        let mut share = Share::of(&bucket);
        tokio::spawn(async move {
            for _ in 0..10 {
                share.take(100).await;
            }
        })
    };
    let sessions: Vec<_> = (0..8).map(|_| session()).collect();
    let all = async {
        for session in sessions {
            session.await.unwrap();
        }
        Share::of(&bucket).take(1).await;
    };
    // 8,000 units, 1,000 of them saved.
    close(seconds(all).await, 7.0);
}

#[tokio::test(start_paused = true)]
async fn small_requests_and_large_chunks_share_evenly() {
    let bucket = Bucket::new(Some(1000));
    Share::of(&bucket).take(1000).await;
    let session = |units: u64| {
        let mut share = Share::of(&bucket);
        let had = Arc::new(Mutex::new(0));
        let total = Arc::clone(&had);
        let task = tokio::spawn(async move {
            loop {
                share.take(units).await;
                *total.lock().unwrap() += units;
            }
        });
        (had, task)
    };
    let (small, one) = session(1);
    let (large, other) = session(256);
    sleep(Duration::from_secs(60)).await;
    one.abort();
    other.abort();
    let (small, large) = (*small.lock().unwrap(), *large.lock().unwrap());
    assert!(small.abs_diff(large) <= 2 * 256, "{small} and {large}");
    assert!((small + large).abs_diff(60_000) <= 2 * 256, "{small} and {large}");
}

#[tokio::test(start_paused = true)]
async fn who_was_away_has_no_claim_on_what_was_used_meanwhile() {
    let bucket = Bucket::new(Some(1000));
    let (mut busy, mut away) = (Share::of(&bucket), Share::of(&bucket));
    for _ in 0..100 {
        busy.take(1000).await;
    }
    away.take(1).await;
    let (mut first, mut second) = (0, 0);
    for _ in 0..20 {
        tokio::select! {
            () = busy.take(1000) => first += 1,
            () = away.take(1000) => second += 1,
        }
    }
    assert!(first >= 5 && second >= 5, "{first} and {second}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_rate_concerns_who_waits_already() {
    let bucket = Bucket::new(Some(10));
    let mut share = Share::of(&bucket);
    share.take(10_010).await;
    let mut other = Share::of(&bucket);
    let waiting = tokio::spawn(async move { other.take(1).await });
    sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished(), "a debt of 10,000 at 10 a second");
    bucket.set_rate(Some(100_000));
    close(seconds(async { waiting.await.unwrap() }).await, 0.1);
    share.take(200_000).await;
    assert!(share.take(1).now_or_never().is_none());
    bucket.set_rate(None);
    close(seconds(share.take(u64::MAX)).await, 0.0);
    bucket.set_rate(Some(10));
    close(seconds(share.take(10)).await, 0.0);
    close(seconds(share.take(10)).await, 0.0);
    close(seconds(share.take(10)).await, 1.0);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_nothing_and_holds_nobody_up() {
    let bucket = Bucket::new(Some(1000));
    Share::of(&bucket).take(2000).await;
    let (mut first, mut second) = (Share::of(&bucket), Share::of(&bucket));
    let leaving = tokio::spawn(async move { first.take(1_000_000).await });
    let staying = tokio::spawn(async move { second.take(1).await });
    tokio::task::yield_now().await;
    leaving.abort();
    close(seconds(async { staying.await.unwrap() }).await, 1.0);
    assert!(bucket.state().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_waits() {
    let bucket = Bucket::new(None);
    let mut share = Share::of(&bucket);
    for _ in 0..1000 {
        share.take(u64::MAX).await;
    }
    assert!(bucket.is_full());
    assert_eq!(bucket.state().level.wait(), Duration::ZERO);
}
