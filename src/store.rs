//! An open store: [`Store`], its handles, and how it closes.

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::background::Background;
use crate::batch::Batch;
use crate::clock::Clock;
use crate::codec::{Codec, Json, Raw};
use crate::collection::Collection;
use crate::commit::Core;
use crate::damage::Damage;
use crate::disk::{MemoryDisk, RealDisk};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::journal::manifest::Checkpoint;
use crate::opening::{self, Opened};
use crate::options::{Durability, Options};
use crate::revision::Revision;
use crate::stats::Stats;
use crate::table::{MemoryTables, RenewableTable, SledTables, Tables};

/// An open store. Cheap to clone; all clones, and the collections opened from them, are the same
/// store. Dropping the last one closes it, as [`close`](Self::close) does.
///
/// All calls block: a write to an `Immediate` store for one disk sync, shared by the writers that
/// wait at the time; a read for at most one read of the table and one of the journal. Keep writes
/// off a user interface's thread, or open the store `Eventual` and call [`sync`](Self::sync) on
/// another thread where it matters.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("shop.ifm");
/// use ifmatch::Store;
///
/// let store = Store::open(&path)?;
/// let prices = store.collection::<f64>("prices")?;
/// prices.create("apple", &0.5)?;
/// store.close()?;
///
/// let store = Store::open(&path)?;
/// let price = store.collection::<f64>("prices")?.get("apple")?;
/// assert_eq!(price.map(|item| item.value), Some(0.5));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

/// Closes the store when the user's last clone goes, whatever the store's own thread is doing.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        match self.shared.close() {
            Ok(()) | Err(Error::Closed) => {}
            Err(error) => log::error!("closing a dropped store failed: {error}"),
        }
    }
}

/// What the handles and the background thread share.
pub(crate) struct Shared {
    /// Read by every operation for as long as it is under way; emptied by close, which so waits
    /// for them. No user code runs while it is held.
    running: RwLock<Option<Running>>,
    background: Background,
    /// Held by whoever compacts.
    compacting: parking_lot::Mutex<()>,
    damage: Option<Damage>,
}

/// The parts of a store that is not closed.
pub(crate) struct Running {
    pub(crate) core: Core,
    /// The same table as the core's.
    pub(crate) table: Arc<RenewableTable>,
    tables: Arc<dyn Tables>,
    /// False when the table stands in memory for want of disk space.
    table_on_disk: bool,
    flushed: parking_lot::Mutex<Flushed>,
    /// False while segments that an earlier process retired are still there.
    retiring: AtomicBool,
    _lock: Box<dyn Any + Send + Sync>,
}

/// What the table on disk holds.
#[derive(Debug)]
struct Flushed {
    /// The revision at which it was last flushed.
    revision: u64,
    /// The folder that it is.
    generation: u64,
}

