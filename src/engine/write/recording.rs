//! Recording collections: the first commit to a collection also writes its record.

use std::collections::HashMap;

use crate::engine::Engine;
use crate::engine::catalog::{CollectionRecord, check_same, record_key};
use crate::engine::change::Record;
use crate::engine::operation::{Action, Failed, Operation};
use crate::engine::secondary::unique::Claims;
use crate::engine::stripes::Locked;
use crate::seams::sync::Ordering;
use crate::values::codec::CodecId;
use crate::values::key::ItemKey;

impl Engine {
    /// Finds which collections have to be recorded, and locks the stripes of all keys.
    ///
    /// # Errors
    /// [`Error::CodecMismatch`](crate::Error::CodecMismatch), with the operation's index.
    pub(super) fn lock_recorded(
        &self,
        operations: &[Operation],
        claims: &Claims,
    ) -> Result<(Vec<Record>, Locked<'_>), Failed> {
        loop {
            let drops = self.catalog.drops().load(Ordering::Acquire);
            let unrecorded = self.unrecorded(operations, drops)?;
            let keys = operations.iter().map(|operation| &operation.key);
            let keys = keys.chain(unrecorded.iter().map(|record| &record.key));
            let keys = keys.chain(claims.keys());
            let locked = self.stripes.lock(keys.map(ItemKey::as_bytes));
            // A collection that was dropped since has to be recorded again.
            if self.catalog.drops().load(Ordering::Acquire) == drops {
                return Ok((unrecorded, locked));
            }
        }
    }

    /// The collections of the operations that no write has recorded yet. `drops` is the number of
    /// collections that were dropped before this look.
    pub(super) fn unrecorded(
        &self,
        operations: &[Operation],
        drops: u64,
    ) -> Result<Vec<Record>, Failed> {
        let mut records: Vec<Record> = Vec::new();
        // A batch may have as many collections as operations.
        let mut known: Option<HashMap<&str, CodecId>> = None;
        for (index, operation) in operations.iter().enumerate() {
            if operation.recorded_at == Some(drops) {
                continue;
            }
            let name = operation.key.collection();
            let at = |error| Failed { index: Some(index), error };
            // A sweep puts nothing into a collection, so it need not know its codec; and the
            // collection of the records has no record.
            let needs_none = matches!(operation.action, Action::Expire) || name.is_empty();
            if needs_none || self.catalog.check(name, operation.codec).map_err(at)? {
                continue;
            }
            if let Some(codec) = known.get_or_insert_default().insert(name, operation.codec) {
                check_same(name, codec, operation.codec).map_err(at)?;
                continue;
            }
            let key = record_key(name).map_err(at)?;
            records.push(Record { key, codec: operation.codec, index });
        }
        Ok(records)
    }

    /// Another handle may have recorded another codec since the look outside the locks.
    pub(super) fn check_codecs(
        &self,
        operations: &[Operation],
        unrecorded: &[Record],
    ) -> Result<(), Failed> {
        for record in unrecorded {
            let at = |error| Failed { index: Some(record.index), error };
            self.catalog.check(record.collection(), record.codec).map_err(at)?;
        }
        for (index, operation) in operations.iter().enumerate() {
            let at = |error| Failed { index: Some(index), error };
            if let Some(collection) = operation.recorded_collection() {
                self.catalog.check(collection, operation.codec).map_err(at)?;
            }
        }
        Ok(())
    }

    /// Puts the collections' records that a commit wrote into the catalog.
    pub(super) fn note_records(&self, operations: &[Operation]) {
        for operation in operations {
            if let (Some(collection), Action::Upsert(value)) =
                (operation.recorded_collection(), &operation.action)
                && let Some(record) = CollectionRecord::decode(&value.bytes)
            {
                self.catalog.record(collection, record);
            }
        }
    }
}
