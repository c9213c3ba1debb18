//! What a peer can do wrong on the wire. Each of these ends the connection.

use std::io;

use crate::Code;

/// A broken connection or a broken rule.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The stream ended in the middle of a frame, or without the goodbye that its own protocol asks for.
    #[error("the connection ended in the middle of a frame")]
    Truncated,
    /// A frame of length zero carries no kind.
    #[error("a frame must not be empty")]
    EmptyFrame,
    /// A frame longer than its kind allows was announced; nothing of it was read.
    #[error("a {kind} frame of {length} bytes was announced, and at most {maximum} are allowed")]
    FrameTooLong {
        /// `header` or `data`.
        kind: &'static str,
        /// The announced length of the payload in bytes.
        length: u64,
        /// The largest payload allowed.
        maximum: u64,
    },
    /// The first byte of a frame names no kind.
    #[error("frame kind 0x{0:02x} is not known")]
    UnknownKind(u8),
    /// A header is no JSON object of the expected form.
    #[error("a header could not be understood")]
    Malformed(#[source] serde_json::Error),
    /// A frame arrived that has no place here.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    /// The stream failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

impl ProtocolError {
    /// The code that tells the peer, or `None` when the stream itself is gone.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Truncated | Self::Io(_) => None,
            _ => Some(Code::Protocol),
        }
    }
}

impl From<io::Error> for ProtocolError {
    /// An end that comes too early is one, whichever layer notices it; what TLS says of it is for its
    /// developers.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_is_told_in_our_own_words() {
        let words_of_a_layer = io::Error::new(io::ErrorKind::UnexpectedEof, "see https://example.org");
        assert!(matches!(words_of_a_layer.into(), ProtocolError::Truncated));
        let other = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(matches!(other.into(), ProtocolError::Io(_)));
    }
}
