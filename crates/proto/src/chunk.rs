//! A data frame while it is filled and sent, in memory that is used again.

use std::fmt;

use crate::ProtocolError;
use crate::frame::{DATA_HEAD_BYTES, MAX_DATA_BYTES, data_head};

/// A data frame: its head, then the payload. File bytes are read to where they are sent from, and a
/// transfer needs only as many of these as are on their way at once.
#[derive(Default)]
pub struct Chunk {
    /// Keeps its length when less is wanted, so that nothing is zeroed twice.
    bytes: Vec<u8>,
    payload: usize,
}

impl Chunk {
    /// Makes room for a payload of `length` bytes. What stands there is of no meaning, and never another user's.
    ///
    /// # Errors
    /// [`ProtocolError::FrameTooLong`] beyond [`MAX_DATA_BYTES`].
    pub fn resize(&mut self, length: usize) -> Result<(), ProtocolError> {
        let head = data_head(length)?;
        if self.bytes.len() < DATA_HEAD_BYTES + length {
            self.bytes.resize(DATA_HEAD_BYTES + length, 0);
        }
        self.bytes[..DATA_HEAD_BYTES].copy_from_slice(&head);
        self.payload = length;
        Ok(())
    }

    /// A chunk with room for a payload of `length` bytes, [`MAX_DATA_BYTES`] at most.
    #[must_use]
    pub fn with_room(mut self, length: usize) -> Self {
        let fits = self.resize(length.min(MAX_DATA_BYTES));
        debug_assert!(fits.is_ok(), "it was cut to the maximum");
        self
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.frame()[DATA_HEAD_BYTES.min(self.frame().len())..]
    }

    /// Head and payload, as they are sent.
    pub(crate) fn frame(&self) -> &[u8] {
        if self.bytes.is_empty() {
            return &[];
        }
        &self.bytes[..DATA_HEAD_BYTES + self.payload]
    }
}

/// The most chunks of one step. With as many on their way to the peer this bounds what a transfer holds.
const MAX_STEP_CHUNKS: usize = 4;

/// A range of a file in the steps in which it is read: each twice as long as the one before up to four chunks, so
/// that a short file takes little memory and a long one few hand-overs between threads.
#[derive(Debug)]
pub struct Steps {
    at: u64,
    to: u64,
    chunk_bytes: usize,
    chunks: usize,
}

impl Steps {
    /// The range `at..to` in chunks of `chunk_bytes`, [`MAX_DATA_BYTES`] at most.
    pub fn new(at: u64, to: u64, chunk_bytes: usize) -> Self {
        Self {
            at,
            to,
            chunk_bytes: chunk_bytes.clamp(1, MAX_DATA_BYTES),
            chunks: 1,
        }
    }

    /// The next chunk, if `fill` can fill it where it is: it is told where the bytes stand, and says whether they are
    /// there now. Otherwise the chunk comes back, to be filled by other means, as it does at the end.
    ///
    /// # Errors
    /// The chunk.
    pub fn one(&mut self, chunk: Chunk, fill: impl FnOnce(u64, &mut [u8]) -> bool) -> Result<Chunk, Chunk> {
        let left = usize::try_from(self.to - self.at).unwrap_or(usize::MAX);
        let mut chunk = chunk.with_room(left.min(self.chunk_bytes));
        if left == 0 || !fill(self.at, chunk.as_mut()) {
            return Err(chunk);
        }
        self.at += chunk.payload().len() as u64;
        Ok(chunk)
    }

    /// Where the next step begins, and its chunks, made of `spent` ones; `None` at the end.
    pub fn next(&mut self, mut spent: impl FnMut() -> Chunk) -> Option<(u64, Vec<Chunk>)> {
        let from = self.at;
        let mut chunks = Vec::with_capacity(self.chunks);
        while chunks.len() < self.chunks && self.at < self.to {
            let left = usize::try_from(self.to - self.at).unwrap_or(usize::MAX);
            let length = left.min(self.chunk_bytes);
            self.at += length as u64;
            chunks.push(spent().with_room(length));
        }
        self.chunks = (self.chunks * 2).min(MAX_STEP_CHUNKS);
        (!chunks.is_empty()).then_some((from, chunks))
    }
}

/// The payload, to be filled.
impl AsMut<[u8]> for Chunk {
    fn as_mut(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            return &mut [];
        }
        &mut self.bytes[DATA_HEAD_BYTES..][..self.payload]
    }
}

/// Shows its length: it may hold somebody's file.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_the_length_last_asked_for_and_its_head_tells_it() {
        let mut chunk = Chunk::default();
        assert!(chunk.payload().is_empty() && chunk.as_mut().is_empty() && chunk.frame().is_empty());
        for length in [10, 3, 0, 300, MAX_DATA_BYTES] {
            chunk.resize(length).unwrap();
            chunk.as_mut().fill(7);
            assert_eq!(chunk.payload(), vec![7; length]);
            let (head, payload) = chunk.frame().split_first_chunk::<DATA_HEAD_BYTES>().unwrap();
            assert_eq!(*head, data_head(length).unwrap());
            assert_eq!(payload, chunk.payload());
        }
        assert!(chunk.resize(MAX_DATA_BYTES + 1).is_err());
        assert_eq!(Chunk::default().with_room(usize::MAX).payload().len(), MAX_DATA_BYTES);
    }

    #[test]
    fn steps_grow_and_cover_the_range_without_a_gap() {
        let mut steps = Steps::new(5, 5 + 10 * 100 + 1, 100);
        let (mut at, mut counts) = (5, Vec::new());
        while let Some((from, chunks)) = steps.next(Chunk::default) {
            assert_eq!(from, at);
            at += chunks.iter().map(|chunk| chunk.payload().len() as u64).sum::<u64>();
            counts.push(chunks.len());
        }
        assert_eq!((at, counts), (1006, vec![1, 2, 4, 4]));
        assert!(Steps::new(3, 3, 1).next(Chunk::default).is_none());
    }

    #[test]
    fn a_chunk_that_can_not_be_filled_now_is_in_the_next_step() {
        let mut steps = Steps::new(5, 25, 10);
        let fill = |at: u64, bytes: &mut [u8]| {
            bytes.fill(u8::try_from(at).unwrap());
            at < 15
        };
        let first = steps.one(Chunk::default(), fill).unwrap();
        assert_eq!(first.payload(), [5; 10]);
        let spare = steps.one(first, fill).unwrap_err();
        let (from, chunks) = steps.next(Chunk::default).unwrap();
        assert_eq!((from, chunks.len(), chunks[0].payload().len()), (15, 1, 10));
        assert!(steps.one(spare, |_, _| true).is_err(), "nothing is left");
    }
}
