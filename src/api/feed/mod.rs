//! The change feed: what became of which item, in the order of the commits, from any place on.
//!
//! The journal is the feed: [`reader`] reads its frames and returns their entries. It sees
//! only what is durable, and takes the store's guard for one chunk at a time, never between two
//! changes and never while it waits. [`Changes`] ends where nothing more is durable, [`Watch`]
//! waits there for more.

mod change;
mod changes;
mod cursor;
mod reader;
#[cfg(feature = "stream")]
mod stream;
#[cfg(test)]
mod tests;
mod watch;

pub use self::change::{Change, ChangeKind};
pub use self::changes::Changes;
pub use self::cursor::{Cursor, ParseCursorError};
#[cfg(feature = "stream")]
pub use self::stream::WatchStream;
pub use self::watch::Watch;

use bytes::Bytes;

use self::reader::Selected;
use crate::api::collection::Collection;
use crate::api::store::Store;
use crate::values::codec::{Codec, Raw};
use crate::values::error::Result;

impl Store {
    /// Returns every durable change after a place in the store's history, of all collections, in
    /// the order in which they were made; the iterator ends where nothing more is durable.
    ///
    /// Each item's latest change is always there; superseded changes are there for as long as the
    /// journal keeps them. A change is shown only when it is durable. An expired item is shown as
    /// [`Expired`](ChangeKind::Expired), whether it was swept or not. A collection that was cleared
    /// or dropped is shown as one [`Cleared`](ChangeKind::Cleared), and the changes that it made
    /// obsolete are not shown.
    ///
    /// It costs reads of the journal's files, some 256 KiB at a time. The first read in a file,
    /// which has at most 128 MiB, reads it from its start; later reads begin nearby. The store can
    /// be written to and closed at the same time.
    ///
    /// # Errors
    /// Here, or as the iterator's last item when compaction overtakes it:
    /// - [`Error::Compacted`](crate::Error::Compacted) when tombstones after the cursor have been
    ///   dropped. Never here for [`Cursor::START`]; an iterator that began there may be overtaken.
    /// - [`Error::Diverged`](crate::Error::Diverged) when the cursor is of another incarnation of
    ///   the store, or ahead of it.
    /// - [`Error::Closed`](crate::Error::Closed), [`Error::Corrupt`](crate::Error::Corrupt),
    ///   [`Error::Io`](crate::Error::Io),
    ///   [`Error::IndexUnavailable`](crate::Error::IndexUnavailable).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::{ChangeKind, Cursor, Store};
    ///
    /// let store = Store::in_memory();
    /// let notes = store.collection::<String>("notes")?;
    /// let written = notes.create("a", &"one".to_owned())?;
    /// notes.delete("a", written.etag())?;
    ///
    /// let mut place = Cursor::START; // or what the last session has kept
    /// let mut kinds = Vec::new();
    /// for change in store.changes(place)? {
    ///     let change = change?;
    ///     kinds.push((change.collection().to_owned(), change.kind()));
    ///     place = change.cursor();
    /// }
    /// let notes = || "notes".to_owned();
    /// assert_eq!(kinds, [(notes(), ChangeKind::Created), (notes(), ChangeKind::Deleted)]);
    /// assert_eq!(store.changes(place)?.count(), 0);
    /// # Ok(()) }
    /// ```
    pub fn changes(&self, cursor: Cursor) -> Result<Changes> {
        Changes::new(self, cursor, None, <Raw as Codec<Bytes>>::decode)
    }

    /// Returns the same changes as [`changes`](Self::changes), and then waits for further ones.
    ///
    /// A watch does not keep the store open, and never delays a writer. It holds at most some 256
    /// KiB of changes, or those of one commit, and reads later ones from the journal when they are
    /// asked for.
    ///
    /// While a watch exists, an [`Eventual`](crate::Durability::Eventual) store begins to sync at
    /// once after a commit, not after `sync_interval`. So a change is seen after one disk sync.
    /// Writers do not wait for it, and commits that come during a sync share the next one.
    ///
    /// # Errors
    /// As [`changes`](Self::changes).
    ///
    /// See [`Watch`] for an example.
    pub fn watch(&self, cursor: Cursor) -> Result<Watch> {
        Watch::new(self, cursor, None, <Raw as Codec<Bytes>>::decode)
    }

    /// The place after everything that is durable now.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<String>("notes")?;
    /// notes.create("a", &"one".to_owned())?;
    /// let now = store.cursor()?;
    /// notes.create("b", &"two".to_owned())?;
    /// let since: Vec<_> = store.changes(now)?.collect::<Result<_, _>>()?;
    /// assert_eq!((since.len(), since[0].key_str()), (1, Some("b")));
    /// # Ok(()) }
    /// ```
    pub fn cursor(&self) -> Result<Cursor> {
        let engine = self.engine()?;
        let journal = &engine.journal;
        Ok(Cursor::after(*journal.incarnation(), journal.durable(), 0))
    }
}

impl<T, C: Codec<T>> Collection<T, C> {
    /// Returns this collection's changes, with their documents decoded; otherwise as
    /// [`Store::changes`], whose cursors are the same. A change whose document cannot be decoded
    /// is an `Err` in its place, not the end.
    ///
    /// Costs what the whole store's changes cost to read, since all collections share the journal.
    ///
    /// # Errors
    /// As [`Store::changes`], and [`Error::CodecMismatch`](crate::Error::CodecMismatch).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Cursor;
    ///
    /// let store = ifmatch::Store::in_memory();
    /// let prices = store.collection::<f64>("prices")?;
    /// prices.create("apple", &0.5)?;
    /// store.raw("icons")?.create("apple", &vec![0x89].into())?;
    ///
    /// let changes: Vec<_> = prices.changes(Cursor::START)?.collect::<Result<_, _>>()?;
    /// assert_eq!((changes.len(), changes[0].value()), (1, Some(&0.5)));
    /// # Ok(()) }
    /// ```
    pub fn changes(&self, cursor: Cursor) -> Result<Changes<T>> {
        Changes::new(self.store(), cursor, Some(self.selected()?), C::decode)
    }

    /// Returns the same changes as [`changes`](Self::changes), and then waits for further ones, as
    /// [`Store::watch`] does.
    ///
    /// # Errors
    /// As [`changes`](Self::changes).
    ///
    /// See [`Watch`] for an example.
    pub fn watch(&self, cursor: Cursor) -> Result<Watch<T>> {
        Watch::new(self.store(), cursor, Some(self.selected()?), C::decode)
    }

    /// As [`watch`](Self::watch), with the documents as they are stored.
    pub(crate) fn watch_stored(&self, cursor: Cursor) -> Result<Watch> {
        let decode = <Raw as Codec<Bytes>>::decode;
        Watch::new(self.store(), cursor, Some(self.selected()?), decode)
    }

    fn selected(&self) -> Result<Selected> {
        self.check_codec()?;
        Ok(Selected { collection: self.name().into(), codec: C::ID })
    }
}

const _: () = {
    const fn goes_anywhere<W: Send + Sync + Unpin + 'static>() {}
    goes_anywhere::<Changes>();
    goes_anywhere::<Watch<std::cell::Cell<u8>>>();
    goes_anywhere::<Change>();
    #[cfg(feature = "stream")]
    goes_anywhere::<WatchStream>();
};
