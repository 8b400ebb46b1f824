//! The store's own threads. One syncs `Eventual` writes in time. One does the upkeep, so that no
//! sync waits for it: it takes checkpoints, compacts and sweeps expired items.
//!
//! They sleep without a time-out while there is nothing to do, so an idle store costs nothing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::compaction::{MANY_SMALL_SEGMENTS, compact_some, frame_bytes, has_backlog};
use crate::engine::shared::Shared;
use crate::engine::sweep_pass;
use crate::engine::throttle::Throttle;
use crate::seams::sync::thread::{self, JoinHandle};
use crate::seams::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};
use crate::values::error::Error;

/// The bit of [`Background::commits`] that says that upkeep looks again only on request.
const IDLE: u64 = 1 << 63;
/// How many commits go by before it is looked again how long each has to wait.
const DELAY_LOOK_COMMITS: u64 = 256;
/// One write in this number waits, for as long as all of them should.
const DELAYED_COMMITS: u64 = 32;
/// How often upkeep looks while writes go on.
#[cfg(not(all(test, loom)))]
const TICK: Duration = Duration::from_millis(100);
/// In models never: how far they have come after some time differs from run to run.
#[cfg(all(test, loom))]
const TICK: Duration = Duration::from_secs(1 << 20);
/// After this number of ticks without a commit a store is idle.
const IDLE_TICKS: u32 = 10;
/// While writes go on a checkpoint is taken after a seal when the last one is this far behind.
const BUSY_CHECKPOINT_BYTES: u64 = 16 << 20;
/// An idle store takes a checkpoint when the last one is this far behind: replaying less than
/// that costs less than a flush of the index.
const IDLE_CHECKPOINT_BYTES: u64 = 1 << 20;
/// About what a leaf takes in the backing store.
const LEAF_ROW_BYTES: u64 = 6 << 10;
/// How often segments are looked at that a snapshot keeps.
const RETIRED_LOOK: Duration = Duration::from_secs(1);
/// How long an expired item stays before it is swept.
const SWEEP_GRACE: Duration = Duration::from_secs(2);
/// When compaction is tried again after it failed.
const COMPACTION_DELAY: Duration = Duration::from_secs(60);

/// What the threads are asked to do, and the threads.
#[derive(Debug)]
pub(crate) struct Background {
    sync_interval: Option<Duration>,
    deadlines: Mutex<Deadlines>,
    woken: Condvar,
    sync_requested: AtomicBool,
    /// Whether the sync that was requested is to begin at once.
    sync_is_urgent: AtomicBool,
    /// How many watches there are; each holds it as a [`Watching`].
    watches: Arc<AtomicU64>,
    /// How many commits there were, and [`IDLE`].
    commits: AtomicU64,
    /// Whether there is something that upkeep can compact.
    behind: AtomicBool,
    /// How long each write waits for compaction to keep up, in microseconds.
    write_delay_us: AtomicU64,
    /// Whether runs before this one left so much that its first write does it.
    backlog: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Deadlines {
    stop: bool,
    sync_at: Option<Instant>,
    tick_at: Option<Instant>,
}

impl Deadlines {
    /// Makes upkeep look at this time at the latest; who wished before may wish for less.
    fn wake_by(&mut self, at: Option<Instant>) {
        self.tick_at = [self.tick_at, at].into_iter().flatten().min();
    }

