//! Which codec each collection is written with.
//!
//! A codec is recorded as an item of the system collection, whose name is empty: in the same frame
//! as the collection's first write, found again by a scan at open.

use std::collections::HashMap;
use std::ops::Bound;

use crate::codec::CodecId;
use crate::error::{Error, Result};
use crate::key::{ItemKey, collection_range};
use crate::sync::RwLock;
use crate::table::{Head, Table};
use bytes::Bytes;

/// The recorded codecs of a store.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    codecs: RwLock<HashMap<String, CodecId>>,
}

/// The key of a collection's record.
pub(crate) fn record_key(collection: &str) -> Result<ItemKey> {
    ItemKey::new("", collection.as_bytes())
}

/// The value of a collection's record.
pub(crate) fn record_value(codec: CodecId) -> Bytes {
    Bytes::copy_from_slice(&[codec as u8])
}

impl Catalog {
    /// Reads all records; `value_of` reads the value that a head points to.
    pub(crate) fn load(
        table: &dyn Table,
        value_of: impl Fn(&ItemKey, &Head) -> Result<Bytes>,
    ) -> Result<Self> {
        let (first, after) = collection_range("");
        let mut rows = Vec::new();
        let bounds = (Bound::Included(first.as_slice()), Bound::Excluded(after.as_slice()));
        table.scan(bounds.0, bounds.1, false, usize::MAX, &mut rows)?;
        let catalog = Self::default();
        for row in rows {
            let (Some(key), Some(head)) =
                (ItemKey::from_joined(&row.key), Head::decode(&row.value))
            else {
                continue;
            };
            let value = value_of(&key, &head)?;
            let codec = value.first().copied().and_then(CodecId::from_byte);
            if let (Some(codec), Ok(name)) = (codec, std::str::from_utf8(key.key_bytes())) {
                catalog.record(name, codec);
            }
        }
        Ok(catalog)
    }

    pub(crate) fn get(&self, collection: &str) -> Option<CodecId> {
        self.codecs.read().get(collection).copied()
    }

    pub(crate) fn record(&self, collection: &str, codec: CodecId) {
        self.codecs.write().insert(collection.to_owned(), codec);
    }

    /// Whether the collection is recorded, and with this codec.
    pub(crate) fn check(&self, collection: &str, codec: CodecId) -> Result<bool> {
        match self.get(collection) {
            None => Ok(false),
            Some(stored) => check_same(collection, stored, codec).map(|()| true),
        }
    }
}

/// # Errors
/// [`Error::CodecMismatch`] when a collection that is stored in one form is used in another.
pub(crate) fn check_same(collection: &str, stored: CodecId, opened: CodecId) -> Result<()> {
    if stored == opened {
        return Ok(());
    }
    let (stored, opened) = (stored.name(), opened.name());
    Err(Error::CodecMismatch { collection: collection.to_owned(), stored, opened })
}
