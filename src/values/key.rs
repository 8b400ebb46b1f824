//! Names of collections and items, checked once where they enter.

use bytes::Bytes;

use crate::values::error::{Error, Result};
use crate::values::short_bytes::ShortBytes;

/// The longest key in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 511;
/// The longest collection name in bytes.
pub(crate) const MAX_COLLECTION_BYTES: usize = 128;

/// A collection and a key in it, joined as `name NUL key`: the index's key.
///
/// Names hold no NUL, so no two pairs join to the same bytes, and the items of a collection are
/// one contiguous range in bytewise order of their keys. The empty name is the store's own system
/// collection, which records each collection's codec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ItemKey {
    joined: ShortBytes,
    collection_len: usize,
}

impl ItemKey {
    /// Parts a collection's name from the key; no name contains it.
    pub(crate) const SEPARATOR: u8 = 0;

    /// Joins a checked collection name and a key, which is checked here.
    pub(crate) fn new(collection: &str, key: &[u8]) -> Result<Self> {
        check_len(key.len())?;
        Self::of_parts(collection, key, &[])
    }

    /// The key of a collection as a whole: the empty key, which no item has. It finds the tombstone
    /// that a clear leaves.
    pub(crate) fn of_collection(collection: &str) -> Self {
        Self::in_directory(collection, &[], &[])
    }

    /// Whether this represents a collection as a whole.
    pub(crate) fn is_collection(&self) -> bool {
        self.as_bytes().len() == self.collection_len + 1
    }

    /// Whether the item is one of the store's own.
    #[inline]
    pub(crate) fn is_of_system(&self) -> bool {
        self.collection_len == 0
    }

    /// Joins a collection's name and the key of a cell of the index, which comes in two parts and
    /// is empty where the cell is [the collection's](Self::of_collection).
    pub(crate) fn of_parts(collection: &str, first: &[u8], second: &[u8]) -> Result<Self> {
        if !first.is_empty() || !second.is_empty() {
            check_len(first.len() + second.len())?;
        }
        Ok(Self::in_directory(collection, first, second))
    }

    /// Joins the name of a directory of the index and the key of a cell in it, which were checked.
    pub(crate) fn in_directory(directory: &str, first: &[u8], second: &[u8]) -> Self {
        let joined = ShortBytes::of([directory.as_bytes(), &[Self::SEPARATOR], first, second]);
        Self { joined, collection_len: directory.len() }
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.joined.as_slice()
    }

    pub(crate) fn collection(&self) -> &str {
        std::str::from_utf8(self.collection_bytes()).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn collection_bytes(&self) -> &[u8] {
        self.as_bytes().get(..self.collection_len).unwrap_or_default()
    }

    /// The key as an item holds it.
    #[inline]
    pub(crate) fn item_key(&self) -> ShortBytes {
        ShortBytes::of([self.key_bytes()])
    }

    /// A copy of the key.
    pub(crate) fn key(&self) -> Bytes {
        Bytes::copy_from_slice(self.key_bytes())
    }

    #[inline]
    pub(crate) fn key_bytes(&self) -> &[u8] {
        self.as_bytes().get(self.collection_len + 1..).unwrap_or_default()
    }
}

pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    check_len(key.len())
}

fn check_len(len_bytes: usize) -> Result<()> {
    match len_bytes {
        1..=MAX_KEY_BYTES => Ok(()),
        0 => Err(Error::InvalidKey { reason: "the key is empty; a key has 1 to 511 bytes" }),
        _ => Err(Error::InvalidKey { reason: "the key is too long; a key has 1 to 511 bytes" }),
    }
}

pub(crate) fn check_collection(name: &str) -> Result<()> {
    let reason = match name.len() {
        0 => "the collection's name is empty; a name has 1 to 128 bytes",
        1..=MAX_COLLECTION_BYTES if !name.as_bytes().contains(&ItemKey::SEPARATOR) => return Ok(()),
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
    fn a_joined_key_knows_its_parts() {
        for (collection, key) in
            [("a", &b"k"[..]), ("", b"\0"), ("ab", b"\0x\0"), ("é", &[0xff; 511])]
        {
            let joined = ItemKey::new(collection, key).unwrap();
            assert_eq!(joined.collection(), collection);
            assert_eq!(joined.key_bytes(), key);
            let (first, second) = key.split_at(key.len() / 2);
            assert_eq!(ItemKey::of_parts(collection, first, second).unwrap(), joined);
        }
    }

    #[test]
    fn names_and_keys_beyond_the_limits_are_refused() {
        assert!(check_len(511).is_ok());
        assert!(check_len(512).is_err());
        assert!(check_len(0).is_err());
        assert!(check_collection(&"x".repeat(128)).is_ok());
        assert!(check_collection(&"x".repeat(129)).is_err());
        assert!(check_collection("").is_err());
        assert!(check_collection("a\0b").is_err());
    }
}
