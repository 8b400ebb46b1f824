//! The index: from an item's key to the [`Head`] of its newest version, in order of key.
//!
//! It is a cache of the journal: it may be lost, stale or damaged without losing data. Leaves of
//! some hundred heads are in memory, some cells with their item's value; a backing store holds each
//! leaf as one pair, and checkpoints write the leaves that changed.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the index, its collections and counts |
//! | [`cells`] | reading and changing cells |
//! | [`scan`] | cells in order |
//! | [`residency`] | loading leaves, and evicting values and leaves under one budget |
//! | [`hot_items`] | copies of the items that are read most |
//! | [`clearing`] | an empty directory in the place of a collection's |
//! | [`write_back`] | writing changed leaves to the backing store |
//! | [`secondary`] | the directories that hold rows of secondary indexes |
//! | [`restoration`] | giving up the backing store, restoring lost leaves from the journal, taking another |
//! | [`opening`] | an index from its directory file, from its pairs, or from nothing |
//! | [`directory`], [`leaf_handle`], [`leaf`] | the leaves of a collection, one leaf's lock, its cells |
//! | [`backing`] | the ordered map on disk: sled and its guard, or memory |
//!
//! **Lock order:** residency → leaves, in ascending order of key → directory; collections →
//! directory. A read locks a leaf under the locks of collections and directory, but waits for none
//! there. No lock of the index is held while the backing store is called or anything waits.

pub(crate) mod backing;
mod cells;
mod clearing;
mod directory;
mod hot_items;
pub(crate) mod leaf;
mod leaf_handle;
#[cfg(test)]
mod models;
pub(crate) mod opening;
mod residency;
mod restoration;
mod scan;
pub(crate) mod secondary;
mod write_back;

#[cfg(all(test, not(loom)))]
mod tests;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::seams::sync;
use crate::values::error::Result;
use crate::values::key::ItemKey;
use crate::values::short_bytes::ShortBytes;

pub(crate) use self::backing::{Backing, Backings, GuardedBackings, MemoryBackings, SledBackings};
pub(crate) use self::cells::{Cell, NamedCell};
pub(crate) use self::clearing::{ClearedLeaves, LetGo};
pub(crate) use self::hot_items::Looks;
pub(crate) use self::leaf::{
    CachedValue, CellRef, ChunkPart, KeyRef, KeySpan, LeafCells, ReadValue,
};
pub(crate) use self::residency::Pinned;
pub(crate) use self::restoration::TakeHead;
pub(crate) use self::scan::Shown;

use self::directory::Directory;
use self::hot_items::HotItems;
use self::residency::Hand;

/// The directories, by name.
type Collections = BTreeMap<CollectionName, Arc<Directory>>;

/// The name of a collection. Each look-up compares with the first name, that of the system, which is
/// empty. In a box its bytes would be at no address, and on some processors `memcmp` takes many times as
/// long then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct CollectionName(ShortBytes);

/// The index of an open store.
#[derive(Debug)]
pub(crate) struct Index {
    collections: sync::ShardedLock<Collections>,
    /// `None` while the index is in memory only: nothing may leave memory then.
    backing: RwLock<Option<Arc<dyn Backing>>>,
    /// Whether cells that are not in memory can no longer be loaded from the backing store.
    lost: AtomicBool,
    /// Shared by a thread that relies on leaves to stay in memory, exclusive for one that evicts
    /// them.
    residency: sync::RwLock<()>,
    memory: Memory,
    hot: HotItems,
    hand: Mutex<Hand>,
    /// Pairs of merged leaves and of cleared collections, which the backing store still holds.
    merged_pairs: Mutex<Vec<Vec<u8>>>,
    /// Whether leaves are being written to the backing store. No leaf is merged then.
    writing_back: sync::AtomicBool,
    /// Keys of small leaves that were not merged for that reason.
    unmerged: Mutex<Vec<ItemKey>>,
}

/// What the index occupies, and may occupy. Every write changes it, so it shares no cache line with
/// what every read looks at.
#[derive(Debug)]
#[repr(align(128))]
struct Memory {
    limit_bytes: u64,
    /// The largest value that is kept: one that would displace much of all others is not worth it.
    largest_value_bytes: u64,
    used_bytes: AtomicU64,
    dirty_leaves: AtomicU64,
}

/// About what a leaf takes in the backing store.
pub(crate) const LEAF_PAIR_BYTES: u64 = 6 << 10;
/// A backing store counts as bloated from this multiple of what its leaves take on.
const BLOATED_TIMES: u64 = 3;
/// A smaller backing store never counts as bloated.
const LEAST_BLOATED_BYTES: u64 = 2 << 20;
/// What the index may occupy in any case.
const LEAST_BYTES: u64 = 1 << 20;
/// About what a leaf of usual keys occupies without values.
const LEAF_BYTES: u64 = 12 << 10;
/// The same of a leaf of a secondary index, whose heads are bare.
const SECONDARY_LEAF_BYTES: u64 = 5 << 10;

impl Index {
    /// An index without cells, in memory only. With `cache_bytes` of 0 it keeps no values.
    pub(crate) fn new(cache_bytes: u64) -> Self {
        Self {
            collections: sync::ShardedLock::default(),
            backing: RwLock::default(),
            lost: AtomicBool::new(false),
            residency: sync::RwLock::default(),
            memory: Memory {
                limit_bytes: cache_bytes.max(LEAST_BYTES),
                largest_value_bytes: cache_bytes / 8,
                used_bytes: AtomicU64::new(0),
                dirty_leaves: AtomicU64::new(0),
            },
            hot: HotItems::new(cache_bytes),
            hand: Mutex::default(),
            merged_pairs: Mutex::default(),
            writing_back: sync::AtomicBool::new(false),
            unmerged: Mutex::default(),
        }
    }

