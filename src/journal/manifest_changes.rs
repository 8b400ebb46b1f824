//! What an open journal records in MANIFEST and WATERMARK, in addition to its segments.

use crate::journal::append::Journal;
use crate::journal::manifest::{Checkpoint, CleanClose, IndexRecord, Manifest, RetiredSegment};
use crate::journal::state::State;
use crate::journal::watermark::Watermark;
use crate::values::error::Result;

impl Journal {
    /// Records that the index on disk holds every commit up to the checkpoint's revision, and that
    /// it points into none of these segments, which were dropped before the checkpoint began.
    ///
    /// # Errors
    /// As [`change_manifest`](Self::change_manifest).
    pub(crate) fn record_checkpoint(
        &self,
        checkpoint: Checkpoint,
        indexes: Vec<IndexRecord>,
        dropped: &[RetiredSegment],
        clock_ms: u64,
    ) -> Result<()> {
        self.change_manifest(|manifest| {
            manifest.checkpoint = checkpoint;
            manifest.indexes = indexes;
            let is_dropped =
                |retired: &RetiredSegment| dropped.iter().any(|d| d.number == retired.number);
            manifest.retired.retain(|retired| !is_dropped(retired));
            manifest.clock_ms = manifest.clock_ms.max(clock_ms);
        })
    }

    /// Leaves the mark of an orderly close. Writes nothing if MANIFEST has it already.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned), and those of a replacement of MANIFEST.
    pub(crate) fn record_close(
        self,
        checkpoint: Checkpoint,
        index_digest: [u8; 32],
        clock_ms: u64,
    ) -> Result<()> {
        let state = self.lock();
        if state.failed {
            return Err(self.poisoned());
        }
        self.remove_prepared();
        self.remove_dropped();
        let mut manifest = self.manifest.lock();
        let mut changed = manifest.current.clone();
        changed.prepared = 0;
        changed.checkpoint = checkpoint;
        changed.indexes = state.index_records();
        let tail = state.active.as_ref();
        changed.clean = Some(CleanClose {
            revision: checkpoint.revision,
            tail_offset: tail.map_or(0, |active| active.tail.offset),
            must_rotate: tail.is_some_and(|active| active.must_rotate),
            index_digest,
        });
        changed.revision_floor = changed.revision_floor.max(state.next_revision - 1);
        for record in &mut changed.segments {
            record.live_bytes = self.segments.live_bytes(record.number);
        }
        changed.retained = self.segments.retained(&changed.segments);
        if checkpoint.next_expiry_ms <= clock_ms {
            // Readers may have found an item expired, and it must stay so.
            changed.clock_ms = changed.clock_ms.max(clock_ms);
        }
        if changed == manifest.current {
            return Ok(());
        }
        changed.clock_ms = changed.clock_ms.max(clock_ms);
        manifest.file.make_room(&mut changed, false)?;
        manifest.file.replace_both(&changed)
    }

    /// Removes the mark of an orderly close from MANIFEST, and syncs that before the first frame. A
    /// failure poisons.
    pub(super) fn clear_clean_mark(&self, state: &mut State) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let mut next = manifest.current.clone();
        next.clean = None;
        let replaced = manifest.file.replace(&next);
        replaced.inspect_err(|error| self.fail(state, error))?;
        manifest.current = next;
        state.opened_for_writing = true;
        Ok(())
    }

    /// Records that followers which have not passed a damaged frame of this revision may miss a
    /// removal that it held: to them the removal's tombstone counts as dropped by compaction.
    ///
    /// # Errors
    /// As [`change_manifest`](Self::change_manifest).
    pub(crate) fn note_lost_removals(&self, up_to: u64) -> Result<()> {
        if up_to <= self.purged().newest {
            return Ok(());
        }
        self.change_manifest(|manifest| {
            manifest.purge_floor = manifest.purge_floor.max(up_to);
            manifest.purges += 1;
        })
    }

    /// Replaces MANIFEST by a changed one, durably.
    ///
    /// # Errors
    /// [`Error::TooManySegments`](crate::Error::TooManySegments) and
    /// [`Error::Io`](crate::Error::Io) when there is no room for it; nothing is changed. After any
    /// other error it is not known which of the two is on disk, so that poisons.
    pub(super) fn change_manifest(&self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        self.change_manifest_if(|| true, change).map(drop)
    }

    /// As [`change_manifest`](Self::change_manifest), if a condition holds while it is locked.
    pub(super) fn change_manifest_if(
        &self,
        condition: impl FnOnce() -> bool,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<bool> {
        let mut manifest = self.manifest.lock();
        if !condition() {
            return Ok(false);
        }
        let mut changed = manifest.current.clone();
        change(&mut changed);
        // After any change of its files the store is no longer one that was closed in order.
        changed.clean = None;
        changed.retained = self.segments.retained(&changed.segments);
        manifest.file.make_room(&mut changed, false)?;
        match manifest.file.replace(&changed) {
            Ok(()) => manifest.current = changed,
            Err(error) => {
                drop(manifest);
                self.poison(&error);
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Makes the next open build the index anew instead of believing it. Costs one sync.
    pub(crate) fn distrust_index(&self) {
        let watermark = Watermark::load(&*self.disk, &self.store);
        if let Err(error) = watermark.and_then(|(watermark, _)| watermark.set_opening(true)) {
            log::warn!("the index could not be marked for a rebuild at the next open: {error}");
        }
    }
}
