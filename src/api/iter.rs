//! Iterators over a collection: lazy, in order of key, from both ends.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

use crate::api::collection::{Collection, decode};
use crate::api::store::Store;
use crate::engine::shared::EngineGuard;
use crate::engine::{Version, View};
use crate::values::codec::Codec;
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::item::Item;
use crate::values::key::{ItemKey, collection_range};

/// How many heads are read from the table at a time: few at first, for those who want few.
const FIRST_HEADS: usize = 16;
const MAX_HEADS: usize = 512;
/// How many bytes of values are read ahead, beside the first value.
const READ_AHEAD_BYTES: u64 = 1 << 20;

/// A part of a collection, as bounds on the table's keys.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
}

impl Selection {
    pub(crate) fn all(collection: &str) -> Self {
        let (first, after) = collection_range(collection);
        Self { lower: Bound::Included(first), upper: Bound::Excluded(after) }
    }

    pub(crate) fn prefix(collection: &str, prefix: &[u8]) -> Self {
        let (mut first, after) = collection_range(collection);
        first.extend_from_slice(prefix);
        // The first key behind all that begin with the prefix: its last byte that is not the
        // highest, raised by one.
        let mut end = first.clone();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        let end = match end.last_mut() {
            Some(last) => {
                *last += 1;
                end
            }
            None => after.clone(),
        };
        Self { lower: Bound::Included(first), upper: Bound::Excluded(end.min(after)) }
    }

    pub(crate) fn range(collection: &str, (start, end): (Bound<&[u8]>, Bound<&[u8]>)) -> Self {
        let (first, after) = collection_range(collection);
        let join = |key: &[u8]| [first.as_slice(), key].concat();
        let lower = match start {
            Bound::Included(key) => Bound::Included(join(key)),
            Bound::Excluded(key) => Bound::Excluded(join(key)),
            Bound::Unbounded => Bound::Included(first.clone()),
        };
        let upper = match end {
            Bound::Included(key) => Bound::Included(join(key)),
            Bound::Excluded(key) => Bound::Excluded(join(key)),
            Bound::Unbounded => Bound::Excluded(after),
        };
        Self { lower, upper }
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

/// The live heads of a selection, fetched in growing steps: those of now, or those of a snapshot.
#[derive(Debug)]
struct Heads {
    store: Store,
    view: Option<Arc<View>>,
    selection: Selection,
    /// `back` holds what was fetched from the upper end, the greatest key first.
    fetched: Ends<(ItemKey, Head)>,
    step: usize,
    /// Whether the part between the ends is known to be empty.
    done: bool,
}

impl Heads {
    fn new(store: Store, view: Option<Arc<View>>, selection: Selection) -> Self {
        Self { store, view, selection, fetched: Ends::new(), step: FIRST_HEADS, done: false }
    }

    fn next(&mut self) -> Result<Option<(ItemKey, Head)>> {
        while self.fetched.front.is_empty() && !self.done {
            self.fetch(false)?;
        }
        let Ends { front, back } = &mut self.fetched;
        Ok(front.pop_front().or_else(|| back.pop_back()))
    }

    fn next_back(&mut self) -> Result<Option<(ItemKey, Head)>> {
        while self.fetched.back.is_empty() && !self.done {
            self.fetch(true)?;
        }
        let Ends { front, back } = &mut self.fetched;
        Ok(back.pop_front().or_else(|| front.pop_back()))
    }

    /// Reads the next rows from one end and moves that end's bound behind them.
    fn fetch(&mut self, reverse: bool) -> Result<()> {
        let step = self.step;
        self.step = (step * 2).min(MAX_HEADS);
        let Selection { lower, upper } = &self.selection;
        let bounds = (as_slice(lower), as_slice(upper));
        let mut heads = Vec::with_capacity(step);
        let scan = |engine: EngineGuard<'_>| {
            engine.scan(self.view.as_deref(), bounds, reverse, step, &mut heads)
        };
        let scanned = self.store.engine().and_then(scan);
        let (rows, last) = scanned.inspect_err(|_| self.done = true)?;
        self.done = rows < step;
        if let Some(last) = last {
            let bound = Bound::Excluded(last);
            let moved = if reverse { &mut self.selection.upper } else { &mut self.selection.lower };
            *moved = bound;
        }
        let end = if reverse { &mut self.fetched.back } else { &mut self.fetched.front };
        end.extend(heads);
        Ok(())
    }

    /// Reads some values from one end, in order of position; none only where none is left.
    fn next_versions(
        &mut self,
        reverse: bool,
        versions: &mut VecDeque<Result<(ItemKey, Version)>>,
    ) {
        // Of items that were deleted since their heads were read, compaction may leave nothing.
        while versions.is_empty() {
            let heads = match self.next_heads(reverse) {
                Ok(heads) if heads.is_empty() => return,
                Ok(heads) => heads,
                Err(error) => return versions.push_back(Err(error)),
            };
            match self.store.engine() {
                Ok(engine) => {
                    versions.extend(engine.versions_of(self.view.as_deref(), heads));
                }
                Err(error) => {
                    self.done = true;
                    versions.push_back(Err(error));
                }
            }
        }
    }

    /// Takes some heads from one end, as many as are read together.
    fn next_heads(&mut self, reverse: bool) -> Result<Vec<(ItemKey, Head)>> {
        let mut heads = Vec::new();
        let mut bytes = 0;
        while heads.len() < MAX_HEADS / 2 && (heads.is_empty() || bytes < READ_AHEAD_BYTES) {
            // What is at hand is read before more is fetched.
            let exhausted = if reverse { &self.fetched.back } else { &self.fetched.front };
            if !heads.is_empty() && exhausted.is_empty() {
                break;
            }
            let next = if reverse { self.next_back() } else { self.next() };
            let Some((key, head)) = next? else { break };
            bytes += u64::from(head.len_bytes);
            heads.push((key, head));
        }
        Ok(heads)
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
    heads: Heads,
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
        let heads = Heads::new(collection.store().clone(), view, selection);
        Ok(Self { heads, read: Ends::new(), documents: PhantomData })
    }
}

impl<T, C: Codec<T>> Iterator for Iter<T, C> {
    type Item = Result<Item<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        let Ends { front, back } = &mut self.read;
        if front.is_empty() {
            self.heads.next_versions(false, front);
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
            self.heads.next_versions(true, back);
        }
        let (key, version) = match back.pop_front().or_else(|| front.pop_back())? {
            Ok(read) => read,
            Err(error) => return Some(Err(error)),
        };
        Some(decode::<T, C>(&key, version))
    }
}

impl<T, C: Codec<T>> FusedIterator for Iter<T, C> {}

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
    heads: Heads,
}

impl Keys {
    pub(crate) fn new(store: Store, view: Option<Arc<View>>, selection: Selection) -> Self {
        Self { heads: Heads::new(store, view, selection) }
    }
}

impl Iterator for Keys {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.heads.next().transpose()?;
        Some(next.map(|(key, _)| key.key_bytes().to_vec()))
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Self::Item> {
        let next = self.heads.next_back().transpose()?;
        Some(next.map(|(key, _)| key.key_bytes().to_vec()))
    }
}

impl FusedIterator for Keys {}
