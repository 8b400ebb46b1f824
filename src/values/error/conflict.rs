//! The item that a refused write ran into.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::values::codec::CodecId;
use crate::values::error::Result;
use crate::values::item::{Item, Meta};

/// The stored item because of which a write was refused. So a caller can resolve the conflict
/// without a second read. The version is the one that the write was decided against. If compaction
/// has reclaimed that version since, it is the newest one, or none if the item is gone.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::Error;
///
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let stored = notes.create("a", &"theirs".to_owned())?;
/// match notes.create("a", &"mine".to_owned()) {
///     Err(Error::AlreadyExists(conflict)) => {
///         assert_eq!((conflict.collection(), conflict.key()), ("notes", &b"a"[..]));
///         assert_eq!(conflict.http_status(), 409);
///         assert_eq!(conflict.meta(), Some(&stored));
///         let bytes = conflict.current_bytes().map(|item| &item.value[..]);
///         assert_eq!(bytes, Some(&b"\"theirs\""[..]));
///         let mut current = conflict.current::<String>()?.expect("the item is present");
///         current.value.push_str(" and mine");
///         notes.save(&mut current)?;
///     }
///     other => panic!("expected a conflict, got {other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    collection: String,
    key: Bytes,
    codec: CodecId,
    current: Option<Item<Bytes>>,
    http_status: u16,
}

impl Conflict {
    pub(crate) fn new(
        collection: &str,
        key: Bytes,
        codec: CodecId,
        current: Option<Item<Bytes>>,
        http_status: u16,
    ) -> Self {
        Self { collection: collection.to_owned(), key, codec, current, http_status }
    }

    /// Makes this the conflict of an update that gave up: the precondition that failed was the
    /// update's own.
    pub(crate) fn give_up(&mut self) {
        self.http_status = 409;
    }

    /// The collection that the write was for.
    #[must_use]
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// The key that the write was for.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The current item, decoded; `None` when there is none. `T` is the collection's document
    /// type, or `Bytes` for a raw collection.
    ///
    /// # Errors
    /// [`Error::Codec`](crate::Error::Codec) when the stored bytes are not a document of this type.
    pub fn current<T: DeserializeOwned>(&self) -> Result<Option<Item<T>>> {
        let decode = |item: Item<Bytes>| {
            let decoded = item.try_map(|bytes| self.codec.decode(bytes));
            decoded.map_err(|error| error.with_item(&self.collection, &self.key))
        };
        self.current.clone().map(decode).transpose()
    }

    /// The current item with its stored bytes; `None` when there is none.
    #[must_use]
    pub fn current_bytes(&self) -> Option<&Item<Bytes>> {
        self.current.as_ref()
    }

    /// The version of the current item; `None` when there is none.
    #[must_use]
    pub fn meta(&self) -> Option<&Meta> {
        self.current.as_ref().map(Item::meta)
    }

    /// 412 for a failed precondition, 409 for a create over a present item or an update that gave
    /// up.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.http_status
    }
}
