//! Which codec each collection is written with.
//!
//! A codec is recorded as an item of the system collection, whose name is empty: in the same frame
//! as the collection's first write, found again by a scan at open.

use std::collections::HashMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::engine::{Engine, Span, Window};
use crate::seams::sync::RwLock;
use crate::values::codec::CodecId;
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;

/// The recorded codecs of a store.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// `None` for a codec that only a newer version of this crate knows.
    codecs: RwLock<HashMap<String, Option<CodecId>>>,
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
    pub(crate) fn is_recorded(&self, collection: &str) -> bool {
        self.codecs.read().contains_key(collection)
    }

    pub(crate) fn len(&self) -> u64 {
        self.codecs.read().len() as u64
    }

    pub(crate) fn record(&self, collection: &str, codec: CodecId) {
        self.codecs.write().insert(collection.to_owned(), Some(codec));
    }

    /// Whether the collection is recorded, and with this codec.
    pub(crate) fn check(&self, collection: &str, codec: CodecId) -> Result<bool> {
        let recorded = self.codecs.read().get(collection).copied();
        match recorded {
            None => Ok(false),
            Some(Some(stored)) => check_same(collection, stored, codec).map(|()| true),
            Some(None) => Err(mismatch(collection, "a codec of a newer version of ifmatch", codec)),
        }
    }
}

/// # Errors
/// [`Error::CodecMismatch`] when a collection that is stored in one form is used in another.
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
    /// Reads all records.
    pub(super) fn load_catalog(&self) -> Result<Catalog> {
        let mut rows = Vec::new();
        let bounds = (Bound::Unbounded, Bound::Unbounded);
        let span = Span { collection: "", bounds, reverse: false };
        let window = Window { rows: usize::MAX, value_bytes: u64::MAX };
        let mut after = self.scan(None, span, window, &mut rows)?;
        while let Some(key) = after {
            let bounds = (Bound::Excluded(key.as_slice()), Bound::Unbounded);
            after = self.scan(None, Span { bounds, ..span }, window, &mut rows)?;
        }
        let catalog = Catalog::default();
        for row in self.versions_of(None, rows) {
            let (key, version) = row?;
            let codec = version.value.first().copied().and_then(CodecId::from_byte);
            if let Ok(name) = std::str::from_utf8(key.key_bytes()) {
                catalog.codecs.write().insert(name.to_owned(), codec);
            }
        }
        Ok(catalog)
    }
}
