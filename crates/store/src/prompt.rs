//! Reading and writing what needs no disk to be waited for, so that no change of threads is needed either.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt as _;

use rustix::io::{Errno, ReadWriteFlags};

/// The way to a file's cached bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// As ever: a memory file system has no disk, and knows no `RWF_NOWAIT`. What of it is swapped out waits, as any
    /// memory of the process does.
    InMemory,
    /// With `RWF_NOWAIT` (Linux 4.14, not on every file system).
    Asked,
    /// None.
    Never,
}

impl Prompt {
    pub(crate) fn of(file: &File) -> Self {
        const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
        let is_in_memory = rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type == TMPFS_MAGIC);
        if is_in_memory { Self::InMemory } else { Self::Asked }
    }

    /// Fills `buffer` from `offset` on; `false` where that is not possible, or not for all of it.
    pub(crate) fn read(self, file: &File, buffer: &mut [u8], offset: u64) -> bool {
        let read = match self {
            Self::InMemory => file.read_at(buffer, offset).map_err(|_| Errno::IO),
            Self::Asked => {
                let slices = &mut [IoSliceMut::new(buffer)];
                rustix::io::preadv2(file, slices, offset, ReadWriteFlags::NOWAIT)
            }
            Self::Never => return false,
        };
        read == Ok(buffer.len())
    }

    /// Writes `bytes`, or the first of them. How many comes back, 0 also after an error, which the same write on a
    /// thread that may wait will meet again.
    pub(crate) fn write(&mut self, file: &File, bytes: &[u8], offset: u64) -> usize {
        let written = match self {
            Self::InMemory => file.write_at(bytes, offset).map_err(|_| Errno::IO),
            Self::Asked => rustix::io::pwritev2(file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::NOWAIT),
            Self::Never => Ok(0),
        };
        if matches!(written, Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS)) {
            *self = Self::Never;
        }
        written.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each way does to a file, wherever temporary files are.
    #[test]
    fn bytes_pass_wholly_or_are_left_to_a_thread_that_may_wait() {
        let file = tempfile::tempfile().unwrap();
        for mut prompt in [Prompt::InMemory, Prompt::Asked, Prompt::Never] {
            file.set_len(0).unwrap();
            let before = prompt;
            let written = prompt.write(&file, b"some bytes", 3);
            match before {
                Prompt::InMemory => assert_eq!(written, 10),
                Prompt::Asked => assert!(written == 10 || (written, prompt) == (0, Prompt::Never)),
                Prompt::Never => assert_eq!(written, 0),
            }
            file.write_all_at(&b"some bytes"[written..], 3 + written as u64)
                .unwrap();
            let mut buffer = [0; 10];
            if before.read(&file, &mut buffer, 3) {
                assert_eq!(&buffer, b"some bytes");
            } else {
                assert_ne!(before, Prompt::InMemory);
            }
            assert!(!before.read(&file, &mut buffer, 4), "it ends before");
        }
    }

    #[test]
    fn an_error_is_no_progress() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let read_only = File::open(path.path()).unwrap();
        for mut prompt in [Prompt::InMemory, Prompt::Asked] {
            assert_eq!(prompt.write(&read_only, b"x", 0), 0);
        }
    }
}
