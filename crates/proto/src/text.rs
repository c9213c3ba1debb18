//! Digests and algorithms as text in JSON.

use ftp_digest::{Algorithm, Digest};
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) mod digest_text {
    use super::{Deserialize, Deserializer, Digest, Serializer};

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(digest)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Digest, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

pub(crate) mod digest_text_opt {
    use super::{Deserialize, Deserializer, Digest, Serializer};

    pub(crate) fn serialize<S: Serializer>(digest: &Option<Digest>, out: S) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => out.collect_str(digest),
            None => out.serialize_none(),
        }
    }

    /// A digest by an algorithm not known here counts as none.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Digest>, D::Error> {
        Ok(Option::<String>::deserialize(input)?.and_then(|text| text.parse().ok()))
    }
}

pub(crate) mod algorithm_name {
    use super::{Algorithm, Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes a reference")]
    pub(crate) fn serialize<S: Serializer>(algorithm: &Algorithm, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(algorithm.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Algorithm, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}
