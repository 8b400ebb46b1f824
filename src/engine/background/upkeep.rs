//! What upkeep does when it looks: checkpoints, compaction and sweeps.

use std::time::{Duration, Instant};

use super::{Background, TICK};
use crate::engine::compaction::{MANY_SMALL_SEGMENTS, compact_some, frame_bytes};
use crate::engine::shared::Shared;
use crate::engine::sweep_pass;
use crate::engine::throttle::Throttle;
use crate::index::LEAF_PAIR_BYTES;
use crate::seams::sync::Ordering;
use crate::values::error::Error;

/// After this number of ticks without a commit a store is idle.
const IDLE_TICKS: u32 = 10;
/// While there are writes, a checkpoint is taken after a seal if the last one does not cover this
/// much.
const BUSY_CHECKPOINT_BYTES: u64 = 24 << 20;
/// After this much it is taken without a seal: a long segment takes long to fill, and what no
/// checkpoint covers is replayed after a crash.
const UNSEALED_CHECKPOINT_BYTES: u64 = 64 << 20;
/// An idle store takes a checkpoint if the last one does not cover this much: replaying less costs
/// less than a flush of the index.
const IDLE_CHECKPOINT_BYTES: u64 = 1 << 20;
/// How often segments are looked at that a snapshot keeps.
const RETIRED_LOOK: Duration = Duration::from_secs(1);
/// How long an expired item stays before it is swept.
const SWEEP_GRACE: Duration = Duration::from_secs(2);
/// When compaction is tried again after it failed.
const COMPACTION_DELAY: Duration = Duration::from_secs(60);

impl Background {
    pub(super) fn run_upkeep(&self, shared: &Shared) {
        let Ok(engine) = shared.engine() else { return };
        let checkpoint_segment = engine.journal.position().segment;
        let left_over = !engine.journal.retired_segments().is_empty();
        let replayed_bytes = engine.journal.uncovered_segments().iter().map(frame_bytes).sum();
        let sweep_at = engine.sweep_in().and_then(|wait| Instant::now().checked_add(wait));
        drop(engine);
        let mut seen = Seen { checkpoint_segment, replayed_bytes, ..Seen::default() };
        let first_at = if left_over { Some(Instant::now()) } else { sweep_at };
        self.deadlines.lock().wake_by(first_at);
        while self.wait_until_due(|deadlines| &mut deadlines.tick_at) {
            match self.tick(shared, &mut seen) {
                Ok(()) => {}
                Err(Error::Closed) => return,
                Err(error) => {
                    log::error!("upkeep ends until the store is opened again: {error}");
                    return;
                }
            }
        }
    }

    /// Takes a checkpoint when a segment was sealed since the last one, or when a pause follows
    /// enough writing, and compacts what is worth it. Looks again while there are writes.
    fn tick(&self, shared: &Shared, seen: &mut Seen) -> Result<(), Error> {
        let commits = self.look();
        seen.ticks_at_rest = if commits == seen.commits { seen.ticks_at_rest + 1 } else { 0 };
        seen.commits = commits;
        let idle = seen.ticks_at_rest >= IDLE_TICKS;
        loop {
            let due = self.is_checkpoint_due(shared, seen, idle)?;
            let more = if due || shared.engine()?.journal.has_dropped_files() {
                self.compact_beside(shared, seen, due)?
            } else {
                self.compact(shared, seen)?
            };
            self.can_compact.store(more, Ordering::Relaxed);
            if !more {
                break;
            }
        }
        shared.engine()?.journal.remove_dropped();
        let sweep_at = self.sweep(shared, seen)?;
        if !idle {
            self.deadlines.lock().tick_at = Some(Instant::now() + TICK);
            return Ok(());
        }
        shared.engine()?.journal.segments().close_files();
        // What a snapshot keeps from being dropped is looked at now and then.
        let retired = shared.engine()?.journal.retired_segments();
        let look_at = (!retired.is_empty()).then(|| Instant::now() + RETIRED_LOOK);
        self.idle(commits, [sweep_at, look_at].into_iter().flatten().min());
        Ok(())
    }

    /// Takes expired items away; returns when there may be more to take.
    fn sweep(&self, shared: &Shared, seen: &mut Seen) -> Result<Option<Instant>, Error> {
        loop {
            let began = Instant::now();
            let engine = shared.engine()?;
            let Some(wait) = engine.sweep_in() else {
                seen.sweep_at = None;
                return Ok(None);
            };
            // A pass under way continues. The next begins when an item has been expired for a
            // while, so that an item that is written again at once keeps its chain of parents.
            let begun = seen.sweep_at.filter(|_| wait.is_zero());
            let at = begun.or_else(|| began.checked_add(wait + SWEEP_GRACE));
            seen.sweep_at = at;
            if at.is_none_or(|at| at > began) {
                return Ok(at);
            }
            match sweep_pass::step(&engine, self) {
                Err(error) if can_be_put_off(&error) => {
                    log::warn!(
                        "the sweep of expired items is put off and will be tried again: {error}"
                    );
                    seen.sweep_at = None;
                }
                stepped => {
                    if !stepped?.more {
                        seen.sweep_at = None;
                    }
                }
            }
            drop(engine);
            std::thread::sleep(began.elapsed().min(TICK));
        }
    }

