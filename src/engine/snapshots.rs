//! Snapshots: writers save the heads that they displace, for readers at an older revision.
//!
//! The index's head of a key is its version at a snapshot if it is of the snapshot's revision or
//! older. If it is newer, the version at the snapshot was displaced since. A displaced head was the
//! key's newest from its own revision until that of the commit that displaced it. A snapshot whose
//! revision is in between reads that head.
//!
//! **No gap.** A snapshot begins under the journal's lock, at the newest revision appended. So
//! every writer that appends a commit of a higher revision finds the snapshot; and the snapshot is
//! read only when every commit up to its revision is applied.
//!
//! **No lock between reader and writer.** A writer saves the head that it displaces *before* it
//! puts the new one into the index. So a reader that finds a head that is too new finds the saved
//! one as well, and a reader that finds the old head needs no other. Which of them it finds does
//! not matter: it reads the same version. That holds for each key of a batch by itself, so a
//! snapshot shows all of a commit or nothing of it, whenever each key is read.
//!
//! Tombstones are not saved: a key without a matching head was absent. The place of a saved head
//! stays readable: a segment is removed only when no snapshot is older than its last move.

mod cleared;
#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use self::cleared::SavedCollection;
use crate::seams::sync::{AtomicU64, Ordering, RwLock};
use crate::values::error::{Error, Result};
use crate::values::head::Head;

/// How many bytes of memory a saved head takes in addition to its key: the head, the key's
/// allocation and its share of a map's nodes.
pub(crate) const SAVED_HEAD_BYTES: u64 = 144;
/// How many heads a snapshot that ends hands to an older one at a time, while writers wait.
#[cfg(not(all(test, loom)))]
const HANDED_DOWN_AT_ONCE: usize = 256;
/// In models one, so that others get in between.
#[cfg(all(test, loom))]
const HANDED_DOWN_AT_ONCE: usize = 1;

/// The live snapshots of a store, and the heads saved for them.
///
/// **Lock order:** the lock in here is a leaf: nothing else is taken while it is held.
#[derive(Debug)]
pub(crate) struct Snapshots {
    kept: RwLock<Kept>,
    /// The newest revision that a snapshot reads at, 0 if there is none. A writer that has nothing
    /// to save reads only this.
    newest: AtomicU64,
    /// Snapshots with a lower number were given up. Numbers ascend in the order in which snapshots
    /// began, which is that of their revisions. The oldest is given up first.
    first_kept: AtomicU64,
    /// The revision of the newest clear whose leaves were saved, 0 for none: a snapshot of that
    /// revision or above need not look for any.
    newest_cleared: AtomicU64,
    limit_bytes: u64,
}

/// What the lock protects.
#[derive(Debug, Default)]
struct Kept {
    /// By number.
    layers: BTreeMap<u64, Layer>,
    next_number: u64,
    bytes: u64,
}

/// A snapshot, and the saved heads that it reads and no newer one does.
///
/// An older snapshot finds its heads in newer layers too. So each head is saved once, however many
/// snapshots read it. At one revision a key has one newest head, so a layer holds at most one of
/// them.
#[derive(Debug)]
struct Layer {
    revision: u64,
    saved: BTreeMap<Box<[u8]>, Head>,
    /// In the order in which they were cleared.
    cleared: Vec<SavedCollection>,
    bytes: u64,
    /// The snapshot has ended, and the heads that older ones read are being handed down to them.
    ended: bool,
}

/// Removed parts, to be freed after the lock is released.
struct Freed {
    _layer: Option<Layer>,
    _heads: Vec<(Box<[u8]>, Head)>,
    _collections: Vec<SavedCollection>,
}

/// One live snapshot as the engine sees it. Dropping it frees what only it needed.
pub(crate) struct View {
    snapshots: Arc<Snapshots>,
    number: u64,
    revision: u64,
}