    /// Makes a sync begin at this time at the latest.
    fn sync_by(&mut self, at: Option<Instant>) {
        self.sync_at = [self.sync_at, at].into_iter().flatten().min();
    }
}

/// Counts as a watch until it is dropped.
#[derive(Debug)]
pub(crate) struct Watching(Arc<AtomicU64>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Background {
    /// `sync_interval` is how long a written commit may stay un-synced, `None` where each writer
    /// syncs for itself.
    pub(crate) fn new(sync_interval: Option<Duration>) -> Self {
        Self {
            sync_interval,
            deadlines: Mutex::default(),
            woken: Condvar::new(),
            sync_requested: AtomicBool::new(false),
            sync_is_urgent: AtomicBool::new(false),
            watches: Arc::new(AtomicU64::new(0)),
            commits: AtomicU64::new(IDLE),
            behind: AtomicBool::new(false),
            write_delay_us: AtomicU64::new(0),
            backlog: AtomicBool::new(false),
            threads: Mutex::default(),
        }
    }

    /// Starts the threads, which end with [`stop`](Self::stop).
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<()> {
        let background = shared.background();
        let backlog = shared.engine().is_ok_and(|engine| has_backlog(&engine));
        background.backlog.store(backlog, Ordering::Relaxed);
        let spawn = |name: &str, body: fn(&Background, &Shared)| {
            let own = Arc::clone(shared);
            let body = move || body(own.background(), &own);
            let thread = thread::Builder::new().name(name.to_owned()).spawn(body)?;
            background.threads.lock().push(thread);
            Ok(())
        };
        if background.sync_interval.is_some() {
            spawn("ifmatch-sync", Self::run_syncs)?;
        }
        spawn("ifmatch-upkeep", Self::run_upkeep)
    }

    /// Says that a commit was written.
    pub(crate) fn note_commit(&self) {
        // Upkeep rests only if the count is still the one that it has seen.
        let rests = self.commits.fetch_add(1, Ordering::AcqRel) & IDLE != 0;
        let tell = rests && self.commits.fetch_and(!IDLE, Ordering::AcqRel) & IDLE != 0;
        let sync_within = self.sync_interval.and_then(|interval| self.request_sync(interval));
        if tell || sync_within.is_some() {
            let mut deadlines = self.deadlines.lock();
            let now = Instant::now();
            if tell {
                deadlines.wake_by(Some(now + TICK));
            }
            if let Some(interval) = sync_within {
                deadlines.sync_by(now.checked_add(interval));
            }
            self.woken.notify_all();
        }
    }

    /// Says how soon a sync is wanted, if it was not said since the last sync began.
    fn request_sync(&self, interval: Duration) -> Option<Duration> {
        let is_first =
            |said: &AtomicBool| !said.load(Ordering::Relaxed) && !said.swap(true, Ordering::AcqRel);
        if self.watches.load(Ordering::Acquire) > 0 {
            return is_first(&self.sync_is_urgent).then_some(Duration::ZERO);
        }
        is_first(&self.sync_requested).then_some(interval)
    }

    /// Has what is written synced now, where no writer does so.
    pub(crate) fn sync_now(&self) {
        if self.sync_interval.is_some() {
            self.deadlines.lock().sync_by(Some(Instant::now()));
            self.woken.notify_all();
        }
    }

    /// Has each commit synced at once for as long as what it returns lives, and what was written
    /// before synced now.
    pub(crate) fn begin_watching(&self) -> Watching {
        self.watches.fetch_add(1, Ordering::AcqRel);
        if self.sync_interval.is_some() {
            let mut deadlines = self.deadlines.lock();
            if deadlines.sync_at.is_some() {
                deadlines.sync_by(Some(Instant::now()));
                self.woken.notify_all();
            }
        }
        Watching(Arc::clone(&self.watches))
    }

    /// Whether it is for this writer to do what runs before this one left; only the first is told.
    pub(crate) fn take_backlog(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) && self.backlog.swap(false, Ordering::Relaxed)
    }

    /// Lets a writer wait when dead bytes come into being faster than compaction reclaims them;
    /// `delay_us` tells now and then how long. No lock is held during the wait.
    pub(crate) fn wait_for_compaction(&self, delay_us: impl FnOnce() -> u64) {
        let commits = self.commits.load(Ordering::Relaxed) & !IDLE;
        if commits.is_multiple_of(DELAY_LOOK_COMMITS) {
            let behind = self.behind.load(Ordering::Relaxed);
            self.write_delay_us.store(if behind { delay_us() } else { 0 }, Ordering::Relaxed);
        }
        let delay_us = self.write_delay_us.load(Ordering::Relaxed);
        // One of some writes waits for all of them: short waits take longer than they should.
        if delay_us > 0 && commits.is_multiple_of(DELAYED_COMMITS) {
            std::thread::sleep(Duration::from_micros(delay_us * DELAYED_COMMITS));
        }
    }

    /// Ends the threads and waits for them, except for the caller's own.
    pub(crate) fn stop(&self) {
        self.deadlines.lock().stop = true;
        self.woken.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        let others = threads.into_iter().filter(|t| t.thread().id() != thread::current().id());
        for thread in others {
            if thread.join().is_err() {
                log::error!(
                    "one of the store's background threads panicked before the store was closed, \
                     so its syncs or its upkeep were not done; the panic's own message says why"
                );
            }
        }
    }

    pub(crate) fn run_syncs(&self, shared: &Shared) {
        while self.wait_until_due(|deadlines| &mut deadlines.sync_at) {
            if self.sync(shared).is_err() {
                return;
            }
        }
    }

    fn run_upkeep(&self, shared: &Shared) {
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

    /// Waits for one of the wishes to be due and takes it; false when the store closes.
    fn wait_until_due(&self, deadline: fn(&mut Deadlines) -> &mut Option<Instant>) -> bool {
        let mut deadlines = self.deadlines.lock();
        loop {
            if deadlines.stop {
                return false;
            }
            match *deadline(&mut deadlines) {
                Some(at) if at <= Instant::now() => {
                    *deadline(&mut deadlines) = None;
                    return true;
                }
                Some(at) => deadlines = self.woken.wait_until(deadlines, at),
                None => deadlines = self.woken.wait(deadlines),
            }
        }
    }

    fn sync(&self, shared: &Shared) -> Result<(), Error> {
        // Before the sync: whatever is written during it wishes for another.
        self.sync_requested.store(false, Ordering::Release);
        self.sync_is_urgent.store(false, Ordering::Release);
        let synced = shared.engine()?.journal.sync();
        synced.map(drop).map_err(|failure| {
            log::error!(
                "the store accepts no more writes until it is reopened, since its journal could \
                 not be synced: {}",
                failure.cause
            );
            failure.into()
        })
    }

    /// Takes a checkpoint when a segment was sealed since the last one, or when a pause follows
    /// enough writing, and compacts what is worth it; goes on looking while there are writes.
    fn tick(&self, shared: &Shared, seen: &mut Seen) -> Result<(), Error> {
        let commits = self.look();
        seen.ticks_at_rest = if commits == seen.commits { seen.ticks_at_rest + 1 } else { 0 };
        seen.commits = commits;
        let idle = seen.ticks_at_rest >= IDLE_TICKS;
        loop {
            self.checkpoint(shared, seen, idle)?;
            let more = self.compact(shared, seen)?;
            self.behind.store(more, Ordering::Relaxed);
            if !more {
                break;
            }
        }
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

    /// Returns the number of commits; from now on upkeep need not be notified of more.
    pub(crate) fn look(&self) -> u64 {
        self.commits.fetch_and(!IDLE, Ordering::AcqRel) & !IDLE
    }

    /// Lets upkeep look again at this time at the latest and with the next commit, or soon if there
    /// were others than these.
    pub(crate) fn idle(&self, commits: u64, until: Option<Instant>) {
        let resting = commits | IDLE;
        let rests =
            self.commits.compare_exchange(commits, resting, Ordering::AcqRel, Ordering::Acquire);
        let again_at = if rests.is_ok() { until } else { Some(Instant::now() + TICK) };
        self.deadlines.lock().wake_by(again_at);
    }

    /// When upkeep looks again without being told of a commit.
    #[cfg(test)]
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.deadlines.lock().tick_at
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
            // A pass under way goes on; the next begins when an item has been expired for a while,
            // so that one that is written again at once keeps its chain of parents.
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

    fn checkpoint(&self, shared: &Shared, seen: &mut Seen, idle: bool) -> Result<(), Error> {
        let engine = shared.engine()?;
        let position = engine.journal.position();
        // Not in a run that only reads: it may have a full disk, which a flush does not survive.
        if position.appended_bytes == 0 {
            return Ok(());
        }
        let written_bytes = seen.replayed_bytes + position.appended_bytes;
        let behind = written_bytes.saturating_sub(seen.checkpoint_bytes);
        let sealed = position.segment != seen.checkpoint_segment;
        let live = engine.journal.segments().total_live_bytes();
        let index_bytes = engine.index.leaves() * LEAF_ROW_BYTES;
        let enough = BUSY_CHECKPOINT_BYTES.min(live / 4).max(IDLE_CHECKPOINT_BYTES);
        // Scattered writes change most leaves: to write them is worth as much of the journal.
        let enough = enough.max(index_bytes / 2);
        // Each run that is not closed leaves a segment, and only what is covered is compacted.
        let many = engine.journal.uncovered_segments().len() >= MANY_SMALL_SEGMENTS;
        let full = engine.index.wants_checkpoint();
        // What compaction has replaced is dropped by a checkpoint.
        let retired = idle && !engine.journal.retired_segments().is_empty();
        let retired = retired && !engine.moves_are_durable();
        let idle = idle && behind >= IDLE_CHECKPOINT_BYTES;
        if (sealed && behind >= enough) || idle || many || full || retired {
            match engine.checkpoint() {
                // The next one is due after as much again.
                Err(error) if can_be_put_off(&error) && !engine.journal.is_poisoned() => {
                    log::warn!("a checkpoint is put off and will be tried again: {error}");
                }
                taken => {
                    taken.inspect_err(|error| {
                        log::error!("a checkpoint failed, and the store's upkeep ends: {error}");
                    })?;
                }
            }
            seen.checkpoint_segment = position.segment;
            seen.checkpoint_bytes = written_bytes;
        }
        Ok(())
    }

    /// Compacts one piece, if one is worth it; what cannot be compacted now, as when the disk is
    /// full, is tried again later.
    fn compact(&self, shared: &Shared, seen: &mut Seen) -> Result<bool, Error> {
        if seen.compact_at.is_some_and(|at| at > Instant::now()) {
            return Ok(false);
        }
        match compact_some(shared, Throttle::HalfTime, || {
            self.behind.store(true, Ordering::Relaxed)
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

/// Whether upkeep goes on after this error and tries again later: the system refused a call, or
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
struct Seen {
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
