//! One leaf of a collection's directory, with its lock and state.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::index::leaf::Leaf;
use crate::seams::sync::{TryReadGuard, TryRwLock, TryWriteGuard};

/// The leaf of a range of keys, `[low, high)`.
///
/// **Lock order:** the lock in here comes after the journal's and before the directory's. Two
/// leaves are locked in ascending order of key.
#[derive(Debug)]
pub(super) struct LeafHandle {
    /// The first key that may be in here; it never changes.
    pub(super) low: Box<[u8]>,
    state: TryRwLock<LeafState>,
    /// Whether the leaf was used since the last look for leaves to evict.
    used: AtomicBool,
}

/// What the lock of a leaf protects.
#[derive(Debug)]
pub(super) struct LeafState {
    /// The first key that belongs to the next leaf; `None` in the last leaf.
    pub(super) high: Option<Box<[u8]>>,
    /// `None` while the leaf is in the backing store only.
    pub(super) leaf: Option<Leaf>,
    /// The checksum of the pair as it was last written to the backing store; `None` for no pair.
    pub(super) stored: Option<u32>,
    pub(super) writing: Writing,
    /// Whether the leaf was merged into the one before it.
    pub(super) merged: bool,
    /// Whether the collection was cleared and only snapshots read the leaf: it does not change any
    /// more.
    pub(super) frozen: bool,
    /// The revision since which the leaf holds no item, [`UNKNOWN`] or [`SOME`]; found by a look
    /// since its last change. It is kept when the leaf leaves memory.
    without_items_since: AtomicU64,
}

/// Nobody has looked since the last change.
const UNKNOWN: u64 = u64::MAX;
/// The leaf holds items.
const SOME: u64 = u64::MAX - 1;

/// How a leaf differs from its pair in the backing store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// The pair is equal to the leaf.
    Clean,
    /// The leaf was changed.
    Dirty,
    /// A checkpoint has encoded the leaf and not yet written it to the backing store.
    UnderWay,
    /// As `UnderWay`, and the leaf was changed since.
    UnderWayAndDirty,
}

impl LeafHandle {
    /// A leaf in memory that the backing store does not hold.
    pub(super) fn resident(low: Box<[u8]>, high: Option<Box<[u8]>>, leaf: Leaf) -> Self {
        let (leaf, stored, writing) = (Some(leaf), None, Writing::Dirty);
        Self::new(low, LeafState::new(high, leaf, stored, writing))
    }

    /// A leaf that is in the backing store only.
    pub(super) fn stored(low: Box<[u8]>, high: Option<Box<[u8]>>, checksum: u32) -> Self {
        let (stored, writing) = (Some(checksum), Writing::Clean);
        Self::new(low, LeafState::new(high, None, stored, writing))
    }

    fn new(low: Box<[u8]>, state: LeafState) -> Self {
        Self { low, state: TryRwLock::new(state), used: AtomicBool::new(false) }
    }

    pub(super) fn read(&self) -> TryReadGuard<'_, LeafState> {
        self.state.read()
    }

    /// As [`read`](Self::read), where that needs no waiting.
    #[inline]
    pub(super) fn try_read(&self) -> Option<TryReadGuard<'_, LeafState>> {
        self.state.try_read()
    }

    pub(super) fn write(&self) -> TryWriteGuard<'_, LeafState> {
        self.state.write()
    }

    /// As [`write`](Self::write), where that needs no waiting.
    #[inline]
    pub(super) fn try_write(&self) -> Option<TryWriteGuard<'_, LeafState>> {
        self.state.try_write()
    }

    /// Notes a use. A flag that is set is not written again, so that its cache line stays shared.
    pub(super) fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the leaf was used since the last call.
    pub(super) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

impl LeafState {
    fn new(
        high: Option<Box<[u8]>>,
        leaf: Option<Leaf>,
        stored: Option<u32>,
        writing: Writing,
    ) -> Self {
        Self {
            high,
            leaf,
            stored,
            writing,
            merged: false,
            frozen: false,
            without_items_since: AtomicU64::new(UNKNOWN),
        }
    }

    /// Whether the leaf is known to hold no item, and to have held none at this revision. A leaf
    /// that was never in memory may hold some.
    pub(super) fn held_no_item_at(&self, revision: u64) -> bool {
        // Relaxed: it changes under this leaf's lock only, or to a value that every look finds.
        let since = match (self.without_items_since.load(Ordering::Relaxed), &self.leaf) {
            (UNKNOWN, Some(leaf)) => {
                let since = leaf.without_items_since().unwrap_or(SOME);
                self.without_items_since.store(since, Ordering::Relaxed);
                since
            }
            (since, _) => since,
        };
        since < SOME && since <= revision
    }

    /// Lets the leaf leave memory. What is known of its items stays known.
    pub(super) fn take_leaf(&mut self) -> Option<Leaf> {
        self.held_no_item_at(0);
        self.leaf.take()
    }

    /// Whether a key that is not below the leaf's first belongs to this leaf.
    pub(super) fn covers(&self, key: &[u8]) -> bool {
        !self.merged && self.high.as_deref().is_none_or(|high| key < high)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.leaf.as_ref().map_or(0, Leaf::memory_bytes)
    }

    pub(super) fn mark_dirty(&mut self) {
        *self.without_items_since.get_mut() = UNKNOWN;
        self.writing = match self.writing {
            Writing::Clean | Writing::Dirty => Writing::Dirty,
            Writing::UnderWay | Writing::UnderWayAndDirty => Writing::UnderWayAndDirty,
        };
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.writing != Writing::Clean
    }

    /// Whether the leaf may leave memory: then its pair is all of it.
    pub(super) fn can_leave(&self) -> bool {
        self.writing == Writing::Clean && self.stored.is_some() && !self.merged
    }

    /// Ends what a checkpoint began. `checksum` is that of the pair that the backing store took.
    pub(super) fn written(&mut self, checksum: Option<u32>) {
        self.writing = match (self.writing, checksum) {
            (Writing::UnderWay, Some(_)) => Writing::Clean,
            _ => Writing::Dirty,
        };
        // A pair that was refused may be there or not, so it is not believed before another is.
        self.stored = checksum;
    }
}
