//! The conditional writes.

use crate::api::collection::Collection;
use crate::engine::operation::Action;
use crate::values::codec::Codec;
use crate::values::error::Result;
use crate::values::item::{Item, Meta};
use crate::values::precondition::{Precondition, Tags};

impl<T, C: Codec<T>> Collection<T, C> {
    /// Writes an item that must not exist yet, and returns its version.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) with the current item.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let created = notes.create("a", &"one".to_owned())?;
    /// assert_eq!(created.parent(), None);
    /// let again = notes.create("a", &"two".to_owned());
    /// assert_eq!(again.map_err(|error| error.http_status()), Err(409));
    /// # Ok(()) }
    /// ```
    pub fn create(&self, key: impl AsRef<[u8]>, value: &T) -> Result<Meta> {
        let action = Action::Create(self.new_value(key.as_ref(), value)?);
        self.write(key.as_ref(), action, Precondition::IfNoneMatch(Tags::Any))
    }

    /// Writes an item that must exist and meet the precondition, and returns the new version. An
    /// [`ETag`](crate::ETag) or a `&Item` as the precondition means `IfMatch` of its tag.
    ///
    /// # Errors
    /// - [`Error::NotFound`](crate::Error::NotFound) when there is no item.
    /// - [`Error::PreconditionFailed`](crate::Error::PreconditionFailed) with the current item.
    /// - [`Error::InvalidPrecondition`](crate::Error::InvalidPrecondition) for `IfNoneMatch(Any)` and `IfModifiedSince`.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Precondition;
    ///
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let first = notes.create("a", &"one".to_owned())?;
    /// let second = notes.replace("a", &"two".to_owned(), first.etag())?;
    /// assert!(notes.replace("a", &"three".to_owned(), first.etag()).is_err());
    /// let third = notes.replace("a", &"three".to_owned(), Precondition::Always)?;
    /// assert_eq!(third.parent(), Some(second.etag()));
    /// # Ok(()) }
    /// ```
    pub fn replace(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        precondition: impl Into<Precondition>,
    ) -> Result<Meta> {
        let action = Action::Replace(self.new_value(key.as_ref(), value)?);
        self.write(key.as_ref(), action, precondition.into())
    }

    /// Writes an item, whether it exists or not, if the precondition holds. Returns the new
    /// version. `IfMatch` fails for an absent item: a caller that expects to change an item does
    /// not create one.
    ///
    /// # Errors
    /// - [`Error::PreconditionFailed`](crate::Error::PreconditionFailed) with the current item, if there is one.
    /// - [`Error::InvalidPrecondition`](crate::Error::InvalidPrecondition) for `IfModifiedSince`.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Precondition;
    ///
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let seen = notes.get("a")?.map(|item| item.etag());
    /// let meta = notes.upsert("a", &"one".to_owned(), Precondition::if_unchanged(seen))?;
    /// notes.delete("a", meta.etag())?;
    /// assert!(notes.upsert("a", &"two".to_owned(), meta.etag()).is_err());
    /// # Ok(()) }
    /// ```
    pub fn upsert(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        precondition: impl Into<Precondition>,
    ) -> Result<Meta> {
        let action = Action::Upsert(self.new_value(key.as_ref(), value)?);
        self.write(key.as_ref(), action, precondition.into())
    }

    /// Removes an item that must exist and meet the precondition. Returns the version of the
    /// removal: its tag is new, and its parent is the tag of the removed version.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let tag = notes.create("a", &"one".to_owned())?.etag();
    /// let removal = notes.delete("a", tag)?;
    /// assert_eq!(removal.parent(), Some(tag));
    /// assert_eq!(notes.get("a")?, None);
    /// # Ok(()) }
    /// ```
    pub fn delete(
        &self,
        key: impl AsRef<[u8]>,
        precondition: impl Into<Precondition>,
    ) -> Result<Meta> {
        self.write(key.as_ref(), Action::Delete, precondition.into())
    }

    /// Writes an item back if nobody has changed it since it was read, and stores the new version
    /// in it, ready for the next save. An item made with [`Item::new`] is created.
    ///
    /// After an error the item and its tag are unchanged. Take the current item from the conflict,
    /// or read again.
    ///
    /// # Errors
    /// - [`Error::PreconditionFailed`](crate::Error::PreconditionFailed) with the current item, if there still is one.
    /// - [`Error::AlreadyExists`](crate::Error::AlreadyExists) for a new item whose key is taken.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Item;
    ///
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let mut mine = Item::new("a", "draft".to_owned());
    /// notes.save(&mut mine)?;
    /// let mut theirs = notes.get("a")?.expect("it was just saved");
    /// notes.save(&mut mine)?;
    /// assert!(notes.save(&mut theirs).is_err());
    /// # Ok(()) }
    /// ```
    pub fn save(&self, item: &mut Item<T>) -> Result<()> {
        let meta = if item.is_saved() {
            let action = Action::Upsert(self.new_value(item.key(), &item.value)?);
            self.write(item.key(), action, Precondition::from(&*item))?
        } else {
            let action = Action::Create(self.new_value(item.key(), &item.value)?);
            self.write(item.key(), action, Precondition::IfNoneMatch(Tags::Any))?
        };
        item.set_meta(meta);
        Ok(())
    }
}
