//! The frame decoder: however the stream is cut, the same frames, the same end, and no memory ahead of the
//! bytes that justify it.

use bytes::BytesMut;
use futures::FutureExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio_util::codec::Decoder as _;

use crate::frame::put_header;
use crate::{Frame, FrameCodec, FrameReader, LENGTH_BYTES, MAX_DATA_BYTES, begin_data, seal_data};

/// A stream taken apart: its frames, and the error that ended it.
type Taken = (Vec<Frame>, Option<String>);

/// The first byte says whether the limits are wide, the second how the rest, a stream, is cut.
pub fn frames(input: &[u8]) {
    let [open, cut, stream @ ..] = input else {
        return;
    };
    let open = open % 2 == 1;
    let whole = whole(open, stream);
    assert_eq!(
        whole,
        cut_up(open, *cut, stream),
        "the cuts between reads must not matter"
    );
    assert_eq!(whole, read(open, *cut, stream), "a dropped read must lose nothing");
    check_round_trip(&whole.0, stream);
}

fn codec(open: bool) -> FrameCodec {
    let mut codec = FrameCodec::new();
    if open {
        codec.open();
    }
    codec
}

fn whole(open: bool, stream: &[u8]) -> Taken {
    let (mut codec, mut buffer, mut found) = (codec(open), BytesMut::from(stream), Vec::new());
    loop {
        match codec.decode_eof(&mut buffer) {
            Ok(Some(frame)) => found.push(frame),
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error.to_string())),
        }
    }
}

/// The same pseudo-random lengths for the same seed: a linear congruential generator (Knuth).
fn lengths(seed: u8) -> impl Iterator<Item = usize> {
    let mut state = u32::from(seed);
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Mostly tiny, so that heads are cut too.
        Some(usize::from((state >> 24) as u8 % 11).pow(2).max(1))
    })
}

fn cut_up(open: bool, seed: u8, stream: &[u8]) -> Taken {
    let (mut codec, mut buffer, mut found) = (codec(open), BytesMut::new(), Vec::new());
    let (mut rest, mut lengths) = (stream, lengths(seed));
    while !rest.is_empty() {
        let (now, later) = rest.split_at(lengths.next().unwrap_or(1).min(rest.len()));
        buffer.extend_from_slice(now);
        rest = later;
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Some(error.to_string())),
            }
        }
        let most = 2 * (LENGTH_BYTES + 1 + MAX_DATA_BYTES) + stream.len();
        assert!(buffer.capacity() <= most, "{} bytes are held", buffer.capacity());
    }
    let end = codec.decode_eof(&mut buffer);
    (found, end.err().map(|error| error.to_string()))
}

/// Each future is polled once and dropped, often in the middle of a frame.
fn read(open: bool, seed: u8, stream: &[u8]) -> Taken {
    let (mut here, there) = tokio::io::duplex(128);
    let mut reader = FrameReader::new(there);
    if open {
        reader.open();
    }
    let (mut found, mut rest, mut lengths) = (Vec::new(), stream, lengths(seed));
    loop {
        let (now, later) = rest.split_at(lengths.next().unwrap_or(1).min(rest.len()));
        here.write_all(now)
            .now_or_never()
            .expect("the pipe has been emptied")
            .expect("the other end is open");
        rest = later;
        if rest.is_empty() {
            here.shutdown().now_or_never();
        }
        while let Some(frame) = reader.next().now_or_never() {
            match frame {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }
}

/// What was read is written as the very bytes it was read from.
fn check_round_trip(frames: &[Frame], stream: &[u8]) {
    let mut written = BytesMut::new();
    for frame in frames {
        match frame {
            Frame::Header(json) => put_header(&mut written, json).expect("no longer than it was"),
            Frame::Data(bytes) => {
                let mut buffer = begin_data(bytes.len());
                buffer.extend_from_slice(bytes);
                written.extend_from_slice(&seal_data(buffer).expect("no longer than it was"));
            }
        }
    }
    assert!(stream.starts_with(&written));
}
