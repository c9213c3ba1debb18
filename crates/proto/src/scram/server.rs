//! The server's side.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys::{Key, hash, mac, xor};
use super::syntax::{self, Attributes};
use super::verifier::Verifier;
use super::{Binding, NONCE_BYTES, ScramError, random};

/// A client-first-message taken apart.
#[derive(Debug)]
pub struct ClientFirst {
    user: String,
    nonce: String,
    gs2_header: String,
    bare: String,
}

impl ClientFirst {
    /// Reads the message and checks that the client binds its login as this connection demands: to
    /// the channel under TLS, to nothing in plaintext. So neither side can be talked down.
    ///
    /// # Errors
    /// [`ScramError::Binding`] for another kind of binding, [`ScramError::Syntax`],
    /// [`ScramError::Prohibited`].
    pub fn parse(message: &str, binding: &Binding) -> Result<Self, ScramError> {
        let mut parts = message.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ScramError::Syntax);
        };
        match (flag, binding) {
            ("p=tls-exporter", Binding::TlsExporter(_)) | ("n" | "y", Binding::None) => {}
            ("n" | "y", _) => return Err(ScramError::Binding),
            (other, _) if other.starts_with("p=") => return Err(ScramError::Binding),
            _ => return Err(ScramError::Syntax),
        }
        // Acting for somebody else is not offered, and a mandatory extension is not known.
        if !authzid.is_empty() || Attributes::first_is_mandatory_extension(bare) {
            return Err(ScramError::Syntax);
        }
        let mut attributes = Attributes::new(bare);
        let user = syntax::unescape_name(attributes.expect('n')?)?;
        let nonce = attributes.expect('r')?;
        if !syntax::is_nonce(nonce) {
            return Err(ScramError::Syntax);
        }
        Ok(Self {
            user: stringprep::saslprep(&user)
                .map_err(|_| ScramError::Prohibited)?
                .into_owned(),
            nonce: nonce.to_owned(),
            gs2_header: format!("{flag},,"),
            bare: bare.to_owned(),
        })
    }

    /// The user who wants to log in.
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// A login from the server's side: [`ServerExchange::start`], [`ServerExchange::finish`].
pub struct ServerExchange {
    verifier: Verifier,
    genuine: bool,
    channel: Vec<u8>,
    nonce: String,
    /// The first two of the three parts of `AuthMessage`.
    auth: String,
}

impl ServerExchange {
    /// Answers a client-first-message; the text is the server-first-message.
    ///
    /// With `genuine` false (an unknown user, with [`Verifier::for_unknown`]) the exchange runs the
    /// same way in the same time, and fails.
    ///
    /// # Errors
    /// [`ScramError::Random`].
    pub fn start(
        first: &ClientFirst,
        verifier: &Verifier,
        genuine: bool,
        binding: &Binding,
    ) -> Result<(Self, String), ScramError> {
        Ok(Self::start_with_nonce(
            first,
            verifier,
            genuine,
            binding,
            &syntax::encode(&random::<NONCE_BYTES>()?),
        ))
    }

    pub(super) fn start_with_nonce(
        first: &ClientFirst,
        verifier: &Verifier,
        genuine: bool,
        binding: &Binding,
        own_nonce: &str,
    ) -> (Self, String) {
        let nonce = format!("{}{own_nonce}", first.nonce);
        let message = format!(
            "r={nonce},s={},i={}",
            syntax::encode(&verifier.salt),
            verifier.iterations
        );
        let mut channel = first.gs2_header.as_bytes().to_vec();
        channel.extend_from_slice(binding.data());
        let auth = format!("{},{message}", first.bare);
        (
            Self {
                verifier: verifier.clone(),
                genuine,
                channel,
                nonce,
                auth,
            },
            message,
        )
    }

    /// Checks the client-final-message; the text is the server-final-message.
    ///
    /// # Errors
    /// [`ScramError::Proof`] when user or password is wrong, [`ScramError::Binding`] when the login
    /// is bound to another channel, [`ScramError::Nonce`], [`ScramError::Syntax`].
    pub fn finish(self, client_final: &str) -> Result<String, ScramError> {
        let (without_proof, proof) = client_final.rsplit_once(",p=").ok_or(ScramError::Syntax)?;
        let mut attributes = Attributes::new(without_proof);
        let channel = syntax::decode(attributes.expect('c')?)?;
        let nonce = attributes.expect('r')?;
        let proof: Key = syntax::decode_key(proof)?;
        if nonce != self.nonce {
            return Err(ScramError::Nonce);
        }
        let bound = bool::from(channel.ct_eq(&self.channel));

        let auth = format!("{},{without_proof}", self.auth);
        let signature = Zeroizing::new(mac(&self.verifier.stored_key, auth.as_bytes()));
        // Whoever has it can log in as the user.
        let client_key = Zeroizing::new(xor(&proof, &signature));
        let proven = hash(client_key.as_ref()).ct_eq(&self.verifier.stored_key);
        let answer = mac(&self.verifier.server_key, auth.as_bytes());
        if !bound {
            return Err(ScramError::Binding);
        }
        if !bool::from(proven) || !self.genuine {
            return Err(ScramError::Proof);
        }
        Ok(format!("v={}", syntax::encode(&answer)))
    }
}
