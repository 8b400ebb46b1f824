//! The cells of a leaf: heads in 6 bytes each, in 44, or in 64 where one of them needs that, and apart
//! from them the places of their keys.
//!
//! Leaves of usual heads are three quarters of what they would be otherwise, so more of them stay
//! in memory. Heads that expire, and those whose numbers are beyond the usual, need wide ones. Heads
//! of entries of a secondary index say nothing but a revision, and have bare ones. A scan of keys reads
//! no head of a leaf in which every cell is of an item that does not expire.

use super::cell::Cell;
use super::keys::KeySpan;
use super::{Slot, grow};
use crate::values::etag::ETag;
use crate::values::head::Head;

/// Cells by slot.
#[derive(Debug)]
pub(super) struct Cells {
    /// Where in the leaf's keys is what follows the prefix.
    spans: Vec<KeySpan>,
    heads: Heads,
    /// How many cells are of tombstones or of items that expire.
    mortal: usize,
}

/// Heads by slot. All of a leaf have the same form; one that was wide stays so.
#[derive(Debug)]
enum Heads {
    Bare(Vec<BareCell>),
    Narrow(Vec<NarrowCell>),
    Wide(Vec<Cell>),
}

/// A head that is [bare](Head::is_bare) and whose revision is below 2^48.
#[derive(Clone, Copy, Debug)]
struct BareCell(Low48);

const _: () = assert!(size_of::<BareCell>() == 6);

/// A head whose version does not expire, whose revision and time are below 2^48, and whose entry is
/// shorter than [`DELETED`].
#[derive(Clone, Copy, Debug)]
struct NarrowCell {
    etag: [u8; 16],
    revision: Low48,
    modified_ms: Low48,
    segment: u32,
    offset: u32,
    /// Length of the entry, and [`DELETED`].
    len_bytes: u32,
    checksum: u32,
}

const _: () = assert!(size_of::<NarrowCell>() == 44);

const DELETED: u32 = 1 << 31;

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
    fn new(head: &Head) -> Option<Self> {
        if head.is_bare() { Low48::new(head.revision).map(Self) } else { None }
    }

    #[inline]
    fn head(&self) -> Head {
        Head::bare(self.0.get())
    }
}

impl NarrowCell {
    /// `None` for a head that does not fit.
    #[inline]
    fn new(head: &Head) -> Option<Self> {
        if head.expires_ms.is_some() || head.len_bytes >= DELETED {
            return None;
        }
        Some(Self {
            etag: head.etag.0,
            revision: Low48::new(head.revision)?,
            modified_ms: Low48::new(head.modified_ms)?,
            segment: head.segment,
            offset: head.offset,
            len_bytes: head.len_bytes | if head.deleted { DELETED } else { 0 },
            checksum: head.checksum,
        })
    }

    #[inline]
    fn head(&self) -> Head {
        Head {
            etag: ETag(self.etag),
            revision: self.revision.get(),
            segment: self.segment,
            offset: self.offset,
            len_bytes: self.len_bytes & !DELETED,
            checksum: self.checksum,
            modified_ms: self.modified_ms.get(),
            expires_ms: None,
            deleted: self.len_bytes & DELETED != 0,
        }
    }
}

/// Adds a head, if there is one of this form; whether there is.
#[inline]
fn push_to<T>(heads: &mut Vec<T>, head: Option<T>) -> bool {
    let Some(head) = head else { return false };
    grow(heads, 1);
    heads.push(head);
    true
}

/// Sets a head, if there is one of this form; whether there is.
#[inline]
fn set<T>(place: &mut T, head: Option<T>) -> bool {
    let Some(head) = head else { return false };
    *place = head;
    true
}

/// Whether a scan may have to leave the cell of this head out.
#[inline]
fn is_mortal(head: &Head) -> bool {
    head.deleted || head.expires_ms.is_some()
}

impl Heads {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Bare(heads) => heads.capacity() * size_of::<BareCell>(),
            Self::Narrow(heads) => heads.capacity() * size_of::<NarrowCell>(),
            Self::Wide(heads) => heads.capacity() * size_of::<Cell>(),
        }
    }

    #[inline]
    fn push(&mut self, head: &Head) {
        let fits = match self {
            Self::Bare(heads) => push_to(heads, BareCell::new(head)),
            Self::Narrow(heads) => push_to(heads, NarrowCell::new(head)),
            Self::Wide(heads) => push_to(heads, Some(Cell::new(head))),
        };
        if !fits {
            self.widen();
            self.push(head);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "a slot names one of the cells")]
    #[inline]
    fn set(&mut self, slot: Slot, head: &Head) {
        let place = slot.index();
        let fits = match self {
            Self::Bare(heads) => set(&mut heads[place], BareCell::new(head)),
            Self::Narrow(heads) => set(&mut heads[place], NarrowCell::new(head)),
            Self::Wide(heads) => set(&mut heads[place], Some(Cell::new(head))),
        };
        if !fits {
            self.widen();
            self.set(slot, head);
        }
    }

    /// Gives the heads the next wider form.
    #[cold]
    fn widen(&mut self) {
        match self {
            Self::Bare(bare) => {
                let mut narrow = Vec::with_capacity(bare.capacity());
                narrow.extend(bare.iter().filter_map(|cell| NarrowCell::new(&cell.head())));
                debug_assert_eq!(narrow.len(), bare.len(), "a bare head fits a narrow one");
                *self = Self::Narrow(narrow);
            }
            Self::Narrow(narrow) => {
                let mut wide = Vec::with_capacity(narrow.capacity());
                wide.extend(narrow.iter().map(|cell| Cell::new(&cell.head())));
                *self = Self::Wide(wide);
            }
            Self::Wide(_) => {}
        }
    }
}

