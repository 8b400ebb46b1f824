//! Finding tombstones that nothing needs any more.

use std::collections::HashMap;
use std::time::Instant;

use crate::commit::Standing;
use crate::compaction::Pace;
use crate::compaction::copy::{for_each_entry, read_frames};
use crate::error::Result;
use crate::journal::manifest::SegmentRecord;
use crate::key::ItemKey;
use crate::store::Shared;

/// Tombstones that may go, with their revisions.
pub(super) type Purgeable = HashMap<ItemKey, u64>;

/// The most tombstones that one run drops.
const LIMIT: usize = 50_000;
/// How many rows are removed before others get a turn.
const ROWS: usize = 256;

/// The tombstones in these segments that are past their time and whose items have left nothing
/// else in the journal.
pub(super) fn find(shared: &Shared, run: &[SegmentRecord], pace: Pace) -> Result<Purgeable> {
    let mut purgeable = Purgeable::new();
    // A snapshot may need the row of an item that was removed after it was taken.
    if shared.running()?.core.snapshots.alive() > 0 {
        return Ok(purgeable);
    }
    for source in run {
        read_frames(shared, source, pace, &mut |core, known, frame| {
            let now_ms = core.clock.now_ms();
            for_each_entry(known, frame, &mut |key, entry, _| {
                if !entry.kind().leaves_item()
                    && !core.history.keeps_tombstone_of(entry.modified_ms, now_ms)
                    && purgeable.len() < LIMIT
                    && core.standing(&key, frame.revision)? == Standing::Newest
                {
                    purgeable.insert(key, frame.revision);
                }
                Ok(())
            })
        })?;
    }
    // An older entry that stays would bring the item back when the table is built anew.
    let last = run.last().map(|source| source.number);
    let segments = shared.running()?.core.journal.covered_segments();
    for source in segments {
        if purgeable.is_empty() {
            break;
        }
        let rewritten = run.iter().any(|of_run| of_run.number == source.number);
        read_frames(shared, &source, pace, &mut |core, known, frame| {
            for_each_entry(known, frame, &mut |key, _, _| {
                let older =
                    purgeable.get(&key).is_some_and(|tombstone| frame.revision < *tombstone);
                // Within the run it stays only where the history policy keeps it.
                if older && (!rewritten || core.history.depth() > 0) {
                    purgeable.remove(&key);
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
pub(super) fn remove_rows(shared: &Shared, purgeable: &Purgeable, pace: Pace) -> Result<()> {
    let rows: Vec<(&ItemKey, &u64)> = purgeable.iter().collect();
    for rows in rows.chunks(ROWS) {
        let began = Instant::now();
        let running = shared.running()?;
        for (key, revision) in rows {
            running.core.purge(key, **revision)?;
        }
        drop(running);
        pace.pause(began);
    }
    Ok(())
}
