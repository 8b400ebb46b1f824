//! Reading and changing cells.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::index::directory::Directory;
use crate::index::leaf::{CachedValue, Leaf, Put, ReadValue, Slot, Split};
use crate::index::leaf_handle::{LeafHandle, LeafState};
use crate::index::residency::Pinned;
use crate::index::{Index, Looks};
use crate::values::error::Result;
use crate::values::etag::ETag;
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::key::ItemKey;

/// A cell as it is found: the head of an item's newest version and, where it is in memory, the
/// version's value.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) head: Head,
    pub(crate) value: Option<ReadValue>,
}

/// A cell without its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedCell {
    pub(crate) head: Head,
    /// What the version displaced; `None` where the value is not in memory.
    pub(crate) parent: Option<Option<ETag>>,
}

impl Cell {
    /// Reads a cell, and marks it as used.
    pub(super) fn of(leaf: &Leaf, slot: Slot) -> Self {
        leaf.touch(slot);
        Self { head: leaf.head(slot), value: leaf.value(slot).map(CachedValue::for_reader) }
    }
}

impl Index {
    /// The cell of an item. Costs one pair of the backing store where its leaf is not in memory.
    ///
    /// # Errors
    /// What loading the leaf fails with.
    pub(crate) fn cell(&self, key: &ItemKey) -> Result<Option<Cell>> {
        self.look(key, Cell::of)
    }

