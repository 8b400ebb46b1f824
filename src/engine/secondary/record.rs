//! An index's definition in the journal: an item of the system collection, under the collection's
//! name, a NUL, and the index's name. It is created when the index is declared and deleted when it
//! is dropped; its revision names the index. That of a unique index is replaced once, when the
//! index has been held against the items that there were: from then on it binds.

use bytes::Bytes;

use crate::engine::operation::{Action, Expiry, NewValue, Operation};
use crate::values::codec::CodecId;
use crate::values::error::Result;
use crate::values::key::ItemKey;
use crate::values::precondition::{Precondition, Tags};
use crate::values::query::index::Index;

/// The layout of a record.
const VERSION: u8 = 1;
/// The layout of a unique index's record.
const UNIQUE_VERSION: u8 = 2;

/// What is recorded of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexDefinition {
    pub(crate) collection: String,
    pub(crate) index: Index,
    pub(crate) slot: u8,
    /// Of a unique index that binds: the revision of the record that declared it.
    pub(crate) bound: Option<u64>,
}

impl IndexDefinition {
    fn key(&self) -> Result<ItemKey> {
        record_key(&self.collection, &self.index)
    }

    /// The layout's version, the slot, the codec of the collection, of a unique index the revision
    /// that declared it or 0 while it does not bind, and the name.
    fn encode(&self) -> Bytes {
        let head = |version| [version, self.slot, CodecId::Json as u8];
        let name = self.index.name();
        if !self.index.is_unique() {
            return [&head(VERSION)[..], name.as_bytes()].concat().into();
        }
        let bound = self.bound.unwrap_or(0).to_le_bytes();
        [&head(UNIQUE_VERSION)[..], &bound, name.as_bytes()].concat().into()
    }

    /// Reads a record by its key in the system collection and its value; `None` for one that is not
    /// an index's, or that only a newer version of this crate can read.
    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let (collection, _) = split(key)?;
        let (head, rest) = value.split_first_chunk::<3>()?;
        let [version, slot, codec] = *head;
        (codec == CodecId::Json as u8).then_some(())?;
        let (bound, name) = match version {
            VERSION => (None, rest),
            UNIQUE_VERSION => {
                let (bound, name) = rest.split_first_chunk()?;
                (Some(u64::from_le_bytes(*bound)), name)
            }
            _ => return None,
        };
        let index: Index = std::str::from_utf8(name).ok()?.parse().ok()?;
        let index = if bound.is_some() { index.unique() } else { index };
        let bound = bound.filter(|declared| *declared > 0);
        Some(Self { collection: collection.to_owned(), index, slot, bound })
    }

    /// Writes the record of an index that is not declared.
    pub(super) fn declaring(&self) -> Result<Operation> {
        let action = Action::Create(NewValue::new(self.encode(), Expiry::Never)?);
        let is_new = Precondition::IfNoneMatch(Tags::Any);
        Ok(Operation::new(self.key()?, CodecId::Json, is_new, action))
    }

    /// Replaces the record of a unique index by one that says that it binds.
    pub(super) fn binding(&self) -> Result<Operation> {
        let action = Action::Replace(NewValue::new(self.encode(), Expiry::Never)?);
        Ok(Operation::new(self.key()?, CodecId::Json, Precondition::Always, action))
    }
}

/// Removes the record of an index.
pub(super) fn dropping(collection: &str, index: &Index) -> Result<Operation> {
    let key = record_key(collection, index)?;
    Ok(Operation::new(key, CodecId::Json, Precondition::Always, Action::Delete))
}

/// The key of an index's record.
pub(super) fn record_key(collection: &str, index: &Index) -> Result<ItemKey> {
    let (separator, name) = ([ItemKey::SEPARATOR], index.name());
    ItemKey::new("", &[collection.as_bytes(), &separator, name.as_bytes()].concat())
}

/// Whether a key of the system collection is that of an index's record.
pub(crate) fn is_index_record(key: &[u8]) -> bool {
    split(key).is_some()
}

/// The collection's name and the index's.
fn split(key: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(key).ok()?.split_once('\0')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for (text, bound) in [
            ("/tags/*,-/modified", None),
            ("/email", None),
            ("unique /email", None),
            ("unique -/a,/b", Some(7)),
        ] {
            let index: Index = text.parse().unwrap();
            let definition = IndexDefinition { collection: "notes".into(), index, slot: 63, bound };
            let key = definition.key().unwrap();
            assert!(is_index_record(key.key_bytes()));
            let value = definition.encode();
            assert_eq!(IndexDefinition::decode(key.key_bytes(), &value), Some(definition));
        }
        assert!(!is_index_record(b"notes"));
    }

    #[test]
    fn a_record_of_a_newer_version_is_not_taken_for_one_of_this() {
        let key = record_key("notes", &Index::on("/a")).unwrap();
        for value in [
            &b""[..],
            &[1, 0],
            b"\x03\x00\x01/a",
            b"\x02\x00\x01/a",
            b"\x01\x00\x03/a",
            b"\x01\x00\x01a",
        ] {
            assert_eq!(IndexDefinition::decode(key.key_bytes(), value), None, "{value:?}");
        }
    }
}
