//! How a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::seams::clock::ManualClock;
use crate::values::history::HistoryPolicy;

/// When a write returns, and what it then survives. Chosen per store, for all its writes.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("app.ifm");
/// use ifmatch::{Durability, Options};
///
/// let store = Options::new().durability(Durability::Eventual).open(&path)?;
/// store.collection::<u64>("counters")?.create("visits", &1)?; // survives a kill from here on
/// store.sync()?; // and loss of power from here on
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// A write returns once its frame is on stable storage: one `fdatasync` of the journal, shared
    /// by all writers that wait at the time. It survives a kill, an OS crash and power loss.
    #[default]
    Immediate,
    /// A write returns once its frame is handed to the operating system, which costs one `write`;
    /// its sync begins within [`Options::sync_interval`]. It survives a kill of the process; an OS
    /// crash loses at most the interval and what came during that sync, always a suffix, never half
    /// a batch.
    Eventual,
}

/// What to do when an open finds a damaged file.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("app.ifm");
/// # ifmatch::Store::open(&path)?.collection::<u64>("counters")?.create("visits", &1)?;
/// # for entry in std::fs::read_dir(path.join("journal")).unwrap() {
/// #     std::fs::write(entry.unwrap().path(), "not a segment").unwrap();
/// # }
/// use ifmatch::{Error, OnDamage, Options};
///
/// let store = match Options::new().open(&path) {
///     Err(Error::Corrupt { file, .. }) => {
///         eprintln!("{} is damaged; keeping what precedes the damage", file.display());
///         Options::new().on_damage(OnDamage::KeepPrefix).open(&path)?
///     }
///     opened => opened?,
/// };
/// assert!(store.damage().is_some());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDamage {
    /// Refuse with [`Error::Corrupt`](crate::Error::Corrupt) and change neither journal nor
    /// MANIFEST, where something current is lost. An index that was being rebuilt when the damage was
    /// met may be left behind.
    ///
    /// Damage to what is superseded refuses nothing: frames that cannot be read are stepped over, and
    /// count and sum of the items prove that none of them is missing. Then a warning is logged,
    /// [`Stats::damaged_segments`](crate::Stats::damaged_segments) counts the segments, and compaction
    /// leaves these as they are. After an orderly close the journal is not read at all: a damaged item
    /// is [`Error::Corrupt`](crate::Error::Corrupt) to those who read it, and a collection of which the
    /// record of its codec is damaged to those who open it. Everything else works, and
    /// [`Store::backup`](crate::Store::backup) names the first item that it cannot copy.
    #[default]
    Refuse,
    /// Read the whole journal and keep every commit before the first damage, unless no item needs
    /// what is damaged: then nothing is cut. Where it is cut the store goes on as a new incarnation,
    /// and [`Store::damage`](crate::Store::damage) reports what is gone. An item whose
    /// newest version comes after the damage goes back to the one before it, if compaction has not
    /// dropped that meanwhile; a [`HistoryPolicy`](crate::HistoryPolicy) with versions keeps them.
    /// Costs a read of every byte at every open, so set it to repair, not for good.
    KeepPrefix,
    /// Read the whole journal, keep every commit that is whole, in front of the damage and behind it,
    /// and go on as a new incarnation; [`Store::damage`](crate::Store::damage) reports what is gone.
    /// What is left is not a state that the store ever had: an item whose newest version is
    /// damaged goes back to the newest one that is whole, or is absent, or is there again though it
    /// was deleted, while others are as they were last. A commit is kept whole or not at all, also a
    /// batch.
    ///
    /// Damaged segments are written anew without what is damaged, and the files moved to the folder
    /// `damaged`, where they take space until somebody removes them. Costs as
    /// [`KeepPrefix`](Self::KeepPrefix), and a write of each damaged segment.
    SkipDamaged,
}

/// How far a slow open or a verification has come; see [`Options::on_progress`] and
/// [`Store::verify_with_progress`](crate::Store::verify_with_progress).
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("app.ifm");
/// use ifmatch::{Options, Progress};
///
/// let show = |progress: Progress| {
///     let percent = progress.done_bytes * 100 / progress.total_bytes.max(1);
///     println!("recovering: {percent} %");
/// };
/// let store = Options::new().on_progress(show).open(&path)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the journal read so far; a verification reads those of current items twice. Begins
    /// anew when an index that was found not to fit is rebuilt.
    pub done_bytes: u64,
    /// Bytes of the journal that will be read.
    pub total_bytes: u64,
}

pub(crate) type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// Settings for opening a store, in the manner of [`std::fs::OpenOptions`].
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("shop.ifm");
/// use std::time::Duration;
/// use ifmatch::{Durability, Options};
///
/// let store = Options::new()
///     .durability(Durability::Eventual)
///     .sync_interval(Duration::from_millis(100))
///     .cache_bytes(32 << 20)
///     .open(&path)?;
/// store.close()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Duration,
    pub(crate) cache_bytes: u64,
    pub(crate) snapshot_bytes: u64,
    pub(crate) on_damage: OnDamage,
    pub(crate) history: Option<HistoryPolicy>,
    pub(crate) reset_clock: bool,
    pub(crate) create: bool,
    pub(crate) clock: Option<ManualClock>,
    pub(crate) on_progress: Option<OnProgress>,
    pub(crate) max_scanned_items: u64,
}

impl Options {
    /// The defaults: [`Durability::Immediate`], a cache of 64 MiB, 16 MiB for snapshots, damage
    /// refused, a missing store created.
    pub fn new() -> Self {
        Self {
            durability: Durability::Immediate,
            sync_interval: Duration::from_millis(200),
            cache_bytes: 64 << 20,
            snapshot_bytes: 16 << 20,
            on_damage: OnDamage::Refuse,
            history: None,
            reset_clock: false,
            create: true,
            clock: None,
            on_progress: None,
            max_scanned_items: u64::MAX,
        }
    }

