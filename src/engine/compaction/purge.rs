//! Finding tombstones that nothing needs any more.

use std::collections::HashMap;

use crate::engine::compaction::reading::read_frames;
use crate::engine::shared::{EngineGuard, MaintenanceGuard};
use crate::engine::throttle::Throttle;
use crate::journal::manifest::SegmentRecord;
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;

/// Tombstones that may go, with their revisions.
pub(super) type Purgeable = HashMap<ItemKey, u64>;

/// The most tombstones that one run drops.
const LIMIT: usize = 50_000;
/// How many heads are removed before others get a turn.
const HEADS: usize = 256;

/// The tombstones in these segments that are past their time and whose items have left nothing
/// else in the journal.
pub(super) fn find(
    maintenance: &MaintenanceGuard<'_>,
    run: &[SegmentRecord],
    throttle: Throttle,
) -> Result<Purgeable> {
    let mut purgeable = Purgeable::new();
    let last = run.last().map(|source| source.number);
    let mut older = maintenance.engine()?.journal.covered_segments();
    older.truncate(older.iter().position(|of| Some(of.number) == last).map_or(0, |at| at + 1));
    if older.iter().any(|source| is_damaged(maintenance, source)) {
        // Nobody knows of which items older entries are there.
        return Ok(purgeable);
    }
    // A snapshot needs the heads of items that were removed after it had begun.
    let oldest = maintenance.engine()?.snapshots.oldest_revision().unwrap_or(u64::MAX);
    for source in run {
        if !maintenance.engine()?.journal.segments().may_hold_removals(source.number) {
            continue;
        }
        read_frames(maintenance, source, throttle, &mut |engine, source, frame| {
            let now_ms = engine.clock.now_ms();
            source.for_each_entry(frame, &mut |found| {
                if !found.entry.kind().leaves_item()
                    && found.revision <= oldest
                    && !engine.history.keeps_tombstone_of(found.entry.modified_ms, now_ms)
                    && purgeable.len() < LIMIT
                    // Without its head older entries would count as the newest and stay.
                    && engine.head(&found.key)?.is_some_and(|head| head.revision == found.revision)
                {
                    purgeable.insert(found.key, found.revision);
                }
                Ok(())
            })
        })?;
    }
    // An older entry that stays would bring the item back when the index is built anew; one of a
    // cleared collection, whatever its key.
    let cleared = purgeable.iter().filter(|(key, _)| key.is_collection());
    let mut cleared: HashMap<String, u64> =
        cleared.map(|(key, revision)| (key.collection().to_owned(), *revision)).collect();
    for source in older {
        if purgeable.is_empty() {
            break;
        }
        let rewritten = run.iter().any(|of_run| of_run.number == source.number);
        let read = read_frames(maintenance, &source, throttle, &mut |engine, source, frame| {
            source.for_each_entry(frame, &mut |found| {
                let tombstone = purgeable.get(&found.key);
                let older = tombstone.is_some_and(|tombstone| found.revision < *tombstone);
                // Within the run it stays only where the history policy keeps it.
                if older && (!rewritten || engine.history.depth() > 0) {
                    purgeable.remove(&found.key);
                }
                // Within the run all that a clear has removed is dropped.
                let clear = cleared.get(found.entry.collection).copied();
                if !rewritten && clear.is_some_and(|clear| found.revision < clear) {
                    cleared.remove(found.entry.collection);
                    purgeable.remove(&ItemKey::of_collection(found.entry.collection));
                }
                Ok(())
            })
        });
        match read {
            Err(Error::Corrupt { .. }) if !rewritten => return Ok(Purgeable::new()),
            read => read?,
        }
    }
    Ok(purgeable)
}

/// Whether frames of a segment are known to be damaged.
fn is_damaged(maintenance: &MaintenanceGuard<'_>, source: &SegmentRecord) -> bool {
    let damaged = |engine: EngineGuard<'_>| engine.journal.segments().is_damaged(source.number);
    maintenance.engine().is_ok_and(damaged)
}

/// Removes the tombstones' heads from the index, except for items that were written again in the
/// meantime.
pub(super) fn remove_heads(
    maintenance: &MaintenanceGuard<'_>,
    purgeable: &Purgeable,
    throttle: Throttle,
) -> Result<()> {
    let heads: Vec<(&ItemKey, &u64)> = purgeable.iter().collect();
    throttle.for_each(maintenance, &heads, HEADS, |engine, (key, revision)| {
        engine.purge(key, **revision)?;
        engine.keep_within_budget()
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use crate::simulation::Simulation;
    use crate::values::key::ItemKey;
    use crate::{HistoryPolicy, Options, Precondition};

    /// The proof of an index does not cover tombstones, so one may lack a head.
    #[test]
    fn a_tombstone_without_a_head_stays() {
        let mut sim = Simulation::new(1);
        let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
        let store = sim.open(&options).unwrap();
        let numbers = store.collection::<u64>("numbers").unwrap();
        numbers.create("gone", &1).unwrap();
        numbers.delete("gone", Precondition::Always).unwrap();
        let key = ItemKey::new("numbers", b"gone").unwrap();
        {
            let engine = store.engine().unwrap();
            let pin = engine.pin(std::iter::once(&key)).unwrap();
            engine.index.remove_if(&key, &pin, &|_| true);
        }
        for round in 0..3 {
            numbers.upsert("other", &round, Precondition::Always).unwrap();
            sim.set_now_ms(1_700_000_001_000 * (round + 1));
            assert_eq!(store.compact().unwrap().purged_tombstones, 0);
        }
        store.close().unwrap();

        sim.remove_index();
        let store = sim.open(&options).unwrap();
        let numbers = store.collection::<u64>("numbers").unwrap();
        assert_eq!(numbers.get("gone").unwrap(), None);
        store.verify().unwrap();
    }
}
