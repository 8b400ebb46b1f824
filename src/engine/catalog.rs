//! The record of each collection: its codec, and the default time to live of its items.
//!
//! A record is an item of the system collection, whose name is empty. It is written in the same
//! frame as the collection's first write, read by a scan at open, and written anew when the default
//! changes.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::operation::{Action, Expiry, NewValue, Operation};
use crate::engine::secondary::record::{IndexDefinition, is_index_record};
use crate::engine::{Engine, Span, Version, Window};
use crate::seams::sync::{AtomicU64, Ordering, RwLock};
use crate::values::codec::CodecId;
use crate::values::error::{Error, Result};
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::precondition::Precondition;
use crate::values::short_bytes::ShortBytes;

/// The records of a store's collections.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// By name; `None` for a record that only a newer version of this crate can read, or that is
    /// damaged.
    records: RwLock<HashMap<String, Option<CollectionRecord>>>,
    /// Where the damaged records are.
    damaged: RwLock<HashMap<String, Damaged>>,
    /// How often a record was removed. A collection that was found recorded before the last removal
    /// may not be recorded any more.
    drops: Arc<AtomicU64>,
}

/// A record whose entry in the journal is damaged.
#[derive(Debug, Clone)]
struct Damaged {
    file: PathBuf,
    offset: u64,
}

impl Damaged {
    fn error(&self, collection: &str) -> Error {
        let reason = "what is recorded of the collection cannot be read";
        Error::corrupt(&self.file, self.offset, reason).with_item("", collection.as_bytes())
    }
}

/// The record of one collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CollectionRecord {
    pub(crate) codec: CodecId,
    /// The time to live of items that are created without an expiry of their own; `None` for ever.
    pub(crate) default_ttl_ms: Option<u64>,
}

/// The version of the layout after the codec's byte.
const RECORD_VERSION: u8 = 1;
/// How many records are read at a time.
const RECORDS_AT_ONCE: usize = 1_024;

impl CollectionRecord {
    pub(crate) fn new(codec: CodecId) -> Self {
        Self { codec, default_ttl_ms: None }
    }

    /// The record's value: the codec's byte and, if there is a default time to live, the layout's
    /// version and that time.
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = vec![self.codec as u8];
        if let Some(ttl_ms) = self.default_ttl_ms {
            bytes.push(RECORD_VERSION);
            bytes.extend_from_slice(&ttl_ms.to_le_bytes());
        }
        bytes.into()
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (codec, rest) = bytes.split_first()?;
        let default_ttl_ms = match rest.split_first() {
            None => None,
            Some((&RECORD_VERSION, ttl_ms)) => Some(u64::from_le_bytes(ttl_ms.try_into().ok()?)),
            Some(_) => return None,
        };
        Some(Self { codec: CodecId::from_byte(*codec)?, default_ttl_ms })
    }
}

impl Operation {
    /// The operation that writes a collection's record, whether there is one or not.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for a name that no collection can have.
    pub(crate) fn record(collection: &str, record: CollectionRecord) -> Result<Self> {
        let value = NewValue::new(record.encode(), Expiry::Never)?;
        let key = record_key(collection)?;
        Ok(Self::new(key, record.codec, Precondition::Always, Action::Upsert(value)))
    }

    /// The collection whose record this operation writes, if it writes one.
    pub(super) fn recorded_collection(&self) -> Option<&str> {
        let key = &self.key;
        let is_record = key.is_of_system() && !is_index_record(key.key_bytes());
        is_record.then(|| std::str::from_utf8(self.key.key_bytes()).ok()).flatten()
    }
}

impl Engine {
    /// The recorded collections in order of their names; `None` for a record that only a newer
    /// version of this crate can read.
    pub(crate) fn collections(&self) -> Vec<(String, Option<CollectionRecord>)> {
        let records = self.catalog.records.read();
        let mut all: Vec<_> =
            records.iter().map(|(name, record)| (name.clone(), *record)).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The record of a collection, if it can be read.
    pub(crate) fn collection_record(&self, collection: &str) -> Option<CollectionRecord> {
        self.catalog.get(collection)
    }
}

/// The key of a collection's record.
pub(crate) fn record_key(collection: &str) -> Result<ItemKey> {
    ItemKey::new("", collection.as_bytes())
}

impl Catalog {
    pub(crate) fn is_recorded(&self, collection: &str) -> bool {
        self.records.read().contains_key(collection)
    }

    pub(crate) fn len(&self) -> u64 {
        self.records.read().len() as u64
    }

    pub(crate) fn record(&self, collection: &str, record: CollectionRecord) {
        self.records.write().insert(collection.to_owned(), Some(record));
    }

    /// Notes that a collection's record is damaged: only operations on this collection fail.
    fn note_damage(&self, error: Error) -> Result<()> {
        let name = error.key().and_then(|name| std::str::from_utf8(name).ok()).map(str::to_owned);
        let (Error::Corrupt { file, offset, .. }, Some(name)) = (&error, name) else {
            return Err(error);
        };
        log::warn!("collection {name:?} cannot be opened: {error}");
        let damaged = Damaged { file: file.clone(), offset: *offset };
        self.damaged.write().insert(name.clone(), damaged);
        self.records.write().insert(name, None);
        Ok(())
    }

