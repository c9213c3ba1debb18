//! The algorithms a transfer may be proven with.

use std::fmt;
use std::str::FromStr;

/// A digest algorithm, by its wire name.
///
/// MD5 and SHA-1 are offered to compare with files published elsewhere; neither resists forgery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// BLAKE3, 256 bits: the fastest.
    Blake3,
    /// MD5, 128 bits (RFC 1321).
    Md5,
    /// SHA-1, 160 bits (FIPS 180-4).
    Sha1,
    /// SHA-256 (FIPS 180-4): the default.
    #[default]
    Sha256,
    /// SHA-512 (FIPS 180-4).
    Sha512,
}

impl Algorithm {
    /// Every algorithm, in the order in which help texts and the hello name them.
    pub const ALL: [Self; 5] = [Self::Sha256, Self::Blake3, Self::Sha512, Self::Sha1, Self::Md5];

    /// The name on the wire, in options and in front of a digest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Whether hashing a chunk takes less than handing it to another thread is worth: several bytes a cycle.
    pub fn is_cheap(self) -> bool {
        self == Self::Blake3
    }

    /// The length of a digest in bytes.
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Blake3 | Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Accepts the wire name in any case, with or without the usual hyphen (`SHA-256`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = || text.bytes().filter(|byte| *byte != b'-');
        Self::ALL
            .into_iter()
            .find(|algorithm| {
                plain()
                    .map(|byte| byte.to_ascii_lowercase())
                    .eq(algorithm.name().bytes())
            })
            .ok_or_else(|| UnknownAlgorithm(text.to_owned()))
    }
}

/// The name stands for no algorithm known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown digest algorithm {0:?}; known are sha256, blake3, sha512, sha1 and md5")]
pub struct UnknownAlgorithm(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_in_any_usual_spelling() {
        for text in ["sha256", "SHA-256", "Sha256"] {
            assert_eq!(text.parse(), Ok(Algorithm::Sha256));
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
        assert!("crc32".parse::<Algorithm>().is_err());
    }
}
