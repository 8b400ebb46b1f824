//! The in-memory leaf of the index: the heads of a contiguous range of keys, in order.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the leaf: find, read, put, remove, room and memory |
//! | `cells.rs`, `cell.rs` | heads, packed as narrow as they all allow, and the places of their keys |
//! | `prints.rs` | one byte of hash per cell, looked at before any key |
//! | `keys.rs` | keys in one buffer after their common prefix, comparisons |
//! | `values.rs`, `cached.rs`, `chunk.rs` | values held in memory in addition to the heads, and their eviction; one of them; the memory of short ones |
//! | `order.rs` | ranks, bounds and iteration in both directions |
//! | `reshape.rs` | split and absorb |
//! | `encoding.rs`, `decoding.rs` | the leaf as bytes, with a checksum |
//!
//! A **slot** names a cell until the next mutation. A **rank** is a cell's place in the order of
//! keys. Cells never move for an insertion: a permutation keeps the order.

mod cached;
mod cell;
mod cells;
mod chunk;
mod decoding;
mod encoding;
mod keys;
mod order;
mod prints;
mod reshape;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use cached::{CachedValue, ReadValue};
pub(crate) use chunk::ChunkPart;
pub(crate) use encoding::encoded_checksum;
pub(crate) use keys::{KeyRef, KeySpan};
pub(crate) use order::{CellRef, LeafCells};
pub(crate) use reshape::Split;
pub(crate) use values::Evicted;

use std::ops::Bound;

use bytes::Bytes;

use crate::values::head::{self, Head};
use cells::Cells;
use keys::{MAX_KEY_BYTES, common_prefix};
use prints::Prints;
use values::Values;

/// The most cells of a leaf.
pub(crate) const MAX_CELLS: usize = 128;

/// How many cells make a leaf full; two in models, so that leaves split and merge in them.
const FULL_CELLS: usize = if cfg!(all(test, loom)) { 2 } else { MAX_CELLS };

/// The most bytes of an encoded leaf.
pub(crate) const MAX_ENCODED_BYTES: usize = 12 << 10;

/// The most that an encoded cell takes in addition to its key: two lengths and the widest head.
///
/// Room is reckoned with the widest head, so that a changed head always fits.
const CELL_BOUND_BYTES: usize = 2 + 2 + head::MAX_BYTES;

/// Names a cell of a leaf, until the next mutation of the leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(u8);

impl Slot {
    #[inline]
    fn new(index: usize) -> Self {
        debug_assert!(index < MAX_CELLS, "slot {index} is beyond a leaf");
        Self(index as u8)
    }

    #[inline]
    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What became of a [`Leaf::put`].
#[derive(Debug)]
pub(crate) enum Put {
    /// The key is new.
    Inserted,
    /// The key was there, with this head. Drop `free` after the lock: it is the displaced value or,
    /// where that was copied, the new one.
    Replaced { head: Head, free: Option<Bytes> },
    /// The key is new and the leaf has no room for it. The leaf is unchanged and `value` comes back.
    Full { value: Option<ReadValue> },
}

/// The heads of a contiguous range of keys, in order, some with their values.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// One byte of hash per slot.
    prints: Prints,
    /// The slot of each rank; only the first `cells.len()` count.
    order: [u8; MAX_CELLS],
    cells: Cells,
    /// The common prefix of all keys, then what follows it in each key, without gaps.
    keys: Vec<u8>,
    prefix_len: u16,
    values: Values,
}

