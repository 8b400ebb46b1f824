//! Counters of what happens often, on many threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::index::Looks;

/// How many threads count without meeting another.
const LANES: usize = 16;

/// Sums over all threads since the store was opened. Each thread counts in a lane that few others
/// share, so counting costs a reader no cache line that another core has just written.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    lanes: [Lane; LANES],
}

/// Aligned to the two cache lines that processors fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane {
    found_in_copies: AtomicU64,
    found_in_leaves: AtomicU64,
    cache_misses: AtomicU64,
    conflicts: AtomicU64,
}

impl Counters {
    /// Counts an item that was found in a copy of what is read most.
    pub(crate) fn count_copy(&self) {
        self.lane().found_in_copies.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a look for an item in its leaf.
    pub(crate) fn count_leaf(&self, hit: bool) {
        let lane = self.lane();
        let counter = if hit { &lane.found_in_leaves } else { &lane.cache_misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a write that was refused for what was stored.
    pub(crate) fn count_conflict(&self) {
        self.lane().conflicts.fetch_add(1, Ordering::Relaxed);
    }

    /// Where items were found in memory.
    pub(crate) fn looks(&self) -> Looks {
        Looks {
            in_copies: self.sum(|lane| &lane.found_in_copies),
            in_leaves: self.sum(|lane| &lane.found_in_leaves),
        }
    }

    pub(crate) fn cache_hits(&self) -> u64 {
        let Looks { in_copies, in_leaves } = self.looks();
        in_copies + in_leaves
    }

    pub(crate) fn cache_misses(&self) -> u64 {
        self.sum(|lane| &lane.cache_misses)
    }

    pub(crate) fn conflicts(&self) -> u64 {
        self.sum(|lane| &lane.conflicts)
    }

    fn sum(&self, of: impl Fn(&Lane) -> &AtomicU64) -> u64 {
        self.lanes.iter().map(|lane| of(lane).load(Ordering::Relaxed)).sum()
    }

    #[expect(clippy::indexing_slicing, reason = "the index is below LANES")]
    fn lane(&self) -> &Lane {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static LANE: Cell<usize> =
                Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % LANES);
        }
        // A thread that is ending may have lost its own.
        &self.lanes[LANE.try_with(Cell::get).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_many_threads_count_is_lost() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * LANES + 1 {
                scope.spawn(|| {
                    for number in 0..1_000 {
                        counters.count_leaf(number % 4 != 0);
                        if number % 2 == 0 {
                            counters.count_copy();
                        }
                        counters.count_conflict();
                    }
                });
            }
        });
        let threads = 2 * LANES as u64 + 1;
        assert_eq!(counters.cache_hits(), threads * (750 + 500));
        assert_eq!(counters.looks().in_copies, threads * 500);
        assert_eq!(counters.cache_misses(), threads * 250);
        assert_eq!(counters.conflicts(), threads * 1_000);
    }
}
