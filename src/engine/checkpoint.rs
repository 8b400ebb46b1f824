//! Checkpoints: keeping the index on disk in step with the journal, and closing in order.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::SystemTime;

use crate::engine::Engine;
use crate::journal::content_sum::ContentSum;
use crate::journal::manifest::{Checkpoint, RetiredSegment};
use crate::seams::clock::instant;
use crate::seams::sync::{MutexGuard, Ordering};
use crate::storage::Disk;
use crate::storage::layout::INDEX_FILE;
use crate::values::error::{Error, Result};

/// No folder of the index has this number.
const NO_GENERATION: u64 = u64::MAX;

/// More bytes whose heads were moved than this are worth a checkpoint: an open after a crash reads
/// them again.
const MOST_MOVED_BYTES: u64 = 64 << 20;
/// The most removed segments that MANIFEST lists before a checkpoint is worth taking.
const MOST_DROPPED: usize = 512;

/// What the index on disk holds.
#[derive(Debug)]
pub(super) struct CheckpointState {
    /// The revision of the last checkpoint.
    pub(super) revision: u64,
    /// The folder that the backing store is.
    pub(super) generation: u64,
    /// The digest of the directory file, where that is as an orderly close left it.
    pub(super) directory_digest: Option<[u8; 32]>,
    /// How many checkpoints have begun, and which of them was the last to succeed.
    pub(super) begun: u64,
    pub(super) completed: u64,
}

/// What compaction has moved.
#[derive(Debug, Default)]
pub(super) struct Relocated {
    /// Segments made by it whose entries the index points to already.
    segments: HashSet<u32>,
    /// How many checkpoints had begun when the last head was moved.
    moved_at: u64,
    /// Bytes of these segments that no checkpoint has come after.
    bytes: u64,
    /// Snapshots with lower numbers began before the last head left a retired segment, and may read
    /// by its old place. A later one finds every head in its new place.
    left: HashMap<u32, u64>,
    /// The same of segments that are not in there.
    snapshots_below: u64,
}

