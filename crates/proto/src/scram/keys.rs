//! The arithmetic of RFC 5802 section 3.

use std::borrow::Cow;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::ScramError;
use crate::Secret;

/// The length of every key, SHA-256's output, in bytes.
pub const KEY_BYTES: usize = 32;

pub(super) type Key = [u8; KEY_BYTES];

/// What a client needs instead of the password: valid for one user, salt and iteration count.
///
/// Whoever holds the client key can log in as the user, here only, until the password is changed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DerivedKeys {
    /// The salt they were derived with.
    pub salt: Vec<u8>,
    /// The iteration count they were derived with.
    pub iterations: u32,
    /// Proves the client.
    pub client_key: [u8; KEY_BYTES],
    /// Proves the server.
    pub server_key: [u8; KEY_BYTES],
}

impl fmt::Debug for DerivedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKeys(***)")
    }
}

impl DerivedKeys {
    /// Derives the keys of a password: `SaltedPassword := Hi(Normalize(password), salt, i)`.
    ///
    /// Takes as long as `iterations` ask for; run it where waiting is allowed.
    ///
    /// # Errors
    /// [`ScramError::Prohibited`] when SASLprep refuses the password.
    pub fn derive(password: &Secret, salt: &[u8], iterations: u32) -> Result<Self, ScramError> {
        let normal = stringprep::saslprep(password.expose()).map_err(|_| ScramError::Prohibited)?;
        let mut salted = Zeroizing::new([0; KEY_BYTES]);
        pbkdf2::pbkdf2_hmac::<Sha256>(normal.as_bytes(), salt, iterations, salted.as_mut());
        if let Cow::Owned(prepared) = normal {
            drop(Zeroizing::new(prepared));
        }
        Ok(Self {
            salt: salt.to_vec(),
            iterations,
            client_key: mac(&salted, b"Client Key"),
            server_key: mac(&salted, b"Server Key"),
        })
    }

    /// `StoredKey := H(ClientKey)`.
    pub(super) fn stored_key(&self) -> Key {
        hash(&self.client_key)
    }
}

#[cfg(test)]
std::thread_local! {
    static COUNT: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
pub(super) fn reset_count() {
    COUNT.set(0);
}

/// How many MACs and hashes this thread has computed since [`reset_count`].
#[cfg(test)]
pub(super) fn macs_and_hashes() -> u32 {
    COUNT.get()
}

pub(super) fn mac(key: &Key, message: &[u8]) -> Key {
    #[cfg(test)]
    COUNT.set(COUNT.get() + 1);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(super) fn hash(bytes: &[u8]) -> Key {
    #[cfg(test)]
    COUNT.set(COUNT.get() + 1);
    Sha256::digest(bytes).into()
}

pub(super) fn xor(a: &Key, b: &Key) -> Key {
    std::array::from_fn(|index| a[index] ^ b[index])
}
