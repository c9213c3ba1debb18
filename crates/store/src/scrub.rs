//! Reading stored files and comparing them with the digests kept since their upload.
//!
//! A file counts as damaged only if the version that was opened has a kept digest, was read to its
//! end and has the same size and times before and after: whatever is replaced, moved, removed or
//! written to meanwhile is no damage. Nothing is repaired, and a digest that does not fit stays.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use ftp_digest::{Algorithm, Digest, Hasher};
use rustix::io::Errno;

use crate::blocking::blocking;
use crate::disk::{self, Kind};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::kept::Kept;
use crate::pace::Pace;
use crate::path::{MAX_COMPONENTS, RESERVED_NAME, is_reserved};
use crate::source::{Source, Sources};
use crate::tree::Names;

mod findings;

pub use findings::{Finding, ScrubFault, ScrubSummary};

/// How much one hand-over to a blocking thread reads, so that a transfer never waits long for it.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// The buffer for that.
const BUFFER_BYTES: usize = 256 * 1024;
/// What a name costs at a rate in bytes: about what the file system reads for it.
const NAME_BYTES: u64 = 4096;

/// What a scrub looks at, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct ScrubOptions {
    /// Bytes a second.
    pub pace: Pace,
    /// Whether files without a digest, or with that of an older content, are given one.
    pub adopt: bool,
    /// Only one of so many parts: each file is always in the same one.
    pub part: Option<Part>,
}

/// Some of the files, by their inodes: renaming a file does not take it to another part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 0 on.
    pub index: u64,
    /// How many there are; not 0.
    pub of: u64,
}

impl Part {
    fn has(self, inode: u64) -> bool {
        // Spread: file systems hand out inodes in groups.
        let spread = inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        spread % self.of.max(1) == self.index
    }
}

/// A scrub under way. Dropping it ends it after a few megabytes.
pub struct Scrub {
    work: Option<Box<Work>>,
    pace: Pace,
    summary: ScrubSummary,
    findings: VecDeque<Finding>,
}

/// Everything that goes to a blocking thread and comes back.
struct Work {
    sources: Arc<Sources>,
    adopt: Adopt,
    part: Option<Part>,
    levels: Vec<Level>,
    reading: Option<Reading>,
    buffer: Vec<u8>,
    summary: ScrubSummary,
    findings: VecDeque<Finding>,
    spent: u64,
}

/// Who may give files their digests.
enum Adopt {
    Nobody,
    /// Within the process that has the home open.
    Owner,
    /// Whoever has the lock of the home for that moment. A server whose readers would take the new
    /// change time for a changed file holds it.
    Locked(Dir),
}

struct Level {
    dir: Dir,
    names: Names,
    name: OsString,
}

/// A file that is being read.
struct Reading {
    path: PathBuf,
    source: Arc<Source>,
    kept: Kept,
    hasher: Hasher,
}

impl Home {
    /// Begins to compare the stored files with their digests.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the home's directory cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn scrub(&self, options: ScrubOptions) -> Result<Scrub> {
        let state = Arc::clone(self.state());
        let adopt = if options.adopt { Adopt::Owner } else { Adopt::Nobody };
        blocking(move || Scrub::begin(state.tree().root(), Arc::clone(state.sources()), adopt, options)).await
    }
}

impl Scrub {
    /// Begins to compare the files of a home that no server has open. A server that opens it
    /// meanwhile is not disturbed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no such directory.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is changed.
    pub async fn of_closed_home(dir: &Path, options: ScrubOptions) -> Result<Self> {
        let dir = dir.to_owned();
        blocking(move || {
            let root = open_existing(&dir)?;
            let adopt = match disk::open_dir(&root, OsStr::new(RESERVED_NAME)) {
                _ if !options.adopt => Adopt::Nobody,
                Ok(reserved) => Adopt::Locked(reserved),
                // No server has ever opened it.
                Err(_) => Adopt::Owner,
            };
            Self::begin(&root, Arc::default(), adopt, options)
        })
        .await
    }

