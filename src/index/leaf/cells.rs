//! The cells of a leaf: in 10 bytes each, in 48, or in 64 where one of them needs that.
//!
//! Leaves of usual heads are three quarters of what they would be otherwise, so more of them stay
//! in memory. Heads that expire, and those whose numbers are beyond the usual, need wide cells. Heads
//! of entries of a secondary index say nothing but a revision, and have bare ones.

use super::cell::Cell;
use super::{Slot, grow};
use crate::values::etag::ETag;
use crate::values::head::Head;

/// Cells by slot. All of a leaf have the same form; one that was wide stays so.
#[derive(Debug)]
pub(super) enum Cells {
    Bare(Vec<BareCell>),
    Narrow(Vec<NarrowCell>),
    Wide(Vec<Cell>),
}

/// A cell whose head is [bare](Head::is_bare) and whose revision is below 2^48.
#[derive(Clone, Copy, Debug)]
pub(super) struct BareCell {
    revision: Low48,
    start: u16,
    len: u16,
}

const _: () = assert!(size_of::<BareCell>() == 10);

/// A cell whose version does not expire, and whose revision and time are below 2^48.
#[derive(Clone, Copy, Debug)]
pub(super) struct NarrowCell {
    etag: [u8; 16],
    revision: Low48,
    modified_ms: Low48,
    segment: u32,
    offset: u32,
    len_bytes: u32,
    checksum: u32,
    start: u16,
    /// Length of the key's suffix, and [`DELETED`].
    len: u16,
}

const _: () = assert!(size_of::<NarrowCell>() == 48);

/// Lengths of suffixes are below this bit.
const DELETED: u16 = 1 << 15;
const _: () = assert!(super::keys::MAX_KEY_BYTES < DELETED as usize);

/// A number below 2^48.
#[derive(Clone, Copy, Debug)]
struct Low48([u16; 3]);

impl Low48 {
    #[inline]
    fn new(number: u64) -> Option<Self> {
        let [low, middle, high, 0] = [0, 16, 32, 48].map(|by| (number >> by) as u16) else {
            return None;
        };
        Some(Self([low, middle, high]))
    }

    #[inline]
    fn get(self) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        low | middle << 16 | high << 32
    }
}

impl BareCell {
    /// `None` for a head that does not fit.
    #[inline]
    fn new(head: &Head, (start, len): (usize, usize)) -> Option<Self> {
        let revision = if head.is_bare() { Low48::new(head.revision)? } else { return None };
        Some(Self { revision, start: start as u16, len: len as u16 })
    }

    #[inline]
    fn head(&self) -> Head {
        Head::bare(self.revision.get())
    }

    #[inline]
    fn span(&self) -> (usize, usize) {
        (usize::from(self.start), usize::from(self.len))
    }
}

impl NarrowCell {
    /// `None` for a head that does not fit.
    #[inline]
    fn new(head: &Head, (start, len): (usize, usize)) -> Option<Self> {
        if head.expires_ms.is_some() {
            return None;
        }
        Some(Self {
            etag: head.etag.0,
            revision: Low48::new(head.revision)?,
            modified_ms: Low48::new(head.modified_ms)?,
            segment: head.segment,
            offset: head.offset,
            len_bytes: head.len_bytes,
            checksum: head.checksum,
            start: start as u16,
            len: len as u16 | if head.deleted { DELETED } else { 0 },
        })
    }

    #[inline]
    fn head(&self) -> Head {
        Head {
            etag: ETag(self.etag),
            revision: self.revision.get(),
            segment: self.segment,
            offset: self.offset,
            len_bytes: self.len_bytes,
            checksum: self.checksum,
            modified_ms: self.modified_ms.get(),
            expires_ms: None,
            deleted: self.len & DELETED != 0,
        }
    }

    #[inline]
    fn span(&self) -> (usize, usize) {
        (usize::from(self.start), usize::from(self.len & !DELETED))
    }
}

/// Adds a cell, if there is one of this form; whether there is.
#[inline]
fn push_to<T>(cells: &mut Vec<T>, cell: Option<T>) -> bool {
    let Some(cell) = cell else { return false };
    grow(cells, 1);
    cells.push(cell);
    true
}

/// Sets a cell, if there is one of this form; whether there is.
#[inline]
fn set<T>(place: &mut T, cell: Option<T>) -> bool {
    let Some(cell) = cell else { return false };
    *place = cell;
    true
}

impl Cells {
    /// No cells, and no allocation.
    pub(super) fn new() -> Self {
        Self::Bare(Vec::new())
    }

    /// No cells, and room for so many of this form.
    pub(super) fn with_capacity_like(&self, cells: usize) -> Self {
        match self {
            Self::Bare(_) => Self::Bare(Vec::with_capacity(cells)),
            Self::Narrow(_) => Self::Narrow(Vec::with_capacity(cells)),
            Self::Wide(_) => Self::Wide(Vec::with_capacity(cells)),
        }
    }

    /// No cells, and room for so many: of bare heads or of others.
    pub(super) fn with_capacity(cells: usize, bare: bool) -> Self {
        if bare {
            Self::Bare(Vec::with_capacity(cells))
        } else {
            Self::Narrow(Vec::with_capacity(cells))
        }
    }

