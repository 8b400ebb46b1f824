//! Reading a store as it was at one revision, while writers go on.

mod collection;

pub use self::collection::SnapshotCollection;

use std::sync::Arc;

use crate::api::collection::{Collection, OTHER_STORE};
use crate::api::feed::Cursor;
use crate::api::store::Store;
use crate::engine::View;
use crate::values::codec::{Codec, Json};
use crate::values::error::{Error, Result};
use crate::values::revision::Revision;

impl Store {
    /// Begins a snapshot: the store as it is now, to be read while writers continue. It shows every
    /// write that returned before the call, and no write that begins after it.
    ///
    /// Costs two short locks, whatever the store's size. Like an iterator, it keeps the store open.
    /// While it lives, each item that is replaced or deleted takes 144 bytes, its key and its
    /// collection's name in memory, bounded by
    /// [`Options::snapshot_bytes`](crate::Options::snapshot_bytes). Some disk space is not
    /// reclaimed until then, so drop it as soon as you can.
    ///
    /// If the store is closed, or [poisoned](Error::Poisoned) with a commit half applied, every
    /// read of the snapshot returns that error.
    ///
    /// See [`Snapshot`] for an example.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(self).unwrap_or_else(|_| Snapshot { store: self.clone(), view: None })
    }
}

/// A store as it was at one revision: all of every batch up to it, and nothing later. Made by
/// [`Store::snapshot`]. Cheap to clone: all clones share one snapshot, which ends when the last
/// clone and the last iterator made from it are dropped.
///
/// From the instant at which an item expires, it is absent from snapshots too.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::Precondition;
///
/// let store = ifmatch::Store::in_memory();
/// let stock = store.collection::<u64>("stock")?;
/// stock.create("apple", &5)?;
/// stock.create("pear", &3)?;
///
/// let before = store.snapshot();
/// stock.update("apple", |count| *count = 0)?;
/// stock.delete("pear", Precondition::Always)?;
/// stock.create("plum", &9)?;
///
/// let seen = before.collection(&stock);
/// let sum: u64 = seen.iter()?.map(|item| Ok(item?.value)).sum::<Result<_, ifmatch::Error>>()?;
/// assert_eq!((sum, stock.get("apple")?.map(|item| item.value)), (8, Some(0)));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Snapshot {
    store: Store,
    /// `None` where it could not begin.
    view: Option<Arc<View>>,
}

impl Snapshot {
    pub(crate) fn take(store: &Store) -> Result<Self> {
        let view = store.engine()?.begin_snapshot()?;
        Ok(Self { store: store.clone(), view: Some(view) })
    }

    /// The newest revision that the snapshot shows; [`Revision::ZERO`] if the store was closed or
    /// poisoned.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let written = store.collection::<u64>("counters")?.create("visits", &1)?;
    /// let snapshot = store.snapshot();
    /// assert_eq!(snapshot.revision(), written.revision());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.view.as_ref().map_or(Revision::ZERO, |view| Revision(view.revision()))
    }

    /// What is read from, if the snapshot is one of this store.
    pub(crate) fn view_of(&self, store: &Store) -> Result<&Arc<View>> {
        if self.store.is_same(store) {
            return self.view();
        }
        Err(Error::InvalidKey { reason: OTHER_STORE })
    }

    /// The view to read from, while the store is open. Called before the caller holds the store for
    /// the read: this may hold the store, and a thread that holds it twice deadlocks with a close
    /// in between.
    fn view(&self) -> Result<&Arc<View>> {
        match &self.view {
            Some(view) => Ok(view),
            None => Err(self.store.engine()?.journal.poisoned()),
        }
    }

    /// The place in the change feed after everything that the snapshot shows. A copy that was made
    /// by listing the snapshot continues from there.
    ///
    /// Costs a sync if the snapshot shows a commit that is not durable yet. Without it, a loss of
    /// power could leave the cursor ahead of the store, and the reader would miss the changes that
    /// follow.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when syncing fails or failed before; [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<String>("notes")?;
    /// notes.create("a", &"one".to_owned())?;
    /// let snapshot = store.snapshot();
    /// notes.create("b", &"two".to_owned())?;
    /// let keys: Vec<Vec<u8>> = store
    ///     .changes(snapshot.cursor()?)?
    ///     .map(|change| Ok(change?.key().to_vec()))
    ///     .collect::<Result<_, ifmatch::Error>>()?;
    /// assert_eq!(keys, [b"b".to_vec()]);
    /// # Ok(()) }
    /// ```
    pub fn cursor(&self) -> Result<Cursor> {
        let revision = self.view()?.revision();
        let engine = self.store.engine()?;
        let journal = &engine.journal;
        if journal.durable() < revision {
            journal.sync()?;
        }
        Ok(Cursor::after(*journal.incarnation(), revision, 0))
    }

    /// Returns a collection as it was. Reads of a collection that belongs to another store are
    /// [`Error::InvalidKey`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let empty = store.snapshot();
    /// let notes = store.collection::<String>("notes")?;
    /// notes.create("a", &"one".to_owned())?;
    /// assert!(empty.collection(&notes).is_empty()?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn collection<T, C: Codec<T>>(
        &self,
        collection: &Collection<T, C>,
    ) -> SnapshotCollection<T, C> {
        SnapshotCollection { snapshot: self.clone(), collection: collection.clone() }
    }
}

const _: () = {
    const fn is_shared_between_threads<S: Send + Sync + Clone + 'static>() {}
    is_shared_between_threads::<Snapshot>();
    is_shared_between_threads::<SnapshotCollection<String, Json>>();
};
