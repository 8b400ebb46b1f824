//! What is in memory: loading leaves, and evicting values and leaves under one budget.
//!
//! Values go first, then clean leaves. Both have a second chance: a cell's value that was read, or
//! a leaf that was used, since the hand came by last stays until it comes by again.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::index::directory::Directory;
use crate::index::leaf::{Leaf, encoded_checksum};
use crate::index::leaf_handle::LeafHandle;
use crate::index::{Index, pair_key};
use crate::seams::sync::RwLockReadGuard;
use crate::values::error::{Error, IndexFailure, Result};

/// How many leaves in memory one look for something to evict takes in.
const LOOKED_AT: usize = 64;
/// How many leaves it comes by at the most, in memory or not. Of a collection that is far larger than
/// memory most are not: if those counted alike, values would come faster than the hand.
const PASSED_BY: usize = 1_024;
/// How many of them are looked up at a time.
const AT_ONCE: usize = 16;

/// Keeps every leaf in memory that is there. Who holds it must not cause an eviction.
#[derive(Debug)]
pub(crate) struct Pinned<'a>(
    #[expect(dead_code, reason = "held for its lock")] RwLockReadGuard<'a, ()>,
);

/// Where the look for something to evict goes on: a collection and a key.
#[derive(Debug, Default)]
pub(super) struct Hand {
    collection: Box<str>,
    key: Box<[u8]>,
}

