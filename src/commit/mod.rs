//! The commit path: the one way by which anything is written, and the reads that must agree with
//! it.
//!
//! A commit, of one operation or of a batch:
//!
//! 1. Values are encoded and hashed by the caller. The stripes of all keys are locked.
//! 2. Each operation is decided on the table's heads, later ones seeing earlier ones.
//! 3. The journal gives revision, tags and place, and buffers the frame.
//! 4. The heads go into the table and the items into the cache, while readers of these stripes
//!    wait; a head that a snapshot reads is saved before it is displaced. Then the stripes are
//!    released.
//! 5. The caller waits until the frame is written or synced. Only then is it acknowledged.
//!
//! **Lock order:** stripes in ascending order → the journal's state → MANIFEST. The lock of the
//! snapshots is a leaf. No user code runs under any of them.

mod cache;
mod catalog;
mod change;
pub(crate) mod operation;
mod read;
mod relocate;
mod scan;
mod snapshots;
mod stripes;
mod sweep;
mod versions;
mod write;

#[cfg(test)]
mod models;

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Clock;
use crate::counters::Counters;
use crate::error::Result;
use crate::history::HistoryPolicy;
use crate::journal::Journal;
use crate::options::Options;
use crate::table::{Head, Table};

pub(crate) use cache::Version;
pub(crate) use relocate::{Place, Standing};
pub(crate) use snapshots::View;
pub(crate) use sweep::{Expiries, SweepStep};
pub(crate) use versions::PastEntry;

use cache::Cache;
use catalog::Catalog;
use snapshots::Snapshots;
use stripes::Stripes;

/// An open store's engine.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) journal: Journal,
    pub(crate) table: Arc<dyn Table>,
    pub(crate) clock: Clock,
    pub(crate) history: HistoryPolicy,
    pub(crate) expiries: Expiries,
    catalog: Catalog,
    cache: Cache,
    stripes: Stripes,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) counters: Counters,
}

impl Core {
    /// Puts the parts together and reads which collections there are.
    pub(crate) fn new(
        journal: Journal,
        table: Arc<dyn Table>,
        clock: Clock,
        options: &Options,
    ) -> Result<Self> {
        let mut core = Self {
            journal,
            table,
            clock,
            history: options.history,
            expiries: Expiries::new(),
            catalog: Catalog::default(),
            cache: Cache::new(options.cache_bytes / 2),
            stripes: Stripes::new(),
            snapshots: Arc::new(Snapshots::new(options.snapshot_bytes)),
            counters: Counters::default(),
        };
        let load = |key: &_, head: &Head| {
            let version = core.version_at(key, head)?;
            Ok(version.map_or_else(Bytes::new, |version| version.value))
        };
        core.catalog = Catalog::load(&*core.table, load)?;
        Ok(core)
    }

    /// How many collections are recorded; each is an item of the system collection.
    pub(crate) fn recorded_collections(&self) -> u64 {
        self.catalog.len()
    }

    /// Begins a snapshot of everything that was committed before the call, and of nothing that is
    /// after its return. Waits for commits that are being applied.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned) when a failure left a commit half applied.
    pub(crate) fn begin_snapshot(&self) -> Result<Arc<View>> {
        self.journal.at_newest(|revision| self.snapshots.begin(revision))
    }

    /// Whether this collection is recorded with this codec; not recorded at all is no error.
    ///
    /// # Errors
    /// [`Error::CodecMismatch`](crate::Error::CodecMismatch).
    pub(crate) fn check_codec(
        &self,
        collection: &str,
        codec: crate::codec::CodecId,
    ) -> Result<bool> {
        self.catalog.check(collection, codec)
    }
}
