//! Waiting for events.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen before it fails: far longer than anything
/// takes, so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often an event that nothing announces is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Asks until there is an answer. Blocks.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    answer(ask).unwrap_or_else(|| panic!("this never happened: {what}"))
}

/// Asks until there is an answer; `None` when there is none after [`PATIENCE`].
pub(crate) fn answer<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() >= deadline {
            return answer;
        }
        thread::sleep(LOOK_EVERY);
    }
}
