//! Items that share a value in a unique index: they prevent a new one from being made, and `verify`
//! finds them.
//!
//! A new unique index is built like any other. Then all stripes are held once, and from there on
//! writers hold to it: no more items can share a value. Then the rows are walked in order.
//! Where two items have one value, both are locked and looked at: an expired one is swept, and two
//! that live end the making of the index. After the last row its record is replaced by one that
//! says that it binds. An open finds by that record what is still to be checked.
//!
//! Two items that share a value from before writers hold to the index until it binds keep their
//! rows all that time. Only rows of items with the same code are between them, so the walk meets
//! both.

use std::collections::HashMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::operation::Operation;
use crate::engine::secondary::record::IndexDefinition;
use crate::engine::secondary::{Binding, Secondary, State};
use crate::index::Shown;
use crate::values::error::{Error, IndexFailure, Result};
use crate::values::key::ItemKey;
use crate::values::query::encoding::is_cut;
use crate::values::query::entries::{split, whole_entries};

/// How many rows are looked at before others get a turn.
const ROWS: usize = 1_024;
/// How often two items are looked at whose expiry others put off.
const LOOKS: usize = 64;

/// What becomes of expired items that share a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    Swept,
    PassedOver,
}

/// A walk over the rows of a unique index.
#[derive(Debug)]
pub(crate) struct Rivals {
    index: Arc<Secondary>,
    expired: Expired,
    /// The last row that was looked at.
    after: Option<Vec<u8>>,
    /// The code of that row, and the items that have it: of a cut code, by a hash of the whole
    /// value.
    code: Vec<u8>,
    holders: HashMap<[u8; 32], ItemKey>,
}

/// The result of looking at two items that share a value.
enum Settled {
    FirstIsGone,
    SecondIsGone,
    Differ,
}

impl Rivals {
    fn new(index: Arc<Secondary>, expired: Expired) -> Self {
        Self { index, expired, after: None, code: Vec::new(), holders: HashMap::new() }
    }
}

impl Engine {
    /// Lets writers hold to a unique index that is built, and begins to compare the items that
    /// there are; `None` where that was done, or is not to be done.
    ///
    /// # Errors
    /// [`Error::IndexUnavailable`] where the index was lost in the meantime.
    pub(crate) fn begin_check(&self, collection: &str, name: &str) -> Result<Option<Rivals>> {
        let _locked = self.stripes.lock_all();
        let index = self.secondaries.named(collection, name);
        let Some(index) = index.filter(|index| index.is_unchecked()) else { return Ok(None) };
        if index.state() != State::Built {
            return Err(lost());
        }
        index.set_binding(Binding::Checked);
        Ok(Some(Rivals::new(index, Expired::Swept)))
    }

    /// Compares some more items; returns whether there are others. After the last item the index
    /// binds, and its record says so.
    ///
    /// # Errors
    /// - [`Error::NotUnique`] with two items that share a value.
    /// - [`Error::IndexUnavailable`] when the index was lost since.
    /// - Those of every write.
    pub(crate) fn check_step(&self, rivals: &mut Rivals) -> Result<bool> {
        let more = self.compare_some(rivals)?;
        if !more {
            self.bind_unique(rivals)?;
        }
        Ok(more)
    }

    /// Lets a unique index bind whose items were all compared. Where that is refused the items need
    /// not be compared again: writers hold to the index.
    ///
    /// # Errors
    /// Those of every write.
    pub(crate) fn bind_unique(&self, rivals: &Rivals) -> Result<()> {
        let locked = self.stripes.lock_all();
        let collection = &*rivals.index.collection;
        let known = self.secondaries.named(collection, &rivals.index.definition.name());
        // It may have been dropped, or emptied by a clear.
        let known = known.filter(|known| known.declared == rivals.index.declared);
        let Some(index) = known.filter(|known| known.is_unchecked()) else { return Ok(()) };
        let definition = IndexDefinition {
            collection: collection.to_owned(),
            index: index.definition.clone(),
            slot: index.slot,
            bound: Some(index.declared),
        };
        let mut note = |_| index.set_binding(Binding::Bound);
        self.commit_records(&mut [definition.binding()?], locked, &mut note)
    }

    /// Walks over the unique indexes that bind and are built.
    pub(crate) fn walk_unique(&self) -> Vec<Rivals> {
        let mut all = self.secondaries.all();
        all.retain(|index| index.is_bound() && index.is_built());
        all.into_iter().map(|index| Rivals::new(index, Expired::PassedOver)).collect()
    }

