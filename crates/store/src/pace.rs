//! Work in the background at a chosen rate.

use std::time::Duration;

use tokio::time::Instant;

/// Time that was not used counts for so long, so that a pause is not made up for by a rush.
const MEMORY: Duration = Duration::from_secs(1);

/// The rate at which something may be done, such as bytes a second.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    per_second: Option<u64>,
    /// When all that was spent so far is paid for.
    paid: Option<Instant>,
}

impl Pace {
    /// As fast as it goes.
    pub const FULL: Self = Self {
        per_second: None,
        paid: None,
    };

    /// At most so much a second.
    pub fn per_second(rate: u64) -> Self {
        Self {
            per_second: Some(rate.max(1)),
            paid: None,
        }
    }

    /// Waits as long as `amount` that was just spent is worth.
    ///
    /// # Cancel safety
    ///
    /// Safe: the amount counts in any case.
    pub async fn spend(&mut self, amount: u64) {
        let Some(rate) = self.per_second else { return };
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(rate);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = Instant::now();
        let earliest = now.checked_sub(MEMORY).unwrap_or(now);
        let paid = self.paid.unwrap_or(now).max(earliest) + cost;
        self.paid = Some(paid);
        tokio::time::sleep_until(paid).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rate_holds_over_many_steps_and_a_pause_is_no_credit() {
        let began = Instant::now();
        let mut pace = Pace::per_second(1000);
        for _ in 0..40 {
            pace.spend(100).await;
        }
        assert_eq!(began.elapsed().as_secs(), 4);
        tokio::time::advance(Duration::from_secs(3600)).await;
        let resumed = Instant::now();
        pace.spend(3000).await;
        assert_eq!(resumed.elapsed().as_secs(), 2);
        let mut full = Pace::FULL;
        full.spend(u64::MAX).await;
        assert_eq!(resumed.elapsed().as_secs(), 2);
    }
}