impl Cells {
    /// No cells, and no allocation.
    pub(super) fn new() -> Self {
        Self { spans: Vec::new(), heads: Heads::Bare(Vec::new()), mortal: 0 }
    }

    /// Gives back the room for more.
    pub(super) fn shrink_to_fit(&mut self) {
        self.spans.shrink_to_fit();
        match &mut self.heads {
            Heads::Bare(heads) => heads.shrink_to_fit(),
            Heads::Narrow(heads) => heads.shrink_to_fit(),
            Heads::Wide(heads) => heads.shrink_to_fit(),
        }
    }

    /// No cells, and room for so many of this form.
    pub(super) fn with_capacity_like(&self, cells: usize) -> Self {
        let heads = match self.heads {
            Heads::Bare(_) => Heads::Bare(Vec::with_capacity(cells)),
            Heads::Narrow(_) => Heads::Narrow(Vec::with_capacity(cells)),
            Heads::Wide(_) => Heads::Wide(Vec::with_capacity(cells)),
        };
        Self { spans: Vec::with_capacity(cells), heads, mortal: 0 }
    }

    /// No cells, and room for so many: of bare heads or of others.
    pub(super) fn with_capacity(cells: usize, bare: bool) -> Self {
        let heads = if bare {
            Heads::Bare(Vec::with_capacity(cells))
        } else {
            Heads::Narrow(Vec::with_capacity(cells))
        };
        Self { spans: Vec::with_capacity(cells), heads, mortal: 0 }
    }

    /// Whether there are cells, and all heads are bare.
    pub(super) fn are_bare(&self) -> bool {
        self.len() > 0 && self.slots().all(|slot| self.head(slot).is_bare())
    }

    /// Whether every cell is of an item that does not expire.
    #[inline]
    pub(super) fn are_live(&self) -> bool {
        debug_assert_eq!(self.mortal, self.slots().filter(|s| is_mortal(&self.head(*s))).count());
        self.mortal == 0
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<KeySpan>() + self.heads.memory_bytes()
    }

    pub(super) fn reserve_exact(&mut self, more: usize) {
        self.spans.reserve_exact(more);
        match &mut self.heads {
            Heads::Bare(heads) => heads.reserve_exact(more),
            Heads::Narrow(heads) => heads.reserve_exact(more),
            Heads::Wide(heads) => heads.reserve_exact(more),
        }
    }

    /// Adds a cell in the next slot.
    #[inline]
    pub(super) fn push(&mut self, head: &Head, span: KeySpan) {
        grow(&mut self.spans, 1);
        self.spans.push(span);
        self.heads.push(head);
        self.mortal += usize::from(is_mortal(head));
    }

    #[expect(clippy::indexing_slicing, reason = "a slot names one of the cells")]
    #[inline]
    pub(super) fn head(&self, slot: Slot) -> Head {
        match &self.heads {
            Heads::Bare(heads) => heads[slot.index()].head(),
            Heads::Narrow(heads) => heads[slot.index()].head(),
            Heads::Wide(heads) => heads[slot.index()].head(),
        }
    }

    /// Sets the head of a cell and keeps the place of its key.
    #[inline]
    pub(super) fn set_head(&mut self, slot: Slot, head: &Head) {
        self.mortal -= usize::from(is_mortal(&self.head(slot)));
        self.heads.set(slot, head);
        self.mortal += usize::from(is_mortal(head));
    }

    /// Where the suffix of a cell's key lies in the leaf's keys.
    #[expect(clippy::indexing_slicing, reason = "a slot names one of the cells")]
    #[inline]
    pub(super) fn span(&self, slot: Slot) -> KeySpan {
        self.spans[slot.index()]
    }

    /// The places of the keys, in order of slot, to be changed.
    pub(super) fn spans_mut(&mut self) -> &mut [KeySpan] {
        &mut self.spans
    }

    /// Removes a cell and gives its slot to the last; returns its head.
    pub(super) fn swap_remove(&mut self, slot: Slot) -> Head {
        self.spans.swap_remove(slot.index());
        let head = match &mut self.heads {
            Heads::Bare(heads) => heads.swap_remove(slot.index()).head(),
            Heads::Narrow(heads) => heads.swap_remove(slot.index()).head(),
            Heads::Wide(heads) => heads.swap_remove(slot.index()).head(),
        };
        self.mortal -= usize::from(is_mortal(&head));
        head
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
}
