//! Checkpoints: keeping the table on disk in step with the journal, and closing in order.

use std::time::SystemTime;

use crate::engine::Engine;
use crate::journal::manifest::Checkpoint;
use crate::seams::clock::instant;
use crate::seams::sync::Ordering;
use crate::values::error::Result;

/// What the table on disk holds.
#[derive(Debug)]
pub(super) struct Flushed {
    /// The revision at which it was last flushed.
    pub(super) revision: u64,
    /// The folder that it is.
    pub(super) generation: u64,
}

impl Engine {
    /// When this run took its last checkpoint.
    pub(crate) fn checkpointed(&self) -> Option<SystemTime> {
        let ms = self.checkpointed_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| instant(ms))
    }

    /// Makes everything up to now part of the table on disk, so that the next open need not
    /// replay it. Costs a flush of the table and some syncs; writers go on meanwhile.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let mut flushed = self.flushed.lock();
        let revision = self.journal.content().0;
        if !self.table_on_disk || flushed.revision == revision {
            return Ok(());
        }
        self.checkpoint_as(&mut flushed)
    }

    fn checkpoint_as(&self, flushed: &mut Flushed) -> Result<()> {
        self.journal.check_poison()?;
        let (revision, content) = self.journal.content();
        // Every commit up to the revision is applied and in the journal for good before the table
        // is said to hold it.
        self.journal.sync()?;
        // Before the flush: what a sweep takes away later may be in the table on disk.
        let next_expiry_ms = self.expiries.next_ms();
        self.table.flush().inspect_err(|error| self.journal.poison(error))?;
        let table_generation = flushed.generation;
        let checkpoint = Checkpoint { revision, content, table_generation, next_expiry_ms };
        let now_ms = self.clock.now_ms();
        self.journal.record_checkpoint(checkpoint, now_ms)?;
        self.checkpointed_ms.store(now_ms, Ordering::Relaxed);
        flushed.revision = revision;
        Ok(())
    }

    /// Makes a new table, to which all rows are then copied.
    pub(crate) fn begin_table_copy(&self) -> Result<()> {
        let generation = self.flushed.lock().generation;
        self.environment.tables.remove_all_but(generation)?;
        self.renewable.begin_copy(self.environment.tables.open(generation + 1)?);
        Ok(())
    }

    /// Lets the copy, which holds all rows, take over; the old table goes once MANIFEST names the
    /// new one.
    pub(crate) fn take_over_table_copy(&self) -> Result<()> {
        let tables = &self.environment.tables;
        let mut flushed = self.flushed.lock();
        let Some(replaced) = self.renewable.end_copy() else {
            return tables.remove_all_but(flushed.generation);
        };
        flushed.generation += 1;
        self.checkpoint_as(&mut flushed)?;
        // Scans may be reading it yet.
        drop(replaced);
        if let Err(error) = tables.remove_all_but(flushed.generation) {
            log::warn!(
                "the table that was replaced takes space until the next renewal or open removes \
                 it: {error}"
            );
        }
        Ok(())
    }

    pub(crate) fn abandon_table_copy(&self) {
        self.renewable.abandon_copy();
        let generation = self.flushed.lock().generation;
        if let Err(error) = self.environment.tables.remove_all_but(generation) {
            log::warn!(
                "an unfinished copy of the table takes space until the next renewal or open \
                 removes it: {error}"
            );
        }
    }

    /// Whether the table is on disk, and checkpoints can be taken.
    pub(crate) fn has_table_on_disk(&self) -> bool {
        self.table_on_disk
    }

    /// Makes moved heads durable, of which no checkpoint knows.
    pub(crate) fn flush_table(&self) -> Result<()> {
        let _flushing = self.flushed.lock();
        self.table.flush().inspect_err(|error| self.journal.poison(error))
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
        self.journal.check_poison()?;
        self.checkpoint()?;
        if !self.table_on_disk {
            // Without a table on disk there is nothing to believe at the next open.
            self.journal.sync()?;
            return Ok(());
        }
        // A table that failed at a read is not left as one to be believed.
        self.table.size_on_disk_bytes().inspect_err(|error| self.journal.distrust_table(error))?;
        let Self { journal, table, renewable, clock, expiries, environment, flushed, .. } = self;
        let table_generation = flushed.lock().generation;
        let unfinished = renewable.abandon_copy();
        drop((table, renewable));
        if unfinished {
            environment.tables.remove_all_but(table_generation)?;
        }
        let table_digest = environment.tables.digest(table_generation)?;
        let (revision, content) = journal.content();
        let next_expiry_ms = expiries.next_ms();
        let checkpoint = Checkpoint { revision, content, table_generation, next_expiry_ms };
        journal.record_close(checkpoint, table_digest, clock.now_ms())
    }
}
