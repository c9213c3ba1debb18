//! What a server keeps of a password.

use std::fmt;
use std::str::FromStr;

use super::keys::{DerivedKeys, KEY_BYTES, Key, mac};
use super::{DEFAULT_ITERATIONS, MAX_ITERATIONS, MIN_ITERATIONS, SALT_BYTES, ScramError, random, syntax};
use crate::Secret;

/// A salted verifier in PostgreSQL's text form, `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
///
/// Nobody can log in with it, but whoever steals it can pose as the server and can guess passwords
/// offline. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl Verifier {
    /// A verifier of a password with a fresh salt. Takes about 50 ms.
    ///
    /// # Errors
    /// [`ScramError::Prohibited`] when SASLprep refuses the password, [`ScramError::Random`].
    pub fn from_password(password: &Secret) -> Result<Self, ScramError> {
        Self::with_salt(password, &random::<SALT_BYTES>()?, DEFAULT_ITERATIONS)
    }

    /// A verifier with a given salt and iteration count.
    ///
    /// # Errors
    /// [`ScramError::Prohibited`] when SASLprep refuses the password.
    pub fn with_salt(password: &Secret, salt: &[u8], iterations: u32) -> Result<Self, ScramError> {
        Ok(Self::from_keys(&DerivedKeys::derive(password, salt, iterations)?))
    }

    /// The verifier that belongs to derived keys.
    pub fn from_keys(keys: &DerivedKeys) -> Self {
        Self {
            iterations: keys.iterations,
            salt: keys.salt.clone(),
            stored_key: keys.stored_key(),
            server_key: keys.server_key,
        }
    }

    /// A verifier for a user who does not exist: the same user gets the same salt every time, as a
    /// real one would, so that names can not be found out by asking (RFC 5802 section 9).
    /// `secret` is the server's own and outlives restarts. Iteration count and length of the salt are
    /// those of `like`, a real user's verifier, so that neither tells them apart.
    pub fn for_unknown(secret: &[u8; KEY_BYTES], user: &str, like: Option<&Self>) -> Self {
        let seed = mac(secret, user.as_bytes());
        let (iterations, salt_bytes) = like.map_or((DEFAULT_ITERATIONS, SALT_BYTES), |like| {
            (like.iterations, like.salt.len())
        });
        Self {
            iterations,
            salt: seed.iter().copied().cycle().take(salt_bytes).collect(),
            stored_key: mac(&seed, b"stored"),
            server_key: mac(&seed, b"server"),
        }
    }

    /// The iteration count.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            syntax::encode(&self.salt),
            syntax::encode(&self.stored_key),
            syntax::encode(&self.server_key)
        )
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(***)")
    }
}

impl FromStr for Verifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        let mut parts = text.split('$');
        let (Some("SCRAM-SHA-256"), Some(cost), Some(keys), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidVerifier::Form);
        };
        let (iterations, salt) = cost.split_once(':').ok_or(InvalidVerifier::Form)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(InvalidVerifier::Form)?;
        let iterations: u32 = iterations.parse().map_err(|_| InvalidVerifier::Form)?;
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err(InvalidVerifier::Iterations(iterations));
        }
        let salt = syntax::decode(salt)
            .ok()
            .filter(|salt| !salt.is_empty())
            .ok_or(InvalidVerifier::Form)?;
        Ok(Self {
            iterations,
            salt,
            stored_key: syntax::decode_key(stored_key).map_err(|_| InvalidVerifier::Form)?,
            server_key: syntax::decode_key(server_key).map_err(|_| InvalidVerifier::Form)?,
        })
    }
}

/// The text is not a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVerifier {
    /// It does not have the form of one.
    #[error("a verifier is written SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, as `ftpd user passwd` writes it")]
    Form,
    /// Its iteration count is out of bounds.
    #[error("a verifier has {MIN_ITERATIONS} to {MAX_ITERATIONS} iterations, not {0}")]
    Iterations(u32),
}