    /// Whether there are cells, and all heads are bare.
    pub(super) fn are_bare(&self) -> bool {
        self.len() > 0 && self.slots().all(|slot| self.head(slot).is_bare())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bare(cells) => cells.len(),
            Self::Narrow(cells) => cells.len(),
            Self::Wide(cells) => cells.len(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Bare(cells) => cells.capacity() * size_of::<BareCell>(),
            Self::Narrow(cells) => cells.capacity() * size_of::<NarrowCell>(),
            Self::Wide(cells) => cells.capacity() * size_of::<Cell>(),
        }
    }

    pub(super) fn reserve_exact(&mut self, more: usize) {
        match self {
            Self::Bare(cells) => cells.reserve_exact(more),
            Self::Narrow(cells) => cells.reserve_exact(more),
            Self::Wide(cells) => cells.reserve_exact(more),
        }
    }

    /// Adds a cell in the next slot; its key's suffix begins at `span.0` and is `span.1` bytes long.
    #[inline]
    pub(super) fn push(&mut self, head: &Head, span: (usize, usize)) {
        debug_assert!(span.0 + span.1 <= usize::from(u16::MAX), "keys of a leaf are too long");
        let fits = match self {
            Self::Bare(cells) => push_to(cells, BareCell::new(head, span)),
            Self::Narrow(cells) => push_to(cells, NarrowCell::new(head, span)),
            Self::Wide(cells) => push_to(cells, Some(Cell::new(head, span))),
        };
        if !fits {
            self.widen();
            self.push(head, span);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "a slot names one of the cells")]
    #[inline]
    pub(super) fn head(&self, slot: Slot) -> Head {
        match self {
            Self::Bare(cells) => cells[slot.index()].head(),
            Self::Narrow(cells) => cells[slot.index()].head(),
            Self::Wide(cells) => cells[slot.index()].head(),
        }
    }

    /// Sets the head of a cell and keeps the place of its key.
    #[expect(clippy::indexing_slicing, reason = "a slot names one of the cells")]
    #[inline]
    pub(super) fn set_head(&mut self, slot: Slot, head: &Head) {
        let span = self.span(slot);
        let place = slot.index();
        let fits = match self {
            Self::Bare(cells) => set(&mut cells[place], BareCell::new(head, span)),
            Self::Narrow(cells) => set(&mut cells[place], NarrowCell::new(head, span)),
            Self::Wide(cells) => set(&mut cells[place], Some(Cell::new(head, span))),
        };
        if !fits {
            self.widen();
            self.set_head(slot, head);
        }
    }

    /// Where the suffix of a cell's key lies in the leaf's keys: its start and its length.
    #[expect(clippy::indexing_slicing, reason = "a slot names one of the cells")]
    #[inline]
    pub(super) fn span(&self, slot: Slot) -> (usize, usize) {
        match self {
            Self::Bare(cells) => cells[slot.index()].span(),
            Self::Narrow(cells) => cells[slot.index()].span(),
            Self::Wide(cells) => cells[slot.index()].span(),
        }
    }

    /// Says of each cell, in order of slot, where the suffix of its key lies now.
    pub(super) fn move_spans(&mut self, mut f: impl FnMut(Slot, (usize, usize)) -> (usize, usize)) {
        match self {
            Self::Bare(cells) => {
                for (index, cell) in cells.iter_mut().enumerate() {
                    let (start, len) = f(Slot::new(index), cell.span());
                    (cell.start, cell.len) = (start as u16, len as u16);
                }
            }
            Self::Narrow(cells) => {
                for (index, cell) in cells.iter_mut().enumerate() {
                    let (start, len) = f(Slot::new(index), cell.span());
                    (cell.start, cell.len) = (start as u16, len as u16 | cell.len & DELETED);
                }
            }
            Self::Wide(cells) => {
                for (index, cell) in cells.iter_mut().enumerate() {
                    cell.set_span(f(Slot::new(index), cell.span()));
                }
            }
        }
    }

    /// Removes a cell and gives its slot to the last; returns its head.
    pub(super) fn swap_remove(&mut self, slot: Slot) -> Head {
        match self {
            Self::Bare(cells) => cells.swap_remove(slot.index()).head(),
            Self::Narrow(cells) => cells.swap_remove(slot.index()).head(),
            Self::Wide(cells) => cells.swap_remove(slot.index()).head(),
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.len()).map(Slot::new)
    }

    /// The greatest revision; 0 without cells.
    pub(super) fn newest_revision(&self) -> u64 {
        self.slots().map(|slot| self.head(slot).revision).max().unwrap_or(0)
    }

    /// The newest revision of the tombstones, 0 without cells; `None` where one is of an item.
    pub(super) fn newest_if_all_are_deleted(&self) -> Option<u64> {
        self.slots().try_fold(0, |newest, slot| {
            let head = self.head(slot);
            head.deleted.then(|| head.revision.max(newest))
        })
    }

    /// Gives the cells the next wider form.
    #[cold]
    fn widen(&mut self) {
        match self {
            Self::Bare(bare) => {
                let mut narrow = Vec::with_capacity(bare.capacity());
                narrow.extend(
                    bare.iter().filter_map(|cell| NarrowCell::new(&cell.head(), cell.span())),
                );
                debug_assert_eq!(narrow.len(), bare.len(), "a bare cell fits a narrow one");
                *self = Self::Narrow(narrow);
            }
            Self::Narrow(narrow) => {
                let mut wide = Vec::with_capacity(narrow.capacity());
                wide.extend(narrow.iter().map(|cell| Cell::new(&cell.head(), cell.span())));
                *self = Self::Wide(wide);
            }
            Self::Wide(_) => {}
        }
    }
}
