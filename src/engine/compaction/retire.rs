//! Letting go of segments that were rewritten.

use crate::engine::Engine;
use crate::engine::compaction::copy::MovedEntries;
use crate::engine::compaction::plan::frame_bytes;
use crate::engine::compaction::reading::read_span;
use crate::engine::shared::MaintenanceGuard;
use crate::engine::throttle::Throttle;
use crate::journal::frame::record_checksum;
use crate::journal::manifest::{RetiredSegment, SegmentRecord};
use crate::journal::rewrite::CopiedRecord;
use crate::journal::scanner::Position;
use crate::values::error::{Error, Result};

/// How many heads are looked at before others get a turn.
const HEADS: usize = 1_024;
/// How many heads are moved before others get a turn.
const ENTRIES: usize = 256;
/// This number of bytes of retired segments may wait for a checkpoint in any case.
const LEAST_RETIRED_BYTES: u64 = 8 << 20;
/// And this share of the live bytes, in percent.
const RETIRED_PERCENT: u64 = 30;
/// Snapshots may keep this number of bytes of retired segments in any case.
const LEAST_PINNED_BYTES: u64 = 64 << 20;
/// How long what a compaction had to keep counts as not worth another look, which costs a read and
/// a rewrite of it.
const HELD_MS: u64 = 24 * 60 * 60 * 1_000;

/// Whether retired segments stay until a checkpoint is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// One is taken now.
    No,
    /// One writes most of the index, so it is taken for their sake only when they take much space.
    ForCheckpoint,
}

/// Moves the heads that point into retired segments, makes that durable, and drops them. Does
/// nothing when there are none.
pub(super) fn finish(
    maintenance: &MaintenanceGuard<'_>,
    throttle: Throttle,
    wait: Wait,
) -> Result<()> {
    let (retired, covered, left_behind) = {
        let engine = maintenance.engine()?;
        let journal = &engine.journal;
        let retired = journal.retired_segments();
        if retired.is_empty() || journal.is_poisoned() {
            return Ok(());
        }
        (retired, journal.covered_segments(), engine.has_heads_left_behind())
    };
    let outputs = covered
        .iter()
        .filter(|record| retired.iter().any(|retired| retired.replaced_by == record.number));
    let mut numbers: Vec<u32> = retired.iter().map(|retired| retired.number).collect();
    for output in outputs {
        if !relocate_from(maintenance, output, throttle)? {
            // Then its sources hold what cannot be read in it, and heads go on pointing there.
            let sources = |of: &&RetiredSegment| of.replaced_by == output.number;
            let sources: Vec<u32> = retired.iter().filter(sources).map(|of| of.number).collect();
            numbers.retain(|number| !sources.contains(number));
        }
    }
    if numbers.is_empty() {
        return Ok(());
    }
    if left_behind {
        // An earlier process may have been ended before the heads of purged tombstones were gone
        // for good, or removing them failed.
        remove_left_behind(maintenance, &numbers, throttle)?;
    }
    let engine = maintenance.engine()?;
    engine.set_heads_left_behind(false);
    // Those that began later find every head in its new place.
    let before = engine.snapshots_before_moves();
    if engine.snapshots.lives_below(before) && !give_up_costly(&engine, &numbers, before)? {
        // Looked at again with the next piece of compaction.
        return Ok(());
    }
    if !engine.moves_are_durable() {
        if wait == Wait::ForCheckpoint && !take_much(&engine, &numbers)? {
            // The next checkpoint that is due anyway makes them durable.
            return Ok(());
        }
        engine.checkpoint()?;
    }
    engine.journal.drop_retired(&numbers)?;
    engine.all_relocated();
    Ok(())
}

/// Whether these segments take so much space that it is worth a checkpoint.
fn take_much(engine: &Engine, numbers: &[u32]) -> Result<bool> {
    let segments = engine.journal.segments();
    let bytes = total_len_bytes(engine, numbers)?;
    Ok(bytes > LEAST_RETIRED_BYTES.max(segments.total_live_bytes() / 100 * RETIRED_PERCENT))
}

pub(super) fn total_len_bytes(engine: &Engine, numbers: &[u32]) -> Result<u64> {
    numbers.iter().map(|number| engine.journal.segments().len_bytes(*number)).sum()
}

/// Gives up the snapshots that may read retired segments, if these take more space than everything
/// that lives; whether none of them is left.
fn give_up_costly(engine: &Engine, numbers: &[u32], before: u64) -> Result<bool> {
    let pinned = total_len_bytes(engine, numbers)?;
    if pinned > LEAST_PINNED_BYTES.max(engine.journal.segments().total_live_bytes()) {
        while engine.snapshots.lives_below(before) && engine.snapshots.give_up_oldest() {}
    }
    Ok(!engine.snapshots.lives_below(before))
}

/// Points the index's heads at the entries of a rewritten segment, if that was not done; `false`
/// where it is damaged.
fn relocate_from(
    maintenance: &MaintenanceGuard<'_>,
    output: &SegmentRecord,
    throttle: Throttle,
) -> Result<bool> {
    let (done, damaged) = {
        let engine = maintenance.engine()?;
        let damaged = engine.journal.segments().is_damaged(output.number);
        (engine.is_relocated(output.number), damaged)
    };
    if done || damaged {
        return Ok(done);
    }
    match relocate(maintenance, output, throttle) {
        Err(Error::Corrupt { .. }) => Ok(false),
        relocated => relocated.map(|()| true),
    }
}

