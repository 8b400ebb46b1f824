//! Values held in memory in addition to the heads, and their eviction.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::chunk::{Chunk, ChunkPart};
use super::{Slot, grow};
use crate::values::etag::ETag;

/// About what the allocator adds to one allocation.
const ALLOCATION_BYTES: usize = 16;

/// What a get needs in addition to the head: the value, and the tag that its version displaced. So it
/// is put into a leaf, and so a reader takes it.
#[derive(Clone, Debug)]
pub(crate) struct ReadValue {
    pub(crate) parent: Option<ETag>,
    pub(crate) bytes: Bytes,
}

/// Values of up to this length are copied when they are put here, and for a reader.
const SHORT_BYTES: usize = 512;

/// The value of one row, where it is held. What names its version is apart from its bytes: who needs
/// only that does not touch their memory.
#[derive(Debug)]
struct Held {
    /// Zeros for none.
    parent: ETag,
    place: Place,
}

const _: () = assert!(size_of::<Held>() == 32);

#[derive(Debug)]
enum Place {
    /// In the leaf's chunk.
    Short(ChunkPart),
    /// Its bytes should own their memory: a part of a larger buffer keeps all of the buffer.
    Long(Box<Bytes>),
}

/// What the memory of a long value takes.
fn long_bytes(bytes: &Bytes) -> usize {
    bytes.len() + 3 * size_of::<Bytes>() + ALLOCATION_BYTES
}

/// A value that a leaf holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachedValue<'a> {
    held: &'a Held,
    chunk: &'a Chunk,
}

impl<'a> CachedValue<'a> {
    /// What the version displaced.
    #[inline]
    pub(crate) fn parent(self) -> Option<ETag> {
        let parent = self.held.parent;
        (parent != ETag::UNSAVED).then_some(parent)
    }

    #[cfg(test)]
    pub(crate) fn as_slice(self) -> &'a [u8] {
        match &self.held.place {
            Place::Short(part) => self.chunk.get(*part),
            Place::Long(bytes) => bytes,
        }
    }

    /// Where a short value is in the [chunk](super::Leaf::chunk) of its leaf.
    #[inline]
    pub(crate) fn part(self) -> Option<ChunkPart> {
        if let Place::Short(part) = self.held.place { Some(part) } else { None }
    }

    /// What a reader takes of it.
    #[inline]
    pub(crate) fn for_reader(self) -> ReadValue {
        ReadValue { parent: self.parent(), bytes: self.bytes() }
    }

    /// The bytes for a reader: a copy of a short value, so that it keeps no other in memory, and readers
    /// on several processors do not write to a count that they share; a handle to a longer one.
    #[inline]
    pub(crate) fn bytes(self) -> Bytes {
        match &self.held.place {
            Place::Short(part) => Bytes::copy_from_slice(self.chunk.get(*part)),
            Place::Long(bytes) => Bytes::clone(bytes),
        }
    }
}

/// Values that were taken out of a leaf, and memory that it let go of.
#[derive(Debug, Default)]
pub(crate) struct Evicted {
    values: Vec<Held>,
    chunk: Option<Arc<[u8]>>,
}

#[cfg(test)]
impl Evicted {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

/// The values of a leaf, by slot.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// In order of slot, without gaps; unallocated while no value is held.
    held: Vec<Held>,
    /// One bit per slot: whether its value is held.
    present: u128,
    /// The bytes of the short values.
    chunk: Chunk,
    /// The memory of the long values.
    long_bytes: usize,
    /// One bit per slot: whether the value was read, or wanted and not there, since the last
    /// eviction.
    touched: [AtomicU64; 2],
}

/// More of a chunk than this, per cent, is not left unused when values were removed from it, and
/// where memory is short.
const SPARE_PERCENT: usize = 100;
const SPARE_PERCENT_IF_SHORT: usize = 12;

