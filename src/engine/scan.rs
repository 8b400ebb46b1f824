//! Scanning: many heads in order of key, and their versions in order of position.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::scanned::{Gathering, Missing, ScannedItems};
use crate::engine::scanned_keys::ScannedKeys;
use crate::engine::snapshots::View;
use crate::index::{CachedValue, CellRef, KeyRef, LeafCells, Shown};
use crate::journal::content_sum::ContentSum;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// Entries are read together if at most this many bytes are between them.
const GAP_BYTES: u64 = 4 << 10;
/// How many cells whose values are in memory one window takes. They fit into a processor's cache,
/// so that they are still there when the caller takes the items.
const CELLS_IN_MEMORY: usize = 512;
/// The most that is read in one go, except for a single larger entry.
const NEIGHBOURS_BYTES: u64 = 256 << 10;

/// The part of a collection that a scan looks at, and from which end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span<'a> {
    pub(crate) collection: &'a str,
    pub(crate) bounds: (Bound<&'a [u8]>, Bound<&'a [u8]>),
    pub(crate) reverse: bool,
}

/// The most that a scan reads at once: a number of cells, and about a number of bytes of their
/// entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) cells: usize,
    pub(crate) value_bytes: u64,
}

/// The key after which a scan continues; `None` at the end.
pub(crate) type GoOn = Option<Vec<u8>>;

/// Cells of a walk, and the item after which it continues.
pub(crate) type WalkedHeads = (Vec<(ItemKey, Head)>, Option<ItemKey>);

/// What one step of a verification has looked at.
pub(crate) struct VerifiedHeads {
    /// Bytes of the items' entries.
    pub(crate) read_bytes: u64,
    /// Where the next step continues; `None` after the last cell.
    pub(crate) last: Option<ItemKey>,
}

/// The most cells that a scan looks at before others get a turn, live or not.
const CELLS_AT_ONCE: usize = 16 << 10;

impl Engine {
    /// Fetches live items of a collection, in order of key. With a view they are those of its
    /// revision: every key that had one still has a cell. Values that are not in memory are read in
    /// order of position, neighbours in one go.
    pub(crate) fn scan(
        &self,
        view: Option<&View>,
        span: Span<'_>,
        window: Window,
    ) -> Result<(GoOn, ScannedItems)> {
        let mut gathering = Gathering::with_room(window.cells.min(CELLS_IN_MEMORY));
        let mut taker = TakeItems { gathering: &mut gathering, window, left: window };
        let go_on = self.scan_live(view, span, &mut taker)?;
        let any_is_gone = self.read_missing(view, span.collection, &mut gathering);
        Ok((go_on, gathering.finish(any_is_gone)))
    }

    /// Fetches the keys of up to `limit` live items: as [`scan`](Self::scan), but nothing else of
    /// them is copied.
    pub(crate) fn scan_keys(
        &self,
        view: Option<&View>,
        span: Span<'_>,
        limit: usize,
    ) -> Result<(GoOn, ScannedKeys)> {
        let mut keys = ScannedKeys::with_room(limit);
        let go_on = self.scan_live(view, span, &mut TakeKeys { keys: &mut keys, limit })?;
        Ok((go_on, keys))
    }

    /// Counts the live items of a span: as [`scan_keys`](Self::scan_keys), without copying
    /// anything.
    pub(crate) fn count_items(&self, view: Option<&View>, span: Span<'_>) -> Result<(GoOn, u64)> {
        let mut count = 0;
        let go_on = self.scan_live(view, span, &mut CountItems { count: &mut count })?;
        Ok((go_on, count))
    }

