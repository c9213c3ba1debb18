//! Entry points of the fuzz targets: each takes any bytes and panics when a promise of this crate is broken.
//!
//! Built for tests and under `cargo fuzz` only; see `fuzz/README.md`. Those of the program stand in
//! `cli/fuzzing.rs`, and are reached through here by `cargo fuzz`.

mod server;

pub use server::{client, client_login, mutate_client};

#[cfg(fuzzing)]
pub use crate::cli::fuzzing::{profile, shell, terminal};

#[cfg(test)]
#[path = "../../../fuzz/shared/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_server_is_survived() {
        replay::replay("client", client);
    }

    #[test]
    fn no_committed_server_passes_the_login() {
        replay::replay("client_login", client_login);
    }
}
