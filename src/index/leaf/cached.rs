//! A value of a leaf, as it is put there and as it is read.

use bytes::Bytes;

use super::chunk::{ChunkPart, NO_PART_BYTES};
use super::values::Values;
use crate::values::etag::ETag;

/// What a get needs in addition to the head: the value, and the tag that its version displaced. So it
/// is put into a leaf, and so a reader takes it.
#[derive(Clone, Debug)]
pub(crate) struct ReadValue {
    pub(crate) parent: Option<ETag>,
    pub(crate) bytes: Bytes,
}

/// Where the value of a cell is: in the chunk or, with a length that no part has, among the long ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place(pub(super) ChunkPart);

impl Place {
    pub(super) fn of_long(number: usize) -> Self {
        Self(ChunkPart::new(number, NO_PART_BYTES))
    }

    /// The number of a long value.
    #[inline]
    pub(super) fn as_long(self) -> Option<usize> {
        (self.0.len() == NO_PART_BYTES).then_some(self.0.at())
    }
}

/// A value that a leaf holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachedValue<'a> {
    pub(super) values: &'a Values,
    /// Its number among those that are held.
    pub(super) at: usize,
}

impl<'a> CachedValue<'a> {
    /// What the version displaced.
    #[inline]
    pub(crate) fn parent(self) -> Option<ETag> {
        self.values.parents.get(self.at)?.parent()
    }

    #[inline]
    fn place(self) -> Place {
        self.values.places.get(self.at).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn as_slice(self) -> &'a [u8] {
        let place = self.place();
        match place.as_long() {
            None => self.values.chunk.get(place.0),
            Some(number) => self.values.longs.get(number).map_or(&[], |bytes| bytes),
        }
    }

    /// Where a short value is in the [chunk](Self::chunk) of its leaf.
    #[inline]
    pub(crate) fn part(self) -> Option<ChunkPart> {
        let place = self.place();
        if place.as_long().is_none() { Some(place.0) } else { None }
    }

    /// A handle to the memory of all short values of its leaf: it stays as it is now while the handle is there.
    pub(crate) fn chunk(self) -> Option<Bytes> {
        self.values.chunk()
    }

    /// What a reader takes of it.
    #[inline]
    pub(crate) fn for_reader(self) -> ReadValue {
        ReadValue { bytes: self.bytes(), parent: self.parent() }
    }

    /// The bytes for a reader: a copy of a short value, so that it keeps no other in memory, and readers
    /// on several processors do not write to a count that they share; a handle to a longer one.
    #[inline]
    pub(crate) fn bytes(self) -> Bytes {
        let place = self.place();
        match place.as_long() {
            None => Bytes::copy_from_slice(self.values.chunk.get(place.0)),
            Some(number) => self.values.longs.get(number).cloned().unwrap_or_default(),
        }
    }
}
