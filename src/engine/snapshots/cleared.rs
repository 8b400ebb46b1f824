//! Collections that were cleared, for the snapshots that began before.
//!
//! Of items that were changed one by one a snapshot reads saved heads. Of a cleared collection it
//! reads all leaves as they were before the clear. They are saved once, in the newest snapshot that
//! reads them, and handed down like saved heads. A snapshot needs only the first clear after it
//! began.

use crate::engine::snapshots::{Kept, Layer, Snapshots, View};
use crate::index::ClearedLeaves;
use crate::seams::sync::Ordering;

/// The leaves of a collection until it was cleared.
#[derive(Debug)]
pub(super) struct SavedCollection {
    collection: Box<str>,
    /// The revision of the clear.
    revision: u64,
    leaves: ClearedLeaves,
    /// How many bytes they take.
    bytes: u64,
}

impl Snapshots {
    /// Saves the leaves of a collection that a commit of this revision is about to clear, if a
    /// snapshot reads them; returns whether one does. The caller holds all stripes and puts an
    /// empty directory into the index afterwards.
    pub(crate) fn save_cleared(
        &self,
        collection: &str,
        leaves: &ClearedLeaves,
        revision: u64,
    ) -> bool {
        let mut kept = self.kept.write();
        let before = |layer: &&mut Layer| !layer.ended && layer.revision < revision;
        let Some(layer) = kept.layers.values_mut().rev().find(before) else { return false };
        let (collection, leaves) = (collection.into(), leaves.clone());
        layer.cleared.push(SavedCollection { collection, revision, leaves, bytes: 0 });
        self.newest_cleared.store(revision, Ordering::Release);
        true
    }

    /// Counts memory that the leaves of a clear still take; returns whether a snapshot still reads
    /// them. Beyond the limit the oldest snapshots are given up.
    pub(crate) fn grow_cleared(&self, revision: u64, bytes: u64) -> bool {
        let mut kept = self.kept.write();
        let Some(layer) = kept.layers.values_mut().find(|layer| layer.has_cleared(revision)) else {
            return false;
        };
        for saved in layer.cleared.iter_mut().filter(|saved| saved.revision == revision) {
            saved.bytes += bytes;
        }
        layer.bytes += bytes;
        kept.bytes += bytes;
        let given_up = self.keep_to_limit(&mut kept);
        let still = kept.layers.values().any(|layer| layer.has_cleared(revision));
        drop(kept);
        // Freed without the lock.
        drop(given_up);
        still
    }

    /// Whether a snapshot reads what this clear has removed.
    pub(crate) fn keeps_cleared(&self, revision: u64) -> bool {
        self.kept.read().layers.values().any(|layer| layer.has_cleared(revision))
    }
}

impl Layer {
    fn has_cleared(&self, revision: u64) -> bool {
        self.cleared.iter().any(|saved| saved.revision == revision)
    }
}

impl Kept {
    /// Moves the collections that were saved for a snapshot which has ended to an older one, and
    /// returns those that it does not read.
    pub(super) fn hand_down_cleared(&mut self, from: u64, to: u64) -> Vec<SavedCollection> {
        let Some(layer) = self.layers.get_mut(&from) else { return Vec::new() };
        let handed_down = std::mem::take(&mut layer.cleared);
        let bytes: u64 = handed_down.iter().map(|saved| saved.bytes).sum();
        layer.bytes -= bytes;
        let Some(older) = self.layers.get_mut(&to) else { return handed_down };
        let mut freed = Vec::new();
        for saved in handed_down {
            // It reads what an earlier clear has left.
            if older.cleared.iter().any(|own| own.collection == saved.collection) {
                self.bytes -= saved.bytes;
                freed.push(saved);
            } else {
                older.bytes += saved.bytes;
                older.cleared.push(saved);
            }
        }
        freed
    }
}

impl View {
    /// The leaves of a collection that was cleared since; `None` where it was not, and the index is
    /// to be read. To be asked again after a look into the index.
    pub(crate) fn cleared(&self, collection: &str) -> Option<ClearedLeaves> {
        if self.snapshots.newest_cleared.load(Ordering::Acquire) <= self.revision {
            return None;
        }
        let kept = self.snapshots.kept.read();
        let saved = kept.layers.range(self.number..).flat_map(|(_, layer)| &layer.cleared);
        let of_collection = saved.filter(|saved| *saved.collection == *collection);
        of_collection.min_by_key(|saved| saved.revision).map(|saved| saved.leaves.clone())
    }
}
