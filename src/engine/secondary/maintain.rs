//! What a commit changes in the indexes of its items' collections.
//!
//! The version before is read under the key's stripe, so it is the one that the commit displaces.
//! Rows of its that are there and not the new version's are removed, and rows of the new version's
//! that are not there are added: so an index that is being built needs no other rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::change::Change;
use crate::engine::secondary::unique::Hindrance;
use crate::engine::secondary::{OfCollection, Secondary, State};
use crate::index::secondary::NAME_BYTES;
use crate::index::{Cell, Pinned};
use crate::journal::content_sum::ContentSum;
use crate::journal::index_changes::{IndexChange, MAX_INDEX_CHANGES_BYTES, RowChanges, encode};
use crate::journal::index_sums::IndexMove;
use crate::values::error::{Error, Result};
use crate::values::etag::ETag;
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::query::entries::{Codes, MAX_ENTRIES, TooManyEntries, codes};

/// An item's rows in one index, before a commit and after it.
#[derive(Debug)]
pub(in crate::engine) struct ItemRows {
    /// The place of the item's change among those of the commit.
    pub(super) at: usize,
    pub(super) index: Arc<Secondary>,
    /// Whether the index has all rows of the version before: while the key's stripe is locked, no
    /// build ends. An index that is lost meanwhile is built anew, whatever becomes of its rows.
    is_built: bool,
    pub(super) key: ItemKey,
    /// `None` where the version before cannot be read.
    pub(super) before: Option<Codes>,
    pub(super) after: Codes,
}

/// What may become of one row.
#[derive(Debug, Clone, Copy)]
enum Fate<'r> {
    /// It goes, if it is there. This is its code.
    Goes(&'r [u8]),
    /// It comes, if it is not there. This is the place of its code among the new version's.
    Comes(u16),
}

/// A row that a commit may change: the place of its key among those of the commit, and the revision
/// that added it if it is there.
type Touched<'r> = (Fate<'r>, usize, Option<u64>);

/// What a commit changes in one index.
#[derive(Debug)]
struct RowsChange {
    index: Arc<Secondary>,
    /// Places of their keys, with the revisions that added them.
    removed: Vec<(usize, u64)>,
    added: Vec<usize>,
    /// Whether only building the index anew makes it right again.
    lost: bool,
}