impl Store {
    /// Opens the store in this directory with the default [`Options`], creating it if it is
    /// missing. Costs and errors are those of [`Options::open`].
    ///
    /// # Errors
    /// As [`Options::open`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("shop.ifm");
    /// let store = ifmatch::Store::open(&path)?;
    /// let second = ifmatch::Store::open(&path);
    /// assert!(matches!(second, Err(ifmatch::Error::Locked { .. })));
    /// # Ok(()) }
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    /// Makes a store that lives in memory and is gone when closed: the same semantics, nothing on
    /// disk.
    ///
    /// # Panics
    /// When the system refuses it a thread, which cleans up behind its writers.
    ///
    /// See the [crate](crate) for an example.
    #[must_use]
    pub fn in_memory() -> Self {
        let tables = Arc::new(MemoryTables::new());
        let environment = Environment::new(Arc::new(MemoryDisk::new()), tables);
        #[expect(
            clippy::expect_used,
            reason = "memory has no damage, no locks and no full disk; see Panics"
        )]
        Self::open_in(environment, Path::new("memory"), &Options::new())
            .expect("a store in memory opens")
    }

    pub(crate) fn open_in(
        environment: Environment,
        path: &Path,
        options: &Options,
    ) -> Result<Self> {
        let Opened { lock, journal, table, damage, clock_ms } =
            opening::open(&environment, path, options)?;
        let clock = Clock::new(environment.time.clone());
        clock.raise(clock_ms);
        let renewable = Arc::new(RenewableTable::new(table.table));
        let core = Core::new(journal, renewable.clone(), clock, options)?;
        let retiring = AtomicBool::new(core.journal.retired_segments().is_empty());
        core.expiries.note(table.next_expiry_ms);
        let running = Running {
            core,
            table: renewable,
            tables: environment.tables.clone(),
            table_on_disk: table.on_disk,
            flushed: parking_lot::Mutex::new(Flushed {
                revision: table.flushed_revision,
                generation: table.generation,
            }),
            retiring,
            _lock: lock,
        };
        let interval =
            (options.durability == Durability::Eventual).then_some(options.sync_interval);
        let shared = Arc::new(Shared {
            running: RwLock::new(Some(running)),
            background: Background::new(interval),
            compacting: parking_lot::Mutex::new(()),
            damage,
        });
        if environment.background {
            Background::start(&shared).map_err(Error::io("starting a thread for", path))?;
        }
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// Opens a collection of documents that are stored as [`Json`].
    ///
    /// Does no I/O: a collection comes into being with its first write.
    ///
    /// # Errors
    /// - [`Error::InvalidKey`] when the name is empty, over 128 bytes or holds a NUL.
    /// - [`Error::CodecMismatch`] when the collection is stored in another form.
    /// - [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
    /// assert!(prices.is_empty()?);
    /// # Ok(()) }
    /// ```
    pub fn collection<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Collection<T, Json>> {
        self.collection_with(name)
    }

    /// Opens a collection whose documents are stored in the form that `C` names.
    ///
    /// # Errors
    /// As [`collection`](Self::collection).
    ///
    /// See [`Bincode`](crate::Bincode) for an example.
    pub fn collection_with<T, C: Codec<T>>(&self, name: &str) -> Result<Collection<T, C>> {
        Collection::open(self.clone(), name)
    }

    /// Opens a collection of plain bytes.
    ///
    /// # Errors
    /// As [`collection`](Self::collection).
    ///
    /// See [`Raw`] for an example.
    pub fn raw(&self, name: &str) -> Result<Collection<Bytes, Raw>> {
        self.collection_with(name)
    }

    /// Begins a batch: several verbs on several collections, applied together or not at all.
    ///
    /// See [`Batch`] for an example.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    /// The newest revision below which every commit is visible to reads; [`Revision::ZERO`] once
    /// the store is closed.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let written = store.collection::<u64>("counters")?.create("visits", &1)?;
    /// assert_eq!(store.revision(), written.revision());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.running().map_or(Revision::ZERO, |running| Revision(running.core.journal.applied()))
    }

    /// Returns when every write made before the call is on stable storage. Costs one sync, or
    /// none if there is nothing to sync. Of use for `Eventual` stores; an `Immediate` one has
    /// synced before each write returned.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when syncing fails or failed before; [`Error::Closed`].
    ///
    /// See [`Durability`] for an example.
    pub fn sync(&self) -> Result<()> {
        let running = self.running()?;
        running.core.journal.sync().map_err(|_| Error::Poisoned)?;
        Ok(())
    }

    /// Figures about the store. Costs a look at each segment file's length and at the table's.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Io`], [`Error::Table`].
    pub fn stats(&self) -> Result<Stats> {
        let running = self.running()?;
        let journal = &running.core.journal;
        let (_, totals) = journal.totals();
        Ok(Stats {
            items: totals.count.saturating_sub(running.core.recorded_collections()),
            revision: Revision(journal.applied()),
            durable_revision: Revision(journal.durable()),
            checkpoint_revision: Revision(journal.checkpoint_revision()),
            segments: journal.segments().count() as u64,
            journal_bytes: journal.segments().total_bytes()?,
            table_bytes: running.core.table.size_on_disk_bytes()?,
            syncs: journal.syncs(),
            snapshots: running.core.snapshots.alive(),
            poisoned: journal.is_poisoned(),
        })
    }

    /// What the open found damaged and left behind, if it was told to
    /// [`KeepPrefix`](crate::OnDamage::KeepPrefix) and anything was.
    ///
    /// See [`Damage`] for an example.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.handle.shared.damage.as_ref()
    }

    /// Closes the store: waits for what is under way, syncs the journal, flushes the table and
    /// leaves the mark by which the next open knows that nothing has to be replayed. From then on
    /// every other clone gets [`Error::Closed`], and the directory may be opened again.
    ///
    /// # Errors
    /// - [`Error::Closed`] when a clone has closed it already.
    /// - [`Error::Poisoned`] when an earlier failure ended writing.
    /// - [`Error::Io`] or [`Error::Table`] when the last sync or flush fails.
    ///
    /// The store is closed in each case, and the next open recovers what was acknowledged.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("shop.ifm");
    /// let store = ifmatch::Store::open(&path)?;
    /// let prices = store.collection::<f64>("prices")?;
    /// store.close()?;
    /// assert!(matches!(prices.get("apple"), Err(ifmatch::Error::Closed)));
    /// # Ok(()) }
    /// ```
    pub fn close(self) -> Result<()> {
        self.handle.shared.close()
    }

    /// The engine, for as long as one operation takes.
    pub(crate) fn running(&self) -> Result<RunningGuard<'_>> {
        self.handle.shared.running()
    }

    pub(crate) fn background(&self) -> &Background {
        &self.handle.shared.background
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

/// Keeps a store from closing.
pub(crate) struct RunningGuard<'a>(RwLockReadGuard<'a, Option<Running>>);

impl std::ops::Deref for RunningGuard<'_> {
    type Target = Running;

    #[expect(clippy::expect_used, reason = "Shared::running checks before it makes a guard")]
    fn deref(&self) -> &Running {
        self.0.as_ref().expect("the store is running")
    }
}

