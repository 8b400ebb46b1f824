//! Finding items by what is in them.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Find`], which says what is wanted |
//! | `candidates.rs` | where a find gets its items from: the one place that knows |
//! | `matches.rs` | the items among them that meet the filter |
//! | `found.rs` | [`Found`], the iterator over them, in order |
//! | `cursor.rs` | [`FindCursor`], a place in that order |
//! | `explanation.rs` | [`Explanation`], what a find costs |
//! | `update_each.rs` | changing what is found |
//! | `watch.rs` | [`WatchFound`], what is found as it changes |

mod candidates;
mod cursor;
mod explanation;
mod found;
mod matches;
mod update_each;
mod watch;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::cursor::{FindCursor, ParseFindCursorError};
pub use self::explanation::Explanation;
pub use self::found::Found;
pub use self::watch::{FoundChange, FoundKind, WatchFound};

use self::candidates::{Candidates, IndexRows};
use self::matches::{Matches, Query};
use crate::api::collection::Collection;
use crate::api::feed::Cursor;
use crate::api::iter::Selection;
use crate::api::snapshot::{Snapshot, SnapshotCollection};
use crate::engine::{Secondary, View};
use crate::values::codec::Json;
use crate::values::error::Result;
use crate::values::query::filter::{Filter, FilterError};
use crate::values::query::index::Index;
use crate::values::query::plan::{Plan, plan};
use crate::values::query::sort::{Sort, SortField};

/// A find, to be refined and then run; made by [`Collection::find`] and
/// [`SnapshotCollection::find`]. Nothing is read before [`iter`](Self::iter),
/// [`count`](Self::count), [`update_each`](Self::update_each) or [`explain`](Self::explain).
///
/// A find shows one moment: that of the snapshot it was made from, or that at which it began to
/// read. An item that is written during the find is seen once, as it was before. An item that
/// expires during the find is absent. While it runs, a find takes the memory and disk space of a
/// snapshot; see [`Store::snapshot`](crate::Store::snapshot).
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Filter, Store};
/// use serde_json::json;
///
/// let notes = Store::in_memory().collection::<serde_json::Value>("notes")?;
/// notes.create("a", &json!({"tags": ["work"], "modified": 1}))?;
/// notes.create("b", &json!({"tags": ["work", "urgent"], "modified": 2}))?;
/// notes.create("c", &json!({"tags": ["home"], "modified": 3}))?;
///
/// let work = Filter::eq("/tags/*", "work");
/// let mut keys = Vec::new();
/// for note in notes.find(work.clone()).sort_desc("/modified").limit(50).iter()? {
///     keys.push(note?.key_str().map(str::to_owned));
/// }
/// assert_eq!(keys, [Some("b".to_owned()), Some("a".to_owned())]);
/// assert_eq!(notes.find(work).count()?, 2);
/// # Ok(()) }
/// ```
#[must_use = "a find reads nothing until it is asked to"]
pub struct Find<T> {
    collection: Collection<T, Json>,
    /// `None` for the moment at which the find begins to read.
    snapshot: Option<Snapshot>,
    filter: Filter,
    sort: Option<Result<Sort, FilterError>>,
    limit: Option<u64>,
    after: Option<FindCursor>,
}

impl<T: Serialize + DeserializeOwned> Collection<T, Json> {
    /// Finds the items whose documents meet a filter. Set an order and a limit if you need them,
    /// then ask for the items, for their number, for a change of each, or for the cost of the find.
    ///
    /// The filter is applied to the documents as they are stored, so it may name fields that `T`
    /// does not know. A find reads the part of an [index](Self::ensure_index) that fits the filter
    /// or the sort. Without such an index it reads every item of the collection. Each item costs a
    /// read and a parse, which take some microseconds if the value is cached. `docs/finding.md` has
    /// the rules. [`Find::explain`] says which index was used and how much was read.
    ///
    /// See [`Find`] for an example. Only JSON can be searched. Collections with another codec do
    /// not have this method:
    ///
    /// ```compile_fail,E0599
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let points = ifmatch::Store::in_memory().collection_with::<u64, ifmatch::Bincode>("p")?;
    /// points.find(ifmatch::Filter::exists("/a"));
    /// # Ok(()) }
    /// ```
    pub fn find(&self, filter: Filter) -> Find<T> {
        Find::new(self.clone(), None, filter)
    }

    /// Watches the items that a find would return. Shows each durable change after the cursor by
    /// which an item enters the find, changes in it, or leaves it. See [`WatchFound`].
    ///
    /// To show a list and keep it current, list a [snapshot](crate::Store::snapshot) and watch from
    /// its [`cursor`](crate::Snapshot::cursor).
    ///
    /// This call reads and parses each item, to learn which of them meet the filter. The watch
    /// holds the keys of those in memory. Otherwise it costs what [`watch`](Self::watch) costs.
    ///
    /// # Errors
    /// [`Error::Filter`](crate::Error::Filter) when the filter is not valid;
    /// [`Error::ScanTooLong`](crate::Error::ScanTooLong); those of [`watch`](Self::watch).
    pub fn watch_find(&self, filter: Filter, cursor: Cursor) -> Result<WatchFound<T>> {
        WatchFound::new(self, filter, cursor)
    }
}

