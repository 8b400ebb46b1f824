//! A collection of documents: the verbs.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Codec, CodecId, Json};
use crate::commit::Version;
use crate::commit::operation::{Action, Expiry, NewValue, Operation, PatchPlan};
use crate::error::{Conflict, Error, Result};
use crate::item::{Item, Meta};
use crate::iter::{Iter, Keys, Selection};
use crate::key::{ItemKey, check_collection};
use crate::patch::Patch;
use crate::precondition::{Precondition, Stored, Tags, Verb, Verdict, evaluate};
use crate::retry::RetryPolicy;
use crate::store::Store;
use crate::writing;

/// A named set of items in one store, with documents of type `T` stored in the form `C`.
///
/// Cheap to clone. Keys are 1 to 511 bytes, ordered bytewise; values are at most 64 MiB as stored.
///
/// Every write may state a [`Precondition`] and returns only when it is as durable as the store's
/// [`Durability`](crate::Durability) promises. Costs, beside encoding: a write reads one head from
/// the table and appends one frame to the journal, shared with the writers that wait at the time;
/// a read is served from the cache or costs one read of the table and one of the journal.
///
/// Writing a document writes the whole type: fields that this program's type does not know are
/// dropped, unless it keeps them with `#[serde(flatten)] rest: serde_json::Map<…>`. A
/// [`patch`](Self::patch) leaves them as they are.
///
/// # Errors
/// Besides those that each method lists, every method can return [`Error::Closed`],
/// [`Error::CodecMismatch`] when the collection is stored in another form,
/// [`Error::InvalidKey`] for a key that is not within the limits, and, where it reads,
/// [`Error::Corrupt`], [`Error::Codec`], [`Error::Io`] and [`Error::Table`]. Every write can return
/// [`Error::Poisoned`], [`Error::CommitUnknown`], [`Error::Io`] when the disk is full,
/// [`Error::TooLarge`] and [`Error::Codec`].
pub struct Collection<T, C = Json> {
    store: Store,
    name: Arc<Name>,
    retry: RetryPolicy,
    documents: PhantomData<fn() -> (T, C)>,
}

#[derive(Debug)]
struct Name {
    name: String,
    codec: CodecId,
    /// Set once the codec was found recorded, and the same.
    recorded: AtomicBool,
}

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
    /// The item is there and the precondition holds.
    Found(Item<T>),
    /// The item is there and is what the reader has already: 304 in HTTP.
    NotModified(Meta),
    /// There is no item.
    Missing,
}

impl<T> Read<T> {
    /// The HTTP status that says the same: 200, 304 or 404.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Found(_) => 200,
            Self::NotModified(_) => 304,
            Self::Missing => 404,
        }
    }

    /// The item, if one was found and is newer than what the reader has.
    #[must_use]
    pub fn found(self) -> Option<Item<T>> {
        if let Self::Found(item) = self { Some(item) } else { None }
    }
}

impl<T, C: Codec<T>> Collection<T, C> {
    pub(crate) fn open(store: Store, name: &str) -> Result<Self> {
        check_collection(name)?;
        let recorded = store.running()?.core.check_codec(name, C::ID)?;
        let recorded = AtomicBool::new(recorded);
        let name = Arc::new(Name { name: name.to_owned(), codec: C::ID, recorded });
        Ok(Self { store, name, retry: RetryPolicy::new(), documents: PhantomData })
    }

