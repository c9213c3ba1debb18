//! End to end: the real programs over real sockets. Each file has one subject.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod transfer;
