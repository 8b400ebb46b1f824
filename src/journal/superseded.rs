//! Which entries of a segment this session has superseded, so that compaction need not look them up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a segment for which there is one bit. Of entries that are at least as long no two begin in
/// the same bytes; shorter ones are not noted.
const BYTES_PER_BIT: u32 = 32;
/// Bytes of a segment whose bits are allocated together, once one of them is set.
const BYTES_PER_PART: u32 = 1 << 20;
/// Entries behind these are not noted.
const PARTS: usize = 64;
const WORDS: usize = (BYTES_PER_PART / BYTES_PER_BIT / u64::BITS) as usize;

/// A bit for each place where an entry may begin: 1/256 of the segment's bytes at most.
///
/// What is noted is certain, and stays so. What is not noted may be superseded all the same.
#[derive(Debug)]
pub(super) struct Superseded([OnceLock<Box<Part>>; PARTS]);

type Part = [AtomicU64; WORDS];

impl Default for Superseded {
    fn default() -> Self {
        Self([const { OnceLock::new() }; PARTS])
    }
}

impl Superseded {
    /// Notes the entry that begins at this offset of the segment.
    pub(super) fn note(&self, offset: u32, len_bytes: u32) {
        let Some((part, word, bit)) = place_of(offset, len_bytes) else { return };
        let Some(part) = self.0.get(part) else { return };
        let words = part.get_or_init(|| Box::new([const { AtomicU64::new(0) }; WORDS]));
        if let Some(word) = words.get(word) {
            // Release: who finds the bit finds the newer entry appended, and can wait until it is
            // durable.
            word.fetch_or(bit, Ordering::Release);
        }
    }

    /// Whether the entry that begins at this offset was noted.
    pub(super) fn has(&self, offset: u32, len_bytes: u32) -> bool {
        let find = |(part, word, bit): (usize, usize, u64)| {
            let word = self.0.get(part)?.get()?.get(word)?;
            Some(word.load(Ordering::Acquire) & bit != 0)
        };
        place_of(offset, len_bytes).and_then(find).unwrap_or(false)
    }
}

/// The part, word and bit of an entry that is long enough to have one.
fn place_of(offset: u32, len_bytes: u32) -> Option<(usize, usize, u64)> {
    if len_bytes < BYTES_PER_BIT {
        return None;
    }
    let (part, bit) = (offset / BYTES_PER_PART, offset % BYTES_PER_PART / BYTES_PER_BIT);
    Some((part as usize, (bit / u64::BITS) as usize, 1 << (bit % u64::BITS)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_entry_that_is_long_enough_has_a_bit_of_its_own() {
        let superseded = Superseded::default();
        let places = [(44, 32), (76, 40), (116, 32), ((1 << 20) - 5, 900), (1 << 20, 32)];
        for (noted, (offset, len_bytes)) in places.into_iter().enumerate() {
            for (at, (offset, len_bytes)) in places.into_iter().enumerate() {
                assert_eq!(superseded.has(offset, len_bytes), at < noted, "{offset}");
            }
            superseded.note(offset, len_bytes);
            assert!(superseded.has(offset, len_bytes));
        }
    }

    #[test]
    fn short_entries_and_those_behind_the_last_part_are_not_noted() {
        let superseded = Superseded::default();
        for (offset, len_bytes) in [(64, 31), (64 << 20, 100), (u32::MAX, 100)] {
            superseded.note(offset, len_bytes);
            assert!(!superseded.has(offset, len_bytes));
        }
        assert!(!superseded.has(64, 32));
    }
}
