//! Counters of what happens often, on many threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    conflicts: AtomicU64,
}

impl Counters {
    /// Counts a look for an item in the cache.
    pub(crate) fn count_cache(&self, hit: bool) {
        let lane = self.lane();
        let counter = if hit { &lane.cache_hits } else { &lane.cache_misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a write that was refused for what was stored.
    pub(crate) fn count_conflict(&self) {
        self.lane().conflicts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn cache_hits(&self) -> u64 {
        self.sum(|lane| &lane.cache_hits)
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
                        counters.count_cache(number % 4 != 0);
                        counters.count_conflict();
                    }
                });
            }
        });
        let threads = 2 * LANES as u64 + 1;
        assert_eq!(counters.cache_hits(), threads * 750);
        assert_eq!(counters.cache_misses(), threads * 250);
        assert_eq!(counters.conflicts(), threads * 1_000);
    }
}
