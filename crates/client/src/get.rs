//! Downloading a list: small files one after another without waiting, large ones each with its resume.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use ftp_proto::{Entry, Kind, MAX_DATA_BYTES, Op, Re, Stored};

use crate::arriving::Line;
use crate::batch::{Batch, Item, State};
use crate::conflict::{decide, identical};
use crate::download::Download;
use crate::landing::{self, Found, make_parents, refuse_links};
use crate::link::{Link, wrong_reply};
use crate::observer::{Decision, Event, TransferId};
use crate::partial::{Partial, is_partial_name, sync_file_system};
use crate::source::{Source, mtime};
use crate::upload::{Tally, blocking};
use crate::{Client, Error, GetItem, Outcome, RemotePath, Resume, TransferOptions};

/// For how many files the local disk is looked at in one go.
const LOOK_FILES: usize = 1024;

impl Client {
    /// Downloads each item and goes on after a failure. Lost connections are made again and the transfers
    /// resumed; what becomes of each item is told to the observer and comes back in order.
    ///
    /// # Cancel safety
    /// A dropped download leaves what arrived in a partial file beside the target, to be resumed.
    pub async fn get(&mut self, items: Vec<GetItem>, options: &TransferOptions) -> Vec<Outcome> {
        let observer = Arc::clone(&self.observer);
        let mut batch = Batch::new(items, options, &observer);
        self.work_off(&mut batch).await;
        batch.sync().await;
        batch.outcomes()
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
        self.make_directories().await;
        let mut line = Line::default();
        let done = self.work_through(link, &mut line).await;
        // What arrived is written and counts, even if the connection is gone.
        self.land_all(&mut line).await;
        done
    }

    async fn work_through(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        for index in 0..self.items.len() {
            if index.is_multiple_of(LOOK_FILES) {
                self.look_ahead(index).await;
            }
            if self.states[index].result.is_none() && is_partial_name(&self.items[index].local) {
                let local = self.items[index].local.clone();
                self.finish(index, Err(Error::PartialName(local)));
            }
            if self.states[index].result.is_some() {
                continue;
            }
            if !self.is_clear(index) {
                // Something else may be asked only when the line is quiet.
                self.settle(link, line).await?;
                if !self.clear(link, index).await? {
                    continue;
                }
            }
            let item = &self.items[index];
            let is_small = item.size <= MAX_DATA_BYTES as u64 && self.options.resume != Resume::Always;
            if is_small && self.items.len() > 1 {
                self.ask(link, line, index).await?;
            } else {
                self.settle(link, line).await?;
                self.large(link, index).await?;
            }
        }
        self.settle(link, line).await
    }

    /// Takes in everything that was asked for, and fetches what did not go that way.
    async fn settle(&mut self, link: &mut Link, line: &mut Line) -> Result<(), Error> {
        self.take_all(link, line).await?;
        for index in line.take_again() {
            self.large(link, index).await?;
        }
        Ok(())
    }

    /// Makes the directories in one go. What is in one that was not there before has a free name.
    async fn make_directories(&mut self) {
        let is_due = |index: &usize| self.states[*index].result.is_none() && self.items[*index].kind == Kind::Dir;
        let indices: Vec<_> = (0..self.items.len()).filter(is_due).collect();
        if indices.is_empty() {
            return;
        }
        let (items, parents) = (Arc::clone(&self.items), self.options.parents);
        let made = blocking(move || Ok(landing::make_directories(&items, indices, parents))).await;
        let mut fresh = HashSet::new();
        for (index, made) in made.unwrap_or_default() {
            if matches!(made, Ok(true)) {
                fresh.insert(self.items[index].local.clone());
            }
            self.finish(index, made.map(|_| None));
        }
        for (item, state) in self.items.iter().zip(&mut self.states) {
            let is_fresh = item.kind != Kind::Dir && item.local.parent().is_some_and(|parent| fresh.contains(parent));
            state.cleared |= is_fresh;
            state.is_free |= is_fresh;
        }
    }

