//! Clearing a collection: an empty directory takes the place of its own in one step, and what the
//! old one held is let go of afterwards, leaf by leaf.
//!
//! Snapshots that began before go on to read the old directory. Nothing else finds it, so no cell
//! in it changes any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::index::directory::Directory;
use crate::index::leaf::Leaf;
use crate::index::leaf_handle::{LeafHandle, Writing};
use crate::index::{Cell, Index, pair_key};
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// The leaves of a collection before it was cleared.
#[derive(Debug, Clone)]
pub(crate) struct ClearedLeaves(pub(super) Arc<Directory>);

/// What to do with each leaf of a cleared collection.
pub(crate) trait LetGo {
    /// Takes a head that the clear has removed.
    fn take(&mut self, head: &Head);

    /// Whether a leaf of this size stays in memory, for snapshots; if so, it counts as theirs.
    fn keeps(&mut self, leaf_bytes: u64) -> bool;
}

impl Index {
    /// The leaves of a collection; `None` if there are none.
    pub(crate) fn leaves_of(&self, collection: &str) -> Option<ClearedLeaves> {
        self.directory(collection).map(ClearedLeaves)
    }

    /// Puts an empty directory in the place of a collection's, whose one cell is the tombstone of
    /// the whole collection. Does no I/O and cannot fail. The time does not depend on
    /// the number of items.
    pub(crate) fn replace_with_tombstone(&self, collection: &str, tombstone: &Head) {
        let mut leaf = Leaf::new();
        leaf.put(&[], tombstone, None);
        self.memory.grew(0, leaf.memory_bytes());
        self.memory.dirty_leaves.fetch_add(1, Ordering::AcqRel);
        let handle = Arc::new(LeafHandle::resident(Box::default(), None, Leaf::new()));
        // Under the leaf's lock: a thread that finds the leaf empty has seen what preceded the
        // clear.
        handle.write().leaf = Some(leaf);
        let directory = Arc::new(Directory::of(collection, vec![handle]));
        self.collections.write().insert(collection.into(), directory);
    }

    /// Frees the leaves of a cleared collection: their memory, and their pairs in the backing
    /// store, which the next checkpoint removes. Others read and write, but no checkpoint is taken
    /// during the call. Leaves that snapshots keep hold heads and no values.
    ///
    /// # Errors
    /// The error of loading a leaf, after all others were freed. The heads of that leaf are unknown
    /// then.
    pub(crate) fn let_go(&self, cleared: &ClearedLeaves, how: &mut impl LetGo) -> Result<()> {
        let directory = &*cleared.0;
        let (mut from, mut outcome) = (Box::<[u8]>::default(), Ok(()));
        let mut unread: Option<Arc<LeafHandle>> = None;
        loop {
            let handle = directory.leaf_of(&from);
            let skip = unread.take().is_some_and(|unread| Arc::ptr_eq(&unread, &handle));
            let pin = self.pin();
            let mut state = handle.write();
            if !state.covers(&from) {
                continue;
            }
            if state.leaf.is_none() && !skip {
                drop(state);
                if let Err(error) = self.load(directory, &handle) {
                    outcome = Err(error);
                    unread = Some(handle);
                }
                continue;
            }
            drop(pin);
            self.memory.grew(state.memory_bytes(), 0);
            if state.is_dirty() {
                self.memory.dirty_leaves.fetch_sub(1, Ordering::AcqRel);
            }
            (state.stored, state.writing, state.frozen) = (None, Writing::Clean, true);
            let mut leaf = state.leaf.take().unwrap_or_else(Leaf::new);
            let values = leaf.take_values();
            leaf.iter().for_each(|cell| how.take(&cell.head()));
            let keeps = how.keeps(leaf.memory_bytes() as u64);
            let gone = if keeps { Leaf::new() } else { std::mem::replace(&mut leaf, Leaf::new()) };
            state.leaf = Some(leaf);
            let high = state.high.clone();
            drop(state);
            // Freed without the lock.
            drop((values, gone));
            self.merged_pairs.lock().push(pair_key(&directory.collection, &handle.low));
            match high {
                Some(high) => from = high,
                None => return outcome,
            }
        }
    }

    /// The cell of an item in a collection as it was before it was cleared.
    ///
    /// # Errors
    /// What loading the leaf fails with.
    pub(crate) fn cleared_cell(
        &self,
        cleared: &ClearedLeaves,
        key: &ItemKey,
    ) -> Result<Option<Cell>> {
        self.look_in(&cleared.0, key.key_bytes(), Cell::of)
    }

    /// Clears a collection during a replay of the journal, and shows the heads that were removed.
    /// Cells that are newer than the clear are removed too: their entries are still to be replayed.
    /// Nobody else uses the index during the call.
    ///
    /// # Errors
    /// What loading a leaf fails with.
    pub(crate) fn replay_clear(
        &self,
        key: &ItemKey,
        tombstone: &Head,
        removed: &mut dyn FnMut(&Head),
    ) -> Result<()> {
        let old = self.leaves_of(key.collection());
        self.replace_with_tombstone(key.collection(), tombstone);
        old.map_or(Ok(()), |old| self.let_go(&old, &mut Replayed(removed)))
    }
}

/// Nobody reads the leaves any more.
struct Replayed<'a>(&'a mut dyn FnMut(&Head));

impl LetGo for Replayed<'_> {
    fn take(&mut self, head: &Head) {
        (self.0)(head);
    }

    fn keeps(&mut self, _: u64) -> bool {
        false
    }
}