    /// Walks over the live cells of a span until enough are taken.
    fn scan_live(
        &self,
        view: Option<&View>,
        Span { collection, bounds, reverse }: Span<'_>,
        taker: &mut impl Take,
    ) -> Result<GoOn> {
        let now_ms = self.clock.now_ms();
        // An item that was removed after a view began is seen through its tombstone.
        let shown = Shown::ItemsAt(view.map_or(u64::MAX, View::revision));
        let mut leaves = view.and_then(|view| view.cleared(collection));
        loop {
            let scanned = self.with_index(|index| {
                taker.begin();
                let (mut looked_at, mut last, mut failed) = (0, None, Ok(()));
                let mut visit = |cells: LeafCells<'_>| {
                    taker.begin_leaf(&cells);
                    let taken = match view {
                        None => Ok(take_live(cells, now_ms, &mut looked_at, taker)),
                        Some(view) => {
                            let seen =
                                |key: KeyRef<'_>, head: &Head| seen(view, collection, key, head);
                            take_seen(cells, now_ms, &mut looked_at, taker, seen)
                        }
                    };
                    match taken {
                        Ok(ControlFlow::Continue(())) => return ControlFlow::Continue(()),
                        Ok(ControlFlow::Break(key)) => last = Some(key),
                        Err(error) => failed = Err(error),
                    }
                    ControlFlow::Break(())
                };
                match &leaves {
                    Some(leaves) => index.scan_in(leaves, bounds, reverse, &mut visit)?,
                    None => index.scan_leaves(collection, bounds, reverse, shown, &mut visit)?,
                }
                failed.map(|()| last)
            })?;
            let Some(view) = view else { return Ok(scanned) };
            view.check()?;
            if leaves.is_some() {
                return Ok(scanned);
            }
            // Perhaps it was cleared before the look: then what the view reads is elsewhere.
            leaves = view.cleared(collection);
            if leaves.is_none() {
                return Ok(scanned);
            }
        }
    }

    /// Recomputes the tags of up to `limit` items from the journal and adds them to `content`,
    /// expired ones too, and to `rows_of_items` the rows that they have in secondary indexes.
    pub(crate) fn verify_heads(
        &self,
        after: Option<&ItemKey>,
        limit: usize,
        content: &mut ContentSum,
        rows_of_items: &mut ContentSum,
    ) -> Result<VerifiedHeads> {
        let (cells, last) = self.walk_heads(after, limit)?;
        let mut read_bytes = 0;
        for (key, head) in &cells {
            if !head.deleted {
                read_bytes += u64::from(head.len_bytes);
                if let Some(version) = self.verified_version_of(key, head)? {
                    content.add(key.as_bytes(), version.meta.etag);
                    self.sum_rows(key, &version.value, rows_of_items);
                }
            }
        }
        Ok(VerifiedHeads { read_bytes, last })
    }

    /// Up to `limit` cells of all collections after an item, live or not, and where to go on.
    pub(crate) fn walk_heads(&self, after: Option<&ItemKey>, limit: usize) -> Result<WalkedHeads> {
        self.with_index(|index| {
            let mut cells = Vec::with_capacity(limit.min(CELLS_AT_ONCE));
            let last = index.walk(after, limit, &mut |collection, key, head| {
                cells.push((item_key(collection, key), *head));
            })?;
            Ok((cells, last))
        })
    }

    /// Reads the values that a scan did not find in memory; returns whether any item is gone since.
    fn read_missing(
        &self,
        view: Option<&View>,
        collection: &str,
        gathering: &mut Gathering,
    ) -> bool {
        let missing = gathering.take_missing();
        let (mut rest, mut any_is_gone) = (missing.as_slice(), false);
        while !rest.is_empty() {
            let (run, after) = rest.split_at(neighbours_len(rest));
            any_is_gone |= self.read_neighbours(view, collection, run, gathering);
            rest = after;
        }
        any_is_gone
    }

    /// Reads neighbouring entries together and takes them apart.
    fn read_neighbours(
        &self,
        view: Option<&View>,
        collection: &str,
        run: &[Missing],
        gathering: &mut Gathering,
    ) -> bool {
        let Some(first) = run.first().map(|missing| missing.head) else { return false };
        let end = run.last().map_or(0, |last| last.head.end());
        let len_bytes = (end - u64::from(first.offset)) as u32;
        // Frames that are still on their way to the file are found one by one.
        let together = run.len() > 1 && self.journal.is_written(first.segment, end);
        let read = || self.journal.read(first.segment, first.offset, len_bytes).ok();
        let bytes = together.then(read).flatten().flatten().map(Bytes::from);
        let mut any_is_gone = false;
        for Missing { cell, head } in run {
            let from = (head.offset - first.offset) as usize;
            let to = from + head.len_bytes as usize;
            // A cell may say anything.
            let record =
                bytes.as_ref().filter(|bytes| to <= bytes.len()).map(|bytes| bytes.slice(from..to));
            let version = ItemKey::new(collection, gathering.key(*cell)).and_then(|key| {
                let found = record.map_or(Ok(None), |record| self.version_in(&key, head, &record));
                match found? {
                    Some(version) => Ok(Some(version)),
                    None => self.version_of_scan(&key, head, view),
                }
            });
            any_is_gone |= matches!(version, Ok(None));
            let named = |error: Error| error.with_item(collection, gathering.key(*cell));
            let version = version.map_err(named);
            gathering.set(*cell, version);
        }
        any_is_gone
    }
}

/// What takes the cells that a scan meets.
trait Take {
    /// Forgets what was taken: the scan begins, or begins again.
    fn begin(&mut self);

    /// The next cells are these of a leaf.
    fn begin_leaf(&mut self, _: &LeafCells<'_>) {}

    /// Takes a cell, with its value if that is in memory; returns whether it wants more. Calls
    /// `head` only if it needs the head.
    fn take(
        &mut self,
        cell: &CellRef<'_>,
        head: impl FnOnce() -> Head,
        value: Option<CachedValue<'_>>,
    ) -> bool;
}

struct TakeItems<'a> {
    gathering: &'a mut Gathering,
    window: Window,
    left: Window,
}

