//! What a commit changes in the indexes of its items' collections.
//!
//! The version before is read under the key's stripe, so it is the one that the commit displaces.
//! Rows of its that are there and not the new version's are removed, and rows of the new version's
//! that are not there are added: so an index that is being built needs no other rule.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::change::Change;
use crate::engine::secondary::unique::Hindrance;
use crate::engine::secondary::{Secondary, State};
use crate::index::secondary::row_head;
use crate::index::{Pinned, Row};
use crate::journal::content_sum::ContentSum;
use crate::journal::index_changes::{IndexChange, MAX_INDEX_CHANGES_BYTES, RowChanges, encode};
use crate::journal::index_sums::IndexMove;
use crate::values::error::{Error, Result};
use crate::values::etag::ETag;
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::query::entries::{MAX_ENTRIES, TooManyEntries, entries};

/// The codes of an item's rows in an index, in order.
pub(super) type Codes = BTreeSet<Vec<u8>>;

/// An item's rows in one index, before a commit and after it.
#[derive(Debug)]
pub(in crate::engine) struct ItemRows {
    pub(super) index: Arc<Secondary>,
    pub(super) key: ItemKey,
    /// `None` where the version before cannot be read.
    pub(super) before: Option<Codes>,
    pub(super) after: Codes,
}

/// What a commit changes in one index, on behalf of one item.
#[derive(Debug)]
pub(in crate::engine) struct RowsChange {
    index: Arc<Secondary>,
    removed: Vec<ItemKey>,
    added: Vec<ItemKey>,
    /// Whether only building the index anew makes it right again.
    lost: bool,
}

/// What a commit changes in indexes.
#[derive(Debug, Default)]
pub(in crate::engine) struct IndexPlan {
    changes: Vec<RowsChange>,
    /// What the journal's entry says, for each of the commit's changes; empty where there is no
    /// index at all.
    lists: Vec<Vec<u8>>,
}

impl ItemRows {
    /// The keys of all rows that may change.
    pub(in crate::engine) fn keys(&self) -> impl Iterator<Item = ItemKey> + '_ {
        let codes = self.before.iter().flatten().chain(&self.after);
        codes.map(|code| self.index.row_key(code, self.key.key_bytes()))
    }
}

impl IndexPlan {
    /// What the journal's entry of the change at this place says.
    pub(in crate::engine) fn list_of(&self, at: usize) -> &[u8] {
        self.lists.get(at).map_or(&[], Vec::as_slice)
    }

    /// What the commit does to the sums of indexes.
    pub(in crate::engine) fn moves(&self) -> Vec<IndexMove> {
        let moves = self.changes.iter().map(|change| IndexMove {
            declared: change.index.declared,
            difference: (!change.lost).then(|| difference(&change.removed, &change.added)),
        });
        moves.collect()
    }
}