    /// Compacts. At the same time another thread removes what compaction has dropped and takes a
    /// checkpoint, if one is due: both mostly wait for the disk.
    pub(super) fn compact_beside(
        &self,
        shared: &Shared,
        seen: &mut Seen,
        due: bool,
    ) -> Result<bool, Error> {
        // By this thread, when the other one has ended.
        let _wake = shared.notifier.wake_later();
        let maintain_files = || {
            shared.engine_without_waking()?.journal.remove_dropped();
            if due { take_checkpoint(shared) } else { Ok(()) }
        };
        std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().name("ifmatch-disk".to_owned());
            let Ok(working) = builder.spawn_scoped(scope, maintain_files) else {
                maintain_files()?;
                return self.compact(shared, seen);
            };
            let compacted = loop {
                match self.compact(shared, seen) {
                    // The other one may be at its checkpoint for long.
                    Ok(true) if !working.is_finished() => shared.engine()?.journal.remove_dropped(),
                    compacted => break compacted,
                }
            };
            working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            // What a checkpoint covers from now on may be worth it.
            let more = compacted?;
            if more || !due { Ok(more) } else { self.compact(shared, seen) }
        })
    }

    /// Whether a checkpoint is worth its cost; the next one is due after as much again.
    fn is_checkpoint_due(
        &self,
        shared: &Shared,
        seen: &mut Seen,
        idle: bool,
    ) -> Result<bool, Error> {
        let engine = shared.engine()?;
        let position = engine.journal.position();
        // Not in a session that only reads: its disk may be full, which a flush does not survive.
        if position.appended_bytes == 0 {
            return Ok(false);
        }
        let written_bytes = seen.replayed_bytes + position.appended_bytes;
        let uncovered_bytes = written_bytes.saturating_sub(seen.checkpoint_bytes);
        let sealed = position.segment != seen.checkpoint_segment;
        let live = engine.journal.segments().total_live_bytes();
        let index_bytes = engine.index.leaves() * LEAF_PAIR_BYTES;
        let busy = uncovered_bytes >= busy_checkpoint_bytes(sealed, live, index_bytes);
        // Each session that is not closed leaves a segment, and only what is covered is compacted.
        let many = engine.journal.uncovered_segments().len() >= MANY_SMALL_SEGMENTS;
        let full = engine.index.wants_checkpoint();
        // Else an open after a crash moves these heads again.
        let moved = engine.moves_want_checkpoint() || idle && !engine.moves_are_durable();
        let idle = idle && uncovered_bytes >= IDLE_CHECKPOINT_BYTES;
        let due = busy || idle || many || full || moved;
        if due {
            seen.checkpoint_segment = position.segment;
            seen.checkpoint_bytes = written_bytes;
        }
        Ok(due)
    }

    /// Compacts one piece, if one is worth it; what cannot be compacted now, as when the disk is
    /// full, is tried again later.
    fn compact(&self, shared: &Shared, seen: &mut Seen) -> Result<bool, Error> {
        if seen.compact_at.is_some_and(|at| at > Instant::now()) {
            return Ok(false);
        }
        match compact_some(shared, Throttle::HalfTime, || {
            self.can_compact.store(true, Ordering::Relaxed)
        }) {
            Err(error) if can_be_put_off(&error) || matches!(error, Error::Corrupt { .. }) => {
                log::warn!("compaction is put off and will be tried again: {error}");
                seen.compact_at = Some(Instant::now() + COMPACTION_DELAY);
                Ok(false)
            }
            done => done,
        }
    }
}

/// Takes a checkpoint, or puts it off. Wakes no task.
fn take_checkpoint(shared: &Shared) -> Result<(), Error> {
    let engine = shared.engine_without_waking()?;
    match engine.checkpoint() {
        Err(error) if can_be_put_off(&error) && !engine.journal.is_poisoned() => {
            log::warn!("a checkpoint is put off and will be tried again: {error}");
            Ok(())
        }
        taken => taken.inspect_err(|error| {
            log::error!("a checkpoint failed, and the store's upkeep ends: {error}");
        }),
    }
}

/// Whether upkeep continues after this error and tries again later: the system refused a call, or
/// MANIFEST has no room, and nothing was changed.
fn can_be_put_off(error: &Error) -> bool {
    matches!(
        error,
        Error::Io { .. }
            | Error::TooManySegments { .. }
            | Error::Moved { .. }
            | Error::IndexUnavailable(_)
    )
}

/// What upkeep saw when it last looked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    commits: u64,
    ticks_at_rest: u32,
    checkpoint_segment: u32,
    checkpoint_bytes: u64,
    /// What the open found above the last checkpoint, in segments of runs that were not closed.
    replayed_bytes: u64,
    /// When the next sweep may begin, where one is due or will be.
    sweep_at: Option<Instant>,
    /// When compaction may be tried again after it failed.
    compact_at: Option<Instant>,
}

/// How much has to be uncovered for a checkpoint while there are writes, where a segment was sealed
/// since the last one or not.
fn busy_checkpoint_bytes(sealed: bool, live_bytes: u64, index_bytes: u64) -> u64 {
    let enough = BUSY_CHECKPOINT_BYTES.min(live_bytes / 3).max(IDLE_CHECKPOINT_BYTES);
    // Scattered writes change most leaves: writing those costs as much as replaying this much.
    let enough = enough.max(index_bytes / 2);
    if sealed { enough } else { enough.max(UNSEALED_CHECKPOINT_BYTES) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_busy_store_takes_checkpoints_by_what_it_would_replay() {
        const MIB: u64 = 1 << 20;
        for (sealed, live_mib, index_mib, uncovered_mib) in [
            (true, 0, 0, 1),
            (true, 30, 2, 10),
            (true, 3_000, 20, 24),
            (true, 3_000, 500, 250),
            (false, 30, 2, 64),
            (false, 3_000, 20, 64),
            (false, 3_000, 500, 250),
        ] {
            let enough = busy_checkpoint_bytes(sealed, live_mib * MIB, index_mib * MIB);
            assert_eq!(enough, uncovered_mib * MIB, "{sealed}, {live_mib}, {index_mib}");
        }
    }
}