impl<T: Serialize + DeserializeOwned> SnapshotCollection<T, Json> {
    /// Finds the items whose documents met a filter, as they were. See [`Collection::find`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::{Filter, Precondition, Store};
    ///
    /// let store = Store::in_memory();
    /// let prices = store.collection::<f64>("prices")?;
    /// prices.create("apple", &0.5)?;
    /// let before = store.snapshot();
    /// prices.replace("apple", &0.7, Precondition::Always)?;
    /// assert_eq!(before.collection(&prices).find(Filter::lt("", 0.6)).count()?, 1);
    /// # Ok(()) }
    /// ```
    pub fn find(&self, filter: Filter) -> Find<T> {
        Find::new(self.collection().clone(), Some(self.snapshot().clone()), filter)
    }
}

impl<T: Serialize + DeserializeOwned> Find<T> {
    fn new(collection: Collection<T, Json>, snapshot: Option<Snapshot>, filter: Filter) -> Self {
        Self { collection, snapshot, filter, sort: None, limit: None, after: None }
    }

    /// Returns the items in the order of the values at a path, the least first. Without a sort they
    /// come in the order of their keys.
    ///
    /// Values are ordered null, false, true, numbers, strings, arrays, objects, as [`Filter`]
    /// orders them. A further `sort` or [`sort_desc`](Self::sort_desc), up to eight in all, orders
    /// the items whose values so far are equal; the items' keys decide last. For a path with `*`,
    /// an item's least value counts.
    ///
    /// **Items that lack the first path are left out**: they have no place in the order. A further
    /// path that an item lacks counts as less than every value. The order is decided by the first
    /// 256 bytes of an item's values as an index holds them: strings with the same first 250 bytes
    /// may count as equal.
    ///
    /// If no index has the order of the first path, a sort reads all items before it returns the
    /// first. It holds the values and the key of each item that is found, at most 767 bytes each;
    /// with a [`limit`](Self::limit), it holds no more items than that. If an index has the
    /// order, items are read as they are asked for; items with equal values may be read together.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Filter;
    ///
    /// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
    /// for (fruit, price) in [("apple", 0.5), ("banana", 0.3), ("cherry", 4.0)] {
    ///     prices.create(fruit, &price)?;
    /// }
    /// let cheapest = prices.find(Filter::all([])).sort("").iter()?.next().transpose()?;
    /// assert_eq!(cheapest.map(|item| item.value), Some(0.3));
    /// # Ok(()) }
    /// ```
    pub fn sort(self, path: &str) -> Self {
        self.sort_by(path, false)
    }

    /// As [`sort`](Self::sort), the greatest first. Items with equal values still come in ascending
    /// order of their keys; for a path with `*`, an item's greatest value counts.
    ///
    /// See [`Find`] for an example.
    pub fn sort_desc(self, path: &str) -> Self {
        self.sort_by(path, true)
    }

    /// Another field of the sort. The first error is kept.
    fn sort_by(self, path: &str, descending: bool) -> Self {
        let invalid = |reason| FilterError::InvalidPath { path: path.to_owned(), reason };
        let field = SortField::new(path, descending).map_err(invalid);
        let sort = match self.sort {
            None => field.map(Sort::by),
            Some(Ok(sort)) => field.and_then(|field| sort.then(field).map_err(invalid)),
            Some(Err(error)) => Err(error),
        };
        Self { sort: Some(sort), ..self }
    }

    /// Returns at most this number of items.
    ///
    /// See [`after`](Self::after) for an example.
    pub fn limit(self, items: u64) -> Self {
        Self { limit: Some(items), ..self }
    }

    /// Continues after a place in the order, which [`Found::cursor`] returns: the next page.
    ///
    /// If an index has the order, the page begins in the index where the page before ended.
    ///
    /// The place is a value and a key, not an item. So it stays valid whatever is written or
    /// removed between two pages. Each page shows its own moment: an item whose value changes
    /// between two pages may be on both, or on neither. To page through one moment, make all finds
    /// in one snapshot.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Filter;
    ///
    /// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
    /// for (fruit, price) in [("apple", 0.5), ("banana", 0.3), ("cherry", 4.0)] {
    ///     prices.create(fruit, &price)?;
    /// }
    /// let page = || prices.find(Filter::all([])).sort("").limit(2);
    /// let mut first = page().iter()?;
    /// assert_eq!(first.by_ref().count(), 2);
    /// let place = first.cursor().expect("something was given");
    /// let next: Vec<_> = page().after(place).iter()?.collect::<Result<_, _>>()?;
    /// assert_eq!((next.len(), next[0].key_str()), (1, Some("cherry")));
    /// # Ok(()) }
    /// ```
    pub fn after(self, place: FindCursor) -> Self {
        Self { after: Some(place), ..self }
    }

