//! Entry points of the fuzz targets: each takes any bytes and panics when a promise of this crate is broken.
//!
//! Built for tests and under `cargo fuzz` only; see `fuzz/README.md`.

mod paths;

pub use paths::paths;

pub use crate::kept::fuzzing::kept;
pub use crate::staging::fuzzing::staging;

#[cfg(test)]
#[path = "../../../fuzz/shared/replay.rs"]
mod replay;

#[cfg(test)]
#[test]
fn every_committed_input_keeps_the_promises() {
    replay::replay("paths", paths);
    replay::replay("kept", kept);
    replay::replay("staging", staging);
}
