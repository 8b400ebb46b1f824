//! Which entries of a segment this session has superseded, so that compaction need not look them
//! up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::journal::rotate::MAX_SEGMENT_BYTES;

/// Bytes of a segment for which there is one bit. Of entries that are at least as long no two begin
/// in the same bytes; shorter ones are not noted.
const BYTES_PER_BIT: u32 = 32;
/// Bytes of a segment whose bits are allocated together, once one of them is set.
const BYTES_PER_PART: u32 = 1 << 20;
/// Entries after these parts are not noted. Only a segment that is longer than others has such.
const PARTS: usize = (MAX_SEGMENT_BYTES / BYTES_PER_PART as u64) as usize;
const WORDS: usize = (BYTES_PER_PART / BYTES_PER_BIT / u64::BITS) as usize;
/// The most parts of all segments of a store: 4 MiB. In the others nothing is noted.
const MAX_PARTS: usize = 1 << 10;

/// A bit for each place where an entry may begin.
///
/// An entry that is noted is superseded, for good. One that is not noted may be superseded too.
#[derive(Debug)]
pub(super) struct Superseded([OnceLock<Box<Part>>; PARTS]);

type Part = [AtomicU64; WORDS];

impl Default for Superseded {
    fn default() -> Self {
        Self([const { OnceLock::new() }; PARTS])
    }
}

impl Superseded {
    /// Notes the entry that begins at this offset of the segment; `parts` counts those of all
    /// segments.
    pub(super) fn note(&self, offset: u32, len_bytes: u32, parts: &AtomicUsize) {
        let Some((part, word, bit)) = place_of(offset, len_bytes) else { return };
        let Some(part) = self.0.get(part) else { return };
        if part.get().is_none() && parts.load(Ordering::Relaxed) >= MAX_PARTS {
            return;
        }
        let words = part.get_or_init(|| {
            parts.fetch_add(1, Ordering::Relaxed);
            Box::new([const { AtomicU64::new(0) }; WORDS])
        });
        if let Some(word) = words.get(word) {
            // Release: a thread that finds the bit finds the newer entry appended, and can wait
            // until that is durable.
            word.fetch_or(bit, Ordering::Release);
        }
    }

    /// How many parts are allocated.
    pub(super) fn parts(&self) -> usize {
        self.0.iter().filter(|part| part.get().is_some()).count()
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
        let (superseded, parts) = (Superseded::default(), AtomicUsize::new(0));
        let places = [(44, 32), (76, 40), (116, 32), ((1 << 20) - 5, 900), (1 << 20, 32)];
        for (noted, (offset, len_bytes)) in places.into_iter().enumerate() {
            for (at, (offset, len_bytes)) in places.into_iter().enumerate() {
                assert_eq!(superseded.has(offset, len_bytes), at < noted, "{offset}");
            }
            superseded.note(offset, len_bytes, &parts);
            assert!(superseded.has(offset, len_bytes));
        }
        assert_eq!((superseded.parts(), parts.into_inner()), (2, 2));
    }

    #[test]
    fn short_entries_and_those_behind_the_last_part_are_not_noted() {
        let (superseded, parts) = (Superseded::default(), AtomicUsize::new(0));
        for (offset, len_bytes) in [(64, 31), (MAX_SEGMENT_BYTES as u32, 100), (u32::MAX, 100)] {
            superseded.note(offset, len_bytes, &parts);
            assert!(!superseded.has(offset, len_bytes));
        }
        assert!(!superseded.has(64, 32));
        let last = MAX_SEGMENT_BYTES as u32 - BYTES_PER_BIT;
        superseded.note(last, 32, &parts);
        assert!(superseded.has(last, 32), "the end of the longest segment");
    }

    #[test]
    fn the_memory_of_all_segments_is_bounded() {
        let parts = AtomicUsize::new(MAX_PARTS - 1);
        let superseded = Superseded::default();
        superseded.note(0, 32, &parts);
        superseded.note(BYTES_PER_PART, 32, &parts);
        superseded.note(32, 32, &parts);
        let noted = [0, BYTES_PER_PART, 32].map(|offset| superseded.has(offset, 32));
        assert_eq!((noted, superseded.parts()), ([true, false, true], 1));
    }
}
