//! Digests of a file's prefix, block by block: how two sides of a resumed transfer find out which
//! bytes they already share.
//!
//! The block digest is always BLAKE3: it is internal to the resume, several times faster than the
//! others, and the digest of the whole file, by the user's algorithm, decides in the end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// At most so many blocks describe a prefix, so that the header that carries them stays small.
pub const MAX_BLOCKS: u64 = 1024;

/// The smallest block: below it, telling blocks apart costs more than sending them again.
pub const MIN_BLOCK_BYTES: u64 = 64 * 1024;

/// What is read of a file at a time, to be hashed while it is in the processor's cache.
const READ_BYTES: usize = 512 * 1024;

/// From how many bytes on a second thread takes half of the work.
const WORTH_A_THREAD_BYTES: u64 = 4 * 1024 * 1024;

/// The length of one block's digest in bytes.
pub const BLOCK_DIGEST_BYTES: usize = 32;

/// The block size for a prefix of `length` bytes: a power of two that needs at most [`MAX_BLOCKS`].
pub fn block_bytes_for(length: u64) -> u64 {
    length.div_ceil(MAX_BLOCKS).next_power_of_two().max(MIN_BLOCK_BYTES)
}

/// The digests of a prefix, in order; the last block may be short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDigests {
    length: u64,
    block_bytes: u64,
    digests: Vec<[u8; BLOCK_DIGEST_BYTES]>,
}

impl BlockDigests {
    /// Puts together what came over the wire. `None` unless the block size is a power of two of at
    /// least [`MIN_BLOCK_BYTES`] and there is exactly one digest a block, at most [`MAX_BLOCKS`].
    pub fn from_parts(length: u64, block_bytes: u64, raw: &[u8]) -> Option<Self> {
        let (digests, rest) = raw.as_chunks::<BLOCK_DIGEST_BYTES>();
        let fits = block_bytes.is_power_of_two()
            && block_bytes >= MIN_BLOCK_BYTES
            && length.div_ceil(block_bytes) == digests.len() as u64
            && digests.len() as u64 <= MAX_BLOCKS
            && rest.is_empty();
        fits.then(|| Self {
            length,
            block_bytes,
            digests: digests.to_vec(),
        })
    }

    /// The length of the prefix in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The size of every block but the last.
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// The first `length` bytes of a file, read by two threads where that is worth it: nothing moves meanwhile.
    /// `go_on` is told after each step how many bytes that was, by either thread; when it says
    /// no, the reading ends with `None`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file is shorter, and what reading gave.
    ///
    /// # Panics
    /// If `block_bytes` is zero.
    pub fn of_file(
        file: &File,
        length: u64,
        block_bytes: u64,
        go_on: impl Fn(u64) -> bool + Sync,
    ) -> io::Result<Option<Self>> {
        let half = length.div_ceil(block_bytes) / 2 * block_bytes;
        if half < WORTH_A_THREAD_BYTES {
            return Self::of_range(file, (0, length), block_bytes, &go_on);
        }
        let failed = AtomicBool::new(false);
        let half_of = |range| {
            let read = Self::of_range(file, range, block_bytes, &|step| {
                !failed.load(Ordering::Relaxed) && go_on(step)
            });
            // Nobody needs the other half then.
            failed.fetch_or(read.is_err(), Ordering::Relaxed);
            read
        };
        let (first, second) = thread::scope(|scope| {
            // Where no thread can be made, this one does both.
            let first = thread::Builder::new().spawn_scoped(scope, || half_of((0, half)));
            let second = half_of((half, length));
            let first = match first {
                Ok(first) => first.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(_) => half_of((0, half)),
            };
            (first, second)
        });
        let (mut whole, second) = match (first, second) {
            (Err(error), _) | (_, Err(error)) => return Err(error),
            (Ok(Some(first)), Ok(Some(second))) => (first, second),
            (Ok(_), Ok(_)) => return Ok(None),
        };
        whole.length = length;
        whole.digests.extend(second.digests);
        Ok(Some(whole))
    }

    fn of_range(
        file: &File,
        (from, to): (u64, u64),
        block_bytes: u64,
        go_on: &impl Fn(u64) -> bool,
    ) -> io::Result<Option<Self>> {
        let mut hasher = BlockHasher::new(block_bytes);
        let mut buffer = vec![0; usize::try_from(to - from).map_or(READ_BYTES, |length| length.min(READ_BYTES))];
        let mut at = from;
        while at < to {
            let step = usize::try_from(to - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            file.read_exact_at(&mut buffer[..step], at)?;
            hasher.update(&buffer[..step]);
            at += step as u64;
            if !go_on(step as u64) {
                return Ok(None);
            }
        }
        Ok(Some(hasher.finish()))
    }

    /// All digests one after another, as they travel.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.digests.concat()
    }