    /// Whether a backing store holds what is not in memory.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.backing.read().is_some()
    }

    /// Whether cells were found missing that only the journal can give back.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// What the leaves and values in memory occupy.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.used_bytes.load(Ordering::Relaxed)
    }

    /// What the backing store occupies on disk; 0 without one.
    pub(crate) fn size_on_disk_bytes(&self) -> Result<u64> {
        let backing = self.backing.read().clone();
        backing.map_or(Ok(0), |backing| backing.size_on_disk_bytes())
    }

    /// How many leaves there are.
    pub(crate) fn leaves(&self) -> u64 {
        self.collections.read().values().map(|directory| directory.len() as u64).sum()
    }

    /// Whether the backing store takes several times what its leaves do, and all of these have room
    /// in memory. sled keeps for a while what was replaced, and its file never shrinks.
    pub(crate) fn is_bloated(&self) -> bool {
        let leaves_bytes = self.leaves() * LEAF_PAIR_BYTES;
        let least = LEAST_BLOATED_BYTES.max(BLOATED_TIMES * leaves_bytes);
        self.leaves() * LEAF_BYTES <= self.memory.limit_bytes
            && self.size_on_disk_bytes().is_ok_and(|bytes| bytes >= least)
    }

    /// Whether leaves that only a checkpoint lets leave memory take half of what all may.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        let dirty = self.memory.dirty_leaves.load(Ordering::Relaxed);
        let too_many = |leaf_bytes| dirty * leaf_bytes > self.memory.limit_bytes / 2;
        dirty > 64 && too_many(LEAF_BYTES) && too_many(self.usual_leaf_bytes())
    }

    /// About what a leaf occupies without values, secondary indexes and items taken together.
    fn usual_leaf_bytes(&self) -> u64 {
        let (mut leaves, mut bytes) = (0, 0);
        for directory in self.collections.read().values() {
            let is_secondary = secondary::is_directory(&directory.collection);
            let each = if is_secondary { SECONDARY_LEAF_BYTES } else { LEAF_BYTES };
            leaves += directory.len() as u64;
            bytes += directory.len() as u64 * each;
        }
        bytes / leaves.max(1)
    }

    fn directory(&self, collection: &str) -> Option<Arc<Directory>> {
        self.collections.read().get(collection.as_bytes()).cloned()
    }

    fn directory_or_new(&self, collection: &str) -> Arc<Directory> {
        if let Some(directory) = self.directory(collection) {
            return directory;
        }
        let mut collections = self.collections.write();
        let new = || {
            self.memory.dirty_leaves.fetch_add(1, Ordering::Relaxed);
            self.memory.used_bytes.fetch_add(empty_leaf_bytes(), Ordering::Relaxed);
            Arc::new(Directory::new(collection))
        };
        Arc::clone(collections.entry(collection.into()).or_insert_with(new))
    }

    /// Up to `limit` collections from this name on, in order of name.
    fn directories_from(&self, name: &str, limit: usize) -> Vec<Arc<Directory>> {
        let collections = self.collections.read();
        let from = (Bound::Included(name.as_bytes()), Bound::Unbounded);
        let from = collections.range::<[u8], _>(from);
        from.take(limit).map(|(_, directory)| Arc::clone(directory)).collect()
    }

    /// All collections, in order of name.
    fn directories(&self) -> Vec<Arc<Directory>> {
        self.collections.read().values().cloned().collect()
    }
}

impl Borrow<[u8]> for CollectionName {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl From<&str> for CollectionName {
    fn from(name: &str) -> Self {
        Self(ShortBytes::of([name.as_bytes()]))
    }
}

impl Memory {
    fn grew(&self, before: usize, after: usize) {
        // Wraps where a leaf has shrunk.
        self.used_bytes.fetch_add((after as u64).wrapping_sub(before as u64), Ordering::Relaxed);
    }

    /// Whether hardly anything finds room unless something else leaves.
    fn is_full(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) > self.limit_bytes - self.limit_bytes / 64
    }

    fn is_over(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) > self.limit_bytes
    }
}

fn empty_leaf_bytes() -> u64 {
    leaf::Leaf::new().memory_bytes() as u64
}

/// The key of a leaf's pair in the backing store.
fn pair_key(collection: &str, low: &[u8]) -> Vec<u8> {
    let mark: &[u8] = if secondary::is_directory(collection) { &[secondary::MARK] } else { &[] };
    [mark, collection.as_bytes(), &[ItemKey::SEPARATOR], low].concat()
}

/// What [`pair_key`] was made of; `None` for anything else.
pub(crate) fn split_pair_key(key: &[u8]) -> Option<(&str, &[u8])> {
    let (key, at) = match key.split_first() {
        Some((&secondary::MARK, rest)) => (rest, secondary::NAME_BYTES),
        _ => (key, key.iter().position(|byte| *byte == ItemKey::SEPARATOR)?),
    };
    let (collection, low) = key.split_at_checked(at)?;
    let (separator, low) = low.split_first()?;
    let collection = std::str::from_utf8(collection).ok()?;
    (*separator == ItemKey::SEPARATOR).then_some((collection, low))
}
