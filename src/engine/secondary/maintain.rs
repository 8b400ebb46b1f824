//! What a commit changes in the indexes of its items' collections.
//!
//! The version before is read under the key's stripe, so it is the one that the commit displaces. A
//! row of that version is removed if it is there and the new version does not have it. A row of the
//! new version is added if it is not there. An index that is being built needs no other rule.

mod index_plan;

pub(in crate::engine) use self::index_plan::{IndexPlan, ItemRows};
pub(super) use self::index_plan::{NO_TAG, difference};

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::change::Change;
use crate::engine::secondary::maintain::index_plan::{Fate, RowKeys};
use crate::engine::secondary::unique::Hindrance;
use crate::engine::secondary::{OfCollection, State};
use crate::index::{Cell, Pinned};
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::query::entries::{Codes, MAX_ENTRIES, TooManyEntries, codes};

impl Engine {
    /// The rows of a commit's items in indexes, before and after it: for each change those of all
    /// indexes of its collection. The caller has locked the keys' stripes and pinned their leaves.
    ///
    /// # Errors
    /// - [`Hindrance::Refused`] with [`Error::TooLarge`] for a new version with too many entries.
    /// - [`Hindrance::Unbuilt`] with a unique index that is not built.
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

    /// The value that a commit displaces. The caller has pinned its leaf.
    pub(super) fn value_before(&self, key: &ItemKey, head: &Head) -> Result<Bytes> {
        if let Some(Cell { head: now, value: Some(value) }) = self.index.cell(key)?
            && now.etag == head.etag
        {
            return Ok(value.bytes);
        }
        let version = self.version_at(key, head)?;
        version.map(|version| version.value).ok_or_else(|| self.no_segment(head))
    }

    /// Which of the rows change, with the leaves of these rows pinned in addition to the items'
    /// leaves. Those are pinned by `pin`; if it is `None`, `items` are pinned again.
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
            let is_absent = rows.is_built && matches!(fate, Fate::Added(_));
            pinned.push((&*rows.index.directory, is_absent));
        }
        let (pin, added_by) = self.pin_rows(&keys, &pinned, pin, items)?;
        let touched = fates().zip(added_by).enumerate();
        let mut touched = touched.map(|(key, ((_, (fate, _)), added_by))| (fate, key, added_by));
        let mut plan = IndexPlan::new(keys);
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

    /// Changes the rows, before the commit counts as applied. Their leaves are in memory, so
    /// nothing here can fail.
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
                // Before the row is removed: a reader that does not find it finds it saved.
                self.snapshots.save(plan.keys.joined(*key), Some(&head), revision);
                let key = ItemKey::in_directory(directory, plan.keys.in_directory(*key), &[]);
                self.index.remove_if(&key, pin, &|_| true);
            }
            for key in &change.added {
                leaves.add(directory, plan.keys.in_directory(*key), revision);
            }
        }
    }
}

pub(super) fn too_many() -> Error {
    let (what, unit) = ("item's entries in one index", "entries");
    let (actual, limit) = (MAX_ENTRIES as u64 + 1, MAX_ENTRIES as u64);
    Error::TooLarge { what, unit, actual, limit }
}
