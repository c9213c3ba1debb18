//! The attribute lists of RFC 5802 section 7: `a=value,b=value`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use zeroize::Zeroizing;

use super::ScramError;

/// Reads attributes in the order in which the grammar fixes them.
pub(super) struct Attributes<'a>(std::str::Split<'a, char>);

impl<'a> Attributes<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text.split(','))
    }

    /// The value of the next attribute, which must be `name`.
    pub(super) fn expect(&mut self, name: char) -> Result<&'a str, ScramError> {
        self.0
            .next()
            .and_then(|part| part.strip_prefix(name))
            .and_then(|part| part.strip_prefix('='))
            .ok_or(ScramError::Syntax)
    }

    /// Extensions may follow; an unknown one is not mandatory and is passed over.
    pub(super) fn first_is_mandatory_extension(text: &str) -> bool {
        text.starts_with("m=")
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, ScramError> {
    STANDARD.decode(text).map_err(|_| ScramError::Syntax)
}

pub(super) fn decode_key(text: &str) -> Result<super::keys::Key, ScramError> {
    let key = Zeroizing::new(decode(text)?);
    key.as_slice().try_into().map_err(|_| ScramError::Syntax)
}

/// `saslname`: `=` and `,` are escaped.
pub(super) fn escape_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

pub(super) fn unescape_name(text: &str) -> Result<String, ScramError> {
    let mut pieces = text.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        if let Some(rest) = piece.strip_prefix("2C") {
            name.push(',');
            name.push_str(rest);
        } else if let Some(rest) = piece.strip_prefix("3D") {
            name.push('=');
            name.push_str(rest);
        } else {
            return Err(ScramError::Syntax);
        }
    }
    if name.is_empty() {
        Err(ScramError::Syntax)
    } else {
        Ok(name)
    }
}

/// `printable`: any ASCII but controls, space and comma.
pub(super) fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}
