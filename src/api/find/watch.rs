//! What a find returns, as it changes.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::collection::Collection;
use crate::api::feed::{Change, ChangeKind, Cursor, Watch};
use crate::api::snapshot::Snapshot;
use crate::engine::operation::meets;
use crate::values::codec::{Codec, Json};
use crate::values::error::{Error, Result};
use crate::values::query::filter::Filter;

/// What a change did to what is found.
///
/// ```
/// use ifmatch::FoundKind;
///
/// fn belongs_in_the_list(kind: FoundKind) -> bool {
///     matches!(kind, FoundKind::Entered | FoundKind::Changed)
/// }
/// assert!(belongs_in_the_list(FoundKind::Changed));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FoundKind {
    /// The item meets the filter, and did not meet it before.
    Entered,
    /// The item met the filter before, and its new version meets it too.
    Changed,
    /// The item met the filter before, and no longer meets it, or is gone.
    Left,
    /// The collection was cleared or dropped, so nothing meets the filter. The change has no key.
    Cleared,
}

/// A change of an item that meets the filter before the change, after it, or both; returned by
/// [`WatchFound`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundChange<T> {
    kind: FoundKind,
    change: Change<T>,
}

impl<T> FoundChange<T> {
    /// What it did to the items of the find.
    #[must_use]
    pub fn kind(&self) -> FoundKind {
        self.kind
    }

    /// The change itself: key, version, and the document unless the item is gone.
    #[must_use]
    pub fn change(&self) -> &Change<T> {
        &self.change
    }

    /// The change itself, by value.
    #[must_use]
    pub fn into_change(self) -> Change<T> {
        self.change
    }
}

