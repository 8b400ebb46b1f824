//! An open store: [`Store`], its handles, and how it closes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::background::Background;
use crate::batch::Batch;
use crate::clock::Clock;
use crate::codec::{Codec, Json, Raw};
use crate::collection::Collection;
use crate::damage::Damage;
use crate::disk::{Disk, MemoryDisk, RealDisk};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::journal::signal::{Signal, WakeLater};
use crate::opening::{self, Opened};
use crate::options::{Durability, Options};
use crate::revision::Revision;
use crate::running::Running;
use crate::sync::{RwLock, RwLockReadGuard};
use crate::table::{MemoryTables, SledTables};

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
    signal: Arc<Signal>,
    damage: Option<Damage>,
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
        let environment = Environment {
            backup_disk: Some(Arc::new(RealDisk)),
            ..Environment::new(Arc::new(MemoryDisk::new()), tables)
        };
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
        let running = Running::new(&environment, journal, table, clock, lock, options)?;
        let signal = Arc::clone(running.core.journal.signal());
        let interval =
            (options.durability == Durability::Eventual).then_some(options.sync_interval);
        let shared = Arc::new(Shared {
            running: RwLock::new(Some(running)),
            background: Background::new(interval),
            compacting: parking_lot::Mutex::new(()),
            signal,
            damage,
        });
        // Closes the store, and ends what was started, should a thread be refused.
        let store = Self { handle: Arc::new(Handle { shared }) };
        if environment.background {
            let started = Background::start(&store.handle.shared);
            started.map_err(Error::io("starting a thread for", path))?;
        }
        Ok(store)
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

    /// The newest revision up to which every commit is visible to reads; [`Revision::ZERO`] once
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
    /// - [`Error::Poisoned`] when an earlier failure ended writing, or the journal's last sync fails.
    /// - [`Error::Io`] or [`Error::Table`] when the table's flush or the mark fails.
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

    /// What a watch waits on.
    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.handle.shared.signal
    }

    /// A handle that does not keep the store open.
    pub(crate) fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.handle))
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

/// A [`Store`] that the user's last clone closes all the same.
#[derive(Debug)]
pub(crate) struct WeakStore(Weak<Handle>);

impl WeakStore {
    /// # Errors
    /// [`Error::Closed`] when the last clone is gone.
    pub(crate) fn upgrade(&self) -> Result<Store> {
        self.0.upgrade().map(|handle| Store { handle }).ok_or(Error::Closed)
    }
}

/// Keeps a store from closing. When it is dropped, tasks are woken that the operation has news
/// for: after the guard, since to wake a task is to run the user's code.
pub(crate) struct RunningGuard<'a> {
    running: RwLockReadGuard<'a, Option<Running>>,
    _wake: Option<WakeLater<'a>>,
}

/// Keeps others from compacting and from renewing the table. Tasks that this work has news for are
/// woken when it is over, unless another operation comes by before.
pub(crate) struct Compacting<'a> {
    shared: &'a Shared,
    _only: parking_lot::MutexGuard<'a, ()>,
    _wake: WakeLater<'a>,
}

impl Compacting<'_> {
    /// As [`Shared::running`], but that no task is woken: the user's code may want to compact.
    pub(crate) fn running(&self) -> Result<RunningGuard<'_>> {
        self.shared.guard(None)
    }
}

impl std::ops::Deref for RunningGuard<'_> {
    type Target = Running;

    #[expect(clippy::expect_used, reason = "Shared::running checks before it makes a guard")]
    fn deref(&self) -> &Running {
        self.running.as_ref().expect("the store is running")
    }
}

impl Shared {
    pub(crate) fn running(&self) -> Result<RunningGuard<'_>> {
        self.guard(Some(self.signal.wake_later()))
    }

    fn guard<'a>(&'a self, wake: Option<WakeLater<'a>>) -> Result<RunningGuard<'a>> {
        let running = self.running.read();
        if running.is_none() {
            return Err(Error::Closed);
        }
        Ok(RunningGuard { running, _wake: wake })
    }

    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    /// Waits until nobody compacts. Taken before the store's parts are.
    pub(crate) fn compacting(&self) -> Compacting<'_> {
        let _wake = self.signal.wake_later();
        Compacting { shared: self, _only: self.compacting.lock(), _wake }
    }

    fn close(&self) -> Result<()> {
        let running = self.running.write().take();
        self.signal.close();
        self.background.stop();
        running.ok_or(Error::Closed)?.close()
    }
}

impl Environment {
    /// The operating system's files, and tables on sled beside them.
    /// Also gives the path to go by from now on, which names the same directory when the working
    /// directory is another, or when a link on the way is.
    pub(crate) fn on_disk(path: &Path, cache_bytes: u64) -> Result<(Self, PathBuf)> {
        let path = RealDisk.resolve(path).map_err(Error::io("resolving", path))?;
        let tables = SledTables::new(path.clone(), cache_bytes / 2);
        Ok((Self::new(Arc::new(RealDisk), Arc::new(tables)), path))
    }
}

const _: () = {
    const fn is_shared_between_threads<S: Send + Sync + Clone + 'static>() {}
    is_shared_between_threads::<Store>();
    is_shared_between_threads::<Collection<String, Json>>();
    is_shared_between_threads::<Options>();
};
