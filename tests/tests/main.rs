//! End to end: the real programs over real sockets. Each file has one subject.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod campaign;
mod care;
mod cli;
mod clock;
mod concurrent;
mod crash;
mod durability;
mod faults;
mod guessing;
mod hostile;
mod lies;
mod limits;
mod load;
mod log;
mod login;
mod motion;
mod names;
mod order;
mod paths;
mod protocol;
mod quota;
mod rates;
mod reload;
mod resume;
mod shell;
mod shutdown;
mod transfer;
mod trash;
mod trees;
mod troubles;
mod walls;
