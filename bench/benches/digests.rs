//! Digests of one frame's bytes, and of a large file's blocks.

use divan::Bencher;
use divan::counter::BytesCount;
use ftp_digest::{Algorithm, BlockHasher, Hasher};
use ftp_proto::MAX_DATA_BYTES;

/// A file of so many bytes has blocks of the least size.
const FILE: u64 = 64 << 20;

fn main() {
    divan::main();
}

#[divan::bench(args = Algorithm::ALL)]
fn one_frame(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let frame = ftp_tests::noise(MAX_DATA_BYTES, 1);
    bencher
        .counter(BytesCount::of_slice(&frame))
        .bench(|| Hasher::digest(algorithm, divan::black_box(&frame)));
}

#[divan::bench]
fn blocks(bencher: Bencher<'_, '_>) {
    let frame = ftp_tests::noise(MAX_DATA_BYTES, 2);
    bencher
        .counter(BytesCount::of_slice(&frame))
        .with_inputs(|| BlockHasher::new(ftp_digest::block_bytes_for(FILE)))
        .bench_refs(|hasher| hasher.update(divan::black_box(&frame)));
}
