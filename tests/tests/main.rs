//! End to end: the real programs over real sockets. Each file has one subject.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod cli;
mod concurrent;
mod crash;
mod limits;
mod log;
mod login;
mod names;
mod paths;
mod protocol;
mod quota;
mod reload;
mod resume;
mod shell;
mod shutdown;
mod transfer;