    /// Returns the items. If a scan or an index has their order, they are read as they are asked
    /// for. Otherwise all are read at once; see [`sort`](Self::sort).
    ///
    /// An item that cannot be decoded as `T` is an `Err` in its place, not the end.
    ///
    /// # Errors
    /// Here, or as an item of the iterator:
    /// - [`Error::Filter`](crate::Error::Filter) when the filter or a path of the sort is not
    ///   valid, or the place to continue after is of another sort.
    /// - [`Error::ScanTooLong`](crate::Error::ScanTooLong) beyond
    ///   [`Options::max_scanned_items`](crate::Options::max_scanned_items), which ends the
    ///   iterator.
    /// - [`Error::SnapshotTooOld`](crate::Error::SnapshotTooOld) when writers replaced too much
    ///   during the find.
    /// - Those of every method; see [`Collection`].
    ///
    /// See [`Find`] for an example.
    pub fn iter(self) -> Result<Found<T>> {
        Found::new(self)
    }

    /// Counts the items that [`iter`](Self::iter) would return, without decoding them.
    ///
    /// # Errors
    /// As [`iter`](Self::iter).
    ///
    /// See [`Find`] for an example.
    pub fn count(self) -> Result<u64> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let (_, mut matches) = self.matches()?;
        let mut count = 0;
        while count < limit {
            match matches.next() {
                Some(found) => found.map(|_| count += 1)?,
                None => break,
            }
        }
        Ok(count)
    }

    /// Runs the find and reports how it found the items: which index was used, how many entries or
    /// items were looked at, and how many were found. Costs what [`iter`](Self::iter) costs to its
    /// end, without decoding the items.
    ///
    /// # Errors
    /// As [`iter`](Self::iter).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Filter;
    ///
    /// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
    /// for (fruit, price) in [("apple", 0.5), ("banana", 0.3), ("cherry", 4.0)] {
    ///     prices.create(fruit, &price)?;
    /// }
    /// let cost = prices.find(Filter::gt("", 1)).sort("").explain()?;
    /// assert_eq!((cost.looked_at(), cost.found(), cost.sorted()), (3, 1, true));
    /// assert_eq!(
    ///     cost.to_string(),
    ///     "scan of collection \"prices\": 3 items looked at, 1 found, sorted in memory"
    /// );
    /// # Ok(()) }
    /// ```
    pub fn explain(self) -> Result<Explanation> {
        Explanation::of(self)
    }

    /// What is found, in the order in which it is met, and at which moment.
    fn matches(self) -> Result<(Arc<View>, Matches)> {
        self.collection.check_codec()?;
        let condition = self.filter.condition().map_err(FilterError::clone)?.clone();
        let sort = self.sort.transpose()?;
        let store = self.collection.store();
        let snapshot = match self.snapshot {
            Some(snapshot) => snapshot,
            None => Snapshot::take(store)?,
        };
        let view = Arc::clone(snapshot.view_of(store)?);
        let query = Query::new(condition, sort, self.after)?;
        let name = self.collection.name();
        let limit = store.engine()?.max_scanned_items;
        let (candidates, ordered) = match self.collection.plan(&query, &view)? {
            Some((index, mut plan)) => {
                let ordered = plan.ordered;
                if let Some(after) = query.after() {
                    plan.begin_at(after.rank().code(), after.rank().key());
                }
                let wanted = self.limit.filter(|_| ordered);
                let store = store.clone();
                let rows = IndexRows::new(store, Arc::clone(&view), index, plan, wanted);
                (Candidates::Index(Box::new(rows)), ordered)
            }
            None => {
                let selection = Selection::range(name, query.keys());
                let ordered = query.sort().is_none();
                (Candidates::scan(store.clone(), Arc::clone(&view), selection), ordered)
            }
        };
        Ok((view, Matches::new(candidates, query, name, limit, ordered)))
    }
}

impl<T> Collection<T, Json> {
    /// The index that a find uses and which part of it, of those that the view can read.
    fn plan(&self, query: &Query, view: &View) -> Result<Option<(Arc<Secondary>, Plan)>>
    where
        T: Serialize + DeserializeOwned,
    {
        let engine = self.store().engine()?;
        let indexes = engine.secondaries.of(self.name());
        let usable: Vec<&Arc<Secondary>> =
            indexes.iter().filter(|index| index.is_usable(view)).collect();
        let definitions: Vec<&Index> = usable.iter().map(|index| &index.definition).collect();
        let mut rows = |at: usize| usable.get(at).map_or(0, |index| engine.secondary_len(index));
        let plan = plan(query.condition(), query.sort(), &definitions, &mut rows);
        Ok(plan.and_then(|plan| Some((Arc::clone(usable.get(plan.index)?), plan))))
    }
}

impl<T> fmt::Debug for Find<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Find")
            .field("collection", &self.collection)
            .field("filter", &self.filter)
            .field("sort", &self.sort)
            .field("limit", &self.limit)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

const _: () = {
    const fn goes_anywhere<S: Send + Sync + 'static>() {}
    goes_anywhere::<Find<std::cell::Cell<u8>>>();
    goes_anywhere::<Found<std::cell::Cell<u8>>>();
    goes_anywhere::<WatchFound<std::cell::Cell<u8>>>();
};
