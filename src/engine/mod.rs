//! The commit path: the one way by which anything is written, and the reads that must agree with
//! it.
//!
//! A commit, of one operation or of a batch:
//!
//! 1. Values are encoded and hashed by the caller. The stripes of all keys are locked.
//! 2. Each operation is decided on the index's heads, later ones seeing earlier ones.
//! 3. The journal assigns revision, tags and place, and buffers the frame.
//! 4. Heads and values are put into the index, while readers of these stripes wait. A head that a
//!    snapshot reads is saved before it is displaced. Then the stripes are released.
//! 5. The caller waits until the frame is written or synced. Only then is it acknowledged.
//!
//! **Lock order:** checkpoints → stripes in ascending order → the journal's state → MANIFEST. The
//! lock of the snapshots is a leaf. No user code runs under any of them.

pub(crate) mod background;
mod catalog;
mod change;
mod checkpoint;
mod clear;
pub(crate) mod compaction;
mod counters;
mod damaged_copy;
pub(crate) mod environment;
mod index_access;
pub(crate) mod opening;
pub(crate) mod operation;
mod read;
mod relocate;
mod scan;
mod scanned;
mod scanned_keys;
pub(crate) mod secondary;
pub(crate) mod shared;
mod snapshots;
mod stripes;
mod sweep;
mod sweep_pass;
pub(crate) mod throttle;
mod version;
mod versions;
mod write;

#[cfg(test)]
mod models;

use std::sync::Arc;

use crate::engine::checkpoint::{CheckpointState, Relocated};
use crate::engine::counters::Counters;
use crate::engine::environment::Environment;
use crate::engine::opening::Opened;
use crate::engine::secondary::Secondaries;
use crate::index::Index;
use crate::journal::Journal;
use crate::seams::clock::Clock;
use crate::seams::sync::{AtomicBool, AtomicU64, Mutex};
use crate::storage::HeldLock;
use crate::values::error::Result;
use crate::values::history::HistoryPolicy;
use crate::values::options::Options;

pub(crate) use catalog::CollectionRecord;
pub(crate) use clear::{ClearedItems, Clearing};
pub(crate) use damaged_copy::Rescued;
pub(crate) use relocate::EntryStatus;
pub(crate) use scan::{GoOn, Span, Window};
pub(crate) use scanned::ScannedItems;
pub(crate) use scanned_keys::ScannedKeys;
pub(crate) use secondary::Secondary;
pub(crate) use snapshots::View;
pub(crate) use sweep::{Expiries, SweepStep};
pub(crate) use version::Version;
pub(crate) use versions::PastEntry;

use catalog::Catalog;
use snapshots::Snapshots;
use stripes::Stripes;

/// One open store: what its operations work on. Closing the store drops it.
pub(crate) struct Engine {
    pub(crate) journal: Journal,
    pub(crate) index: Index,
    pub(crate) clock: Clock,
    pub(crate) history: HistoryPolicy,
    pub(crate) expiries: Expiries,
    pub(crate) environment: Environment,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) counters: Counters,
    /// How many items one find may look at.
    pub(crate) max_scanned_items: u64,
    catalog: Catalog,
    pub(crate) secondaries: Secondaries,
    stripes: Stripes,
    /// Held by the thread that restores what the index has lost.
    restoring: parking_lot::Mutex<()>,
    checkpoints: Mutex<CheckpointState>,
    /// How many checkpoints of this session have begun.
    checkpoints_begun: AtomicU64,
    /// When this session took its last checkpoint, in milliseconds since 1970; 0 for never.
    checkpointed_ms: AtomicU64,
    /// Segments made by compaction whose entries the index points to already.
    relocated: Mutex<Relocated>,
    /// Whether heads of purged tombstones may point into retired segments: those of an earlier
    /// process, or of a purge that failed.
    heads_left_behind: AtomicBool,
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
        let Opened { lock, backings, journal, index, clock_ms, history, .. } = opened;
        let clock = Clock::new(environment.time.clone());
        clock.raise(clock_ms);
        let heads_left_behind = AtomicBool::new(!journal.retired_segments().is_empty());
        let checkpoints = CheckpointState {
            revision: index.written_revision,
            generation: index.generation,
            directory_digest: index.directory_digest,
            begun: 0,
            completed: 0,
        };
        let mut engine = Self {
            journal,
            index: index.index,
            clock,
            history,
            expiries: Expiries::new(),
            environment: Environment { backings, ..environment.clone() },
            snapshots: Arc::new(Snapshots::new(options.snapshot_bytes)),
            counters: Counters::default(),
            max_scanned_items: options.max_scanned_items,
            catalog: Catalog::default(),
            secondaries: Secondaries::default(),
            stripes: Stripes::new(),
            restoring: parking_lot::Mutex::default(),
            checkpoints: Mutex::new(checkpoints),
            checkpoints_begun: AtomicU64::new(0),
            checkpointed_ms: AtomicU64::new(0),
            relocated: Mutex::default(),
            heads_left_behind,
            _lock: lock,
        };
        engine.expiries.note(index.next_expiry_ms);
        let (catalog, indexes) = engine.load_catalog()?;
        engine.catalog = catalog;
        engine.settle_secondaries(indexes, index.found_rows.as_ref())?;
        engine.build_all()?;
        Ok(engine)
    }

    /// How many collections and indexes are recorded; each is an item of the system collection.
    pub(crate) fn recorded_collections(&self) -> u64 {
        self.catalog.len() + self.secondaries.len() as u64
    }

    /// Counts the collections that were dropped in this session.
    pub(crate) fn dropped_collections(&self) -> Arc<AtomicU64> {
        Arc::clone(self.catalog.drops())
    }

    /// Begins a snapshot of everything that was committed before the call, and of nothing that is
    /// after its return. Waits for commits that are being applied.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned) when a failure left a commit half applied.
    pub(crate) fn begin_snapshot(&self) -> Result<Arc<View>> {
        self.journal.at_newest(|revision| self.snapshots.begin(revision))
    }

    /// Whether this collection is recorded with this codec; false if it is not recorded at all.
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
