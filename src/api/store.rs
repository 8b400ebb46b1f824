//! An open store: [`Store`], its handles, and how it closes. `open.rs` opens it.

mod info;
mod open;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::batch::Batch;
use crate::api::collection::Collection;
use crate::engine::CollectionRecord;
use crate::engine::background::{Background, Watching};
use crate::engine::shared::{EngineGuard, Shared};
use crate::journal::notify::Notifier;
use crate::values::codec::{Codec, Json, Raw};
use crate::values::damage::Damage;
use crate::values::error::{Error, Result};
use crate::values::options::Options;
use crate::values::revision::Revision;

pub use info::CollectionInfo;

/// An open store. Cheap to clone: all clones, and the collections opened from them, share one
/// store. Dropping the last of them closes it, as [`close`](Self::close) does.
///
/// All calls block. A write to an `Immediate` store blocks for one disk sync, which all waiting
/// writers share. A read blocks for at most one read of the index and one of the journal. Keep
/// writes off a user interface's thread, or open the store `Eventual` and call [`sync`](Self::sync)
/// on another thread when data must be durable.
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

/// Closes the store when the user's last clone is dropped, whatever the store's own threads are
/// doing.
struct Handle {
    shared: Arc<Shared>,
    /// `None` for a store in memory.
    path: Option<PathBuf>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        match self.shared.close() {
            Ok(()) | Err(Error::Closed) => {}
            Err(error) => log::error!(
                "closing a store whose last handle was dropped failed; the next open recovers it \
                 from the journal: {error}"
            ),
        }
    }
}

impl Store {
    /// Opens the store in this directory with the default [`Options`], creating it if it is
    /// missing. The costs are those of [`Options::open`].
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
    /// disk. [`Options::in_memory`] makes one with other options.
    ///
    /// # Panics
    /// When the system refuses to start the thread that does the store's maintenance.
    ///
    /// See the [crate](crate) for an example.
    #[must_use]
    pub fn in_memory() -> Self {
        Options::new().in_memory()
    }

    /// Opens a collection of documents that are stored as [`Json`].
    ///
    /// Does no I/O: the first write creates the collection.
    ///
    /// # Errors
    /// - [`Error::InvalidKey`] when the name is empty, over 128 bytes or holds a NUL.
    /// - [`Error::CodecMismatch`] when the collection is stored with another codec.
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
        self.engine().map_or(Revision::ZERO, |engine| Revision(engine.journal.applied()))
    }

    /// Lists the collections, in order of their names. A collection exists from its first write on,
    /// even if it has no items any more. Costs no I/O; [`Collection::len`] counts items.
    ///
    /// # Errors
    /// [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// store.collection::<f64>("prices")?.create("apple", &0.5)?;
    /// store.raw("icons")?.create("apple", &vec![0x89].into())?;
    /// let found = store.collections()?;
    /// let found: Vec<_> = found.iter().map(|info| (info.name(), info.codec())).collect();
    /// assert_eq!(found, [("icons", Some("raw")), ("prices", Some("json"))]);
    /// # Ok(()) }
    /// ```
    pub fn collections(&self) -> Result<Vec<CollectionInfo>> {
        let records = self.engine()?.collections();
        let info = |(name, record): (String, Option<CollectionRecord>)| CollectionInfo {
            name,
            codec: record.map(|record| record.codec.name()),
            default_ttl: record.and_then(|record| record.default_ttl_ms).map(Duration::from_millis),
        };
        Ok(records.into_iter().map(info).collect())
    }

    /// The store's directory, absolute and with links resolved as they were at the open; `None` for
    /// a store in memory. On Windows it has the form that users write, `C:\x`, unless it has more
    /// than the 260 characters that Windows accepts in that form.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("shop.ifm");
    /// let store = ifmatch::Store::open(&path)?;
    /// assert_eq!(store.path().unwrap().canonicalize()?, path.canonicalize()?);
    /// assert_eq!(ifmatch::Store::in_memory().path(), None);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.handle.path.as_deref()
    }

    /// Returns when every write made before the call is on stable storage. Costs one sync, or none
    /// if there is nothing to sync. This is for `Eventual` stores: an `Immediate` store has synced
    /// each write before it returned.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when syncing fails or failed before; [`Error::Closed`].
    ///
    /// See [`Durability`](crate::Durability) for an example.
    pub fn sync(&self) -> Result<()> {
        let engine = self.engine()?;
        engine.journal.sync()?;
        Ok(())
    }

    /// What the open found damaged and left out. `None` if nothing was damaged, or if
    /// [`on_damage`](Options::on_damage) was neither [`KeepPrefix`](crate::OnDamage::KeepPrefix)
    /// nor [`SkipDamaged`](crate::OnDamage::SkipDamaged).
    ///
    /// See [`Damage`] for an example.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.handle.shared.damage.as_ref()
    }

    /// Closes the store: waits for operations in progress, syncs the journal, flushes the index and
    /// writes the mark by which the next open knows that nothing has to be replayed. From then on
    /// every other clone returns [`Error::Closed`], and the directory can be opened again.
    ///
    /// # Errors
    /// - [`Error::Closed`] when a clone has closed it already.
    /// - [`Error::Poisoned`] when an earlier failure ended writing, or the journal's last sync
    ///   fails.
    /// - [`Error::Io`] when the system refuses a call for the checkpoint or for the mark.
    ///
    /// The store is closed in every case, and the next open recovers what was acknowledged.
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
    pub(crate) fn engine(&self) -> Result<EngineGuard<'_>> {
        self.handle.shared.engine()
    }

    pub(crate) fn background(&self) -> &Background {
        &self.handle.shared.background
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// What a watch waits on.
    pub(crate) fn notifier(&self) -> &Arc<Notifier> {
        &self.handle.shared.notifier
    }

    /// What counts as watching for as long as it lives.
    pub(crate) fn begin_watching(&self) -> Watching {
        self.background().begin_watching()
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

/// A [`Store`] that does not keep the store open when the user's last clone is dropped.
#[derive(Debug)]
pub(crate) struct WeakStore(Weak<Handle>);

impl WeakStore {
    /// # Errors
    /// [`Error::Closed`] when the last clone is gone.
    pub(crate) fn upgrade(&self) -> Result<Store> {
        self.0.upgrade().map(|handle| Store { handle }).ok_or(Error::Closed)
    }
}

const _: () = {
    const fn is_shared_between_threads<S: Send + Sync + Clone + 'static>() {}
    is_shared_between_threads::<Store>();
    is_shared_between_threads::<Collection<String, Json>>();
    is_shared_between_threads::<Options>();
};
