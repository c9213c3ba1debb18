//! Frames: a 4-byte big-endian length, one byte that tells the kind, the payload.
//!
//! The length counts the kind and the payload. Kind `0x01` is a JSON header, kind `0x02` is a chunk
//! of raw file bytes. The length is judged by the kind as soon as both have arrived and before any
//! memory is taken for the payload.

use std::fmt;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use crate::ProtocolError;

/// The longest JSON header after login, in bytes: room for the digests of 1,024 blocks in base64
/// (43 KiB) beside a path of 4 KiB, unless most of its bytes need escapes.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// The longest JSON header before login, where nobody is known yet.
pub const MAX_LOGIN_HEADER_BYTES: usize = 4 * 1024;

/// The longest chunk of file bytes. Larger ones gain nothing on loopback and cost every session memory.
pub const MAX_DATA_BYTES: usize = 256 * 1024;

/// The bytes of the length field.
pub const LENGTH_BYTES: usize = 4;

/// The bytes in front of a data payload: length and kind.
pub const DATA_HEAD_BYTES: usize = LENGTH_BYTES + 1;

const KIND_HEADER: u8 = 0x01;
const KIND_DATA: u8 = 0x02;

/// One frame without its head. `Debug` shows its length: it may hold a proof, or somebody's file.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// JSON text.
    Header(Bytes),
    /// Raw file bytes.
    Data(Bytes),
}

impl Frame {
    /// The length of the payload in bytes.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Header(payload) | Self::Data(payload) => payload.len(),
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Header(_) => "Header",
            Self::Data(_) => "Data",
        };
        write!(f, "{kind}({} bytes)", self.payload_bytes())
    }
}

/// Cuts a byte stream into frames. Starts with the narrow limits that hold before login.
#[derive(Debug)]
pub struct FrameCodec {
    inner: LengthDelimitedCodec,
    max_header: usize,
    max_data: usize,
    /// Whether the frame at the front of the stream has passed the limits of its kind.
    admitted: bool,
}

impl Default for FrameCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameCodec {
    /// A codec that admits short headers and no data.
    pub fn new() -> Self {
        let inner = LengthDelimitedCodec::builder()
            .length_field_length(LENGTH_BYTES)
            .max_frame_length(MAX_HEADER_BYTES.max(MAX_DATA_BYTES) + 1)
            .new_codec();
        Self {
            inner,
            max_header: MAX_LOGIN_HEADER_BYTES,
            max_data: 0,
            admitted: false,
        }
    }

    /// Admits headers and data of full length, from the next frame on.
    pub fn open(&mut self) {
        self.max_header = MAX_HEADER_BYTES;
        self.max_data = MAX_DATA_BYTES;
    }

    /// The length of the frame at the front, with its head, which is judged before. `None` when more bytes are
    /// needed to tell.
    pub(crate) fn front_bytes(&mut self, src: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some((length, rest)) = src.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u64::from(u32::from_be_bytes(*length));
        if length == 0 {
            return Err(ProtocolError::EmptyFrame);
        }
        let Some(&kind) = rest.first() else {
            return Ok(None);
        };
        let (kind, maximum) = match kind {
            KIND_HEADER => ("header", self.max_header as u64),
            KIND_DATA => ("data", self.max_data as u64),
            other => return Err(ProtocolError::UnknownKind(other)),
        };
        if length - 1 > maximum {
            return Err(ProtocolError::FrameTooLong {
                kind,
                length: length - 1,
                maximum,
            });
        }
        self.admitted = true;
        // The maxima are far below what any machine can count.
        Ok(usize::try_from(length).ok().map(|length| LENGTH_BYTES + length))
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = ProtocolError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if !self.admitted && self.front_bytes(src)?.is_none() {
            return Ok(None);
        }
        let Some(frame) = self.inner.decode(src)? else {
            return Ok(None);
        };
        self.admitted = false;
        let mut frame = frame.freeze();
        let kind = frame.split_to(1);
        Ok(Some(if kind.as_ref() == [KIND_HEADER] {
            Frame::Header(frame)
        } else {
            Frame::Data(frame)
        }))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        match self.decode(src)? {
            Some(frame) => Ok(Some(frame)),
            None if src.is_empty() && !self.admitted => Ok(None),
            None => Err(ProtocolError::Truncated),
        }
    }
}

/// Appends a header frame with `json` as its payload.
///
/// # Errors
/// [`ProtocolError::FrameTooLong`] when it is longer than [`MAX_HEADER_BYTES`].
pub(crate) fn put_header(out: &mut BytesMut, json: &[u8]) -> Result<(), ProtocolError> {
    out.extend_from_slice(&head(KIND_HEADER, json.len(), MAX_HEADER_BYTES)?);
    out.extend_from_slice(json);
    Ok(())
}

/// A buffer for one data frame: its head left blank, room for `capacity` payload bytes behind it.
/// Whoever fills it appends; [`seal_data`] completes it. So file bytes are read to where they are sent from.
pub fn begin_data(capacity: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(DATA_HEAD_BYTES + capacity);
    buffer.extend_from_slice(&[0; DATA_HEAD_BYTES]);
    buffer
}

/// Writes the head of a buffer made by [`begin_data`].
///
/// # Errors
/// [`ProtocolError::FrameTooLong`] when it holds more than [`MAX_DATA_BYTES`].
pub fn seal_data(mut buffer: BytesMut) -> Result<BytesMut, ProtocolError> {
    let payload = buffer.len().saturating_sub(DATA_HEAD_BYTES);
    let head = data_head(payload)?;
    match buffer.first_chunk_mut::<DATA_HEAD_BYTES>() {
        Some(blank) => *blank = head,
        None => return Err(ProtocolError::EmptyFrame),
    }
    Ok(buffer)
}

/// The head of a data frame with so many bytes of payload.
///
/// # Errors
/// [`ProtocolError::FrameTooLong`] beyond [`MAX_DATA_BYTES`].
pub fn data_head(payload: usize) -> Result<[u8; DATA_HEAD_BYTES], ProtocolError> {
    head(KIND_DATA, payload, MAX_DATA_BYTES)
}

fn head(kind: u8, payload: usize, maximum: usize) -> Result<[u8; DATA_HEAD_BYTES], ProtocolError> {
    let length = u32::try_from(payload + 1)
        .ok()
        .filter(|_| payload <= maximum)
        .ok_or(ProtocolError::FrameTooLong {
            kind: if kind == KIND_HEADER { "header" } else { "data" },
            length: payload as u64,
            maximum: maximum as u64,
        })?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([a, b, c, d, kind])
}
