//! Iterators over a collection: lazy, in order of key, from both ends.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

use crate::api::collection::{Collection, decode};
use crate::api::store::Store;
use crate::engine::shared::EngineGuard;
use crate::engine::{Engine, GoOn, Span, Version, View, Window};
use crate::values::codec::Codec;
use crate::values::error::Result;
use crate::values::item::Item;
use crate::values::key::ItemKey;

/// How many rows are read at a time: few at first, for those who want few.
const FIRST_ROWS: usize = 16;
const MAX_ROWS: usize = 2_048;
/// How many bytes of values are read ahead, besides the first value.
const READ_AHEAD_BYTES: u64 = 1 << 20;

/// A part of a collection, as bounds on its keys.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    collection: Box<str>,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
}

impl Selection {
    pub(crate) fn all(collection: &str) -> Self {
        let (lower, upper) = (Bound::Unbounded, Bound::Unbounded);
        Self { collection: collection.into(), lower, upper }
    }

    pub(crate) fn prefix(collection: &str, prefix: &[u8]) -> Self {
        // The first key after all that begin with the prefix: its last byte that is not the
        // highest, raised by one.
        let mut end = prefix.to_vec();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        let upper = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        let lower = Bound::Included(prefix.to_vec());
        Self { collection: collection.into(), lower, upper }
    }

    pub(crate) fn range(collection: &str, (start, end): (Bound<&[u8]>, Bound<&[u8]>)) -> Self {
        let (lower, upper) = (start.map(<[u8]>::to_vec), end.map(<[u8]>::to_vec));
        Self { collection: collection.into(), lower, upper }
    }

    /// Moves one end to a key that was looked at.
    fn move_to(&mut self, key: Vec<u8>, reverse: bool) {
        let moved = if reverse { &mut self.upper } else { &mut self.lower };
        *moved = Bound::Excluded(key);
    }
}

/// Values fetched from both ends of a sequence, handed out from both ends.
#[derive(Debug)]
struct Ends<T> {
    front: VecDeque<T>,
    back: VecDeque<T>,
}

impl<T> Ends<T> {
    fn new() -> Self {
        Self { front: VecDeque::new(), back: VecDeque::new() }
    }
}

/// The live rows of a selection, fetched in growing steps: those of now, or those of a snapshot.
#[derive(Debug)]
struct Rows {
    store: Store,
    view: Option<Arc<View>>,
    selection: Selection,
    step: usize,
    /// Whether the part between the ends is known to be empty.
    done: bool,
}

impl Rows {
    fn new(store: Store, view: Option<Arc<View>>, selection: Selection) -> Self {
        Self { store, view, selection, step: FIRST_ROWS, done: false }
    }

