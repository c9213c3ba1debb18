//! Frames, however the stream below cuts them, and what must never be read.

#![expect(clippy::unwrap_used, reason = "what fails in a test is to be seen where it fails")]

use bytes::BytesMut;
use ftp_proto::{
    Frame, FrameCodec, FrameReader, FrameWriter, MAX_DATA_BYTES, MAX_HEADER_BYTES, MAX_LOGIN_HEADER_BYTES,
    ProtocolError, begin_data, seal_data,
};
use futures::FutureExt as _;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio_util::codec::Decoder as _;

const HEADER: u8 = 1;
const DATA: u8 = 2;

fn head(kind: u8, payload: u32) -> Vec<u8> {
    [&(payload + 1).to_be_bytes()[..], &[kind]].concat()
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let (kind, payload) = match frame {
        Frame::Header(payload) => (HEADER, payload),
        Frame::Data(payload) => (DATA, payload),
    };
    [head(kind, u32::try_from(payload.len()).unwrap()), payload.to_vec()].concat()
}

fn stream_of(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(bytes_of).collect()
}

fn open_codec() -> FrameCodec {
    let mut codec = FrameCodec::new();
    codec.open();
    codec
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let payload = || prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        payload().prop_map(|bytes| Frame::Header(bytes.into())),
        payload().prop_map(|bytes| Frame::Data(bytes.into())),
    ]
}

proptest! {
    #[test]
    fn any_split_of_the_stream_gives_the_same_frames(
        frames in prop::collection::vec(any_frame(), 0..12),
        steps in prop::collection::vec(1..200usize, 1..40),
    ) {
        let stream = stream_of(&frames);
        let (mut codec, mut buffer, mut found) = (open_codec(), BytesMut::new(), Vec::new());
        let (mut rest, mut steps) = (&stream[..], steps.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*steps.next().unwrap()).min(rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
            while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                found.push(frame);
            }
        }
        prop_assert_eq!(codec.decode_eof(&mut buffer).unwrap(), None);
        prop_assert_eq!(found, frames);
    }

    #[test]
    fn a_reader_dropped_after_each_poll_loses_nothing(
        frames in prop::collection::vec(any_frame(), 1..6),
        step in 1..20usize,
    ) {
        let stream = stream_of(&frames);
        let (mut here, there) = tokio::io::duplex(step);
        let mut reader = FrameReader::new(there);
        reader.open();
        let mut found = Vec::new();
        for chunk in stream.chunks(step) {
            here.write_all(chunk).now_or_never().expect("the pipe is empty").unwrap();
            // Each future is polled once and dropped, often in the middle of a frame.
            while let Some(frame) = reader.next().now_or_never() {
                found.push(frame.unwrap().unwrap());
            }
        }
        drop(here);
        prop_assert!(reader.next().now_or_never().unwrap().unwrap().is_none());
        prop_assert_eq!(found, frames);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut codec, mut buffer) = (open_codec(), BytesMut::from(&bytes[..]));
        while let Ok(Some(frame)) = codec.decode(&mut buffer) {
            prop_assert!(frame.payload_bytes() < bytes.len());
        }
        prop_assert!(buffer.capacity() <= MAX_DATA_BYTES * 2);
    }
}

#[tokio::test]
async fn frames_cross_a_pipe_of_eight_bytes() {
    let (here, there) = tokio::io::duplex(8);
    let (mut writer, mut reader) = (FrameWriter::new(here), FrameReader::new(there));
    reader.open();
    let send = async {
        for length in [0, 1, 7, 8, 9, 5_000] {
            writer.header(&"x".repeat(length)).unwrap();
            let mut buffer = begin_data(length);
            buffer.resize(buffer.len() + length, 0x5a);
            writer.data(&seal_data(buffer).unwrap());
        }
        writer.shutdown().await.unwrap();
    };
    let receive = async {
        for length in [0, 1, 7, 8, 9, 5_000] {
            let text = format!("\"{}\"", "x".repeat(length));
            assert_eq!(reader.next().await.unwrap(), Some(Frame::Header(text.into())));
            assert_eq!(
                reader.next().await.unwrap(),
                Some(Frame::Data(vec![0x5a; length].into()))
            );
        }
        assert_eq!(reader.next().await.unwrap(), None);
    };
    tokio::join!(send, receive);
}

