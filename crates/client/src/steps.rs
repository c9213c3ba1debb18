//! What an upload of a list does next, and the small files that are read ahead for it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_proto::{DATA_HEAD_BYTES, Kind, MAX_DATA_BYTES, Timestamp};
use tokio::task::JoinHandle;

use crate::items::Items;
use crate::source::Source;
use crate::{Error, PutItem};

/// How many small files are read in one go, and how many bytes of them at the most.
const BATCH_FILES: usize = 128;
const BATCH_BYTES: u64 = 2 * 1024 * 1024;

/// How many times that is read ahead.
const BATCHES: usize = 2;

/// How many steps are planned at the most, such as directories without files.
const MAX_STEPS: usize = 64;

/// A small file, read whole.
pub(crate) struct Small {
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) frame: BytesMut,
    pub(crate) digest: Digest,
}

/// What became of reading one; `None` if it is not small any more.
pub(crate) type Loaded = (usize, Result<Option<Small>, Error>);

pub(crate) enum Step {
    Directory(usize),
    Large(usize),
    Small(SmallFiles),
}

/// Small files that are read in one go.
pub(crate) struct SmallFiles {
    indices: Vec<usize>,
    bytes: u64,
    loading: Option<JoinHandle<Vec<Loaded>>>,
}

impl SmallFiles {
    fn new(index: usize, bytes: u64) -> Self {
        Self {
            indices: vec![index],
            bytes,
            loading: None,
        }
    }

    /// Whether a file of so many bytes may be added.
    fn takes(&self, bytes: u64) -> bool {
        self.loading.is_none() && self.indices.len() < BATCH_FILES && self.bytes + bytes <= BATCH_BYTES
    }

    /// Begins to read and hash them on a thread of its own, if that has not begun.
    pub(crate) fn load(&mut self, items: &Items<PutItem>, algorithm: Algorithm) -> &mut JoinHandle<Vec<Loaded>> {
        self.loading.get_or_insert_with(|| {
            let item = |index: &usize| (*index, Arc::clone(&items[*index].item));
            let items: Vec<_> = self.indices.iter().map(item).collect();
            tokio::task::spawn_blocking(move || {
                let load = |(index, item): (usize, Arc<PutItem>)| (index, read(&item, algorithm));
                items.into_iter().map(load).collect()
            })
        })
    }
}

fn read(item: &PutItem, algorithm: Algorithm) -> Result<Option<Small>, Error> {
    let source = Source::open(&item.local)?;
    let (size, mtime) = (source.size(), source.mtime());
    if size > item.size.max(MAX_DATA_BYTES as u64) {
        return Ok(None);
    }
    let frame = source.chunk(0, usize::try_from(size).expect("small"))?;
    source.check_unchanged()?;
    let digest = Hasher::digest(algorithm, &frame[DATA_HEAD_BYTES..]);
    Ok(Some(Small {
        size,
        mtime,
        frame,
        digest,
    }))
}

/// What to do next, in order, as far as it is planned. A large file is always the last: nothing is read ahead of it.
#[derive(Default)]
pub(crate) struct Steps {
    queue: VecDeque<Step>,
    /// Up to which item.
    pub(crate) planned: usize,
}

impl Steps {
    /// Whether more of them are wanted: as many batches as are read ahead, and one that fills meanwhile.
    pub(crate) fn are_few(&self) -> bool {
        let batches = self.queue.iter().filter(|step| matches!(step, Step::Small(_)));
        batches.count() <= BATCHES && self.queue.len() < MAX_STEPS && !matches!(self.queue.back(), Some(Step::Large(_)))
    }

    /// Batches to be read now.
    pub(crate) fn loadable(&mut self) -> impl Iterator<Item = &mut SmallFiles> {
        let batches = self.queue.iter_mut().filter_map(|step| match step {
            Step::Small(batch) => Some(batch),
            _ => None,
        });
        batches.take(BATCHES)
    }

    pub(crate) fn next(&mut self) -> Option<Step> {
        self.queue.pop_front()
    }

    pub(crate) fn add(&mut self, index: usize, item: &PutItem, is_small: bool) {
        match (item.kind, self.queue.back_mut()) {
            (Kind::Dir, _) => self.queue.push_back(Step::Directory(index)),
            (_, Some(Step::Small(batch))) if is_small && batch.takes(item.size) => {
                batch.bytes += item.size;
                batch.indices.push(index);
            }
            _ if is_small => self.queue.push_back(Step::Small(SmallFiles::new(index, item.size))),
            _ => self.queue.push_back(Step::Large(index)),
        }
    }
}
