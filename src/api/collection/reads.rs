//! Reading one item or several, also on a condition.

use crate::api::collection::{Collection, decode};
use crate::engine::Version;
use crate::engine::operation::meets;
use crate::values::codec::Codec;
use crate::values::error::{Conflict, Error, Result};
use crate::values::etag::ETag;
use crate::values::item::{Item, Meta};
use crate::values::key::ItemKey;
use crate::values::precondition::{Precondition, Stored, Verb, Verdict, evaluate};

/// What a conditional read found; see [`Collection::get_if`].
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Precondition, Read};
///
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let tag = notes.create("a", &"one".to_owned())?.etag();
/// let body = match notes.get_if("a", Precondition::if_none_match(tag))? {
///     Read::Found(item) => Some(item.value),
///     Read::NotModified(meta) => None, // the copy with meta.etag() is current
///     Read::Missing => None,
/// };
/// assert_eq!(body, None);
/// assert_eq!(notes.get_if("a", Precondition::Always)?.http_status(), 200);
/// assert!(notes.get_if("b", Precondition::Always)?.found().is_none());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// The item exists, and the precondition holds.
    Found(Item<T>),
    /// The item exists, and the reader's copy is current: 304 in HTTP.
    NotModified(Meta),
    /// There is no item.
    Missing,
}

impl<T> Read<T> {
    /// The HTTP status for this result: 200, 304 or 404.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Found(_) => 200,
            Self::NotModified(_) => 304,
            Self::Missing => 404,
        }
    }

    /// The item, if it exists and the reader's copy is not current.
    #[must_use]
    pub fn found(self) -> Option<Item<T>> {
        if let Self::Found(item) = self { Some(item) } else { None }
    }
}

impl<T, C: Codec<T>> Collection<T, C> {
    /// Reads an item; `None` when there is none. A cached value costs no I/O. Otherwise the read
    /// costs at most one read of the index and one of the journal.
    ///
    /// # Errors
    /// [`Error::Codec`] when the stored document cannot be decoded as `T`.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// notes.create("a", &"one".to_owned())?;
    /// assert_eq!(notes.get("a")?.map(|item| item.value).as_deref(), Some("one"));
    /// assert_eq!(notes.get("b")?, None);
    /// # Ok(()) }
    /// ```
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Item<T>>> {
        let key = self.key(key.as_ref())?;
        let version = self.store.engine()?.read(&key)?;
        version.map(|version| decode::<T, C>(&key, version)).transpose()
    }

    /// Reads the version of an item without its document; `None` when there is no item. Decodes no
    /// document, but otherwise costs as much as [`get`](Self::get), because the parent tag is
    /// stored with the document.
    ///
    /// # Errors
    /// Those that every method can return; see [`Collection`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let meta = notes.create("a", &"one".to_owned())?;
    /// assert_eq!(notes.head("a")?, Some(meta));
    /// assert_eq!(notes.head("b")?, None);
    /// # Ok(()) }
    /// ```
    pub fn head(&self, key: impl AsRef<[u8]>) -> Result<Option<Meta>> {
        let key = self.key(key.as_ref())?;
        let engine = self.store.engine()?;
        if let Some(meta) = engine.meta_if(&key, |_| true)? {
            return Ok(Some(meta));
        }
        Ok(engine.read(&key)?.map(|version| version.meta))
    }

