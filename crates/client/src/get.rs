//! Downloading a list: small files one after another without waiting, large ones each with its resume.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ftp_proto::{Entry, Kind, MAX_DATA_BYTES, Stored};

use crate::arriving::Line;
use crate::batch::{Batch, Item, ends};
use crate::conflict::{decide, identical};
use crate::download::Download;
use crate::followed::followed;
use crate::items::Slot;
use crate::landing::{self, Found, make_parents, refuse_links};
use crate::link::Link;
use crate::observer::{Decision, Event, TransferId};
use crate::partial::{Durable, Partial, Published, is_partial_name, sync_file_system};
use crate::source::{Source, mtime};
use crate::upload::{Tally, blocking};
use crate::{Client, Error, GetItem, Outcome, RemotePath, Resume, TransferOptions};

/// For how many files the local disk is looked at in one go.
const LOOK_FILES: usize = 1024;

/// Up to which size the files of a list are made durable together at its end; larger ones are before they get their
/// names.
const SYNCED_TOGETHER_BYTES: u64 = 1024 * 1024;

impl Client {
    /// Downloads each item and goes on after a failure. Lost connections are made again and the transfers
    /// resumed; what becomes of each item is told to the observer and comes back in order.
    ///
    /// # Cancel safety
    /// A dropped download leaves what arrived in a partial file beside the target, to be resumed. The smaller files
    /// of a list, up to 1 MiB, and the names of all may not be on the disk yet then.
    pub async fn get(&mut self, items: Vec<GetItem>, options: &TransferOptions) -> Vec<Outcome> {
        let observer = Arc::clone(&self.observer);
        let mut batch = Batch::listed(items, options, &observer).keeping_outcomes();
        self.fetch(&mut batch).await;
        batch.outcomes()
    }

    /// As [`Client::get`], but what becomes of each item is told to the observer only.
    ///
    /// # Cancel safety
    /// As [`Client::get`].
    pub async fn get_each(&mut self, items: Vec<GetItem>, options: &TransferOptions) {
        let observer = Arc::clone(&self.observer);
        self.fetch(&mut Batch::listed(items, options, &observer)).await;
    }

    async fn fetch(&mut self, batch: &mut Batch<'_, GetItem>) {
        self.work_off(batch).await;
        batch.sync().await;
    }
}

impl Item for GetItem {
    fn local(&self) -> &Path {
        &self.local
    }

    fn remote(&self) -> &RemotePath {
        &self.remote
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn size(&self) -> u64 {
        self.size
    }

    async fn run(batch: &mut Batch<'_, Self>, link: &mut Link) -> Result<(), Error> {
        batch.run(link).await
    }
}

impl Batch<'_, GetItem> {
    async fn run(&mut self, link: &mut Link) -> Result<(), Error> {
        let mut line = Line::default();
        let done = self.work_through(link, &mut line).await;
        // What arrived is written and counts, even if the connection is gone.
        self.land_all(&mut line).await;
        done
    }

    async fn work_through(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        let mut next = self.items.range().start;
        loop {
            if self.items.is_full() {
                self.settle(link, line).await?;
            }
            let window = self.window(next);
            if window.is_empty() {
                return self.settle(link, line).await;
            }
            next = window.end;
            self.make_directories(window.clone()).await;
            self.look_ahead(window.clone()).await;
            for index in window {
                if self.items.is_open(index) {
                    self.one(link, line, index).await?;
                }
            }
        }
    }

    /// The next items, from `next` on.
    fn window(&mut self, next: usize) -> Range<usize> {
        let start = next.max(self.items.range().start);
        while self.items.range().end < start + LOOK_FILES {
            let found = self.items.ready();
            if found.is_empty() {
                break;
            }
            self.take_in(found);
        }
        start..self.items.range().end.min(start + LOOK_FILES)
    }

