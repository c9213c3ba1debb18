//! The files that a campaign transfers: made once, read by everybody, known by their digests.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ftp_digest::{Algorithm, Hasher};
use tempfile::TempDir;

use crate::disk::{MIB, noise};

/// Sizes around every limit that means something: nothing, one block, what goes without asking, what
/// is synced alone, and several chunks.
const SIZES: [u64; 12] = [
    0,
    1,
    777,
    40_000,
    65_536,
    200_000,
    262_144,
    262_145,
    700_001,
    MIB + MIB / 2,
    3 * MIB + 17,
    6 * MIB,
];

/// Contents of each size: one, the same with one byte changed near its end, and another one.
const VARIANTS: usize = 3;

/// The time of all files: contents of one size differ in nothing but their bytes, which is what a
/// resume has to find out.
const TIME: u64 = 1_700_000_000;

/// The files of the two directories that are transferred whole, as (name, index of the size).
const TREE: [(&str, usize); 9] = [
    ("a", 1),
    ("b", 2),
    ("c", 3),
    ("d", 4),
    ("e", 2),
    ("big", 8),
    ("sub/x", 3),
    ("sub/y", 0),
    ("sub/deep/z", 5),
];

/// Bytes that are known: a size and a variant of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Content {
    size: usize,
    variant: usize,
}

impl Content {
    /// How many sizes there are.
    pub(super) const SIZES: usize = SIZES.len();

    /// How many contents there are of each size.
    pub(super) const VARIANTS: usize = VARIANTS;

    /// The size with this index, in this variant; of nothing there is only one.
    pub(super) fn new(size: usize, variant: usize) -> Self {
        let variant = if SIZES[size] == 0 { 0 } else { variant };
        Self { size, variant }
    }

    /// Its length in bytes.
    pub(super) fn bytes(self) -> u64 {
        SIZES[self.size]
    }

    fn make(self) -> Vec<u8> {
        let length = usize::try_from(self.bytes()).expect("a file that fits into memory");
        let other = self.variant == 2;
        let mut bytes = noise(length, 1 + 2 * self.size as u64 + u64::from(other));
        if self.variant == 1
            && let Some(byte) = bytes.get_mut(length.saturating_sub(1 + length / 8))
        {
            *byte ^= 1;
        }
        bytes
    }
}

/// What the files of a tree are.
pub(super) fn tree(variant: usize) -> impl Iterator<Item = (&'static str, Content)> {
    // The trees share one file, and differ in all others.
    TREE.iter().map(move |(name, size)| {
        let variant = if *name == "e" { 0 } else { variant * 2 };
        (*name, Content::new(*size, variant))
    })
}

/// The files on disk.
#[derive(Debug)]
pub struct Pool {
    directory: TempDir,
    digests: HashMap<Content, String>,
}

impl Pool {
    /// Writes all of them.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("ftp-campaign-pool-").tempdir().unwrap();
        let mut digests = HashMap::new();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(TIME);
        for size in 0..Content::SIZES {
            for variant in 0..Content::VARIANTS {
                let content = Content::new(size, variant);
                let bytes = content.make();
                let path = directory.path().join(name(content));
                fs::write(&path, &bytes).unwrap();
                File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
                digests.insert(content, Hasher::digest(Algorithm::Sha256, &bytes).hex());
            }
        }
        let pool = Self { directory, digests };
        for variant in 0..2 {
            for (file, content) in tree(variant) {
                let path = pool.tree(variant).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::hard_link(pool.path(content), path).unwrap();
            }
        }
        pool
    }

    /// Where a content lies.
    pub(super) fn path(&self, content: Content) -> PathBuf {
        self.directory.path().join(name(content))
    }

    /// Where a tree lies.
    pub(super) fn tree(&self, variant: usize) -> PathBuf {
        self.directory.path().join(format!("v{variant}/tree"))
    }

    /// Its SHA-256 in hexadecimal.
    pub(super) fn digest(&self, content: Content) -> &str {
        &self.digests[&content]
    }

    /// The content with this SHA-256, for messages.
    pub(super) fn find(&self, digest: &str) -> Option<Content> {
        let found = self.digests.iter().find(|(_, known)| *known == digest);
        found.map(|(content, _)| *content)
    }

    /// The time of every file, in seconds.
    pub(super) fn time() -> u64 {
        TIME
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

fn name(content: Content) -> String {
    format!("s{}-{}", content.size, content.variant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_contents_are_the_same() {
        let mut known = HashMap::new();
        for size in 0..Content::SIZES {
            for variant in 0..Content::VARIANTS {
                let content = Content::new(size, variant);
                let other = known.insert(content.make(), content);
                assert!(other.is_none_or(|other| other == content), "{content:?} is {other:?}");
            }
        }
    }
}
