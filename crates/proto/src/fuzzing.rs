//! Entry points of the fuzz targets: each takes any bytes and panics when a promise of this crate is broken.
//!
//! Built for tests and under `cargo fuzz` only; see `fuzz/README.md`.

mod frames;
mod messages;

pub use crate::scram::fuzzing::{scram_client, scram_server};
pub use frames::frames;
pub use messages::{messages, names};

#[cfg(test)]
#[path = "../../../fuzz/shared/replay.rs"]
#[expect(clippy::disallowed_methods, reason = "the committed inputs are files")]
mod replay;

#[cfg(test)]
#[test]
fn every_committed_input_keeps_the_promises() {
    replay::replay("frames", frames);
    replay::replay("messages", messages);
    replay::replay("names", names);
    replay::replay("scram_client", scram_client);
    replay::replay("scram_server", scram_server);
}
