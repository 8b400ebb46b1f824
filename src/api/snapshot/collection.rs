//! A collection as it was at a snapshot.

use std::fmt;
use std::sync::Arc;

use crate::api::collection::{Collection, KeyRange, decode};
use crate::api::iter::{Iter, Keys, Selection};
use crate::api::snapshot::Snapshot;
use crate::engine::View;
use crate::values::codec::{Codec, Json};
use crate::values::error::Result;
use crate::values::item::Item;
use crate::values::key::ItemKey;

/// A collection as it was at a [`Snapshot`]; made by [`Snapshot::collection`]. Cheap to clone.
///
/// Items have the tags that they had in the [`Collection`]. So an item that is read here can be
/// saved there, on condition that it has not changed since.
///
/// # Errors
/// Besides those that each method lists, every method and every iterator can return
/// [`Error::SnapshotTooOld`](crate::Error::SnapshotTooOld) when the snapshot was given up to bound
/// memory or disk space, [`Error::InvalidKey`](crate::Error::InvalidKey) when the collection
/// belongs to another store, and what reading a [`Collection`] can return.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let store = ifmatch::Store::in_memory();
/// let prices = store.collection::<f64>("prices")?;
/// prices.create("apple", &0.5)?;
/// let snapshot = store.snapshot();
///
/// let mut apple = snapshot.collection(&prices).get("apple")?.expect("it is there");
/// apple.value = 0.6;
/// prices.save(&mut apple)?; // nobody changed it since
/// # Ok(()) }
/// ```
pub struct SnapshotCollection<T, C = Json> {
    pub(super) snapshot: Snapshot,
    pub(super) collection: Collection<T, C>,
}

impl<T, C: Codec<T>> SnapshotCollection<T, C> {
    /// Reads an item as it was; `None` when there was none. Costs as much as [`Collection::get`];
    /// for an item that has changed since, always one read of the journal.
    ///
    /// # Errors
    /// [`Error::Codec`](crate::Error::Codec) when the stored document cannot be decoded as `T`.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// let tag = notes.create("a", &1)?.etag();
    /// let snapshot = store.snapshot();
    /// notes.replace("a", &2, tag)?;
    /// let seen = snapshot.collection(&notes).get("a")?;
    /// assert!(seen.is_some_and(|item| item.value == 1 && item.etag() == tag));
    /// # Ok(()) }
    /// ```
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Item<T>>> {
        let view = self.view()?;
        let key = self.collection.key(key.as_ref())?;
        let version = self.snapshot.store.engine()?.read_at(view, &key)?;
        version.map(|version| decode::<T, C>(&key, version)).transpose()
    }

    /// Reads several items as they were, in the order of the keys.
    ///
    /// # Errors
    /// [`Error::Codec`](crate::Error::Codec) when one of the documents cannot be decoded as `T`,
    /// [`Error::InvalidKey`](crate::Error::InvalidKey) when one of the keys is not within the
    /// limits.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// notes.create("a", &1)?;
    /// let snapshot = store.snapshot();
    /// notes.create("b", &2)?;
    /// let seen = snapshot.collection(&notes).get_many(["b", "a"])?;
    /// assert!(seen[0].is_none() && seen[1].is_some());
    /// # Ok(()) }
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Item<T>>>> {
        let view = self.view()?;
        let keys = keys.into_iter().map(|key| self.collection.key(key.as_ref()));
        let keys: Vec<ItemKey> = keys.collect::<Result<_>>()?;
        let engine = self.snapshot.store.engine()?;
        let read = |key| engine.read_at(view, key);
        let versions: Vec<_> = keys.iter().map(read).collect::<Result<_>>()?;
        // Decoding is the user's code.
        drop(engine);
        let found = keys.iter().zip(versions);
        found.map(|(key, version)| version.map(|v| decode::<T, C>(key, v)).transpose()).collect()
    }

