//! What one step of a scan of items has fetched, in the order in which the scan met them.
//!
//! Short keys are copied into the cells and long ones into one buffer while the leaf is locked. Of
//! the short values of a leaf one handle is taken for all. An item handed out costs a shared count,
//! no allocation.

use bytes::Bytes;

use crate::engine::Version;
use crate::index::{CachedValue, ChunkPart, KeyRef, LeafCells};
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::revision::Revision;
use crate::values::short_bytes::ShortBytes;

/// Values of up to this length that are read from the journal are copied into the window's buffer,
/// and longer ones into memory of their own.
const COPIED_VALUE_BYTES: usize = 1 << 10;

/// Items that a scan is gathering.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Long keys, and values that were read from the journal.
    shared: Vec<u8>,
    /// The short values of the leaves.
    chunks: Vec<Bytes>,
    /// Whether the last of these is the present leaf's.
    has_chunk: bool,
    /// What the keys of the leaf begin with; `None` if that is long.
    prefix: Option<ShortBytes>,
    cells: Vec<ScannedCell>,
    /// The values that are in none of these.
    others: Vec<OtherValue>,
    /// The cells whose values are in the journal only.
    missing: Vec<Missing>,
}

/// A cell whose value has to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing {
    pub(super) cell: usize,
    pub(super) head: Head,
}

/// What an item is made of. A cell is written where it stays, and read there: to move it soon after
/// it was written in smaller pieces costs a processor more than all else that is done with it.
#[derive(Debug)]
struct ScannedCell {
    /// The key, if it is short.
    key: ShortBytes,
    /// The key, if it is not.
    long_key: Part,
    meta: Meta,
    value: ValuePlace,
}

impl ScannedCell {
    const EMPTY: Self = Self {
        key: ShortBytes::EMPTY,
        long_key: Part::EMPTY,
        meta: Meta::UNSAVED,
        value: ValuePlace::Shared(Part::EMPTY),
    };
}

/// A part of the shared buffer.
#[derive(Debug, Clone, Copy)]
struct Part {
    at: u32,
    len: u32,
}

/// Where a value is.
#[derive(Debug, Clone, Copy)]
enum ValuePlace {
    /// In the chunk of this number.
    Chunk(u32, ChunkPart),
    Shared(Part),
    /// Among the other values.
    Other(u32),
}

/// A value that is not in the shared buffer.
#[derive(Debug)]
enum OtherValue {
    Own(Bytes),
    Failed(Box<Error>),
    /// Not read yet, or gone since the scan met the cell.
    None,
}

impl Part {
    const EMPTY: Self = Self { at: 0, len: 0 };

    #[inline]
    fn range(self) -> std::ops::Range<usize> {
        let at = self.at as usize;
        at..at + self.len as usize
    }
}

/// Appends bytes to the shared buffer. Windows are bounded far below 4 GiB.
fn append<const N: usize>(shared: &mut Vec<u8>, parts: [&[u8]; N]) -> Part {
    let at = shared.len() as u32;
    parts.iter().for_each(|part| shared.extend_from_slice(part));
    Part { at, len: shared.len() as u32 - at }
}