impl Values {
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<CachedValue<'_>> {
        if self.present & bit(slot) == 0 {
            return None;
        }
        self.held.get(self.place(slot)).map(|held| CachedValue { held, chunk: &self.chunk })
    }

    /// A handle to the memory of all short values.
    pub(super) fn chunk(&self) -> Option<Bytes> {
        self.chunk.share()
    }

    /// Sets the value of a slot; returns what is to be dropped without the lock.
    #[inline]
    pub(super) fn replace(&mut self, slot: Slot, value: Option<ReadValue>) -> Option<Bytes> {
        match value {
            Some(value) if self.present & bit(slot) != 0 => self.exchange(slot, value),
            Some(value) => {
                let parent = value.parent.unwrap_or(ETag::UNSAVED);
                let (place, free) = self.keep(value.bytes);
                self.insert(slot, Held { parent, place });
                free
            }
            None => {
                let held = self.take(slot)?;
                let free = self.forget(held.place);
                self.tidy(SPARE_PERCENT);
                free
            }
        }
    }

    /// Sets the value of a slot that has one.
    #[inline]
    fn exchange(&mut self, slot: Slot, value: ReadValue) -> Option<Bytes> {
        let at = self.place(slot);
        let held = self.held.get_mut(at)?;
        held.parent = value.parent.unwrap_or(ETag::UNSAVED);
        if let Place::Short(part) = &mut held.place
            && value.bytes.len() <= SHORT_BYTES
            && let Some(over) = self.chunk.overwrite(*part, &value.bytes)
        {
            *part = over;
            return Some(value.bytes);
        }
        let old = mem::replace(&mut held.place, Place::Short(ChunkPart::default()));
        let displaced = self.forget(old);
        let (place, free) = self.keep(value.bytes);
        if let Some(held) = self.held.get_mut(at) {
            held.place = place;
        }
        displaced.or(free)
    }

    /// Copies a short value into the chunk, and gives it back to be dropped. Of a longer one it takes
    /// the handle.
    #[inline]
    fn keep(&mut self, bytes: Bytes) -> (Place, Option<Bytes>) {
        if bytes.len() <= SHORT_BYTES {
            return (Place::Short(self.append(&bytes)), Some(bytes));
        }
        self.long_bytes += long_bytes(&bytes);
        (Place::Long(Box::new(bytes)), None)
    }

    #[inline]
    fn append(&mut self, value: &[u8]) -> ChunkPart {
        if let Some(part) = self.chunk.append(value) {
            return part;
        }
        self.lay_out(value.len() + self.chunk.more_room());
        let part = self.chunk.append(value);
        debug_assert!(part.is_some(), "room was made for it");
        part.unwrap_or_default()
    }

    /// Takes a value that is not held any more out of the account.
    #[inline]
    fn forget(&mut self, place: Place) -> Option<Bytes> {
        match place {
            Place::Short(part) => {
                self.chunk.release(part);
                None
            }
            Place::Long(bytes) => {
                self.long_bytes -= long_bytes(&bytes);
                Some(*bytes)
            }
        }
    }

    /// Lays the chunk out anew, with this much room; gives the old one back.
    fn lay_out(&mut self, room: usize) -> Option<Arc<[u8]>> {
        let parts = self.held.iter_mut().filter_map(|held| match &mut held.place {
            Place::Short(part) => Some(part),
            Place::Long(_) => None,
        });
        self.chunk.lay_out(parts, room)
    }

    /// Gives back what is not needed, if it is much.
    fn tidy(&mut self, spare_percent: usize) -> Option<Arc<[u8]>> {
        if self.held.is_empty() || self.held.len() < self.held.capacity() / 2 {
            self.held.shrink_to_fit();
        }
        if self.chunk.spare_percent() > spare_percent { self.lay_out(0) } else { None }
    }

    /// Makes room for values of these rows of another leaf.
    pub(super) fn reserve(&mut self, from: &Self, slots: impl Iterator<Item = Slot>) {
        let (mut values, mut bytes) = (0, 0);
        for value in slots.filter_map(|slot| from.get(slot)) {
            values += 1;
            bytes += value.part().map_or(0, ChunkPart::len);
        }
        self.held.reserve_exact(values);
        if bytes > 0 {
            self.lay_out(bytes);
        }
    }

    /// Copies the value of a row of another leaf, if it is held there, and whether it was touched.
    pub(super) fn copy_from(&mut self, slot: Slot, from: &Self, other: Slot) {
        if let Some(CachedValue { held, chunk }) = from.get(other) {
            let place = match &held.place {
                Place::Short(part) => Place::Short(self.append(chunk.get(*part))),
                Place::Long(bytes) => {
                    self.long_bytes += long_bytes(bytes);
                    Place::Long(bytes.clone())
                }
            };
            self.insert(slot, Held { parent: held.parent, place });
        }
        self.set_touched(slot, from.is_touched(other));
    }

    fn insert(&mut self, slot: Slot, held: Held) {
        grow(&mut self.held, 1);
        self.held.insert(self.place(slot), held);
        self.present |= bit(slot);
    }

    fn take(&mut self, slot: Slot) -> Option<Held> {
        if self.present & bit(slot) == 0 {
            return None;
        }
        let at = self.place(slot);
        self.present &= !bit(slot);
        Some(self.held.remove(at))
    }

    /// Where the value of a slot is, or would be, among those that are held.
    #[inline]
    fn place(&self, slot: Slot) -> usize {
        // Of a leaf that holds the values of all its rows, or of the first ones, none is left out.
        if self.present & self.present.wrapping_add(1) == 0 && self.present >= bit(slot) {
            return slot.index();
        }
        (self.present & (bit(slot) - 1)).count_ones() as usize
    }

    /// Removes the value of a slot, and moves that of the last slot to it; returns what is to be
    /// dropped without the lock.
    pub(super) fn swap_remove(&mut self, slot: Slot, last: Slot) -> Option<Bytes> {
        let free = self.replace(slot, None);
        let touched = self.take_touch(last);
        if slot != last {
            if let Some(moved) = self.take(last) {
                self.insert(slot, moved);
            }
            self.set_touched(slot, touched);
        }
        free
    }

    /// Notes that the value of a row was read, if it is held. A bit that is set is not written
    /// again: the cache line stays shared between readers.
    #[inline]
    pub(super) fn touch(&self, slot: Slot) {
        if self.present & bit(slot) != 0 {
            self.note_wanted(slot);
        }
    }

    /// Notes that the value of a row was wanted, held or not; whether that was noted already since
    /// the last eviction.
    #[inline]
    pub(super) fn note_wanted(&self, slot: Slot) -> bool {
        let bit = 1 << (slot.index() % 64);
        let Some(word) = self.touched.get(slot.index() / 64) else { return false };
        let noted = word.load(Ordering::Relaxed) & bit != 0;
        if !noted {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        noted
    }

    pub(super) fn is_touched(&self, slot: Slot) -> bool {
        let word = self.touched.get(slot.index() / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (slot.index() % 64) & 1 != 0)
    }

    pub(super) fn set_touched(&mut self, slot: Slot, touched: bool) {
        if let Some(word) = self.touched.get_mut(slot.index() / 64) {
            let bit = 1 << (slot.index() % 64);
            *word.get_mut() = *word.get_mut() & !bit | if touched { bit } else { 0 };
        }
    }

    fn take_touch(&mut self, slot: Slot) -> bool {
        let touched = self.is_touched(slot);
        self.set_touched(slot, false);
        touched
    }

    /// Takes out the values of the slots that were not touched; drop them after the lock. Then no
    /// slot is touched.
    pub(super) fn evict_cold(&mut self) -> Evicted {
        let [low, high] = mem::take(&mut self.touched).map(AtomicU64::into_inner);
        let touched = u128::from(high) << 64 | u128::from(low);
        let mut present = self.present;
        self.present &= touched;
        let mut evicted = Evicted::default();
        if self.present != present {
            let is_cold = |_: &mut Held| {
                let lowest = present & present.wrapping_neg();
                present ^= lowest;
                touched & lowest == 0
            };
            evicted.values = self.held.extract_if(.., is_cold).collect();
            for held in &evicted.values {
                match &held.place {
                    Place::Short(part) => self.chunk.release(*part),
                    Place::Long(bytes) => self.long_bytes -= long_bytes(bytes),
                }
            }
        }
        evicted.chunk = self.tidy(SPARE_PERCENT_IF_SHORT);
        evicted
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        self.array_bytes() + self.chunk.memory_bytes() + self.long_bytes
    }

    #[inline]
    pub(super) fn array_bytes(&self) -> usize {
        self.held.capacity() * size_of::<Held>()
    }
}

/// The bit of a slot.
#[inline]
fn bit(slot: Slot) -> u128 {
    1 << slot.index()
}
