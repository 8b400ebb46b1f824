//! Finding tombstones that nothing needs any more.

use std::collections::HashMap;

use crate::commit::Standing;
use crate::compaction::copy::read_frames;
use crate::error::Result;
use crate::journal::manifest::SegmentRecord;
use crate::key::ItemKey;
use crate::pace::Pace;
use crate::store::Compacting;

/// Tombstones that may go, with their revisions.
pub(super) type Purgeable = HashMap<ItemKey, u64>;

/// The most tombstones that one run drops.
const LIMIT: usize = 50_000;
/// How many rows are removed before others get a turn.
const ROWS: usize = 256;

/// The tombstones in these segments that are past their time and whose items have left nothing
/// else in the journal.
pub(super) fn find(only: &Compacting<'_>, run: &[SegmentRecord], pace: Pace) -> Result<Purgeable> {
    let mut purgeable = Purgeable::new();
    // A snapshot may need the row of an item that was removed after it was taken.
    if only.running()?.core.snapshots.alive() > 0 {
        return Ok(purgeable);
    }
    for source in run {
        read_frames(only, source, pace, &mut |core, source, frame| {
            let now_ms = core.clock.now_ms();
            source.for_each_entry(frame, &mut |found| {
                if !found.entry.kind().leaves_item()
                    && !core.history.keeps_tombstone_of(found.entry.modified_ms, now_ms)
                    && purgeable.len() < LIMIT
                    && core.standing(&found.key, found.revision)? == Standing::Newest
                {
                    purgeable.insert(found.key, found.revision);
                }
                Ok(())
            })
        })?;
    }
    // An older entry that stays would bring the item back when the table is built anew.
    let last = run.last().map(|source| source.number);
    let segments = only.running()?.core.journal.covered_segments();
    for source in segments {
        if purgeable.is_empty() {
            break;
        }
        let rewritten = run.iter().any(|of_run| of_run.number == source.number);
        read_frames(only, &source, pace, &mut |core, source, frame| {
            source.for_each_entry(frame, &mut |found| {
                let tombstone = purgeable.get(&found.key);
                let older = tombstone.is_some_and(|tombstone| found.revision < *tombstone);
                // Within the run it stays only where the history policy keeps it.
                if older && (!rewritten || core.history.depth() > 0) {
                    purgeable.remove(&found.key);
                }
                Ok(())
            })
        })?;
        if Some(source.number) == last {
            break;
        }
    }
    Ok(purgeable)
}

/// Removes the tombstones' rows from the table, but for items that were written again meanwhile.
pub(super) fn remove_rows(only: &Compacting<'_>, purgeable: &Purgeable, pace: Pace) -> Result<()> {
    let rows: Vec<(&ItemKey, &u64)> = purgeable.iter().collect();
    pace.for_each(only, &rows, ROWS, |running, (key, revision)| running.core.purge(key, **revision))
}
