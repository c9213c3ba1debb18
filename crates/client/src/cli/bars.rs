//! Progress bars: one for each running file, as far as they can be read, and one for all together.

mod row;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Instant;

use ftp_client::TransferId;
use indicatif::MultiProgress;

use self::row::{Phase, Row};
use super::format;

/// More bars than this at once nobody reads; further files show in the total only.
const MAX_ROWS: usize = 5;

/// Among many files, those below this many bytes are gone before their bar is seen.
const MIN_ROW_BYTES: u64 = 1 << 20;

/// Up to so many files, even small ones have a bar each.
const FEW_FILES: u64 = 20;

/// The bars of one call.
#[derive(Debug)]
pub(crate) struct Bars {
    multi: MultiProgress,
    /// Whether anybody will see them.
    shown: bool,
    running: HashMap<TransferId, Transfer>,
    /// How many of them have a row.
    rows: usize,
    total: Option<Row>,
    files: u64,
    finished: u64,
    /// Bytes of files that succeeded, and those of failed ones that do not move any more.
    done: u64,
    lost: u64,
}

/// A running transfer, with or without a bar of its own.
#[derive(Debug)]
struct Transfer {
    /// Bytes of it that count in the total.
    done: u64,
    size: Option<u64>,
    row: Option<Row>,
}

impl Bars {
    /// No bars yet, to be drawn with `multi`.
    pub(crate) fn new(multi: MultiProgress) -> Self {
        Self {
            multi,
            shown: true,
            running: HashMap::new(),
            rows: 0,
            total: None,
            files: 0,
            finished: 0,
            done: 0,
            lost: 0,
        }
    }

    /// Whether there is a screen for what comes next; without one, nothing is kept.
    pub(crate) fn show(&mut self, shown: bool) {
        self.shown = shown;
    }

    /// So many files and bytes will move; a total is shown for more than one.
    pub(crate) fn planned(&mut self, files: u64, bytes: u64) {
        if !self.shown {
            return;
        }
        self.files = files;
        let bytes = bytes.saturating_sub(self.lost);
        if files > 1 {
            let total = self.total.get_or_insert_with(|| {
                let total = Row::new("", Some(bytes), Instant::now(), |bar| self.multi.add(bar));
                // Of files that began while they were the only ones known.
                let running = self.running.values().map(|transfer| transfer.done);
                total.credit(running.fold(self.done, u64::saturating_add));
                total
            });
            total.set_size(bytes);
        }
        self.name_total();
    }

    /// A file begins. Its name is quoted already.
    pub(crate) fn started(&mut self, id: TransferId, name: &str, size: Option<u64>) {
        if !self.shown {
            return;
        }
        let worth_it = self.files <= FEW_FILES || size.is_none_or(|size| size >= MIN_ROW_BYTES);
        let row = (self.rows < MAX_ROWS && worth_it).then(|| {
            Row::new(name, size, Instant::now(), |bar| match &self.total {
                Some(total) => self.multi.insert_before(total.bar(), bar),
                None => self.multi.add(bar),
            })
        });
        if row.is_none()
            && let Some(total) = &self.total
        {
            total.set_current(name);
        }
        self.rows += usize::from(row.is_some());
        let before = self.running.insert(id, Transfer { done: 0, size, row });
        self.rows -= usize::from(before.is_some_and(|before| before.row.is_some()));
    }

    /// Bytes that are there already are compared.
    pub(crate) fn comparing(&mut self, id: TransferId, done: u64, total: u64) {
        self.phase(id, Phase::Comparing { done, total });
    }

    /// The file goes on from `kept` bytes.
    pub(crate) fn resumed(&mut self, id: TransferId, kept: u64) {
        let Some(transfer) = self.running.get_mut(&id) else {
            return;
        };
        let credit = kept.saturating_sub(transfer.done);
        transfer.done = transfer.done.max(kept);
        if let Some(row) = &transfer.row {
            row.begin_at(Instant::now(), kept);
        }
        if let Some(total) = &self.total {
            total.credit(credit);
        }
    }

    /// So many bytes of the file are done.
    pub(crate) fn moved(&mut self, id: TransferId, done: u64) {
        let Some(transfer) = self.running.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        let before = std::mem::replace(&mut transfer.done, done);
        if let Some(row) = &transfer.row {
            row.moved(now, done);
        }
        if let Some(total) = &self.total {
            total.moved(now, total.done().saturating_sub(before).saturating_add(done));
        }
    }

    /// The proof is awaited.
    pub(crate) fn verifying(&mut self, id: TransferId) {
        self.phase(id, Phase::Verifying);
    }

    /// The connection is gone, and everything waits for the next try.
    pub(crate) fn waiting(&mut self) {
        for row in self.running.values().filter_map(|transfer| transfer.row.as_ref()) {
            row.enter(Phase::Waiting);
        }
    }

    /// The file is done, or failed: then its bytes do not count.
    pub(crate) fn ended(&mut self, id: TransferId, succeeded: bool) {
        // What ends a second time, when the disk could not keep it after all, is counted already.
        if let Some(transfer) = self.running.remove(&id) {
            self.finished += 1;
            if let Some(row) = &transfer.row {
                self.remove(row);
                self.rows -= 1;
            }
            // The rest of a file that ended needs no more time, whether it moved or not.
            let size = transfer.size.unwrap_or(transfer.done);
            let rest = size.saturating_sub(transfer.done);
            if succeeded {
                self.done = self.done.saturating_add(size);
                self.total.iter().for_each(|total| total.credit(rest));
            } else {
                self.done = self.done.saturating_add(transfer.done);
                self.lost = self.lost.saturating_add(rest);
                self.total.iter().for_each(|total| total.shrink(rest));
            }
        }
        self.name_total();
    }

    /// Draws what only time changes: stalls and remaining times.
    pub(crate) fn tick(&self) {
        for row in self.running.values().filter_map(|transfer| transfer.row.as_ref()) {
            row.bar().tick();
        }
        if let Some(total) = &self.total {
            total.bar().tick();
        }
    }

    /// Takes everything off the screen.
    pub(crate) fn clear(&mut self) {
        let rows: Vec<Row> = self.running.drain().filter_map(|(_, transfer)| transfer.row).collect();
        for row in rows.iter().chain(&self.total) {
            self.remove(row);
        }
        self.total = None;
        self.rows = 0;
        self.files = 0;
        self.finished = 0;
        self.done = 0;
        self.lost = 0;
    }

    fn phase(&self, id: TransferId, phase: Phase) {
        if let Some(row) = self.running.get(&id).and_then(|transfer| transfer.row.as_ref()) {
            row.enter(phase);
        }
    }

    fn name_total(&self) {
        if let Some(total) = &self.total {
            let files = format::count(self.files, "file", "files");
            // Directories that failed end like files, and are not among those planned.
            total.set_name(&format!("{} of {files}", self.finished.min(self.files)));
        }
    }

    fn remove(&self, row: &Row) {
        row.bar().finish_and_clear();
        self.multi.remove(row.bar());
    }
}
