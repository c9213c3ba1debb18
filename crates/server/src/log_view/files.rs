//! The lines of the log file and its rotated predecessors, in the order in which they were written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::logging::rotated_name;

/// No event is this long. What is longer is no line of ours, and is skipped without being held.
const MAX_LINE_BYTES: usize = 1 << 20;

/// A line of the log.
pub(super) enum Line<'a> {
    /// Text without its end.
    Whole(&'a str),
    /// Too long, or not UTF-8.
    Broken,
}

/// What is done with each line.
pub(super) type Visit<'v> = dyn FnMut(Line<'_>) -> io::Result<()> + 'v;

/// Open files that are still to be read, oldest first. The last one stays open: it may grow.
pub(super) struct Files {
    files: VecDeque<Source>,
}

impl Files {
    /// Opens every file that may hold lines as new as `since`.
    pub(super) fn open(path: &Path, since: Option<Timestamp>) -> anyhow::Result<Self> {
        let since = since.map_or(i64::MIN, Timestamp::as_second);
        let files = newest_first(path, |_| false)?;
        let recent = files
            .into_iter()
            .enumerate()
            .filter(|(age, file)| *age == 0 || file.modified >= since)
            .map(|(_, file)| file);
        let mut files: VecDeque<_> = recent.collect();
        files.make_contiguous().reverse();
        Ok(Self { files })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Visits every whole line that was not visited before.
    pub(super) fn read(&mut self, visit: &mut Visit<'_>) -> anyhow::Result<()> {
        loop {
            let rotated = self.files.len() > 1;
            let Some(file) = self.files.front_mut() else {
                return Ok(());
            };
            file.lines(visit)?;
            if !rotated {
                return Ok(());
            }
            // Nobody writes to a rotated file, so what has no end now never gets one.
            file.rest(visit)?;
            self.files.pop_front();
        }
    }

    /// Visits what stands behind the end of the last whole line.
    pub(super) fn read_rest(&mut self, visit: &mut Visit<'_>) -> anyhow::Result<()> {
        for file in &mut self.files {
            file.rest(visit)?;
        }
        Ok(())
    }

    /// Adds the files that have been begun since the last one was opened.
    pub(super) fn renew(&mut self, path: &Path) -> anyhow::Result<()> {
        let current = self.files.back().map(|file| file.identity);
        let newer = newest_first(path, |identity| Some(identity) == current)?;
        self.files.extend(newer.into_iter().rev());
        if let Some(file) = self.files.front_mut() {
            file.rewind_if_cut()?;
        }
        Ok(())
    }
}

/// The files from the newest on, up to the first for which `stop` holds. A file that is renamed while
/// we look is found under both names and taken once.
fn newest_first(path: &Path, stop: impl Fn((u64, u64)) -> bool) -> anyhow::Result<Vec<Source>> {
    let mut files: Vec<Source> = Vec::new();
    let mut missing = 0;
    for number in 0.. {
        let name = if number == 0 {
            path.to_owned()
        } else {
            rotated_name(path, number)
        };
        let file = match File::open(&name) {
            Ok(file) => file,
            // Between the steps of a rotation one name is free, and there are others behind it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && missing == 0 => {
                missing += 1;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", name.display())),
        };
        let file = Source::new(file).with_context(|| format!("cannot read {}", name.display()))?;
        if stop(file.identity) {
            break;
        }
        if !files.iter().any(|known| known.identity == file.identity) {
            files.push(file);
        }
    }
    Ok(files)
}

/// One open file.
struct Source {
    reader: BufReader<File>,
    /// Device and inode: what stays the same when the file is renamed.
    identity: (u64, u64),
    /// In seconds since the epoch.
    modified: i64,
    /// Where in the file the reader stands.
    position: u64,
    /// The beginning of a line whose end has not been written yet.
    begun: Vec<u8>,
    /// The line that is being read is too long; its bytes are not kept.
    overlong: bool,
}

impl Source {
    fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            reader: BufReader::with_capacity(64 * 1024, file),
            identity: (metadata.dev(), metadata.ino()),
            modified: metadata.mtime(),
            position: 0,
            begun: Vec::new(),
            overlong: false,
        })
    }

    fn lines(&mut self, visit: &mut Visit<'_>) -> io::Result<()> {
        loop {
            let room = MAX_LINE_BYTES.saturating_sub(self.begun.len()) as u64;
            let read = (&mut self.reader)
                .take(room.max(1))
                .read_until(b'\n', &mut self.begun)?;
            self.position += read as u64;
            if read == 0 {
                return Ok(());
            }
            if self.begun.last() == Some(&b'\n') {
                self.begun.pop();
                self.finish(visit)?;
            } else if self.begun.len() >= MAX_LINE_BYTES {
                self.overlong = true;
                self.begun.clear();
            }
        }
    }

    fn rest(&mut self, visit: &mut Visit<'_>) -> io::Result<()> {
        if self.begun.is_empty() && !self.overlong {
            return Ok(());
        }
        self.finish(visit)
    }

    fn finish(&mut self, visit: &mut Visit<'_>) -> io::Result<()> {
        let result = match std::str::from_utf8(&self.begun) {
            Ok(text) if !self.overlong => visit(Line::Whole(text)),
            _ => visit(Line::Broken),
        };
        self.overlong = false;
        self.begun.clear();
        result
    }

    /// Begins again when somebody has emptied the file in place.
    fn rewind_if_cut(&mut self) -> io::Result<()> {
        if self.reader.get_ref().metadata()?.len() < self.position {
            self.reader.rewind()?;
            self.position = 0;
            self.begun.clear();
            self.overlong = false;
        }
        Ok(())
    }
}