    fn begin(root: &Dir, sources: Arc<Sources>, adopt: Adopt, options: ScrubOptions) -> Result<Self> {
        let fail = |errno| Error::io("read", "the home", errno);
        let dir = disk::open_dir(root, OsStr::new(".")).map_err(fail)?;
        let names = Names::of(&dir).map_err(fail)?;
        let level = Level {
            dir,
            names,
            name: OsString::new(),
        };
        Ok(Self {
            work: Some(Box::new(Work {
                sources,
                adopt,
                part: options.part,
                levels: vec![level],
                reading: None,
                buffer: vec![0; BUFFER_BYTES],
                summary: ScrubSummary::default(),
                findings: VecDeque::new(),
                spent: 0,
            })),
            pace: options.pace,
            summary: ScrubSummary::default(),
            findings: VecDeque::new(),
        })
    }

    /// The next thing that is wrong; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if digests were to be given and a server has opened the home meanwhile. What
    /// cannot be read is a finding and no error.
    ///
    /// # Cancel safety
    ///
    /// A dropped call ends the scrub after a few megabytes.
    pub async fn next(&mut self) -> Result<Option<Finding>> {
        loop {
            if let Some(finding) = self.findings.pop_front() {
                return Ok(Some(finding));
            }
            if !self.step().await? && self.findings.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Reads on for a few megabytes at the most; whether there is more. What is wrong is left for
    /// [`Scrub::take`].
    ///
    /// # Errors
    ///
    /// As [`Scrub::next`].
    ///
    /// # Cancel safety
    ///
    /// As [`Scrub::next`].
    pub async fn step(&mut self) -> Result<bool> {
        let Some(mut work) = self.work.take() else {
            return Ok(false);
        };
        let (mut work, more) = blocking(move || {
            let more = work.step()?;
            Ok((work, more))
        })
        .await?;
        self.summary = work.summary;
        self.findings.append(&mut work.findings);
        let spent = std::mem::take(&mut work.spent);
        if more {
            self.work = Some(work);
        }
        self.pace.spend(spent).await;
        Ok(more)
    }

    /// The next thing that was found wrong already, without reading on.
    pub fn take(&mut self) -> Option<Finding> {
        self.findings.pop_front()
    }

    /// What it has done so far.
    pub fn summary(&self) -> ScrubSummary {
        self.summary
    }
}

impl Work {
    /// Works on until enough is spent; whether there is more to do.
    fn step(&mut self) -> Result<bool> {
        while self.spent < STEP_BYTES {
            if let Some(reading) = self.reading.take() {
                self.read(reading)?;
            } else if !self.advance() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at the next name; whether there was one.
    fn advance(&mut self) -> bool {
        let Some(level) = self.levels.last_mut() else {
            return false;
        };
        let name = match level.names.next() {
            Some(Ok(name)) => name,
            Some(Err(errno)) => {
                self.unreadable(None, errno);
                self.levels.pop();
                return true;
            }
            None => {
                self.levels.pop();
                return true;
            }
        };
        if self.levels.len() == 1 && is_reserved(&name) {
            return true;
        }
        self.spent += NAME_BYTES;
        match self.enter(&name) {
            // Gone or another thing by now.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => {}
            Err(errno) => self.unreadable(Some(&name), errno),
        }
        true
    }

    fn enter(&mut self, name: &OsStr) -> Result<(), Errno> {
        let Some(level) = self.levels.last() else {
            return Ok(());
        };
        let meta = disk::stat_at(&level.dir, name)?;
        match meta.kind {
            Kind::Directory if self.levels.len() >= MAX_COMPONENTS => return Err(Errno::NAMETOOLONG),
            Kind::Directory => {
                let dir = disk::open_dir(&level.dir, name)?;
                let names = Names::of(&dir)?;
                let name = name.to_owned();
                self.levels.push(Level { dir, names, name });
            }
            Kind::File if self.part.is_none_or(|part| part.has(meta.id.1)) => {
                let file = disk::open_file(&level.dir, name)?;
                if disk::stat_fd(&file)?.kind == Kind::File {
                    let source = self.sources.share(file)?;
                    self.open(name, source);
                }
            }
            Kind::File | Kind::Symlink | Kind::Other => {}
        }
        Ok(())
    }

    /// Begins to read a file, if there is anything to compare with or to keep.
    fn open(&mut self, name: &OsStr, source: Arc<Source>) {
        let kept = source.kept();
        let algorithm = match kept {
            Kept::True(digest) => digest.algorithm(),
            Kept::Nothing | Kept::Outdated if !matches!(self.adopt, Adopt::Nobody) => Algorithm::default(),
            Kept::Nothing => return self.summary.without_digest += 1,
            Kept::Outdated => return self.summary.outdated += 1,
            Kept::Foreign => return self.summary.foreign += 1,
        };
        // What is in memory says nothing about the disk.
        disk::forget_cached(source.file());
        self.reading = Some(Reading {
            path: self.path(Some(name)),
            source,
            kept,
            hasher: Hasher::new(algorithm),
        });
    }

    /// Reads a file on, and judges it at its end.
    fn read(&mut self, mut reading: Reading) -> Result<()> {
        let size = reading.source.meta().size;
        while reading.hasher.length() < size && self.spent < STEP_BYTES {
            let left = usize::try_from(size - reading.hasher.length()).unwrap_or(BUFFER_BYTES);
            let wanted = &mut self.buffer[..left.min(BUFFER_BYTES)];
            match disk::read_at(reading.source.file(), wanted, reading.hasher.length()) {
                // It was cut.
                Ok(0) => {
                    self.summary.changed += 1;
                    return Ok(());
                }
                Ok(count) => {
                    reading.hasher.update(&wanted[..count]);
                    self.spent += count as u64;
                    self.summary.bytes += count as u64;
                }
                Err(error) => {
                    self.found_unreadable(reading.path, &error);
                    return Ok(());
                }
            }
        }
        if reading.hasher.length() < size {
            self.reading = Some(reading);
            return Ok(());
        }
        disk::forget_cached(reading.source.file());
        self.judge(reading)
    }

    fn judge(&mut self, reading: Reading) -> Result<()> {
        let Reading {
            path,
            source,
            kept,
            hasher,
        } = reading;
        let found = hasher.finish();
        let meta = source.meta();
        if !disk::stat_fd(source.file()).is_ok_and(|now| now == meta) {
            self.summary.changed += 1;
            return Ok(());
        }
        match kept {
            Kept::True(expected) if expected == found => self.summary.sound += 1,
            Kept::True(expected) => {
                self.summary.damaged += 1;
                let fault = ScrubFault::Damaged {
                    expected,
                    found,
                    size: meta.size,
                    modified: meta.modified,
                };
                self.findings.push_back(Finding { path, fault });
            }
            Kept::Nothing | Kept::Outdated | Kept::Foreign => {
                if self.adopt(&source, &found)? {
                    self.summary.adopted += 1;
                } else if kept == Kept::Outdated {
                    self.summary.outdated += 1;
                } else {
                    self.summary.without_digest += 1;
                }
            }
        }
        Ok(())
    }

    fn adopt(&self, source: &Source, digest: &Digest) -> Result<bool> {
        let Adopt::Locked(reserved) = &self.adopt else {
            return Ok(source.keep_digest(digest));
        };
        let lock =
            disk::open_own(reserved, "lock").map_err(|errno| Error::io("open", "the lock of the home", errno))?;
        disk::lock(&lock).map_err(|_| Error::InUse {
            dir: PathBuf::from("the home"),
        })?;
        Ok(source.keep_digest(digest))
    }

    fn unreadable(&mut self, name: Option<&OsStr>, error: Errno) {
        let path = self.path(name);
        self.found_unreadable(path, &error.into());
    }

    fn found_unreadable(&mut self, path: PathBuf, error: &std::io::Error) {
        self.summary.unreadable += 1;
        let fault = ScrubFault::Unreadable {
            cause: error.to_string(),
        };
        self.findings.push_back(Finding { path, fault });
    }

    /// Where the walk is, with `name` in it.
    fn path(&self, name: Option<&OsStr>) -> PathBuf {
        let mut path = OsString::new();
        for part in self
            .levels
            .iter()
            .skip(1)
            .map(|level| level.name.as_os_str())
            .chain(name)
        {
            path.push("/");
            path.push(part);
        }
        if path.is_empty() {
            path.push(OsStr::from_bytes(b"/"));
        }
        path.into()
    }
}

/// Opens the directory of a home that exists.
pub(crate) fn open_existing(dir: &Path) -> Result<Dir> {
    let fail = |error: std::io::Error| Error::io("open the home", &format!("{dir:?}"), error);
    let root = Dir::open_ambient_dir(dir, cap_std::ambient_authority()).map_err(fail)?;
    disk::open_dir(&root, OsStr::new(".")).map_err(|errno| fail(errno.into()))
}
