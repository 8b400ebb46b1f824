//! Values held in memory in addition to the heads, and their eviction.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{Slot, grow};
use crate::values::etag::ETag;

/// What the memory of one value costs in addition to its bytes: the shared count of `Bytes`, and
/// what the allocator adds to both allocations.
const VALUE_OVERHEAD_BYTES: usize = 48;

/// What a get needs in addition to the head when the value is in memory.
///
/// The bytes should own their memory: a part of a larger buffer keeps all of the buffer.
#[derive(Clone, Debug)]
pub(crate) struct CachedValue {
    pub(crate) parent: Option<ETag>,
    pub(crate) bytes: Bytes,
}

/// Values of up to this length are copied for a reader.
const COPIED_BYTES: usize = 512;

impl CachedValue {
    /// The value for a reader: a copy of a small one, so that readers of one value on several
    /// processors do not write to a count that they share, and a handle to a larger one.
    #[inline]
    pub(crate) fn for_reader(&self) -> Self {
        let bytes = if self.bytes.len() <= COPIED_BYTES {
            Bytes::copy_from_slice(&self.bytes)
        } else {
            self.bytes.clone()
        };
        Self { parent: self.parent, bytes }
    }

    fn memory_bytes(&self) -> usize {
        self.bytes.len() + VALUE_OVERHEAD_BYTES
    }
}

/// The values of a leaf, by slot.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Unallocated while no value is held. Slots beyond its end hold none.
    held: Vec<Option<CachedValue>>,
    /// How many values are held.
    count: usize,
    /// The memory of the values themselves.
    bytes: usize,
    /// One bit per slot: whether the row was read since the last eviction.
    touched: [AtomicU64; 2],
}

impl Values {
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<&CachedValue> {
        self.held.get(slot.index())?.as_ref()
    }

    #[inline]
    pub(super) fn replace(
        &mut self,
        slot: Slot,
        value: Option<CachedValue>,
    ) -> Option<CachedValue> {
        let missing = (slot.index() + 1).saturating_sub(self.held.len());
        if missing > 0 {
            value.as_ref()?;
            grow(&mut self.held, missing);
            self.held.resize_with(slot.index() + 1, || None);
        }
        let place = self.held.get_mut(slot.index())?;
        if let Some(value) = &value {
            self.bytes += value.memory_bytes();
            self.count += 1;
        }
        let displaced = mem::replace(place, value);
        if let Some(displaced) = &displaced {
            self.forget(displaced);
        }
        displaced
    }

    /// Takes out the value of a slot, and moves that of the last slot to it.
    pub(super) fn swap_remove(&mut self, slot: Slot, last: Slot) -> Option<CachedValue> {
        let removed = self.replace(slot, None);
        let touched = self.take_touch(last);
        if slot != last {
            let moved = self.replace(last, None);
            self.replace(slot, moved);
            self.set_touched(slot, touched);
        }
        self.held.truncate(last.index());
        removed
    }

    /// Notes that a row was read. A bit that is set is not written again: the cache line stays
    /// shared between readers.
    #[inline]
    pub(super) fn touch(&self, slot: Slot) {
        let bit = 1 << (slot.index() % 64);
        if let Some(word) = self.touched.get(slot.index() / 64)
            && word.load(Ordering::Relaxed) & bit == 0
        {
            word.fetch_or(bit, Ordering::Relaxed);
        }
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
    pub(super) fn evict_cold(&mut self) -> Vec<CachedValue> {
        let [low, high] = mem::take(&mut self.touched).map(AtomicU64::into_inner);
        let touched = u128::from(high) << 64 | u128::from(low);
        let mut values = Vec::new();
        for (slot, place) in self.held.iter_mut().enumerate() {
            if touched >> slot & 1 == 0 {
                values.extend(place.take());
            }
        }
        values.iter().for_each(|value| self.forget(value));
        values
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        self.array_bytes() + self.bytes
    }

    #[inline]
    pub(super) fn array_bytes(&self) -> usize {
        self.held.capacity() * size_of::<Option<CachedValue>>()
    }

    /// Takes a value out of the account; returns the array with the last one.
    #[inline]
    fn forget(&mut self, value: &CachedValue) {
        self.bytes -= value.memory_bytes();
        self.count -= 1;
        if self.count == 0 {
            debug_assert_eq!(self.bytes, 0, "the account of values is wrong");
            self.held = Vec::new();
        }
    }
}
