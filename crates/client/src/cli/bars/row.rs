//! One line on the screen.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::super::format;
use super::super::pace::Pace;

/// The columns of a name; longer ones lose their middle.
const NAME_COLUMNS: usize = 20;

/// `#` and `-` rather than blocks: every terminal and every font has them.
const BAR: &str = "{prefix:20} [{wide_bar}] {status}";
const NO_BAR: &str = "{prefix:20} {status}";

/// What a transfer is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Bytes that are there already are compared.
    Comparing { done: u64, total: u64 },
    /// Bytes move.
    Moving,
    /// All bytes moved; the proof is awaited.
    Verifying,
    /// The connection is gone.
    Waiting,
}

/// A bar with its name and what stands behind it.
#[derive(Debug)]
pub(super) struct Row {
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    pace: Pace,
    size: Option<u64>,
    /// The file that moves now, where the row stands for many.
    current: String,
}

impl Row {
    /// A row of `size` bytes, if that is known; `place` puts its bar on the screen.
    pub(super) fn new(
        name: &str,
        size: Option<u64>,
        now: Instant,
        place: impl FnOnce(ProgressBar) -> ProgressBar,
    ) -> Self {
        // Hidden until it is complete, or half of it would be drawn.
        let mut row = Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            state: Arc::new(Mutex::new(State {
                phase: Phase::Moving,
                pace: Pace::new(now, 0),
                size: None,
                current: String::new(),
            })),
        };
        row.set_style(NO_BAR);
        if let Some(size) = size {
            row.set_size(size);
        }
        row.set_name(name);
        row.bar = place(row.bar);
        row
    }

    pub(super) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    pub(super) fn done(&self) -> u64 {
        self.lock().pace.done()
    }

    pub(super) fn set_name(&self, name: &str) {
        self.bar.set_prefix(elided(name));
    }

    pub(super) fn set_current(&self, name: &str) {
        self.lock().current = elided(name);
    }

    pub(super) fn set_size(&self, size: u64) {
        let known = self.lock().size.replace(size).is_some();
        if !known {
            self.set_style(BAR);
        }
        self.bar.set_length(size);
    }

    pub(super) fn shrink(&self, bytes: u64) {
        let size = self.lock().size;
        if let Some(size) = size {
            self.set_size(size.saturating_sub(bytes));
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.lock().phase = phase;
        self.bar.tick();
    }

    pub(super) fn begin_at(&self, now: Instant, kept: u64) {
        {
            let mut state = self.lock();
            state.phase = Phase::Moving;
            state.pace = Pace::new(now, kept);
        }
        self.bar.set_position(kept);
    }

    pub(super) fn credit(&self, bytes: u64) {
        let done = {
            let mut state = self.lock();
            state.pace.credit(bytes);
            state.pace.done()
        };
        self.bar.set_position(done);
    }

    pub(super) fn moved(&self, now: Instant, done: u64) {
        {
            let mut state = self.lock();
            state.phase = Phase::Moving;
            state.pace.moved(now, done);
        }
        self.bar.set_position(done);
    }

    fn set_style(&self, template: &str) {
        let state = Arc::clone(&self.state);
        let status = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let text = state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .status(Instant::now());
            // Writing into the line that is being drawn; a failure would only shorten it.
            let _ = out.write_str(&text);
        };
        let style = ProgressStyle::with_template(template)
            .expect("the template is a constant")
            .progress_chars("#>-")
            .with_key("status", status);
        self.bar.set_style(style);
    }

    // Never held while the bar draws: drawing asks for the status, which takes it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn status(&self, now: Instant) -> String {
        let mut text = match self.size {
            Some(size) => format!(
                "{} {}/{}",
                percent(self.pace.done(), size),
                format::size(self.pace.done()),
                format::size(size)
            ),
            None => format::size(self.pace.done()),
        };
        let more = match self.phase {
            Phase::Comparing { done, total } => format!("comparing {}", percent(done, total).trim_start()),
            Phase::Verifying => "verifying".to_owned(),
            Phase::Waiting => "waiting for the connection".to_owned(),
            Phase::Moving => self.speed(now),
        };
        for part in [&more, &self.current] {
            if !part.is_empty() {
                text.push_str("  ");
                text.push_str(part);
            }
        }
        text
    }

    fn speed(&self, now: Instant) -> String {
        if let Some(time) = self.pace.stalled(now) {
            return format!("stalled {}", format::remaining(time));
        }
        let Some(rate) = self.pace.rate(now) else {
            return String::new();
        };
        let rate = format::per_second(rate);
        match self.size.and_then(|size| self.pace.remaining(now, size)) {
            Some(left) => format!("{rate}  {} left", format::remaining(left)),
            None => rate,
        }
    }
}

fn percent(done: u64, total: u64) -> String {
    let percent = match total {
        0 => 100,
        // In 128 bits: a hundred times the largest file does not fit into 64.
        total => u128::from(done) * 100 / u128::from(total),
    };
    format!("{:>3}%", percent.min(100))
}

/// The name in at most [`NAME_COLUMNS`] columns: beginning and end tell files apart.
fn elided(name: &str) -> String {
    if name.width() <= NAME_COLUMNS {
        return name.to_owned();
    }
    let tail_columns = NAME_COLUMNS / 2;
    let head = fitting(name.chars(), NAME_COLUMNS - tail_columns - 1);
    let tail: String = fitting(name.chars().rev(), tail_columns).chars().rev().collect();
    format!("{head}…{tail}")
}

fn fitting(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut left = columns;
    chars
        .take_while(|c| {
            let width = c.width().unwrap_or(0);
            let fits = width <= left;
            left = left.saturating_sub(width);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(elided("demo.mp4"), "demo.mp4");
        assert_eq!(elided("holiday-2026-part-one.mp4"), "holiday-2…rt-one.mp4");
        assert!(elided(&"漢".repeat(40)).width() <= NAME_COLUMNS);
    }

    #[test]
    fn the_status_tells_rate_rest_and_stalls() {
        let start = Instant::now();
        let row = Row::new("demo.mp4", Some(100 << 20), start, |bar| bar);
        row.begin_at(start, 50 << 20);
        let later = start + Duration::from_secs(1);
        row.moved(later, 60 << 20);
        let status = |now| row.lock().status(now);
        assert_eq!(status(later), " 60% 60.0 MiB/100 MiB  10.0 MiB/s  4 s left");
        assert_eq!(
            status(later + Duration::from_secs(3)),
            " 60% 60.0 MiB/100 MiB  stalled 3 s"
        );
        row.enter(Phase::Verifying);
        assert_eq!(status(later), " 60% 60.0 MiB/100 MiB  verifying");
        row.enter(Phase::Comparing { done: 1, total: 4 });
        assert_eq!(status(later), " 60% 60.0 MiB/100 MiB  comparing 25%");
    }
}
