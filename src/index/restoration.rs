//! Giving up the backing store, restoring from the journal the leaves that only it held, and taking
//! a new one.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::index::directory::Directory;
use crate::index::leaf::Leaf;
use crate::index::leaf_handle::LeafHandle;
use crate::index::{Backing, Index, Shown};
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// Takes the key and the head of a journal's entry.
pub(crate) type TakeHead<'a> = dyn FnMut(&ItemKey, &Head) + 'a;

impl Index {
    /// Takes a new, empty backing store: every leaf is in memory and has to be written to it.
    pub(crate) fn attach(&self, backing: Arc<dyn Backing>) {
        let _residency = self.residency.write();
        for directory in self.directories() {
            for handle in directory.leaves_from(&[], usize::MAX) {
                let mut state = handle.write();
                debug_assert!(state.leaf.is_some(), "a leaf is neither in memory nor on disk");
                if !state.is_dirty() {
                    self.memory.dirty_leaves.fetch_add(1, Ordering::AcqRel);
                }
                state.stored = None;
                state.mark_dirty();
            }
        }
        self.merged_pairs.lock().clear();
        *self.backing.write() = Some(backing);
    }

    /// Gives up the backing store. What is only there is lost.
    pub(crate) fn detach(&self) {
        let _residency = self.residency.write();
        *self.backing.write() = None;
        if self.has_holes() {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Whether any leaf is not in memory.
    fn has_holes(&self) -> bool {
        let absent = |handle: &Arc<LeafHandle>| handle.read().leaf.is_none();
        let holes =
            |directory: &Arc<Directory>| directory.leaves_from(&[], usize::MAX).iter().any(absent);
        self.directories().iter().any(holes)
    }

    /// Fills leaves that are lost with heads from the journal. `heads` passes on the head of each
    /// entry, in order of revision. Afterwards all leaves are in memory.
    ///
    /// # Errors
    /// Those of `heads`; then nothing is changed.
    pub(crate) fn restore(
        &self,
        heads: impl FnOnce(&mut TakeHead<'_>) -> Result<()>,
    ) -> Result<()> {
        if !self.has_holes() {
            self.lost.store(false, Ordering::Release);
            return Ok(());
        }
        let holes = Self::new(u64::MAX);
        let pin = holes.pin();
        let mut cleared = Ok(());
        heads(&mut |key, head| {
            // The clear has removed what is older.
            if key.is_collection() && cleared.is_ok() {
                cleared = holes.replay_clear(key, head, &mut |_| {});
            }
            let newer = |now: Option<Head>| now.is_none_or(|now| now.revision <= head.revision);
            if self.is_absent(key) && holes.head(key).is_ok_and(newer) {
                holes.put(key, head, None, &pin);
            }
        })?;
        drop(pin);
        cleared?;
        for directory in self.directories() {
            for handle in directory.leaves_from(&[], usize::MAX) {
                self.fill(&directory, &handle, &holes)?;
            }
        }
        self.lost.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether the leaf of a key is lost.
    fn is_absent(&self, key: &ItemKey) -> bool {
        let Some(directory) = self.directory(key.collection()) else { return false };
        loop {
            let handle = directory.leaf_of(key.key_bytes());
            let state = handle.read();
            if state.covers(key.key_bytes()) {
                return state.leaf.is_none();
            }
        }
    }

    /// Makes a lost leaf anew from the cells that it should hold: as several leaves if one has no
    /// room for them.
    fn fill(&self, directory: &Directory, handle: &LeafHandle, cells: &Self) -> Result<()> {
        let mut state = handle.write();
        if state.leaf.is_some() || state.merged {
            return Ok(());
        }
        let mut leaves = vec![(handle.low.clone(), Leaf::new())];
        let upper = state.high.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut key = Vec::new();
        cells.scan(
            &directory.collection,
            (Bound::Included(&handle.low), upper),
            false,
            Shown::All,
            |found, head, _| {
                key.clear();
                found.copy_to(&mut key);
                if leaves.last().is_none_or(|(_, leaf)| !leaf.has_room_for(&key)) {
                    leaves.push((key.clone().into_boxed_slice(), Leaf::new()));
                }
                if let Some((_, leaf)) = leaves.last_mut() {
                    leaf.put(&key, head, None);
                }
                ControlFlow::Continue(())
            },
        )?;
        let mut high = state.high.take();
        let dirty = leaves.len() as u64 - u64::from(state.is_dirty());
        // From the last to the first: nobody gets past the first before all are there.
        while let Some((low, leaf)) = leaves.pop() {
            self.memory.grew(0, leaf.memory_bytes());
            if leaves.is_empty() {
                state.leaf = Some(leaf);
                state.high = high.take();
                break;
            }
            directory.insert(Arc::new(LeafHandle::resident(low.clone(), high, leaf)));
            high = Some(low);
        }
        state.mark_dirty();
        self.memory.dirty_leaves.fetch_add(dirty, Ordering::AcqRel);
        Ok(())
    }
}
