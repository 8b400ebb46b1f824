//! Count and sum over the live items: what proves a table to be the journal's.

use bincode::{Decode, Encode};

use crate::values::etag::ETag;

/// How many items are live, and the wrapping sum of a hash of each.
///
/// The journal moves it with every entry it appends, from the entry alone; a scan of the index
/// must come to the same. Two tables that differ in any live item's key or tag differ in the sum,
/// but for one chance in 2^128.
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

    /// Takes away an item that was replaced or removed.
    pub(crate) fn subtract(&mut self, key: &[u8], etag: ETag) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(item_hash(key, etag));
    }

    /// 32 bits of it, which each frame holds: whether what an index holds is what the journal says,
    /// where damaged frames keep the whole sum from being known.
    pub(crate) fn check(&self) -> u32 {
        (self.sum as u32).wrapping_add(self.count as u32)
    }

    /// Moves by one entry of the journal: its parent goes, and what it wrote comes.
    pub(crate) fn apply(&mut self, key: &[u8], parent: Option<ETag>, written: Option<ETag>) {
        if let Some(parent) = parent {
            self.subtract(key, parent);
        }
        if let Some(written) = written {
            self.add(key, written);
        }
    }
}

/// Binds the key to the tag, which is a hash already: FNV-1a over 128 bits, eight bytes at a time,
/// seeded with the tag and the key's length.
fn item_hash(key: &[u8], etag: ETag) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mix = |hash: u128, word: [u8; 8]| {
        let mixed = (hash ^ u128::from(u64::from_le_bytes(word))).wrapping_mul(PRIME);
        // What a product moves up comes down again.
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
