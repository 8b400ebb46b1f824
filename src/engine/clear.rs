//! Clearing a collection: one entry in the journal, and one step in the index, for any number of
//! items.
//!
//! The entry is the tombstone of the whole collection. Its head is that of the empty key, so it
//! is kept, moved, purged and proven like every other tombstone.
//!
//! **Lock order:** the checkpoints' lock → all stripes → the journal's state. With all stripes held
//! no commit is between its decision and its application, so each one is wholly before the clear
//! or wholly after it. Without a checkpoint under way no leaf of the old directory is written, and
//! its pairs stay in the backing store until everything that needs them has read them.

use std::mem;

use crate::engine::Engine;
use crate::engine::catalog::record_key;
use crate::engine::change::{Change, Prepared};
use crate::engine::operation::{Expiry, NewValue};
use crate::engine::write::head_of;
use crate::index::{ClearedLeaves, LetGo, Pinned};
use crate::journal::append::Appended;
use crate::journal::content_sum::ContentSum;
use crate::journal::poison::CommitFailure;
use crate::journal::segments::Segments;
use crate::values::Few;
use crate::values::codec::CodecId;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::key::ItemKey;

/// What becomes of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clearing {
    /// Its items are removed, by a handle with this codec.
    Clear(CodecId),
    /// Its record and those of its indexes are removed as well.
    Drop,
}

/// What a clear has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClearedItems {
    /// How many items, including expired ones.
    pub(crate) items: u64,
    /// Whether anything was written.
    pub(crate) written: bool,
}

/// A clear that was applied, and what is left to do for it.
struct Applied {
    gone: ContentSum,
    appended: Appended,
    metas: Few<Meta>,
    /// The leaves that the collection had, and whether snapshots read them.
    leaves: Option<(ClearedLeaves, bool)>,
}

impl Engine {
    /// Removes every item of a collection by one commit. Returns when that is as durable as the
    /// store promises and the memory of the removed items is free. Writes nothing if there is
    /// nothing to remove.
    ///
    /// Waits for a checkpoint that is under way. Other writers wait while the entry is appended and
    /// applied; they continue while the leaves are freed.
    ///
    /// # Errors
    /// [`Error::CodecMismatch`], and those of every commit.
    pub(crate) fn clear(&self, collection: &str, clearing: Clearing) -> Result<ClearedItems> {
        let record = record_key(collection)?;
        let checkpoints = self.checkpoints.lock();
        self.journal.check_poison()?;
        // Loads the record's leaf, so that it is probably in memory when all writers wait.
        self.head(&record)?;
        let Some(applied) = self.apply_clear(collection, clearing, &record)? else {
            return Ok(ClearedItems { items: 0, written: false });
        };
        let Applied { gone, appended, metas, leaves } = applied;
        let finished = self.journal.finish(appended.revision);
        if let Some((leaves, kept)) = leaves {
            self.let_go(&leaves, appended.revision, kept);
        }
        drop(checkpoints);
        self.index.evict();
        match finished {
            Ok(()) => Ok(ClearedItems { items: gone.count, written: true }),
            Err(CommitFailure { source, cause }) => {
                let meta = Box::new(metas.first().copied().unwrap_or(Meta::UNSAVED));
                Err(Error::CommitUnknown { meta, source, cause })
            }
        }
    }

    /// Appends the clear and puts it into the index, while every writer waits; `None` if there is
    /// nothing to remove.
    fn apply_clear(
        &self,
        collection: &str,
        clearing: Clearing,
        record: &ItemKey,
    ) -> Result<Option<Applied>> {
        let mut locked = self.stripes.lock_all();
        let indexes = self.index_records(collection)?;
        let pin = self.pin(indexes.iter().chain([record]))?;
        if let Clearing::Clear(codec) = clearing {
            self.catalog.check(collection, codec)?;
        }
        let gone = self.journal.content_of(collection);
        let drops = clearing == Clearing::Drop && self.catalog.is_recorded(collection);
        if gone.count == 0 && !drops {
            return Ok(None);
        }
        let records = if drops { indexes.iter().chain([record]).collect() } else { Vec::new() };
        let mut prepared = self.prepare_clear(collection, gone, &records)?;
        let appended = self.journal.append(&mut prepared.commit)?;
        // From here on the clear is made: a panic before it is applied must not leave later
        // writers waiting for that.
        let unapplied = self.journal.poison_on_panic();
        let metas = prepared.metas(appended.revision);
        locked.begin_apply();
        let leaves = self.put_cleared(prepared, &appended, &pin);
        self.clear_indexes(collection, appended.revision, drops);
        if drops {
            self.catalog.remove(collection);
        }
        drop(pin);
        drop(locked);
        mem::forget(unapplied);
        Ok(Some(Applied { gone, appended, metas, leaves }))
    }