    async fn one(&mut self, link: &mut Link, line: &mut Line, index: usize) -> Result<(), Error> {
        if is_partial_name(&self.items[index].item.local) {
            let local = self.items[index].item.local.clone();
            self.finish(index, Err(Error::PartialName(local)));
            return Ok(());
        }
        if !self.is_clear(index) {
            // Something else may be asked only when the line is quiet.
            self.settle(link, line).await?;
            if !self.clear(link, index).await? {
                return Ok(());
            }
        }
        let is_small = self.items[index].item.size <= MAX_DATA_BYTES as u64 && self.options.resume != Resume::Always;
        if is_small && !self.is_single {
            self.ask(link, line, index).await
        } else {
            self.settle(link, line).await?;
            self.large(link, index).await
        }
    }

    /// Takes in everything that was asked for, and fetches what did not go that way.
    async fn settle(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        self.take_all(link, line).await?;
        for index in line.take_again() {
            self.large(link, index).await?;
        }
        Ok(())
    }

    /// Makes directories in one go. What is in one that was not there before has a free name.
    async fn make_directories(&mut self, window: Range<usize>) {
        let due: Vec<_> = self
            .open(window.clone())
            .filter(|(_, item)| item.kind == Kind::Dir)
            .collect();
        if !due.is_empty() {
            let parents = self.options.parents;
            let made = blocking(move || Ok(landing::make_directories(due, parents))).await;
            for (index, made) in made.unwrap_or_default() {
                if matches!(made, Ok(true)) {
                    self.fresh.insert(self.items[index].item.local.clone());
                }
                self.finish(index, made.map(|_| None));
            }
        }
        for index in window {
            if self.items.is_open(index) {
                let Slot { item, state } = &mut self.items[index];
                let is_fresh = item.local.parent().is_some_and(|parent| self.fresh.contains(parent));
                state.cleared |= is_fresh;
                state.is_free |= is_fresh;
            }
        }
    }

    /// Finds out, for many items in one go, which targets are not there yet.
    async fn look_ahead(&mut self, window: Range<usize>) {
        let unknown: Vec<_> = self
            .open(window)
            .filter(|(index, _)| !self.items[*index].state.cleared)
            .collect();
        if unknown.is_empty() {
            return;
        }
        let found = blocking(move || Ok(landing::look(unknown)));
        for (index, found) in found.await.unwrap_or_default() {
            self.items[index].state.cleared = found != Found::Target;
            self.items[index].state.is_free = found == Found::Nothing;
        }
    }

    fn open(&self, window: Range<usize>) -> impl Iterator<Item = (usize, Arc<GetItem>)> {
        let open = window.filter(|index| self.items.is_open(*index));
        open.map(|index| (index, Arc::clone(&self.items[index].item)))
    }

    fn is_clear(&self, index: usize) -> bool {
        self.items[index].state.cleared || self.items[index].state.replace
    }