/// Keys of rows, each joined with the name of its directory, as [`ItemKey`] joins them. They are in
/// one buffer, as a batch has many, and most of them are too long for an [`ItemKey`] without memory
/// of its own.
#[derive(Debug, Default)]
struct RowKeys {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// What a commit changes in indexes.
#[derive(Debug, Default)]
pub(in crate::engine) struct IndexPlan {
    /// By the revision that declared the index.
    changes: BTreeMap<u64, RowsChange>,
    keys: RowKeys,
    /// What the journal's entry says, for each of the commit's changes up to the last that says
    /// anything.
    lists: Vec<Vec<u8>>,
    /// How long all of these are.
    list_bytes: usize,
}

impl ItemRows {
    /// The rows that may change. Of an index that is built these are the ones in which the two
    /// versions differ: it has those that both have.
    fn fates(&self) -> impl Iterator<Item = (Fate<'_>, &[u8])> {
        let (is_built, before) = (self.is_built, self.before.as_ref());
        let gone = before.into_iter().flat_map(Codes::iter);
        let gone = gone.filter(|code| !self.after.contains(code));
        let is_kept = move |code: &[u8]| is_built && before.is_some_and(|of| of.contains(code));
        let after = self.after.iter().enumerate().filter(move |(_, code)| !is_kept(code));
        let come = after.map(|(place, code)| (Fate::Comes(place as u16), code));
        gone.map(|code| (Fate::Goes(code), code)).chain(come)
    }
}

impl RowKeys {
    fn push(&mut self, directory: &str, code: &[u8], key: &[u8]) {
        debug_assert_eq!(directory.len(), NAME_BYTES, "all directories have names of one length");
        for part in [directory.as_bytes(), &[ItemKey::SEPARATOR], code, key] {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// The key at a place.
    fn joined(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.ends.get(at).copied().unwrap_or_default();
        let start = at.checked_sub(1).map_or(0, end);
        self.bytes.get(start..end(at)).unwrap_or_default()
    }

    /// The key at a place, as it is in its directory.
    fn in_directory(&self, at: usize) -> &[u8] {
        self.joined(at).get(NAME_BYTES + 1..).unwrap_or_default()
    }
}

impl IndexPlan {
    /// What the journal's entry of the change at this place says.
    pub(in crate::engine) fn list_of(&self, at: usize) -> &[u8] {
        self.lists.get(at).map_or(&[], Vec::as_slice)
    }

    /// What the commit does to the sums of indexes.
    pub(in crate::engine) fn moves(&self) -> Vec<IndexMove> {
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
    fn add<'r>(
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

    /// Adds what becomes of an item's rows in one index, and returns what the journal says of it, if
    /// it has to say anything.
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
                (Fate::Goes(code), Some(added_by)) => {
                    removed.push(code);
                    of_index.removed.push((key, added_by));
                }
                (Fate::Comes(place), None) => {
                    added.push(place);
                    of_index.added.push(key);
                }
                (Fate::Goes(_), None) | (Fate::Comes(_), Some(_)) => {}
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

impl Engine {
    /// The rows of a commit's items in indexes, before and after it: for each change those of all
    /// indexes of its collection. The keys' stripes are locked, and their leaves pinned.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where a new version has too many entries, with the place of its change; and
    /// a unique index that is not built.
    pub(in crate::engine) fn item_rows(
        &self,
        changes: &[Change<'_>],
    ) -> Result<Vec<ItemRows>, Hindrance> {
        if !self.secondaries.any() {
            return Ok(Vec::new());
        }
        let mut rows = Vec::with_capacity(changes.len());
        let mut last: Option<(&str, Arc<OfCollection>)> = None;
        for (at, change) in changes.iter().enumerate() {
            let name = change.key().collection();
            let of = match last.take() {
                Some((last, of)) if last == name => of,
                _ => self.secondaries.of(name),
            };
            self.rows_of_change(at, change, &of, &mut rows)?;
            last = Some((name, of));
        }
        Ok(rows)
    }

    fn rows_of_change(
        &self,
        at: usize,
        change: &Change<'_>,
        indexes: &OfCollection,
        rows: &mut Vec<ItemRows>,
    ) -> Result<(), Hindrance> {
        if change.value().is_some()
            && let Some(index) = indexes.iter().find(|index| index.binds() && !index.is_built())
        {
            return Err(Hindrance::Unbuilt(Arc::clone(index)));
        }
        let mut maintained = indexes.iter().filter(|index| index.is_maintained()).peekable();
        if maintained.peek().is_none() {
            return Ok(());
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
        let before = before.map(|value| value.and_then(|value| indexes.document(&value)));
        let after = change.value().and_then(|value| indexes.document(value));
        for index in maintained {
            let of = |document: &Option<serde_json::Value>| {
                let document = document.as_ref();
                document.map_or_else(|| Ok(Codes::default()), |d| codes(&index.definition, d))
            };
            rows.push(ItemRows {
                at,
                index: Arc::clone(index),
                is_built: index.is_built(),
                key: change.key().clone(),
                before: before.as_ref().and_then(|document| of(document).ok()),
                after: of(&after).map_err(|TooManyEntries| Hindrance::Refused(at, too_many()))?,
            });
        }
        Ok(())
    }

    /// The value that a commit displaces. Its leaf is pinned.
    pub(super) fn value_before(&self, key: &ItemKey, head: &Head) -> Result<Bytes> {
        if let Some(Cell { head: now, value: Some(value) }) = self.index.cell(key)?
            && now.etag == head.etag
        {
            return Ok(value.bytes);
        }
        let version = self.version_at(key, head)?;
        version.map(|version| version.value).ok_or_else(|| self.no_segment(head))
    }

    /// What of the rows changes, with the leaves of these rows pinned besides. The items' are pinned
    /// by `pin`; where that had to be dropped, `items` are pinned again.
    pub(in crate::engine) fn plan_rows<'a, 'k>(
        &'a self,
        rows: &[ItemRows],
        changes: &[Change<'_>],
        pin: Option<Pinned<'a>>,
        items: impl Iterator<Item = &'k ItemKey> + Clone,
    ) -> Result<(Pinned<'a>, IndexPlan)> {
        let fates = || rows.iter().flat_map(|rows| rows.fates().map(move |fate| (rows, fate)));
        let mut keys = RowKeys::default();
        let mut pinned = Vec::with_capacity(rows.len());
        for (rows, (fate, code)) in fates() {
            keys.push(&rows.index.directory, code, rows.key.key_bytes());
            // An index that is built has no row that a version does not have.
            let is_absent = rows.is_built && matches!(fate, Fate::Comes(_));
            pinned.push((&*rows.index.directory, is_absent));
        }
        let (pin, added_by) = self.pin_rows(&keys, &pinned, pin, items)?;
        let touched = fates().zip(added_by).enumerate();
        let mut touched = touched.map(|(key, ((_, (fate, _)), added_by))| (fate, key, added_by));
        let mut plan = IndexPlan { keys, ..IndexPlan::default() };
        for of_item in rows.chunk_by(|one, next| one.at == next.at) {
            let change = of_item.first().and_then(|rows| changes.get(rows.at));
            if let Some(change) = change {
                plan.add(of_item, change, &mut touched);
            }
        }
        Ok((pin, plan))
    }

    /// Brings the leaves of some rows into memory, and says which revisions added those that are
    /// there. Of each row there is the directory, and whether it is known not to be there.
    fn pin_rows<'a, 'k>(
        &'a self,
        keys: &RowKeys,
        rows: &[(&str, bool)],
        pin: Option<Pinned<'a>>,
        items: impl Iterator<Item = &'k ItemKey> + Clone,
    ) -> Result<(Pinned<'a>, Vec<Option<u64>>)> {
        if let Some(pin) = pin {
            let mut leaves = self.index.row_leaves(&pin);
            let added_by = rows.iter().enumerate().map(|(at, (directory, is_absent))| {
                let key = keys.in_directory(at);
                if *is_absent {
                    leaves.load(directory, key).map(|()| None)
                } else {
                    leaves.revision_of(directory, key)
                }
            });
            match added_by.collect::<Result<_>>() {
                Ok(added_by) => return Ok((pin, added_by)),
                // They are restored with nothing pinned.
                Err(Error::IndexUnavailable(_)) if self.index.is_lost() => {}
                Err(error) => return Err(error),
            }
        }
        let row = |(at, (directory, _)): (usize, &(&str, bool))| {
            ItemKey::in_directory(directory, keys.in_directory(at), &[])
        };
        let row_keys: Vec<ItemKey> = rows.iter().enumerate().map(row).collect();
        let others = items.clone().count();
        let (pin, heads) = self.pin_heads(items.map(|key| -> &ItemKey { key }).chain(&row_keys))?;
        let heads = heads.into_iter().skip(others);
        Ok((pin, heads.map(|head| head.map(|head| head.revision)).collect()))
    }

    /// Changes the rows, before the commit counts as applied. Their leaves are in memory, so nothing
    /// here can fail.
    pub(in crate::engine) fn apply_rows(&self, plan: &IndexPlan, pin: &Pinned<'_>, revision: u64) {
        let mut leaves = self.index.row_leaves(pin);
        for change in plan.changes.values() {
            if change.lost {
                change.index.set_state(State::Lost);
                continue;
            }
            let directory = &change.index.directory;
            for (key, added_by) in &change.removed {
                let head = Head::bare(*added_by);
                // Before the row goes, so that who does not find it finds it saved.
                self.snapshots.save(plan.keys.joined(*key), Some(&head), revision);
                let key = ItemKey::in_directory(directory, plan.keys.in_directory(*key), &[]);
                self.index.remove_if(&key, pin, |_| true);
            }
            for key in &change.added {
                leaves.add(directory, plan.keys.in_directory(*key), revision);
            }
        }
    }
}

/// What these rows come to, those that are added less those that are removed.
pub(super) fn difference<'k>(
    removed: impl IntoIterator<Item = &'k [u8]>,
    added: impl IntoIterator<Item = &'k [u8]>,
) -> ContentSum {
    let mut difference = ContentSum::default();
    removed.into_iter().for_each(|key| difference.subtract(key, NO_TAG));
    added.into_iter().for_each(|key| difference.add(key, NO_TAG));
    difference
}

/// Rows have none; their keys are all that is summed.
pub(super) const NO_TAG: ETag = ETag([0; 16]);

pub(super) fn too_many() -> Error {
    let (what, unit) = ("item's entries in one index", "entries");
    let (actual, limit) = (MAX_ENTRIES as u64 + 1, MAX_ENTRIES as u64);
    Error::TooLarge { what, unit, actual, limit }
}
