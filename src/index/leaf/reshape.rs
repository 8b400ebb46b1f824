//! Split and absorb.

use std::ops::Range;

use super::keys::common_prefix;
use super::{CELL_BOUND_BYTES, Leaf, MAX_CELLS, MAX_ENCODED_BYTES, bound_bytes};

/// What a split makes beside the left half, which stays where it was.
#[derive(Debug)]
pub(crate) struct Split {
    /// The shortest string above all keys on the left and not above any on the right.
    pub(crate) separator: Box<[u8]>,
    pub(crate) right: Leaf,
}

impl Leaf {
    /// Splits off the upper cells, with their values; `None` for a leaf of fewer than two cells.
    ///
    /// The cut lies in the middle, by bytes. Where `next_key`, which is about to be put, is above
    /// all keys it lies near the upper end, and where it is below all near the lower: so leaves
    /// that are filled in order become full, and keys that come a little late have room.
    pub(crate) fn split(&mut self, next_key: Option<&[u8]>) -> Option<Split> {
        let cut = self.cut(self.left_percent(next_key))?;
        let separator = self.key_at(cut - 1)?.separator(self.key_at(cut)?);
        let right = self.extract(cut..self.len());
        if self.len() - cut <= self.len() / 8 {
            // To take out few is cheaper than to lay out all that stays.
            self.truncate(&separator);
            self.shrink_to_fit();
        } else {
            *self = self.extract(0..cut);
        }
        Some(Split { separator, right })
    }

    /// Whether all of `right`, whose keys are above all of this leaf's, has room here.
    pub(crate) fn can_absorb(&self, right: &Self) -> bool {
        let prefix = self.prefix_with(right);
        let keys = prefix + self.suffix_bytes(prefix) + right.suffix_bytes(prefix);
        let cells = self.len() + right.len();
        cells <= MAX_CELLS && bound_bytes(cells, keys) <= MAX_ENCODED_BYTES
    }

    /// Takes in all cells of `right`, whose keys are above all of this leaf's, with their values.
    ///
    /// # Errors
    /// `right` comes back where it [has no room](Self::can_absorb); this leaf is then unchanged.
    #[expect(clippy::result_large_err, reason = "the error is the leaf that came in")]
    pub(crate) fn absorb(&mut self, right: Self) -> Result<(), Self> {
        if !self.can_absorb(&right) {
            return Err(right);
        }
        if self.is_empty() {
            *self = right;
            return Ok(());
        }
        debug_assert!(!self.is_above(&right), "leaves out of order");
        let prefix = self.prefix_with(&right);
        self.shorten_prefix(prefix);
        self.cells.reserve_exact(right.len());
        self.keys.reserve_exact(right.suffix_bytes(prefix));
        let ranks = 0..right.len();
        self.copy_ranks(&right, ranks);
        Ok(())
    }

    /// Gives back the memory that the leaf has grown by, and does not use.
    fn shrink_to_fit(&mut self) {
        self.keys.shrink_to_fit();
        self.cells.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// A new leaf of these cells, with their values.
    fn extract(&self, ranks: Range<usize>) -> Self {
        let mut leaf = Self::new();
        let (Some(first), Some(last)) = (self.key_at(ranks.start), self.key_at(ranks.end - 1))
        else {
            return leaf;
        };
        let more = common_prefix(first.suffix, last.suffix);
        let whole = first.prefix.len() + more;
        let suffixes: usize = self.sizes(ranks.clone()).map(|len| len - more).sum();
        leaf.keys.reserve_exact(whole + suffixes);
        leaf.set_prefix(first.prefix);
        leaf.keys.extend(first.suffix.iter().take(more));
        leaf.prefix_len = whole as u16;
        leaf.cells = self.cells.with_capacity_like(ranks.len());
        leaf.copy_ranks(self, ranks);
        leaf
    }

    /// Appends cells of another leaf, which must be above all of this one's and begin with its
    /// prefix.
    fn copy_ranks(&mut self, from: &Self, ranks: Range<usize>) {
        let prefix_len = usize::from(self.prefix_len);
        let slots = from.slots().get(ranks.clone()).unwrap_or_default();
        self.values.reserve(&from.values, slots.iter().map(|slot| super::Slot(*slot)));
        for rank in ranks {
            let (Some(slot), start) = (from.at(rank), self.keys.len()) else {
                return;
            };
            let key = from.key(slot);
            let known = key.prefix.len().min(prefix_len);
            self.keys.extend(key.prefix.iter().skip(prefix_len));
            self.keys.extend(key.suffix.iter().skip(prefix_len - known));
            let new = super::Slot::new(self.len());
            self.push_cell(self.len(), &from.head(slot), start);
            self.values.copy_from(new, &from.values, slot);
        }
    }

    /// How much of the leaf stays on the left of a split.
    fn left_percent(&self, next_key: Option<&[u8]>) -> usize {
        let rank = next_key.map(|key| self.rank_lower(std::ops::Bound::Included(key)));
        match rank {
            Some(0) => 10,
            Some(rank) if rank == self.len() => 90,
            _ => 50,
        }
    }

    /// The first rank on the right when the left takes this much; both sides get a cell at least.
    fn cut(&self, left_percent: usize) -> Option<usize> {
        let last = self.len().checked_sub(1).filter(|last| *last > 0)?;
        let bytes = self.sizes(0..self.len()).map(|len| len + CELL_BOUND_BYTES);
        let goal = bytes.clone().sum::<usize>() * left_percent / 100;
        let mut sum = 0;
        let within = bytes.take_while(|bytes| {
            sum += bytes;
            sum <= goal
        });
        Some(within.count().clamp(1, last))
    }

    /// The lengths of the suffixes of these ranks.
    fn sizes(&self, ranks: Range<usize>) -> impl Iterator<Item = usize> + Clone {
        let slots = self.slots().get(ranks).unwrap_or_default().iter();
        slots.map(|slot| self.suffix(super::Slot(*slot)).len())
    }

    /// What all suffixes would take after a prefix of this length, which is at most the leaf's.
    fn suffix_bytes(&self, prefix: usize) -> usize {
        let prefix_len = usize::from(self.prefix_len);
        self.keys.len() - prefix_len + prefix_len.saturating_sub(prefix) * self.len()
    }

    /// How long a prefix of all keys of both leaves is.
    fn prefix_with(&self, right: &Self) -> usize {
        match (self.is_empty(), right.is_empty()) {
            (true, _) => right.prefix().len(),
            (_, true) => self.prefix().len(),
            _ => common_prefix(self.prefix(), right.prefix()),
        }
    }

    /// Whether any key of `right` is at most this leaf's last.
    fn is_above(&self, right: &Self) -> bool {
        let last = self.iter().next_back().map(|entry| entry.key());
        let first = right.key_at(0).map(|key| key.to_vec());
        last.zip(first).is_some_and(|(last, first)| last.compare(&first).is_ge())
    }
}
