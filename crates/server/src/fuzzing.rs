//! Entry points of the fuzz targets: each takes any bytes and panics when a promise of this crate is broken.
//!
//! Built for tests and under `cargo fuzz` only; see `fuzz/README.md`.

mod text;

pub use text::escape;
pub(crate) use text::{is_safe, memory};

pub use crate::doors::native::fuzzing::{mutate_session, session};
pub use crate::log_view::fuzzing::log;
pub use crate::users_file::fuzzing::users;

#[cfg(test)]
#[path = "../../../fuzz/shared/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_text_keeps_the_promises() {
        replay::replay("escape", escape);
        replay::replay("log", log);
        replay::replay("users", users);
    }

    #[test]
    fn every_committed_session_keeps_the_promises() {
        replay::replay("session", session);
    }
}
