//! Count and sum over the live items: they prove that an index matches the journal.

use std::collections::HashMap;

use bincode::{Decode, Encode};

use crate::values::etag::ETag;
use crate::values::key::ItemKey;

/// How many items are live, and the wrapping sum of a hash of each.
///
/// The journal updates it with every entry that it appends, from the entry alone. A scan of the
/// index must compute the same. Two indexes that differ in the key or tag of a live item have
/// different sums, except with a chance of one in 2^128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub(crate) struct ContentSum {
    pub(crate) count: u64,
    pub(crate) sum: u128,
}

impl ContentSum {
    /// Adds a live item, under its joined key.
    pub(crate) fn add(&mut self, key: &[u8], etag: ETag) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(item_hash(key, etag));
    }

    /// Subtracts an item that was replaced or removed.
    pub(crate) fn subtract(&mut self, key: &[u8], etag: ETag) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(item_hash(key, etag));
    }

    /// 32 bits of it, which each frame holds. They show whether an index matches the journal where
    /// damaged frames hide the whole sum.
    pub(crate) fn check(&self) -> u32 {
        (self.sum as u32).wrapping_add(self.count as u32)
    }

    /// Adds another sum, or a difference of sums.
    pub(crate) fn merge(&mut self, difference: Self) {
        self.count = self.count.wrapping_add(difference.count);
        self.sum = self.sum.wrapping_add(difference.sum);
    }

    /// Applies one entry of the journal: subtracts its parent, and adds the version that it wrote.
    pub(crate) fn apply(&mut self, key: &[u8], parent: Option<ETag>, written: Option<ETag>) {
        if let Some(parent) = parent {
            self.subtract(key, parent);
        }
        if let Some(written) = written {
            self.add(key, written);
        }
    }
}

impl ContentSum {
    /// The value of the entry that clears a collection: the content that it removes.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let fields = self.count.to_le_bytes().into_iter().chain(self.sum.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (count, sum) = bytes.split_first_chunk()?;
        let sum = u128::from_le_bytes(sum.try_into().ok()?);
        Some(Self { count: u64::from_le_bytes(*count), sum })
    }

    /// The length of a count and sum in a cleared collection's entry.
    const BYTES: usize = 24;

    /// Subtracts several items at once.
    pub(crate) fn subtract_all(&mut self, gone: Self) {
        self.count = self.count.wrapping_sub(gone.count);
        self.sum = self.sum.wrapping_sub(gone.sum);
    }
}

/// The content of all collections together, and of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    total: ContentSum,
    collections: Vec<ContentSum>,
    /// The position of each collection's content in `collections`.
    positions: HashMap<Box<[u8]>, usize>,
    /// The name that was looked up last, and its position: mostly the next look-up is the same.
    recent: (Box<[u8]>, usize),
}

impl Contents {
    pub(crate) fn total(&self) -> ContentSum {
        self.total
    }

    pub(crate) fn of(&self, collection: &str) -> ContentSum {
        let at = self.positions.get(collection.as_bytes());
        at.and_then(|at| self.collections.get(*at)).copied().unwrap_or_default()
    }

    /// Sets the content of a collection to what an orderly close has recorded.
    pub(crate) fn set(&mut self, collection: &str, content: ContentSum) {
        let of = self.collection_mut(collection.as_bytes());
        let before = std::mem::replace(of, content);
        self.total.subtract_all(before);
        self.total.merge(content);
    }

    /// As [`ContentSum::add`].
    pub(crate) fn add(&mut self, key: &[u8], etag: ETag) {
        self.apply(key, None, Some(etag));
    }

    /// As [`ContentSum::subtract`].
    pub(crate) fn subtract(&mut self, key: &[u8], etag: ETag) {
        self.apply(key, Some(etag), None);
    }

    /// As [`ContentSum::apply`].
    pub(crate) fn apply(&mut self, key: &[u8], parent: Option<ETag>, written: Option<ETag>) {
        let mut change = ContentSum::default();
        change.apply(key, parent, written);
        let end = key.iter().position(|byte| *byte == ItemKey::SEPARATOR);
        let collection = key.get(..end.unwrap_or(key.len())).unwrap_or_default();
        self.collection_mut(collection).merge(change);
        self.total.merge(change);
    }