    /// As [`cell`](Self::cell), but what is taken of the cell is what `f` makes of it, under the
    /// lock of its leaf.
    #[inline]
    pub(crate) fn with_cell_read<T>(
        &self,
        key: &ItemKey,
        f: impl Fn(Head, Option<CachedValue<'_>>) -> T,
    ) -> Result<Option<T>> {
        self.look(key, |leaf, slot| {
            leaf.touch(slot);
            f(leaf.head(slot), leaf.value(slot))
        })
    }

    /// The head of an item: as [`cell`](Self::cell), without the value.
    pub(crate) fn head(&self, key: &ItemKey) -> Result<Option<Head>> {
        self.look(key, Leaf::head)
    }

    /// As [`cell`](Self::cell), but of the value it says only what the version displaced, where
    /// that is in memory with the value.
    pub(crate) fn named(&self, key: &ItemKey) -> Result<Option<NamedCell>> {
        self.look(key, |leaf, slot| {
            leaf.touch(slot);
            NamedCell { head: leaf.head(slot), parent: leaf.value(slot).map(CachedValue::parent) }
        })
    }

    #[inline]
    fn look<T>(&self, key: &ItemKey, f: impl Fn(&Leaf, Slot) -> T) -> Result<Option<T>> {
        let directory = {
            let collections = self.collections.read();
            let Some(directory) = collections.get(key.collection_bytes()) else { return Ok(None) };
            let key = key.key_bytes();
            let found = directory.in_memory(key, |leaf| leaf.find(key).map(|slot| f(leaf, slot)));
            if let Some(found) = found {
                return Ok(found);
            }
            // A count that all readers share is changed only here, before a wait or a load.
            Arc::clone(directory)
        };
        self.look_in(&directory, key.key_bytes(), f)
    }

    pub(super) fn look_in<T>(
        &self,
        directory: &Directory,
        key: &[u8],
        f: impl Fn(&Leaf, Slot) -> T,
    ) -> Result<Option<T>> {
        let found = |leaf: &Leaf| leaf.find(key).map(|slot| f(leaf, slot));
        self.look_into_leaf(directory, key, found, || self.evict())
    }

    /// Loads the leaf of a key, so that the leaf stays in memory for as long as the pin does;
    /// returns the item's head.
    pub(crate) fn make_resident(&self, key: &ItemKey, _: &Pinned<'_>) -> Result<Option<Head>> {
        let found = |leaf: &Leaf| leaf.find(key.key_bytes()).map(|slot| leaf.head(slot));
        let directory = {
            let collections = self.collections.read();
            let Some(directory) = collections.get(key.collection_bytes()) else { return Ok(None) };
            if let Some(found) = directory.in_memory(key.key_bytes(), found) {
                return Ok(found);
            }
            Arc::clone(directory)
        };
        self.look_into_leaf(&directory, key.key_bytes(), found, || {})
    }

    /// Calls `f` with the leaf of a key, which is loaded first where it is not in memory; `loaded`
    /// is called after each load, with no lock held.
    pub(super) fn look_into_leaf<T>(
        &self,
        directory: &Directory,
        key: &[u8],
        f: impl Fn(&Leaf) -> T,
        loaded: impl Fn(),
    ) -> Result<T> {
        loop {
            let handle = directory.leaf_of(key);
            {
                let state = handle.read();
                if !state.covers(key) {
                    continue;
                }
                if let Some(leaf) = &state.leaf {
                    handle.touch();
                    return Ok(f(leaf));
                }
            }
            self.load(directory, &handle)?;
            loaded();
        }
    }

    /// Sets the cell of an item whose leaf is in memory; returns the head that was there. No I/O, and
    /// nothing that can fail.
    pub(crate) fn put(
        &self,
        key: &ItemKey,
        head: &Head,
        value: Option<ReadValue>,
        _: &Pinned<'_>,
    ) -> Option<Head> {
        let mut value = value.filter(|value| self.is_worth_keeping(&value.bytes));
        let put_at_once = self.in_memory_mut(key, |state| {
            self.change(state, |leaf| leaf.put(key.key_bytes(), head, value.take()))
        });
        match put_at_once {
            Some(Put::Inserted) => return None,
            // What is displaced is freed without the locks.
            Some(Put::Replaced { head, .. }) => return Some(head),
            Some(Put::Full { value: refused }) => value = refused,
            None => {}
        }
        let directory = self.directory_or_new(key.collection());
        self.put_waiting(&directory, key.key_bytes(), head, value)
    }

    /// Sets a cell, also where its leaf is in use or full.
    pub(super) fn put_waiting(
        &self,
        directory: &Directory,
        key: &[u8],
        head: &Head,
        mut value: Option<ReadValue>,
    ) -> Option<Head> {
        loop {
            let handle = directory.leaf_of(key);
            let mut state = handle.write();
            if !state.covers(key) {
                continue;
            }
            match self.change(&mut state, |leaf| leaf.put(key, head, value.take())) {
                Put::Inserted => return None,
                Put::Replaced { head, free } => {
                    drop(state);
                    drop(free);
                    return Some(head);
                }
                Put::Full { value: refused } => {
                    value = refused;
                    self.split(directory, &mut state, key);
                }
            }
        }
    }

    /// Sets an item's head to what `f` returns for its head, and keeps its value. Does nothing if
    /// `f` returns `None`. The item's leaf is in memory.
    pub(crate) fn change_head(
        &self,
        key: &ItemKey,
        _: &Pinned<'_>,
        f: &dyn Fn(&Head) -> Option<Head>,
    ) {
        self.with_cell(key, &mut |state, slot| {
            let head = state.leaf.as_ref().and_then(|leaf| f(&leaf.head(slot)));
            if let Some(head) = head {
                self.change(state, |leaf| leaf.set_head(slot, &head));
            }
        });
    }

    /// Removes the cell of an item if `f` says so. A leaf that is nearly empty then joins the one
    /// before it. The item's leaf is in memory.
    pub(crate) fn remove_if(&self, key: &ItemKey, _: &Pinned<'_>, f: &dyn Fn(&Head) -> bool) {
        let (mut removed, mut is_small) = (None, false);
        self.with_cell(key, &mut |state, slot| {
            if state.leaf.as_ref().is_some_and(|leaf| f(&leaf.head(slot))) {
                removed = Some(self.change(state, |leaf| leaf.remove(slot)));
                is_small = state.leaf.as_ref().is_some_and(Leaf::is_nearly_empty);
            }
        });
        // What was in the cell is freed without the locks.
        drop(removed);
        if is_small {
            self.merge(key);
        }
    }

    /// Puts the value of a version into its cell, unless the cell is of another version by now.
    pub(crate) fn keep_value(
        &self,
        key: &ItemKey,
        head: &Head,
        parent: Option<ETag>,
        bytes: &Bytes,
    ) {
        if !self.is_worth_keeping(bytes) {
            return;
        }
        // What would displace others has to be wanted twice, or reads at random would fill the
        // memory with values that nobody wants again.
        let wanted_again = || matches!(self.look(key, Leaf::note_wanted), Ok(Some(true)));
        if self.memory.is_full() && !wanted_again() {
            return;
        }
        let mut value = Some(ReadValue { parent, bytes: bytes.clone() });
        let mut free = None;
        self.with_cell(key, &mut |state, slot| {
            let before = state.memory_bytes();
            let Some(leaf) = state.leaf.as_mut().filter(|_| !state.frozen) else { return };
            let now = leaf.head(slot);
            if now.revision == head.revision && now.etag == head.etag {
                free = leaf.set_value(slot, value.take());
                leaf.touch(slot);
                self.memory.grew(before, state.memory_bytes());
            }
        });
        // Without the lock.
        drop(free);
        self.evict();
    }

    /// The copy of an item that was kept while its stripe had this sequence number, if there is one.
    /// The hash is that of the whole key.
    #[inline]
    pub(crate) fn hot(&self, key: &ItemKey, hash: u64, sequence: u64) -> Option<(Meta, Bytes)> {
        self.hot.get(hash, key.as_bytes(), sequence)
    }

    /// As [`hot`](Self::hot), without the value.
    pub(crate) fn hot_meta(&self, key: &ItemKey, hash: u64, sequence: u64) -> Option<Meta> {
        self.hot.meta(hash, key.as_bytes(), sequence)
    }

    /// Keeps a copy of an item that is wanted often: what it was while its stripe had this sequence
    /// number. `looks` tells where items were found until now. It is called where copies need more
    /// memory, and not all that there may be have room.
    pub(crate) fn keep_hot(
        &self,
        key: &ItemKey,
        hash: u64,
        sequence: u64,
        item: (&Meta, &[u8]),
        looks: impl FnOnce() -> Looks,
    ) {
        let pays = |last: &mut Looks, copies_bytes| {
            let used_bytes = self.memory.used_bytes.load(Ordering::Relaxed);
            let rest_bytes = self.hot.most_bytes() - copies_bytes;
            if used_bytes + rest_bytes <= self.memory.limit_bytes {
                return true;
            }
            let before = mem::replace(last, looks());
            last.pay_since(before, copies_bytes, used_bytes)
        };
        let more_bytes = self.hot.keep(hash, key.as_bytes(), sequence, item, pays);
        if more_bytes > 0 {
            self.memory.grew(0, more_bytes);
            self.evict();
        }
    }

    /// Whether a value is small enough to be kept in memory.
    fn is_worth_keeping(&self, value: &[u8]) -> bool {
        let len = value.len() as u64;
        self.memory.largest_value_bytes > 0 && len <= self.memory.largest_value_bytes
    }

    /// Calls `f` with the leaf of a key, locked, if it is in memory and that needs no waiting. No
    /// count is changed that other writers change, too.
    #[inline]
    fn in_memory_mut<T>(&self, key: &ItemKey, f: impl FnOnce(&mut LeafState) -> T) -> Option<T> {
        let collections = self.collections.read();
        let directory = collections.get(key.collection_bytes())?;
        directory.in_memory_mut(key.key_bytes(), f)
    }

    /// Calls `f` with the cell of a key and its leaf, locked, once at most: not where there is no such
    /// cell, or its leaf is not in memory.
    fn with_cell(&self, key: &ItemKey, f: &mut dyn FnMut(&mut LeafState, Slot)) {
        let mut show = |state: &mut LeafState| {
            if let Some(slot) = state.leaf.as_ref().and_then(|leaf| leaf.find(key.key_bytes())) {
                f(state, slot);
            }
        };
        if self.in_memory_mut(key, &mut show).is_some() {
            return;
        }
        let Some(directory) = self.directory(key.collection()) else { return };
        loop {
            let handle = directory.leaf_of(key.key_bytes());
            let mut state = handle.write();
            if state.covers(key.key_bytes()) {
                return show(&mut state);
            }
        }
    }

    /// Changes a leaf that is in memory and locked, and counts what that does.
    #[expect(clippy::expect_used, reason = "the caller has pinned the leaf in memory")]
    pub(super) fn change<T>(&self, state: &mut LeafState, f: impl FnOnce(&mut Leaf) -> T) -> T {
        let before = state.memory_bytes();
        let changed = f(state.leaf.as_mut().expect("a pinned leaf is in memory"));
        self.memory.grew(before, state.memory_bytes());
        if !state.is_dirty() {
            self.memory.dirty_leaves.fetch_add(1, Ordering::Relaxed);
        }
        state.mark_dirty();
        changed
    }

    /// Splits a leaf that is full, so that there is room for a key. The leaf is locked.
    fn split(&self, directory: &Directory, state: &mut LeafState, next_key: &[u8]) {
        let split = self.change(state, |leaf| leaf.split(Some(next_key)));
        #[expect(clippy::expect_used, reason = "a leaf with fewer cells has room for any key")]
        let Split { separator, right } = split.expect("a full leaf has two cells at least");
        self.memory.grew(0, right.memory_bytes());
        self.memory.dirty_leaves.fetch_add(1, Ordering::Relaxed);
        let high = state.high.replace(separator.clone());
        let right = LeafHandle::resident(separator, high, right);
        right.touch();
        // Under the lock of the leaf that was split: a thread that looks again finds the new one.
        directory.insert(Arc::new(right));
    }

    /// Joins the leaf of a key with the one before it, if both are in memory and small enough.
    /// While leaves are being written back that is put off.
    pub(super) fn merge(&self, key: &ItemKey) {
        let Some(directory) = self.directory(key.collection()) else { return };
        let right_handle = directory.leaf_of(key.key_bytes());
        let Some(left_handle) = directory.leaf_before(&right_handle.low) else { return };
        let mut left = left_handle.write();
        let mut right = right_handle.write();
        // Under the locks: a checkpoint that begins now meets both leaves after this.
        if self.writing_back.load(Ordering::Acquire) {
            self.unmerged.lock().push(key.clone());
            return;
        }
        let adjoin =
            !left.merged && !right.merged && left.high.as_deref() == Some(&*right_handle.low);
        let small = |right: &Leaf| {
            right.is_nearly_empty() && left.leaf.as_ref().is_some_and(|left| left.can_absorb(right))
        };
        if !adjoin || !right.leaf.as_ref().is_some_and(small) {
            return;
        }
        let Some(absorbed) = right.leaf.take() else { return };
        self.memory.grew(absorbed.memory_bytes(), 0);
        let refused = self.change(&mut left, |left| left.absorb(absorbed).err());
        debug_assert!(refused.is_none(), "it was asked before whether there is room");
        left.high = right.high.take();
        right.merged = true;
        if right.is_dirty() {
            self.memory.dirty_leaves.fetch_sub(1, Ordering::Relaxed);
        }
        directory.remove(&right_handle.low);
        self.merged_pairs.lock().push(super::pair_key(&directory.collection, &right_handle.low));
    }
}