/// Points the index's heads at the entries of a rewritten segment.
fn relocate(
    maintenance: &MaintenanceGuard<'_>,
    output: &SegmentRecord,
    throttle: Throttle,
) -> Result<()> {
    let mut from = None;
    loop {
        from = relocate_piece(maintenance, output, from, throttle)?;
        if from.is_none() {
            break;
        }
    }
    note_relocated(maintenance, output)
}

/// Points the index's heads at the entries of a segment that was just made of others: these.
pub(super) fn relocate_moved(
    maintenance: &MaintenanceGuard<'_>,
    output: &SegmentRecord,
    moved: &MovedEntries,
    throttle: Throttle,
) -> Result<()> {
    move_heads(maintenance, output.number, moved, throttle)?;
    note_relocated(maintenance, output)
}

fn note_relocated(maintenance: &MaintenanceGuard<'_>, output: &SegmentRecord) -> Result<()> {
    let segment = output.number;
    let engine = maintenance.engine()?;
    engine.note_relocated(segment);
    let segments = engine.journal.segments();
    let held = frame_bytes(output).saturating_sub(segments.live_bytes(segment));
    segments.retain(segment, held, engine.clock.now_ms().saturating_add(HELD_MS));
    Ok(())
}

/// The same for a part of the segment; returns where the next one begins.
fn relocate_piece(
    maintenance: &MaintenanceGuard<'_>,
    output: &SegmentRecord,
    from: Option<Position>,
    throttle: Throttle,
) -> Result<Option<Position>> {
    let mut moved = MovedEntries::default();
    let next = read_span(maintenance, output, from, throttle, &mut |_, source, frame| {
        source.for_each_entry(frame, &mut |found| {
            let (len_bytes, checksum) = (found.record.len() as u32, record_checksum(found.record));
            let (offset, checksum) = (found.offset, Some(checksum));
            moved.push((found.key, found.revision, CopiedRecord { offset, len_bytes, checksum }));
            Ok(())
        })?;
        Ok(moved.flow())
    })?;
    move_heads(maintenance, output.number, &moved, throttle)?;
    Ok(next)
}

fn move_heads(
    maintenance: &MaintenanceGuard<'_>,
    segment: u32,
    moved: &MovedEntries,
    throttle: Throttle,
) -> Result<()> {
    let moved = moved.in_order();
    throttle.for_each(maintenance, &moved, ENTRIES, |engine, (key, revision, record)| {
        engine.relocate(key, *revision, segment, *record)?;
        engine.keep_within_budget()
    })
}

/// Removes tombstones that still point into these segments: what replaced them does not hold them.
fn remove_left_behind(
    maintenance: &MaintenanceGuard<'_>,
    numbers: &[u32],
    throttle: Throttle,
) -> Result<()> {
    throttle.for_each_heads(maintenance, HEADS, |engine, heads| {
        let mut left_behind = heads.iter().filter(|(_, head)| numbers.contains(&head.segment));
        left_behind.try_for_each(|(key, head)| engine.purge(key, head.revision))
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::engine::Engine;
    use crate::engine::compaction::compact_some;
    use crate::engine::throttle::Throttle;
    use crate::simulation::Simulation;
    use crate::{Options, Precondition, Store};

    fn overwrite(store: &Store, pages: u32) {
        let items = store.raw("pages").unwrap();
        for page in 0..pages {
            let value = vec![page as u8; 5_000].into();
            items.upsert((page % 1_000).to_be_bytes(), &value, Precondition::Always).unwrap();
        }
    }

    fn compact(store: &Store) -> bool {
        compact_some(store.shared(), Throttle::HalfTime, || ()).unwrap()
    }

    fn waiting(engine: &Engine) -> Vec<u32> {
        engine.journal.retired_segments().iter().map(|retired| retired.number).collect()
    }

    /// A regression: where writers produced dead bytes quickly, each piece of compaction took a
    /// checkpoint, and those wrote three times what everything else did.
    #[test]
    fn what_was_compacted_waits_for_a_checkpoint_until_it_takes_much_space() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        overwrite(&store, 1_700);
        Simulation::checkpoint(&store).unwrap();
        assert!(compact(&store));
        let first = waiting(&store.engine().unwrap());
        assert!(!first.is_empty(), "a checkpoint was taken for some MiB");
        // A checkpoint that comes by lets them go.
        Simulation::checkpoint(&store).unwrap();
        compact(&store);
        assert!(waiting(&store.engine().unwrap()).iter().all(|number| !first.contains(number)));

        // Without one they go when they take too much.
        overwrite(&store, 5_000);
        Simulation::checkpoint(&store).unwrap();
        while compact(&store) {
            let engine = store.engine().unwrap();
            let now = waiting(&engine);
            assert!(!super::take_much(&engine, &now).unwrap(), "{} segments wait", now.len());
        }
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }
}
