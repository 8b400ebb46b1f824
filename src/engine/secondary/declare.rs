//! Declaring and dropping an index: one commit each, with all stripes held.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::catalog::CollectionRecord;
use crate::engine::operation::{Attempt, Failed, Operation};
use crate::engine::secondary::record::{IndexDefinition, dropping};
use crate::engine::secondary::{MAX_OF_COLLECTION, MAX_OF_STORE, Secondary};
use crate::values::codec::CodecId;
use crate::values::error::{Error, Result};
use crate::values::query::index::Index;

impl Engine {
    /// Declares an index of a JSON collection, unless it is declared; whether it was not. Every later
    /// commit knows of it; it has no rows before it is [built](Self::begin_build).
    ///
    /// # Errors
    /// - [`Error::CodecMismatch`] where the collection is not JSON.
    /// - [`Error::TooLarge`] where there are 64 of the collection, or 1 024 of the store.
    /// - Those of every write.
    pub(crate) fn declare_index(&self, collection: &str, index: &Index) -> Result<bool> {
        if self.secondaries.named(collection, &index.name()).is_some() {
            return Ok(false);
        }
        let rows = self.secondaries.next_rows();
        let locked = self.stripes.lock_all();
        let of = self.secondaries.of(collection);
        if of.iter().any(|known| known.definition.name() == index.name()) {
            return Ok(false);
        }
        check_limit("indexes of a collection", of.len(), MAX_OF_COLLECTION)?;
        check_limit("indexes of a store", self.secondaries.len(), MAX_OF_STORE)?;
        let is_free = |slot: &u8| of.iter().all(|known| known.slot != *slot);
        let slot = (0..=u8::MAX).find(is_free).unwrap_or_default();
        let definition =
            IndexDefinition { collection: collection.to_owned(), index: index.clone(), slot };
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
        expect_done(self.commit_locked(&mut operations, &[], locked, &mut note))?;
        Ok(true)
    }

    /// Drops the index of this name; whether there was one. Its rows go when no snapshot reads them.
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
        expect_done(self.commit_locked(&mut operations, &[], locked, &mut note))?;
        Ok(true)
    }
}

fn check_limit(what: &'static str, there: usize, limit: usize) -> Result<()> {
    if there < limit {
        return Ok(());
    }
    let (actual, limit) = (there as u64 + 1, limit as u64);
    Err(Error::TooLarge { what, unit: "indexes", actual, limit })
}

fn expect_done(attempt: Result<Attempt, Failed>) -> Result<()> {
    match attempt.map_err(|failed| failed.error)? {
        Attempt::Done(_) => Ok(()),
        Attempt::NeedsPatch { .. } => Err(Error::Internal { what: "no record is patched" }),
    }
}
