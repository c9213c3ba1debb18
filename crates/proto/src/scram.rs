//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) with `tls-exporter` channel binding
//! (RFC 9266): both sides as step machines that take and give text and never wait.
//!
//! The password never travels. The server stores a [`Verifier`] from which nobody can log in, and
//! proves to the client that it has it. Under TLS both sides sign keying material of their channel,
//! so whoever sits in the middle with another certificate fails on both sides.

mod client;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod server;
mod syntax;
mod verifier;

#[cfg(test)]
mod tests;

pub use client::{ClientExchange, Credential};
pub use keys::{DerivedKeys, KEY_BYTES};
pub use server::{ClientFirst, ServerExchange};
pub use verifier::{InvalidVerifier, Lot, Verifier};

/// The mechanism bound to the TLS channel.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The mechanism without channel binding, for plaintext connections only.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// The label under which both sides export keying material (RFC 9266 section 4.1).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// PBKDF2 iterations for new verifiers: what OWASP recommends for PBKDF2-HMAC-SHA256, about 50 ms.
/// The client pays them, not the server.
pub const DEFAULT_ITERATIONS: u32 = 600_000;

/// Fewer iterations than RFC 7677 demands are refused by the client: a server in the middle would
/// ask for few, to guess passwords cheaply.
pub const MIN_ITERATIONS: u32 = 4_096;

/// More iterations are refused by the client: a hostile server would keep it busy for minutes.
pub const MAX_ITERATIONS: u32 = 10_000_000;

/// The random bytes in each side's nonce.
const NONCE_BYTES: usize = 24;

/// The salt of a new verifier in bytes.
const SALT_BYTES: usize = 16;

/// What the login is bound to. It has no `Debug`: keying material of the connection is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// A plaintext connection: there is nothing to bind to.
    None,
    /// Keying material exported from the TLS connection.
    TlsExporter([u8; 32]),
}

impl Binding {
    /// The mechanism that goes with it.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::None => MECHANISM,
            Self::TlsExporter(_) => MECHANISM_PLUS,
        }
    }

    /// The GS2 header of RFC 5802 section 7, without an authorisation identity.
    fn gs2_header(&self) -> &'static str {
        match self {
            Self::None => "n,,",
            Self::TlsExporter(_) => "p=tls-exporter,,",
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::TlsExporter(data) => data,
        }
    }
}

/// Why a login can not go on. On the server every variant but [`ScramError::Syntax`] and
/// [`ScramError::Binding`] becomes the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message does not follow the grammar of RFC 5802 section 7.
    #[error("the login message is malformed")]
    Syntax,
    /// The client did not bind its login to this channel, or to another one.
    #[error("the login is not bound to this connection: somebody may be in the middle")]
    Binding,
    /// The password is wrong, or the user is not known.
    #[error("user or password is wrong")]
    Proof,
    /// The server's signature is wrong: it does not know this user's verifier.
    #[error("the server does not know this user's verifier: it is not the server it claims to be")]
    ServerSignature,
    /// The nonce of the answer does not begin with the own one: a replayed or foreign message.
    #[error("the login answer belongs to another login")]
    Nonce,
    /// The server asks for too few or too many iterations.
    #[error("the server asks for {0} iterations, and {MIN_ITERATIONS} to {MAX_ITERATIONS} are accepted")]
    Iterations(u32),
    /// The saved key was derived with another salt: the password was changed, or it is another server.
    #[error("the saved key does not fit the server's salt: the password was changed, or it is another server")]
    StaleKey,
    /// The user name or the password contains characters that SASLprep (RFC 4013) forbids.
    #[error("the user name or the password contains characters that are not allowed")]
    Prohibited,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

fn random<const N: usize>() -> Result<[u8; N], ScramError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| ScramError::Random)?;
    Ok(bytes)
}
