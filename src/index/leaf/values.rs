//! Values held in memory in addition to the heads, and their eviction.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::cached::{CachedValue, Place, ReadValue};
use super::chunk::{Chunk, ChunkPart};
use super::{Slot, grow};
use crate::values::etag::ETag;
use crate::values::limits::SHORT_VALUE_BYTES;

/// About what the allocator adds to one allocation.
const ALLOCATION_BYTES: usize = 16;

/// What the memory of a long value takes, besides its handle.
fn long_bytes(bytes: &Bytes) -> usize {
    bytes.len() + 2 * size_of::<Bytes>() + ALLOCATION_BYTES
}

/// Memory of values that were taken out of a leaf.
#[derive(Debug, Default)]
pub(crate) struct Evicted {
    #[cfg(test)]
    pub(super) count: usize,
    longs: Vec<Bytes>,
    chunk: Option<Arc<[u8]>>,
}

/// The values of a leaf, by slot.
///
/// What names a version is apart from the bytes of its value: who needs only that does not touch their
/// memory. Places are in a short list of their own, so that most are in the processor's cache.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// In order of slot, without gaps; unallocated while no value is held.
    pub(super) places: Vec<Place>,
    /// The parents' tags in the same order, zeros for none; empty until one has a parent.
    pub(super) parents: Vec<ETag>,
    /// One bit per slot: whether its value is held.
    present: u128,
    /// The bytes of the short values.
    pub(super) chunk: Chunk,
    /// The long values, in any order. Their bytes should own their memory: a part of a larger buffer
    /// keeps all of the buffer.
    pub(super) longs: Vec<Bytes>,
    /// The memory of the long values.
    long_bytes: usize,
    /// One bit per slot: whether the value was read, or wanted and not there, since the last
    /// eviction.
    touched: [AtomicU64; 2],
}

/// How much of a chunk, per cent of its values, may stay unused when a value was removed.
const SPARE_PERCENT: usize = 100;
/// The same when eviction comes by. What the chunk has grown by is unused as well.
const SPARE_PERCENT_IF_SHORT: usize = 4;

