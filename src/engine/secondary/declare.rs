//! Declaring and dropping an index: one commit each, with all stripes held.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::catalog::CollectionRecord;
use crate::engine::operation::{Attempt, Operation};
use crate::engine::secondary::record::{IndexDefinition, dropping, record_key};
use crate::engine::secondary::unique::Claims;
use crate::engine::secondary::{MAX_OF_COLLECTION, MAX_OF_STORE, Secondary};
use crate::engine::stripes::Locked;
use crate::journal::content_sum::ContentSum;
use crate::journal::index_sums::IndexSum;
use crate::values::codec::CodecId;
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;
use crate::values::query::index::{Index, IndexError};

impl Engine {
    /// Declares an index of a JSON collection, unless it is declared; returns whether it was not.
    /// Every later commit finds it. It has no rows before it is [built](Self::begin_build).
    ///
    /// # Errors
    /// - [`Error::CodecMismatch`] where the collection is not JSON.
    /// - [`Error::Index`] where the collection has an index of these fields with another
    ///   uniqueness.
    /// - [`Error::TooLarge`] where there are 64 of the collection, or 1 024 of the store.
    /// - Those of every write.
    pub(crate) fn declare_index(&self, collection: &str, index: &Index) -> Result<bool> {
        if let Some(known) = self.secondaries.named(collection, &index.name()) {
            return check_uniqueness(&known.definition, index).map(|()| false);
        }
        let rows = self.secondaries.next_rows();
        let locked = self.stripes.lock_all();
        let of = self.secondaries.of(collection);
        if let Some(known) = of.iter().find(|known| known.definition.name() == index.name()) {
            return check_uniqueness(&known.definition, index).map(|()| false);
        }
        check_limit("indexes of a collection", of.len(), MAX_OF_COLLECTION)?;
        check_limit("indexes of a store", self.secondaries.len(), MAX_OF_STORE)?;
        let is_free = |slot: &u8| of.iter().all(|known| known.slot != *slot);
        let slot = (0..=u8::MAX).find(is_free).unwrap_or_default();
        let definition = IndexDefinition {
            collection: collection.to_owned(),
            index: index.clone(),
            slot,
            bound: None,
        };
        let mut operations = Vec::new();
        if !self.catalog.check(collection, CodecId::Json)? {
            let record = CollectionRecord::new(CodecId::Json);
            operations.push(Operation::record(collection, record)?);
        }
        operations.push(definition.declaring()?);
        let mut note = |revision| {
            let index = Secondary::new(collection, index.clone(), slot, revision, rows);
            self.secondaries.put(Arc::new(index));
        };
        self.commit_records(&mut operations, locked, &mut note)?;
        Ok(true)
    }

    /// Writes records of indexes, with all stripes held.
    pub(super) fn commit_records<'a>(
        &'a self,
        operations: &mut [Operation],
        locked: Locked<'a>,
        note: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let claims = &mut Claims::default();
        let attempt = self.commit_locked(operations, &[], claims, locked, note);
        match attempt.map_err(|failed| failed.error)? {
            Attempt::Done(_) => Ok(()),
            _ => Err(Error::Internal { what: "a record was treated as a document" }),
        }
    }

    /// Drops the index of this name; returns whether there was one. Its rows are removed when no
    /// snapshot reads them.
    ///
    /// # Errors
    /// Those of every write.
    pub(crate) fn drop_index(&self, collection: &str, name: &str) -> Result<bool> {
        let locked = self.stripes.lock_all();
        let Some(index) = self.secondaries.named(collection, name) else { return Ok(false) };
        let mut operations = [dropping(collection, &index.definition)?];
        let mut note = |_| {
            self.secondaries.remove(&index);
            self.journal.forget_index(index.declared);
            self.secondaries.retire(Arc::clone(&index), self.snapshots.next_number());
        };
        self.commit_records(&mut operations, locked, &mut note)?;
        Ok(true)
    }
}

impl Engine {
    /// The keys of the definitions of a collection's indexes.
    pub(in crate::engine) fn index_records(&self, collection: &str) -> Result<Vec<ItemKey>> {
        let indexes = self.secondaries.of(collection);
        indexes.iter().map(|index| record_key(collection, &index.definition)).collect()
    }

    /// Empties the indexes of a collection that was cleared, or takes them off the list where it
    /// was dropped. All stripes are held, and no checkpoint is under way, so none meets the clear
    /// without this. Older views go on with the rows that there were.
    pub(in crate::engine) fn clear_indexes(&self, collection: &str, revision: u64, drops: bool) {
        for index in self.secondaries.of(collection).iter() {
            self.secondaries.retire(Arc::clone(index), self.snapshots.next_number());
            if drops {
                self.secondaries.remove(index);
                self.journal.forget_index(index.declared);
                continue;
            }
            let rows = self.secondaries.next_rows();
            let emptied = index.renewed(rows);
            let sum = IndexSum { rows, content: ContentSum::default(), built: true };
            self.journal.set_index_sum(index.declared, sum);
            emptied.set_built(revision);
            self.secondaries.put(Arc::new(emptied));
        }
    }
}

fn check_limit(what: &'static str, there: usize, limit: usize) -> Result<()> {
    if there < limit {
        return Ok(());
    }
    let (actual, limit) = (there as u64 + 1, limit as u64);
    Err(Error::TooLarge { what, unit: "indexes", actual, limit })
}

fn check_uniqueness(known: &Index, asked: &Index) -> Result<()> {
    if known.is_unique() == asked.is_unique() {
        return Ok(());
    }
    let (index, unique) = (known.name(), known.is_unique());
    Err(Error::Index(IndexError::OtherUniqueness { index, unique }))
}
