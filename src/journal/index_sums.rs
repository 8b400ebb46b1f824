//! Count and sum over the rows of each secondary index: they move with the commits, as the content
//! sum does, and prove at an open that the rows on disk are the journal's.
//!
//! A secondary index is named by the revision of the entry that declared it.

use std::collections::BTreeMap;

use crate::journal::Journal;
use crate::journal::content_sum::ContentSum;
use crate::journal::manifest::IndexRecord;
use crate::journal::state::State;

/// The directory of a secondary index's rows, and their count and sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexSum {
    /// The number of the rows' directory.
    pub(crate) rows: u64,
    pub(crate) content: ContentSum,
    /// Whether the rows are all there. Until then a checkpoint does not name the index.
    pub(crate) built: bool,
}

/// What a commit does to the sum of one secondary index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexMove {
    pub(crate) declared: u64,
    /// `None` where the rows are not known any more.
    pub(crate) difference: Option<ContentSum>,
}

/// Moves sums as a commit says.
pub(super) fn move_sums(sums: &mut BTreeMap<u64, IndexSum>, moves: &[IndexMove]) {
    for IndexMove { declared, difference } in moves {
        match (difference, sums.get_mut(declared)) {
            (Some(difference), Some(index)) => index.content.merge(*difference),
            (None, Some(_)) => drop(sums.remove(declared)),
            // It was dropped or lost since.
            (_, None) => {}
        }
    }
}

impl Journal {
    /// Begins to keep the sum of an index, or sets it.
    pub(crate) fn set_index_sum(&self, declared: u64, sum: IndexSum) {
        self.state.lock().indexes.insert(declared, sum);
    }

    /// Says that the rows of an index are all there. They are in memory when this is called, so a
    /// checkpoint that names the index writes them.
    pub(crate) fn set_index_built(&self, declared: u64) {
        if let Some(index) = self.state.lock().indexes.get_mut(&declared) {
            index.built = true;
        }
    }

    /// Moves the sum of an index by rows that no commit adds, while it is built.
    pub(crate) fn move_index(&self, declared: u64, difference: ContentSum) {
        let moved = IndexMove { declared, difference: Some(difference) };
        move_sums(&mut self.state.lock().indexes, &[moved]);
    }

    /// Forgets the sum of an index. The next checkpoint does not name it.
    pub(crate) fn forget_index(&self, declared: u64) {
        self.state.lock().indexes.remove(&declared);
    }

    /// The sum of an index, where it is kept.
    pub(crate) fn index_sum(&self, declared: u64) -> Option<IndexSum> {
        self.state.lock().indexes.get(&declared).copied()
    }

    /// The newest revision given, the count and sum of the live items at it, and what MANIFEST says
    /// of the secondary indexes at it.
    pub(crate) fn contents(&self) -> (u64, ContentSum, Vec<IndexRecord>) {
        let state = self.state.lock();
        (state.appended, state.content.total(), state.index_records())
    }

    /// What MANIFEST says of the secondary indexes since the last checkpoint.
    pub(crate) fn recorded_indexes(&self) -> Vec<IndexRecord> {
        self.manifest.lock().current.indexes.clone()
    }
}

impl State {
    pub(super) fn index_records(&self) -> Vec<IndexRecord> {
        let built = self.indexes.iter().filter(|(_, index)| index.built);
        built
            .map(|(declared, index)| IndexRecord {
                declared: *declared,
                rows: index.rows,
                content: index.content,
            })
            .collect()
    }
}
