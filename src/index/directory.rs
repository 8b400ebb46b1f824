//! The leaves of one collection, in order of their keys.

use std::sync::Arc;

use crate::index::leaf::Leaf;
use crate::index::leaf_handle::{LeafHandle, LeafState};
use crate::seams::sync::ShardedLock;

/// Which leaf holds which keys.
///
/// The leaf of a key is the last one whose first key is not above it. What is found here may be
/// outdated when the leaf's lock is taken: a split has moved the key's range. So the leaf says
/// whether it covers the key, and the caller looks again where it does not.
///
/// **Lock order:** the lock in here comes after the leaves', and is held for a look only. Under it
/// a leaf is locked only if that needs no waiting.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) collection: Box<str>,
    fences: ShardedLock<Fences>,
}

/// The first keys of the leaves, and the leaves.
///
/// Finding a leaf compares 8-byte words, which hold what follows the fences' common prefix, and
/// looks at whole fences only where words are equal.
#[derive(Debug)]
struct Fences {
    words: Vec<u64>,
    handles: Vec<Arc<LeafHandle>>,
    /// The bytes that all fences but the first share.
    shared: Box<[u8]>,
}

impl Directory {
    /// A collection of one leaf without cells.
    pub(super) fn new(collection: &str) -> Self {
        let first = LeafHandle::resident(Box::default(), None, Leaf::new());
        Self::of(collection, vec![Arc::new(first)])
    }

    /// A collection of these leaves: in order, without gaps, the first of them from the empty key
    /// on.
    pub(super) fn of(collection: &str, handles: Vec<Arc<LeafHandle>>) -> Self {
        debug_assert!(handles.first().is_some_and(|first| first.low.is_empty()));
        let mut fences = Fences { words: Vec::new(), handles, shared: Box::default() };
        fences.index_words();
        Self { collection: collection.into(), fences: ShardedLock::new(fences) }
    }

    /// The leaf that a key belongs to.
    pub(super) fn leaf_of(&self, key: &[u8]) -> Arc<LeafHandle> {
        let fences = self.fences.read();
        let at = fences.position_of(key);
        fences.at(at)
    }

    /// Calls `f` with the leaf that a key belongs to, if the leaf is in memory and nobody is
    /// changing it. Of the memory that other readers use, only the leaf's lock is written.
    ///
    /// The leaf covers the key: splits, merges and restorations change a leaf's range and the
    /// fences under the locks of both, so a thread that holds both sees them agree.
    #[inline]
    pub(super) fn in_memory<T>(&self, key: &[u8], f: impl FnOnce(&Leaf) -> T) -> Option<T> {
        let fences = self.fences.read();
        let handle = fences.handles.get(fences.position_of(key))?;
        let state = handle.try_read()?;
        let leaf = state.leaf.as_ref()?;
        debug_assert!(state.covers(key), "a leaf and its fence do not agree");
        handle.touch();
        Some(f(leaf))
    }

    /// As [`in_memory`](Self::in_memory), to change the leaf. What is to be split or merged is not:
    /// that changes the fences.
    #[inline]
    pub(super) fn in_memory_mut<T>(
        &self,
        key: &[u8],
        f: impl FnOnce(&mut LeafState) -> T,
    ) -> Option<T> {
        let fences = self.fences.read();
        let handle = fences.handles.get(fences.position_of(key))?;
        let mut state = handle.try_write()?;
        state.leaf.as_ref()?;
        debug_assert!(state.covers(key), "a leaf and its fence do not agree");
        Some(f(&mut state))
    }

    /// The leaf that holds the greatest keys below `upper`, or the last leaf.
    pub(super) fn leaf_below(&self, upper: Option<&[u8]>) -> Arc<LeafHandle> {
        let fences = self.fences.read();
        let below = |upper: &[u8]| fences.handles.partition_point(|handle| *handle.low < *upper);
        fences.at(upper.map_or(fences.handles.len(), below).saturating_sub(1))
    }

    /// The leaf before the one that begins with `low`.
    pub(super) fn leaf_before(&self, low: &[u8]) -> Option<Arc<LeafHandle>> {
        (!low.is_empty()).then(|| self.leaf_below(Some(low)))
    }

    /// Up to `limit` leaves from the one that a key belongs to on.
    pub(super) fn leaves_from(&self, key: &[u8], limit: usize) -> Vec<Arc<LeafHandle>> {
        let fences = self.fences.read();
        let from = fences.position_of(key);
        fences.handles.iter().skip(from).take(limit).cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.fences.read().handles.len()
    }