    /// Looks at some more rows; returns whether there are others.
    ///
    /// # Errors
    /// As [`check_step`](Self::check_step).
    pub(crate) fn compare_some(&self, rivals: &mut Rivals) -> Result<bool> {
        let (rows, last) = self.with_index(|leaves| {
            let (mut rows, mut last) = (Vec::new(), None);
            let lower = rivals.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let bounds = (lower, Bound::Unbounded);
            leaves.scan(&rivals.index.directory, bounds, false, Shown::All, |key, _, _| {
                rows.push(key.to_vec());
                if rows.len() < ROWS {
                    return ControlFlow::Continue(());
                }
                last = rows.last().cloned();
                ControlFlow::Break(())
            })?;
            Ok((rows, last))
        })?;
        if rivals.index.state() == State::Gone {
            return Err(lost());
        }
        for row in rows {
            let Some((code, key)) = split(&rivals.index.definition, &row) else { continue };
            let item = ItemKey::in_directory(&rivals.index.collection, key, &[]);
            self.compare(rivals, code, item)?;
        }
        rivals.after = last;
        Ok(rivals.after.is_some())
    }

    /// Compares an item with those before it that have the same code.
    fn compare(&self, rivals: &mut Rivals, code: &[u8], item: ItemKey) -> Result<()> {
        if rivals.code != code {
            rivals.code = code.to_vec();
            rivals.holders.clear();
        }
        for value in self.values_of(&rivals.index, code, &item)? {
            let settled = match rivals.holders.get(&value) {
                None => Settled::FirstIsGone,
                Some(holder) if *holder == item => continue,
                Some(holder) => self.settle_rivals(rivals, code, [holder, &item])?,
            };
            if matches!(settled, Settled::FirstIsGone) {
                rivals.holders.insert(value, item.clone());
            }
        }
        Ok(())
    }

    /// What an item has under a code: one value, or where that is cut those that begin so, hashed.
    fn values_of(&self, index: &Secondary, code: &[u8], item: &ItemKey) -> Result<Vec<[u8; 32]>> {
        if !is_cut(code) {
            return Ok(vec![[0; 32]]);
        }
        let Some((_, value)) = self.stored_value(item)? else { return Ok(Vec::new()) };
        let Some(document) = index.document(&value) else { return Ok(Vec::new()) };
        let whole = whole_entries(&index.definition, &document, code);
        Ok(whole.iter().map(|code| *blake3::hash(code).as_bytes()).collect())
    }

    /// Looks at two items with one value while nobody changes them, and sweeps what is expired.
    ///
    /// # Errors
    /// [`Error::NotUnique`] where both have it.
    fn settle_rivals(&self, rivals: &Rivals, code: &[u8], both: [&ItemKey; 2]) -> Result<Settled> {
        let index = &rivals.index;
        for _ in 0..LOOKS {
            let expired = {
                let _locked = self.stripes.lock(both.iter().map(|item| item.as_bytes()));
                let (mut expired, mut values) = (Vec::new(), Vec::new());
                let now_ms = self.clock.now_ms();
                for (item, gone) in
                    both.into_iter().zip([Settled::FirstIsGone, Settled::SecondIsGone])
                {
                    let row = index.row_key(code, item.key_bytes());
                    let has_row = self.with_index(|leaves| leaves.head(&row))?.is_some();
                    let stored = self.stored_value(item)?.filter(|_| has_row);
                    let Some((head, value)) = stored else { return Ok(gone) };
                    match (head.is_live(now_ms), rivals.expired) {
                        (true, _) => values.push(value),
                        (false, Expired::Swept) => expired.push(Operation::expire(item.clone())),
                        (false, Expired::PassedOver) => return Ok(gone),
                    }
                }
                if let [first, second] = &values[..] {
                    if is_cut(code) && !index.share(code, first, second) {
                        return Ok(Settled::Differ);
                    }
                    let [of, key] = both;
                    return Err(index.not_unique(key, of));
                }
                expired
            };
            let mut expired = expired;
            self.commit(&mut expired).map_err(|failed| failed.error)?;
        }
        let reason = "two items of a unique index are renewed again and again; try again";
        Err(Error::IndexUnavailable(IndexFailure::new(reason)))
    }
}

fn lost() -> Error {
    let reason = "rows of an index were lost while its items were compared; try again";
    Error::IndexUnavailable(IndexFailure::new(reason))
}