    /// Whether nothing is in the way of the item's target, or it may be replaced. Otherwise the item
    /// gets its result here.
    async fn clear(&mut self, link: &mut Link, index: usize) -> Result<bool, Error> {
        let item = Arc::clone(&self.items[index].item);
        let found = blocking(move || {
            refuse_links(&item.local, item.within.as_deref(), item.kind)?;
            match std::fs::symlink_metadata(&item.local) {
                Ok(metadata) => Ok(Some(metadata)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::local("cannot look at", &item.local)(error)),
            }
        });
        let metadata = match found.await {
            Ok(None) => {
                self.items[index].state.cleared = true;
                return Ok(true);
            }
            Ok(Some(metadata)) => metadata,
            Err(error) => {
                self.finish(index, Err(error));
                return Ok(false);
            }
        };
        let entry = match followed(link, &self.items[index].item.remote, true).await {
            Ok(entry) => entry,
            Err(error @ Error::Refused(_)) => {
                self.finish(index, Err(error));
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.begin(index);
        if metadata.is_file() && self.is_same(link, index, &entry).await? {
            return Ok(false);
        }
        if metadata.is_dir() {
            let source = std::io::ErrorKind::IsADirectory.into();
            self.finish(
                index,
                Err(Error::local("cannot replace", &self.items[index].item.local)(source)),
            );
            return Ok(false);
        }
        let state = Some((metadata.len(), mtime(&metadata)));
        let item = Arc::clone(&self.items[index].item);
        match decide(link, self.observer, &item.local, state, &item.remote, &entry, false).await? {
            Decision::Replace => {
                self.items[index].state.replace = true;
                Ok(true)
            }
            Decision::Keep => {
                self.finish(index, Err(Error::LocalExists(item.local.clone())));
                Ok(false)
            }
        }
    }

    /// Whether the target is the file already; then the item is done.
    async fn is_same(&mut self, link: &mut Link, index: usize, entry: &Entry) -> Result<bool, Error> {
        let local = self.items[index].item.local.clone();
        let Ok(source) = blocking(move || Source::open(&local)).await else {
            return Ok(false);
        };
        let source = Arc::new(source);
        match identical(link, &source, entry).await {
            Ok(Some(digest)) => {
                self.items[index].state.tally = Tally {
                    kept: entry.size,
                    ..Tally::default()
                };
                let stored = Stored {
                    size: entry.size,
                    mtime: entry.mtime,
                    digest,
                    replaced: false,
                };
                self.stored(index, &stored, true);
                Ok(true)
            }
            Ok(None) | Err(Error::Local { .. } | Error::SourceChanged) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn large(&mut self, link: &mut Link, index: usize) -> Result<(), Error> {
        self.begin(index);
        let (item, parents) = (Arc::clone(&self.items[index].item), self.options.parents);
        let opened = blocking(move || {
            refuse_links(&item.local, item.within.as_deref(), item.kind)?;
            if parents {
                make_parents(&item.local)?;
            }
            Partial::open(&item.local)
        });
        let partial = match opened.await {
            Ok(partial) => Arc::new(partial),
            Err(error) => {
                self.finish(index, Err(error));
                return Ok(());
            }
        };
        let resume = self.attempt(index);
        let Slot { item, state } = &mut self.items[index];
        let download = Download {
            id: index as TransferId,
            remote: &item.remote,
            options: self.options,
            resume,
            observer: self.observer,
        };
        let before = state.tally.furthest;
        let result = download.run(link, &partial, &mut state.tally).await;
        self.progress += state.tally.furthest - before;
        match result {
            Ok(received) => {
                let replace = self.items[index].state.replace;
                let durable = match received.size {
                    _ if self.is_single => Durable::Whole,
                    size if size > SYNCED_TOGETHER_BYTES => Durable::Data,
                    _ => Durable::Nothing,
                };
                let mtime = received.mtime;
                let publishing = blocking(move || partial.publish(mtime, replace, durable));
                // A slow disk takes its time.
                match link.busy_anyway(publishing).await {
                    Ok(Published { replaced, device }) => {
                        self.wrote(index, device);
                        self.stored(index, &received.stored(replaced), false);
                    }
                    Err(error) => self.finish(index, Err(error)),
                }
            }
            Err(error) => {
                // A refused file leaves nothing behind.
                let _ = blocking(move || {
                    if partial.length()? == 0 {
                        partial.discard()
                    } else {
                        Ok(())
                    }
                })
                .await;
                self.failed(index, error)?;
            }
        }
        Ok(())
    }

    /// What is not durable yet becomes it now, file system by file system.
    async fn sync(&mut self) {
        if self.is_single {
            return;
        }
        for (id, item) in std::mem::take(&mut self.written).into_values() {
            let path = item.local.clone();
            if let Err(error) = blocking(move || sync_file_system(&path)).await {
                self.observer.event(&Event::Failed {
                    id,
                    ends: ends(&*item),
                    error: &error,
                });
                self.amend(id, error);
            }
        }
    }
}
