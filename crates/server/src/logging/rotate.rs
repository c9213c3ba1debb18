//! A file of lines that never grows past a size.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The log names users, addresses and files: nobody else's business.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// After a rotation that failed, this part of the limit is written before the next try.
const RETRIES_PER_LIMIT: u64 = 16;

/// The name of the `number`th older file: `ftpd.jsonl.1` is the newest of them.
pub(crate) fn rotated_name(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The current file and, in its names, the older ones.
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    /// The length of the current file in bytes.
    length: u64,
    /// The last line has no end: a crash or a full disk cut it off.
    torn: bool,
    limit: u64,
    /// The length that the current file does not grow past: the limit, or more after a rotation that failed.
    rotate_at: u64,
    keep: u32,
}

impl RotatingFile {
    /// Opens or makes the file, and its directory where that is missing.
    pub(super) fn open(path: &Path, limit: u64, keep: u32) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)?;
        }
        let (file, length, torn) = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            torn,
            limit,
            rotate_at: limit,
            keep,
        })
    }

    /// Writes one line, whole or not at all, rotating first when it would not fit.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let size = line.len() as u64;
        if self.length > 0 && self.length + size > self.rotate_at {
            // A log that is too long is better than one that ends. Not every line tries again.
            self.rotate_at = match self.rotate() {
                Ok(()) => self.limit,
                Err(_) => self.length + size + self.limit / RETRIES_PER_LIMIT,
            };
        }
        if self.torn {
            self.write(b"\n")?;
            self.torn = false;
        }
        self.write(line)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                if self.file.set_len(self.length).is_err() {
                    self.torn = true;
                    self.length = self.file.metadata().map_or(self.length, |metadata| metadata.len());
                }
                Err(error)
            }
        }
    }

    /// Puts an empty file in the place of the current one. It is made first: what fails, as for want of a file
    /// descriptor, then costs neither the older files nor the name of the current one.
    fn rotate(&mut self) -> io::Result<()> {
        let mut new = self.path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        // One that was left by a crash.
        present(fs::remove_file(&new))?;
        let file = options().create_new(true).open(&new)?;
        if let Err(error) = self.shift(&new) {
            fs::remove_file(&new).ok();
            return Err(error);
        }
        (self.file, self.length, self.torn) = (file, 0, false);
        Ok(())
    }

    fn shift(&self, new: &Path) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            present(fs::rename(
                rotated_name(&self.path, number),
                rotated_name(&self.path, number + 1),
            ))?;
        }
        if self.keep == 0 {
            return fs::rename(new, &self.path);
        }
        let newest = rotated_name(&self.path, 1);
        present(fs::rename(&self.path, &newest))?;
        fs::rename(new, &self.path).inspect_err(|_| drop(fs::rename(&newest, &self.path)))
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(FILE_MODE);
    options
}

/// The file for appending, its length, and whether its last line has no end.
fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    let mut file = options().create(true).open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, length, last != [b'\n']))
}

/// A missing file needs no moving.
fn present(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn content(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn lines_move_through_the_kept_files_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log").join("a.jsonl");
        let mut file = RotatingFile::open(&path, 10, 2).unwrap();
        for line in ["11111\n", "22222\n", "33333\n", "44444\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        assert_eq!(content(&path), "44444\n");
        assert_eq!(content(&rotated_name(&path, 1)), "33333\n");
        assert_eq!(content(&rotated_name(&path, 2)), "22222\n");
        assert!(!rotated_name(&path, 3).exists());
    }

    #[test]
    fn a_file_is_filled_to_its_limit_and_not_past_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        let mut file = RotatingFile::open(&path, 12, 1).unwrap();
        file.append(b"11111\n").unwrap();
        file.append(b"22222\n").unwrap();
        assert_eq!(content(&path), "11111\n22222\n");
        file.append(b"3\n").unwrap();
        assert_eq!(content(&path), "3\n");
    }

    #[test]
    fn a_line_longer_than_the_limit_is_still_written_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        let mut file = RotatingFile::open(&path, 4, 0).unwrap();
        file.append(b"a long line\n").unwrap();
        assert_eq!(content(&path), "a long line\n");
        file.append(b"x\n").unwrap();
        assert_eq!(content(&path), "x\n");
        assert!(!rotated_name(&path, 1).exists());
    }

    #[test]
    fn a_torn_last_line_does_not_swallow_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        fs::write(&path, "{\"half").unwrap();
        RotatingFile::open(&path, 1000, 1).unwrap().append(b"whole\n").unwrap();
        assert_eq!(content(&path), "{\"half\nwhole\n");
    }

    #[test]
    fn a_rotation_that_fails_costs_no_line_and_no_older_file() {
        for keep in [0, 2] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.jsonl");
            for number in 1..=keep {
                fs::write(rotated_name(&path, number), format!("older {number}\n")).unwrap();
            }
            // In the way of the new file.
            let new = directory.path().join("a.jsonl.new");
            fs::create_dir(&new).unwrap();
            let mut file = RotatingFile::open(&path, 16 * 8, keep).unwrap();
            let line = b"1234567\n";
            for _ in 0..29 {
                file.append(line).unwrap();
            }
            assert_eq!(content(&path).len(), 29 * line.len());
            for number in 1..=keep {
                assert_eq!(content(&rotated_name(&path, number)), format!("older {number}\n"));
            }
            // It is tried again, and not at each line.
            fs::remove_dir(&new).unwrap();
            file.append(line).unwrap();
            file.append(line).unwrap();
            assert_eq!(content(&path).len(), line.len());
            assert!(!new.exists());
            for number in 1..=keep {
                let older = content(&rotated_name(&path, number));
                assert_eq!(
                    older.len(),
                    if number == 1 {
                        30 * line.len()
                    } else {
                        "older 1\n".len()
                    }
                );
            }
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_nothing_more() {
        // Every write to /dev/full fails with ENOSPC.
        let mut file = RotatingFile::open(Path::new("/dev/full"), 1000, 1).unwrap();
        let error = file.append(b"line\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn nobody_else_may_read_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log").join("a.jsonl");
        RotatingFile::open(&path, 10, 2).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}
