//! Cutting a byte stream into frames, and making them.

use bytes::BytesMut;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use ftp_proto::{FrameCodec, MAX_DATA_BYTES, begin_data, seal_data};
use tokio_util::codec::Decoder as _;

/// How many frames a stream has here.
const FRAMES: usize = 16;

fn main() {
    divan::main();
}

/// A stream of data frames with so many bytes each.
fn stream(bytes: usize) -> BytesMut {
    let payload = ftp_tests::noise(bytes, 1);
    let mut stream = BytesMut::new();
    for _ in 0..FRAMES {
        let mut frame = begin_data(bytes);
        frame.extend_from_slice(&payload);
        stream.extend_from_slice(&seal_data(frame).expect("a frame within its limit"));
    }
    stream
}

#[divan::bench(args = [64, 4096, MAX_DATA_BYTES])]
fn decode(bencher: Bencher<'_, '_>, bytes: usize) {
    let stream = stream(bytes);
    bencher
        .counter(ItemsCount::new(FRAMES))
        .counter(BytesCount::of_slice(&stream))
        .with_inputs(|| {
            let mut codec = FrameCodec::new();
            codec.open();
            (codec, stream.clone())
        })
        .bench_local_refs(|(codec, stream)| {
            while let Some(frame) = codec.decode(stream).expect("frames within their limits") {
                divan::black_box(frame.payload_bytes());
            }
        });
}

#[divan::bench(args = [64, 4096, MAX_DATA_BYTES])]
fn seal(bencher: Bencher<'_, '_>, bytes: usize) {
    let payload = ftp_tests::noise(bytes, 2);
    bencher.counter(BytesCount::of_slice(&payload)).bench(|| {
        let mut frame = begin_data(bytes);
        frame.extend_from_slice(divan::black_box(&payload));
        seal_data(frame)
    });
}