impl Gathering {
    /// Room for a window of `cells` cells.
    pub(super) fn with_room(cells: usize) -> Self {
        Self { cells: Vec::with_capacity(cells), ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        self.shared.clear();
        self.chunks.clear();
        self.has_chunk = false;
        self.cells.clear();
        self.others.clear();
        self.missing.clear();
    }

    #[inline]
    pub(super) fn cells_in_memory(&self) -> usize {
        self.cells.len() - self.missing.len()
    }

    /// The next cells are of this leaf.
    pub(super) fn begin_leaf(&mut self, leaf: &LeafCells<'_>) {
        self.has_chunk = false;
        let mut prefix = ShortBytes::EMPTY;
        self.prefix = prefix.set_in_place([leaf.prefix()]).then_some(prefix);
    }

    /// Adds the cell of a key, with its value where that is in memory.
    #[inline(always)]
    pub(super) fn push(&mut self, key: KeyRef<'_>, head: &Head, value: Option<CachedValue<'_>>) {
        let parent = value.and_then(CachedValue::parent);
        let place = match value {
            None => {
                self.missing.push(Missing { cell: self.cells.len(), head: *head });
                self.other(OtherValue::None)
            }
            Some(value) => match value.part() {
                Some(part) => {
                    // Not before: a handle keeps the memory of all values of the leaf.
                    if !self.has_chunk {
                        self.has_chunk = true;
                        self.chunks.push(value.chunk().unwrap_or_default());
                    }
                    ValuePlace::Chunk(self.chunks.len() as u32 - 1, part)
                }
                None => self.other(OtherValue::Own(value.bytes())),
            },
        };
        // Its parts are written into it where it is: to move them there would wait for each.
        self.cells.push(ScannedCell::EMPTY);
        let Some(cell) = self.cells.last_mut() else { return };
        cell.meta.etag = head.etag;
        cell.meta.parent = parent;
        cell.meta.revision = Revision(head.revision);
        cell.meta.modified_ms = head.modified_ms;
        cell.meta.expires_ms = head.expires_ms;
        cell.value = place;
        let is_short = self.prefix.as_ref().is_some_and(|prefix| {
            cell.key.set_in_place_like(prefix);
            cell.key.push_in_place(key.suffix)
        });
        if !is_short {
            cell.long_key = append(&mut self.shared, [key.prefix, key.suffix]);
        }
    }

    fn other(&mut self, value: OtherValue) -> ValuePlace {
        self.others.push(value);
        ValuePlace::Other(self.others.len() as u32 - 1)
    }

    /// The cells that have to be read, in order of position.
    pub(super) fn take_missing(&mut self) -> Vec<Missing> {
        let mut missing = std::mem::take(&mut self.missing);
        missing.sort_unstable_by_key(|missing| (missing.head.segment, missing.head.offset));
        missing
    }

    pub(super) fn key(&self, cell: usize) -> &[u8] {
        match self.cells.get(cell) {
            Some(cell) if cell.long_key.len > 0 => self.shared.get(cell.long_key.range()),
            cell => cell.map(|cell| cell.key.as_slice()),
        }
        .unwrap_or_default()
    }

    /// Sets what was read of a cell: copied, so that a small value does not keep all that was read
    /// with it in memory. `None` where the item is gone.
    pub(super) fn set(&mut self, cell: usize, version: Result<Option<Version>>) {
        let (meta, value) = match version {
            Ok(None) => return,
            Err(error) => (None, self.other(OtherValue::Failed(Box::new(error)))),
            Ok(Some(Version { meta, value })) => {
                let value = if value.len() <= COPIED_VALUE_BYTES {
                    ValuePlace::Shared(append(&mut self.shared, [&value]))
                } else {
                    self.other(OtherValue::Own(Bytes::copy_from_slice(&value)))
                };
                (Some(meta), value)
            }
        };
        if let Some(cell) = self.cells.get_mut(cell) {
            cell.meta = meta.unwrap_or(cell.meta);
            cell.value = value;
        }
    }

    pub(super) fn finish(mut self, any_is_gone: bool) -> ScannedItems {
        if any_is_gone {
            let is_gone = |value: ValuePlace| {
                let ValuePlace::Other(at) = value else { return false };
                matches!(self.others.get(at as usize), Some(OtherValue::None))
            };
            self.cells.retain(|cell| !is_gone(cell.value));
        }
        let Self { shared, chunks, cells, others, .. } = self;
        ScannedItems { shared: shared.into(), chunks, end: cells.len(), cells, others, next: 0 }
    }
}

/// Fetched items, from both ends.
#[derive(Debug, Default)]
pub(crate) struct ScannedItems {
    shared: Bytes,
    chunks: Vec<Bytes>,
    cells: Vec<ScannedCell>,
    others: Vec<OtherValue>,
    /// The cells that are left: from this one on, up to the other.
    next: usize,
    end: usize,
}

impl ScannedItems {
    /// A single failure, in the place of items that could not be read.
    pub(crate) fn failed(error: Error) -> Self {
        let mut gathering = Gathering::default();
        let value = gathering.other(OtherValue::Failed(Box::new(error)));
        gathering.cells.push(ScannedCell { value, ..ScannedCell::EMPTY });
        gathering.finish(false)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// What `make` makes of the first item that is left.
    #[inline]
    pub(crate) fn next<T>(
        &mut self,
        make: impl FnOnce(ShortBytes, &Meta, Bytes) -> Result<T>,
    ) -> Option<Result<T>> {
        if self.is_empty() {
            return None;
        }
        self.next += 1;
        self.item(self.next - 1, make)
    }

    /// As [`next`](Self::next), of the last item.
    #[inline]
    pub(crate) fn next_back<T>(
        &mut self,
        make: impl FnOnce(ShortBytes, &Meta, Bytes) -> Result<T>,
    ) -> Option<Result<T>> {
        if self.is_empty() {
            return None;
        }
        self.end -= 1;
        self.item(self.end, make)
    }

    #[inline]
    fn item<T>(
        &mut self,
        at: usize,
        make: impl FnOnce(ShortBytes, &Meta, Bytes) -> Result<T>,
    ) -> Option<Result<T>> {
        let cell = self.cells.get(at)?;
        let value = match cell.value {
            ValuePlace::Chunk(number, part) => {
                self.chunks.get(number as usize)?.slice(part.range())
            }
            ValuePlace::Shared(part) => self.shared.slice(part.range()),
            ValuePlace::Other(at) => match take_other(&mut self.others, at) {
                Ok(value) => value,
                Err(error) => return Some(Err(error)),
            },
        };
        let key = if cell.long_key.len > 0 {
            ShortBytes::part_of(&self.shared, cell.long_key.range())
        } else {
            cell.key.clone()
        };
        Some(make(key, &cell.meta, value))
    }
}

#[cfg(test)]
impl ScannedItems {
    /// The versions of the items that are left.
    pub(crate) fn versions(mut self) -> impl Iterator<Item = Result<Version>> {
        let version = |_, meta: &Meta, value| Ok(Version { meta: *meta, value });
        std::iter::from_fn(move || self.next(version))
    }
}

#[cold]
fn take_other(others: &mut [OtherValue], at: u32) -> Result<Bytes> {
    let other = others.get_mut(at as usize);
    match other.map(|other| std::mem::replace(other, OtherValue::None)) {
        Some(OtherValue::Own(value)) => Ok(value),
        Some(OtherValue::Failed(error)) => Err(*error),
        Some(OtherValue::None) | None => Ok(Bytes::new()),
    }
}
