//! Cells in order of key, of one collection or of all.

use std::ops::{Bound, ControlFlow};

use crate::index::Index;
use crate::index::clearing::ClearedLeaves;
use crate::index::directory::Directory;
use crate::index::leaf::{CachedValue, KeyRef, LeafCells};
use crate::index::leaf_handle::{LeafHandle, LeafState};
use crate::index::secondary::is_directory;
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// Shows a cell; breaks where the scan ends.
pub(crate) trait Visit:
    FnMut(KeyRef<'_>, &Head, Option<CachedValue<'_>>) -> ControlFlow<()>
{
}
impl<F: FnMut(KeyRef<'_>, &Head, Option<CachedValue<'_>>) -> ControlFlow<()>> Visit for F {}

/// Takes the cells of one leaf after the other, all or some; breaks where the scan ends.
///
/// It takes all cells of a leaf at once, so that the work for each compiles into one loop.
pub(crate) trait VisitLeaf: FnMut(LeafCells<'_>) -> ControlFlow<()> {}
impl<F: FnMut(LeafCells<'_>) -> ControlFlow<()>> VisitLeaf for F {}

/// How many collections a walk looks up at a time.
const DIRECTORIES: usize = 256;

/// Which cells a scan shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    All,
    /// The cells of items at a revision. Leaves that are known to hold only tombstones of this
    /// revision or older are passed over, and not loaded; other tombstones are shown.
    ItemsAt(u64),
}

impl Shown {
    fn passes_over(self, state: &LeafState) -> bool {
        matches!(self, Self::ItemsAt(revision) if state.held_no_item_at(revision))
    }
}

impl Index {
    /// Shows the cells of a collection within the bounds, in ascending order or, if `reverse`, in
    /// descending order. Cells that change during the scan are shown before or after the change.
    /// A leaf is locked while its cells are shown, so `visit` must not use the index.
    ///
    /// # Errors
    /// What loading a leaf fails with.
    pub(crate) fn scan(
        &self,
        collection: &str,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        shown: Shown,
        mut visit: impl Visit,
    ) -> Result<()> {
        let mut visit = |mut cells: LeafCells<'_>| {
            cells.try_for_each(|cell| visit(cell.key(), &cell.head(), cell.value()))
        };
        // One scan for all callers. What is most in a hurry uses `scan_leaves`.
        let mut visit: &mut dyn VisitLeaf = &mut visit;
        self.scan_leaves(collection, bounds, reverse, shown, &mut visit)
    }

    /// As [`scan`](Self::scan), leaf by leaf.
    ///
    /// # Errors
    /// What loading a leaf fails with.
    pub(crate) fn scan_leaves(
        &self,
        collection: &str,
        (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        shown: Shown,
        visit: &mut impl VisitLeaf,
    ) -> Result<()> {
        let Some(directory) = self.directory(collection) else { return Ok(()) };
        self.scan_directory(&directory, (lower, upper), reverse, shown, visit)
    }

    /// As [`scan_leaves`](Self::scan_leaves), for the leaves of a collection before it was cleared.
    ///
    /// # Errors
    /// What loading a leaf fails with.
    pub(crate) fn scan_in(
        &self,
        ClearedLeaves(directory): &ClearedLeaves,
        (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        visit: &mut impl VisitLeaf,
    ) -> Result<()> {
        self.scan_directory(directory, (lower, upper), reverse, Shown::All, visit)
    }

    fn scan_directory(
        &self,
        directory: &Directory,
        (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        shown: Shown,
        visit: &mut impl VisitLeaf,
    ) -> Result<()> {
        if reverse {
            self.scan_down(directory, lower, upper, shown, visit)
        } else {
            self.scan_up(directory, lower, upper, shown, visit).map(drop)
        }
    }

    fn scan_up(
        &self,
        directory: &Directory,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        shown: Shown,
        visit: &mut impl VisitLeaf,
    ) -> Result<ControlFlow<()>> {
        // The scan's place, once it has left the first leaf.
        let mut from: Option<Box<[u8]>> = None;
        loop {
            let place = from.as_deref().unwrap_or(bound_key(lower).unwrap_or_default());
            if is_beyond(place, upper) {
                return Ok(ControlFlow::Continue(()));
            }
            let handle = directory.leaf_of(place);
            let next = {
                let state = handle.read();
                if !state.covers(place) {
                    continue;
                }
                match &state.leaf {
                    _ if shown.passes_over(&state) => Some(state.high.clone()),
                    Some(leaf) => {
                        let lower = if from.is_some() { Bound::Included(place) } else { lower };
                        let (lower, upper) = (lower_in(&handle, lower), upper_in(&state, upper));
                        let cells = leaf.cells_within(lower, upper, false);
                        if visit(cells).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                        Some(state.high.clone())
                    }
                    None => None,
                }
            };
            match next {
                Some(Some(high)) => from = Some(high),
                Some(None) => return Ok(ControlFlow::Continue(())),
                None => {
                    self.load(directory, &handle)?;
                    self.evict();
                }
            }
        }
    }

    fn scan_down(
        &self,
        directory: &Directory,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        shown: Shown,
        visit: &mut impl VisitLeaf,
    ) -> Result<()> {
        // The scan's place, once it has left the last leaf.
        let mut below: Option<Box<[u8]>> = None;
        loop {
            let end = below.as_deref().map_or(upper, Bound::Excluded);
            let handle = match end {
                Bound::Included(key) => directory.leaf_of(key),
                Bound::Excluded(key) => directory.leaf_below(Some(key)),
                Bound::Unbounded => directory.leaf_below(None),
            };
            let passed = {
                let state = handle.read();
                let reaches = match (end, state.high.as_deref()) {
                    _ if state.merged => false,
                    (_, None) => true,
                    (Bound::Unbounded, Some(_)) => false,
                    (Bound::Included(key), Some(high)) => key < high,
                    (Bound::Excluded(key), Some(high)) => key <= high,
                };
                if !reaches {
                    continue;
                }
                match &state.leaf {
                    _ if shown.passes_over(&state) => true,
                    Some(leaf) => {
                        let (lower, upper) = (lower_in(&handle, lower), upper_in(&state, end));
                        if visit(leaf.cells_within(lower, upper, true)).is_break() {
                            return Ok(());
                        }
                        true
                    }
                    None => false,
                }
            };
            if !passed {
                self.load(directory, &handle)?;
                self.evict();
            } else if handle.low.is_empty() || is_below(&handle.low, lower) {
                return Ok(());
            } else {
                below = Some(handle.low.clone());
            }
        }
    }

    /// Shows the heads of all collections after an item, in order of collection and key, until
    /// `limit` were shown; the last of them where the limit ended the walk.
    ///
    /// # Errors
    /// What loading a leaf fails with.
    pub(crate) fn walk(
        &self,
        after: Option<&ItemKey>,
        limit: usize,
        visit: &mut dyn FnMut(&str, KeyRef<'_>, &Head),
    ) -> Result<Option<ItemKey>> {
        let mut left = limit;
        let mut name: Box<str> = after.map_or("", ItemKey::collection).into();
        loop {
            // Some at a time: a walk in many steps must not list all collections in each.
            let directories = self.directories_from(&name, DIRECTORIES);
            let Some(last) = directories.last() else { return Ok(None) };
            // Nothing lies between the last name and this.
            name = format!("{}\0", last.collection).into();
            for directory in directories.iter().filter(|it| !is_directory(&it.collection)) {
                let lower = match after {
                    Some(after) if *directory.collection == *after.collection() => {
                        Bound::Excluded(after.key_bytes())
                    }
                    _ => Bound::Unbounded,
                };
                let last = self.walk_directory(directory, lower, &mut left, visit)?;
                if let Some(key) = last {
                    return Ok(ItemKey::of_parts(&directory.collection, &[], &key).ok());
                }
            }
        }
    }

    /// Shows the cells of a collection until as many were shown as are left; the key of the last of
    /// them where that ended it.
    fn walk_directory(
        &self,
        directory: &Directory,
        lower: Bound<&[u8]>,
        left: &mut usize,
        visit: &mut dyn FnMut(&str, KeyRef<'_>, &Head),
    ) -> Result<Option<Vec<u8>>> {
        let mut last = None;
        let mut show = |cells: LeafCells<'_>| {
            for cell in cells {
                visit(&directory.collection, cell.key(), &cell.head());
                *left -= 1;
                if *left == 0 {
                    last = Some(cell.key().to_vec());
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        let _ = self.scan_up(directory, lower, Bound::Unbounded, Shown::All, &mut show)?;
        Ok(last)
    }
}

fn bound_key(bound: Bound<&[u8]>) -> Option<&[u8]> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

/// A lower bound, for the cells of a leaf: none where the leaf holds nothing below it. That spares
/// looking for it among the cells.
fn lower_in<'a>(handle: &LeafHandle, lower: Bound<&'a [u8]>) -> Bound<&'a [u8]> {
    match lower {
        Bound::Included(key) if *key <= *handle.low => Bound::Unbounded,
        Bound::Excluded(key) if *key < *handle.low => Bound::Unbounded,
        lower => lower,
    }
}

/// An upper bound, for the cells of a leaf: as [`lower_in`].
fn upper_in<'a>(state: &LeafState, upper: Bound<&'a [u8]>) -> Bound<&'a [u8]> {
    let (Bound::Included(key) | Bound::Excluded(key)) = upper else { return upper };
    let is_beyond = state.high.as_deref().is_some_and(|high| high <= key);
    if is_beyond { Bound::Unbounded } else { upper }
}

/// Whether no key from this place on is within an upper bound.
fn is_beyond(place: &[u8], upper: Bound<&[u8]>) -> bool {
    match upper {
        Bound::Included(upper) => place > upper,
        Bound::Excluded(upper) => place >= upper,
        Bound::Unbounded => false,
    }
}

/// Whether no key below this place is within a lower bound.
fn is_below(place: &[u8], lower: Bound<&[u8]>) -> bool {
    bound_key(lower).is_some_and(|lower| place <= lower)
}