    /// Iterates over all items as they were, in order of their keys, from either end, lazily.
    ///
    /// # Errors
    /// Only those of the type. An item that cannot be read is an `Err` of the iterator.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// notes.create("a/1", &1)?;
    /// let snapshot = store.snapshot();
    /// notes.create("a/2", &2)?;
    /// for item in snapshot.collection(&notes).iter()? {
    ///     assert_eq!(item?.value, 1);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn iter(&self) -> Result<Iter<T, C>> {
        self.select(Selection::all(self.collection.name()))
    }

    /// Iterates over the items whose keys begin with these bytes, as they were.
    ///
    /// # Errors
    /// Only those of the type. An item that cannot be read is an `Err` of the iterator.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// for (key, value) in [("a/1", 1), ("a/2", 2), ("b/1", 3)] {
    ///     notes.create(key, &value)?;
    /// }
    /// let snapshot = store.snapshot();
    /// notes.create("a/3", &4)?;
    /// assert_eq!(snapshot.collection(&notes).prefix("a/")?.count(), 2);
    /// # Ok(()) }
    /// ```
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Iter<T, C>> {
        self.select(Selection::prefix(self.collection.name(), prefix.as_ref()))
    }

    /// Iterates over the items whose keys lie in this range, as they were. An empty or inverted
    /// range has none.
    ///
    /// # Errors
    /// Only those of the type. An item that cannot be read is an `Err` of the iterator.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// for (key, value) in [("a/1", 1), ("a/2", 2), ("b/1", 3)] {
    ///     notes.create(key, &value)?;
    /// }
    /// let snapshot = store.snapshot();
    /// notes.delete("b/1", ifmatch::Precondition::Always)?;
    /// let last = snapshot.collection(&notes).range("a/2"..)?.next_back().transpose()?;
    /// assert_eq!(last.map(|item| item.value), Some(3));
    /// # Ok(()) }
    /// ```
    pub fn range<K: ?Sized, R: KeyRange<K>>(&self, range: R) -> Result<Iter<T, C>> {
        self.select(Selection::range(self.collection.name(), range.bounds()))
    }

    /// Iterates over the keys that there were, in order and from either end; reads no values.
    ///
    /// # Errors
    /// Only those of the type. An item that cannot be read is an `Err` of the iterator.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// notes.create("b", &1)?;
    /// let snapshot = store.snapshot();
    /// notes.create("a", &2)?;
    /// let first = snapshot.collection(&notes).keys()?.next().transpose()?;
    /// assert_eq!(first.as_deref(), Some(&b"b"[..]));
    /// # Ok(()) }
    /// ```
    pub fn keys(&self) -> Result<Keys> {
        let view = Some(Arc::clone(self.view()?));
        self.collection.check_codec()?;
        Ok(Keys::new(self.snapshot.store.clone(), view, Selection::all(self.collection.name())))
    }

    /// Counts the items that there were. Costs as [`Collection::len`].
    ///
    /// # Errors
    /// Those of the type.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// notes.create("a", &1)?;
    /// let snapshot = store.snapshot();
    /// notes.create("b", &2)?;
    /// assert_eq!(snapshot.collection(&notes).len()?, 1);
    /// # Ok(()) }
    /// ```
    pub fn len(&self) -> Result<u64> {
        self.keys()?.count_items()
    }

    /// Whether there was no item.
    ///
    /// # Errors
    /// Those of the type.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// assert!(store.snapshot().collection(&notes).is_empty()?);
    /// # Ok(()) }
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        self.keys()?.next().transpose().map(|first| first.is_none())
    }

    fn select(&self, selection: Selection) -> Result<Iter<T, C>> {
        Iter::new(&self.collection, Some(Arc::clone(self.view()?)), selection)
    }

    /// What is read from, if the collection is one of its store.
    fn view(&self) -> Result<&Arc<View>> {
        self.snapshot.view_of(self.collection.store())
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(crate) fn collection(&self) -> &Collection<T, C> {
        &self.collection
    }
}

impl<T, C> Clone for SnapshotCollection<T, C> {
    fn clone(&self) -> Self {
        Self { snapshot: self.snapshot.clone(), collection: self.collection.clone() }
    }
}

impl<T, C> fmt::Debug for SnapshotCollection<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotCollection")
            .field("snapshot", &self.snapshot)
            .field("collection", &self.collection)
            .finish()
    }
}
