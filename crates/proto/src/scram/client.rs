//! The client's side.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys::{DerivedKeys, Key, hash, mac, xor};
use super::syntax::{self, Attributes};
use super::{Binding, MAX_ITERATIONS, MIN_ITERATIONS, NONCE_BYTES, ScramError, random};
use crate::Secret;

/// What the client knows of its password.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Keys derived at an earlier login.
    Keys(DerivedKeys),
    /// The password itself.
    Password(Secret),
}

/// A login from the client's side: [`ClientExchange::start`], [`ClientExchange::respond`],
/// [`ClientExchange::finish`].
pub struct ClientExchange {
    binding: Binding,
    nonce: String,
    first_bare: String,
    /// Known after [`ClientExchange::respond`]: the signature the server must show, and the keys.
    expected: Option<(Key, DerivedKeys)>,
}

impl ClientExchange {
    /// Begins a login; the text is the client-first-message.
    ///
    /// # Errors
    /// [`ScramError::Prohibited`] for a user name that SASLprep refuses, [`ScramError::Random`].
    pub fn start(user: &str, binding: Binding) -> Result<(Self, String), ScramError> {
        let nonce = syntax::encode(&random::<NONCE_BYTES>()?);
        Self::start_with_nonce(user, binding, nonce)
    }

    pub(super) fn start_with_nonce(user: &str, binding: Binding, nonce: String) -> Result<(Self, String), ScramError> {
        let user = stringprep::saslprep(user).map_err(|_| ScramError::Prohibited)?;
        let first_bare = format!("n={},r={nonce}", syntax::escape_name(&user));
        let first = format!("{}{first_bare}", binding.gs2_header());
        Ok((
            Self {
                binding,
                nonce,
                first_bare,
                expected: None,
            },
            first,
        ))
    }

    /// Answers the server-first-message by the client-final-message.
    ///
    /// With a password this takes as long as the server's iteration count asks for.
    ///
    /// # Errors
    /// [`ScramError`] when the message is malformed, belongs to another login, asks for an iteration
    /// count out of bounds, or does not fit the derived keys. Nothing was proven to the server then.
    pub fn respond(&mut self, server_first: &str, credential: &Credential) -> Result<String, ScramError> {
        if Attributes::first_is_mandatory_extension(server_first) {
            return Err(ScramError::Syntax);
        }
        let mut attributes = Attributes::new(server_first);
        let nonce = attributes.expect('r')?;
        let salt = syntax::decode(attributes.expect('s')?)?;
        let iterations: u32 = attributes.expect('i')?.parse().map_err(|_| ScramError::Syntax)?;

        let own = nonce.strip_prefix(&self.nonce).ok_or(ScramError::Nonce)?;
        if !syntax::is_nonce(own) {
            return Err(ScramError::Nonce);
        }
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err(ScramError::Iterations(iterations));
        }
        let keys = match credential {
            Credential::Keys(keys) if keys.salt == salt && keys.iterations == iterations => keys.clone(),
            Credential::Keys(_) => return Err(ScramError::StaleKey),
            Credential::Password(password) => DerivedKeys::derive(password, &salt, iterations)?,
        };

        let mut channel = self.binding.gs2_header().as_bytes().to_vec();
        channel.extend_from_slice(self.binding.data());
        let without_proof = format!("c={},r={nonce}", syntax::encode(&channel));
        let auth = format!("{},{server_first},{without_proof}", self.first_bare);
        // With the signature, the proof gives the key away.
        let stored_key = Zeroizing::new(hash(&keys.client_key));
        let signature = Zeroizing::new(mac(&stored_key, auth.as_bytes()));
        let proof = xor(&keys.client_key, &signature);
        self.expected = Some((mac(&keys.server_key, auth.as_bytes()), keys));
        Ok(format!("{without_proof},p={}", syntax::encode(&proof)))
    }

    /// Checks the server-final-message. The keys that come back may be kept instead of the password.
    ///
    /// # Errors
    /// [`ScramError::ServerSignature`] when the server does not know the verifier.
    pub fn finish(self, server_final: &str) -> Result<DerivedKeys, ScramError> {
        let (expected, keys) = self.expected.ok_or(ScramError::ServerSignature)?;
        let signature = syntax::decode_key(Attributes::new(server_final).expect('v')?)?;
        if bool::from(signature.ct_eq(&expected)) {
            Ok(keys)
        } else {
            Err(ScramError::ServerSignature)
        }
    }
}
