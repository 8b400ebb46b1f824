//! The keys of a leaf: one buffer, the common prefix first, then the suffix of every key.

use std::cmp::Ordering;
use std::iter::zip;
use std::ops::Range;

use super::{Leaf, Slot, prints};

/// The longest key: that of a secondary index's cell.
pub(super) const MAX_KEY_BYTES: usize = 768;

/// A key in two parts, as a leaf holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRef<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) suffix: &'a [u8],
}

/// A part of the keys of a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySpan {
    pub(super) start: u16,
    pub(super) len: u16,
}

impl KeySpan {
    #[inline]
    pub(super) fn new(start: usize, len: usize) -> Self {
        debug_assert!(start + len <= usize::from(u16::MAX), "keys of a leaf are too long");
        Self { start: start as u16, len: len as u16 }
    }

    #[inline]
    pub(crate) fn range(self) -> Range<usize> {
        let start = usize::from(self.start);
        start..start + usize::from(self.len)
    }
}

impl KeyRef<'_> {
    pub(crate) fn len(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// Appends the key to `out`.
    #[inline]
    pub(crate) fn copy_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.suffix);
    }

    pub(crate) fn to_vec(self) -> Vec<u8> {
        [self.prefix, self.suffix].concat()
    }

    /// How this key orders against `key`.
    #[inline]
    pub(crate) fn compare(&self, key: &[u8]) -> Ordering {
        match rest_or_order(key, self.prefix) {
            Ok(rest) => self.suffix.cmp(rest),
            Err(order) => order.reverse(),
        }
    }

    /// The shortest separator between two keys that follow each other: greater than `self`, and at
    /// most `next`.
    pub(super) fn separator(self, next: KeyRef<'_>) -> Box<[u8]> {
        let (low, mut high) = (self.to_vec(), next.to_vec());
        debug_assert!(low < high, "keys out of order");
        high.truncate(common_prefix(&low, &high) + 1);
        high.into_boxed_slice()
    }
}

impl Leaf {
    /// What all keys begin with. It may be shorter than it could be.
    #[expect(clippy::indexing_slicing, reason = "keys begin with the prefix")]
    #[inline]
    pub(super) fn prefix(&self) -> &[u8] {
        &self.keys[..usize::from(self.prefix_len)]
    }

    /// What follows the prefix in a cell's key.
    #[expect(clippy::indexing_slicing, reason = "every cell's span lies within the keys")]
    #[inline]
    pub(super) fn suffix(&self, slot: Slot) -> &[u8] {
        &self.keys[self.cells.span(slot).range()]
    }

    /// The key of a cell.
    #[inline]
    pub(crate) fn key(&self, slot: Slot) -> KeyRef<'_> {
        KeyRef { prefix: self.prefix(), suffix: self.suffix(slot) }
    }

    /// Sets the prefix of a leaf without cells.
    pub(super) fn set_prefix(&mut self, prefix: &[u8]) {
        debug_assert!(self.is_empty() && prefix.len() <= MAX_KEY_BYTES);
        self.keys.clear();
        self.keys.extend_from_slice(prefix);
        self.prefix_len = prefix.len() as u16;
    }

    /// Lays the keys out after a shorter prefix.
    pub(super) fn shorten_prefix(&mut self, len: usize) {
        let (prefix, moved) = self.prefix().split_at(len.min(self.prefix().len()));
        if moved.is_empty() {
            return;
        }
        let mut keys = Vec::with_capacity(self.keys.len() + moved.len() * self.cells.len());
        keys.extend_from_slice(prefix);
        for slot in self.cells.slots() {
            keys.extend_from_slice(moved);
            keys.extend_from_slice(self.suffix(slot));
        }
        let (mut start, more) = (prefix.len(), moved.len());
        for (index, span) in self.cells.spans_mut().iter_mut().enumerate() {
            *span = KeySpan::new(start, usize::from(span.len) + more);
            start = span.range().end;
            let suffix = keys.get(span.range()).unwrap_or_default();
            self.prints.set(Slot::new(index), prints::of(suffix));
        }
        debug_assert_eq!(start, keys.len(), "keys and cells do not agree");
        self.prefix_len -= more as u16;
        self.keys = keys;
    }

    /// Takes a cell's suffix out of the keys and closes the gap.
    pub(super) fn remove_key(&mut self, slot: Slot) {
        let gap = self.cells.span(slot);
        self.keys.drain(gap.range());
        for span in self.cells.spans_mut().iter_mut().filter(|span| span.start > gap.start) {
            span.start -= gap.len;
        }
    }
}

/// What follows `prefix` in `key`; where `key` does not begin so, how it orders against all keys
/// that do.
#[inline]
pub(super) fn rest_or_order<'k>(key: &'k [u8], prefix: &[u8]) -> Result<&'k [u8], Ordering> {
    key.strip_prefix(prefix).ok_or_else(|| key.cmp(prefix))
}

/// How many bytes two strings share at the front.
#[inline]
pub(super) fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let (left_words, right_words) = (left.as_chunks::<8>().0, right.as_chunks::<8>().0);
    let words = zip(left_words, right_words).take_while(|(one, other)| one == other).count();
    let tails = zip(left.iter().skip(words * 8), right.iter().skip(words * 8));
    words * 8 + tails.take_while(|(one, other)| one == other).count()
}