    /// Whether an item exists. Costs at most one read of the index, and none of the journal.
    ///
    /// # Errors
    /// Those that every method can return; see [`Collection`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// notes.create("a", &"one".to_owned())?;
    /// assert!(notes.contains("a")? && !notes.contains("b")?);
    /// # Ok(()) }
    /// ```
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = self.key(key.as_ref())?;
        self.store.engine()?.is_present(&key)
    }

    /// Whether the write with this tag was made to this item. After a write has returned
    /// [`Error::CommitUnknown`], reopen the store and ask this. The write was made if the tag is
    /// that of the item's current version, or of a version or removal that later ones lead back to
    /// by their parent tags.
    ///
    /// The answer comes from the journal, not from [`history`](Self::history): it does not need a
    /// [`HistoryPolicy`](crate::HistoryPolicy) with versions. It looks back as far as the journal
    /// still holds the item's entries. `true` is certain. `false` is certain only while compaction
    /// has dropped no later version. So ask right after the store is reopened, before the item is
    /// written often, or keep versions.
    ///
    /// For each later version, it costs a read of up to 256 KiB of the journal. The first such read
    /// in a segment after an open reads the segment from its beginning.
    ///
    /// # Errors
    /// Those that every method can return; see [`Collection`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let first = notes.create("a", &"one".to_owned())?;
    /// let second = notes.replace("a", &"two".to_owned(), first)?;
    /// notes.delete("a", second)?;
    /// assert!(notes.was_written("a", &first.etag())?);
    /// assert!(!notes.was_written("b", &first.etag())?);
    /// # Ok(()) }
    /// ```
    pub fn was_written(&self, key: impl AsRef<[u8]>, etag: &ETag) -> Result<bool> {
        let key = self.key(key.as_ref())?;
        self.store.engine()?.has_written(&key, *etag)
    }

    /// Reads several items at one moment, and returns them in the order of the given keys. If a
    /// batch changes some of them, either all of its changes are seen or none. For each item it
    /// costs what [`get`](Self::get) costs.
    ///
    /// # Errors
    /// [`Error::Codec`] when one of the documents cannot be decoded as `T`, [`Error::InvalidKey`]
    /// when one of the keys is not within the limits.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// notes.create("a", &"one".to_owned())?;
    /// let found = notes.get_many(["b", "a"])?;
    /// assert!(found[0].is_none() && found[1].is_some());
    /// # Ok(()) }
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Item<T>>>> {
        let keys = keys.into_iter().map(|key| self.key(key.as_ref()));
        let keys: Vec<ItemKey> = keys.collect::<Result<_>>()?;
        let versions = self.store.engine()?.read_many(&keys)?;
        let decode = |(key, version): (&ItemKey, Option<Version>)| {
            version.map(|version| decode::<T, C>(key, version)).transpose()
        };
        keys.iter().zip(versions).map(decode).collect()
    }

    /// Reads an item if a precondition holds. With `IfNoneMatch` or `IfModifiedSince` this is a
    /// cheap way to learn that a copy is still current: the result is [`Read::NotModified`], and no
    /// document is decoded.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`] when an `IfMatch` or a `Matching` does not hold. That includes
    /// an absent item.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::{Precondition, Read};
    ///
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let tag = notes.create("a", &"one".to_owned())?.etag();
    /// let read = notes.get_if("a", Precondition::if_none_match(tag))?;
    /// assert!(matches!(read, Read::NotModified(meta) if meta.etag() == tag));
    /// # Ok(()) }
    /// ```
    pub fn get_if(
        &self,
        key: impl AsRef<[u8]>,
        precondition: impl Into<Precondition>,
    ) -> Result<Read<T>> {
        let (key, precondition) = (self.key(key.as_ref())?, precondition.into());
        self.check_precondition(&precondition)?;
        let engine = self.store.engine()?;
        if matches!(precondition, Precondition::IfNoneMatch(_) | Precondition::IfModifiedSince(_)) {
            let not_modified = |meta: &Meta| {
                evaluate(Verb::Get, &precondition, Some(meta.into())) == Verdict::Fails
            };
            if let Some(meta) = engine.meta_if(&key, not_modified)? {
                return Ok(Read::NotModified(meta));
            }
        }
        let version = engine.read(&key)?;
        drop(engine);
        let mut stored = version.as_ref().map(|version| Stored::from(&version.meta));
        if let (Precondition::Matching(filter), Some(stored), Some(version)) =
            (&precondition, &mut stored, &version)
        {
            let meets = meets(filter, &version.value);
            stored.meets = meets.map_err(|e| e.with_item(self.name(), key.key_bytes()))?;
        }
        match (evaluate(Verb::Get, &precondition, stored), version) {
            (Verdict::Refused(reason), _) => Err(Error::InvalidPrecondition { reason }),
            (Verdict::Holds, None) => Ok(Read::Missing),
            (Verdict::Holds, Some(version)) => decode::<T, C>(&key, version).map(Read::Found),
            (Verdict::Fails, Some(version))
                if !matches!(
                    precondition,
                    Precondition::IfMatch(_) | Precondition::Matching(_)
                ) =>
            {
                Ok(Read::NotModified(version.meta))
            }
            (Verdict::Fails, version) => {
                let current = version.map(|v| Item::stored(key.item_key(), v.value, v.meta));
                let conflict = Conflict::new(self.name(), key.key(), C::ID, current, 412);
                Err(Error::PreconditionFailed(Box::new(conflict)))
            }
        }
    }
}
