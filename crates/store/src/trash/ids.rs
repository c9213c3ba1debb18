//! Numbers for items, none of which comes twice, also when the home is opened again: whoever read a number in
//! an older listing never means another item by it.
//!
//! They are taken from the reserved folder in ranges, kept there as `1 END`, so that hardly an item costs a write.

use std::ffi::OsStr;

use cap_std::fs::Dir;

use crate::disk;

const FILE: &str = "trash-ids";
const TEMPORARY: &str = "trash-ids.tmp";
const VERSION: &str = "1";
/// A version and twenty digits fit well.
const MAX_FILE_BYTES: usize = 64;
/// How many numbers are taken at a time, and so how many an end of the process may leave out.
const RANGE: u64 = 256;

#[derive(Default)]
pub(super) struct Ids {
    next: u64,
    /// Those below are not given by the next run.
    taken: u64,
}

impl Ids {
    /// Goes on behind what the last run has taken; with what the items show where that was lost.
    pub(super) fn open(reserved: &Dir) -> Self {
        let mut buffer = [0; MAX_FILE_BYTES];
        let read = disk::open_file(reserved, OsStr::new(FILE))
            .ok()
            .and_then(|file| disk::read_at(&file, &mut buffer, 0).ok());
        let text = std::str::from_utf8(&buffer[..read.unwrap_or(0)]).unwrap_or_default();
        let next = match text.trim_end().split_once(' ') {
            Some((VERSION, end)) => end.parse().unwrap_or(0),
            _ => 0,
        };
        Self { next, taken: next }
    }

    /// An item has this number.
    pub(super) fn beyond(&mut self, id: u64) {
        self.next = self.next.max(id.saturating_add(1));
    }

    pub(super) fn take(&mut self, reserved: &Dir) -> u64 {
        let id = self.next;
        self.next = id.saturating_add(1);
        if id >= self.taken {
            self.taken = id.saturating_add(RANGE);
            let text = format!("{VERSION} {}\n", self.taken);
            if let Err(errno) = disk::replace_own(reserved, FILE, TEMPORARY, text.as_bytes()) {
                // On a full disk, whose removals it must not refuse. The items themselves show how far they are.
                tracing::debug!(%errno, "numbers of the trash are not kept");
            }
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_comes_twice_whatever_became_of_the_items_and_of_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let dir = disk::open_or_create_root(temp.path()).unwrap();
        let mut last = None;
        for count in [1, 2, RANGE, RANGE + 1] {
            let mut ids = Ids::open(&dir);
            for _ in 0..count {
                let id = ids.take(&dir);
                assert!(last.is_none_or(|last| last < id), "{id} after {last:?}");
                last = Some(id);
            }
        }
        for torn in ["", "1", "1 ", "2 7\n", "1 x\n"] {
            std::fs::write(temp.path().join(FILE), torn).unwrap();
            let mut ids = Ids::open(&dir);
            ids.beyond(40);
            assert_eq!(ids.take(&dir), 41, "{torn:?}");
        }
    }
}
