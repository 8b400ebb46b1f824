//! Removing everything at once.

use crate::api::collection::Collection;
use crate::api::store::Store;
use crate::api::submit;
use crate::engine::Clearing;
use crate::values::codec::Codec;
use crate::values::error::Result;
use crate::values::key::check_collection;

impl<T, C: Codec<T>> Collection<T, C> {
    /// Removes every item of the collection, and returns how many there were, expired ones that no
    /// sweep had met among them. The collection stays, with its form and its default time to live.
    ///
    /// It is one commit with one revision, whatever the number of items: every reader sees all of
    /// them or none, and so does what a crash leaves. It takes no precondition. Writers come before
    /// it or after it; what they create after it has a new tag and no parent. Nothing is written
    /// where there is no item.
    ///
    /// The change feed shows one [`ChangeKind::Cleared`](crate::ChangeKind::Cleared), and not the
    /// changes that it made obsolete. The items' [history](Self::history) ends:
    /// [`was_written`](Self::was_written) finds nothing of before. Snapshots that began before go on
    /// to show the items.
    ///
    /// Costs one frame of some 100 bytes, and as durable as any write. It waits for a checkpoint
    /// that is under way. All writers of the store wait while it is appended, which takes as long
    /// as one small write. Then, while others go on, it looks at the heads of all that is gone, to
    /// count their space as free: some 10 ns for each item, and one read of the index for each 64
    /// to 128 items that are not in memory. Compaction gives the space back, as after deletes. If
    /// a snapshot reads the items, their heads, some 100 bytes each, stay in memory and count in
    /// [`Options::snapshot_bytes`](crate::Options::snapshot_bytes).
    ///
    /// # Errors
    /// Those of every write; see [`Collection`]. After [`CommitUnknown`](crate::Error::CommitUnknown)
    /// the collection is empty or as it was, which the next open decides.
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
    /// Removes a collection: its items, its form and its default time to live. The name can be used
    /// again, with another form. Returns whether there was such a collection.
    ///
    /// It is one commit, like [`Collection::clear`], with the same costs, and shows as the same
    /// change. Handles to the collection stay usable: the next write through one records it again,
    /// and once the name is used with another form they get
    /// [`CodecMismatch`](crate::Error::CodecMismatch), for snapshots of before as well.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::Error::InvalidKey) for what is no collection's name, and those of every
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
