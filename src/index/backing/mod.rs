//! The backing store of the index: an ordered map on disk that may be lost, stale or damaged.
//!
//! It holds one pair for each leaf and is written by checkpoints only. What it holds is proven
//! when a store opens, and every pair that is loaded later is compared with the checksum that the
//! index knows. Two implementations pass one conformance suite: [`SledBacking`](sled::SledBacking)
//! on disk and [`MemoryBacking`](memory::MemoryBacking).

mod guard;
mod guarded;
mod memory;
#[cfg(any(test, feature = "simulation"))]
mod simulated;
mod sled;

#[cfg(all(test, not(loom)))]
mod conformance;

use std::fmt::Debug;
use std::ops::Bound;
use std::sync::Arc;

use crate::values::error::Result;

pub(crate) use self::guarded::GuardedBackings;
pub(crate) use self::memory::MemoryBackings;
pub(crate) use self::sled::SledBackings;

/// An ordered map from the keys of pairs to encoded leaves; neither is interpreted here. Every
/// method may be called from any thread.
///
/// An [`Error::Io`](crate::Error::Io) is momentary: the same call may succeed later. After an
/// [`Error::IndexUnavailable`](crate::Error::IndexUnavailable) every later call fails as well.
pub(crate) trait Backing: Debug + Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>>;

    /// Sets the value of a key.
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes a key, present or not.
    fn remove(&self, key: &[u8]) -> Result<()>;

    /// Calls `visit` with up to `limit` pairs after a key, or from the first pair on, in ascending
    /// order of key. Pairs that change during the call are seen before or after the change.
    /// `visit` must not use the backing store.
    fn scan(
        &self,
        after: Option<&[u8]>,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()>;

    /// Writes everything inserted before this call to stable storage, as far as the backing store
    /// can promise that: what survives is proven at the next open, never trusted.
    fn flush(&self) -> Result<()>;

    /// Bytes that the backing store occupies on disk; 0 for one in memory.
    fn size_on_disk_bytes(&self) -> Result<u64>;
}

/// Where a store's backing stores live: one per generation, so that a rebuild never touches the
/// one it replaces.
pub(crate) trait Backings: Debug + Send + Sync + 'static {
    /// Opens the backing store of this generation, made empty if it is missing.
    fn open(&self, generation: u64) -> Result<Arc<dyn Backing>>;

    /// Removes everything of every other generation; errors are the caller's to ignore.
    fn remove_all_but(&self, generation: u64) -> Result<()>;
}

/// The bound of a scan after a key.
fn lower_bound(after: Option<&[u8]>) -> Bound<&[u8]> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}
