//! Hashing what stands in a local file: one thread reads while another hashes, for neither is so much faster that the
//! other's time does not show.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc;
use std::thread;

use ftp_digest::{Algorithm, Digest, Hasher};

/// What is read at a time.
const STEP: usize = 512 * 1024;

/// How many steps may be read ahead, with the one that is being hashed.
const BUFFERS: usize = 3;

/// From how much on a thread for the reading is worth being started.
const LEAST_FOR_A_THREAD: u64 = 8 * 1024 * 1024;

/// The digest of the first `length` bytes of `file`. Blocks.
pub(crate) fn hash_file(file: &File, length: u64, algorithm: Algorithm) -> io::Result<Digest> {
    let mut whole = Hasher::new(algorithm);
    catch_up(file, length, &mut whole, || true)?;
    Ok(whole.finish())
}

/// Takes the bytes of `file` from where `hasher` stands up to `length` into it, as long as that is wanted. Blocks.
pub(crate) fn catch_up(file: &File, length: u64, hasher: &mut Hasher, is_wanted: impl Fn() -> bool) -> io::Result<()> {
    if length.saturating_sub(hasher.length()) >= LEAST_FOR_A_THREAD {
        catch_up_by_two(file, length, hasher, &is_wanted)?;
    }
    // All of a little, or everything where there was no thread to be had.
    let mut buffer = vec![0; step(hasher.length(), length)];
    while hasher.length() < length && is_wanted() {
        buffer.truncate(step(hasher.length(), length));
        file.read_exact_at(&mut buffer, hasher.length())?;
        hasher.update(&buffer);
    }
    Ok(())
}

fn step(at: u64, length: u64) -> usize {
    usize::try_from(length.saturating_sub(at))
        .unwrap_or(usize::MAX)
        .min(STEP)
}

fn catch_up_by_two(file: &File, length: u64, hasher: &mut Hasher, is_wanted: impl Fn() -> bool) -> io::Result<()> {
    thread::scope(|scope| {
        let (filled, next) = mpsc::channel();
        let (emptied, free) = mpsc::channel();
        for _ in 0..BUFFERS {
            let _ = emptied.send(vec![0; STEP]);
        }
        let mut at = hasher.length();
        // It ends when nobody takes what it reads any more, or gives it a buffer.
        let read = move || {
            while let Ok(mut buffer) = free.recv()
                && at < length
            {
                buffer.truncate(step(at, length));
                let result = file.read_exact_at(&mut buffer, at);
                at += buffer.len() as u64;
                let has_failed = result.is_err();
                if filled.send(result.map(|()| buffer)).is_err() || has_failed {
                    return;
                }
            }
        };
        let reader = thread::Builder::new().name("reader".to_owned());
        if reader.spawn_scoped(scope, read).is_err() {
            return Ok(());
        }
        while hasher.length() < length
            && is_wanted()
            && let Ok(buffer) = next.recv()
        {
            let buffer = buffer?;
            hasher.update(&buffer);
            let _ = emptied.send(buffer);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LENGTH: u64 = LEAST_FOR_A_THREAD + 12_345;

    fn file() -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..LENGTH).map(|index| (index / 7) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        (file, bytes)
    }

    #[test]
    fn two_threads_find_what_one_finds() {
        let (file, bytes) = file();
        for algorithm in Algorithm::ALL {
            for length in [0, 1, LEAST_FOR_A_THREAD - 1, LEAST_FOR_A_THREAD, LENGTH] {
                let found = hash_file(&file, length, algorithm).unwrap();
                let expected = Hasher::digest(algorithm, &bytes[..usize::try_from(length).unwrap()]);
                assert_eq!(found, expected, "{length} bytes");
            }
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&bytes[..77]);
        catch_up(&file, LENGTH, &mut hasher, || true).unwrap();
        assert_eq!(hasher.finish(), Hasher::digest(Algorithm::Sha256, &bytes));
    }

    #[test]
    fn what_is_not_wanted_any_more_ends_soon() {
        let (file, _) = file();
        let left = Cell::new(3);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let is_wanted = || left.replace(left.get() - 1) > 0;
        catch_up_by_two(&file, LENGTH, &mut hasher, is_wanted).unwrap();
        assert_eq!(hasher.length(), 3 * STEP as u64);
    }

    #[test]
    fn a_file_that_ends_before_is_an_error() {
        let (file, _) = file();
        let error = hash_file(&file, LENGTH + 1, Algorithm::Blake3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
