//! Removing everything at once.

use crate::api::collection::Collection;
use crate::api::store::Store;
use crate::api::submit;
use crate::engine::Clearing;
use crate::values::codec::Codec;
use crate::values::error::Result;
use crate::values::key::check_collection;

impl<T, C: Codec<T>> Collection<T, C> {
    /// Removes every item of the collection, and returns how many there were. Expired items that
    /// were not swept yet are counted. The collection stays, with its codec and its default time to
    /// live.
    ///
    /// It is one commit with one revision, whatever the number of items. Every reader sees all of
    /// the items or none, and so it is after a crash. It takes no precondition. Items that are
    /// created later have a new tag and no parent. If there is no item, nothing is written.
    ///
    /// The change feed shows one [`ChangeKind::Cleared`](crate::ChangeKind::Cleared), and not the
    /// changes that it made obsolete. The items' [history](Self::history) ends:
    /// [`was_written`](Self::was_written) finds no earlier write. Snapshots that began before still
    /// show the items.
    ///
    /// It costs one frame of some 100 bytes, and is as durable as any write. It waits for a
    /// checkpoint in progress. All writers of the store wait while it is appended, for as long as
    /// one small write takes. After that, while others continue, it visits the index entries of all
    /// removed items to count their space as free: some 10 ns for each item, and one read of the
    /// index for each 64 to 128 items that are not in memory. Compaction reclaims the space, as
    /// after deletes. If a snapshot sees the items, some 100 bytes for each stay in memory and
    /// count in [`Options::snapshot_bytes`](crate::Options::snapshot_bytes).
    ///
    /// # Errors
    /// Those of every write; see [`Collection`]. After
    /// [`CommitUnknown`](crate::Error::CommitUnknown) the collection is empty or unchanged; the
    /// next open decides which.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::{ChangeKind, Cursor};
    ///
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<String>("notes")?;
    /// let first = notes.create("a", &"one".to_owned())?;
    /// notes.create("b", &"two".to_owned())?;
    /// let before = store.snapshot();
    ///
    /// assert_eq!(notes.clear()?, 2);
    /// assert!(notes.is_empty()?);
    /// assert_eq!(before.collection(&notes).len()?, 2);
    /// assert_eq!(notes.clear()?, 0);
    ///
    /// let again = notes.create("a", &"one".to_owned())?;
    /// assert_ne!(again.etag(), first.etag());
    /// assert_eq!(again.parent(), None);
    ///
    /// let changes = notes.changes(Cursor::START)?.collect::<Result<Vec<_>, _>>()?;
    /// let kinds: Vec<_> = changes.iter().map(|change| (change.kind(), change.key())).collect();
    /// assert_eq!(kinds, [(ChangeKind::Cleared, &b""[..]), (ChangeKind::Created, b"a")]);
    /// # Ok(()) }
    /// ```
    pub fn clear(&self) -> Result<u64> {
        let cleared = submit::clear(self.store(), self.name(), Clearing::Clear(self.name.codec))?;
        Ok(cleared.items)
    }
}

impl Store {
    /// Removes a collection: its items, its codec and its default time to live. The name can be
    /// used again, with another codec. Returns whether there was such a collection.
    ///
    /// Like [`Collection::clear`] it is one commit, with the same costs, and the feed shows the
    /// same change. Handles to the collection stay usable: the next write through one creates the
    /// collection again. Once the name is used with another codec, they return
    /// [`CodecMismatch`](crate::Error::CodecMismatch), also for older snapshots.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::Error::InvalidKey) for a name that is not valid, and those of every
    /// write; see [`Collection`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// store.collection::<u64>("visits")?.create("today", &1)?;
    /// assert!(store.raw("visits").is_err());
    ///
    /// assert!(store.drop_collection("visits")?);
    /// assert!(store.collections()?.is_empty());
    /// store.raw("visits")?.create("today", &vec![1].into())?;
    ///
    /// assert!(!store.drop_collection("unknown")?);
    /// # Ok(()) }
    /// ```
    pub fn drop_collection(&self, name: &str) -> Result<bool> {
        check_collection(name)?;
        Ok(submit::clear(self, name, Clearing::Drop)?.written)
    }
}
