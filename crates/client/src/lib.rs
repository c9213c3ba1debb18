//! Everything that `ftp-cli` does, as a library: sessions with an `ftpd`, and transfers that are
//! verified, resumed and retried.
//!
//! Start with [`Client`]. What happens on the way is told to an [`Observer`]; this library never
//! prints and never asks.

mod batch;
mod client;
mod conflict;
mod download;
mod error;
mod get;
mod link;
mod login;
mod observer;
mod options;
mod partial;
mod path;
mod pipe;
mod put;
mod requests;
mod source;
mod stream;
mod target;
mod upload;
mod walk;

pub use client::Client;
pub use error::{Error, ErrorKind};
pub use ftp_digest::{Algorithm, Digest};
pub use ftp_proto::scram::{Credential, DerivedKeys};
pub use ftp_proto::{Code, Entry, Fault, Kind, Secret, Staged, Stored, Timestamp, UsageReport};
pub use observer::{Conflict, Decision, Event, Observer, TransferId};
pub use options::{ConnectOptions, GetItem, Outcome, PutItem, Resume, RetryPolicy, TransferOptions, Transferred};
pub use path::RemotePath;
pub use requests::Listing;
pub use target::{Address, DEFAULT_PORT, InvalidTarget, Target};
