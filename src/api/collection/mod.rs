//! A collection of documents: what its verbs share.

// In the order in which their methods are documented.
mod reads;

mod writes;

mod update;

mod clear;

#[cfg(feature = "json-patch")]
mod patching;

mod scans;

mod indexes;

mod history;

mod expiry;

mod key_range;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

pub use self::key_range::KeyRange;

use bytes::Bytes;

pub use self::indexes::{IndexProgress, IndexStatus};
pub use self::reads::Read;
pub use self::update::UpdateError;
pub(crate) use self::update::contended;

use crate::api::store::Store;
use crate::api::submit;
use crate::engine::Version;
use crate::engine::operation::{Action, Check, Expiry, NewValue, Operation};
use crate::seams::sync::{AtomicU64, Ordering};
use crate::values::codec::{Codec, CodecId, Json};
use crate::values::error::{Error, Result};
use crate::values::item::{Item, Meta};
use crate::values::key::{ItemKey, check_collection};
use crate::values::precondition::Precondition;
use crate::values::retry::RetryPolicy;

/// A named set of items in one store, with documents of type `T` that the codec `C` stores.
///
/// Cheap to clone. Keys are 1 to 511 bytes, ordered bytewise; values are at most 64 MiB as stored.
///
/// A write can have a [`Precondition`]. It returns when it is as durable as the store's
/// [`Durability`](crate::Durability) promises.
///
/// In addition to encoding, a write costs one lookup in the index and one frame in the journal. All
/// waiting writers share one write and one sync of the journal. A read is served from the cache, or
/// costs one read of the index and one of the journal. While overwrites make dead bytes faster than
/// compaction reclaims them, one write in 32 waits for up to 16 ms, so that disk use stays bounded.
/// If many sessions ended too soon for compaction in the background, the first write of a later
/// session compacts, which may take a second.
///
/// A write replaces the whole document. Fields that the type `T` does not know are dropped, unless
/// it keeps them with `#[serde(flatten)] rest: serde_json::Map<…>`. A [`patch`](Self::patch) leaves
/// them unchanged.
///
/// # Errors
/// Besides those that each method lists, every method can return [`Error::Closed`],
/// [`Error::CodecMismatch`] when the collection is stored with another codec, [`Error::InvalidKey`]
/// for a key that is not within the limits, and, where it reads, [`Error::Corrupt`],
/// [`Error::Codec`], [`Error::Io`] and [`Error::IndexUnavailable`]. Every write can return
/// [`Error::Poisoned`], [`Error::CommitUnknown`], [`Error::Io`] when the disk is full,
/// [`Error::TooManySegments`], [`Error::TooLarge`] and [`Error::Codec`]; and, where the collection
/// has a [unique](crate::Index::unique) index, [`Error::NotUnique`].
pub struct Collection<T, C = Json> {
    store: Store,
    name: Arc<Name>,
    retry: RetryPolicy,
    /// When what is written through this handle expires.
    expiry: Expiry,
    documents: PhantomData<fn() -> (T, C)>,
}

#[derive(Debug)]
struct Name {
    name: String,
    codec: CodecId,
    /// One more than the count of drops at which the collection was found recorded with this codec;
    /// 0 before.
    recorded: AtomicU64,
    /// How many collections were dropped. After a drop the record may be another one, or missing.
    drops: Arc<AtomicU64>,
}

impl<T, C: Codec<T>> Collection<T, C> {
    pub(crate) fn open(store: Store, name: &str) -> Result<Self> {
        check_collection(name)?;
        let drops = store.engine()?.dropped_collections();
        let recorded = AtomicU64::new(0);
        let name = Arc::new(Name { name: name.to_owned(), codec: C::ID, recorded, drops });
        let (retry, expiry) = (RetryPolicy::new(), Expiry::Keep);
        let collection = Self { store, name, retry, expiry, documents: PhantomData };
        collection.check_codec()?;
        Ok(collection)
    }

    /// Returns a handle to the same collection whose updates and patches are retried by this
    /// policy.
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
        // Read before the look.
        let now = self.name.drops.load(Ordering::Acquire) + 1;
        if self.name.recorded.load(Ordering::Relaxed) != now
            && self.store.engine()?.check_codec(self.name(), self.name.codec)?
        {
            self.name.recorded.store(now, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn operation(
        &self,
        key: &[u8],
        action: Action,
        precondition: Precondition,
    ) -> Result<Operation> {
        self.check_precondition(&precondition)?;
        let key = ItemKey::new(self.name(), key)?;
        let mut operation = Operation::new(key, self.name.codec, precondition, action);
        operation.recorded_at = self.name.recorded.load(Ordering::Relaxed).checked_sub(1);
        Ok(operation)
    }

    /// Refuses a filter that is not valid, and one on documents that are not JSON.
    fn check_precondition(&self, precondition: &Precondition) -> Result<()> {
        let Precondition::Matching(filter) = precondition else { return Ok(()) };
        if self.name.codec != CodecId::Json {
            return Err(Error::InvalidPrecondition {
                reason: "a filter reads fields by name, which only documents stored as JSON have; \
                         use IfMatch",
            });
        }
        filter.check().map_err(Error::from)
    }

    /// Encodes a document, and hashes it.
    pub(crate) fn new_value(&self, key: &[u8], value: &T) -> Result<NewValue> {
        NewValue::new(self.encode(key, value)?, self.expiry)
    }

    fn encode(&self, key: &[u8], value: &T) -> Result<Bytes> {
        C::encode(value).map_err(|error| error.with_item(self.name(), key))
    }

    fn write(&self, key: &[u8], action: Action, precondition: Precondition) -> Result<Meta> {
        self.run(&mut [self.operation(key, action, precondition)?], None)
    }

    /// Commits one operation. `check` decodes a patched document in the place of the operation's
    /// own check.
    fn run(&self, operations: &mut [Operation; 1], check: Option<&mut Check<'_>>) -> Result<Meta> {
        let committed = submit::commit(&self.store, operations, &self.retry, check);
        let committed = committed.map_err(|failed| failed.error)?;
        let nothing = Error::Internal { what: "a commit of one operation wrote nothing" };
        committed.metas.first().copied().ok_or(nothing)
    }
}

/// Why a collection of another store is [`Error::InvalidKey`].
pub(crate) const OTHER_STORE: &str =
    "the collection belongs to another store; open the collection from this store";

pub(crate) fn decode<T, C: Codec<T>>(key: &ItemKey, version: Version) -> Result<Item<T>> {
    let value = C::decode(version.value)
        .map_err(|error| error.with_item(key.collection(), key.key_bytes()))?;
    Ok(Item::stored(key.item_key(), value, version.meta))
}

impl<T, C> Clone for Collection<T, C> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            name: Arc::clone(&self.name),
            retry: self.retry.clone(),
            expiry: self.expiry,
            documents: PhantomData,
        }
    }
}

impl<T, C> fmt::Debug for Collection<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("name", &self.name.name).finish_non_exhaustive()
    }
}