    /// Reads rows from one end with `read`, and moves that end's bound past them.
    fn fetch<T>(
        &mut self,
        reverse: bool,
        read: impl FnOnce(&Engine, Option<&View>, Span<'_>, usize) -> Result<(GoOn, T)>,
    ) -> Result<T> {
        let step = self.step;
        self.step = (step * 2).min(MAX_ROWS);
        let Selection { collection, lower, upper } = &self.selection;
        let bounds = (as_slice(lower), as_slice(upper));
        let span = Span { collection, bounds, reverse };
        let read = |engine: EngineGuard<'_>| read(&engine, self.view.as_deref(), span, step);
        let fetched = self.store.engine().and_then(read);
        let (go_on, fetched) = fetched.inspect_err(|_| self.done = true)?;
        match go_on {
            Some(after) => self.selection.move_to(after, reverse),
            None => self.done = true,
        }
        Ok(fetched)
    }

    /// Reads some versions from one end; none only where none is left.
    fn fetch_versions(&mut self, reverse: bool, read: &mut VecDeque<Result<(ItemKey, Version)>>) {
        // Of items that were deleted since their rows were read, compaction may leave nothing.
        while read.is_empty() && !self.done {
            let fetched = self.fetch(reverse, |engine, view, span, step| {
                let mut rows = Vec::new();
                let window = Window { rows: step, value_bytes: READ_AHEAD_BYTES };
                let go_on = engine.scan(view, span, window, &mut rows)?;
                read.extend(engine.versions_of(view, rows));
                Ok((go_on, ()))
            });
            if let Err(error) = fetched {
                read.push_back(Err(error));
            }
        }
    }

    /// Reads some keys from one end; none only where none is left.
    fn fetch_keys(&mut self, reverse: bool, keys: &mut VecDeque<Result<Vec<u8>>>) {
        while keys.is_empty() && !self.done {
            let fetched = self.fetch(reverse, |engine, view, span, step| {
                let mut found = Vec::with_capacity(step);
                let go_on = engine.scan_keys(view, span, step, &mut found)?;
                Ok((go_on, found))
            });
            match fetched {
                Ok(found) => keys.extend(found.into_iter().map(Ok)),
                Err(error) => keys.push_back(Err(error)),
            }
        }
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// An iterator over items, made by [`Collection::iter`], [`prefix`](Collection::prefix) and
/// [`range`](Collection::range), and by their namesakes of a
/// [`SnapshotCollection`](crate::SnapshotCollection). Dropping it early costs nothing.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
/// for (fruit, price) in [("apple", 0.5), ("banana", 0.3), ("cherry", 4.0)] {
///     prices.create(fruit, &price)?;
/// }
/// let newest = prices.range("b"..)?.rev().next().transpose()?;
/// assert_eq!(newest.map(|item| item.value), Some(4.0));
/// let sum: f64 = prices.iter()?.map(|item| Ok(item?.value)).sum::<Result<_, ifmatch::Error>>()?;
/// assert_eq!(sum, 4.8);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Iter<T, C> {
    rows: Rows,
    read: Ends<Result<(ItemKey, Version)>>,
    documents: PhantomData<fn() -> (T, C)>,
}

impl<T, C: Codec<T>> Iter<T, C> {
    pub(crate) fn new(
        collection: &Collection<T, C>,
        view: Option<Arc<View>>,
        selection: Selection,
    ) -> Result<Self> {
        collection.check_codec()?;
        let rows = Rows::new(collection.store().clone(), view, selection);
        Ok(Self { rows, read: Ends::new(), documents: PhantomData })
    }
}

impl<T, C: Codec<T>> Iterator for Iter<T, C> {
    type Item = Result<Item<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        let Ends { front, back } = &mut self.read;
        if front.is_empty() {
            self.rows.fetch_versions(false, front);
        }
        let (key, version) = match front.pop_front().or_else(|| back.pop_back())? {
            Ok(read) => read,
            Err(error) => return Some(Err(error)),
        };
        Some(decode::<T, C>(&key, version))
    }
}

impl<T, C: Codec<T>> DoubleEndedIterator for Iter<T, C> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let Ends { front, back } = &mut self.read;
        if back.is_empty() {
            self.rows.fetch_versions(true, back);
        }
        let (key, version) = match back.pop_front().or_else(|| front.pop_back())? {
            Ok(read) => read,
            Err(error) => return Some(Err(error)),
        };
        Some(decode::<T, C>(&key, version))
    }
}

impl<T, C: Codec<T>> FusedIterator for Iter<T, C> {}

/// The versions of a selection's items, in order of key, not decoded.
#[derive(Debug)]
pub(crate) struct Versions {
    rows: Rows,
    read: VecDeque<Result<(ItemKey, Version)>>,
}

impl Versions {
    pub(crate) fn new(store: Store, view: Option<Arc<View>>, selection: Selection) -> Self {
        Self { rows: Rows::new(store, view, selection), read: VecDeque::new() }
    }
}

impl Iterator for Versions {
    type Item = Result<(ItemKey, Version)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.is_empty() {
            self.rows.fetch_versions(false, &mut self.read);
        }
        self.read.pop_front()
    }
}

/// An iterator over keys, made by [`Collection::keys`] and
/// [`SnapshotCollection::keys`](crate::SnapshotCollection::keys).
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
/// prices.create("banana", &0.3)?;
/// prices.create("apple", &0.5)?;
/// let keys: Vec<Vec<u8>> = prices.keys()?.collect::<Result<_, _>>()?;
/// assert_eq!(keys, [b"apple".to_vec(), b"banana".to_vec()]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Keys {
    rows: Rows,
    read: Ends<Result<Vec<u8>>>,
}

impl Keys {
    pub(crate) fn new(store: Store, view: Option<Arc<View>>, selection: Selection) -> Self {
        Self { rows: Rows::new(store, view, selection), read: Ends::new() }
    }
}

impl Iterator for Keys {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let Ends { front, back } = &mut self.read;
        if front.is_empty() {
            self.rows.fetch_keys(false, front);
        }
        front.pop_front().or_else(|| back.pop_back())
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Self::Item> {
        let Ends { front, back } = &mut self.read;
        if back.is_empty() {
            self.rows.fetch_keys(true, back);
        }
        back.pop_front().or_else(|| front.pop_back())
    }
}

impl FusedIterator for Keys {}
