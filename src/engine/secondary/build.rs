//! Building an index from the items that there are, while writers go on.
//!
//! From the beginning of a build writers maintain the new rows. The builder walks the collection in
//! order of key and adds the rows of each item under the item's stripe, if the item is still the
//! version that it read: otherwise a writer has seen to it. At the end all stripes are held once,
//! so every commit that was under way is applied. A build that is cut short leaves nothing: the
//! next one begins with another directory, and MANIFEST names only indexes that are built.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::scan::WalkedHeads;
use crate::engine::secondary::maintain::{NO_TAG, difference, too_many};
use crate::engine::secondary::{Secondary, State};
use crate::index::{KeyRef, Shown};
use crate::journal::content_sum::ContentSum;
use crate::journal::index_sums::IndexSum;
use crate::values::error::{Error, IndexFailure, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::query::entries::codes;

/// How many items are read before others get a turn.
const ITEMS: usize = 256;
/// How many rows are summed before others get a turn.
const SUMMED: u64 = 16 << 10;

/// A build under way.
#[derive(Debug)]
pub(crate) struct Build {
    index: Arc<Secondary>,
    after: Option<ItemKey>,
    done_items: u64,
}

impl Build {
    /// How many items it has come by.
    pub(crate) fn done_items(&self) -> u64 {
        self.done_items
    }
}

impl Engine {
    /// How many items a collection holds, those among them that have expired and were not swept.
    pub(crate) fn item_count(&self, collection: &str) -> u64 {
        self.journal.content_of(collection).count
    }

    /// Begins to build an index; `None` where it is built, or not declared. There is one build at a
    /// time.
    pub(crate) fn begin_build(&self, collection: &str, name: &str) -> Option<Build> {
        let rows = self.secondaries.next_rows();
        let locked = self.stripes.lock_all();
        let known = self.secondaries.named(collection, name)?;
        if known.state() == State::Built {
            return None;
        }
        let index = Arc::new(known.renewed(rows));
        index.set_state(State::Building);
        self.secondaries.retire(known, self.snapshots.next_number());
        self.secondaries.put(Arc::clone(&index));
        let sum = IndexSum { rows, content: ContentSum::default(), built: false };
        self.journal.set_index_sum(index.declared, sum);
        drop(locked);
        Some(Build { index, after: None, done_items: 0 })
    }

    /// Adds the rows of some more items; returns whether there are others. After the last item the
    /// index is built.
    ///
    /// # Errors
    /// - The error with which an item cannot be read.
    /// - [`Error::TooLarge`] for an item with too many entries.
    /// - [`Error::IndexUnavailable`] when the index was lost or dropped since.
    ///
    /// After an error the build has ended.
    pub(crate) fn build_step(&self, build: &mut Build) -> Result<bool> {
        let step = self.add_some(build);
        if step.is_err() {
            let _locked = self.stripes.lock_all();
            let current = self.secondaries.of(&build.index.collection);
            // Perhaps the collection was cleared, and so the index is built.
            if current.iter().any(|index| Arc::ptr_eq(index, &build.index)) {
                build.index.set_state(State::Lost);
                self.journal.forget_index(build.index.declared);
            }
        }
        step
    }

    fn add_some(&self, build: &mut Build) -> Result<bool> {
        let index = &build.index;
        let (items, last) = self.some_items(&index.collection, build.after.as_ref())?;
        for (key, head) in &items {
            self.add_item(index, key, head)?;
        }
        self.index.evict();
        build.done_items += items.len() as u64;
        if last.is_some() {
            build.after = last;
            return Ok(true);
        }
        let locked = self.stripes.lock_all();
        check_building(index)?;
        self.journal.set_index_built(index.declared);
        index.set_built(self.journal.content().0);
        drop(locked);
        Ok(false)
    }

    /// The next items of a collection, expired ones too, and the last that was looked at.
    pub(super) fn some_items(
        &self,
        collection: &str,
        after: Option<&ItemKey>,
    ) -> Result<WalkedHeads> {
        let lower = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.key_bytes()));
        self.with_index(|index| {
            let (mut items, mut last, mut looked_at) = (Vec::with_capacity(ITEMS), None, 0);
            index.scan(
                collection,
                (lower, Bound::Unbounded),
                false,
                Shown::All,
                |key: KeyRef<'_>, head, _| {
                    looked_at += 1;
                    let key = ItemKey::in_directory(collection, key.prefix, key.suffix);
                    let is_last = looked_at == ITEMS;
                    if is_last {
                        last = Some(key.clone());
                    }
                    if !head.deleted {
                        items.push((key, *head));
                    }
                    if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            )?;
            Ok((items, last))
        })
    }

    fn add_item(&self, index: &Secondary, key: &ItemKey, head: &Head) -> Result<()> {
        // Superseded since: the writer knew of the index.
        let Some(version) = self.version_of(key, head)? else { return Ok(()) };
        let Some(document) = index.document(&version.value) else { return Ok(()) };
        let codes = codes(&index.definition, &document)
            .map_err(|_| too_many().with_item(key.collection(), key.key_bytes()))?;
        let rows: Vec<ItemKey> =
            codes.iter().map(|code| index.row_key(code, key.key_bytes())).collect();
        let _locked = self.stripes.lock(std::iter::once(key.as_bytes()));
        let pin = self.pin(rows.iter().chain([key]))?;
        check_building(index)?;
        if self.index.head(key)?.is_none_or(|now| now.etag != head.etag) {
            return Ok(());
        }
        let mut added = Vec::new();
        for row in rows {
            if self.index.head(&row)?.is_none() {
                self.index.put(&row, &Head::bare(head.revision), None, &pin);
                added.push(row);
            }
        }
        self.journal
            .move_index(index.declared, difference([], added.iter().map(ItemKey::as_bytes)));
        Ok(())
    }

    /// Marks the indexes of which rows are lost for a new build: the journal does not hold rows one
    /// by one. Called between the loss and the restoration of the leaves.
    pub(in crate::engine) fn give_up_lost_rows(&self) {
        // The open may not have settled its indexes yet.
        for rows in self.index.secondary_directories() {
            if self.index.is_partly_stored(rows) {
                self.secondaries.note_lost(rows);
            }
        }
        for index in self.secondaries.with_rows() {
            if self.secondaries.has_lost(index.rows) {
                index.set_state(State::Gone);
                self.journal.forget_index(index.declared);
            }
        }
    }

    /// Adds some more rows of the built indexes to a sum; where to go on, `None` after the last.
    pub(crate) fn sum_built(
        &self,
        after: Option<(u64, Vec<u8>)>,
        sum: &mut ContentSum,
    ) -> Result<Option<(u64, Vec<u8>)>> {
        // Keeps the rows of an index that is dropped in the meantime.
        let _view = self.begin_snapshot()?;
        let all = self.secondaries.all();
        let (from, key) = after.unwrap_or_default();
        let mut built = all.iter().filter(|index| index.state() == State::Built);
        let Some(index) = built.find(|index| index.declared >= from) else { return Ok(None) };
        let lower = if index.declared == from { Bound::Excluded(&*key) } else { Bound::Unbounded };
        let (found, last) = self.with_index(|leaves| {
            let (mut found, mut last) = (ContentSum::default(), None);
            leaves.scan(
                &index.directory,
                (lower, Bound::Unbounded),
                false,
                Shown::All,
                |key, _, _| {
                    let key = ItemKey::in_directory(&index.directory, key.prefix, key.suffix);
                    found.add(key.as_bytes(), NO_TAG);
                    if found.count < SUMMED {
                        return ControlFlow::Continue(());
                    }
                    last = Some(key.key_bytes().to_vec());
                    ControlFlow::Break(())
                },
            )?;
            Ok((found, last))
        })?;
        sum.merge(found);
        // After all its keys, or after the last one that was looked at.
        Ok(Some(last.map_or((index.declared + 1, Vec::new()), |last| (index.declared, last))))
    }

    /// Adds an item's rows in the indexes that are built to a sum.
    pub(crate) fn sum_rows(&self, key: &ItemKey, value: &[u8], sum: &mut ContentSum) {
        let indexes = self.secondaries.of(key.collection());
        let mut built = indexes.iter().filter(|index| index.state() == State::Built).peekable();
        if built.peek().is_none() {
            return;
        }
        let Some(document) = indexes.document(value) else { return };
        for index in built {
            for code in codes(&index.definition, &document).unwrap_or_default().iter() {
                sum.add(index.row_key(code, key.key_bytes()).as_bytes(), NO_TAG);
            }
        }
    }
}

fn check_building(index: &Secondary) -> Result<()> {
    if index.state() == State::Building {
        return Ok(());
    }
    let reason = "an index was dropped, or its collection cleared, while it was built; try again";
    Err(Error::IndexUnavailable(IndexFailure::new(reason)))
}
