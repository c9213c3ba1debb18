//! A finished digest and its text form, `algorithm:hex`.

use std::fmt;
use std::str::FromStr;

use crate::{Algorithm, UnknownAlgorithm};

/// The longest digest, SHA-512's.
const MAX_DIGEST_BYTES: usize = 64;

/// The longest text form: a name of six letters, a colon, and the digits.
const MAX_TEXT_BYTES: usize = 7 + 2 * MAX_DIGEST_BYTES;

/// The digest of some bytes together with the algorithm that made it.
///
/// Text form: `sha256:` and lower-case hexadecimal digits, as in `sum` and the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: [u8; MAX_DIGEST_BYTES],
}

impl Digest {
    /// A digest from its raw bytes; `None` when the length is not the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        if raw.len() != algorithm.digest_bytes() {
            return None;
        }
        let mut bytes = [0; MAX_DIGEST_BYTES];
        bytes.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(Self { algorithm, bytes })
    }

    /// The algorithm that made it.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.algorithm.digest_bytes()).unwrap_or(&[])
    }

    /// The bytes in lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> String {
        hex_digits(self.as_bytes(), &mut [0; 2 * MAX_DIGEST_BYTES]).to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece, for whoever makes a text of it makes room for each.
        let mut text = [0; MAX_TEXT_BYTES];
        let name = self.algorithm.name().as_bytes();
        text[..name.len()].copy_from_slice(name);
        text[name.len()] = b':';
        let digits = hex_digits(self.as_bytes(), &mut text[name.len() + 1..]).len();
        let used = &text[..name.len() + 1 + digits];
        f.write_str(std::str::from_utf8(used).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, hex) = text.split_once(':').ok_or(InvalidDigest::Form)?;
        let algorithm: Algorithm = name.parse()?;
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != algorithm.digest_bytes() {
            return Err(InvalidDigest::Form);
        }
        let mut bytes = [0; MAX_DIGEST_BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let value = |digit| hex_digit(digit).ok_or(InvalidDigest::Form);
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Ok(Self { algorithm, bytes })
    }
}

/// Each transfer writes several of them, in answers and in the log, and the formatter takes its time with a byte.
fn hex_digits<'a>(bytes: &[u8], text: &'a mut [u8]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    let used = text.get(..2 * bytes.len()).unwrap_or_default();
    std::str::from_utf8(used).unwrap_or_default()
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// The text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// The algorithm in front of the colon is not known.
    #[error(transparent)]
    Algorithm(#[from] UnknownAlgorithm),
    /// No colon, wrong length or not hexadecimal.
    #[error("a digest is written ALGORITHM:HEX with as many digits as the algorithm has")]
    Form,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let text = "md5:d41d8cd98f00b204e9800998ecf8427e";
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.algorithm(), Algorithm::Md5);
    }

    #[test]
    fn wrong_length_and_foreign_digits_are_refused() {
        for text in [
            "md5:d41d",
            "md5:",
            "md5",
            "md5:zz1d8cd98f00b204e9800998ecf8427e",
            "crc:00",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