#[test]
fn a_frame_at_its_cap_is_taken_and_one_above_is_refused_before_memory_is() {
    for (open, kind, cap) in [
        (false, HEADER, MAX_LOGIN_HEADER_BYTES),
        (true, HEADER, MAX_HEADER_BYTES),
        (false, DATA, 0),
        (true, DATA, MAX_DATA_BYTES),
    ] {
        let codec = || if open { open_codec() } else { FrameCodec::new() };
        let cap = u32::try_from(cap).unwrap();
        let mut exact = BytesMut::from(&head(kind, cap)[..]);
        exact.resize(exact.len() + cap as usize, b' ');
        let frame = codec().decode(&mut exact).unwrap().expect("it is whole");
        assert_eq!(frame.payload_bytes(), cap as usize);

        for length in [cap + 1, u32::MAX - 1] {
            let mut longer = BytesMut::from(&head(kind, length)[..]);
            let before = longer.capacity();
            let error = codec().decode(&mut longer).unwrap_err();
            assert!(
                matches!(error, ProtocolError::FrameTooLong { length: found, maximum, .. }
                    if found == u64::from(length) && maximum == u64::from(cap)),
                "{error}"
            );
            assert_eq!(longer.capacity(), before, "memory was taken for {length} bytes");
        }
    }
}

#[test]
fn limits_widen_from_the_next_frame_on() {
    let long = Frame::Header(vec![b' '; MAX_LOGIN_HEADER_BYTES + 1].into());
    let mut buffer = BytesMut::from(&bytes_of(&long)[..]);
    let mut codec = FrameCodec::new();
    codec.open();
    assert_eq!(codec.decode(&mut buffer).unwrap(), Some(long));
}

#[test]
fn empty_frames_and_unknown_kinds_are_refused() {
    let decode = |bytes: &[u8]| open_codec().decode(&mut BytesMut::from(bytes)).unwrap_err();
    assert!(matches!(decode(&[0, 0, 0, 0]), ProtocolError::EmptyFrame));
    for kind in [0, 3, 0x7b, 0xff] {
        assert!(matches!(decode(&[0, 0, 0, 1, kind]), ProtocolError::UnknownKind(found) if found == kind));
    }
}

#[tokio::test]
async fn an_end_within_a_frame_is_no_end_of_the_stream() {
    let whole = bytes_of(&Frame::Header("{}".into()));
    for length in 1..whole.len() {
        let mut reader = FrameReader::new(&whole[..length]);
        assert!(matches!(reader.next().await, Err(ProtocolError::Truncated)), "{length}");
    }
    let mut reader = FrameReader::new(&whole[..]);
    assert!(reader.next().await.unwrap().is_some());
    assert!(reader.next().await.unwrap().is_none());
}

#[test]
fn a_writer_refuses_what_no_reader_would_take() {
    let mut writer = FrameWriter::new(Vec::new());
    writer.header(&"x".repeat(MAX_HEADER_BYTES - 2)).unwrap();
    let queued = writer.queued();
    assert!(matches!(
        writer.header(&"x".repeat(MAX_HEADER_BYTES - 1)),
        Err(ProtocolError::FrameTooLong { .. })
    ));
    assert_eq!(writer.queued(), queued, "nothing of it is sent");

    let mut buffer = begin_data(0);
    buffer.resize(buffer.len() + MAX_DATA_BYTES, 0);
    seal_data(buffer.clone()).unwrap();
    buffer.extend_from_slice(&[0]);
    assert!(matches!(seal_data(buffer), Err(ProtocolError::FrameTooLong { .. })));
}

#[tokio::test]
async fn a_flush_that_was_dropped_goes_on_where_it_was() {
    let (here, there) = tokio::io::duplex(8);
    let (mut writer, mut reader) = (FrameWriter::new(here), FrameReader::new(there));
    writer.header(&"a text longer than the pipe").unwrap();
    while writer.flush().now_or_never().is_none() {
        // Makes room for eight bytes at the most.
        if let Some(frame) = reader.next().now_or_never() {
            assert_eq!(
                frame.unwrap(),
                Some(Frame::Header("\"a text longer than the pipe\"".into()))
            );
            return;
        }
    }
    assert_eq!(
        reader.next().await.unwrap(),
        Some(Frame::Header("\"a text longer than the pipe\"".into()))
    );
}