impl Index {
    /// Keeps what is in memory there until the pin is dropped.
    pub(crate) fn pin(&self) -> Pinned<'_> {
        Pinned(self.residency.read())
    }

    /// Reads the pair of a leaf from the backing store, and puts the leaf into memory unless it is
    /// there by then, or is another one.
    ///
    /// # Errors
    /// [`Error::IndexUnavailable`] when the pair cannot be had or is not the one that was
    /// given to the backing store; [`is_lost`](Self::is_lost) then says that only the journal knows
    /// the cells. [`Error::Io`] when the system refused the read for the moment.
    pub(super) fn load(&self, directory: &Directory, handle: &Arc<LeafHandle>) -> Result<()> {
        let Some(expected) = expected_checksum(handle) else { return Ok(()) };
        let backing = self.backing.read().clone();
        let pair =
            backing.map(|backing| backing.get(&pair_key(&directory.collection, &handle.low)));
        let pair = match pair.transpose() {
            Ok(pair) => pair.flatten(),
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(error) => {
                log::warn!("the index failed and will be rebuilt from the journal: {error}");
                None
            }
        };
        let pair = pair.filter(|pair| encoded_checksum(pair) == Some(expected));
        let Some(leaf) = pair.and_then(|pair| Leaf::decode(&pair)) else {
            // Perhaps it was loaded, changed, written and evicted since.
            if expected_checksum(handle) != Some(expected) {
                return Ok(());
            }
            self.lost.store(true, Ordering::Release);
            let reason =
                "a leaf of the index on disk is not the one that was written; it will be rebuilt";
            return Err(Error::IndexUnavailable(IndexFailure::new(reason)));
        };
        self.install(handle, leaf, Some(expected));
        Ok(())
    }

    /// Puts a leaf into memory, if its place is still empty and its pair is still the expected one.
    pub(super) fn install(&self, handle: &LeafHandle, mut leaf: Leaf, expected: Option<u32>) {
        let mut state = handle.write();
        if state.leaf.is_some() || state.merged || state.stored != expected {
            return;
        }
        // A checkpoint that was cut short may leave keys in a pair that are in the next one as well.
        if let Some(high) = &state.high {
            leaf.truncate(high);
        }
        self.memory.grew(0, leaf.memory_bytes());
        state.leaf = Some(leaf);
    }

    /// Evicts what was not used for longest, if the index is over its budget. Called with no lock
    /// held; looks at some [`LOOKED_AT`] leaves, and passes by [`PASSED_BY`] at the most.
    pub(crate) fn evict(&self) {
        if !self.memory.is_over() {
            return;
        }
        // One at a time is enough, and nobody waits for it.
        let Some(mut hand) = self.hand.try_lock() else { return };
        let mut looked_at = 0;
        for _ in 0..PASSED_BY / AT_ONCE {
            let Some((directory, handles)) = self.advance(&mut hand) else { return };
            let mut unused = Vec::new();
            for handle in handles {
                let Some(holds_values) = self.evict_values(&handle) else { continue };
                looked_at += 1;
                if !holds_values && !handle.take_used() {
                    unused.push(handle);
                }
            }
            self.evict_leaves(&unused);
            drop(directory);
            if looked_at >= LOOKED_AT || !self.memory.is_over() {
                return;
            }
        }
    }

    /// The next leaves for the hand to come by.
    fn advance(&self, hand: &mut Hand) -> Option<(Arc<Directory>, Vec<Arc<LeafHandle>>)> {
        let collections = self.collections.read();
        let from = (Bound::Included(hand.collection.as_bytes()), Bound::Unbounded);
        let after = collections.range::<[u8], _>(from).next();
        let (_, directory) = after.or_else(|| collections.iter().next())?;
        let name = &directory.collection;
        let key = if **name == *hand.collection { &*hand.key } else { &[] };
        let mut handles = directory.leaves_from(key, AT_ONCE + 1);
        match handles.get(AT_ONCE) {
            Some(next) => {
                *hand = Hand { collection: name.clone(), key: next.low.clone() };
                handles.truncate(AT_ONCE);
            }
            None => {
                // The next collection's name is above this one's with a NUL, which no name holds.
                let after = format!("{name}\0").into_boxed_str();
                *hand = Hand { collection: after, key: Box::default() };
            }
        }
        Some((Arc::clone(directory), handles))
    }

    /// Evicts the values of a leaf that were not read since the last time; whether it holds others
    /// still. `None` where the leaf is not in memory.
    fn evict_values(&self, handle: &LeafHandle) -> Option<bool> {
        let mut state = handle.write();
        let leaf = state.leaf.as_mut()?;
        let before = leaf.memory_bytes();
        let evicted = leaf.evict_cold_values();
        let after = leaf.memory_bytes();
        let holds_values = leaf.holds_values();
        self.memory.grew(before, after);
        drop(state);
        drop(evicted);
        Some(holds_values)
    }

    /// Lets clean leaves leave memory.
    fn evict_leaves(&self, handles: &[Arc<LeafHandle>]) {
        if handles.is_empty() || !self.is_on_disk() || self.is_lost() {
            return;
        }
        let mut evicted = Vec::with_capacity(handles.len());
        {
            // Nobody has pinned anything now.
            let _residency = self.residency.write();
            for handle in handles {
                let mut state = handle.write();
                if state.can_leave()
                    && let Some(leaf) = state.take_leaf()
                {
                    self.memory.grew(leaf.memory_bytes(), 0);
                    evicted.push(leaf);
                }
            }
        }
        // Freed without the locks.
        drop(evicted);
    }
}

#[cfg(test)]
impl Index {
    /// Evicts all values and all clean leaves.
    pub(crate) fn evict_everything(&self) {
        self.drop_values();
        for directory in self.directories() {
            self.evict_leaves(&directory.leaves_from(&[], usize::MAX));
        }
    }

    /// Evicts all values.
    pub(crate) fn drop_values(&self) {
        self.hot.clear();
        for directory in self.directories() {
            for handle in directory.leaves_from(&[], usize::MAX) {
                self.evict_values(&handle);
                self.evict_values(&handle);
            }
        }
    }
}

/// The checksum of the pair that a leaf has to be loaded from; `None` where it is in memory, or is
/// no leaf any more.
fn expected_checksum(handle: &LeafHandle) -> Option<u32> {
    let state = handle.read();
    if state.leaf.is_some() || state.merged { None } else { state.stored }
}
