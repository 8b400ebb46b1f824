//! The parts of an open store, and what keeps its table in step with its journal.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use crate::clock::{Clock, instant};
use crate::commit::Core;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::journal::manifest::Checkpoint;
use crate::opening::OpenedTable;
use crate::options::Options;
use crate::sync::Mutex;
use crate::table::RenewableTable;

/// The parts of a store that is not closed.
pub(crate) struct Running {
    pub(crate) core: Core,
    /// The same table as the core's.
    pub(crate) table: Arc<RenewableTable>,
    pub(crate) environment: Environment,
    /// False when the table stands in memory for want of disk space.
    table_on_disk: bool,
    flushed: Mutex<Flushed>,
    /// When this run took its last checkpoint, in milliseconds since 1970; 0 for never.
    checkpointed_ms: AtomicU64,
    /// Segments made by compaction whose entries the table points to already.
    relocated: Mutex<HashSet<u32>>,
    /// Whether rows of purged tombstones may point into retired segments: those of an earlier
    /// process, or of a purge that failed.
    rows_left_behind: AtomicBool,
    _lock: Box<dyn Any + Send + Sync>,
}

/// What the table on disk holds.
#[derive(Debug)]
struct Flushed {
    /// The revision at which it was last flushed.
    revision: u64,
    /// The folder that it is.
    generation: u64,
}

impl Running {
    pub(crate) fn new(
        environment: &Environment,
        journal: Journal,
        table: OpenedTable,
        clock: Clock,
        lock: Box<dyn Any + Send + Sync>,
        options: &Options,
    ) -> Result<Self> {
        let renewable = Arc::new(RenewableTable::new(table.table));
        let core = Core::new(journal, renewable.clone(), clock, options)?;
        let rows_left_behind = AtomicBool::new(!core.journal.retired_segments().is_empty());
        core.expiries.note(table.next_expiry_ms);
        let flushed = Flushed { revision: table.flushed_revision, generation: table.generation };
        Ok(Self {
            core,
            table: renewable,
            environment: environment.clone(),
            table_on_disk: table.on_disk,
            flushed: Mutex::new(flushed),
            checkpointed_ms: AtomicU64::new(0),
            relocated: Mutex::default(),
            rows_left_behind,
            _lock: lock,
        })
    }

    /// When this run took its last checkpoint.
    pub(crate) fn checkpointed(&self) -> Option<SystemTime> {
        let ms = self.checkpointed_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| instant(ms))
    }

    /// Makes everything up to now part of the table on disk, so that the next open need not
    /// replay it. Costs a flush of the table and some syncs; writers go on meanwhile.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let mut flushed = self.flushed.lock();
        let revision = self.core.journal.totals().0;
        if !self.table_on_disk || flushed.revision == revision {
            return Ok(());
        }
        self.checkpoint_as(&mut flushed)
    }

    fn checkpoint_as(&self, flushed: &mut Flushed) -> Result<()> {
        if self.core.journal.is_poisoned() {
            return Err(Error::Poisoned);
        }
        let (revision, totals) = self.core.journal.totals();
        // Every commit up to the revision is applied and in the journal for good before the table
        // is said to hold it.
        self.core.journal.sync().map_err(|_| Error::Poisoned)?;
        // Before the flush: what a sweep takes away later may be in the table on disk.
        let next_expiry_ms = self.core.expiries.next_ms();
        self.core.table.flush().inspect_err(|_| self.core.journal.poison())?;
        let table_generation = flushed.generation;
        let checkpoint = Checkpoint { revision, totals, table_generation, next_expiry_ms };
        let now_ms = self.core.clock.now_ms();
        self.core.journal.record_checkpoint(checkpoint, now_ms)?;
        self.checkpointed_ms.store(now_ms, Ordering::Relaxed);
        flushed.revision = revision;
        Ok(())
    }

    /// Makes a new table, to which all rows are then copied.
    pub(crate) fn begin_table_copy(&self) -> Result<()> {
        let generation = self.flushed.lock().generation;
        self.environment.tables.remove_all_but(generation)?;
        self.table.begin_copy(self.environment.tables.open(generation + 1)?);
        Ok(())
    }

    /// Lets the copy, which holds all rows, take over; the old table goes once MANIFEST names the
    /// new one.
    pub(crate) fn take_over_table_copy(&self) -> Result<()> {
        let tables = &self.environment.tables;
        let mut flushed = self.flushed.lock();
        let Some(replaced) = self.table.end_copy() else {
            return tables.remove_all_but(flushed.generation);
        };
        flushed.generation += 1;
        self.checkpoint_as(&mut flushed)?;
        // Scans may be reading it yet.
        drop(replaced);
        if let Err(error) = tables.remove_all_but(flushed.generation) {
            log::warn!("the replaced table could not be removed: {error}");
        }
        Ok(())
    }

    pub(crate) fn abandon_table_copy(&self) {
        self.table.abandon_copy();
        let generation = self.flushed.lock().generation;
        if let Err(error) = self.environment.tables.remove_all_but(generation) {
            log::warn!("an unfinished table could not be removed: {error}");
        }
    }

    /// Whether the table is on disk, and checkpoints can be taken.
    pub(crate) fn has_table_on_disk(&self) -> bool {
        self.table_on_disk
    }

    /// Makes moved heads durable, of which no checkpoint knows.
    pub(crate) fn flush_table(&self) -> Result<()> {
        let _flushing = self.flushed.lock();
        self.core.table.flush().inspect_err(|_| self.core.journal.poison())
    }

    /// Whether rows of purged tombstones may point into retired segments.
    pub(crate) fn has_rows_left_behind(&self) -> bool {
        self.rows_left_behind.load(Ordering::Acquire)
    }

    /// Says so: before rows are removed that they may be left, and afterwards that they are not.
    pub(crate) fn set_rows_left_behind(&self, left: bool) {
        self.rows_left_behind.store(left, Ordering::Release);
    }

    /// Whether the table was found to point to all entries of this segment.
    pub(crate) fn is_relocated(&self, segment: u32) -> bool {
        self.relocated.lock().contains(&segment)
    }

    pub(crate) fn note_relocated(&self, segment: u32) {
        self.relocated.lock().insert(segment);
    }

    /// Forgets about segments that nothing has to be moved to any more.
    pub(crate) fn all_relocated(&self) {
        self.relocated.lock().clear();
    }

    pub(crate) fn close(self) -> Result<()> {
        if self.core.journal.is_poisoned() {
            return Err(Error::Poisoned);
        }
        self.checkpoint()?;
        if !self.table_on_disk {
            // Without a table on disk there is nothing to believe at the next open.
            self.core.journal.sync().map_err(|_| Error::Poisoned)?;
            return Ok(());
        }
        // A table that failed at a read is not left as one to be believed.
        self.core.table.size_on_disk_bytes().inspect_err(|_| self.core.journal.distrust_table())?;
        let Core { journal, table, clock, expiries, .. } = self.core;
        let table_generation = self.flushed.lock().generation;
        let unfinished = self.table.abandon_copy();
        drop((table, self.table));
        if unfinished {
            self.environment.tables.remove_all_but(table_generation)?;
        }
        let table_digest = self.environment.tables.digest(table_generation)?;
        let (revision, totals) = journal.totals();
        let next_expiry_ms = expiries.next_ms();
        let checkpoint = Checkpoint { revision, totals, table_generation, next_expiry_ms };
        journal.record_close(checkpoint, table_digest, clock.now_ms())
    }
}