    /// Finds out, for many items in one go, which targets are not there yet.
    async fn look_ahead(&mut self, from: usize) {
        let to = self.items.len().min(from + LOOK_FILES);
        let is_unknown = |index: &usize| self.states[*index].result.is_none() && !self.states[*index].cleared;
        let indices: Vec<_> = (from..to).filter(is_unknown).collect();
        if indices.is_empty() {
            return;
        }
        let items = Arc::clone(&self.items);
        let found = blocking(move || {
            let found = landing::look(&items, &indices);
            Ok(indices.into_iter().zip(found).collect::<Vec<_>>())
        });
        for (index, found) in found.await.unwrap_or_default() {
            self.states[index].cleared = found != Found::Target;
            self.states[index].is_free = found == Found::Nothing;
        }
    }

    fn is_clear(&self, index: usize) -> bool {
        self.states[index].cleared || self.states[index].replace
    }

    /// Whether nothing is in the way of the item's target, or it may be replaced. Otherwise the item
    /// gets its result here.
    async fn clear(&mut self, link: &mut Link, index: usize) -> Result<bool, Error> {
        let items = Arc::clone(&self.items);
        let found = blocking(move || {
            let item = &items[index];
            refuse_links(&item.local, item.within.as_deref(), item.kind)?;
            match std::fs::symlink_metadata(&item.local) {
                Ok(metadata) => Ok(Some(metadata)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::local("cannot look at", &item.local)(error)),
            }
        });
        let metadata = match found.await {
            Ok(None) => {
                self.states[index].cleared = true;
                return Ok(true);
            }
            Ok(Some(metadata)) => metadata,
            Err(error) => {
                self.finish(index, Err(error));
                return Ok(false);
            }
        };
        let entry = match link
            .call(Op::Stat {
                path: self.items[index].remote.as_wire().to_owned(),
                digest: true,
            })
            .await
        {
            Ok(Re::Entry(entry)) => entry,
            Ok(other) => return Err(wrong_reply(other)),
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
                Err(Error::local("cannot replace", &self.items[index].local)(source)),
            );
            return Ok(false);
        }
        let state = Some((metadata.len(), mtime(&metadata)));
        let item = &self.items[index];
        match decide(link, self.observer, &item.local, state, &item.remote, &entry, false).await? {
            Decision::Replace => self.states[index].replace = true,
            Decision::Keep => {
                let error = Error::LocalExists(item.local.clone());
                self.finish(index, Err(error));
            }
        }
        Ok(self.states[index].replace)
    }

    /// Whether the target is the file already; then the item is done.
    async fn is_same(&mut self, link: &mut Link, index: usize, entry: &Entry) -> Result<bool, Error> {
        let local = self.items[index].local.clone();
        let Ok(source) = blocking(move || Source::open(&local)).await else {
            return Ok(false);
        };
        let source = Arc::new(source);
        match identical(link, &source, entry).await {
            Ok(Some(digest)) => {
                self.states[index].tally = Tally {
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
        let (items, parents) = (Arc::clone(&self.items), self.options.parents);
        let opened = blocking(move || {
            let item = &items[index];
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
        let state = &mut self.states[index];
        let download = Download {
            id: index as TransferId,
            remote: &self.items[index].remote,
            options: self.options,
            resume,
            observer: self.observer,
        };
        let before = state.tally.furthest;
        let result = download.run(link, &partial, &mut state.tally).await;
        self.progress += state.tally.furthest - before;
        match result {
            Ok(received) => {
                let replace = self.states[index].replace;
                let (mtime, durable) = (received.mtime, self.items.len() == 1);
                let published = blocking(move || partial.publish(mtime, replace, durable)).await;
                match published {
                    Ok(replaced) => self.stored(index, &received.stored(replaced), false),
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

    /// Many files are made durable together, at the end.
    async fn sync(&mut self) {
        let stored = |state: &State| matches!(&state.result, Some(Ok(Some(done))) if !done.identical);
        let Some(index) = self.states.iter().position(stored).filter(|_| self.items.len() > 1) else {
            return;
        };
        let path = self.items[index].local.clone();
        if let Err(error) = blocking(move || sync_file_system(&path)).await {
            self.observer.event(&Event::Failed {
                id: index as TransferId,
                error: &error,
            });
            self.states[index].result = Some(Err(error));
        }
    }
}
