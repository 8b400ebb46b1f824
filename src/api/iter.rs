//! Iterators over a collection: lazy, in order of key, from both ends.

use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::collection::Collection;
use crate::api::store::Store;
use crate::engine::shared::EngineGuard;
use crate::engine::{Engine, GoOn, ScannedItems, ScannedKeys, Span, Version, View, Window};
use crate::values::codec::Codec;
use crate::values::error::Result;
use crate::values::item::{Item, Meta};
use crate::values::key::ItemKey;
use crate::values::short_bytes::ShortBytes;

/// How many cells are read at a time: few at first, for a caller that wants few.
const FIRST_CELLS: usize = 16;
const MAX_CELLS: usize = 2_048;
/// How many bytes of values are read ahead, in addition to the first value.
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

/// What was fetched from both ends of a sequence.
#[derive(Debug, Default)]
struct Ends<F> {
    front: F,
    back: F,
}

/// The live cells of a selection, fetched in growing steps: those of now, or those of a snapshot.
#[derive(Debug)]
struct Cells {
    store: Store,
    view: Option<Arc<View>>,
    selection: Selection,
    step: usize,
    /// Whether the part between the ends is known to be empty.
    done: bool,
}

impl Cells {
    fn new(store: Store, view: Option<Arc<View>>, selection: Selection) -> Self {
        Self { store, view, selection, step: FIRST_CELLS, done: false }
    }

    /// Reads cells from one end with `read`, and moves that end's bound past them.
    fn fetch<T>(
        &mut self,
        reverse: bool,
        read: impl FnOnce(&Engine, Option<&View>, Span<'_>, usize) -> Result<(GoOn, T)>,
    ) -> Result<T> {
        let step = self.step;
        self.step = (step * 2).min(MAX_CELLS);
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

    /// Reads some items from one end; none only where none is left.
    fn fetch_items(&mut self, reverse: bool) -> ScannedItems {
        let mut items = ScannedItems::default();
        // Of items that were deleted since their cells were read, compaction may leave nothing.
        while items.is_empty() && !self.done {
            let fetched = self.fetch(reverse, |engine, view, span, step| {
                let window = Window { cells: step, value_bytes: READ_AHEAD_BYTES };
                engine.scan(view, span, window)
            });
            items = fetched.unwrap_or_else(ScannedItems::failed);
        }
        items
    }

    /// Reads some keys from one end; none only where none is left.
    fn fetch_keys(&mut self, reverse: bool) -> ScannedKeys {
        let mut keys = ScannedKeys::default();
        while keys.is_empty() && !self.done {
            let fetched =
                self.fetch(reverse, |engine, view, span, step| engine.scan_keys(view, span, step));
            keys = fetched.unwrap_or_else(ScannedKeys::failed);
        }
        keys
    }

    /// Counts all that is left.
    fn count(&mut self) -> Result<u64> {
        let mut count = 0;
        while !self.done {
            count += self.fetch(false, |engine, view, span, _| engine.count_items(view, span))?;
        }
        Ok(count)
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
    cells: Cells,
    read: Ends<ScannedItems>,
    documents: PhantomData<fn() -> (T, C)>,
}

impl<T, C: Codec<T>> Iter<T, C> {
    pub(crate) fn new(
        collection: &Collection<T, C>,
        view: Option<Arc<View>>,
        selection: Selection,
    ) -> Result<Self> {
        collection.check_codec()?;
        let cells = Cells::new(collection.store().clone(), view, selection);
        Ok(Self { cells, read: Ends::default(), documents: PhantomData })
    }
}

/// Makes an item of what a scan has fetched.
#[inline]
fn decode<T, C: Codec<T>>(
    collection: &str,
    key: ShortBytes,
    meta: &Meta,
    value: Bytes,
) -> Result<Item<T>> {
    match C::decode(value) {
        Ok(value) => Ok(Item::stored(key, value, *meta)),
        Err(error) => Err(error.with_item(collection, key.as_slice())),
    }
}

impl<T, C: Codec<T>> Iterator for Iter<T, C> {
    type Item = Result<Item<T>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.read.front.is_empty() && !self.cells.done {
            self.read.front = self.cells.fetch_items(false);
        }
        let Ends { front, back } = &mut self.read;
        let from = &*self.cells.selection.collection;
        if front.is_empty() {
            return back.next_back(|key, meta, value| decode::<T, C>(from, key, meta, value));
        }
        front.next(|key, meta, value| decode::<T, C>(from, key, meta, value))
    }
}

impl<T, C: Codec<T>> DoubleEndedIterator for Iter<T, C> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.read.back.is_empty() && !self.cells.done {
            self.read.back = self.cells.fetch_items(true);
        }
        let Ends { front, back } = &mut self.read;
        let from = &*self.cells.selection.collection;
        if back.is_empty() {
            return front.next_back(|key, meta, value| decode::<T, C>(from, key, meta, value));
        }
        back.next(|key, meta, value| decode::<T, C>(from, key, meta, value))
    }
}

impl<T, C: Codec<T>> FusedIterator for Iter<T, C> {}

/// The versions of a selection's items, in order of key, not decoded.
#[derive(Debug)]
pub(crate) struct Versions {
    cells: Cells,
    read: ScannedItems,
}

impl Versions {
    pub(crate) fn new(store: Store, view: Option<Arc<View>>, selection: Selection) -> Self {
        Self { cells: Cells::new(store, view, selection), read: ScannedItems::default() }
    }
}

impl Iterator for Versions {
    type Item = Result<(ItemKey, Version)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.is_empty() && !self.cells.done {
            self.read = self.cells.fetch_items(false);
        }
        let collection = &self.cells.selection.collection;
        self.read.next(|key, meta, value| {
            Ok((ItemKey::new(collection, key.as_slice())?, Version { meta: *meta, value }))
        })
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
    cells: Cells,
    read: Ends<ScannedKeys>,
}

impl Keys {
    pub(crate) fn new(store: Store, view: Option<Arc<View>>, selection: Selection) -> Self {
        Self { cells: Cells::new(store, view, selection), read: Ends::default() }
    }

    /// Counts the keys that were not fetched yet.
    pub(crate) fn count_items(mut self) -> Result<u64> {
        self.cells.count()
    }
}

impl Iterator for Keys {
    type Item = Result<Vec<u8>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.read.front.is_empty() && !self.cells.done {
            self.read.front = self.cells.fetch_keys(false);
        }
        let Ends { front, back } = &mut self.read;
        front.next().or_else(|| back.next_back())
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.read.back.is_empty() && !self.cells.done {
            self.read.back = self.cells.fetch_keys(true);
        }
        let Ends { front, back } = &mut self.read;
        back.next().or_else(|| front.next_back())
    }
}

impl FusedIterator for Keys {}
