//! When what is written through a handle expires, and the collection's default.

use std::time::{Duration, SystemTime};

use crate::api::collection::Collection;
use crate::engine::CollectionRecord;
use crate::engine::operation::{Expiry, Operation};
use crate::seams::clock::{expires_at, span_ms};
use crate::values::codec::Codec;
use crate::values::error::Result;

impl<T, C: Codec<T>> Collection<T, C> {
    /// Returns a handle to the same collection whose writes make the item expire this long after
    /// the commit. From that instant on the item is absent to every read and every precondition.
    /// The store reclaims its space later, in the background.
    ///
    /// A write keeps the item's own expiry, unless its handle says otherwise:
    ///
    /// | handle | an item that exists | an item that is created |
    /// |---|---|---|
    /// | as it was opened | keeps its time of expiry, or never expires | expires after the collection's [default](Self::set_default_ttl), or never |
    /// | `with_ttl(ttl)` | expires after the ttl, counted anew | expires after the ttl |
    /// | [`expires_at(instant)`](Self::expires_at) | expires then | expires then |
    /// | [`without_ttl()`](Self::without_ttl) | never expires from now on | never expires |
    ///
    /// The same holds for every verb that writes, in batches too.
    /// [`Meta::expires`](crate::Meta::expires) returns the time of expiry. An item counts as
    /// created if the item before it has expired, or if the same batch has deleted it. For an item
    /// that lives as long as it is used, update it through a handle with a ttl. For an item whose
    /// expiry is set once, update it through a handle as it was opened. To make a draft permanent,
    /// write it through `without_ttl`.
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
    /// expires during the wait. [`Options::reset_clock`](crate::Options::reset_clock) sets the
    /// store's clock back. Tests set a [`ManualClock`](crate::ManualClock).
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
        self.run(&mut [Operation::record(self.name(), record)?], None).map(drop)
    }

    /// How long items live that are created in this collection through a handle that sets no
    /// expiry; `None` means for ever. See [`set_default_ttl`](Self::set_default_ttl). Costs no I/O.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn default_ttl(&self) -> Result<Option<Duration>> {
        Ok(self.recorded_default()?.map(Duration::from_millis))
    }

    fn recorded_default(&self) -> Result<Option<u64>> {
        let record = self.store.engine()?.collection_record(self.name());
        Ok(record.and_then(|record| record.default_ttl_ms))
    }
}