impl Shared {
    pub(crate) fn running(&self) -> Result<RunningGuard<'_>> {
        let guard = self.running.read();
        if guard.is_some() { Ok(RunningGuard(guard)) } else { Err(Error::Closed) }
    }

    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    /// Keeps others from compacting. Taken before the store's parts are.
    pub(crate) fn compacting(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.compacting.lock()
    }

    fn close(&self) -> Result<()> {
        let running = self.running.write().take();
        self.background.stop();
        running.ok_or(Error::Closed)?.close()
    }
}

impl Running {
    /// Makes everything up to now part of the table on disk, so that the next open need not
    /// replay it. Costs a flush of the table and some syncs; writers go on meanwhile.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let mut flushed = self.flushed.lock();
        let revision = self.core.journal.totals().0;
        if !self.table_on_disk || flushed.revision == revision {
            return Ok(());
        }
        self.checkpoint_as(&mut flushed)
    }

    fn checkpoint_as(&self, flushed: &mut Flushed) -> Result<()> {
        let (revision, totals) = self.core.journal.totals();
        // Every commit up to the revision is applied and in the journal for good before the table
        // is said to hold it.
        self.core.journal.sync().map_err(|_| Error::Poisoned)?;
        // Before the flush: what a sweep takes away later may be in the table on disk.
        let next_expiry_ms = self.core.expiries.next_ms();
        self.core.table.flush().inspect_err(|_| self.core.journal.poison())?;
        let table_generation = flushed.generation;
        let checkpoint = Checkpoint { revision, totals, table_generation, next_expiry_ms };
        self.core.journal.record_checkpoint(checkpoint, self.core.clock.now_ms())?;
        flushed.revision = revision;
        Ok(())
    }

    /// Makes a new table, to which all rows are then copied.
    pub(crate) fn begin_table_copy(&self) -> Result<()> {
        let generation = self.flushed.lock().generation;
        self.tables.remove_all_but(generation)?;
        self.table.begin_copy(self.tables.open(generation + 1)?);
        Ok(())
    }

    /// Lets the copy, which holds all rows, take over; the old table goes once MANIFEST names the
    /// new one.
    pub(crate) fn take_over_table_copy(&self) -> Result<()> {
        let mut flushed = self.flushed.lock();
        let Some(replaced) = self.table.end_copy() else {
            return self.tables.remove_all_but(flushed.generation);
        };
        flushed.generation += 1;
        self.checkpoint_as(&mut flushed)?;
        // Scans may be reading it yet.
        drop(replaced);
        if let Err(error) = self.tables.remove_all_but(flushed.generation) {
            log::warn!("the replaced table could not be removed: {error}");
        }
        Ok(())
    }

    pub(crate) fn abandon_table_copy(&self) {
        self.table.abandon_copy();
        if let Err(error) = self.tables.remove_all_but(self.flushed.lock().generation) {
            log::warn!("an unfinished table could not be removed: {error}");
        }
    }

    /// Whether the table is on disk, and checkpoints can be taken.
    pub(crate) fn has_table_on_disk(&self) -> bool {
        self.table_on_disk
    }

    /// Makes moved heads durable, of which no checkpoint knows.
    pub(crate) fn flush_table(&self) -> Result<()> {
        let _flushing = self.flushed.lock();
        self.core.table.flush().inspect_err(|_| self.core.journal.poison())
    }

    /// Whether segments that were retired by an earlier process may be among those that are to
    /// be dropped: true once, if there were any when the store opened.
    pub(crate) fn begin_retiring(&self) -> bool {
        !self.retiring.swap(true, Ordering::AcqRel)
    }

    fn close(self) -> Result<()> {
        if self.core.journal.is_poisoned() {
            return Err(Error::Poisoned);
        }
        self.checkpoint()?;
        if !self.table_on_disk {
            // Without a table on disk there is nothing to believe at the next open.
            self.core.journal.sync().map_err(|_| Error::Poisoned)?;
            return Ok(());
        }
        let Core { journal, table, clock, expiries, .. } = self.core;
        let table_generation = self.flushed.into_inner().generation;
        self.table.abandon_copy();
        drop((table, self.table));
        let table_digest = self.tables.digest(table_generation)?;
        let (revision, totals) = journal.totals();
        let next_expiry_ms = expiries.next_ms();
        let checkpoint = Checkpoint { revision, totals, table_generation, next_expiry_ms };
        journal.record_close(checkpoint, table_digest, clock.now_ms())
    }
}

impl Environment {
    /// The operating system's files, and tables on sled beside them.
    pub(crate) fn on_disk(path: &Path, cache_bytes: u64) -> Self {
        let tables = SledTables::new(path.to_owned(), cache_bytes / 2);
        Self::new(Arc::new(RealDisk), Arc::new(tables))
    }
}

const _: () = {
    const fn is_shared_between_threads<S: Send + Sync + Clone + 'static>() {}
    is_shared_between_threads::<Store>();
    is_shared_between_threads::<Collection<String, Json>>();
    is_shared_between_threads::<Options>();
};
