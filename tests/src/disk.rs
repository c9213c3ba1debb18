//! Files for tests, and what is really on the disk.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use ftp_digest::{Algorithm, Hasher};

/// A mebibyte.
pub const MIB: u64 = 1024 * 1024;

/// What a walk over a home finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The sizes of all regular files, in bytes.
    pub used: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// The sizes of all staged uploads, in bytes.
    pub pending: u64,
    /// The number of staged uploads.
    pub uploads: u64,
    /// The sizes of all regular files in the trash, in bytes.
    pub trash: u64,
    /// Files, directories and links in the trash.
    pub trash_entries: u64,
}

/// Bytes in which no two blocks are equal, another sequence for each `seed`.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Writes a file of noise.
pub fn write_noise(path: &Path, length: u64, seed: u64) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut left = length;
    let mut piece = seed.wrapping_mul(1 << 20);
    while left > 0 {
        let bytes = noise(usize::try_from(left.min(MIB)).unwrap(), piece);
        file.write_all(&bytes).unwrap();
        left -= bytes.len() as u64;
        piece += 1;
    }
    file.flush().unwrap();
}

/// Writes a file of `length` bytes that is a hole but for its last bytes, which are `tail`.
pub fn write_sparse(path: &Path, length: u64, tail: &[u8]) {
    let file = File::create(path).unwrap();
    file.set_len(length).unwrap();
    file.write_all_at(tail, length - tail.len() as u64).unwrap();
}

/// Changes one byte, and nothing else about the file that a clock or a size would show.
pub fn flip_byte(path: &Path, offset: u64) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], offset).unwrap();
    file.set_modified(modified).unwrap();
}

/// The SHA-256 of a file in hexadecimal.
pub fn sha256(path: &Path) -> String {
    try_sha256(path).unwrap()
}

/// The same of a file that may go at any moment.
pub(crate) fn try_sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = std::io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            return Ok(hasher.finish().hex());
        }
        hasher.update(&buffer[..read]);
    }
}

/// Everything below a directory: relative path, and the contents of files (`None` for directories).
pub fn snapshot(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(directory).unwrap().to_owned();
            if path.is_dir() {
                found.insert(name, None);
                directories.push(path);
            } else {
                found.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// The staged uploads of a home.
pub fn parts(home: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(home.join(".ftpd/staging")) else {
        return Vec::new();
    };
    listing
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some(OsStr::new("part")))
        .collect()
}

/// Counts what a home holds; an error when it changes meanwhile.
pub fn walk(home: &Path) -> std::io::Result<Counts> {
    let reserved = home.join(".ftpd");
    let mut counts = Counts::default();
    (counts.used, counts.entries) = measure(home, |path| path != reserved)?;
    for part in parts(home) {
        counts.pending += fs::metadata(part)?.size();
        counts.uploads += 1;
    }
    let trash = reserved.join("trash");
    let is_record = |path: &Path| {
        let names_no_item = |suffix: &OsStr| suffix == "json" || suffix == "tmp";
        path.parent() == Some(&trash) && path.extension().is_some_and(names_no_item)
    };
    if trash.exists() {
        (counts.trash, counts.trash_entries) = measure(&trash, |path| !is_record(path))?;
    }
    Ok(counts)
}

/// Bytes and entries beneath a directory, of what `counts` counts.
fn measure(top: &Path, counts: impl Fn(&Path) -> bool) -> std::io::Result<(u64, u64)> {
    let (mut bytes, mut entries) = (0, 0);
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if !counts(&entry.path()) {
                continue;
            }
            entries += 1;
            let meta = entry.metadata()?;
            if meta.is_dir() {
                directories.push(entry.path());
            } else if meta.is_file() {
                bytes += meta.size();
            }
        }
    }
    Ok((bytes, entries))
}
