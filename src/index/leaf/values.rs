//! Values held in memory in addition to the heads, and their eviction.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{Slot, grow};
use crate::values::etag::ETag;

/// About what the allocator adds to one allocation.
const ALLOCATION_BYTES: usize = 16;

/// What a get needs in addition to the head when the value is in memory: the tag that the version
/// displaced, and its bytes.
///
/// A short one is one allocation, to which two words lead, so a leaf's list of its values is short
/// as well: a read meets less memory that is not in the processor's cache.
#[derive(Clone, Debug)]
pub(crate) struct CachedValue(Form);

#[derive(Clone, Debug)]
enum Form {
    /// The parent's tag, of which zeros are none; then the value. A copy of the value begins at a place
    /// that does not depend on what is read there, so copies of neighbours overlap in time.
    Short(Box<[u8]>),
    /// Its bytes should own their memory: a part of a larger buffer keeps all of the buffer.
    Long(Box<ReadValue>),
}

const _: () = assert!(size_of::<CachedValue>() == 16);

/// A value as a reader takes it, and what its version displaced.
#[derive(Clone, Debug)]
pub(crate) struct ReadValue {
    pub(crate) parent: Option<ETag>,
    pub(crate) bytes: Bytes,
}

/// Values of up to this length are copied when they are put here, and for a reader.
const SHORT_BYTES: usize = 512;
/// The length of a tag.
const TAG_BYTES: usize = size_of::<ETag>();

impl CachedValue {
    /// Copies a short value. Of a longer one it takes the handle.
    pub(crate) fn new(parent: Option<ETag>, bytes: Bytes) -> Self {
        if bytes.len() > SHORT_BYTES {
            return Self(Form::Long(Box::new(ReadValue { parent, bytes })));
        }
        let mut short = Vec::with_capacity(TAG_BYTES + bytes.len());
        short.extend_from_slice(&parent.unwrap_or(ETag::UNSAVED).0);
        short.extend_from_slice(&bytes);
        Self(Form::Short(short.into_boxed_slice()))
    }

    /// Puts the value of a newer version in the place of this one; returns what is to be dropped.
    ///
    /// A short one of the same length is copied over this one: memory that was not used for long costs
    /// more to free than to write.
    fn replace(&mut self, newer: Self) -> Self {
        if let (Form::Short(own), Form::Short(new)) = (&mut self.0, &newer.0)
            && own.len() == new.len()
        {
            own.copy_from_slice(new);
            return newer;
        }
        mem::replace(self, newer)
    }

    /// What the version displaced.
    #[inline]
    pub(crate) fn parent(&self) -> Option<ETag> {
        match &self.0 {
            Form::Short(short) => parent_of(short),
            Form::Long(long) => long.parent,
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Form::Short(short) => value_of(short),
            Form::Long(long) => &long.bytes,
        }
    }

    /// What a reader takes of it.
    #[inline]
    pub(crate) fn for_reader(&self) -> ReadValue {
        ReadValue { parent: self.parent(), bytes: self.bytes() }
    }

    /// The bytes for a reader: a copy of a short value, so that readers of one value on several
    /// processors do not write to a count that they share, and a handle to a longer one.
    #[inline]
    pub(crate) fn bytes(&self) -> Bytes {
        match &self.0 {
            Form::Short(short) => Bytes::copy_from_slice(value_of(short)),
            Form::Long(long) => long.bytes.clone(),
        }
    }

    /// What the value's memory takes.
    #[inline]
    fn memory_bytes(&self) -> usize {
        match &self.0 {
            Form::Short(short) => short.len() + ALLOCATION_BYTES,
            Form::Long(long) => {
                long.bytes.len()
                    + size_of::<ReadValue>()
                    + 2 * size_of::<Bytes>()
                    + ALLOCATION_BYTES
            }
        }
    }
}

#[inline]
fn parent_of(short: &[u8]) -> Option<ETag> {
    let tag = ETag(*short.first_chunk()?);
    (tag != ETag::UNSAVED).then_some(tag)
}

#[inline]
fn value_of(short: &[u8]) -> &[u8] {
    short.get(TAG_BYTES..).unwrap_or_default()
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
        // Of a leaf that holds the values of all its rows, or of the first ones, none is left out.
        if self.present & self.present.wrapping_add(1) == 0 && self.present >= bit(slot) {
            return slot.index();
        }
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