/// The durable changes to the items of a find, after a cursor, and then those to come; made by
/// [`Collection::watch_find`].
///
/// | the item before | and after the change | is |
/// |---|---|---|
/// | is absent or does not meet the filter | meets it | [`Entered`](FoundKind::Entered) |
/// | meets the filter | meets it | [`Changed`](FoundKind::Changed) |
/// | meets the filter | does not, or is gone | [`Left`](FoundKind::Left) |
/// | is absent or does not meet the filter | does not, or is gone | passed over |
/// | any of them meets the filter | the collection is cleared | [`Cleared`](FoundKind::Cleared), once |
///
/// What an item was *before the watch was opened* is not kept. Of an item that was changed between
/// the cursor and the opening, the first change is therefore `Entered` where it meets the filter,
/// and `Left` where it does not and the item was there before. So is the first clear after the
/// opening always shown. A list by key takes all of these as they are.
///
/// Otherwise it is like a [`Watch`]: it shows no change before it is durable, none twice, and none
/// out of order. It does not keep the store open. It is also an iterator, which blocks, and ends
/// after its first error that is not about a single document.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Filter, FoundKind, Patch, Precondition, Store};
/// use serde_json::json;
///
/// let store = Store::in_memory();
/// let notes = store.collection::<serde_json::Value>("notes")?;
/// notes.create("a", &json!({"done": false}))?;
///
/// // A list that is shown, and kept current.
/// let open = Filter::eq("/done", false);
/// let snapshot = store.snapshot();
/// let shown = snapshot.collection(&notes).find(open.clone()).count()?;
/// let mut watch = notes.watch_find(open, snapshot.cursor()?)?;
/// assert_eq!(shown, 1);
///
/// notes.create("b", &json!({"done": false}))?;
/// notes.patch("a", &Patch::new().set("/done", true), Precondition::Always)?;
/// notes.create("c", &json!({"done": true}))?;
/// let mut kinds = Vec::new();
/// while let Some(found) = watch.try_recv()? {
///     kinds.push((found.change().key_str().map(str::to_owned), found.kind()));
/// }
/// let key = |key: &str| Some(key.to_owned());
/// assert_eq!(kinds, [(key("b"), FoundKind::Entered), (key("a"), FoundKind::Left)]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct WatchFound<T> {
    watch: Watch,
    filter: Filter,
    /// The keys of the items that meet the filter, as far as the watch has come.
    members: HashSet<Bytes>,
    /// The keys that changed between the cursor and the opening, and were met.
    met: HashSet<Bytes>,
    /// The newest revision when the watch was opened.
    opened_at: u64,
    /// Whether items that are not members may meet the filter: a clear, which is still to come,
    /// then supersedes what changed between the cursor and the opening.
    may_lack_members: bool,
    documents: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> WatchFound<T> {
    pub(super) fn new(
        collection: &Collection<T, Json>,
        filter: Filter,
        cursor: Cursor,
    ) -> Result<Self> {
        let watch = collection.watch_stored(cursor)?;
        let snapshot = Snapshot::take(collection.store())?;
        let opened_at = snapshot.revision().0;
        let find = snapshot.collection(collection).find(filter.clone());
        let (_, matches) = find.matches()?;
        let mut members = HashSet::new();
        for found in matches {
            let found = found?;
            // What was written later comes as a change.
            if !cursor.is_before(found.version.meta.revision) {
                members.insert(found.key.key());
            }
        }
        let may_lack_members = cursor.is_before(snapshot.revision());
        let (met, documents) = (HashSet::new(), PhantomData);
        Ok(Self { watch, filter, members, met, opened_at, may_lack_members, documents })
    }

    /// Waits for the next change to the items of the find.
    ///
    /// # Errors
    /// As [`Watch::recv`].
    ///
    /// See [`WatchFound`] for an example.
    pub fn recv(&mut self) -> Result<FoundChange<T>> {
        loop {
            let change = self.watch.recv()?;
            if let Some(found) = self.judge(change)? {
                return Ok(found);
            }
        }
    }

    /// Waits for the next change to the items of the find, at most for the timeout; `None` if there
    /// was none. Changes that are passed over do not prolong the wait.
    ///
    /// # Errors
    /// As [`Watch::recv`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use std::time::Duration;
    /// use ifmatch::{Cursor, Filter, Store};
    ///
    /// let prices = Store::in_memory().collection::<f64>("prices")?;
    /// let mut watch = prices.watch_find(Filter::lt("", 1), Cursor::START)?;
    /// assert!(watch.recv_timeout(Duration::from_millis(1))?.is_none());
    /// # Ok(()) }
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<FoundChange<T>>> {
        let began = std::time::Instant::now();
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            let Some(change) = self.watch.recv_timeout(left)? else { return Ok(None) };
            if let Some(found) = self.judge(change)? {
                return Ok(Some(found));
            }
        }
    }

    /// Returns the next change to the items of the find, if there is one already. Does not wait,
    /// but may read from files.
    ///
    /// # Errors
    /// As [`Watch::recv`].
    ///
    /// See [`WatchFound`] for an example.
    pub fn try_recv(&mut self) -> Result<Option<FoundChange<T>>> {
        while let Some(change) = self.watch.try_recv()? {
            if let Some(found) = self.judge(change)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The place after everything that was received or passed over.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.watch.cursor()
    }

    /// What a change does to what is found, if anything.
    fn judge(&mut self, change: Change) -> Result<Option<FoundChange<T>>> {
        let key = Bytes::copy_from_slice(change.key());
        let early = change.revision().0 <= self.opened_at;
        if change.kind() == ChangeKind::Cleared {
            let any = self.may_lack_members || !self.members.is_empty();
            self.may_lack_members &= early;
            self.members.clear();
            let change = change.try_map(<Json as Codec<T>>::decode)?;
            return Ok(any.then_some(FoundChange { kind: FoundKind::Cleared, change }));
        }
        let name = |error: Error| error.with_item(change.collection(), change.key());
        let meets = match change.value() {
            Some(json) => meets(&self.filter, json).map_err(name)?,
            None => false,
        };
        // Not known: changed before the watch was opened, and not met since.
        let unknown = early && change.kind() != ChangeKind::Created && self.met.insert(key.clone());
        let was = if meets { !self.members.insert(key) } else { self.members.remove(&key) };
        // A place inside a batch: what follows it there counts as met already.
        let was = was && !(early && change.kind() == ChangeKind::Created);
        if !early {
            self.met = HashSet::new();
        }
        let kind = match (was, meets) {
            (true, true) => FoundKind::Changed,
            (false, true) => FoundKind::Entered,
            (true, false) => FoundKind::Left,
            (false, false) if unknown => FoundKind::Left,
            (false, false) => return Ok(None),
        };
        let change = change.try_map(<Json as Codec<T>>::decode)?;
        Ok(Some(FoundChange { kind, change }))
    }
}

impl<T: Serialize + DeserializeOwned> Iterator for WatchFound<T> {
    type Item = Result<FoundChange<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let judged = self.watch.next()?.and_then(|change| self.judge(change));
            if let Some(found) = judged.transpose() {
                return Some(found);
            }
        }
    }
}