    /// Sets when writes return and what they then survive.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets how long a write of an [`Eventual`](Durability::Eventual) store may stay un-synced,
    /// 200 ms by default; at least 1 ms. Without effect on an `Immediate` store.
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.sync_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Sets the memory for the index and for cached values together, in bytes; 64 MiB by default.
    /// A small budget is slower, never wrong. Changed leaves of the index stay in memory until the
    /// next checkpoint, also beyond the budget; with 0 no values are kept.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets the memory for what [snapshots](crate::Store::snapshot) see and the store no longer holds, in
    /// bytes; 16 MiB by default. An item that is replaced or deleted while a snapshot that sees it
    /// lives takes 144 bytes, its key and its collection's name, once for all snapshots. When that
    /// is more than this, the oldest snapshots are given up until it is not: their reads are
    /// [`Error::SnapshotTooOld`](crate::Error::SnapshotTooOld).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("app.ifm");
    /// use ifmatch::{Error, Options, Precondition};
    ///
    /// let store = Options::new().snapshot_bytes(0).open(&path)?;
    /// let notes = store.collection::<u64>("notes")?;
    /// notes.create("a", &1)?;
    /// let before = store.snapshot();
    /// notes.create("b", &2)?; // takes nothing: the snapshot did not see one
    /// assert_eq!(before.collection(&notes).len()?, 1);
    /// notes.replace("a", &3, Precondition::Always)?;
    /// assert!(matches!(before.collection(&notes).get("a"), Err(Error::SnapshotTooOld)));
    /// # Ok(()) }
    /// ```
    pub fn snapshot_bytes(mut self, bytes: u64) -> Self {
        self.snapshot_bytes = bytes;
        self
    }

    /// Sets how many items of a collection one [find](crate::Collection::find) may look at; as many
    /// as there are by default. A find that would look at more is
    /// [`Error::ScanTooLong`](crate::Error::ScanTooLong) when it gets there, so that a filter which
    /// finds little in a large collection does not keep a server busy.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::{Error, Filter, Options};
    ///
    /// let store = Options::new().max_scanned_items(2).in_memory();
    /// let prices = store.collection::<f64>("prices")?;
    /// for (fruit, price) in [("apple", 0.5), ("banana", 0.3), ("cherry", 4.0)] {
    ///     prices.create(fruit, &price)?;
    /// }
    /// let found = prices.find(Filter::gt("", 1)).count();
    /// assert!(matches!(found, Err(Error::ScanTooLong { limit: 2, .. })));
    /// # Ok(()) }
    /// ```
    pub fn max_scanned_items(mut self, items: u64) -> Self {
        self.max_scanned_items = items;
        self
    }

    /// Sets what to do when a file of the store is found damaged.
    pub fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.on_damage = on_damage;
        self
    }

    /// Sets what the store keeps of superseded versions and removals, from now on and for later
    /// opens. Without it a store keeps the policy that it has; a new one keeps no versions, and
    /// tombstones for 30 days. Recording another policy than the store has costs two syncs.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("app.ifm");
    /// use ifmatch::{HistoryPolicy, Options, Store};
    ///
    /// Options::new().history(HistoryPolicy::new().versions(10)).open(&path)?.close()?;
    /// let notes = Store::open(&path)?.collection::<u64>("notes")?; // keeps ten versions, too
    /// let first = notes.create("a", &1)?;
    /// notes.replace("a", &2, first.etag())?;
    /// assert!(notes.get_version("a", &first.etag())?.is_some());
    /// # Ok(()) }
    /// ```
    pub fn history(mut self, history: HistoryPolicy) -> Self {
        self.history = Some(history);
        self
    }

    /// Sets whether the store's clock is set to the system's if it is ahead of it; false by default.
    ///
    /// The store's clock never goes back by itself, so that what has expired stays absent. If the
    /// system's clock was once far ahead, the store's stays there: what expires lives too short,
    /// and [`modified`](crate::Meta::modified) and the ages of versions and tombstones are wrong.
    /// This is the way back. Items that the wrong clock gave an expiry keep it, and one that was
    /// found expired and not swept may be there again. Costs two syncs where the clock is ahead.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("app.ifm");
    /// let store = ifmatch::Options::new().reset_clock(true).open(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn reset_clock(mut self, reset_clock: bool) -> Self {
        self.reset_clock = reset_clock;
        self
    }

    /// Sets whether a missing store is created; it is by default. Without it, opening one is
    /// [`Error::Io`](crate::Error::Io) with `NotFound`.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets the clock that the store goes by, in place of the system's: for tests.
    ///
    /// See [`ManualClock`] for an example.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Sets a function that is told how far an open has come while it reads the journal, which it
    /// does after a crash and when the index has to be rebuilt. The search for damage of
    /// [`OnDamage::KeepPrefix`] comes before that and is not told of. Called on the opening thread,
    /// at most once per MiB read. It should not panic: the next open would build the index anew.
    pub fn on_progress(mut self, f: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(f));
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("durability", &self.durability)
            .field("sync_interval", &self.sync_interval)
            .field("cache_bytes", &self.cache_bytes)
            .field("snapshot_bytes", &self.snapshot_bytes)
            .field("on_damage", &self.on_damage)
            .field("history", &self.history)
            .field("reset_clock", &self.reset_clock)
            .field("create", &self.create)
            .field("clock", &self.clock)
            .field("max_scanned_items", &self.max_scanned_items)
            .finish_non_exhaustive()
    }
}
