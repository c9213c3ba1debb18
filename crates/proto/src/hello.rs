//! The first messages of a connection: hello and login. After them only [`crate::Request`] and
//! [`crate::Reply`] travel.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Fault, MAX_DATA_BYTES, MAX_HEADER_BYTES};

/// The version of the protocol spoken here.
pub const PROTOCOL_VERSION: u32 = 1;

/// A side that has sent nothing for so long sends a beat.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(15);

/// A side that has received nothing for so long takes the peer for dead: four lost beats.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(60);

/// What the client says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// The protocol version.
    pub version: u32,
    /// Program and version, for the log.
    #[serde(default)]
    pub agent: String,
}

/// What the server says first, without waiting for the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHello {
    /// The protocol version.
    pub version: u32,
    /// Program and version.
    #[serde(default)]
    pub agent: String,
    /// The login mechanisms offered (RFC 7677): with `-PLUS` under TLS, without it in plaintext.
    pub mechanisms: Vec<String>,
    /// The digest algorithms offered.
    #[serde(default)]
    pub digests: Vec<String>,
    /// The limits that hold after login.
    #[serde(default)]
    pub limits: Limits,
}

/// The limits of a server, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The longest JSON header.
    pub max_header_bytes: u64,
    /// The longest chunk in a data frame.
    pub max_data_bytes: u64,
    /// The largest `put` that may go without asking first.
    pub small_put_bytes: u64,
    /// How many seconds of silence the server takes for the end of the peer.
    pub peer_timeout_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_header_bytes: MAX_HEADER_BYTES as u64,
            max_data_bytes: MAX_DATA_BYTES as u64,
            small_put_bytes: MAX_DATA_BYTES as u64,
            peer_timeout_seconds: PEER_TIMEOUT.as_secs(),
        }
    }
}

/// What the client sends until it is logged in. `Debug` shows nothing of the SCRAM messages.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum LoginRequest {
    /// The first message.
    Hello(ClientHello),
    /// SCRAM's client-first-message (RFC 5802 section 5).
    Login {
        /// The mechanism chosen.
        mechanism: String,
        /// The SCRAM message.
        message: String,
    },
    /// SCRAM's client-final-message.
    Proof {
        /// The SCRAM message.
        message: String,
    },
}

/// What the server sends until the client is logged in. `Debug` shows nothing of the SCRAM messages.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "re", rename_all = "snake_case")]
pub enum LoginReply {
    /// The first message.
    Hello(ServerHello),
    /// SCRAM's server-first-message.
    Challenge {
        /// The SCRAM message.
        message: String,
    },
    /// SCRAM's server-final-message: the login is done.
    Welcome {
        /// The SCRAM message with the server's signature.
        message: String,
    },
    /// The login failed or the server is unwilling; the connection ends.
    Error(Fault),
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(hello) => f.debug_tuple("Hello").field(hello).finish(),
            Self::Login { mechanism, .. } => f
                .debug_struct("Login")
                .field("mechanism", mechanism)
                .finish_non_exhaustive(),
            Self::Proof { .. } => f.write_str("Proof(***)"),
        }
    }
}

impl fmt::Debug for LoginReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(hello) => f.debug_tuple("Hello").field(hello).finish(),
            Self::Challenge { .. } => f.write_str("Challenge(***)"),
            Self::Welcome { .. } => f.write_str("Welcome(***)"),
            Self::Error(fault) => f.debug_tuple("Error").field(fault).finish(),
        }
    }
}
