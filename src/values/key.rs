//! Names of collections and items, checked once where they enter.

use bytes::Bytes;

use crate::values::error::{Error, Result};

/// The longest key in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 511;
/// The longest collection name in bytes.
pub(crate) const MAX_COLLECTION_BYTES: usize = 128;
/// Parts a collection's name from the key; no name contains it.
const SEPARATOR: u8 = 0;

/// A collection and a key in it, joined as `name NUL key`: the table's key.
///
/// Names hold no NUL, so no two pairs join to the same bytes, and the items of a collection are
/// one contiguous range in bytewise order of their keys. The empty name is the store's own system
/// collection, which records each collection's codec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ItemKey {
    joined: Bytes,
    collection_len: usize,
}

impl ItemKey {
    /// Joins a checked collection name and a key, which is checked here.
    pub(crate) fn new(collection: &str, key: &[u8]) -> Result<Self> {
        check_key(key)?;
        let mut joined = Vec::with_capacity(collection.len() + 1 + key.len());
        joined.extend_from_slice(collection.as_bytes());
        joined.push(SEPARATOR);
        joined.extend_from_slice(key);
        Ok(Self { joined: joined.into(), collection_len: collection.len() })
    }

    /// Reads back what [`as_bytes`](Self::as_bytes) gave; `None` for anything else.
    pub(crate) fn from_joined(joined: &[u8]) -> Option<Self> {
        let collection_len = joined.iter().position(|byte| *byte == SEPARATOR)?;
        let (name, key) = joined.split_at_checked(collection_len)?;
        let valid = std::str::from_utf8(name).is_ok()
            && name.len() <= MAX_COLLECTION_BYTES
            && (2..=MAX_KEY_BYTES + 1).contains(&key.len());
        valid.then(|| Self { joined: Bytes::copy_from_slice(joined), collection_len })
    }

    /// The joined bytes, shared.
    pub(crate) fn to_bytes(&self) -> Bytes {
        self.joined.clone()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.joined
    }

    pub(crate) fn collection(&self) -> &str {
        let name = self.joined.get(..self.collection_len).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    pub(crate) fn key(&self) -> Bytes {
        self.joined.slice(self.collection_len + 1..)
    }

    pub(crate) fn key_bytes(&self) -> &[u8] {
        self.joined.get(self.collection_len + 1..).unwrap_or_default()
    }
}

/// The half-open range of table keys that holds a collection: its first possible key, and the
/// first key after it.
pub(crate) fn collection_range(collection: &str) -> (Vec<u8>, Vec<u8>) {
    let mut first = collection.as_bytes().to_vec();
    let mut after = first.clone();
    first.push(SEPARATOR);
    after.push(SEPARATOR + 1);
    (first, after)
}

pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(()),
        0 => Err(Error::InvalidKey { reason: "the key is empty; a key has 1 to 511 bytes" }),
        _ => Err(Error::InvalidKey { reason: "the key is too long; a key has 1 to 511 bytes" }),
    }
}

pub(crate) fn check_collection(name: &str) -> Result<()> {
    let reason = match name.len() {
        0 => "the collection's name is empty; a name has 1 to 128 bytes",
        1..=MAX_COLLECTION_BYTES if !name.as_bytes().contains(&SEPARATOR) => return Ok(()),
        1..=MAX_COLLECTION_BYTES => {
            "the collection's name holds a NUL character; a name holds none"
        }
        _ => "the collection's name is too long; a name has 1 to 128 bytes",
    };
    Err(Error::InvalidKey { reason })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn joining_and_splitting_are_inverse() {
        for (collection, key) in
            [("a", &b"k"[..]), ("", b"\0"), ("ab", b"\0x\0"), ("é", &[0xff; 511])]
        {
            let joined = ItemKey::new(collection, key).unwrap();
            assert_eq!(joined.collection(), collection);
            assert_eq!(joined.key_bytes(), key);
            assert_eq!(ItemKey::from_joined(joined.as_bytes()), Some(joined));
        }
        for bad in [&b""[..], b"name", b"name\0", b"\xff\0k"] {
            assert_eq!(ItemKey::from_joined(bad), None);
        }
    }

    #[test]
    fn a_collection_is_one_range_that_holds_no_other() {
        let (first, after) = collection_range("a");
        let inside = ItemKey::new("a", &[0xff; 511]).unwrap();
        assert!(first.as_slice() < inside.as_bytes() && inside.as_bytes() < after.as_slice());
        for other in ["", "a\u{1}", "ab", "b", "A"] {
            let key = ItemKey::new(other, b"k").unwrap();
            let within = first.as_slice() <= key.as_bytes() && key.as_bytes() < after.as_slice();
            assert!(!within, "{other:?} lies in the range of \"a\"");
        }
    }

    #[test]
    fn names_and_keys_beyond_the_limits_are_refused() {
        assert!(check_key(&[0; 511]).is_ok());
        assert!(check_key(&[0; 512]).is_err());
        assert!(check_key(&[]).is_err());
        assert!(check_collection(&"x".repeat(128)).is_ok());
        assert!(check_collection(&"x".repeat(129)).is_err());
        assert!(check_collection("").is_err());
        assert!(check_collection("a\0b").is_err());
    }
}
