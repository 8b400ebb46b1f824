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

    /// Puts the value of a newer version in the place of this one; returns what is to be dropped.
    ///
    /// A small value of the same length is copied over this one, if nobody else has a handle to that:
    /// memory that was not used for long costs more to free than to write.
    fn replace(&mut self, newer: Self) -> Self {
        let len = self.bytes.len();
        if len == newer.bytes.len() && len <= COPIED_BYTES {
            match mem::take(&mut self.bytes).try_into_mut() {
                Ok(mut own) => {
                    own.copy_from_slice(&newer.bytes);
                    (self.parent, self.bytes) = (newer.parent, own.freeze());
                    return newer;
                }
                Err(shared) => self.bytes = shared,
            }
        }
        mem::replace(self, newer)
    }

    fn memory_bytes(&self) -> usize {
        self.bytes.len() + VALUE_OVERHEAD_BYTES
    }
}

/// The values of a leaf, by slot.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// In order of slot, without gaps; unallocated while no value is held.
    held: Vec<CachedValue>,
    /// One bit per slot: whether its value is held.
    present: u128,
    /// The memory of the values themselves.
    bytes: usize,
    /// One bit per slot: whether the value was read, or wanted and not there, since the last
    /// eviction.
    touched: [AtomicU64; 2],
}

impl Values {
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<&CachedValue> {
        let is_held = self.present & bit(slot) != 0;
        if is_held { self.held.get(self.place(slot)) } else { None }
    }

    #[inline]
    pub(super) fn replace(
        &mut self,
        slot: Slot,
        value: Option<CachedValue>,
    ) -> Option<CachedValue> {
        let (is_held, at) = (self.present & bit(slot) != 0, self.place(slot));
        self.bytes += value.as_ref().map_or(0, CachedValue::memory_bytes);
        let displaced = match value {
            Some(value) if is_held => self.held.get_mut(at).map(|place| place.replace(value)),
            Some(value) => {
                grow(&mut self.held, 1);
                self.held.insert(at, value);
                self.present |= bit(slot);
                None
            }
            None if is_held => {
                self.present &= !bit(slot);
                Some(self.held.remove(at))
            }
            None => None,
        };
        if let Some(displaced) = &displaced {
            self.forget(displaced);
        }
        displaced
    }

    /// Where the value of a slot is, or would be, among those that are held.
    #[inline]
    fn place(&self, slot: Slot) -> usize {
        (self.present & (bit(slot) - 1)).count_ones() as usize
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
        removed
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
    pub(super) fn evict_cold(&mut self) -> Vec<CachedValue> {
        let [low, high] = mem::take(&mut self.touched).map(AtomicU64::into_inner);
        let touched = u128::from(high) << 64 | u128::from(low);
        let mut present = self.present;
        self.present &= touched;
        if self.present == present {
            return Vec::new();
        }
        let is_cold = |_: &mut CachedValue| {
            let lowest = present & present.wrapping_neg();
            present ^= lowest;
            touched & lowest == 0
        };
        let values: Vec<_> = self.held.extract_if(.., is_cold).collect();
        values.iter().for_each(|value| self.forget(value));
        if self.held.len() < self.held.capacity() / 2 {
            self.held.shrink_to_fit();
        }
        values
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        self.array_bytes() + self.bytes
    }

    #[inline]
    pub(super) fn array_bytes(&self) -> usize {
        self.held.capacity() * size_of::<CachedValue>()
    }

    /// Takes a value out of the account; returns the array with the last one.
    #[inline]
    fn forget(&mut self, value: &CachedValue) {
        self.bytes -= value.memory_bytes();
        if self.bytes == 0 {
            self.held = Vec::new();
        }
    }
}

/// The bit of a slot.
#[inline]
fn bit(slot: Slot) -> u128 {
    1 << slot.index()
}
