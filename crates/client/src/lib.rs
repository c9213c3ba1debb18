//! Everything that `ftp-cli` does, as a library: sessions with an `ftpd`, and transfers that are
//! verified, resumed and retried.
//!
//! Start with [`Client`]. What happens on the way is told to an [`Observer`]; this library never
//! prints and never asks.

// The program's own files, which are no part of the library otherwise.
#[cfg(fuzzing)]
#[expect(
    dead_code,
    unreachable_patterns,
    reason = "the program itself is not fuzzed, and stands outside the library otherwise"
)]
mod cli;
#[cfg(fuzzing)]
extern crate self as ftp_client;

mod arriving;
mod batch;
mod client;
mod conflict;
mod damage;
mod download;
mod error;
mod followed;
mod follower;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod get;
mod hashing;
mod items;
mod landing;
mod link;
mod login;
mod observer;
mod options;
mod partial;
mod path;
mod pipe;
mod placing;
mod put;
mod requests;
mod sink;
mod source;
mod steps;
mod stream;
mod target;
mod upload;
mod walk;

pub use client::Client;
pub use error::{Error, ErrorKind};
pub use ftp_digest::{Algorithm, Digest};
pub use ftp_proto::scram::{Credential, DerivedKeys};
pub use ftp_proto::{
    Code, Entry, Fault, Kind, Purged, Reason, Restored, Secret, Staged, Stored, Timestamp, TrashItem, UsageReport,
};
pub use observer::{Conflict, Decision, Ends, Event, Observer, TransferId};
pub use options::{ConnectOptions, GetItem, Outcome, PutItem, Resume, RetryPolicy, TransferOptions, Transferred};
pub use path::RemotePath;
pub use requests::{ListLimit, Listing};
pub use target::{Address, DEFAULT_PORT, InvalidTarget, Target};
pub use walk::RemoteWalk;
