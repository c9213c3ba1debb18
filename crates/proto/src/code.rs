//! Stable error codes. Programs decide on the code, never on the sentence beside it.

use serde::{Deserialize, Serialize};

/// What went wrong, as it travels. `docs/protocol.md` lists each code with its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The request is understood but makes no sense, such as an offset beyond the end.
    BadRequest,
    /// The name or path can not be used: too long, reserved, or it contains NUL.
    BadName,
    /// Another transfer holds what this request needs and did not let go in time.
    Busy,
    /// The request was cancelled by the peer that made it.
    Cancelled,
    /// The digest of the received bytes is not the one the sender promised.
    DigestMismatch,
    /// The target is there and the request did not allow replacing it.
    Exists,
    /// The server failed for a reason of its own; its log has the cause.
    Internal,
    /// The path is a directory and the request needs a file.
    IsDirectory,
    /// The number of bytes received is not the number announced.
    LengthMismatch,
    /// User or password is wrong. The same for unknown users.
    LoginFailed,
    /// The disk below the server has no room.
    NoSpace,
    /// The path is neither a file nor a directory that can be transferred (FIFO, device, socket).
    NotAFile,
    /// The path is a file and the request needs a directory.
    NotDirectory,
    /// The directory is not empty.
    NotEmpty,
    /// There is nothing at this path.
    NotFound,
    /// The user's rights do not include this.
    NotPermitted,
    /// The path leads out of the user's home.
    OutsideHome,
    /// The peer broke the rules of the wire; the connection ends.
    Protocol,
    /// The user's quota of bytes does not allow this.
    QuotaBytes,
    /// The user's quota of files and directories does not allow this.
    QuotaEntries,
    /// The server is shutting down; uploads stay resumable.
    ShuttingDown,
    /// The source changed while it was read.
    SourceChanged,
    /// A newer upload of the same user to the same path took over.
    TakenOver,
    /// The peer sent nothing for too long.
    TimedOut,
    /// The user has as many sessions as allowed.
    TooManySessions,
    /// The address failed to log in too often; try again after the time given.
    TryLater,
    /// The request is not known to this server.
    UnknownRequest,
    /// The protocol version is not spoken here.
    Version,
    /// A code this version does not know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// Whether the same request can succeed later without anybody changing it.
    pub fn may_retry(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::DigestMismatch
                | Self::LengthMismatch
                | Self::ShuttingDown
                | Self::TimedOut
                | Self::TooManySessions
                | Self::TryLater
        )
    }

    /// The name on the wire, also used in logs.
    pub fn name(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_else(|| "unknown".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_code_is_kept_apart_from_malformed_json() {
        assert_eq!(
            serde_json::from_str::<Code>("\"from_the_future\"").unwrap(),
            Code::Unknown
        );
        assert!(serde_json::from_str::<Code>("7").is_err());
        assert_eq!(Code::QuotaBytes.name(), "quota_bytes");
    }
}
