//! Reading what an item was before.

use std::ops::ControlFlow;

use crate::api::collection::{Collection, decode};
use crate::engine::PastEntry;
use crate::values::codec::Codec;
use crate::values::error::Result;
use crate::values::etag::ETag;
use crate::values::item::Item;

impl<T, C: Codec<T>> Collection<T, C> {
    /// Reads the retained versions of an item, the newest first: the current version, if there is
    /// one, and the superseded versions that the store's [`HistoryPolicy`](crate::HistoryPolicy)
    /// keeps. By default it keeps none. A removal does not end the history: versions from before it
    /// follow. Removals themselves and expired versions are not listed.
    ///
    /// Each version is decoded by itself. One that cannot be decoded as `T`, perhaps because a
    /// field was renamed, is an `Err` in its place, and the others are still returned.
    ///
    /// For each version, it costs a read of up to 256 KiB of the journal. The first such read in a
    /// segment after an open reads the segment from its beginning. All versions are held in memory.
    ///
    /// # Errors
    /// Those that every method can return; see [`Collection`]. The error of a single version is
    /// [`Error::Codec`](crate::Error::Codec).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("app.ifm");
    /// use ifmatch::{HistoryPolicy, Options};
    ///
    /// let store = Options::new().history(HistoryPolicy::new().versions(5)).open(&path)?;
    /// let notes = store.collection::<String>("notes")?;
    /// let first = notes.create("a", &"one".to_owned())?;
    /// let second = notes.replace("a", &"two".to_owned(), first.etag())?;
    /// notes.delete("a", second.etag())?;
    /// let past: Vec<String> =
    ///     notes.history("a")?.into_iter().flatten().map(|item| item.value).collect();
    /// assert_eq!(past, ["two", "one"]);
    /// # Ok(()) }
    /// ```
    pub fn history(&self, key: impl AsRef<[u8]>) -> Result<Vec<Result<Item<T>>>> {
        let mut versions = Vec::new();
        self.visit_past(key.as_ref(), &mut |entry| {
            versions.push(entry.version);
            ControlFlow::Continue(())
        })?;
        let key = self.key(key.as_ref())?;
        Ok(versions.into_iter().map(|version| decode::<T, C>(&key, version)).collect())
    }

    /// Reads one retained version of an item by its tag: the base of a three-way merge, or the
    /// target of an undo. `None` when there is no such version, or it is no longer kept.
    ///
    /// Costs what [`history`](Self::history) costs up to that version.
    ///
    /// # Errors
    /// [`Error::Codec`](crate::Error::Codec) when the version cannot be decoded as `T`.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let first = notes.create("a", &"one".to_owned())?;
    /// assert!(notes.get_version("a", &first.etag())?.is_some());
    /// notes.replace("a", &"two".to_owned(), first.etag())?;
    /// assert!(notes.get_version("a", &first.etag())?.is_none()); // by default nothing is kept
    /// # Ok(()) }
    /// ```
    pub fn get_version(&self, key: impl AsRef<[u8]>, etag: &ETag) -> Result<Option<Item<T>>> {
        let mut found = None;
        self.visit_past(key.as_ref(), &mut |entry| {
            if entry.version.meta.etag != *etag {
                return ControlFlow::Continue(());
            }
            found = Some(entry.version);
            ControlFlow::Break(())
        })?;
        let key = self.key(key.as_ref())?;
        found.map(|version| decode::<T, C>(&key, version)).transpose()
    }

    /// Visits the retained versions that hold a value and have not expired.
    fn visit_past(
        &self,
        key: &[u8],
        visit: &mut dyn FnMut(PastEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let key = self.key(key)?;
        let engine = self.store().engine()?;
        let now_ms = engine.clock.now_ms();
        engine.past(&key, &mut |entry| {
            if entry.leaves_item && entry.version.is_live(now_ms) {
                visit(entry)
            } else {
                ControlFlow::Continue(())
            }
        })
    }
}
