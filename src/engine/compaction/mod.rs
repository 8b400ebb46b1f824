//! Compaction: neighbouring segments whose versions are mostly superseded are rewritten into one.
//!
//! A run of compaction goes through these steps; a crash between any two leaves a store that
//! opens, and the next run goes on from there:
//!
//! 1. Entries worth keeping are copied, in order of revision, into a new segment: newest versions,
//!    versions within the history policy, and tombstones that may still be needed.
//! 2. MANIFEST names the new segment in place of its sources, which are *retired*.
//! 3. The heads of tombstones that were not copied leave the index: not before, since a head is what
//!    tells that older entries of its key are superseded.
//! 4. The index's heads move to the new places, each under its stripe and only if its item has not
//!    changed in the meantime.
//! 5. The retired segments are dropped. MANIFEST lists them until a checkpoint: an open after a crash
//!    takes step 4 again for the heads that still point into them.
//!
//! No step holds the store for longer than some hundred entries take.

mod backlog;
mod copy;
mod full_disk;
mod piece;
mod plan;
mod purge;
mod reading;
mod retire;

use crate::engine::shared::{MaintenanceGuard, Shared};
use crate::engine::throttle::Throttle;
use crate::journal::manifest::SegmentRecord;
use crate::values::error::{Error, Result};

pub(crate) use backlog::{has_backlog, work_off_backlog};
pub(crate) use plan::{CompactionJob, MANY_SMALL_SEGMENTS, frame_bytes, write_delay_us};

/// What a [`Store::compact`](crate::Store::compact) has done.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let store = ifmatch::Store::in_memory();
/// let counters = store.collection::<u64>("counters")?;
/// for count in 0..1_000 {
///     counters.upsert("visits", &count, ifmatch::Precondition::Always)?;
/// }
/// let compaction = store.compact()?;
/// assert!(compaction.reclaimed_bytes > 10_000);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Compaction {
    /// Segments that were rewritten.
    pub segments: u64,
    /// Bytes of frames in them.
    pub read_bytes: u64,
    /// Bytes of frames in what they were rewritten into.
    pub written_bytes: u64,
    /// The difference: space in the journal that is free again, or will be when the last snapshot
    /// that needs it is gone.
    pub reclaimed_bytes: u64,
    /// Tombstones that were dropped.
    pub purged_tombstones: u64,
}

/// Sweeps, and rewrites every segment that holds anything dead.
pub(crate) fn compact_everything(shared: &Shared) -> Result<Compaction> {
    shared.sweep()?;
    let maintenance = &shared.maintenance();
    let mut done = Compaction::default();
    {
        let engine = maintenance.engine()?;
        engine.journal.check_poison()?;
        if engine.journal.is_being_copied() {
            return Ok(done);
        }
    }
    match compact_ranges(maintenance, &mut done) {
        Err(error) if error.is_full_disk() => {
            full_disk::compact(maintenance, &error, &mut done)?;
        }
        compacted => compacted?,
    }
    Ok(done)
}

/// Lets everything be compacted, and rewrites every range that is worth it.
fn compact_ranges(maintenance: &MaintenanceGuard<'_>, done: &mut Compaction) -> Result<()> {
    maintenance.engine()?.journal.seal_if_dead()?;
    maintenance.engine()?.checkpoint()?;
    retire::finish_and_remove(maintenance)?;
    let mut runs = plan::everything(&*maintenance.engine()?);
    runs.reverse();
    while let Some(run) = runs.pop() {
        match compact_range(maintenance, run.clone(), Throttle::Off, done) {
            Err(Error::Corrupt { .. }) if is_damaged(maintenance, &run)? => {
                runs.extend(plan::undamaged(&*maintenance.engine()?, &run).into_iter().rev());
            }
            compacted => drop(compacted?),
        }
        retire::finish_and_remove(maintenance)?;
    }
    maintenance.engine()?.checkpoint()
}