    /// The byte ranges `(offset, length)` in which `self` differs from `other`, neighbours joined,
    /// in rising order. Both must describe the same length in the same blocks; otherwise the whole
    /// prefix counts as different.
    pub fn differing(&self, other: &Self) -> Vec<(u64, u64)> {
        if (self.length, self.block_bytes) != (other.length, other.block_bytes) {
            return if self.length == 0 {
                Vec::new()
            } else {
                vec![(0, self.length)]
            };
        }
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (index, (mine, theirs)) in (0u64..).zip(self.digests.iter().zip(&other.digests)) {
            if mine == theirs {
                continue;
            }
            let offset = index * self.block_bytes;
            let length = self.block_bytes.min(self.length - offset);
            match ranges.last_mut() {
                Some((start, joined)) if *start + *joined == offset => *joined += length,
                _ => ranges.push((offset, length)),
            }
        }
        ranges
    }
}

/// Takes in a prefix from its first byte and yields its block digests.
pub struct BlockHasher {
    block_bytes: u64,
    length: u64,
    current: Box<blake3::Hasher>,
    digests: Vec<[u8; BLOCK_DIGEST_BYTES]>,
}

impl BlockHasher {
    /// A hasher for blocks of `block_bytes`, which must not be zero.
    pub fn new(block_bytes: u64) -> Self {
        assert!(block_bytes > 0, "a block has at least one byte");
        Self {
            block_bytes,
            length: 0,
            current: Box::default(),
            digests: Vec::new(),
        }
    }

    /// Takes in the next bytes, of any length.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.block_bytes - self.length % self.block_bytes;
            let take = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
            let (now, later) = bytes.split_at(take);
            self.current.update(now);
            self.length += now.len() as u64;
            if self.length.is_multiple_of(self.block_bytes) {
                self.close_block();
            }
            bytes = later;
        }
    }

    /// The digests of everything taken in.
    pub fn finish(mut self) -> BlockDigests {
        if !self.length.is_multiple_of(self.block_bytes) {
            self.close_block();
        }
        BlockDigests {
            length: self.length,
            block_bytes: self.block_bytes,
            digests: self.digests,
        }
    }

    fn close_block(&mut self) {
        self.digests.push(*self.current.finalize().as_bytes());
        self.current.reset();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn digests(bytes: &[u8], step: usize) -> BlockDigests {
        let mut hasher = BlockHasher::new(MIN_BLOCK_BYTES);
        bytes.chunks(step).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    }

    #[test]
    fn block_size_keeps_within_the_maximum_count() {
        for length in [
            0,
            1,
            MIN_BLOCK_BYTES * MAX_BLOCKS,
            MIN_BLOCK_BYTES * MAX_BLOCKS + 1,
            1 << 50,
        ] {
            let block = block_bytes_for(length);
            assert!(length.div_ceil(block) <= MAX_BLOCKS, "{length}");
            assert!(block >= MIN_BLOCK_BYTES && block.is_power_of_two());
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_digests() {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(digests(&bytes, 7_001), digests(&bytes, 300_000));
    }

    #[test]
    fn only_damaged_blocks_differ_and_neighbours_join() {
        let clean = vec![7u8; 300_000];
        let mut damaged = clean.clone();
        for at in [70_000, 140_000, 299_999] {
            damaged[at] ^= 1;
        }
        let block = MIN_BLOCK_BYTES;
        let differing = digests(&clean, 4096).differing(&digests(&damaged, 4096));
        assert_eq!(differing, vec![(block, 2 * block), (4 * block, 300_000 - 4 * block)]);
        assert!(digests(&clean, 1).differing(&digests(&clean, 65_536)).is_empty());
    }

    #[test]
    fn digests_of_a_file_are_those_of_its_bytes_whoever_reads_which_half() {
        let bytes: Vec<u8> = (0..2_500_001u32).flat_map(u32::to_le_bytes).collect();
        let (mut file, block) = (tempfile::tempfile().unwrap(), MIN_BLOCK_BYTES);
        file.write_all(&bytes).unwrap();
        for length in [0, 1, 300_000, 2 * WORTH_A_THREAD_BYTES + 1, bytes.len() as u64] {
            let read = AtomicU64::new(0);
            let found = BlockDigests::of_file(&file, length, block, |step| {
                read.fetch_add(step, Ordering::Relaxed);
                true
            });
            let expected = digests(&bytes[..usize::try_from(length).unwrap()], 4096);
            assert_eq!(found.unwrap(), Some(expected));
            assert_eq!(read.into_inner(), length);
        }
        let stopped = BlockDigests::of_file(&file, 9_000_000, block, |_| false).unwrap();
        assert_eq!(stopped, None);
        let beyond = BlockDigests::of_file(&file, bytes.len() as u64 + 1, block, |_| true);
        assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn wire_parts_that_do_not_fit_are_refused() {
        let good = digests(&[1; 100_000], 1000);
        let raw = good.to_bytes();
        assert_eq!(BlockDigests::from_parts(100_000, MIN_BLOCK_BYTES, &raw), Some(good));
        assert_eq!(BlockDigests::from_parts(200_000, MIN_BLOCK_BYTES, &raw), None);
        assert_eq!(BlockDigests::from_parts(100_000, MIN_BLOCK_BYTES, &raw[1..]), None);
        assert_eq!(BlockDigests::from_parts(100_000, 1, &raw), None);
        assert_eq!(BlockDigests::from_parts(100_000, 0, &raw), None);
    }
}
