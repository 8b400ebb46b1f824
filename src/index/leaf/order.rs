//! Ranks, bounds and iteration in the order of keys.

use std::iter::FusedIterator;
use std::ops::Bound;

use super::keys::rest_or_order;
use super::{CachedValue, KeyRef, KeySpan, Leaf, Slot};
use crate::values::head::Head;

/// A cell as an iteration shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellRef<'a> {
    leaf: &'a Leaf,
    slot: Slot,
}

impl<'a> CellRef<'a> {
    #[inline]
    pub(crate) fn key(&self) -> KeyRef<'a> {
        self.leaf.key(self.slot)
    }

    #[inline]
    pub(crate) fn head(&self) -> Head {
        self.leaf.head(self.slot)
    }

    /// Where in the [keys](LeafCells::keys) of the leaf is what follows the prefix in this one.
    #[inline]
    pub(crate) fn key_span(&self) -> KeySpan {
        self.leaf.cells.span(self.slot)
    }

    #[inline]
    pub(crate) fn value(&self) -> Option<CachedValue<'a>> {
        self.leaf.value(self.slot)
    }
}

/// The cells of a range of ranks, from both ends.
#[derive(Clone, Debug)]
pub(crate) struct Range<'a> {
    leaf: &'a Leaf,
    slots: std::slice::Iter<'a, u8>,
}

impl<'a> Range<'a> {
    #[inline(always)]
    fn entry(&self, slot: u8) -> CellRef<'a> {
        CellRef { leaf: self.leaf, slot: Slot(slot) }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = CellRef<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.slots.next().map(|slot| self.entry(*slot))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.slots.size_hint()
    }
}

impl DoubleEndedIterator for Range<'_> {
    #[inline(always)]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.slots.next_back().map(|slot| self.entry(*slot))
    }
}

impl ExactSizeIterator for Range<'_> {}
impl FusedIterator for Range<'_> {}

/// The cells of a leaf that a scan shows, in its direction.
#[derive(Debug)]
pub(crate) struct LeafCells<'a> {
    range: Range<'a>,
    reverse: bool,
}

impl LeafCells<'_> {
    /// Whether every cell of the leaf is of an item that does not expire.
    #[inline]
    pub(crate) fn are_live(&self) -> bool {
        self.range.leaf.cells.are_live()
    }

    /// What all keys of the leaf begin with.
    pub(crate) fn prefix(&self) -> &[u8] {
        self.range.leaf.prefix()
    }

    /// The prefix, and then what follows it in each key of the leaf; see [`CellRef::key_span`].
    pub(crate) fn keys(&self) -> &[u8] {
        &self.range.leaf.keys
    }
}

impl<'a> Iterator for LeafCells<'a> {
    type Item = CellRef<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reverse { self.range.next_back() } else { self.range.next() }
    }
}

impl Leaf {
    /// The cells between two bounds, in ascending order or, if `reverse`, in descending order.
    pub(crate) fn cells_within(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
    ) -> LeafCells<'_> {
        LeafCells { range: self.range(lower, upper), reverse }
    }

    /// The cells between two bounds, in order.
    pub(crate) fn range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Range<'_> {
        let ranks = self.rank_lower(lower)..self.rank_upper(upper);
        Range { leaf: self, slots: self.slots().get(ranks).unwrap_or_default().iter() }
    }

    /// All cells, in order.
    pub(crate) fn iter(&self) -> Range<'_> {
        Range { leaf: self, slots: self.slots().iter() }
    }

    /// The first rank that is not below a lower bound: where a walk upwards begins.
    pub(crate) fn rank_lower(&self, bound: Bound<&[u8]>) -> usize {
        match bound {
            Bound::Included(key) => self.rank(key, false),
            Bound::Excluded(key) => self.rank(key, true),
            Bound::Unbounded => 0,
        }
    }

    /// The first rank that is beyond an upper bound: a walk downwards begins just below it.
    pub(crate) fn rank_upper(&self, bound: Bound<&[u8]>) -> usize {
        match bound {
            Bound::Included(key) => self.rank(key, true),
            Bound::Excluded(key) => self.rank(key, false),
            Bound::Unbounded => self.len(),
        }
    }

    /// The cell of a rank.
    #[inline]
    pub(crate) fn at(&self, rank: usize) -> Option<Slot> {
        self.slots().get(rank).map(|slot| Slot(*slot))
    }

    /// The key of a rank.
    #[inline]
    pub(crate) fn key_at(&self, rank: usize) -> Option<KeyRef<'_>> {
        self.at(rank).map(|slot| self.key(slot))
    }

    /// How many keys are below `key`, or at most `key`.
    fn rank(&self, key: &[u8], or_equal: bool) -> usize {
        match rest_or_order(key, self.prefix()) {
            Ok(rest) => self.slots().partition_point(|slot| {
                let suffix = self.suffix(Slot(*slot));
                suffix < rest || (or_equal && suffix == rest)
            }),
            Err(order) if order.is_lt() => 0,
            Err(_) => self.len(),
        }
    }

    /// The slots in the order of their keys.
    #[expect(clippy::indexing_slicing, reason = "a leaf has at most MAX_CELLS cells")]
    #[inline]
    pub(super) fn slots(&self) -> &[u8] {
        &self.order[..self.cells.len()]
    }

    /// Gives the newest cell its rank.
    #[inline]
    pub(super) fn insert_in_order(&mut self, rank: usize, slot: Slot) {
        debug_assert!(rank <= slot.index() && slot.index() + 1 == self.len());
        self.order.copy_within(rank..slot.index(), rank + 1);
        if let Some(place) = self.order.get_mut(rank) {
            *place = slot.0;
        }
    }

    /// Makes the order of the keys that of the slots.
    pub(super) fn set_order_of_slots(&mut self) {
        for (slot, place) in self.order.iter_mut().enumerate() {
            *place = slot as u8;
        }
    }

    /// Takes a cell out of the order, and names the last slot's cell as that slot.
    pub(super) fn remove_from_order(&mut self, slot: Slot, last: Slot) {
        let cells = self.len();
        let Some(rank) = self.slots().iter().position(|other| *other == slot.0) else {
            debug_assert!(false, "{slot:?} is not a cell");
            return;
        };
        self.order.copy_within(rank + 1..cells, rank);
        let kept = self.order.iter_mut().take(cells - 1);
        kept.filter(|other| **other == last.0).for_each(|other| *other = slot.0);
    }
}
