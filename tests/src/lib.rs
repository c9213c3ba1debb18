//! The rig of the end-to-end tests: the real `ftpd` and `ftp-cli` over real sockets.
//!
//! A [`Rig`] is one server with its own directory and port, and clients with homes of their own.
//! Between them a [`Proxy`] can break, stall or damage connections after a given number of bytes,
//! a [`Middle`] can sit in the middle of TLS, and a [`Raw`] client can say what no real one does.
//! A [`Tracer`] records the system calls of a program and makes chosen ones fail.
//! Nothing here sleeps for a time: whatever is waited for is an event, and patience has an end.
//!
//! The programs are built first, beside the tests and with their profile; `FTP_TESTS_PROGRAMS` names
//! a directory with others to be tested instead. All of it panics on failure, as tests do.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

pub mod campaign;
mod cli;
mod disk;
mod liar;
pub mod load;
mod log;
mod middle;
mod mounts;
mod process;
mod programs;
mod proxy;
mod raw;
mod rig;
mod server;
mod tracer;
mod vitals;
mod wait;

pub use cli::{Cli, Ran, Running};
pub use disk::{Counts, MIB, flip_byte, noise, parts, sha256, snapshot, walk, write_noise, write_sparse};
pub use liar::{Deceived, Forge, Liar};
pub use log::Log;
pub use middle::{Middle, connect_tls};
pub use nix::errno::Errno;
pub use programs::{ftp_cli, ftpd};
pub use proxy::{Break, Direction, Fault as LinkFault, Proxy};
pub use raw::{Channel, Raw, pretend_server};
pub use rig::{PASSWORD, Plan, Rig, verifier};
pub use server::Server;
pub use tracer::{Call, Effect, Fault, Hits, Tracer, skipped};
pub use vitals::Vitals;
pub use wait::{PATIENCE, eventually};
