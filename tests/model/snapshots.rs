//! Snapshots, compared with copies of the model's state at the time that they were taken.

use ifmatch::{Error, Snapshot};

use super::handle::checked;
use super::ops::Scan;
use super::scan::scan;
use super::{COLLECTIONS, KEYS, Place, State, World};

/// The most that live at a time.
const SNAPSHOTS: usize = 5;

/// A snapshot and what it must show.
pub(super) struct Past {
    snapshot: Snapshot,
    state: State,
}

impl World {
    pub(super) fn take_snapshot(&mut self) {
        if self.past.len() == SNAPSHOTS {
            self.past.remove(0);
        }
        let snapshot = self.store.snapshot();
        assert_eq!(snapshot.revision(), self.model.state.revision);
        self.past.push(Past { snapshot, state: self.model.state.clone() });
        self.note("snapshot", "taken");
    }

    /// Drops one, not always the oldest; the others must not notice.
    pub(super) fn drop_snapshot(&mut self, which: u8) {
        if !self.past.is_empty() {
            self.past.swap_remove(usize::from(which) % self.past.len());
            self.compare_snapshots();
            self.note("snapshot", "dropped");
        }
        let stats = self.store.stats().expect("stats are told");
        assert_eq!(stats.snapshots, self.past.len() as u64);
    }

    pub(super) fn read_snapshot(&mut self, which: u8, collection: usize, how: Scan) {
        if self.past.is_empty() {
            return;
        }
        let which = usize::from(which) % self.past.len();
        let outcome = self.compare_snapshot(which, collection, how);
        let current = self.past[which].state.revision == self.model.state.revision;
        self.note("scan of a snapshot", outcome);
        self.note("snapshot", if current { "read while current" } else { "read" });
    }

    fn compare_snapshot(&self, which: usize, collection: usize, how: Scan) -> &'static str {
        let Past { snapshot, state } = &self.past[which];
        let reader = self.handles[collection].at(snapshot);
        let live = self.model.live_of(state);
        let items = (0..KEYS.len()).map(|key| {
            let item = reader.get(KEYS[key]).expect("a get at a snapshot succeeds");
            let place = Place { collection, key };
            let item = item.map(|item| checked(&item, place));
            assert_eq!(item.as_ref(), live.get(&place), "{place:?} at a snapshot");
            item
        });
        let many = reader.get_many(&KEYS).expect("get_many at a snapshot succeeds");
        let many = many.iter().enumerate();
        let place = |key| Place { collection, key };
        let many = many.map(|(key, item)| item.as_ref().map(|item| checked(item, place(key))));
        assert!(items.eq(many));
        for how in [Scan::Keys, Scan::Len] {
            scan(&reader, &live, collection, how);
        }
        scan(&reader, &live, collection, how)
    }

    /// Compares the whole contents of every snapshot.
    pub(super) fn compare_snapshots(&self) {
        for which in 0..self.past.len() {
            for collection in 0..COLLECTIONS.len() {
                self.compare_snapshot(which, collection, Scan::All);
            }
        }
    }

    /// The store is closed, and so is what was a snapshot of it.
    pub(super) fn end_snapshots(&mut self) {
        for Past { snapshot, .. } in &self.past {
            let read = self.handles[0].at(snapshot).get(b"k");
            assert!(matches!(read, Err(Error::Closed)), "{read:?}");
        }
        if !std::mem::take(&mut self.past).is_empty() {
            self.note("snapshot", "closed");
        }
    }
}
