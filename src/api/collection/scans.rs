//! Iterating over the items of a collection.

use crate::api::collection::{Collection, KeyRange};
use crate::api::iter::{Iter, Keys, Selection};
use crate::values::codec::Codec;
use crate::values::error::Result;

impl<T, C: Codec<T>> Collection<T, C> {
    /// Iterates lazily over all items in order of their keys, from either end. At a time it holds
    /// some hundred keys with their versions, and at each end 1 MiB of values, or one value that is
    /// larger.
    ///
    /// Raw values of up to 1 KiB share a buffer of some 100 KiB with their neighbours. To keep one
    /// for long, copy it.
    ///
    /// Each item is seen whole, as it is when its part of the collection is read. A change that is
    /// made during the iteration may be seen or not. To see one moment, iterate over a
    /// [snapshot](crate::Store::snapshot). An item that cannot be decoded is an `Err` in its place.
    ///
    /// # Errors
    /// None of its own. An item that cannot be read is an `Err` of the iterator.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<u64>("notes")?;
    /// for (key, value) in [("a/1", 1), ("a/2", 2), ("b/1", 3)] {
    ///     notes.create(key, &value)?;
    /// }
    /// let mut sum = 0;
    /// for item in notes.iter()? {
    ///     sum += item?.value;
    /// }
    /// assert_eq!(sum, 6);
    /// # Ok(()) }
    /// ```
    pub fn iter(&self) -> Result<Iter<T, C>> {
        Iter::new(self, None, Selection::all(self.name()))
    }

    /// Iterates over the items whose keys begin with these bytes.
    ///
    /// # Errors
    /// None of its own. An item that cannot be read is an `Err` of the iterator.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<u64>("notes")?;
    /// for (key, value) in [("a/1", 1), ("a/2", 2), ("b/1", 3)] {
    ///     notes.create(key, &value)?;
    /// }
    /// let last = notes.prefix("a/")?.next_back().transpose()?;
    /// assert_eq!(last.map(|item| item.value), Some(2));
    /// # Ok(()) }
    /// ```
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Iter<T, C>> {
        Iter::new(self, None, Selection::prefix(self.name(), prefix.as_ref()))
    }

    /// Iterates over the items whose keys lie in this range. An empty or inverted range has none.
    /// [`KeyRange`] lists the forms, and shows how to read page by page.
    ///
    /// # Errors
    /// None of its own. An item that cannot be read is an `Err` of the iterator.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<u64>("notes")?;
    /// for (key, value) in [("a/1", 1), ("a/2", 2), ("b/1", 3)] {
    ///     notes.create(key, &value)?;
    /// }
    /// assert_eq!(notes.range("a/2"..)?.count(), 2);
    /// assert_eq!(notes.range("b".."a")?.count(), 0);
    /// # Ok(()) }
    /// ```
    pub fn range<K: ?Sized, R: KeyRange<K>>(&self, range: R) -> Result<Iter<T, C>> {
        Iter::new(self, None, Selection::range(self.name(), range.bounds()))
    }

    /// Iterates over the keys alone, in order and from either end; reads no values.
    ///
    /// # Errors
    /// None of its own. An item that cannot be read is an `Err` of the iterator.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<u64>("notes")?;
    /// for (key, value) in [("a/1", 1), ("a/2", 2), ("b/1", 3)] {
    ///     notes.create(key, &value)?;
    /// }
    /// let first = notes.keys()?.next().transpose()?;
    /// assert_eq!(first.as_deref(), Some(&b"a/1"[..]));
    /// # Ok(()) }
    /// ```
    pub fn keys(&self) -> Result<Keys> {
        self.check_codec()?;
        Ok(Keys::new(self.store.clone(), None, Selection::all(self.name())))
    }

    /// Counts the items. Costs a scan of the index, of some million items a second; reads no
    /// values.
    ///
    /// # Errors
    /// Those that every method can return; see [`Collection`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// notes.create("a", &"one".to_owned())?;
    /// assert_eq!(notes.len()?, 1);
    /// # Ok(()) }
    /// ```
    pub fn len(&self) -> Result<u64> {
        self.keys()?.count_items()
    }

    /// Whether there is no item. Reads up to 16 entries of the index, and more if the first ones
    /// are of deleted or expired items.
    ///
    /// # Errors
    /// Those that every method can return; see [`Collection`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// assert!(notes.is_empty()?);
    /// # Ok(()) }
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        self.keys()?.next().transpose().map(|first| first.is_none())
    }
}