impl Snapshots {
    /// No snapshots yet, with this limit in bytes for all later ones.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        let (kept, newest) = (RwLock::default(), AtomicU64::new(0));
        let (first_kept, newest_cleared) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { kept, newest, first_kept, newest_cleared, limit_bytes }
    }

    /// Begins a snapshot at the newest revision of the journal. The caller holds the journal's
    /// lock, so that no commit comes in between.
    pub(crate) fn begin(self: &Arc<Self>, revision: u64) -> Arc<View> {
        let mut kept = self.kept.write();
        let number = kept.next_number;
        kept.next_number += 1;
        let (saved, cleared) = (BTreeMap::new(), Vec::new());
        let layer = Layer { revision, saved, cleared, bytes: 0, ended: false };
        kept.layers.insert(number, layer);
        self.publish_newest(&kept);
        drop(kept);
        Arc::new(View { snapshots: Arc::clone(self), number, revision })
    }

    /// Saves the head that the commit of this revision is about to displace, if a snapshot reads
    /// it. The caller holds the key's stripe and puts its own head into the index afterwards.
    pub(crate) fn save(&self, key: &[u8], displaced: Option<&Head>, revision: u64) {
        // Relaxed: a snapshot that needs the head began under the journal's lock before the
        // writer took it to append.
        let newest = self.newest.load(Ordering::Relaxed);
        let needed = displaced.filter(|head| !head.deleted && head.revision <= newest);
        let Some(head) = needed else { return };
        let mut kept = self.kept.write();
        kept.save(key, head, revision);
        let given_up = self.keep_to_limit(&mut kept);
        drop(kept);
        // Freed without the lock.
        drop(given_up);
    }

    /// Gives up the oldest snapshots until what is kept is within the limit.
    fn keep_to_limit(&self, kept: &mut Kept) -> Vec<Layer> {
        let mut given_up = Vec::new();
        while kept.bytes > self.limit_bytes {
            let Some(layer) = self.pop_oldest(kept) else { break };
            given_up.push(layer);
        }
        given_up
    }

    /// How many snapshots there are, without those that were given up.
    pub(crate) fn alive(&self) -> u64 {
        let kept = self.kept.read();
        kept.layers.values().filter(|layer| !layer.ended).count() as u64
    }

    /// The number of the next snapshot. Those that live now have lower ones.
    pub(crate) fn next_number(&self) -> u64 {
        self.kept.read().next_number
    }

    /// Whether a snapshot lives that has a lower number than this.
    pub(crate) fn lives_below(&self, number: u64) -> bool {
        let kept = self.kept.read();
        kept.layers.range(..number).any(|(_, layer)| !layer.ended)
    }

    /// The oldest revision that a snapshot reads at.
    pub(crate) fn oldest_revision(&self) -> Option<u64> {
        let kept = self.kept.read();
        kept.layers.values().find(|layer| !layer.ended).map(|layer| layer.revision)
    }

    /// How many heads are saved.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn saved_heads(&self) -> u64 {
        self.kept.read().layers.values().map(|layer| layer.saved.len() as u64).sum()
    }

    /// Gives up the oldest snapshot; returns whether there was one.
    pub(crate) fn give_up_oldest(&self) -> bool {
        let mut given_up = Vec::new();
        let mut kept = self.kept.write();
        while let Some(layer) = self.pop_oldest(&mut kept) {
            let was_alive = !layer.ended;
            given_up.push(layer);
            if was_alive {
                break;
            }
        }
        drop(kept);
        given_up.last().is_some_and(|layer| !layer.ended)
    }

    fn pop_oldest(&self, kept: &mut Kept) -> Option<Layer> {
        let (number, layer) = kept.layers.pop_first()?;
        kept.bytes -= layer.bytes;
        self.first_kept.store(number + 1, Ordering::Release);
        self.publish_newest(kept);
        Some(layer)
    }

    fn publish_newest(&self, kept: &Kept) {
        let newest = kept.layers.values().rev().find(|layer| !layer.ended);
        self.newest.store(newest.map_or(0, |layer| layer.revision), Ordering::Relaxed);
    }

    /// Ends a snapshot. The heads that it held for older ones are handed to the next older
    /// snapshot, a part at a time, so that writers get in between. Readers find them all the time.
    fn end(&self, number: u64) {
        let mut kept = self.kept.write();
        let Some(layer) = kept.layers.get_mut(&number) else { return };
        layer.ended = true;
        self.publish_newest(&kept);
        loop {
            let freed = kept.hand_down(number);
            let done = !kept.layers.contains_key(&number);
            drop(kept);
            // Freed without the lock.
            drop(freed);
            if done {
                return;
            }
            kept = self.kept.write();
        }
    }
}

impl Kept {
    /// Saves a head for the newest snapshot that reads it, if any does.
    fn save(&mut self, key: &[u8], head: &Head, revision: u64) {
        // A snapshot that began after the commit was appended sees the commit itself.
        let before = |layer: &&mut Layer| !layer.ended && layer.revision < revision;
        let Some(layer) = self.layers.values_mut().rev().find(before) else { return };
        if head.revision <= layer.revision && layer.saved.insert(key.into(), *head).is_none() {
            let bytes = saved_bytes(key);
            layer.bytes += bytes;
            self.bytes += bytes;
        }
    }