impl Engine {
    /// When this session took its last checkpoint.
    pub(crate) fn checkpointed(&self) -> Option<SystemTime> {
        let ms = self.checkpointed_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| instant(ms))
    }

    /// Makes everything up to now part of the index on disk, so that the next open need not replay
    /// it. Costs a write of each leaf that was changed and some syncs; others read and write during
    /// it. Where no index can be made on disk, it records that and how far the journal reaches.
    ///
    /// # Errors
    /// - [`Error::Poisoned`].
    /// - [`Error::Moved`] when the store's directory is not at its path any more.
    /// - [`Error::Io`] when the system refuses a call for the moment; the checkpoint can be tried
    ///   again.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let mut state = self.checkpoints.lock();
        let (revision, _, indexes) = self.journal.contents();
        let nothing_moved = self.are_moves_in(&state) && self.journal.dropped_segments().is_empty();
        let written = self.index.is_written_back() || !self.index.is_on_disk();
        let recorded = !self.index.is_on_disk() || indexes == self.journal.recorded_indexes();
        if state.revision == revision && written && recorded && nothing_moved {
            return Ok(());
        }
        self.take_checkpoint(&mut state)
    }

    /// Takes a checkpoint that only spares later work. One that fails is put off, and `consequence`
    /// is logged with the cause.
    ///
    /// # Errors
    /// The cause, if the failure has ended writing.
    pub(crate) fn checkpoint_or_put_off(&self, consequence: &str) -> Result<()> {
        match self.checkpoint() {
            Err(error) if !self.journal.is_poisoned() => log::warn!("{consequence}: {error}"),
            taken => taken?,
        }
        Ok(())
    }

    fn take_checkpoint(&self, state: &mut MutexGuard<'_, CheckpointState>) -> Result<()> {
        self.journal.check_poison()?;
        // Before the first leaf is looked at: later changes are not part of this checkpoint.
        state.begun += 1;
        self.checkpoints_begun.store(state.begun, Ordering::Release);
        let dropped = self.journal.dropped_segments();
        let moved_bytes = self.relocated.lock().bytes;
        let (revision, content, indexes) = self.journal.contents();
        // From here on every commit up to the revision is applied and durable.
        self.journal.sync()?;
        // The rows that no snapshot reads any more. No leaf of theirs is being written now.
        for rows in self.secondaries.take_retired(|number| self.snapshots.lives_below(number)) {
            self.index.remove_directory(rows);
        }
        // Before the leaves are written: items that a sweep removes later may be in them.
        let next_expiry_ms = self.expiries.next_ms();
        let on_disk = self.write_index(state)?;
        let checkpoint = Checkpoint {
            revision,
            content,
            index_generation: state.generation,
            next_expiry_ms,
            index_lost: !on_disk,
        };
        let now_ms = self.clock.now_ms();
        let indexes = if on_disk { indexes } else { Vec::new() };
        self.journal.record_checkpoint(checkpoint, indexes, &dropped, now_ms)?;
        let mut relocated = self.relocated.lock();
        relocated.bytes = relocated.bytes.saturating_sub(moved_bytes);
        drop(relocated);
        // An index that MANIFEST calls lost is never read again.
        let kept = if on_disk { state.generation } else { NO_GENERATION };
        if let Err(error) = self.environment.backings.remove_all_but(kept) {
            log::warn!("a replaced index could not be removed and is left: {error}");
        }
        self.checkpointed_ms.store(now_ms, Ordering::Relaxed);
        state.completed = state.begun;
        state.revision = revision;
        Ok(())
    }

    /// Writes the changed leaves to the backing store; returns whether it holds all leaves now. A
    /// backing store that has failed is given up and, where possible, replaced by another.
    fn write_index(&self, state: &mut CheckpointState) -> Result<bool> {
        let durable = &mut |revision: u64| Ok(self.journal.make_durable(revision)?);
        if self.index.is_on_disk() && !self.index.is_lost() {
            match self.index.write_back(durable) {
                Ok(()) => return Ok(true),
                Err(Error::IndexUnavailable(error)) => {
                    log::warn!("the index on disk failed and will be replaced: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        self.index.detach();
        if self.index.is_lost() {
            self.restore_index()?;
        }
        if self.journal.is_short_of_space() {
            // Another index would use up the space for removals and compaction.
            return Ok(false);
        }
        let generation = state.generation + 1;
        let backings = &self.environment.backings;
        let attached = backings.remove_all_but(state.generation).and_then(|()| {
            self.index.attach(backings.open(generation)?);
            self.index.write_back(durable)
        });
        match attached {
            Ok(()) => {
                state.generation = generation;
                return Ok(true);
            }
            Err(error @ (Error::Poisoned { .. } | Error::Moved { .. })) => return Err(error),
            Err(error) => {
                log::warn!("no index can be made on disk, so it stays in memory for now: {error}");
            }
        }
        self.index.detach();
        if self.index.is_lost() {
            self.restore_index()?;
        }
        Ok(false)
    }

    /// Frees the space of the index on disk: the index is in memory only until a checkpoint finds
    /// space for another. Returns whether there was one. Called while the reserve is lent.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub(crate) fn free_index(&self) -> Result<bool> {
        let mut state = self.checkpoints.lock();
        if !self.index.is_on_disk() {
            return Ok(false);
        }
        self.index.detach();
        self.take_checkpoint(&mut state).map(|()| true)
    }

    /// As [`free_index`](Self::free_index), for a write that finds no space, if the index is
    /// [bloated](crate::index::Index::is_bloated). Uses the space that is set aside. Returns
    /// whether there may be space now: a checkpoint that found none may have freed or replaced the
    /// index too.
    pub(crate) fn frees_bloated_index(&self) -> bool {
        if !self.index.is_bloated() {
            let is_under_way = self.checkpoints.try_lock().is_none();
            let _ended = self.checkpoints.lock();
            return is_under_way || !self.index.is_on_disk();
        }
        log::warn!("the disk is full, and the index on disk is removed; a later one is smaller");
        let lent = self.journal.lend_reserve();
        let freed = self.free_index();
        drop(lent);
        freed.unwrap_or_else(|error| {
            log::warn!("the index on disk could not be removed: {error}");
            false
        })
    }

    /// Gives up the backing store and takes a checkpoint, which makes another.
    #[cfg(feature = "simulation")]
    pub(crate) fn replace_index(&self) -> Result<()> {
        let mut state = self.checkpoints.lock();
        self.index.detach();
        self.take_checkpoint(&mut state)
    }

    /// Whether heads of purged tombstones may point into retired segments.
    pub(crate) fn has_heads_left_behind(&self) -> bool {
        self.heads_left_behind.load(Ordering::Acquire)
    }

    /// Notes whether there may be such heads: true before heads are removed, false afterwards.
    pub(crate) fn set_heads_left_behind(&self, left: bool) {
        self.heads_left_behind.store(left, Ordering::Release);
    }

    /// Whether the index was found to point to all entries of this segment.
    pub(crate) fn is_relocated(&self, segment: u32) -> bool {
        self.relocated.lock().segments.contains(&segment)
    }

    pub(crate) fn note_relocated(&self, segment: u32, bytes: u64) {
        let mut retired = self.journal.retired_segments();
        retired.retain(|retired| retired.replaced_by == segment);
        let mut relocated = self.relocated.lock();
        relocated.segments.insert(segment);
        relocated.bytes += bytes;
        // A checkpoint that is under way may have written some of the leaves before they were
        // changed.
        relocated.moved_at = self.checkpoints_begun.load(Ordering::Acquire);
        let below = self.snapshots.next_number();
        relocated.snapshots_below = below;
        for retired in retired {
            // By an earlier rewrite: all heads left it then.
            relocated.left.entry(retired.number).or_insert(below);
        }
    }

    /// Whether the index on disk holds all moves of heads, and MANIFEST lists no segment that is
    /// gone.
    pub(crate) fn moves_are_durable(&self) -> bool {
        self.are_moves_in(&self.checkpoints.lock()) && self.journal.dropped_segments().is_empty()
    }

    /// Whether a checkpoint has begun after the last head was moved.
    fn are_moves_in(&self, state: &CheckpointState) -> bool {
        let relocated = self.relocated.lock();
        relocated.segments.is_empty() || state.completed > relocated.moved_at
    }

    /// Whether the heads moved since the last checkpoint are so many that an open after a crash
    /// would take long to move them again.
    pub(crate) fn moves_want_checkpoint(&self) -> bool {
        self.relocated.lock().bytes > MOST_MOVED_BYTES
            || self.journal.dropped_segments().len() > MOST_DROPPED
    }

    /// Whether a snapshot lives that may read a retired segment.
    pub(crate) fn is_read_by_snapshots(&self, retired: u32) -> bool {
        let below = {
            let relocated = self.relocated.lock();
            relocated.left.get(&retired).copied().unwrap_or(relocated.snapshots_below)
        };
        self.snapshots.lives_below(below)
    }

    /// Forgets about moves, except for those out of these.
    pub(crate) fn forget_moves_but_of(&self, retired: &[RetiredSegment]) {
        let mut relocated = self.relocated.lock();
        relocated.left.retain(|number, _| retired.iter().any(|of| of.number == *number));
        relocated.segments.retain(|number| retired.iter().any(|of| of.replaced_by == *number));
    }

    pub(crate) fn close(self) -> Result<()> {
        self.journal.check_poison()?;
        self.checkpoint()?;
        self.journal.sync()?;
        // Open handles do not tell whether the directory is still at its path.
        let (disk, store) = self.journal.files();
        disk.exists(&store.join(INDEX_FILE)).map_err(Error::io("closing", store))?;
        let (generation, known) = {
            let state = self.checkpoints.lock();
            (state.generation, state.directory_digest)
        };
        let content = |collection: &str| {
            let ContentSum { count, sum } = self.journal.content_of(collection);
            (count, sum)
        };
        let file = self.index.to_file(generation, content).filter(|_| self.index.is_on_disk());
        let Some(file) = file else {
            // Without an index on disk there is nothing to believe at the next open.
            return Ok(());
        };
        let Self { journal, index, clock, expiries, .. } = self;
        drop(index);
        let bytes = file.encode();
        let digest = *blake3::hash(&bytes).as_bytes();
        if known != Some(digest)
            && let Err(error) = write_directory(journal.files(), &bytes)
        {
            log::warn!("the next open reads the whole index to prove it, as after a kill: {error}");
            return Ok(());
        }
        let (revision, content) = journal.content();
        let checkpoint = Checkpoint {
            revision,
            content,
            index_generation: generation,
            next_expiry_ms: expiries.next_ms(),
            index_lost: false,
        };
        journal.record_close(checkpoint, digest, clock.now_ms())
    }
}

/// Writes the directory file, synced. MANIFEST holds its digest, so one that is torn or older is
/// not believed.
fn write_directory((disk, store): (&dyn Disk, &Path), bytes: &[u8]) -> Result<()> {
    let path = store.join(INDEX_FILE);
    let exists = disk.exists(&path).map_err(Error::io("looking for", &path))?;
    let file = disk.open(&path, !exists).map_err(Error::io("opening", &path))?;
    file.write_all_at(bytes, 0).map_err(Error::io("writing", &path))?;
    file.set_len(bytes.len() as u64).map_err(Error::io("cutting", &path))?;
    file.sync_all().map_err(Error::io("syncing", &path))?;
    disk.sync_dir(store).map_err(Error::io("syncing", store))
}
