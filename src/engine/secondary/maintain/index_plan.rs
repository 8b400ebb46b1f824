//! What a commit changes in indexes, as a value: from the rows that its items have before and after
//! it, and from those that are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::change::Change;
use crate::engine::secondary::Secondary;
use crate::index::secondary::NAME_BYTES;
use crate::journal::content_sum::ContentSum;
use crate::journal::index_changes::{IndexChange, MAX_INDEX_CHANGES_BYTES, RowChanges, encode};
use crate::journal::index_sums::IndexMove;
use crate::values::etag::ETag;
use crate::values::key::ItemKey;
use crate::values::query::entries::Codes;

/// An item's rows in one index, before a commit and after it.
#[derive(Debug)]
pub(in crate::engine) struct ItemRows {
    /// The place of the item's change among those of the commit.
    pub(in crate::engine::secondary) at: usize,
    pub(in crate::engine::secondary) index: Arc<Secondary>,
    /// Whether the index has all rows of the version before: while the key's stripe is locked, no
    /// build ends. An index that is lost during that time is built anew, whatever becomes of its
    /// rows.
    pub(super) is_built: bool,
    pub(in crate::engine::secondary) key: ItemKey,
    /// `None` where the version before cannot be read.
    pub(in crate::engine::secondary) before: Option<Codes>,
    pub(in crate::engine::secondary) after: Codes,
}

/// What may become of one row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate<'r> {
    /// It is removed, if it is there. This is its code.
    Removed(&'r [u8]),
    /// It is added, if it is not there. This is the place of its code among the new version's.
    Added(u16),
}

/// A row that a commit may change: the place of its key among those of the commit, and the revision
/// that added it if it is there.
type Touched<'r> = (Fate<'r>, usize, Option<u64>);

/// What a commit changes in one index.
#[derive(Debug)]
pub(super) struct RowsChange {
    pub(super) index: Arc<Secondary>,
    /// Places of their keys, with the revisions that added them.
    pub(super) removed: Vec<(usize, u64)>,
    pub(super) added: Vec<usize>,
    /// Whether the index can only be made right by building it anew.
    pub(super) lost: bool,
}

