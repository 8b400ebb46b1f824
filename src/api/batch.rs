//! Batches: several changes, one commit.

mod committed;

pub use self::committed::Committed;

use crate::api::collection::{Collection, OTHER_STORE};
use crate::api::store::Store;
use crate::api::submit;
use crate::engine::operation::{Action, Operation};
use crate::values::codec::Codec;
#[cfg(feature = "json-patch")]
use crate::values::codec::Json;
use crate::values::error::{Error, Result};
use crate::values::limits::MAX_BATCH_BYTES;
#[cfg(feature = "json-patch")]
use crate::values::patch::Patch;
use crate::values::precondition::{Precondition, Tags};
use crate::values::retry::RetryPolicy;
use crate::values::short_values::ShortValues;

/// The most operations of one batch.
pub(crate) const MAX_BATCH_OPERATIONS: usize = 10_000;

/// The short values of a batch of more operations than this lie side by side.
const FEW_OPERATIONS: usize = 8;

/// Several verbs on any collections of one store, applied atomically with one revision, or not at
/// all. Made by [`Store::batch`].
///
/// The operations are decided in the order in which they were added, each against the items as the
/// earlier ones leave them. An item that the batch has already written gets its tag only with the
/// commit. So a later precondition on it can demand that it is present (`Tags::Any`), but not a
/// tag. If an item is changed several times, only its last state is written.
///
/// Readers see all of a batch or nothing of it, through [`get`](Collection::get) and
/// [`get_many`](Collection::get_many). A crash leaves all of it or nothing. A batch has at most 10
/// 000 operations and 64 MiB of keys and values. It costs one frame in the journal and, on an
/// `Immediate` store, one sync.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Precondition, Store};
///
/// let store = Store::in_memory();
/// let accounts = store.collection::<i64>("accounts")?;
/// let a = accounts.create("a", &100)?;
/// let b = accounts.create("b", &0)?;
/// store
///     .batch()
///     .replace(&accounts, "a", &70, a.etag())
///     .replace(&accounts, "b", &30, b.etag())
///     .commit()?;
/// let sum: i64 = accounts.get_many(["a", "b"])?.into_iter().flatten().map(|item| item.value).sum();
/// assert_eq!(sum, 100);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    store: Store,
    operations: Vec<Operation>,
    bytes: u64,
    short_values: ShortValues,
    /// The first operation that could not even be added; reported by `commit`.
    failed: Option<Box<(usize, Error)>>,
}

impl Batch {
    pub(crate) fn new(store: Store) -> Self {
        let (operations, short_values) = (Vec::new(), ShortValues::default());
        Self { store, operations, bytes: 0, short_values, failed: None }
    }

