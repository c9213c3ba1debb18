//! Digests and algorithms as text in JSON.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use ftp_digest::{Algorithm, Digest};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

/// What a text says, if it does; it is not copied for that.
struct Parsed<T: FromStr>(Result<T, T::Err>);

impl<'de, T: FromStr> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);

        impl<T: FromStr> Visitor<'_> for Text<T> {
            type Value = Parsed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Parsed<T>, E> {
                Ok(Parsed(text.parse()))
            }
        }

        input.deserialize_str(Text(PhantomData))
    }
}

pub(crate) mod digest_text {
    use super::{Deserialize, Deserializer, Digest, Error, Parsed, Serializer};

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(digest)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Digest, D::Error> {
        Parsed::deserialize(input)?.0.map_err(D::Error::custom)
    }
}

pub(crate) mod digest_text_opt {
    use super::{Deserialize, Deserializer, Digest, Parsed, Serializer};

    pub(crate) fn serialize<S: Serializer>(digest: &Option<Digest>, out: S) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => out.collect_str(digest),
            None => out.serialize_none(),
        }
    }

    /// A digest by an algorithm not known here counts as none.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Digest>, D::Error> {
        Ok(Option::<Parsed<Digest>>::deserialize(input)?.and_then(|parsed| parsed.0.ok()))
    }
}

pub(crate) mod algorithm_name {
    use super::{Algorithm, Deserialize, Deserializer, Error, Parsed, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes a reference")]
    pub(crate) fn serialize<S: Serializer>(algorithm: &Algorithm, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(algorithm.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Algorithm, D::Error> {
        Parsed::deserialize(input)?.0.map_err(D::Error::custom)
    }
}