    /// Moves some heads of a snapshot that ended to the next older one, and removes those that it
    /// does not read, which the caller frees. Removes the layer when nothing is left.
    fn hand_down(&mut self, number: u64) -> Freed {
        let older = self.layers.range(..number).rev().find(|(_, layer)| !layer.ended);
        let Some((older, older_revision)) = older.map(|(number, layer)| (*number, layer.revision))
        else {
            let removed = self.layers.remove(&number);
            self.bytes -= removed.as_ref().map_or(0, |layer| layer.bytes);
            return Freed { _layer: removed, _heads: Vec::new(), _collections: Vec::new() };
        };
        let (mut moved, mut freed, mut moved_bytes) = (Vec::new(), Vec::new(), 0);
        let _collections = self.hand_down_cleared(number, older);
        let Some(layer) = self.layers.get_mut(&number) else {
            return Freed { _layer: None, _heads: freed, _collections };
        };
        for _ in 0..HANDED_DOWN_AT_ONCE {
            let Some((key, head)) = layer.saved.pop_first() else { break };
            let bytes = saved_bytes(&key);
            layer.bytes -= bytes;
            if head.revision <= older_revision {
                moved_bytes += bytes;
                moved.push((key, head));
            } else {
                self.bytes -= bytes;
                freed.push((key, head));
            }
        }
        if layer.saved.is_empty() {
            self.layers.remove(&number);
        }
        if let Some(older) = self.layers.get_mut(&older) {
            older.bytes += moved_bytes;
            older.saved.extend(moved);
        }
        Freed { _layer: None, _heads: freed, _collections }
    }
}

impl View {
    /// The newest revision that is seen.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The head of a key at the view's revision, perhaps a tombstone or expired; `current` is the
    /// one that the index has now.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`].
    pub(crate) fn head_at(&self, key: &[u8], current: Option<Head>) -> Result<Option<Head>> {
        match current {
            Some(head) if head.revision > self.revision => self.saved(key),
            current => {
                self.check()?;
                Ok(current)
            }
        }
    }

    fn saved(&self, key: &[u8]) -> Result<Option<Head>> {
        let kept = self.snapshots.kept.read();
        // Under the lock: what is given up is gone at once.
        self.check()?;
        // The first head in these layers is the oldest one that was displaced after the view
        // began. If even that came later than the view, there was none at the time.
        let mut layers = kept.layers.range(self.number..);
        let first = layers.find_map(|(_, layer)| layer.saved.get(key));
        Ok(first.filter(|head| head.revision <= self.revision).copied())
    }

    /// Shows the keys within the bounds that have a saved head at the view's revision, in order and
    /// without `prefix` and the NUL after it. Called after the index's heads were read.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`].
    pub(crate) fn saved_within(
        &self,
        prefix: &[u8],
        (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
        mut show: impl FnMut(&[u8]),
    ) -> Result<()> {
        let joined = |end: u8, key: &[u8]| [prefix, &[end], key].concat().into_boxed_slice();
        let lower: Bound<Box<[u8]>> = match lower {
            Bound::Unbounded => Bound::Included(joined(0, &[])),
            lower => lower.map(|key| joined(0, key)),
        };
        let upper: Bound<Box<[u8]>> = match upper {
            Bound::Unbounded => Bound::Excluded(joined(1, &[])),
            upper => upper.map(|key| joined(0, key)),
        };
        let kept = self.snapshots.kept.read();
        self.check()?;
        // As in `saved`: of each key the first head in these layers counts.
        let mut first: BTreeMap<&[u8], &Head> = BTreeMap::new();
        for (_, layer) in kept.layers.range(self.number..) {
            for (key, head) in layer.saved.range((lower.clone(), upper.clone())) {
                first.entry(key).or_insert(head);
            }
        }
        for (key, head) in first {
            if head.revision <= self.revision {
                show(key.get(prefix.len() + 1..).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Checks that the view is still valid. What was read from the index counts only if the view is
    /// valid afterwards: heads of deleted items may be removed when no snapshot is left.
    ///
    /// # Errors
    /// [`Error::SnapshotTooOld`].
    pub(crate) fn check(&self) -> Result<()> {
        let first_kept = self.snapshots.first_kept.load(Ordering::Acquire);
        if self.number < first_kept { Err(Error::SnapshotTooOld) } else { Ok(()) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.snapshots.end(self.number);
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("revision", &self.revision).finish_non_exhaustive()
    }
}

fn saved_bytes(key: &[u8]) -> u64 {
    SAVED_HEAD_BYTES + key.len() as u64
}