    /// Subtracts the whole content of a collection.
    pub(crate) fn clear(&mut self, collection: &str) {
        let gone = std::mem::take(self.collection_mut(collection.as_bytes()));
        self.total.subtract_all(gone);
    }

    #[expect(clippy::indexing_slicing, reason = "every position is one of the list")]
    fn collection_mut(&mut self, collection: &[u8]) -> &mut ContentSum {
        if self.collections.is_empty() || *self.recent.0 != *collection {
            let at = self.positions.get(collection).copied().unwrap_or_else(|| {
                self.positions.insert(collection.into(), self.collections.len());
                self.collections.push(ContentSum::default());
                self.collections.len() - 1
            });
            self.recent = (collection.into(), at);
        }
        &mut self.collections[self.recent.1]
    }
}

/// Binds the key to the tag, which is a hash already: FNV-1a over 128 bits, eight bytes at a time,
/// seeded with the tag and the key's length.
fn item_hash(key: &[u8], etag: ETag) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mix = |hash: u128, word: [u8; 8]| {
        let mixed = (hash ^ u128::from(u64::from_le_bytes(word))).wrapping_mul(PRIME);
        // A product moves bits up only; this moves them down again.
        mixed ^ (mixed >> 67)
    };
    let seed = (u128::from_le_bytes(etag.0) | 1).wrapping_add((key.len() as u128) << 64);
    let (words, rest) = key.as_chunks::<8>();
    let hash = words.iter().fold(seed, |hash, word| mix(hash, *word));
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    mix(hash, last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn what_is_added_and_taken_away_leaves_nothing() {
        let mut content = ContentSum::default();
        content.apply(b"k", None, Some(ETag([1; 16])));
        content.apply(b"k", Some(ETag([1; 16])), Some(ETag([2; 16])));
        assert_eq!(content.count, 1);
        content.apply(b"k", Some(ETag([2; 16])), None);
        assert_eq!(content, ContentSum::default());
    }

    #[test]
    fn the_content_of_each_collection_is_counted_apart() {
        let mut contents = Contents::default();
        for (key, tag) in [(&b"a\0k"[..], 1), (b"ab\0k", 2), (b"\0k", 3), (b"a\0l", 4)] {
            contents.add(key, ETag([tag; 16]));
        }
        let [a, ab, system] = ["a", "ab", ""].map(|name| contents.of(name));
        assert_eq!((a.count, ab.count, system.count, contents.of("b").count), (2, 1, 1, 0));
        contents.apply(b"ab\0k", Some(ETag([2; 16])), None);
        assert_eq!(contents.of("ab"), ContentSum::default());
        contents.clear("a");
        assert_eq!(contents.total(), system);
        contents.set("a", a);
        contents.subtract(b"a\0k", ETag([1; 16]));
        contents.subtract(b"a\0l", ETag([4; 16]));
        assert_eq!(contents.total(), system);
    }

    #[test]
    fn a_count_and_sum_is_read_as_it_was_written() {
        let content = ContentSum { count: 3, sum: u128::MAX - 7 };
        let bytes = content.to_bytes();
        assert_eq!(ContentSum::from_bytes(&bytes), Some(content));
        assert!(ContentSum::from_bytes(&bytes[1..]).is_none());
        assert_eq!(bytes[..9], [3, 0, 0, 0, 0, 0, 0, 0, 0xf8]);
    }

    #[test]
    fn another_key_or_tag_gives_another_sum() {
        let sum = |key: &[u8], tag| {
            let mut content = ContentSum::default();
            content.add(key, ETag([tag; 16]));
            content.sum
        };
        let sums = [sum(b"a\0k", 2), sum(b"a\0l", 2), sum(b"a\0k", 3), sum(b"", 2), sum(b"\0", 2)];
        for (index, left) in sums.iter().enumerate() {
            assert!(sums.iter().skip(index + 1).all(|right| left != right), "sum {index}");
        }
    }
}
