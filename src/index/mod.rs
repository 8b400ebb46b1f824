//! The table: the ordered index from an item's key to the [`Head`] of its newest version.
//!
//! It is a cache of the journal. It may be lost, stale, ahead or damaged without losing data:
//! opening proves it against the journal's count and sum, and rebuilds it when the proof fails.
//! Two implementations pass one conformance suite: [`SledTable`] on disk and [`MemoryTable`].

mod escape;
mod guard;
mod guarded;
mod memory;
mod renewable;
#[cfg(any(test, feature = "simulation"))]
mod simulated;
mod sled;

#[cfg(all(test, not(loom)))]
mod conformance;

use std::fmt::Debug;
use std::ops::Bound;
use std::sync::Arc;

use crate::values::error::Result;

pub(crate) use self::guarded::GuardedTables;
pub(crate) use self::memory::MemoryTables;
pub(crate) use self::renewable::RenewableTable;
pub(crate) use self::sled::SledTables;

/// An ordered map from key bytes to encoded heads.
///
/// Keys are the store's composite keys (collection, NUL, item key), values are encoded heads;
/// neither is interpreted here. Every method may be called from any thread.
pub(crate) trait Table: Debug + Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>>;

    /// Sets the value of a key.
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes a key, present or not.
    fn remove(&self, key: &[u8]) -> Result<()>;

    /// Calls `visit` with up to `limit` rows within the bounds, in ascending order of key, or
    /// descending when `reverse`. Rows that change meanwhile are seen before or after the change.
    /// `visit` must not use the table.
    fn scan(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()>;

    /// Writes everything inserted before this call to stable storage, as far as the table can
    /// promise that: what survives is proven at the next open, never trusted.
    fn flush(&self) -> Result<()>;

    /// Bytes that the table occupies on disk; 0 for one in memory.
    fn size_on_disk_bytes(&self) -> Result<u64>;
}

/// Where a store's tables live: one per generation, so that a rebuild never touches the table it
/// replaces.
pub(crate) trait Tables: Debug + Send + Sync + 'static {
    /// Opens the table of this generation, made empty if it is missing.
    fn open(&self, generation: u64) -> Result<Arc<dyn Table>>;

    /// A hash over everything that a table which nobody has open consists of: two equal digests
    /// are two equal tables.
    fn digest(&self, generation: u64) -> Result<[u8; 32]>;

    /// Removes everything of every other generation; errors are the caller's to ignore.
    fn remove_all_but(&self, generation: u64) -> Result<()>;
}

/// Whether no key can lie within the bounds, as when the lower one is above the upper one.
fn is_empty_range(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    match (lower, upper) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (Bound::Included(lower) | Bound::Excluded(lower), Bound::Excluded(upper))
        | (Bound::Excluded(lower), Bound::Included(upper)) => lower >= upper,
    }
}