/// Keys of rows, each joined with the name of its directory, as [`ItemKey`] joins them. They are in
/// one buffer, as a batch has many, and most of them are too long for an [`ItemKey`] without memory
/// of its own.
#[derive(Debug, Default)]
pub(super) struct RowKeys {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// What a commit changes in indexes.
#[derive(Debug, Default)]
pub(in crate::engine) struct IndexPlan {
    /// By the revision that declared the index.
    pub(super) changes: BTreeMap<u64, RowsChange>,
    pub(super) keys: RowKeys,
    /// What the journal's entry says, for each of the commit's changes up to the last that says
    /// anything.
    lists: Vec<Vec<u8>>,
    /// How long all of these are.
    list_bytes: usize,
}

impl ItemRows {
    /// The rows that may change. Of an index that is built these are the ones in which the two
    /// versions differ: it has those that both have.
    pub(super) fn fates(&self) -> impl Iterator<Item = (Fate<'_>, &[u8])> {
        let (is_built, before) = (self.is_built, self.before.as_ref());
        let gone = before.into_iter().flat_map(Codes::iter);
        let gone = gone.filter(|code| !self.after.contains(code));
        let is_kept = move |code: &[u8]| is_built && before.is_some_and(|of| of.contains(code));
        let after = self.after.iter().enumerate().filter(move |(_, code)| !is_kept(code));
        let come = after.map(|(place, code)| (Fate::Added(place as u16), code));
        gone.map(|code| (Fate::Removed(code), code)).chain(come)
    }
}

impl RowKeys {
    pub(super) fn push(&mut self, directory: &str, code: &[u8], key: &[u8]) {
        debug_assert_eq!(directory.len(), NAME_BYTES, "all directories have names of one length");
        for part in [directory.as_bytes(), &[ItemKey::SEPARATOR], code, key] {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// The key at a place.
    pub(super) fn joined(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.ends.get(at).copied().unwrap_or_default();
        let start = at.checked_sub(1).map_or(0, end);
        self.bytes.get(start..end(at)).unwrap_or_default()
    }

    /// The key at a place, as it is in its directory.
    pub(super) fn in_directory(&self, at: usize) -> &[u8] {
        self.joined(at).get(NAME_BYTES + 1..).unwrap_or_default()
    }
}

impl IndexPlan {
    /// Nothing changes yet in the rows that may.
    pub(super) fn new(keys: RowKeys) -> Self {
        Self { keys, ..Self::default() }
    }

    /// What the journal's entry of the change at this place says.
    pub(in crate::engine) fn list_of(&self, at: usize) -> &[u8] {
        self.lists.get(at).map_or(&[], Vec::as_slice)
    }

    /// What the commit does to the sums of indexes.
    pub(in crate::engine) fn moves(&self) -> Vec<IndexMove> {
        if self.changes.is_empty() {
            return Vec::new();
        }
        let moves = self.changes.iter().map(|(declared, change)| IndexMove {
            declared: *declared,
            difference: (!change.lost).then(|| {
                let removed = change.removed.iter().map(|(key, _)| self.keys.joined(*key));
                difference(removed, change.added.iter().map(|key| self.keys.joined(*key)))
            }),
        });
        moves.collect()
    }

    fn of(&mut self, index: &Arc<Secondary>) -> &mut RowsChange {
        self.changes.entry(index.declared).or_insert_with(|| RowsChange {
            index: Arc::clone(index),
            removed: Vec::new(),
            added: Vec::new(),
            lost: false,
        })
    }

    /// Adds what becomes of the rows of one item. All of its rows are of the change at one place.
    pub(super) fn add<'r>(
        &mut self,
        of_item: &'r [ItemRows],
        change: &Change<'_>,
        touched: &mut impl Iterator<Item = Touched<'r>>,
    ) {
        let mut list = Vec::new();
        for rows in of_item {
            let change =
                self.add_index(rows, change, &mut touched.by_ref().take(rows.fates().count()));
            list.extend(change);
        }
        let mut encoded = encode(&list);
        if self.list_bytes + encoded.len() > MAX_INDEX_CHANGES_BYTES as usize {
            let lost =
                |rows: &ItemRows| IndexChange { slot: rows.index.slot, what: RowChanges::Lost };
            encoded = encode(&of_item.iter().map(lost).collect::<Vec<_>>());
            of_item.iter().for_each(|rows| self.of(&rows.index).lost = true);
        }
        if let (false, Some(rows)) = (encoded.is_empty(), of_item.first()) {
            self.list_bytes += encoded.len();
            self.lists.resize_with(rows.at, Vec::new);
            self.lists.push(encoded);
        }
    }

    /// Adds what becomes of an item's rows in one index, and returns what the journal says of it,
    /// if it has to say anything.
    fn add_index<'r>(
        &mut self,
        rows: &'r ItemRows,
        change: &Change<'_>,
        touched: &mut impl Iterator<Item = Touched<'r>>,
    ) -> Option<IndexChange<'r>> {
        let of_index = self.of(&rows.index);
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        let implied = if change.parent().is_none() { rows.after.len() } else { 0 };
        for (fate, key, added_by) in touched {
            match (fate, added_by) {
                (Fate::Removed(code), Some(added_by)) => {
                    removed.push(code);
                    of_index.removed.push((key, added_by));
                }
                (Fate::Added(place), None) => {
                    added.push(place);
                    of_index.added.push(key);
                }
                (Fate::Removed(_), None) | (Fate::Added(_), Some(_)) => {}
            }
        }
        let slot = rows.index.slot;
        if rows.before.is_none() {
            of_index.lost = true;
            return Some(IndexChange { slot, what: RowChanges::Lost });
        }
        let is_implied = removed.is_empty() && added.len() == implied;
        (!is_implied).then_some(IndexChange { slot, what: RowChanges::Rows { removed, added } })
    }
}

/// The sum of the added rows less that of the removed ones.
pub(in crate::engine::secondary) fn difference<'k>(
    removed: impl IntoIterator<Item = &'k [u8]>,
    added: impl IntoIterator<Item = &'k [u8]>,
) -> ContentSum {
    let mut difference = ContentSum::default();
    removed.into_iter().for_each(|key| difference.subtract(key, NO_TAG));
    added.into_iter().for_each(|key| difference.add(key, NO_TAG));
    difference
}

/// Rows have none; their keys are all that is summed.
pub(in crate::engine::secondary) const NO_TAG: ETag = ETag([0; 16]);
