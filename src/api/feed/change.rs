//! What the feed yields: one change of one item.

use std::time::SystemTime;

use bytes::Bytes;

use crate::api::feed::cursor::Cursor;
use crate::journal::frame::EntryKind;
use crate::values::error::Result;
use crate::values::etag::ETag;
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::revision::Revision;

/// What became of an item, or of a whole collection.
///
/// ```
/// use ifmatch::ChangeKind;
///
/// fn leaves_item(kind: ChangeKind) -> bool {
///     matches!(kind, ChangeKind::Created | ChangeKind::Replaced)
/// }
/// assert!(!leaves_item(ChangeKind::Deleted));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It was created: there was no item, or only an expired one.
    Created,
    /// It was written over another version.
    Replaced,
    /// It was removed.
    Deleted,
    /// It expired.
    Expired,
    /// Every item of the collection was removed, by [`Collection::clear`] or
    /// [`Store::drop_collection`]. The change has the empty key, which no item has, and represents
    /// all of them: a reader that keeps a copy removes its items of the collection.
    ///
    /// [`Collection::clear`]: crate::Collection::clear
    /// [`Store::drop_collection`]: crate::Store::drop_collection
    Cleared,
}

impl From<EntryKind> for ChangeKind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Created => Self::Created,
            EntryKind::Replaced => Self::Replaced,
            EntryKind::Deleted => Self::Deleted,
            EntryKind::Expired => Self::Expired,
            EntryKind::Cleared => Self::Cleared,
        }
    }
}

/// What one commit did to one item. A batch makes one change for each item that it changed, in the
/// order in which it first named them, all with one revision. A clear of a collection makes one
/// [`Cleared`](ChangeKind::Cleared) for all of its items.
///
/// From a [`Store`](crate::Store) it carries the stored bytes, from a
/// [`Collection`](crate::Collection) the document.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{ChangeKind, Cursor};
///
/// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
/// let first = prices.create("apple", &0.5)?;
/// let second = prices.replace("apple", &0.6, first.etag())?;
///
/// let change = prices.changes(Cursor::START)?.last().expect("two changes")?;
/// assert_eq!(change.kind(), ChangeKind::Replaced);
/// assert_eq!((change.collection(), change.key_str()), ("prices", Some("apple")));
/// assert_eq!((change.etag(), change.parent()), (second.etag(), Some(first.etag())));
/// assert_eq!((change.meta(), change.revision()), (&second, second.revision()));
/// assert_eq!((change.modified(), change.expires()), (second.modified(), None));
/// assert_eq!((change.value(), change.key()), (Some(&0.6), &b"apple"[..]));
/// assert_eq!(change.into_value(), Some(0.6));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<T = Bytes> {
    pub(super) kind: ChangeKind,
    pub(super) key: ItemKey,
    pub(super) meta: Meta,
    pub(super) value: Option<T>,
    pub(super) cursor: Cursor,
}

impl<T> Change<T> {
    /// What became of the item.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        self.kind
    }

    /// The collection's name.
    #[must_use]
    pub fn collection(&self) -> &str {
        self.key.collection()
    }

    /// The item's key; empty if the collection was [cleared](ChangeKind::Cleared).
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.key.key_bytes()
    }

    /// The key as text, if it is UTF-8.
    #[must_use]
    pub fn key_str(&self) -> Option<&str> {
        std::str::from_utf8(self.key()).ok()
    }

    /// The tag of this change: of the version it wrote, or of the removal.
    #[must_use]
    pub fn etag(&self) -> ETag {
        self.meta.etag
    }

    /// The tag of the version that was there before, if any.
    #[must_use]
    pub fn parent(&self) -> Option<ETag> {
        self.meta.parent
    }

    /// The commit that made the change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.meta.revision
    }

    /// When the change was made; see [`Meta::modified`].
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        self.meta.modified()
    }

    /// When the written version expires or expired, if ever.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.meta.expires()
    }

    /// Everything that names the change.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The value that was written; `None` for an item that is gone.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The value that was written, without the rest; `None` for an item that is gone.
    #[must_use]
    pub fn into_value(self) -> Option<T> {
        self.value
    }

    /// The place after this change. A feed from there begins with the next one, also inside a
    /// batch.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    pub(crate) fn try_map<U>(self, f: impl FnOnce(T) -> Result<U>) -> Result<Change<U>> {
        let Self { kind, key, meta, value, cursor } = self;
        let value = value.map(f).transpose();
        let value = value.map_err(|error| error.with_item(key.collection(), key.key_bytes()))?;
        Ok(Change { kind, key, meta, value, cursor })
    }
}
