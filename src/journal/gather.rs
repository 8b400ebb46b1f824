//! When a leader waits for other writers before it syncs.
//!
//! Writers that one sync has released come back at about the same time. A sync that begins with the
//! first of them leaves the others to the next one, and from then on two groups of half the size
//! take turns. So a leader waits until as many commits have come as writers were at work last: no
//! longer than a sync takes, and ever more seldom where they do not come.

use std::time::{Duration, Instant};

use crate::journal::append::Journal;
use crate::seams::sync::{Ordering, thread};

/// The longest that a leader waits.
const LONGEST: Duration = Duration::from_micros(500);
/// At most two to the power of this number of syncs go by until it is tried again.
const MAX_MISSES: u32 = 6;

/// What is known of the last groups.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// How many commits were synced last or had come meanwhile.
    expected: u64,
    /// How long the last sync took.
    sync_time: Duration,
    /// How often in a row they did not come.
    misses: u32,
    /// How many syncs begin at once.
    skips: u32,
}

impl Gathering {
    /// How many commits to wait for, where there are fewer, and for how long.
    pub(super) fn begin(&mut self, come: u64) -> Option<(u64, Duration)> {
        if come >= self.expected {
            return None;
        }
        if self.skips > 0 {
            self.skips -= 1;
            return None;
        }
        Some((self.expected, self.sync_time.min(LONGEST)))
    }

    /// Says whether all came that were waited for.
    pub(super) fn end(&mut self, complete: bool) {
        self.misses = if complete { 0 } else { (self.misses + 1).min(MAX_MISSES) };
        self.skips = (1 << self.misses) - 1;
    }

    /// Says what a sync covered and how many came during it.
    pub(super) fn note(&mut self, covered: u64, came: u64, took: Duration) {
        self.expected = covered + came;
        self.sync_time = took;
    }
}

impl Journal {
    /// Lets other threads run until this number of commits was appended after a revision; `false`
    /// when that takes too long.
    pub(super) fn await_commits(&self, after: u64, count: u64, longest: Duration) -> bool {
        let began = Instant::now();
        loop {
            thread::yield_now();
            if self.appended.load(Ordering::Acquire) >= after + count {
                return true;
            }
            // In models one look: no time passes there.
            if cfg!(all(test, loom)) || began.elapsed() >= longest {
                return false;
            }
        }
    }
}