    /// Adds a [`create`](Collection::create).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// store.batch().create(&notes, "a", &1).create(&notes, "b", &2).commit()?;
    /// assert_eq!(notes.len()?, 2);
    /// # Ok(()) }
    /// ```
    pub fn create<T, C: Codec<T>>(
        self,
        collection: &Collection<T, C>,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Self {
        let action = || collection.new_value(key.as_ref(), value).map(Action::Create);
        self.add(collection, key.as_ref(), action, Precondition::IfNoneMatch(Tags::Any))
    }

    /// Adds a [`replace`](Collection::replace).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// let tag = notes.create("a", &1)?.etag();
    /// store.batch().replace(&notes, "a", &2, tag).commit()?;
    /// assert_eq!(notes.get("a")?.map(|item| item.value), Some(2));
    /// # Ok(()) }
    /// ```
    pub fn replace<T, C: Codec<T>>(
        self,
        collection: &Collection<T, C>,
        key: impl AsRef<[u8]>,
        value: &T,
        precondition: impl Into<Precondition>,
    ) -> Self {
        let action = || collection.new_value(key.as_ref(), value).map(Action::Replace);
        self.add(collection, key.as_ref(), action, precondition.into())
    }

    /// Adds an [`upsert`](Collection::upsert).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// store.batch().upsert(&notes, "a", &1, ifmatch::Precondition::Always).commit()?;
    /// assert_eq!(notes.get("a")?.map(|item| item.value), Some(1));
    /// # Ok(()) }
    /// ```
    pub fn upsert<T, C: Codec<T>>(
        self,
        collection: &Collection<T, C>,
        key: impl AsRef<[u8]>,
        value: &T,
        precondition: impl Into<Precondition>,
    ) -> Self {
        let action = || collection.new_value(key.as_ref(), value).map(Action::Upsert);
        self.add(collection, key.as_ref(), action, precondition.into())
    }

    /// Adds a [`patch`](Collection::patch).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// let tag = notes.create("a", &1)?.etag();
    /// store.batch().patch(&notes, "a", &ifmatch::Patch::new().incr("", 1), tag).commit()?;
    /// assert_eq!(notes.get("a")?.map(|item| item.value), Some(2));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "json-patch")]
    pub fn patch<T: serde::Serialize + serde::de::DeserializeOwned>(
        self,
        collection: &Collection<T, Json>,
        key: impl AsRef<[u8]>,
        patch: &Patch,
        precondition: impl Into<Precondition>,
    ) -> Self {
        let action = || Ok(collection.patch_action(patch));
        self.add(collection, key.as_ref(), action, precondition.into())
    }

    /// Adds a [`delete`](Collection::delete).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// let tag = notes.create("a", &1)?.etag();
    /// store.batch().delete(&notes, "a", tag).create(&notes, "b", &1).commit()?;
    /// assert_eq!(notes.get("a")?, None);
    /// # Ok(()) }
    /// ```
    pub fn delete<T, C: Codec<T>>(
        self,
        collection: &Collection<T, C>,
        key: impl AsRef<[u8]>,
        precondition: impl Into<Precondition>,
    ) -> Self {
        self.add(collection, key.as_ref(), || Ok(Action::Delete), precondition.into())
    }

    /// Adds a condition on an item that the batch need not change. It fails as
    /// [`Error::PreconditionFailed`]; `IfNoneMatch(Any)` demands that the item is absent.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// let stale = notes.create("a", &1)?.etag();
    /// notes.replace("a", &2, stale)?;
    /// let batch = store.batch().create(&notes, "b", &1).check(&notes, "a", stale);
    /// assert_eq!(batch.commit().map_err(|error| error.http_status()), Err(412));
    /// assert_eq!(notes.get("b")?, None);
    /// # Ok(()) }
    /// ```
    pub fn check<T, C: Codec<T>>(
        self,
        collection: &Collection<T, C>,
        key: impl AsRef<[u8]>,
        precondition: impl Into<Precondition>,
    ) -> Self {
        self.add(collection, key.as_ref(), || Ok(Action::Check), precondition.into())
    }

    /// How many operations were added. An operation that can never be written, one with an invalid
    /// key for example, does not count, nor does any operation after it: the batch fails with its
    /// error.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// assert_eq!(store.batch().create(&notes, "a", &1).len(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether no operation was added.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// assert!(store.batch().is_empty());
    /// assert!(!store.batch().create(&notes, "a", &1).is_empty());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Takes the operations out of the batch, and leaves it empty. This serves to commit a batch
    /// that a struct or a loop holds, and to continue with it.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// let mut batch = store.batch();
    /// for n in 0..25_u64 {
    ///     batch.extend([store.batch().create(&notes, n.to_be_bytes(), &n)]);
    ///     if batch.len() == 10 {
    ///         batch.take().commit()?;
    ///     }
    /// }
    /// batch.commit()?;
    /// assert_eq!(notes.len()?, 25);
    /// # Ok(()) }
    /// ```
    pub fn take(&mut self) -> Self {
        let empty = Self::new(self.store.clone());
        std::mem::replace(self, empty)
    }

    /// Applies the batch and returns its revision and the versions that it wrote. A batch may
    /// change nothing, because it is empty, only checks, or deletes what it has created. Then it
    /// writes nothing and returns the store's revision.
    ///
    /// If another writer changes a document that the batch patches, the patch is applied again, as
    /// often as the default [`RetryPolicy`] allows.
    ///
    /// # Errors
    /// - [`Error::Batch`] with the index of the operation that failed and the error that its verb
    ///   alone would have returned. Nothing is applied. An operation that can never be written (a
    ///   key beyond the limits, a document that its codec refuses, a collection of another store)
    ///   is reported before one that fails when the batch is decided, whichever was added first.
    ///   The conflict of an item that an earlier operation wrote carries the item as that operation
    ///   left it, without a tag.
    /// - [`Error::TooLarge`] above 10 000 operations or 64 MiB.
    /// - [`Error::CommitUnknown`], [`Error::Poisoned`], [`Error::Io`], [`Error::Closed`] for the
    ///   batch as a whole.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<u64>("notes")?;
    /// let done = store.batch().create(&notes, "a", &1).create(&notes, "b", &2).commit()?;
    /// assert_eq!(store.revision(), done.revision());
    /// let failed = store.batch().create(&notes, "c", &3).create(&notes, "a", &4).commit();
    /// assert!(matches!(failed, Err(ifmatch::Error::Batch { index: 1, .. })));
    /// assert_eq!(notes.get("c")?, None);
    /// # Ok(()) }
    /// ```
    pub fn commit(mut self) -> Result<Committed> {
        self.check_limits()?;
        if let Some((index, source)) = self.failed.map(|failed| *failed) {
            return Err(Error::Batch { index, source: Box::new(source) });
        }
        match submit::commit(&self.store, &mut self.operations, &RetryPolicy::new(), None) {
            Ok(committed) => Ok(Committed::new(&self.operations, committed)),
            Err(failed) => Err(match failed.index {
                Some(index) => Error::Batch { index, source: Box::new(failed.error) },
                None => failed.error,
            }),
        }
    }

    fn append(&mut self, other: Self) {
        if self.failed.is_some() {
            return;
        }
        let before = self.operations.len();
        if !self.store.is_same(&other.store) {
            let reason = "the batch belongs to another store";
            self.failed = Some(Box::new((before, Error::InvalidKey { reason })));
            return;
        }
        self.operations.extend(other.operations);
        self.bytes += other.bytes;
        self.failed = other.failed.map(|mut failed| {
            failed.0 += before;
            failed
        });
    }

    fn check_limits(&self) -> Result<()> {
        let (actual, limit) = (self.operations.len() as u64, MAX_BATCH_OPERATIONS as u64);
        if actual > limit {
            return Err(Error::TooLarge { what: "batch", unit: "operations", actual, limit });
        }
        let (actual, limit) = (self.bytes, MAX_BATCH_BYTES);
        if actual > limit {
            return Err(Error::TooLarge { what: "batch", unit: "bytes", actual, limit });
        }
        Ok(())
    }

    fn add<T, C: Codec<T>>(
        mut self,
        collection: &Collection<T, C>,
        key: &[u8],
        action: impl FnOnce() -> Result<Action>,
        precondition: Precondition,
    ) -> Self {
        if self.failed.is_some() {
            return self;
        }
        let operation = if self.store.is_same(collection.store()) {
            action().and_then(|action| collection.operation(key, action, precondition))
        } else {
            Err(Error::InvalidKey { reason: OTHER_STORE })
        };
        match operation {
            Ok(mut operation) => {
                self.bytes += operation.len_bytes();
                if self.operations.len() >= FEW_OPERATIONS
                    && let Some(value) = operation.value_mut()
                {
                    self.short_values.take_in(&mut value.bytes);
                }
                self.operations.push(operation);
            }
            Err(error) => self.failed = Some(Box::new((self.operations.len(), error))),
        }
        self
    }
}

/// Appends the operations of other batches of the same store. If one of them is of another store,
/// the commit fails, as for an operation that can never be written.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let store = ifmatch::Store::in_memory();
/// let notes = store.collection::<u64>("notes")?;
/// let mut batch = store.batch();
/// batch.extend(["a", "b", "c"].map(|key| store.batch().create(&notes, key, &1)));
/// assert_eq!(batch.commit()?.metas().len(), 3);
/// # Ok(()) }
/// ```
impl Extend<Batch> for Batch {
    fn extend<I: IntoIterator<Item = Batch>>(&mut self, batches: I) {
        batches.into_iter().for_each(|batch| self.append(batch));
    }
}