/// Whether frames of any of these segments are known to be damaged.
fn is_damaged(maintenance: &MaintenanceGuard<'_>, run: &[SegmentRecord]) -> Result<bool> {
    let engine = maintenance.engine()?;
    Ok(run.iter().any(|record| engine.journal.segments().is_damaged(record.number)))
}

/// Does the most rewarding piece of compaction, if there is one worth its cost, and calls `begin`
/// before it; returns whether it did. Where it is urgent the pace is full in any case. What it drops
/// is for the caller to [remove](crate::journal::Journal::remove_dropped).
pub(crate) fn compact_some(
    shared: &Shared,
    throttle: Throttle,
    begin: impl FnOnce(),
) -> Result<bool> {
    let maintenance = &shared.maintenance();
    retire::finish(maintenance, throttle)?;
    let occasion = {
        let engine = maintenance.engine()?;
        if engine.journal.is_being_copied() {
            return Ok(false);
        }
        plan::pick_job(&engine)
    };
    let Some(CompactionJob { run, urgent }) = occasion else { return Ok(false) };
    begin();
    let throttle = if urgent { Throttle::Off } else { throttle };
    let mut done = Compaction::default();
    let compacted = match compact_range(maintenance, run.clone(), throttle, &mut done) {
        // The next look leaves out what is known to be damaged now.
        Err(Error::Corrupt { .. }) if is_damaged(maintenance, &run)? => Ok(true),
        compacted => compacted,
    };
    let compacted = compacted.and_then(|done| retire::finish(maintenance, throttle).map(|()| done));
    match compacted {
        // Where nothing can be freed it is not tried again at once.
        Err(error) if error.is_full_disk() => {
            if full_disk::compact(maintenance, &error, &mut done)? { Ok(true) } else { Err(error) }
        }
        compacted => compacted,
    }
}

/// Steps 1 to 3 for some neighbouring segments; not while somebody copies the journal, and returns
/// whether it was done.
fn compact_range(
    maintenance: &MaintenanceGuard<'_>,
    run: Vec<SegmentRecord>,
    throttle: Throttle,
    done: &mut Compaction,
) -> Result<bool> {
    if maintenance.engine()?.journal.is_being_copied() {
        return Ok(false);
    }
    let purgeable = purge::find(maintenance, &run, throttle)?;
    let mut rewrite = maintenance.engine()?.journal.begin_rewrite(run)?;
    let copied = copy::copy(maintenance, &mut rewrite, &purgeable, throttle);
    let engine = maintenance.engine()?;
    // What superseded the entries that were left behind must not be lost when they are gone.
    let copied = copied.and_then(|moved| {
        engine.journal.make_durable(engine.journal.appended())?;
        Ok(moved)
    });
    let finished = copied.and_then(|moved| Ok((rewrite.finish(&engine.journal)?, moved)));
    let (record, moved) = match finished {
        Ok(finished) => finished,
        Err(error) => {
            rewrite.abandon(&engine.journal);
            return Err(error);
        }
    };
    let newest_purged = purgeable.values().copied().max().unwrap_or(0);
    let switched = engine.journal.switch(&rewrite, record, newest_purged);
    if !matches!(switched, Ok(true)) {
        // When it failed half-way MANIFEST may name the segment.
        if !engine.journal.is_poisoned() {
            rewrite.abandon(&engine.journal);
        }
        return switched;
    }
    engine.set_heads_left_behind(true);
    drop(engine);
    purge::remove_heads(maintenance, &purgeable, throttle)?;
    maintenance.engine()?.set_heads_left_behind(false);
    let frames = |record: &SegmentRecord| plan::frame_bytes(record);
    let read_bytes: u64 = rewrite.sources().iter().map(frames).sum();
    done.segments += rewrite.sources().len() as u64;
    done.read_bytes += read_bytes;
    done.written_bytes += rewrite.frame_bytes();
    done.reclaimed_bytes += read_bytes.saturating_sub(rewrite.frame_bytes());
    done.purged_tombstones += purgeable.len() as u64;
    if let Some(moved) = moved {
        retire::relocate_moved(maintenance, &record, &moved, throttle)?;
    }
    Ok(true)
}
