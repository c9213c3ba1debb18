//! Digest algorithms, incremental hashing and block digests.
//!
//! The floor below `proto` and `store`: the wire names digests and the store keeps them, and neither
//! may know the other. This crate knows bytes and open files: no paths, no sockets, no clocks.

mod algorithm;
mod blocks;
mod hasher;
mod value;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use blocks::{BLOCK_DIGEST_BYTES, BlockDigests, BlockHasher, MAX_BLOCKS, MIN_BLOCK_BYTES, block_bytes_for};
pub use hasher::Hasher;
pub use value::{Digest, InvalidDigest};
