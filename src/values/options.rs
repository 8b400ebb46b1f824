//! How a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::seams::clock::ManualClock;
use crate::values::history::HistoryPolicy;

/// When a write returns, and what it then survives. Each open chooses it for all writes of the
/// store.
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
    /// A write returns once its frame is on stable storage. That costs one `fdatasync` of the
    /// journal, which all waiting writers share. The write survives a kill, an OS crash and loss of
    /// power.
    #[default]
    Immediate,
    /// A write returns once its frame is handed to the operating system, which costs one `write`.
    /// Its sync begins within [`Options::sync_interval`]. The write survives a kill of the process.
    /// An OS crash loses at most the commits of the last interval and of the sync that follows it:
    /// always a suffix, never half a batch.
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
    /// Refuse the open with [`Error::Corrupt`](crate::Error::Corrupt) if a current version is lost,
    /// and change neither the journal nor MANIFEST. A partly rebuilt index may be left on disk.
    ///
    /// Damage to superseded versions does not refuse an open. Frames that cannot be read are
    /// skipped, and a count and a sum over all items prove that no item is missing. A warning is
    /// logged, [`Stats::damaged_segments`](crate::Stats::damaged_segments) counts the segments, and
    /// compaction does not touch them.
    ///
    /// After an orderly close, an open does not read the journal. Then a read of a damaged item
    /// returns [`Error::Corrupt`](crate::Error::Corrupt), and so does an operation on a collection
    /// whose record is damaged. Everything else works, and [`Store::backup`](crate::Store::backup)
    /// names the first item that it cannot copy.
    #[default]
    Refuse,
    /// Read the whole journal and keep every commit before the first damage. If no item needs what
    /// is damaged, nothing is cut. Otherwise the store continues as a new incarnation, and
    /// [`Store::damage`](crate::Store::damage) reports what is gone. An item whose newest version
    /// comes after the damage returns to the version before it, unless compaction has dropped
    /// that version; a [`HistoryPolicy`](crate::HistoryPolicy) with versions keeps it. Costs a read
    /// of every byte at every open, so set this only for a repair.
    KeepPrefix,
    /// Read the whole journal, keep every whole commit, before and after the damage, and continue
    /// as a new incarnation. [`Store::damage`](crate::Store::damage) reports what is gone. The
    /// result may be a state that the store never had. An item whose newest version is damaged
    /// returns to its newest whole version, or is absent; if its removal is damaged, it may be
    /// present again. Other items keep their newest versions. A commit, also a batch, is kept whole
    /// or not at all.
    ///
    /// Damaged segments are rewritten without what is damaged. The old files are moved to the
    /// folder `damaged`, where they take space until somebody removes them. Costs what
    /// [`KeepPrefix`](Self::KeepPrefix) costs, and a write of each damaged segment.
    SkipDamaged,
}

/// How far a slow open, a verification or a backup has come; see [`Options::on_progress`],
/// [`Store::verify_with_progress`](crate::Store::verify_with_progress) and
/// [`Store::backup_with_progress`](crate::Store::backup_with_progress).
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
    /// Bytes of the journal read so far. A verification reads the bytes of current items twice.
    /// Begins at zero again when an open has to rebuild the index.
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

    /// Sets how long a write of an [`Eventual`](Durability::Eventual) store may stay un-synced: 200
    /// ms by default, at least 1 ms. It has no effect on an `Immediate` store.
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.sync_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Sets the memory for the index and for cached values together, in bytes; 64 MiB by default. A
    /// small cache makes reads slower, and has no other effect. Leaves of the index that were
    /// changed stay in memory until the next checkpoint, even beyond this size. With 0, no values
    /// are cached.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets the memory for versions that only [snapshots](crate::Store::snapshot) still see, in
    /// bytes; 16 MiB by default. An item that is replaced or deleted while a snapshot sees it takes
    /// 144 bytes, its key and its collection's name, once for all snapshots. Beyond this limit, the
    /// oldest snapshots are given up: their reads return
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

    /// Sets how many items of a collection one [find](crate::Collection::find) may look at; by
    /// default there is no limit. A find that reaches the limit returns
    /// [`Error::ScanTooLong`](crate::Error::ScanTooLong). So a filter that finds little in a large
    /// collection does not keep a server busy.
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

    /// Sets what an open does with a damaged store; [`OnDamage::Refuse`] by default.
    pub fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.on_damage = on_damage;
        self
    }

    /// Sets what the store keeps of superseded versions and removals. The store records it, also
    /// for later opens. If it is not set, an existing store keeps its policy, and a new store keeps
    /// no superseded versions, and tombstones for 30 days. A change of the policy costs two syncs.
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

    /// Sets whether the open may set the store's clock back to the system's; false by default.
    ///
    /// The store's clock never goes back by itself, so that expired items stay absent. If the
    /// system's clock was once far ahead, the store's clock stays there. Then items expire too
    /// early, and [`modified`](crate::Meta::modified) and the ages of versions and tombstones are
    /// wrong. This option sets the clock right. Items that got an expiry from the wrong clock keep
    /// it, and an expired item that was not swept yet may be present again. Costs two syncs if the
    /// store's clock is ahead.
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

    /// Sets whether a missing store is created; true by default. With `false`, an open of a missing
    /// store returns [`Error::Io`](crate::Error::Io) of kind `NotFound`.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets the clock that the store uses instead of the system's, for tests.
    ///
    /// See [`ManualClock`] for an example.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Sets a function that is called with the progress of an open while it reads the journal. An
    /// open does that after a crash, and when it has to rebuild the index. The search for damage by
    /// [`OnDamage::KeepPrefix`] comes before that and is not reported. The function is called on
    /// the opening thread, at most once per MiB read, and at the end. If it panics, the next open
    /// rebuilds the index.
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
