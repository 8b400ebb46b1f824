//! What runs that end before their upkeep gets to it leave to a later one.
//!
//! A program that opens its store, writes and ends within a part of a second gives upkeep no time,
//! and each such run adds to the journal. So when it holds far more segments than upkeep would have
//! left, the first write of the run does the work, and is notified of nothing that fails in it:
//! upkeep tries again.

use crate::engine::Engine;
use crate::engine::compaction::compact_some;
use crate::engine::shared::Shared;
use crate::engine::throttle::Throttle;
use crate::journal::copying::COPIED_SEGMENT_BYTES;
use crate::values::error::Result;

/// From this number of segments on too much was left.
const BACKLOG_SEGMENTS: u64 = 64;
/// Below this number enough is done, so that the work comes once in many runs.
const WORKED_OFF_SEGMENTS: u64 = 32;

/// Whether runs before this one left their upkeep undone.
pub(crate) fn has_backlog(engine: &Engine) -> bool {
    has_segments(engine, BACKLOG_SEGMENTS)
}

/// Whether there are that many, beyond one for each 64 MiB, the length of a copy's segments.
fn has_segments(engine: &Engine, count: u64) -> bool {
    let extents = engine.journal.extents();
    let bytes: u64 = extents.iter().map(|extent| extent.end_offset).sum();
    extents.len() as u64 >= count + bytes / COPIED_SEGMENT_BYTES
}

/// Sweeps, takes a checkpoint, and compacts piece by piece until that is over, or nothing is
/// worth it.
pub(crate) fn work_off_backlog(shared: &Shared) -> Result<()> {
    shared.sweep()?;
    shared.engine()?.checkpoint()?;
    while has_segments(&*shared.engine()?, WORKED_OFF_SEGMENTS) {
        let more = compact_some(shared, Throttle::Off, || ())?;
        shared.engine()?.journal.remove_dropped();
        if !more {
            break;
        }
    }
    Ok(())
}
