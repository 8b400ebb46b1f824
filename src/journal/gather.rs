//! When a leader waits for other writers before it syncs.
//!
//! Writers that one sync has released come back at about the same time. A sync that begins with the
//! first of them leaves the others to the next one, and from then on two groups of half the size
//! take turns. So a leader waits until as many commits have come as writers were at work last: no
//! longer than a sync takes, and less and less often if they do not come.

use std::time::{Duration, Instant};

use crate::journal::append::Journal;
use crate::seams::sync::{Ordering, thread};

/// The longest that a leader waits.
const LONGEST: Duration = Duration::from_micros(500);
/// A wait is tried again after at most two to the power of this number of syncs.
const MAX_MISSES: u32 = 6;

/// What is known of the last groups.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// How many commits the last sync covered, or met while it ran.
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

    /// Says how many came of those that were waited for. Where most did, the wait was worth it: one
    /// that comes late must not part the others for the next syncs.
    pub(super) fn end(&mut self, missing: u64, came: u64) {
        let worth = came * 2 >= missing;
        self.misses = if worth { 0 } else { (self.misses + 1).min(MAX_MISSES) };
        self.skips = (1 << self.misses) - 1;
    }

    /// Says what a sync covered and how many came during it.
    pub(super) fn note(&mut self, covered: u64, came: u64, took: Duration) {
        self.expected = covered + came;
        self.sync_time = took;
    }
}

impl Journal {
    /// Makes the next leader of a sync wait for this number of commits.
    #[cfg(test)]
    pub(crate) fn expect_commits(&self, count: u64) {
        self.lock().gathering.note(count, 0, Duration::ZERO);
    }

    /// Lets other threads run until this number of commits was appended after a revision, for this
    /// long at most; returns how many were.
    pub(super) fn await_commits(&self, after: u64, count: u64, longest: Duration) -> u64 {
        let began = Instant::now();
        loop {
            thread::yield_now();
            let come = self.appended.load(Ordering::Acquire).saturating_sub(after);
            // In models one look: no time passes there.
            if come >= count || cfg!(all(test, loom)) || began.elapsed() >= longest {
                return come;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    use crate::Options;
    use crate::simulation::Simulation;

    const SYNC: Duration = Duration::from_micros(100);

    /// A regression: a lone writer's second sync waited for a million others.
    #[test]
    fn revisions_that_an_open_skips_are_no_commits() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        let first = items.create("a", &"1".into()).unwrap();
        assert!(first.revision().0 > 1_000, "an open that makes a store skips some");
        assert_eq!(store.engine().unwrap().journal.lock().gathering.expected, 1);
    }

    #[test]
    fn a_lone_writer_waits_for_nobody() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.begin(1), None);
        gathering.note(1, 0, SYNC);
        assert_eq!(gathering.begin(1), None);
    }

    #[test]
    fn a_leader_waits_for_as_many_as_were_at_work_and_no_longer_than_a_sync() {
        let mut gathering = Gathering::default();
        gathering.note(3, 5, SYNC);
        assert_eq!(gathering.begin(5), Some((8, SYNC)));
        gathering.end(3, 3);
        assert_eq!(gathering.begin(8), None);
        gathering.note(8, 0, Duration::from_secs(1));
        assert_eq!(gathering.begin(1), Some((8, LONGEST)));
    }

    #[test]
    fn those_who_do_not_come_are_waited_for_ever_more_seldom() {
        let mut gathering = Gathering::default();
        gathering.note(8, 0, SYNC);
        let waits = (0..1_000).filter(|_| {
            let waits = gathering.begin(1).is_some();
            if waits {
                gathering.end(7, 3);
            }
            waits
        });
        assert!((10..=25).contains(&waits.count()));
        // And as before once they come.
        while gathering.begin(1).is_none() {}
        gathering.end(7, 4);
        assert!(gathering.begin(1).is_some(), "most came");
    }
}
