//! Writing changed leaves to the backing store.
//!
//! Every prefix of the calls leaves a whole index, together with the journal from the last
//! checkpoint on. For that, pairs are inserted in descending order of key, and pairs of merged
//! leaves are removed after all inserts. A pair counts only for keys below the next pair's key. So
//! the pair of a leaf that was split counts for all of its old range until the pair that was split
//! off is there, and the pair of a merged leaf counts until it is removed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::index::directory::Directory;
use crate::index::leaf_handle::{LeafHandle, LeafState, Writing};
use crate::index::{Backing, Index, pair_key};
use crate::values::error::{Error, IndexFailure, Result};

/// How many leaves are encoded before they are written to the backing store.
#[cfg(not(all(test, loom)))]
const PIECE: usize = 64;
/// In models one, so that others get in between.
#[cfg(all(test, loom))]
const PIECE: usize = 1;

/// A leaf, encoded.
struct EncodedLeaf {
    handle: Arc<LeafHandle>,
    key: Vec<u8>,
    /// Where its bytes are among those of its piece.
    place: Range<usize>,
    checksum: u32,
}

impl Index {
    /// Whether the backing store holds all leaves as they are.
    pub(crate) fn is_written_back(&self) -> bool {
        self.memory.dirty_leaves.load(Ordering::Acquire) == 0 && self.merged_pairs.lock().is_empty()
    }

    /// Writes every leaf that was changed before the call to the backing store, and flushes it.
    /// `make_durable` makes the journal durable up to a revision: no pair is written that is ahead
    /// of the durable journal. Others read and write during the call. There is one such call at a
    /// time.
    ///
    /// # Errors
    /// Those of `make_durable` and of the backing store. The leaves that were not written stay
    /// dirty.
    pub(crate) fn write_back(&self, make_durable: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let Some(backing) = self.backing.read().clone() else {
            return Err(Error::IndexUnavailable(IndexFailure::new("the index is in memory only")));
        };
        // No leaf is merged from here on. The pairs of leaves that were merged before are removed
        // at the end, when the leaves that absorbed them are written.
        self.writing_back.store(true, Ordering::Release);
        let written = self.write_all(&*backing, make_durable);
        self.writing_back.store(false, Ordering::Release);
        written?;
        for key in std::mem::take(&mut *self.unmerged.lock()) {
            self.merge(&key);
        }
        Ok(())
    }

    fn write_all(
        &self,
        backing: &dyn Backing,
        make_durable: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        for directory in self.directories().iter().rev() {
            self.write_directory(backing, directory, make_durable)?;
        }
        let merged = std::mem::take(&mut *self.merged_pairs.lock());
        if let Err(error) = merged.iter().try_for_each(|key| self.remove_pair(backing, key)) {
            self.merged_pairs.lock().extend(merged);
            return Err(error);
        }
        backing.flush()
    }

    /// Writes the changed leaves of a collection, from the last to the first. Each leaf is looked
    /// up by the first key of the one after it, so cells that a split moves are written on one side
    /// or the other.
    fn write_directory(
        &self,
        backing: &dyn Backing,
        directory: &Directory,
        make_durable: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut upper: Option<Box<[u8]>> = None;
        // One buffer for all pieces: many short-lived buffers between allocations that the backing
        // store keeps would fragment the heap.
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let (mut piece, mut newest) = (Vec::with_capacity(PIECE), 0);
            let mut at_first = false;
            while piece.len() < PIECE && !at_first {
                let handle = directory.leaf_below(upper.as_deref());
                let mut state = handle.write();
                if state.merged || state.high != upper {
                    // Split or merged since it was looked up: look again.
                    continue;
                }
                at_first = handle.low.is_empty();
                upper = Some(handle.low.clone());
                let encoded = encode(directory, &handle, &mut state, &mut bytes);
                drop(state);
                if let Some((leaf, revision)) = encoded {
                    newest = newest.max(revision);
                    piece.push(leaf);
                }
            }
            self.write_piece(backing, piece, &bytes, newest, make_durable)?;
            if at_first {
                return Ok(());
            }
        }
    }

    fn write_piece(
        &self,
        backing: &dyn Backing,
        piece: Vec<EncodedLeaf>,
        bytes: &[u8],
        newest: u64,
        make_durable: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let mut outcome = make_durable(newest);
        for leaf in piece {
            if outcome.is_ok() {
                let pair = bytes.get(leaf.place).unwrap_or_default();
                outcome = backing.insert(&leaf.key, pair);
            }
            let mut state = leaf.handle.write();
            state.written(outcome.is_ok().then_some(leaf.checksum));
            if !state.is_dirty() {
                self.memory.dirty_leaves.fetch_sub(1, Ordering::AcqRel);
            }
        }
        outcome
    }

    /// Removes the pair of a merged leaf, unless a leaf begins there again.
    fn remove_pair(&self, backing: &dyn Backing, key: &[u8]) -> Result<()> {
        let begins_again = super::split_pair_key(key).is_some_and(|(collection, low)| {
            let directory = self.directory(collection);
            directory.is_some_and(|directory| *directory.leaf_of(low).low == *low)
        });
        if begins_again { Ok(()) } else { backing.remove(key) }
    }
}

/// Encodes a dirty leaf; returns it with its newest revision, or `None` for a clean one.
fn encode(
    directory: &Directory,
    handle: &Arc<LeafHandle>,
    state: &mut LeafState,
    bytes: &mut Vec<u8>,
) -> Option<(EncodedLeaf, u64)> {
    if state.writing == Writing::Clean {
        return None;
    }
    let begin = bytes.len();
    let facts = state.leaf.as_ref()?.encode(bytes);
    state.writing = Writing::UnderWay;
    let key = pair_key(&directory.collection, &handle.low);
    let handle = Arc::clone(handle);
    let (place, checksum) = (begin..bytes.len(), facts.checksum);
    Some((EncodedLeaf { handle, key, place, checksum }, facts.newest_revision))
}