    /// Lays out the frame: the entry that clears, and the removal of records.
    fn prepare_clear(
        &self,
        collection: &str,
        gone: ContentSum,
        records: &[&ItemKey],
    ) -> Result<Prepared> {
        let now_ms = self.clock.now_ms();
        let key = ItemKey::of_collection(collection);
        let value = NewValue::new(gone.to_bytes().to_vec().into(), Expiry::Never)?;
        let clears = (gone.count > 0).then(|| Change::cleared(&key, &value, now_ms));
        let state = |record: &&ItemKey| Ok(self.state_of(record, now_ms)?.removed());
        let states = records.iter().map(state).collect::<Result<Vec<_>>>()?;
        let removes = states.iter().filter_map(|state| Change::of(state, now_ms, &self.catalog));
        let changes: Vec<Change<'_>> = clears.into_iter().chain(removes).collect();
        let mut prepared = Prepared::default();
        prepared.begin(changes.len(), &changes);
        for change in &changes {
            prepared.push(self.journal.incarnation(), change, &[]);
        }
        prepared.commit.frame.complete();
        Ok(prepared)
    }

    /// Applies the entries. Nothing here does I/O or can fail. The time does not depend on the
    /// number of items.
    fn put_cleared(
        &self,
        prepared: Prepared,
        appended: &Appended,
        pin: &Pinned<'_>,
    ) -> Option<(ClearedLeaves, bool)> {
        let Prepared { commit, versions, .. } = prepared;
        let mut leaves = None;
        for (entry, version) in commit.entries.iter().zip(versions) {
            let head = head_of(entry, &version, appended);
            if entry.key.is_collection() {
                let collection = entry.key.collection();
                // Before the directory is replaced, so that who finds the new one finds the old
                // one saved.
                leaves = self.index.leaves_of(collection).map(|leaves| {
                    let kept = self.snapshots.save_cleared(collection, &leaves, appended.revision);
                    (leaves, kept)
                });
                self.index.replace_with_tombstone(collection, &head);
                continue;
            }
            let before = version.before.as_ref();
            self.snapshots.save(entry.key.as_bytes(), before, appended.revision);
            self.index.put(&entry.key, &head, None, pin);
            self.count_change(before, &head);
        }
        leaves
    }

    /// Counts the removed items' bytes as dead, and frees the leaves or leaves them to the
    /// snapshots that read them.
    fn let_go(&self, leaves: &ClearedLeaves, revision: u64, kept: bool) {
        let mut dead = Dead { segments: self.journal.segments(), engine: self, revision, kept };
        let Err(error) = self.index.let_go(leaves, &mut dead) else { return };
        log::warn!(
            "some heads of a cleared collection could not be read: until the next open after a \
             crash their bytes count as live; snapshots that read them are given up: {error}"
        );
        while kept && self.snapshots.keeps_cleared(revision) && self.snapshots.give_up_oldest() {}
    }
}

/// Visits the leaves of a cleared collection: their items' bytes are dead, and snapshots may keep
/// the heads.
struct Dead<'a> {
    segments: &'a Segments,
    engine: &'a Engine,
    revision: u64,
    kept: bool,
}

impl LetGo for Dead<'_> {
    fn take(&mut self, head: &Head) {
        self.segments.supersede(head);
    }

    fn keeps(&mut self, leaf_bytes: u64) -> bool {
        self.kept = self.kept && self.engine.snapshots.grow_cleared(self.revision, leaf_bytes);
        self.kept
    }
}