impl Take for TakeItems<'_> {
    fn begin(&mut self) {
        self.gathering.clear();
        self.left = self.window;
    }

    fn begin_leaf(&mut self, cells: &LeafCells<'_>) {
        self.gathering.begin_leaf(cells);
    }

    #[inline(always)]
    fn take(
        &mut self,
        cell: &CellRef<'_>,
        head: impl FnOnce() -> Head,
        value: Option<CachedValue<'_>>,
    ) -> bool {
        let head = head();
        self.left.cells -= 1;
        self.left.value_bytes = self.left.value_bytes.saturating_sub(u64::from(head.len_bytes));
        self.gathering.push(cell.key(), &head, value);
        self.left.cells > 0
            && self.left.value_bytes > 0
            && self.gathering.cells_in_memory() < CELLS_IN_MEMORY
    }
}

struct TakeKeys<'a> {
    keys: &'a mut ScannedKeys,
    limit: usize,
}

impl Take for TakeKeys<'_> {
    fn begin(&mut self) {
        self.keys.clear();
    }

    fn begin_leaf(&mut self, cells: &LeafCells<'_>) {
        self.keys.begin_leaf(cells);
    }

    #[inline(always)]
    fn take(
        &mut self,
        cell: &CellRef<'_>,
        _: impl FnOnce() -> Head,
        _: Option<CachedValue<'_>>,
    ) -> bool {
        self.keys.push(cell.key_span());
        self.keys.len() < self.limit
    }
}

struct CountItems<'a> {
    count: &'a mut u64,
}

impl Take for CountItems<'_> {
    fn begin(&mut self) {
        *self.count = 0;
    }

    #[inline(always)]
    fn take(
        &mut self,
        _: &CellRef<'_>,
        _: impl FnOnce() -> Head,
        _: Option<CachedValue<'_>>,
    ) -> bool {
        *self.count += 1;
        true
    }
}

/// Takes those of a leaf's cells that are live; breaks with the key of the last one that was looked
/// at.
fn take_live(
    cells: LeafCells<'_>,
    now_ms: u64,
    looked_at: &mut usize,
    taker: &mut impl Take,
) -> ControlFlow<Vec<u8>> {
    let all_live = cells.are_live();
    for cell in cells {
        *looked_at += 1;
        let is_live = all_live || cell.head().is_live(now_ms);
        let more = !is_live || taker.take(&cell, || cell.head(), cell.value());
        if !more || *looked_at >= CELLS_AT_ONCE {
            return ControlFlow::Break(cell.key().to_vec());
        }
    }
    ControlFlow::Continue(())
}

/// As [`take_live`], with the heads that `seen` returns for the cells.
fn take_seen(
    cells: LeafCells<'_>,
    now_ms: u64,
    looked_at: &mut usize,
    taker: &mut impl Take,
    seen: impl Fn(KeyRef<'_>, &Head) -> Result<Option<Head>>,
) -> Result<ControlFlow<Vec<u8>>> {
    for cell in cells {
        let now = cell.head();
        *looked_at += 1;
        let more = match seen(cell.key(), &now)?.filter(|seen| seen.is_live(now_ms)) {
            Some(seen) => {
                let value = cell.value().filter(|_| seen.revision == now.revision);
                taker.take(&cell, || seen, value)
            }
            None => true,
        };
        if !more || *looked_at >= CELLS_AT_ONCE {
            return Ok(ControlFlow::Break(cell.key().to_vec()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// How many of these, from the first on, lie close enough together to be read in one go.
fn neighbours_len(missing: &[Missing]) -> usize {
    let Some(first) = missing.first().map(|missing| missing.head) else { return 0 };
    let mut end = first.end();
    let more = missing.iter().skip(1).take_while(|next| {
        let head = &next.head;
        let near = head.segment == first.segment
            && u64::from(head.offset) <= end + GAP_BYTES
            && head.end() - u64::from(first.offset) <= NEIGHBOURS_BYTES;
        end = end.max(head.end());
        near
    });
    1 + more.count()
}

/// The head that a key had at a view.
fn seen(view: &View, collection: &str, key: KeyRef<'_>, head: &Head) -> Result<Option<Head>> {
    if head.revision <= view.revision() {
        return Ok(Some(*head));
    }
    view.head_at(item_key(collection, key).as_bytes(), Some(*head))
}

/// The key of a cell.
#[expect(clippy::expect_used, reason = "every key in the index was checked when it was written")]
pub(super) fn item_key(collection: &str, key: KeyRef<'_>) -> ItemKey {
    ItemKey::of_parts(collection, key.prefix, key.suffix).expect("a key of the index is valid")
}