impl Leaf {
    /// A leaf without cells. It allocates nothing.
    pub(crate) fn new() -> Self {
        Self {
            prints: Prints::default(),
            order: [0; MAX_CELLS],
            cells: Cells::new(),
            keys: Vec::new(),
            prefix_len: 0,
            values: Values::default(),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cell of this key.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<Slot> {
        let suffix = key.strip_prefix(self.prefix())?;
        self.prints.find(prints::of(suffix), self.len(), |slot| self.suffix(slot) == suffix)
    }

    #[inline]
    pub(crate) fn head(&self, slot: Slot) -> Head {
        self.cells.head(slot)
    }

    #[inline]
    pub(crate) fn value(&self, slot: Slot) -> Option<CachedValue<'_>> {
        self.values.get(slot)
    }

    /// Whether [`put`](Self::put) of this key, if it is new, finds room.
    ///
    /// Long keys count with what the leaf's keys do not share with them. A leaf of fewer than 14
    /// cells has room for every key of up to 768 bytes, so a leaf that is split often enough has.
    pub(crate) fn has_room_for(&self, key: &[u8]) -> bool {
        let cut = usize::from(self.prefix_len) - common_prefix(self.prefix(), key);
        let keys = self.keys.len() + cut * self.len().saturating_sub(1) + key.len();
        key.len() <= MAX_KEY_BYTES
            && self.len() < FULL_CELLS
            && bound_bytes(self.len() + 1, keys) <= MAX_ENCODED_BYTES
    }

    /// Sets the head and the value of a key.
    ///
    /// A key that is there is always replaced, also in a full leaf.
    #[inline]
    pub(crate) fn put(&mut self, key: &[u8], head: &Head, value: Option<ReadValue>) -> Put {
        if let Some(slot) = self.find(key) {
            let displaced = self.head(slot);
            self.set_head(slot, head);
            return Put::Replaced { head: displaced, free: self.values.replace(slot, value) };
        }
        if !self.has_room_for(key) {
            return Put::Full { value };
        }
        self.insert(key, head, value);
        Put::Inserted
    }

    /// Sets the head of a cell and keeps its value.
    #[inline]
    pub(crate) fn set_head(&mut self, slot: Slot, head: &Head) {
        self.cells.set_head(slot, head);
    }

    /// Sets the value of a cell; returns what is to be dropped without the lock.
    pub(crate) fn set_value(&mut self, slot: Slot, value: Option<ReadValue>) -> Option<Bytes> {
        debug_assert!(slot.index() < self.len(), "{slot:?} is not a cell");
        self.values.replace(slot, value)
    }

    /// Removes a cell; returns its head, and what is to be dropped without the lock.
    pub(crate) fn remove(&mut self, slot: Slot) -> (Head, Option<Bytes>) {
        let last = Slot::new(self.len() - 1);
        self.remove_from_order(slot, last);
        self.remove_key(slot);
        let free = self.values.swap_remove(slot, last);
        self.prints.swap_remove(slot, last);
        let head = self.cells.swap_remove(slot);
        if self.is_empty() {
            *self = Self::new();
        }
        (head, free)
    }

    /// Where all cells are of tombstones, or there are none: since which revision that is so.
    pub(crate) fn without_items_since(&self) -> Option<u64> {
        self.cells.newest_if_all_are_deleted()
    }

    /// Notes that a cell was read, so that its value, if it is in memory, outlives the next eviction.
    #[inline]
    pub(crate) fn touch(&self, slot: Slot) {
        self.values.touch(slot);
    }

    /// Notes that a cell's value was wanted; whether it was before, since the last eviction.
    #[inline]
    pub(crate) fn note_wanted(&self, slot: Slot) -> bool {
        self.values.note_wanted(slot)
    }

    /// Takes out the values whose cells were not touched since the last call. Then no cell counts as
    /// touched.
    pub(crate) fn evict_cold_values(&mut self) -> Evicted {
        self.values.evict_cold()
    }

    /// Takes out all values.
    pub(crate) fn take_values(&mut self) -> impl Sized + use<> {
        // After the first no cell counts as touched.
        [self.values.evict_cold(), self.values.evict_cold()]
    }

    /// Whether any cell has its value in memory.
    pub(crate) fn holds_values(&self) -> bool {
        !self.values.is_empty()
    }

    /// Removes the cells from a key on.
    pub(crate) fn truncate(&mut self, high: &[u8]) {
        while let Some(slot) = self.len().checked_sub(1).and_then(|last| self.at(last))
            && self.key(slot).compare(high).is_ge()
        {
            self.remove(slot);
        }
    }

    /// What the leaf and its values occupy.
    #[inline]
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.cells.memory_bytes()
            + self.keys.capacity()
            + self.values.memory_bytes()
    }

    /// Whether the leaf is filled to less than an eighth, so that it should join a neighbour.
    pub(crate) fn is_nearly_empty(&self) -> bool {
        self.len() < MAX_CELLS / 8 && self.bound_bytes() < MAX_ENCODED_BYTES / 8
    }

    /// The encoded leaf is at most this long, whatever its heads become.
    pub(crate) fn bound_bytes(&self) -> usize {
        bound_bytes(self.len(), self.keys.len())
    }

    fn insert(&mut self, key: &[u8], head: &Head, value: Option<ReadValue>) {
        if self.is_empty() {
            self.set_prefix(key);
        } else {
            self.shorten_prefix(common_prefix(self.prefix(), key));
        }
        let rank = self.rank_lower(Bound::Included(key));
        let suffix = key.get(usize::from(self.prefix_len)..).unwrap_or_default();
        let slot = self.append_cell(rank, suffix, head);
        debug_assert!(self.bound_bytes() <= MAX_ENCODED_BYTES, "a leaf is too long");
        self.values.replace(slot, value);
    }

    /// Adds a cell whose key is the leaf's prefix and this suffix.
    fn append_cell(&mut self, rank: usize, suffix: &[u8], head: &Head) -> Slot {
        let slot = Slot::new(self.len());
        let start = self.keys.len();
        grow(&mut self.keys, suffix.len());
        self.keys.extend_from_slice(suffix);
        self.push_cell(rank, head, start);
        slot
    }

    /// Adds a cell whose suffix begins at `start` and ends with the keys.
    #[inline]
    fn push_cell(&mut self, rank: usize, head: &Head, start: usize) {
        let slot = Slot::new(self.len());
        let suffix = self.keys.get(start..).unwrap_or_default();
        self.prints.set(slot, prints::of(suffix));
        self.cells.push(head, KeySpan::new(start, suffix.len()));
        self.insert_in_order(rank, slot);
    }
}

/// The most that this many cells take encoded, whose keys take this many bytes with their prefix.
fn bound_bytes(cells: usize, keys: usize) -> usize {
    encoding::FRAME_BYTES + keys + cells * CELL_BOUND_BYTES
}

/// Makes room in steps of an eighth: leaves are many, and doubling would leave a third of them
/// unused.
#[inline]
fn grow<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 8).max(8));
    }
}