impl Engine {
    /// The rows of a commit's items in indexes, before and after it: for each change those of all
    /// indexes of its collection. Nothing where no collection has an index. The keys' stripes are
    /// locked, and their leaves pinned.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where a new version has too many entries, with the place of its change; and
    /// a unique index that is not built.
    pub(in crate::engine) fn item_rows(
        &self,
        changes: &[Change<'_>],
    ) -> Result<Vec<Vec<ItemRows>>, Hindrance> {
        if !self.secondaries.any() {
            return Ok(Vec::new());
        }
        let of_change = |(at, change)| self.rows_of_change(at, change);
        let rows: Vec<Vec<ItemRows>> =
            changes.iter().enumerate().map(of_change).collect::<Result<_, _>>()?;
        Ok(if rows.iter().all(Vec::is_empty) { Vec::new() } else { rows })
    }

    fn rows_of_change(&self, at: usize, change: &Change<'_>) -> Result<Vec<ItemRows>, Hindrance> {
        let indexes = self.secondaries.of(change.key().collection());
        if change.value().is_some()
            && let Some(index) = indexes.iter().find(|index| index.binds() && !index.is_built())
        {
            return Err(Hindrance::Unbuilt(Arc::clone(index)));
        }
        let maintained = || indexes.iter().filter(|index| index.is_maintained());
        if maintained().next().is_none() {
            return Ok(Vec::new());
        }
        let before = match change.displaced() {
            None => Some(None),
            Some(head) => match self.value_before(change.key(), head) {
                Ok(value) => Some(Some(value)),
                Err(error) => {
                    log::warn!(
                        "the indexes of collection {:?} have to be built anew, because the stored \
                         item that a write displaces cannot be read: {error}",
                        change.key().collection()
                    );
                    None
                }
            },
        };
        let before = before.map(|value| value.as_deref().and_then(parse));
        let after = change.value().and_then(|value| parse(value));
        let rows = maintained().map(|index| {
            let codes = |document: &Option<serde_json::Value>| {
                let document = document.as_ref();
                document.map_or_else(|| Ok(Codes::new()), |d| entries(&index.definition, d))
            };
            Ok(ItemRows {
                index: Arc::clone(index),
                key: change.key().clone(),
                before: before.as_ref().and_then(|document| codes(document).ok()),
                after: codes(&after)
                    .map_err(|TooManyEntries| Hindrance::Refused(at, too_many()))?,
            })
        });
        rows.collect()
    }

    /// The value that a commit displaces. Its leaf is pinned.
    pub(super) fn value_before(&self, key: &ItemKey, head: &Head) -> Result<Bytes> {
        if let Some(Row { head: now, value: Some(value) }) = self.index.row(key)?
            && now.etag == head.etag
        {
            return Ok(value.bytes);
        }
        let version = self.version_at(key, head)?;
        version.map(|version| version.value).ok_or_else(|| self.no_segment(head))
    }

    /// What of the rows changes. Their leaves are pinned.
    pub(in crate::engine) fn plan_rows(
        &self,
        rows: Vec<Vec<ItemRows>>,
        changes: &[Change<'_>],
    ) -> Result<IndexPlan> {
        let mut plan = IndexPlan::default();
        let mut room = MAX_INDEX_CHANGES_BYTES as usize;
        for (of_change, change) in rows.into_iter().zip(changes) {
            let (mut list, begin) = (Vec::new(), plan.changes.len());
            for rows in &of_change {
                plan.changes.push(self.plan_index(rows, change, &mut list)?);
            }
            let mut encoded = encode(&list);
            if encoded.len() > room {
                let lost =
                    |rows: &ItemRows| IndexChange { slot: rows.index.slot, what: RowChanges::Lost };
                encoded = encode(&of_change.iter().map(lost).collect::<Vec<_>>());
                let planned = plan.changes.get_mut(begin..).unwrap_or_default();
                planned.iter_mut().for_each(|change| change.lost = true);
            }
            room = room.saturating_sub(encoded.len());
            plan.lists.push(encoded);
        }
        Ok(plan)
    }

    fn plan_index<'r>(
        &self,
        rows: &'r ItemRows,
        change: &Change<'_>,
        list: &mut Vec<IndexChange<'r>>,
    ) -> Result<RowsChange> {
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        let (mut removed_keys, mut added_keys) = (Vec::new(), Vec::new());
        for code in rows.before.iter().flatten().filter(|code| !rows.after.contains(*code)) {
            let key = rows.index.row_key(code, rows.key.key_bytes());
            if self.index.head(&key)?.is_some() {
                removed.push(code.as_slice());
                removed_keys.push(key);
            }
        }
        for (place, code) in rows.after.iter().enumerate() {
            let key = rows.index.row_key(code, rows.key.key_bytes());
            if self.index.head(&key)?.is_none() {
                added.push(place as u16);
                added_keys.push(key);
            }
        }
        let lost = rows.before.is_none();
        let implied = if change.parent().is_none() { rows.after.len() } else { 0 };
        if lost {
            list.push(IndexChange { slot: rows.index.slot, what: RowChanges::Lost });
        } else if !removed.is_empty() || added.len() != implied {
            let what = RowChanges::Rows { removed, added };
            list.push(IndexChange { slot: rows.index.slot, what });
        }
        let index = Arc::clone(&rows.index);
        Ok(RowsChange { index, removed: removed_keys, added: added_keys, lost })
    }

    /// Changes the rows, before the commit counts as applied. Their leaves are in memory, so nothing
    /// here can fail.
    pub(in crate::engine) fn apply_rows(&self, plan: &IndexPlan, pin: &Pinned<'_>, revision: u64) {
        for change in &plan.changes {
            if change.lost {
                change.index.set_state(State::Lost);
                continue;
            }
            for key in &change.removed {
                // Before the row goes, so that who does not find it finds it saved.
                let head = self.index.head(key).ok().flatten();
                self.snapshots.save(key.as_bytes(), head.as_ref(), revision);
                self.index.remove_if(key, pin, |_| true);
            }
            for key in &change.added {
                self.index.put(key, &row_head(revision), None, pin);
            }
        }
    }
}

/// What these rows come to, those that are added less those that are removed.
pub(super) fn difference(removed: &[ItemKey], added: &[ItemKey]) -> ContentSum {
    let mut difference = ContentSum::default();
    removed.iter().for_each(|key| difference.subtract(key.as_bytes(), NO_TAG));
    added.iter().for_each(|key| difference.add(key.as_bytes(), NO_TAG));
    difference
}

/// Rows have none; their keys are all that is summed.
pub(super) const NO_TAG: ETag = ETag([0; 16]);

/// The document that a stored value is; `None` where it is none, so that it has no rows.
pub(super) fn parse(value: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(value).ok()
}

pub(super) fn too_many() -> Error {
    let (what, unit) = ("item's entries in one index", "entries");
    let (actual, limit) = (MAX_ENTRIES as u64 + 1, MAX_ENTRIES as u64);
    Error::TooLarge { what, unit, actual, limit }
}
