//! Giving changed leaves to the backing store.
//!
//! The order makes every prefix of the calls a whole index, with the journal from the last
//! checkpoint on: rows are inserted in descending order of key, and rows of merged leaves are
//! removed after all inserts. A row counts only for keys below the next row's key. So the row of a
//! leaf that was split goes on to count for all of its old range until the row that was split
//! off is there, and the row of a merged leaf counts until it is removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::index::directory::Directory;
use crate::index::leaf_handle::{LeafHandle, Writing};
use crate::index::{Backing, Index, row_key};
use crate::values::error::{Error, Result, TableError};

/// How many leaves are encoded before they are given to the backing store.
#[cfg(not(all(test, loom)))]
const PIECE: usize = 64;
/// In models one, so that others get in between.
#[cfg(all(test, loom))]
const PIECE: usize = 1;

/// A leaf, encoded.
struct EncodedLeaf<'a> {
    handle: &'a LeafHandle,
    key: Vec<u8>,
    bytes: Vec<u8>,
    checksum: u32,
}

impl Index {
    /// Whether the backing store holds all leaves as they are.
    pub(crate) fn is_written_back(&self) -> bool {
        self.memory.dirty_leaves.load(Ordering::Acquire) == 0 && self.merged_rows.lock().is_empty()
    }

    /// Gives every leaf that was changed before the call to the backing store, and flushes it.
    /// `make_durable` makes the journal durable up to a revision: no row gets there that is ahead
    /// of the journal. Others read and write during the call. There is one such call at a time.
    ///
    /// # Errors
    /// What `make_durable` and the backing store fail with. The leaves that were not written stay
    /// changed.
    pub(crate) fn write_back(&self, make_durable: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let Some(backing) = self.backing.read().clone() else {
            return Err(Error::Table(TableError::new("the index is in memory only")));
        };
        // Those that were merged before: what they held is in leaves that are written now.
        let merged = std::mem::take(&mut *self.merged_rows.lock());
        let written = self
            .write_dirty(&*backing, make_durable)
            .and_then(|()| merged.iter().try_for_each(|key| self.remove_row(&*backing, key)));
        if let Err(error) = written {
            self.merged_rows.lock().extend(merged);
            return Err(error);
        }
        backing.flush()
    }

    fn write_dirty(
        &self,
        backing: &dyn Backing,
        make_durable: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        for directory in self.directories().iter().rev() {
            let mut dirty = directory.leaves_from(&[], usize::MAX);
            dirty.retain(|handle| handle.read().is_dirty());
            dirty.reverse();
            for piece in dirty.chunks(PIECE) {
                self.write_piece(backing, directory, piece, make_durable)?;
            }
        }
        Ok(())
    }

    fn write_piece(
        &self,
        backing: &dyn Backing,
        directory: &Directory,
        piece: &[Arc<LeafHandle>],
        make_durable: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let (mut encoded, mut newest) = (Vec::with_capacity(piece.len()), 0);
        for handle in piece {
            let mut state = handle.write();
            // Merged since it was looked up: what it held is in a leaf that is changed.
            if state.merged || state.writing == Writing::Clean {
                continue;
            }
            let Some(leaf) = &state.leaf else { continue };
            let mut bytes = Vec::new();
            let facts = leaf.encode(&mut bytes);
            newest = newest.max(facts.newest_revision);
            state.writing = Writing::UnderWay;
            let key = row_key(&directory.collection, &handle.low);
            encoded.push(EncodedLeaf { handle: &**handle, key, bytes, checksum: facts.checksum });
        }
        let mut outcome = make_durable(newest);
        for leaf in encoded {
            if outcome.is_ok() {
                outcome = backing.insert(&leaf.key, &leaf.bytes);
            }
            let mut state = leaf.handle.write();
            state.written(outcome.is_ok().then_some(leaf.checksum));
            if !state.is_dirty() && !state.merged {
                self.memory.dirty_leaves.fetch_sub(1, Ordering::AcqRel);
            }
        }
        outcome
    }

    /// Removes the row of a merged leaf, unless a leaf begins there again.
    fn remove_row(&self, backing: &dyn Backing, key: &[u8]) -> Result<()> {
        let begins_again = super::split_row_key(key).is_some_and(|(collection, low)| {
            let directory = self.directory(collection);
            directory.is_some_and(|directory| *directory.leaf_of(low).low == *low)
        });
        if begins_again { Ok(()) } else { backing.remove(key) }
    }
}
