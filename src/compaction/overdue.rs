//! What runs that end before their upkeep gets to it leave to a later one.
//!
//! A program that opens its store, writes and ends within a part of a second gives upkeep no time,
//! and each such run adds to the journal. So when it holds far more segments than upkeep would have
//! left, the first write of the run does the work, and is told of nothing that fails in it: upkeep
//! tries again.

use crate::commit::Core;
use crate::compaction::compact_some;
use crate::error::Result;
use crate::journal::roll::MAX_SEGMENT_BYTES;
use crate::pace::Pace;
use crate::store::Store;

/// Beyond so many segments, and one for each that is as large as they become, too much was left.
/// What has to be kept is then looked at again once in some fifty runs, not in each.
const OVERDUE_SEGMENTS: u64 = 64;

/// Whether runs before this one left their upkeep undone.
pub(crate) fn is_overdue(core: &Core) -> bool {
    let extents = core.journal.extents();
    let bytes: u64 = extents.iter().map(|extent| extent.end_offset).sum();
    extents.len() as u64 >= OVERDUE_SEGMENTS + bytes / MAX_SEGMENT_BYTES
}

/// Sweeps, takes a checkpoint, and compacts piece by piece until that is not so any more, or
/// nothing is worth it.
pub(crate) fn catch_up(store: &Store) -> Result<()> {
    store.sweep()?;
    store.running()?.checkpoint()?;
    while is_overdue(&store.running()?.core) {
        if !compact_some(store.shared(), Pace::Full, || ())? {
            break;
        }
    }
    Ok(())
}
