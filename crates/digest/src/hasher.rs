//! Incremental hashing with an algorithm chosen at run time.

use sha2::digest::Digest as _;

use crate::{Algorithm, Digest};

/// A running hash. Cloning it keeps the state reached so far, which lets a resumed transfer go on
/// from the digest of its prefix.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    length: u64,
}

#[derive(Clone)]
enum State {
    Blake3(Box<blake3::Hasher>),
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

const LENGTH: &str = "each hash yields its algorithm's length";

impl Hasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Blake3 => State::Blake3(Box::new(blake3::Hasher::new())),
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        };
        Self { state, length: 0 }
    }

    /// The digest of `bytes` in one call.
    pub fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
        if algorithm == Algorithm::Blake3 {
            // Its running hash has room for the largest of trees.
            return Digest::from_bytes(algorithm, blake3::hash(bytes).as_bytes()).expect(LENGTH);
        }
        let mut hasher = Self::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm in use.
    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Blake3(_) => Algorithm::Blake3,
            State::Md5(_) => Algorithm::Md5,
            State::Sha1(_) => Algorithm::Sha1,
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// How many bytes have been hashed.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        match &mut self.state {
            State::Blake3(state) => {
                state.update(bytes);
            }
            State::Md5(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        let digest = match self.state {
            State::Blake3(state) => Digest::from_bytes(algorithm, state.finalize().as_bytes()),
            State::Md5(state) => Digest::from_bytes(algorithm, &state.finalize()),
            State::Sha1(state) => Digest::from_bytes(algorithm, &state.finalize()),
            State::Sha256(state) => Digest::from_bytes(algorithm, &state.finalize()),
            State::Sha512(state) => Digest::from_bytes(algorithm, &state.finalize()),
        };
        digest.expect(LENGTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published digests of `abc` (FIPS 180-4, RFC 1321, the BLAKE3 test vectors' reference).
    #[test]
    fn published_vectors_hold() {
        for expected in [
            "md5:900150983cd24fb0d6963f7d28e17f72",
            "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        ] {
            let expected: Digest = expected.parse().unwrap();
            assert_eq!(Hasher::digest(expected.algorithm(), b"abc"), expected);
        }
    }

    #[test]
    fn a_clone_goes_on_from_the_prefix() {
        for algorithm in Algorithm::ALL {
            let mut prefix = Hasher::new(algorithm);
            prefix.update(b"hello ");
            let mut whole = prefix.clone();
            whole.update(b"world");
            assert_eq!(whole.length(), 11);
            assert_eq!(whole.finish(), Hasher::digest(algorithm, b"hello world"));
        }
    }
}
