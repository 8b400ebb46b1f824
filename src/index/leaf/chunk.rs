//! The short values of a leaf, side by side in one piece of memory.
//!
//! A scan takes a handle to all of them at once, and hands out parts of it. While anybody has such a
//! handle the memory is not written: what is put into the leaf then is put into a new piece.

use std::iter;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::MAX_CELLS;
use crate::values::limits::SHORT_VALUE_BYTES;

/// What the counts of shared memory and the allocator add to it.
const OVERHEAD_BYTES: usize = 32;

/// The memory of short values. Each has a [`ChunkPart`], which whoever uses the chunk keeps.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// `None` without values.
    bytes: Option<Arc<[u8]>>,
    /// Where the part that was written ends.
    end: usize,
    /// The lengths of all values.
    live: usize,
}

/// A part of the memory that short values share: where it begins and, in the bits above, its length.
/// Each value in memory has one, so it is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkPart(u32);

/// A chunk is shorter than 2 to the power of this.
const AT_BITS: u32 = 20;
const _: () = assert!(2 * MAX_CELLS * SHORT_VALUE_BYTES < 1 << AT_BITS);
/// No part has this length.
pub(super) const NO_PART_BYTES: usize = (1 << (u32::BITS - AT_BITS)) - 1;
const _: () = assert!(SHORT_VALUE_BYTES < NO_PART_BYTES);

impl ChunkPart {
    #[inline]
    pub(super) fn new(at: usize, len: usize) -> Self {
        debug_assert!(at < 1 << AT_BITS && len <= NO_PART_BYTES, "{at}, {len}");
        Self((len as u32) << AT_BITS | at as u32)
    }

    #[inline]
    pub(super) fn at(self) -> usize {
        (self.0 & ((1 << AT_BITS) - 1)) as usize
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        (self.0 >> AT_BITS) as usize
    }

    #[inline]
    pub(crate) fn range(self) -> Range<usize> {
        let at = self.at();
        at..at + self.len()
    }
}

impl Chunk {
    #[inline]
    pub(super) fn get(&self, part: ChunkPart) -> &[u8] {
        self.bytes.as_deref().and_then(|bytes| bytes.get(part.range())).unwrap_or_default()
    }

    /// A handle to all values.
    pub(super) fn share(&self) -> Option<Bytes> {
        self.bytes.clone().map(Bytes::from_owner)
    }

    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len() + OVERHEAD_BYTES)
    }

    /// How much memory is of no value, per cent of what is.
    pub(super) fn spare_percent(&self) -> usize {
        let spare = self.bytes.as_ref().map_or(0, |bytes| bytes.len() - self.live);
        spare * 100 / self.live.max(1)
    }

    /// How much room is made at once, besides what is needed.
    pub(super) fn more_room(&self) -> usize {
        self.live / 8
    }

    /// Writes a value over one that is not shorter; `None` where it is, or others read the memory.
    #[inline]
    pub(super) fn overwrite(&mut self, part: ChunkPart, value: &[u8]) -> Option<ChunkPart> {
        let spare = part.len().checked_sub(value.len())?;
        let bytes = Arc::get_mut(self.bytes.as_mut()?)?;
        let part = ChunkPart::new(part.at(), value.len());
        bytes.get_mut(part.range())?.copy_from_slice(value);
        self.live -= spare;
        Some(part)
    }

    /// Adds a value; `None` where there is no room, or others read the memory.
    #[inline]
    pub(super) fn append(&mut self, value: &[u8]) -> Option<ChunkPart> {
        if value.is_empty() {
            return Some(ChunkPart::default());
        }
        let bytes = Arc::get_mut(self.bytes.as_mut()?)?;
        let part = ChunkPart::new(self.end, value.len());
        bytes.get_mut(part.range())?.copy_from_slice(value);
        self.end += value.len();
        self.live += value.len();
        Some(part)
    }

    /// Takes note that a value is not needed any more.
    #[inline]
    pub(super) fn release(&mut self, part: ChunkPart) {
        self.live -= part.len();
    }

    /// Moves all values to a new piece of memory that has this much room for more; gives the old
    /// one back. `parts` are all that are not released.
    pub(super) fn lay_out<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a mut ChunkPart>,
        room: usize,
    ) -> Option<Arc<[u8]>> {
        let len = self.live + room;
        // As shared memory from the start: a list would be copied into it.
        let mut bytes: Option<Arc<[u8]>> = (len > 0).then(|| iter::repeat_n(0, len).collect());
        let mut free = bytes.as_mut().and_then(Arc::get_mut).unwrap_or_default();
        self.end = 0;
        for part in parts {
            let Some((to, after)) = mem::take(&mut free).split_at_mut_checked(part.len()) else {
                break;
            };
            to.copy_from_slice(self.get(*part));
            *part = ChunkPart::new(self.end, part.len());
            self.end += part.len();
            free = after;
        }
        debug_assert_eq!(self.end, self.live, "the parts are not those of the values");
        mem::replace(&mut self.bytes, bytes)
    }
}
