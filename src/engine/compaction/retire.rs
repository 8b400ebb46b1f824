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
/// Snapshots may keep this number of bytes of retired segments in any case.
const LEAST_PINNED_BYTES: u64 = 64 << 20;
/// How long what a compaction had to keep counts as not worth another look, which costs a read and
/// a rewrite of it.
const HELD_MS: u64 = 24 * 60 * 60 * 1_000;

/// Moves the heads that point into retired segments, and drops those that no snapshot may read. Does
/// nothing when there are none.
pub(super) fn finish(maintenance: &MaintenanceGuard<'_>, throttle: Throttle) -> Result<()> {
    let (mut retired, outputs, left_behind) = {
        let engine = maintenance.engine()?;
        let journal = &engine.journal;
        let retired = journal.retired_segments();
        if retired.is_empty() || journal.is_poisoned() {
            return Ok(());
        }
        let mut outputs = journal.covered_segments();
        outputs.retain(|record| retired.iter().any(|of| of.replaced_by == record.number));
        (retired, outputs, engine.has_heads_left_behind())
    };
    for output in outputs {
        if !relocate_from(maintenance, &output, throttle)? {
            // Then its sources hold what cannot be read in it, and heads go on pointing there.
            retired.retain(|of| of.replaced_by != output.number);
        }
    }
    if retired.is_empty() {
        return Ok(());
    }
    if left_behind {
        // An earlier process may have been ended before the heads of purged tombstones were gone
        // for good, or removing them failed.
        remove_left_behind(maintenance, &numbers(&retired), throttle)?;
    }
    let engine = maintenance.engine()?;
    engine.set_heads_left_behind(false);
    // What is left is looked at again with the next piece of compaction.
    keep_for_snapshots(&engine, &mut retired)?;
    engine.journal.drop_retired(&numbers(&retired));
    engine.forget_moves_but_of(&engine.journal.retired_segments());
    if engine.moves_want_checkpoint() {
        engine.checkpoint_or_put_off("an open after a crash may take long, as heads were moved")?;
    }
    Ok(())
}

/// The same at full speed, and removes the files of what was dropped.
pub(super) fn finish_and_remove(maintenance: &MaintenanceGuard<'_>) -> Result<()> {
    finish(maintenance, Throttle::Off)?;
    maintenance.engine()?.journal.remove_dropped();
    Ok(())
}

fn numbers(retired: &[RetiredSegment]) -> Vec<u32> {
    retired.iter().map(|retired| retired.number).collect()
}

fn total_len_bytes(engine: &Engine, numbers: &[u32]) -> Result<u64> {
    numbers.iter().map(|number| engine.journal.segments().len_bytes(*number)).sum()
}

/// Takes those off the list that snapshots may read. Where these take more space than everything
/// that lives, the oldest snapshots are given up until they do not.
fn keep_for_snapshots(engine: &Engine, retired: &mut Vec<RetiredSegment>) -> Result<()> {
    let limit_bytes = LEAST_PINNED_BYTES.max(engine.journal.segments().total_live_bytes());
    loop {
        let is_read = |retired: &RetiredSegment| engine.is_read_by_snapshots(retired.number);
        let (kept, free): (Vec<_>, Vec<_>) = retired.iter().copied().partition(is_read);
        let pinned_bytes = total_len_bytes(engine, &numbers(&kept))?;
        if pinned_bytes <= limit_bytes || !engine.snapshots.give_up_oldest() {
            *retired = free;
            return Ok(());
        }
    }
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
    engine.note_relocated(segment, frame_bytes(output));
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

    use crate::engine::compaction::compact_some;
    use crate::engine::throttle::Throttle;
    use crate::simulation::Simulation;
    use crate::{Durability, Options, Precondition, Store};

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

    /// A regression: each piece of compaction took a checkpoint, or what it had replaced waited for
    /// one, and those wrote more than everything else did.
    #[test]
    fn what_was_compacted_goes_at_once_and_takes_no_checkpoint() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        overwrite(&store, 1_700);
        Simulation::checkpoint(&store).unwrap();
        let taken = || store.stats().unwrap().checkpoint_revision;
        let first = taken();
        overwrite(&store, 10);
        let segments = store.stats().unwrap().segments;
        assert!(compact(&store));
        let stats = store.stats().unwrap();
        assert!(stats.segments < segments, "what was replaced is still there");
        assert_eq!(taken(), first, "a checkpoint was taken");
        let engine = store.engine().unwrap();
        assert!(engine.journal.retired_segments().is_empty());
        assert!(!engine.journal.dropped_segments().is_empty(), "the index on disk needs these");
        drop(engine);
        // A checkpoint that comes by forgets them.
        Simulation::checkpoint(&store).unwrap();
        assert!(store.engine().unwrap().journal.dropped_segments().is_empty());
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }

    /// Else an open after a crash would move all these heads again.
    #[test]
    fn much_that_was_moved_is_worth_a_checkpoint() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        overwrite(&store, 1_700);
        Simulation::checkpoint(&store).unwrap();
        overwrite(&store, 10);
        store.engine().unwrap().note_relocated(1_000_000, 64 << 20);
        assert!(compact(&store));
        assert!(!store.engine().unwrap().moves_want_checkpoint());
        assert!(store.engine().unwrap().journal.dropped_segments().is_empty());
    }

    /// Else a power cut takes the newer version, and compaction has taken the older one.
    #[test]
    fn what_superseded_a_version_is_durable_before_that_is_gone() {
        for seed in 0..4 {
            let sim = Simulation::new(seed);
            let options = Options::new().durability(Durability::Eventual);
            let store = sim.open(&options).unwrap();
            overwrite(&store, 1_000);
            store.engine().unwrap().journal.seal_if_dead().unwrap();
            overwrite(&store, 500);
            Simulation::checkpoint(&store).unwrap();
            overwrite(&store, 700);
            while compact(&store) {}
            store.engine().unwrap().journal.remove_dropped();
            let sim = sim.crash(&mut fastrand::Rng::with_seed(seed));
            let store = sim.open(&options).unwrap();
            assert_eq!(store.raw("pages").unwrap().len().unwrap(), 1_000);
            assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
        }
    }
}
