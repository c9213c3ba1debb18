//! The transfers that run at this moment, for `ftpd status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ftp_store::FilePath;
use tokio::time::Instant;

/// All of them.
#[derive(Clone, Default)]
pub(crate) struct Transfers {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    last: u64,
    running: BTreeMap<u64, Transfer>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) session: u64,
    pub(crate) user: Arc<str>,
    pub(crate) op: &'static str,
    pub(crate) path: FilePath,
    pub(crate) began: Instant,
}

/// A transfer's entry, taken out when dropped.
pub(crate) struct Running {
    transfers: Transfers,
    number: u64,
}

impl Transfers {
    pub(crate) fn begin(&self, session: u64, user: Arc<str>, op: &'static str, path: &FilePath) -> Running {
        let transfer = Transfer {
            session,
            user,
            op,
            path: path.clone(),
            began: Instant::now(),
        };
        let mut table = self.table();
        table.last += 1;
        let number = table.last;
        table.running.insert(number, transfer);
        drop(table);
        Running {
            transfers: self.clone(),
            number,
        }
    }

    /// Those that run now, the oldest first.
    pub(crate) fn all(&self) -> Vec<Transfer> {
        self.table().running.values().cloned().collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.transfers.table().running.remove(&self.number);
    }
}
