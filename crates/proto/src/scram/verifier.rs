//! What a server keeps of a password.

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::keys::{DerivedKeys, KEY_BYTES, Key, mac};
use super::{DEFAULT_ITERATIONS, MAX_ITERATIONS, MIN_ITERATIONS, SALT_BYTES, ScramError, random, syntax};
use crate::Secret;

/// A salted verifier in PostgreSQL's text form, `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
///
/// Nobody can log in with it, but whoever steals it can pose as the server and can guess passwords
/// offline. `Debug` shows nothing of it, and it is wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
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
    /// `secret` is the server's own and outlives restarts.
    ///
    /// Iteration count and length of the salt are those of one of the real `users`, each with its
    /// [`Lot`], so that neither tells them apart. Users who come and go change them for hardly any name,
    /// and only where verifiers differ; then the salt changes too, as with a new password.
    pub fn for_unknown<'a>(
        secret: &[u8; KEY_BYTES],
        user: &str,
        users: impl IntoIterator<Item = (Lot, &'a Self)>,
    ) -> Self {
        let key = Zeroizing::new(mac(secret, user.as_bytes()));
        let own = Lot::first_of(&key);
        let like = users.into_iter().max_by_key(|(lot, _)| lot.drawn_by(own));
        let (iterations, salt_bytes) = like.map_or((DEFAULT_ITERATIONS, SALT_BYTES), |(_, like)| {
            (like.iterations, like.salt.len())
        });
        let seed = Zeroizing::new(mac(&key, format!("{iterations} {salt_bytes}").as_bytes()));
        let blocks = (0..salt_bytes.div_ceil(KEY_BYTES)).map(|number| mac(&seed, format!("salt {number}").as_bytes()));
        Self {
            iterations,
            salt: blocks.flatten().take(salt_bytes).collect(),
            stored_key: mac(&seed, b"stored"),
            server_key: mac(&seed, b"server"),
        }
    }

    /// The iteration count.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }
}

/// A user's lot when a real user is chosen for an unknown name to look like. The winner depends on the two
/// alone: one user more or less changes it only for the names that this one wins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Lot(u64);

impl Lot {
    /// The lot of a real user. `secret` is that of [`Verifier::for_unknown`].
    pub fn new(secret: &[u8; KEY_BYTES], user: &str) -> Self {
        Self::first_of(&mac(secret, format!("lot\0{user}").as_bytes()))
    }

    fn first_of(key: &Key) -> Self {
        Self(key.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
    }

    /// What it scores for an unknown name. Only mixes (the finalizer of `SplitMix64`): both are secret, and this
    /// runs for each user at each login.
    fn drawn_by(self, name: Self) -> u64 {
        let mut bits = self.0 ^ name.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

impl fmt::Debug for Lot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lot(***)")
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            syntax::encode(&self.salt),
            *Zeroizing::new(syntax::encode(&self.stored_key)),
            *Zeroizing::new(syntax::encode(&self.server_key))
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
