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

mod key_range;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::key_range::KeyRange;

use bytes::Bytes;

pub use self::indexes::{IndexProgress, IndexStatus};
pub use self::reads::Read;
pub use self::update::UpdateError;
pub(crate) use self::update::contended;

use crate::api::store::Store;
use crate::api::submit;
use crate::engine::operation::{Action, Check, Expiry, NewValue, Operation};
use crate::engine::{CollectionRecord, Version};
use crate::seams::clock::{expires_at, span_ms};
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
    /// One more than the count of drops at which the codec was found recorded, and the same; 0
    /// before.
    recorded: AtomicU64,
    /// How many collections were dropped: then the record may be another one, or none.
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

    /// Returns a handle to the same collection whose writes make the item expire this long after
    /// the commit. From that instant on the item is absent to every read and every precondition.
    /// The store reclaims its space later, in the background.
    ///
    /// A write keeps the item's own expiry, unless the handle that it goes through says otherwise:
    ///
    /// | handle | an item that exists | an item that is created |
    /// |---|---|---|
    /// | as it was opened | keeps its time of expiry, or never expires | expires after the collection's [default](Self::set_default_ttl), or never |
    /// | `with_ttl(ttl)` | expires after the ttl, counted anew | expires after the ttl |
    /// | [`expires_at(instant)`](Self::expires_at) | expires then | expires then |
    /// | [`without_ttl()`](Self::without_ttl) | never expires from now on | never expires |
    ///
    /// The same holds for every verb that writes, in batches too. [`Meta::expires`] returns the
    /// time of expiry. An item counts as created if the item before it has expired, or if the same
    /// batch has deleted it. For an item that lives as long as it is used, update it through a
    /// handle with a ttl. For an item whose expiry is set once, update it through a handle as it
    /// was opened. To make a draft permanent, write it through `without_ttl`.
    ///
    /// The ttl is rounded up to a whole millisecond. With a ttl of zero, a write succeeds and
    /// returns its version, but no reader ever sees the item. A ttl that ends after the year 9999
    /// means that the item never expires.
    ///
    /// # The clock
    ///
    /// The store's clock is the system's wall clock, except that it never goes back: not while the
    /// store is open, and not across an orderly close. So an expired item stays absent. After a
    /// crash, it does not go back before the last commit that survived. An item that the background
    /// sweep has removed never returns. An item that a reader found expired can return only in one
    /// case: the process ended without a close, no later commit survived, and the system's clock
    /// was set back to before the expiry when the store was opened again.
    ///
    /// If the system's clock was ahead when the store read it, the store's clock stands still until
    /// the system's has caught up. Items that expire before that time are gone early, and no item
    /// expires meanwhile. [`Options::reset_clock`](crate::Options::reset_clock) sets the store's
    /// clock back. Tests set a [`ManualClock`](crate::ManualClock).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use std::time::Duration;
    /// use ifmatch::Precondition;
    ///
    /// let sessions = ifmatch::Store::in_memory().collection::<String>("sessions")?;
    /// let fleeting = sessions.clone().with_ttl(Duration::from_secs(3_600));
    /// let begun = fleeting.create("s1", &"ada".to_owned())?;
    /// assert!(begun.expires() > Some(begun.modified()));
    ///
    /// // A write leaves the expiry as it is, or sets it anew.
    /// let changed = sessions.update("s1", |user| user.push_str(" lovelace"))?;
    /// assert_eq!(changed.expires(), begun.expires());
    /// let replaced = sessions.replace("s1", &"ada".to_owned(), Precondition::Always)?;
    /// assert_eq!(replaced.expires(), begun.expires());
    /// let used = fleeting.update("s1", |_| {})?;
    /// assert!(used.expires() >= changed.expires());
    ///
    /// let kept = sessions.clone().without_ttl().update("s1", |_| {})?;
    /// assert_eq!(kept.expires(), None);
    ///
    /// let gone = sessions.clone().with_ttl(Duration::ZERO);
    /// gone.upsert("s1", &"nobody".to_owned(), Precondition::Always)?;
    /// assert_eq!(sessions.get("s1")?, None);
    /// # Ok(()) }
    /// ```
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.expiry = Expiry::After(span_ms(ttl));
        self
    }

    /// Returns a handle to the same collection whose writes make the item permanent: it does not
    /// expire, whatever its expiry was and whatever the collection's default is. See
    /// [`with_ttl`](Self::with_ttl).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use std::time::Duration;
    ///
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// notes.set_default_ttl(Some(Duration::from_secs(86_400)))?; // drafts
    /// let mut note = ifmatch::Item::new("a", "draft".to_owned());
    /// notes.save(&mut note)?;
    /// assert!(note.expires().is_some());
    /// notes.clone().without_ttl().save(&mut note)?; // published
    /// assert_eq!(note.expires(), None);
    /// notes.save(&mut note)?;
    /// assert_eq!(note.expires(), None);
    /// # Ok(()) }
    /// ```
    pub fn without_ttl(mut self) -> Self {
        self.expiry = Expiry::Never;
        self
    }

    /// Returns a handle to the same collection whose writes make the item expire at this instant,
    /// rounded up to a whole millisecond. An instant in the past makes the item absent at once. An
    /// instant after the year 9999 means that it never expires. See [`with_ttl`](Self::with_ttl).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use std::time::{Duration, SystemTime};
    ///
    /// let offers = ifmatch::Store::in_memory().collection::<f64>("offers")?;
    /// let end = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800); // 2100-01-01
    /// let offer = offers.clone().expires_at(end).create("lamp", &49.5)?;
    /// assert_eq!(offer.expires(), Some(end));
    /// # Ok(()) }
    /// ```
    pub fn expires_at(mut self, instant: SystemTime) -> Self {
        let since_1970 = instant.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.expiry = expires_at(0, span_ms(since_1970)).map_or(Expiry::Never, Expiry::At);
        self
    }

    /// Sets the default time to live: how long items live that are created in this collection from
    /// now on, through a handle that sets no expiry. `None`, the initial state, means for ever. The
    /// store records it, for all handles and all later sessions. Items that exist keep their own
    /// expiry: see [`with_ttl`](Self::with_ttl).
    ///
    /// The time is rounded up to a whole millisecond. Costs one commit, as durable as any write, if
    /// the time differs from the recorded one, and nothing otherwise. So a program can set it each
    /// time it starts. The change feed does not show it.
    ///
    /// # Errors
    /// Those of every write; see [`Collection`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use std::time::Duration;
    /// use ifmatch::Precondition;
    ///
    /// let store = ifmatch::Store::in_memory();
    /// let sessions = store.collection::<String>("sessions")?;
    /// let hour = Duration::from_secs(3_600);
    /// sessions.set_default_ttl(Some(hour))?;
    /// assert_eq!(store.collection::<String>("sessions")?.default_ttl()?, Some(hour));
    ///
    /// let begun = sessions.create("s1", &"ada".to_owned())?;
    /// assert_eq!(begun.expires(), Some(begun.modified() + hour));
    /// let changed = sessions.replace("s1", &"grace".to_owned(), Precondition::Always)?;
    /// assert_eq!(changed.expires(), begun.expires());
    /// # Ok(()) }
    /// ```
    pub fn set_default_ttl(&self, ttl: Option<Duration>) -> Result<()> {
        self.check_codec()?;
        let record = CollectionRecord { codec: C::ID, default_ttl_ms: ttl.map(span_ms) };
        if self.recorded_default()? == record.default_ttl_ms {
            return Ok(());
        }
        self.run(&mut [Operation::record(self.name(), record)?]).map(drop)
    }

    /// How long items live that are created in this collection through a handle that sets no
    /// expiry; `None` means for ever. See [`set_default_ttl`](Self::set_default_ttl). Costs no I/O.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn default_ttl(&self) -> Result<Option<Duration>> {
        Ok(self.recorded_default()?.map(Duration::from_millis))
    }

    fn recorded_default(&self) -> Result<Option<u64>> {
        let record = self.store.engine()?.collection_record(self.name());
        Ok(record.and_then(|record| record.default_ttl_ms))
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
        // Before the look.
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

    /// Refuses a filter that is no filter, and one on documents that are not JSON.
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
        self.run(&mut [self.operation(key, action, precondition)?])
    }

    /// Commits one operation.
    fn run(&self, operations: &mut [Operation; 1]) -> Result<Meta> {
        self.run_checked(operations, None)
    }

    fn run_checked(
        &self,
        operations: &mut [Operation; 1],
        check: Option<&mut Check<'_>>,
    ) -> Result<Meta> {
        let committed = submit::commit_checked(&self.store, operations, &self.retry, check);
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