    /// Adds a leaf that was split off. The leaf that it was split off is locked.
    pub(super) fn insert(&self, handle: Arc<LeafHandle>) {
        self.fences.write().insert(handle);
    }

    /// Removes a leaf that was merged into the one before it. Both are locked.
    pub(super) fn remove(&self, low: &[u8]) {
        let mut fences = self.fences.write();
        let at = fences.position_of(low);
        debug_assert!(fences.handles.get(at).is_some_and(|handle| *handle.low == *low) && at > 0);
        fences.handles.remove(at);
        fences.words.remove(at);
    }
}

impl Fences {
    fn position_of(&self, key: &[u8]) -> usize {
        if self.handles.len() == 1 {
            return 0;
        }
        let shared = &*self.shared;
        // For an empty one, whose bytes are no memory, `memcmp` takes long on some processors.
        if !shared.is_empty() {
            match key.get(..shared.len()).unwrap_or(key).cmp(shared) {
                std::cmp::Ordering::Less => return 0,
                std::cmp::Ordering::Greater => return self.handles.len() - 1,
                std::cmp::Ordering::Equal => {}
            }
        }
        let word = word_at(key, shared.len());
        let mut at = self.words.partition_point(|other| *other < word);
        // Among equal words the whole fences decide. The first leaf's word is 0.
        let equal = self.handles.iter().zip(&self.words).skip(at);
        at += equal.take_while(|(handle, other)| **other == word && *handle.low <= *key).count();
        at.saturating_sub(1)
    }

    #[expect(clippy::expect_used, reason = "a directory is never without leaves")]
    fn at(&self, at: usize) -> Arc<LeafHandle> {
        Arc::clone(self.handles.get(at).or(self.handles.last()).expect("there is a first leaf"))
    }

    fn insert(&mut self, handle: Arc<LeafHandle>) {
        let at = self.position_of(&handle.low) + 1;
        let is_second = self.handles.len() == 1;
        let shares = !is_second && handle.low.starts_with(&self.shared);
        let word = word_at(&handle.low, self.shared.len());
        self.handles.insert(at, handle);
        self.words.insert(at, word);
        if !shares {
            self.index_words();
        }
    }

    /// Computes what the fences share, and their words.
    fn index_words(&mut self) {
        let first = self.handles.get(1).map(|second| &*second.low).unwrap_or_default();
        let last = self.handles.last().map(|last| &*last.low).unwrap_or_default();
        let shared = first.iter().zip(last).take_while(|(one, other)| one == other).count();
        self.shared = first.get(..shared).unwrap_or_default().into();
        let words = self.handles.iter().enumerate();
        let word = |(at, handle): (usize, &Arc<LeafHandle>)| {
            if at == 0 { 0 } else { word_at(&handle.low, shared) }
        };
        self.words = words.map(word).collect();
    }
}

/// The eight bytes after the shared ones, as a number that orders as they do.
fn word_at(key: &[u8], shared: usize) -> u64 {
    let rest = key.get(shared..).unwrap_or_default();
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_be_bytes(word)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::seams::thinned;

    fn handle(low: &[u8]) -> Arc<LeafHandle> {
        Arc::new(LeafHandle::stored(low.into(), None, 0))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(thinned(64, 256)))]

        /// The same as looking through all fences one after the other, while they come and go.
        #[test]
        fn a_key_is_found_in_the_last_leaf_that_does_not_begin_above_it(
            steps in prop::collection::vec(
                (prop::collection::vec(prop_oneof![Just(7_u8), 0..3_u8], 1..14), any::<bool>()),
                1..60,
            ),
            keys in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just(7_u8), 0..3_u8], 0..16),
                1..40,
            ),
        ) {
            let directory = Directory::new("c");
            let mut fences: BTreeSet<Vec<u8>> = BTreeSet::from([Vec::new()]);
            for (low, removed) in steps {
                if fences.insert(low.clone()) {
                    directory.insert(handle(&low));
                } else if removed {
                    fences.remove(&low);
                    directory.remove(&low);
                }
                prop_assert_eq!(directory.len(), fences.len());
                for key in &keys {
                    let expected = fences.range(..=key.clone()).next_back();
                    let found = directory.leaf_of(key);
                    prop_assert_eq!(Some(&found.low.to_vec()), expected);
                    let below = fences.range(..key.clone()).next_back();
                    let found = directory.leaf_below(Some(key)).low.to_vec();
                    prop_assert_eq!(found, below.cloned().unwrap_or_default());
                }
            }
        }
    }
}
