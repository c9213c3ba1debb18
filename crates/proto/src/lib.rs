//! The wire language of `ftpd`: frames, messages, names, error codes and the SCRAM login.
//!
//! Everything here is sans-I/O, values in and values out, save [`FrameReader`] and [`FrameWriter`],
//! which carry frames over any byte stream. The crate knows no sockets, no files and no clocks.
//! `docs/protocol.md` is the normative description; its byte-exact examples are tests of this crate.

mod chunk;
mod code;
mod conn;
mod error;
mod fault;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hello;
mod message;
mod name;
mod payload;
mod read_ahead;
pub mod scram;
mod secret;
mod text;
mod trash;

pub use chunk::{Chunk, Steps};
pub use code::Code;
pub use conn::{FrameReader, FrameWriter};
pub use error::ProtocolError;
pub use fault::Fault;
pub use frame::{
    DATA_HEAD_BYTES, Frame, FrameCodec, LENGTH_BYTES, MAX_DATA_BYTES, MAX_HEADER_BYTES, MAX_LOGIN_HEADER_BYTES,
    begin_data, data_head, seal_data,
};
pub use hello::{
    BEAT_INTERVAL, ClientHello, Limits, LoginReply, LoginRequest, PEER_TIMEOUT, PROTOCOL_VERSION, ServerHello,
};
pub use message::{Op, Re, Reply, Request};
pub use name::{InvalidName, decode_name, encode_name};
pub use payload::{BlockList, Entry, Kind, Page, ResumeMode, Staged, Stored, Timestamp, UsageReport};
pub use read_ahead::ReadAhead;
pub use secret::Secret;
pub use trash::{Purged, Reason, Restored, TrashItem};