impl Values {
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<CachedValue<'_>> {
        if self.present & bit(slot) == 0 {
            return None;
        }
        Some(CachedValue { values: self, at: self.place(slot) })
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
                let (place, free) = self.keep(value.bytes);
                self.insert(slot, (place, value.parent));
                free
            }
            None => {
                let (place, _) = self.take(slot)?;
                let free = self.forget(place);
                self.tidy(SPARE_PERCENT);
                free
            }
        }
    }

    /// Sets the value of a slot that has one.
    #[inline]
    fn exchange(&mut self, slot: Slot, value: ReadValue) -> Option<Bytes> {
        let at = self.place(slot);
        self.set_parent(at, value.parent);
        let place = self.places.get_mut(at)?;
        if value.bytes.len() <= SHORT_VALUE_BYTES
            && place.as_long().is_none()
            && let Some(over) = self.chunk.overwrite(place.0, &value.bytes)
        {
            *place = Place(over);
            return Some(value.bytes);
        }
        let old = mem::take(place);
        let displaced = self.forget(old);
        let (place, free) = self.keep(value.bytes);
        if let Some(now) = self.places.get_mut(at) {
            *now = place;
        }
        displaced.or(free)
    }

    /// Sets what the value at a place has displaced. The first parent makes the list of them.
    #[inline]
    fn set_parent(&mut self, at: usize, parent: Option<ETag>) {
        if parent.is_some() && self.parents.is_empty() {
            let values = self.places.len();
            self.parents.reserve_exact(values);
            self.parents.resize(values, ETag::of_parent(None));
        }
        if let Some(now) = self.parents.get_mut(at) {
            *now = ETag::of_parent(parent);
        }
    }

    /// Copies a short value into the chunk, and gives it back to be dropped. Of a longer one it takes
    /// the handle.
    #[inline]
    fn keep(&mut self, bytes: Bytes) -> (Place, Option<Bytes>) {
        if bytes.len() <= SHORT_VALUE_BYTES {
            return (Place(self.append(&bytes)), Some(bytes));
        }
        (self.keep_long(bytes), None)
    }

    fn keep_long(&mut self, bytes: Bytes) -> Place {
        self.long_bytes += long_bytes(&bytes);
        grow(&mut self.longs, 1);
        self.longs.push(bytes);
        Place::of_long(self.longs.len() - 1)
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

    /// Lets go of a value whose place is not among those that are held any more.
    #[inline]
    fn forget(&mut self, place: Place) -> Option<Bytes> {
        let Some(number) = place.as_long() else {
            self.chunk.release(place.0);
            return None;
        };
        let bytes = self.longs.swap_remove(number);
        self.long_bytes -= long_bytes(&bytes);
        // The last one has its number now.
        let last = self.longs.len();
        if let Some(moved) = self.places.iter_mut().find(|other| other.as_long() == Some(last)) {
            *moved = Place::of_long(number);
        }
        Some(bytes)
    }

    /// Lays the chunk out anew, with this much room; gives the old one back.
    fn lay_out(&mut self, room: usize) -> Option<Arc<[u8]>> {
        let shorts = self.places.iter_mut().filter(|place| place.as_long().is_none());
        self.chunk.lay_out(shorts.map(|Place(part)| part), room)
    }

    /// Gives back what is not needed, if it is much.
    fn tidy(&mut self, spare_percent: usize) -> Option<Arc<[u8]>> {
        shrink(&mut self.places);
        shrink(&mut self.parents);
        shrink(&mut self.longs);
        if self.chunk.spare_percent() > spare_percent { self.lay_out(0) } else { None }
    }

    /// Gives back what is not needed, but for a hundredth of the chunk.
    pub(super) fn shrink_to_fit(&mut self) {
        self.places.shrink_to_fit();
        self.parents.shrink_to_fit();
        self.longs.shrink_to_fit();
        self.tidy(0);
    }

    /// Makes room for values of these cells of another leaf.
    pub(super) fn reserve(&mut self, from: &Self, slots: impl Iterator<Item = Slot>) {
        let (mut values, mut bytes, mut any_has_parent) = (0, 0, false);
        for value in slots.filter_map(|slot| from.get(slot)) {
            values += 1;
            bytes += value.part().map_or(0, ChunkPart::len);
            any_has_parent |= value.parent().is_some();
        }
        self.places.reserve_exact(values);
        if any_has_parent {
            self.parents.reserve_exact(values);
        }
        if bytes > 0 {
            self.lay_out(bytes);
        }
    }

    /// Copies the value of a cell of another leaf, if it is held there, and whether it was touched.
    pub(super) fn copy_from(&mut self, slot: Slot, from: &Self, other: Slot) {
        if let Some(value) = from.get(other) {
            let place = match value.part() {
                Some(part) => Place(self.append(from.chunk.get(part))),
                None => self.keep_long(value.bytes()),
            };
            self.insert(slot, (place, value.parent()));
        }
        self.set_touched(slot, from.is_touched(other));
    }

    fn insert(&mut self, slot: Slot, (place, parent): (Place, Option<ETag>)) {
        let at = self.place(slot);
        grow(&mut self.places, 1);
        self.places.insert(at, place);
        if self.parents.is_empty() {
            self.set_parent(at, parent);
        } else {
            grow(&mut self.parents, 1);
            self.parents.insert(at, ETag::of_parent(parent));
        }
        self.present |= bit(slot);
    }

    fn take(&mut self, slot: Slot) -> Option<(Place, Option<ETag>)> {
        if self.present & bit(slot) == 0 {
            return None;
        }
        let at = self.place(slot);
        self.present &= !bit(slot);
        let parents = &mut self.parents;
        let parent = if parents.is_empty() { None } else { parents.remove(at).parent() };
        Some((self.places.remove(at), parent))
    }

    /// Where the value of a slot is, or would be, among those that are held.
    #[inline]
    fn place(&self, slot: Slot) -> usize {
        // Of a leaf that holds the values of all its cells, or of the first ones, none is left out.
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

    /// Notes that the value of a cell was read, if it is held. A bit that is set is not written
    /// again: the cache line stays shared between readers.
    #[inline]
    pub(super) fn touch(&self, slot: Slot) {
        if self.present & bit(slot) != 0 {
            self.note_wanted(slot);
        }
    }

    /// Notes that the value of a cell was wanted, held or not; whether that was noted already since
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
        let present = self.present;
        let mut evicted = Evicted::default();
        if present & !touched != 0 {
            let stays = || bits(present).map(|bit| touched & bit != 0);
            for (at, _) in stays().enumerate().filter(|(_, stays)| !stays) {
                // Nothing tells of it any more when others are renamed.
                let place = self.places.get_mut(at).map(mem::take);
                evicted.longs.extend(place.and_then(|place| self.forget(place)));
            }
            let (mut place_stays, mut parent_stays) = (stays(), stays());
            self.places.retain(|_| place_stays.next() == Some(true));
            self.parents.retain(|_| parent_stays.next() == Some(true));
            self.present &= touched;
        }
        #[cfg(test)]
        {
            evicted.count = (present & !self.present).count_ones() as usize;
        }
        evicted.chunk = self.tidy(SPARE_PERCENT_IF_SHORT);
        evicted
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        self.array_bytes() + self.chunk.memory_bytes() + self.long_bytes
    }

    #[inline]
    pub(super) fn array_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
            + self.parents.capacity() * size_of::<ETag>()
            + self.longs.capacity() * size_of::<Bytes>()
    }
}

/// Gives back the memory of a list that is half unused.
fn shrink<T>(list: &mut Vec<T>) {
    if list.is_empty() || list.len() < list.capacity() / 2 {
        list.shrink_to_fit();
    }
}

/// The bit of a slot.
#[inline]
fn bit(slot: Slot) -> u128 {
    1 << slot.index()
}

/// The bits that are set, each alone, from the lowest on.
fn bits(mut set: u128) -> impl Iterator<Item = u128> {
    std::iter::from_fn(move || {
        let lowest = set & set.wrapping_neg();
        set ^= lowest;
        (lowest != 0).then_some(lowest)
    })
}