    /// Forgets a collection that was dropped. Its name may be recorded with another codec then.
    pub(super) fn remove(&self, collection: &str) {
        self.records.write().remove(collection);
        self.damaged.write().remove(collection);
        // Afterwards: a reader of the new number finds the record gone.
        self.drops.fetch_add(1, Ordering::AcqRel);
    }

    /// How often a record was removed. Read it before the records.
    pub(crate) fn drops(&self) -> &Arc<AtomicU64> {
        &self.drops
    }

    fn get(&self, collection: &str) -> Option<CollectionRecord> {
        self.records.read().get(collection).copied().flatten()
    }

    /// The time to live of an item that is created without an expiry of its own.
    pub(crate) fn default_ttl_ms(&self, collection: &str) -> Option<u64> {
        self.get(collection)?.default_ttl_ms
    }

    /// Whether the collection is recorded with this codec; false if it is not recorded.
    ///
    /// # Errors
    /// - [`Error::CodecMismatch`] when it is recorded with another codec.
    /// - [`Error::Corrupt`] when its record is damaged.
    pub(crate) fn check(&self, collection: &str, codec: CodecId) -> Result<bool> {
        let recorded = self.records.read().get(collection).copied();
        match recorded {
            None => Ok(false),
            Some(Some(stored)) => check_same(collection, stored.codec, codec).map(|()| true),
            Some(None) => Err(match self.damaged.read().get(collection) {
                Some(damaged) => damaged.error(collection),
                None => mismatch(collection, "a codec of a newer version of ifmatch", codec),
            }),
        }
    }
}

/// Checks that a collection is used with the codec that it is stored with.
///
/// # Errors
/// [`Error::CodecMismatch`].
pub(crate) fn check_same(collection: &str, stored: CodecId, opened: CodecId) -> Result<()> {
    if stored == opened {
        return Ok(());
    }
    Err(mismatch(collection, stored.name(), opened))
}

fn mismatch(collection: &str, stored: &'static str, opened: CodecId) -> Error {
    Error::CodecMismatch { collection: collection.to_owned(), stored, opened: opened.name() }
}

impl Engine {
    /// Reads all records of collections, and of indexes with the revisions that declared them.
    pub(super) fn load_catalog(&self) -> Result<(Catalog, Vec<(u64, IndexDefinition)>)> {
        let (catalog, mut indexes) = (Catalog::default(), Vec::new());
        let window = Window { cells: RECORDS_AT_ONCE, value_bytes: u64::MAX };
        let mut after: Option<Vec<u8>> = None;
        loop {
            let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let bounds = (lower, Bound::Unbounded);
            let span = Span { collection: "", bounds, reverse: false };
            let (go_on, mut records) = self.scan(None, span, window)?;
            let record = |key, meta: &Meta, value| Ok((key, Version { meta: *meta, value }));
            while let Some(record) = records.next(record) {
                catalog.load(record, &mut indexes)?;
            }
            after = go_on;
            if after.is_none() {
                break;
            }
        }
        Ok((catalog, indexes))
    }
}

impl Catalog {
    /// Adds a record. A damaged one affects only its collection or index.
    fn load(
        &self,
        record: Result<(ShortBytes, Version)>,
        indexes: &mut Vec<(u64, IndexDefinition)>,
    ) -> Result<()> {
        let (key, version) = match record {
            Err(error) if error.key().is_some_and(is_index_record) => {
                log::warn!("an index is forgotten, as its record cannot be read: {error}");
                return Ok(());
            }
            Err(error) => return self.note_damage(error),
            Ok(record) => record,
        };
        let key = key.as_slice();
        if is_index_record(key) {
            let index = IndexDefinition::decode(key, &version.value);
            let declared = |index: &IndexDefinition| index.bound.unwrap_or(version.meta.revision.0);
            indexes.extend(index.map(|index| (declared(&index), index)));
            return Ok(());
        }
        let record = CollectionRecord::decode(&version.value);
        if let Ok(name) = std::str::from_utf8(key) {
            self.records.write().insert(name.to_owned(), record);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for default_ttl_ms in [None, Some(0), Some(1), Some(u64::MAX)] {
            for codec in [CodecId::Json, CodecId::Bincode, CodecId::Raw] {
                let record = CollectionRecord { codec, default_ttl_ms };
                assert_eq!(CollectionRecord::decode(&record.encode()), Some(record));
            }
        }
    }

    #[test]
    fn a_record_is_one_byte_while_there_is_no_more_to_say() {
        assert_eq!(&*CollectionRecord::new(CodecId::Raw).encode(), [3]);
        let more = CollectionRecord { codec: CodecId::Json, default_ttl_ms: Some(0x0102) };
        assert_eq!(&*more.encode(), [1, 1, 2, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_record_of_a_newer_version_is_not_taken_for_one_of_this() {
        for bytes in [&[][..], &[0], &[4], &[1, 2], &[1, 1], &[1, 1, 0, 0, 0, 0, 0, 0, 0], &[1; 11]]
        {
            assert_eq!(CollectionRecord::decode(bytes), None, "{bytes:?}");
        }
    }
}
