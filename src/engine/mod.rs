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

pub(crate) mod background;
mod cache;
mod catalog;
mod change;
mod checkpoint;
pub(crate) mod compaction;
mod counters;
pub(crate) mod environment;
pub(crate) mod opening;
pub(crate) mod operation;
mod read;
mod relocate;
pub(crate) mod renewal;
mod scan;
pub(crate) mod shared;
mod snapshots;
mod stripes;
mod sweep;
mod sweep_pass;
pub(crate) mod throttle;
mod versions;
mod write;

#[cfg(test)]
mod models;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::checkpoint::Flushed;
use crate::engine::counters::Counters;
use crate::engine::environment::Environment;
use crate::engine::opening::Opened;
use crate::index::{RenewableTable, Table};
use crate::journal::Journal;
use crate::seams::clock::Clock;
use crate::seams::sync::{AtomicBool, AtomicU64, Mutex};
use crate::storage::HeldLock;
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::history::HistoryPolicy;
use crate::values::options::Options;

pub(crate) use cache::Version;
pub(crate) use relocate::{EntryLocation, EntryStatus};
pub(crate) use snapshots::View;
pub(crate) use sweep::{Expiries, SweepStep};
pub(crate) use versions::PastEntry;

use cache::Cache;
use catalog::Catalog;
use snapshots::Snapshots;
use stripes::Stripes;

/// One open store: what its operations work on. It is gone when the store is closed.
pub(crate) struct Engine {
    pub(crate) journal: Journal,
    pub(crate) table: Arc<dyn Table>,
    /// The same table as `table`.
    pub(crate) renewable: Arc<RenewableTable>,
    pub(crate) clock: Clock,
    pub(crate) history: HistoryPolicy,
    pub(crate) expiries: Expiries,
    pub(crate) environment: Environment,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) counters: Counters,
    catalog: Catalog,
    cache: Cache,
    stripes: Stripes,
    /// False when the table stands in memory for want of disk space.
    table_on_disk: bool,
    flushed: Mutex<Flushed>,
    /// When this session took its last checkpoint, in milliseconds since 1970; 0 for never.
    checkpointed_ms: AtomicU64,
    /// Segments made by compaction whose entries the table points to already.
    relocated: Mutex<HashSet<u32>>,
    /// Whether rows of purged tombstones may point into retired segments: those of an earlier
    /// process, or of a purge that failed.
    rows_left_behind: AtomicBool,
    /// Keeps every other opener out.
    _lock: Arc<dyn HeldLock>,
}

impl Engine {
    /// Puts the parts of an opened store together and reads which collections there are.
    pub(crate) fn new(
        environment: &Environment,
        opened: Opened,
        options: &Options,
    ) -> Result<Self> {
        let Opened { lock, tables, journal, table, clock_ms, history, .. } = opened;
        let clock = Clock::new(environment.time.clone());
        clock.raise(clock_ms);
        let renewable = Arc::new(RenewableTable::new(table.table));
        let rows_left_behind = AtomicBool::new(!journal.retired_segments().is_empty());
        let flushed = Flushed { revision: table.flushed_revision, generation: table.generation };
        let mut engine = Self {
            journal,
            table: renewable.clone(),
            renewable,
            clock,
            history,
            expiries: Expiries::new(),
            environment: Environment { tables, ..environment.clone() },
            snapshots: Arc::new(Snapshots::new(options.snapshot_bytes)),
            counters: Counters::default(),
            catalog: Catalog::default(),
            cache: Cache::new(options.cache_bytes / 2),
            stripes: Stripes::new(),
            table_on_disk: table.on_disk,
            flushed: Mutex::new(flushed),
            checkpointed_ms: AtomicU64::new(0),
            relocated: Mutex::default(),
            rows_left_behind,
            _lock: lock,
        };
        engine.expiries.note(table.next_expiry_ms);
        let load = |key: &_, head: &Head| {
            let version = engine.version_at(key, head)?;
            Ok(version.map_or_else(Bytes::new, |version| version.value))
        };
        engine.catalog = Catalog::load(&*engine.table, load)?;
        Ok(engine)
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
        codec: crate::values::codec::CodecId,
    ) -> Result<bool> {
        self.catalog.check(collection, codec)
    }
}
