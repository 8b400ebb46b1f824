//! Declaring the indexes of a collection.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::collection::Collection;
use crate::api::{building, submit};
use crate::engine::Engine;
use crate::values::codec::Json;
use crate::values::error::{Error, Result};
use crate::values::query::index::Index;

/// An index of a collection, as [`Collection::indexes`] lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexStatus {
    /// Its definition.
    pub index: Index,
    /// How many entries it has now: one for each item, or for each element where it has a `*`.
    pub entries: u64,
    /// Whether finds use it. They do not while it is being built. After an item with damaged bytes
    /// was overwritten or removed, they do not until the next
    /// [`ensure_index`](Collection::ensure_index) or open has built it again.
    pub built: bool,
}

/// How far the making of an index has come; see
/// [`Collection::ensure_index_with_progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexProgress {
    /// Items whose entries are in the index.
    pub done_items: u64,
    /// Items that the collection holds. It changes while others write, and is `done_items` at the
    /// end.
    pub total_items: u64,
}

impl<T: Serialize + DeserializeOwned> Collection<T, Json> {
    /// Makes sure that the collection has this index, and returns the index's name. From then on it
    /// is part of the store: every writer, in every program, maintains it in the same commit as the
    /// item. So it is never stale.
    ///
    /// A new index is built from the existing items while others read and write. That reads every
    /// item once, and ends with a checkpoint. An index that exists costs nothing, so a program can
    /// call this each time it starts. If a build is cut short, by a kill for example, the next open
    /// builds the index before it returns.
    ///
    /// A [unique](Index::unique) index binds writers once it is built. Only then are the existing
    /// items compared with each other. So an index may refuse a write although the index itself is
    /// refused a moment later.
    ///
    /// Each write in a collection with indexes reads the version that it replaces, from memory or
    /// with one read, and changes the entries that differ. With one index, a create takes 1.8
    /// times as long as with none, and 2.0 times if the index is unique; a replace that changes no
    /// indexed value takes 1.3 times as long with either. This is of an `Eventual` store, with
    /// documents of 256 bytes in memory; `cargo bench -p ifmatch-benches -- indexed` prints the
    /// times.
    ///
    /// # Errors
    /// - [`Error::Index`] when the definition is not valid, or the collection has an index of these
    ///   fields that is [unique](Index::unique) where this is not, or the other way round: drop
    ///   that one first.
    /// - [`Error::NotUnique`] when two items have one value in a new unique index, with their keys.
    /// - [`Error::TooLarge`] for a 65th index of a collection or a 1 025th of a store, and when an
    ///   item would have more than 1 000 entries in it. A write of such an item fails in the same
    ///   way.
    /// - [`Error::Corrupt`] when an item cannot be read.
    /// - Those of every write; see [`Collection`].
    ///
    /// After an error the collection has the same indexes as before. There is one exception: if the
    /// store is closed during the build, the next open builds the index.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Index;
    /// use serde_json::json;
    ///
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<serde_json::Value>("notes")?;
    /// notes.create("a", &json!({"tags": ["home", "work"], "modified": 3}))?;
    ///
    /// let name = notes.ensure_index(Index::on("/tags/*").then_desc("/modified"))?;
    /// assert_eq!(name, "/tags/*,-/modified");
    /// assert_eq!(notes.indexes()?[0].entries, 2);
    ///
    /// assert!(notes.drop_index(&name)?);
    /// assert!(notes.indexes()?.is_empty());
    /// # Ok(()) }
    /// ```
    pub fn ensure_index(&self, index: Index) -> Result<String> {
        self.ensure_index_with_progress(index, |_| {})
    }

    /// As [`ensure_index`](Self::ensure_index), and calls a function with the progress of a new
    /// index: after every 256 items, and at the end, on the calling thread. It is not called for an
    /// index that exists, nor during the check of a unique one, which reads only its entries. If
    /// the index is lost or cleared during the build, the progress starts again.
    ///
    /// The function may read. It must not make an index, nor write to a collection with a unique
    /// index: such a call waits for the index under way, and hangs. If the function panics, a new
    /// index stays declared, and the next call or open builds it.
    ///
    /// # Errors
    /// As [`ensure_index`](Self::ensure_index).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Index;
    /// use serde_json::json;
    ///
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<serde_json::Value>("notes")?;
    /// notes.create("a", &json!({"modified": 3}))?;
    ///
    /// let mut last = None;
    /// notes.ensure_index_with_progress(Index::on("/modified"), |progress| {
    ///     println!("{} of {} notes", progress.done_items, progress.total_items);
    ///     last = Some(progress);
    /// })?;
    /// assert!(last.is_some_and(|last| last.done_items == 1 && last.total_items == 1));
    /// # Ok(()) }
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a definition is made for this call")]
    pub fn ensure_index_with_progress(
        &self,
        index: Index,
        mut on_progress: impl FnMut(IndexProgress),
    ) -> Result<String> {
        index.check().map_err(Error::Index)?;
        self.check_codec()?;
        let name = index.name();
        let shared = self.store.shared();
        let _only = shared.building.lock();
        let declare = |engine: &Engine| engine.declare_index(self.name(), &index);
        let is_new = submit::write(&self.store, declare)?;
        let mut make = || {
            building::build(&self.store, self.name(), &name, &mut on_progress)?;
            building::check_unique(&self.store, self.name(), &name)
        };
        let mut made = make();
        // The collection was cleared during the build, and the index is built; or rows were lost.
        if let Err(Error::IndexUnavailable(_)) = made {
            made = make();
        }
        if let Err(error) = made {
            let is_refused = matches!(error, Error::NotUnique { .. });
            if is_refused || (is_new && !matches!(error, Error::Closed)) {
                submit::write(&self.store, |engine| engine.drop_index(self.name(), &name))?;
            }
            return Err(error);
        }
        Ok(name)
    }

    /// The collection's indexes, in the order in which they are kept. Costs no I/O.
    ///
    /// See [`ensure_index`](Self::ensure_index) for an example.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn indexes(&self) -> Result<Vec<IndexStatus>> {
        let engine = self.store.engine()?;
        let status = |index: &std::sync::Arc<crate::engine::Secondary>| IndexStatus {
            index: index.definition.clone(),
            entries: engine.secondary_len(index),
            built: index.is_built(),
        };
        Ok(engine.secondaries.of(self.name()).iter().map(status).collect())
    }

    /// Drops the index of this name, and returns whether there was one. Costs one commit. The next
    /// checkpoint reclaims its space, once no snapshot reads it any more.
    ///
    /// See [`ensure_index`](Self::ensure_index) for an example.
    ///
    /// # Errors
    /// Those of every write; see [`Collection`].
    pub fn drop_index(&self, name: &str) -> Result<bool> {
        submit::write(&self.store, |engine| engine.drop_index(self.name(), name))
    }
}