    /// Gives a handle to the same collection whose updates and patches are retried by this policy.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use std::time::Duration;
    /// use ifmatch::RetryPolicy;
    ///
    /// let counters = ifmatch::Store::in_memory().collection::<u64>("counters")?;
    /// let hasty = counters.clone().with_retry(RetryPolicy::new().deadline(Duration::from_millis(50)));
    /// assert_eq!(hasty.update_or_insert_with("visits", || 0, |count| *count += 1)?.value, 1);
    /// # Ok(()) }
    /// ```
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The collection's name.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// assert_eq!(notes.name(), "notes");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name.name
    }

    /// Reads an item; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Codec`] when the stored document is no `T`.
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
        let version = self.store.running()?.core.read(&key)?;
        version.map(|version| decode::<T, C>(&key, version)).transpose()
    }

    /// Reads several items, in the order of the keys, as of one moment between batches: of a batch
    /// that changed some of them, all changes are seen or none.
    ///
    /// # Errors
    /// [`Error::Codec`] when one of the documents is no `T`, [`Error::InvalidKey`] when one of the
    /// keys is none.
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
        let versions = self.store.running()?.core.read_many(&keys)?;
        let decode = |(key, version): (&ItemKey, Option<Version>)| {
            version.map(|version| decode::<T, C>(key, version)).transpose()
        };
        keys.iter().zip(versions).map(decode).collect()
    }

    /// Reads an item if a precondition holds, to learn cheaply that a copy is still current: with
    /// `IfNoneMatch` or `IfModifiedSince` that is [`Read::NotModified`], decided before the
    /// document is decoded.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`] when an `IfMatch` does not hold, also because there is no
    /// item.
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
        let version = self.store.running()?.core.read(&key)?;
        let stored = version.as_ref().map(|version| Stored::from(&version.meta));
        match (evaluate(Verb::Get, &precondition, stored), version) {
            (Verdict::Refused(reason), _) => Err(Error::InvalidPrecondition { reason }),
            (Verdict::Holds, None) => Ok(Read::Missing),
            (Verdict::Holds, Some(version)) => decode::<T, C>(&key, version).map(Read::Found),
            (Verdict::Fails, Some(version))
                if !matches!(precondition, Precondition::IfMatch(_)) =>
            {
                Ok(Read::NotModified(version.meta))
            }
            (Verdict::Fails, version) => {
                let current = version.map(|v| Item::stored(key.key(), v.value, v.meta));
                let conflict = Conflict::new(self.name(), key.key(), C::ID, current, 412);
                Err(Error::PreconditionFailed(Box::new(conflict)))
            }
        }
    }

    /// Writes an item that must not be there yet.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] with the current item.
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
        let action = Action::Create(new_value::<T, C>(value)?);
        self.write(key.as_ref(), action, Precondition::IfNoneMatch(Tags::Any))
    }

    /// Writes an item that must be there and meet the precondition; an [`ETag`](crate::ETag) or a
    /// `&Item` is `IfMatch`.
    ///
    /// # Errors
    /// - [`Error::NotFound`].
    /// - [`Error::PreconditionFailed`] with the current item.
    /// - [`Error::InvalidPrecondition`] for `IfNoneMatch(Any)` and `IfModifiedSince`.
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
        let action = Action::Replace(new_value::<T, C>(value)?);
        self.write(key.as_ref(), action, precondition.into())
    }

    /// Writes an item whether it is there or not, if the precondition is met. With `IfMatch` an
    /// absent item fails: nothing is created that the caller believes to be a change.
    ///
    /// # Errors
    /// - [`Error::PreconditionFailed`] with the current item, if there is one.
    /// - [`Error::InvalidPrecondition`] for `IfModifiedSince`.
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
        let action = Action::Upsert(new_value::<T, C>(value)?);
        self.write(key.as_ref(), action, precondition.into())
    }

    /// Removes an item that must be there and meet the precondition. The returned version is that
    /// of the removal: its tag is new, its parent the tag that was removed.
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

    /// Writes an item back if nobody changed it since it was read, and puts the new version into
    /// it, ready for the next save. An item made with [`Item::new`] is created.
    ///
    /// After an error the item is as it was, tag included: take the current one from the conflict,
    /// or read again.
    ///
    /// # Errors
    /// - [`Error::PreconditionFailed`] with the current item, if there still is one.
    /// - [`Error::AlreadyExists`] for a new item whose key is taken.
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
        let value = new_value::<T, C>(&item.value)?;
        let meta = if item.is_saved() {
            self.write(item.key(), Action::Upsert(value), Precondition::from(&*item))?
        } else {
            self.write(item.key(), Action::Create(value), Precondition::IfNoneMatch(Tags::Any))?
        };
        item.set_meta(meta);
        Ok(())
    }

    /// Iterates over all items in order of their keys, from either end, lazily: some hundred heads
    /// and at most some MiB of values are held at a time.
    ///
    /// Each item is seen whole and as it is when its part of the collection is read; changes made
    /// meanwhile are seen or not. An item that cannot be decoded is an `Err` in its place.
    ///
    /// # Errors
    /// None of its own: what cannot be read is an `Err` of the iterator.
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
        Iter::new(self, Selection::all(self.name()))
    }

    /// Iterates over the items whose keys begin with these bytes.
    ///
    /// # Errors
    /// None of its own: what cannot be read is an `Err` of the iterator.
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
        Iter::new(self, Selection::prefix(self.name(), prefix.as_ref()))
    }

    /// Iterates over the items whose keys lie in this range. An empty or inverted range has none.
    ///
    /// # Errors
    /// None of its own: what cannot be read is an `Err` of the iterator.
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
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<Iter<T, C>> {
        Iter::new(self, Selection::range(self.name(), &range))
    }

    /// Iterates over the keys alone, in order and from either end; reads no values.
    ///
    /// # Errors
    /// None of its own: what cannot be read is an `Err` of the iterator.
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
        Ok(Keys::new(self.store.clone(), Selection::all(self.name())))
    }

    /// Counts the items. Costs a scan of their heads, some million a second; reads no values.
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
        self.keys()?.try_fold(0, |count, key| key.map(|_| count + 1))
    }

    /// Whether there is no item. Reads one head.
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

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.retry
    }

    /// Checks a key, and that the collection is stored in the form it was opened with.
    pub(crate) fn key(&self, key: &[u8]) -> Result<ItemKey> {
        self.check_codec()?;
        ItemKey::new(self.name(), key)
    }

    pub(crate) fn check_codec(&self) -> Result<()> {
        if !self.name.recorded.load(Ordering::Relaxed)
            && self.store.running()?.core.check_codec(self.name(), self.name.codec)?
        {
            self.name.recorded.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn operation(
        &self,
        key: &[u8],
        action: Action,
        precondition: Precondition,
    ) -> Result<Operation> {
        let codec = self.name.codec;
        Ok(Operation { key: ItemKey::new(self.name(), key)?, codec, precondition, action })
    }

    fn write(&self, key: &[u8], action: Action, precondition: Precondition) -> Result<Meta> {
        self.run(&mut [self.operation(key, action, precondition)?])
    }

    /// Commits one operation.
    fn run(&self, operations: &mut [Operation; 1]) -> Result<Meta> {
        let committed = writing::commit(&self.store, operations, &self.retry);
        let committed = committed.map_err(|failed| failed.error)?;
        committed.metas.first().copied().ok_or(Error::NotFound)
    }
}

impl<T: Serialize + DeserializeOwned> Collection<T, Json> {
    /// Changes parts of a document that must be there and meet the precondition, all or nothing,
    /// and gives the item as it then is. Fields that the patch does not name keep their meaning
    /// exactly, also ones that `T` does not know; the patched document must still decode as `T`.
    ///
    /// The precondition is decided before the patch is looked at. The patch is applied outside of
    /// every lock; when another writer comes in between, it is applied again, as often as the
    /// [`RetryPolicy`] allows.
    ///
    /// # Errors
    /// - [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::InvalidPrecondition`] as
    ///   [`replace`](Self::replace).
    /// - [`Error::Patch`] when an operation cannot be applied, naming it.
    /// - [`Error::Codec`] when the patched document is no `T`.
    /// - [`Error::Contended`] when the policy is exhausted.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Patch;
    ///
    /// let products = ifmatch::Store::in_memory().collection::<serde_json::Value>("products")?;
    /// let tag = products.create("01AC0", &serde_json::json!({"price": 60, "stock": 3}))?.etag();
    /// let patch = Patch::new().set("/price", 50.0).incr("/stock", -1);
    /// let item = products.patch("01AC0", &patch, tag)?;
    /// assert_eq!(item.value, serde_json::json!({"price": 50.0, "stock": 2}));
    /// # Ok(()) }
    /// ```
    ///
    /// Only JSON can be patched. For another codec there is no such method:
    ///
    /// ```compile_fail,E0599
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let points = ifmatch::Store::in_memory().collection_with::<u64, ifmatch::Bincode>("p")?;
    /// points.patch("a", &ifmatch::Patch::new(), ifmatch::Precondition::Always)?;
    /// # Ok(()) }
    /// ```
    ///
    /// ```compile_fail,E0599
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let blobs = ifmatch::Store::in_memory().raw("blobs")?;
    /// blobs.patch("a", &ifmatch::Patch::new(), ifmatch::Precondition::Always)?;
    /// # Ok(()) }
    /// ```
    pub fn patch(
        &self,
        key: impl AsRef<[u8]>,
        patch: &Patch,
        precondition: impl Into<Precondition>,
    ) -> Result<Item<T>> {
        let action = patch_action::<T>(patch);
        let mut operations = [self.operation(key.as_ref(), action, precondition.into())?];
        let meta = self.run(&mut operations)?;
        let [operation] = operations;
        let Action::Patch(PatchPlan { computed: Some((_, Ok(value))), .. }) = operation.action
        else {
            return Err(Error::NotFound);
        };
        decode::<T, Json>(&operation.key, Version { meta, value: value.bytes })
    }
}

/// A patch to be applied to a document of this type.
pub(crate) fn patch_action<T: Serialize + DeserializeOwned>(patch: &Patch) -> Action {
    fn check<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<()> {
        crate::codec::decode_json::<T>(bytes).map(drop)
    }
    Action::Patch(PatchPlan { patch: Arc::new(patch.clone()), check: check::<T>, computed: None })
}

/// Encodes a document and hashes it.
pub(crate) fn new_value<T, C: Codec<T>>(value: &T) -> Result<NewValue> {
    NewValue::new(C::encode(value)?, Expiry::Never)
}

pub(crate) fn decode<T, C: Codec<T>>(key: &ItemKey, version: Version) -> Result<Item<T>> {
    Ok(Item::stored(key.key(), C::decode(version.value)?, version.meta))
}

impl<T, C> Clone for Collection<T, C> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            name: Arc::clone(&self.name),
            retry: self.retry.clone(),
            documents: PhantomData,
        }
    }
}

impl<T, C> fmt::Debug for Collection<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("name", &self.name.name).finish_non_exhaustive()
    }
}
