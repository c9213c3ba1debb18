//! Load: what the server makes of many sessions, many transfers, and a long time.
//!
//! Each kind is a function with a size, so that a test runs it small and `cargo run --release -p
//! ftp-tests --bin load` as large as one likes. It panics when anything is lost, and what it measured
//! comes back as a [`Report`].

mod idle;
mod soak;
mod transfers;

use std::fmt;
use std::time::Duration;

use crate::{Rig, Vitals};

pub use idle::{Idle, idle};
pub use soak::{Soak, soak};
pub use transfers::{Transfers, transfers};

/// How often figures that nothing announces are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A table of figures: what, and how much.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: Vec<(String, String)>,
}

impl Report {
    fn row(&mut self, what: impl Into<String>, how_much: impl fmt::Display) {
        self.rows.push((what.into(), how_much.to_string()));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(what, _)| what.chars().count()).max();
        let width = width.unwrap_or(0);
        for (what, how_much) in &self.rows {
            writeln!(f, "| {what:width$} | {how_much:>16} |")?;
        }
        Ok(())
    }
}

/// The name of one of many users.
fn user(number: usize) -> String {
    format!("user{number}")
}

fn server(rig: &Rig) -> Vitals {
    Vitals::of(rig.server().pid())
}

/// The private memory of the server in KiB, once it has stopped changing.
async fn settled_kib(rig: &Rig) -> u64 {
    // A second without change is long against everything that the server still does by itself.
    const SAME: u32 = 10;
    let mut last = server(rig).private_kib();
    let mut same = 0;
    for _ in 0..600 {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = server(rig).private_kib();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same == SAME {
            break;
        }
    }
    last
}
