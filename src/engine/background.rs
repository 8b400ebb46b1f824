//! The store's own threads. One syncs `Eventual` writes in time. One does the upkeep, so that no
//! sync waits for it: it takes checkpoints, compacts and sweeps expired items.
//!
//! They sleep without a time-out while there is nothing to do, so an idle store costs nothing.

mod upkeep;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::compaction::has_backlog;
use crate::engine::shared::Shared;
use crate::seams::sync::thread::{self, JoinHandle};
use crate::seams::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};
use crate::values::error::Error;

/// The bit of [`Background::commits`] that is set while upkeep looks again only on request.
const IDLE: u64 = 1 << 63;
/// The number of commits after which the wait of each is computed again.
const DELAY_LOOK_COMMITS: u64 = 256;
/// One write in this number waits, for as long as all of them should.
const DELAYED_COMMITS: u64 = 32;
/// How often upkeep looks while there are writes.
#[cfg(not(all(test, loom)))]
const TICK: Duration = Duration::from_millis(100);
/// In models never: the progress after some time differs from run to run.
#[cfg(all(test, loom))]
const TICK: Duration = Duration::from_secs(1 << 20);

/// The background threads, and the requests to them.
#[derive(Debug)]
pub(crate) struct Background {
    sync_interval: Option<Duration>,
    deadlines: Mutex<Deadlines>,
    woken: Condvar,
    sync_requested: AtomicBool,
    /// Whether the sync that was requested is to begin at once.
    sync_is_urgent: AtomicBool,
    /// Whether the active segment is nearly full.
    seal_is_near: AtomicBool,
    /// How many watches there are; each holds it as a [`Watching`].
    watches: Arc<AtomicU64>,
    /// How many commits there were, and [`IDLE`].
    commits: AtomicU64,
    /// Whether there is something that upkeep can compact.
    can_compact: AtomicBool,
    /// How long each write waits for compaction to keep up, in microseconds.
    write_delay_us: AtomicU64,
    /// Whether earlier sessions left so large a backlog that this session's first write works it
    /// off.
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
    /// Makes upkeep look at this time at the latest; an earlier request stays.
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
            seal_is_near: AtomicBool::new(false),
            watches: Arc::new(AtomicU64::new(0)),
            commits: AtomicU64::new(IDLE),
            can_compact: AtomicBool::new(false),
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

    /// Notes that a commit was written, and wakes the threads that it gives work to.
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

    /// Requests a sync; returns how soon it is wanted, or `None` if one was requested already since
    /// the last sync began.
    fn request_sync(&self, interval: Duration) -> Option<Duration> {
        let is_first =
            |said: &AtomicBool| !said.load(Ordering::Relaxed) && !said.swap(true, Ordering::AcqRel);
        if self.watches.load(Ordering::Acquire) > 0 {
            return is_first(&self.sync_is_urgent).then_some(Duration::ZERO);
        }
        is_first(&self.sync_requested).then_some(interval)
    }

    /// Makes the sync thread prepare the next segment and sync what is written now. Returns false
    /// if there is no such thread, as each writer syncs for itself.
    pub(crate) fn prepare_seal(&self) -> bool {
        if self.sync_interval.is_none() {
            return false;
        }
        self.seal_is_near.store(true, Ordering::Release);
        self.deadlines.lock().sync_by(Some(Instant::now()));
        self.woken.notify_all();
        true
    }

    /// Makes the sync thread sync each commit at once for as long as the returned guard lives, and
    /// sync what was written before now.
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

    /// Whether the caller has to work off the backlog of earlier sessions; true for one caller
    /// only.
    pub(crate) fn take_backlog(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) && self.backlog.swap(false, Ordering::Relaxed)
    }

    /// Lets a writer wait when writers make dead bytes faster than compaction reclaims them.
    /// `delay_us` computes the wait; it is called once in a while. No lock is held during the wait.
    pub(crate) fn wait_for_compaction(&self, delay_us: impl FnOnce() -> u64) {
        let commits = self.commits.load(Ordering::Relaxed) & !IDLE;
        if commits.is_multiple_of(DELAY_LOOK_COMMITS) {
            let can_compact = self.can_compact.load(Ordering::Relaxed);
            self.write_delay_us.store(if can_compact { delay_us() } else { 0 }, Ordering::Relaxed);
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

    /// Waits until a deadline has passed and clears it; false when the store closes.
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
        // Before the sync: what is written during it requests another.
        self.sync_requested.store(false, Ordering::Release);
        self.sync_is_urgent.store(false, Ordering::Release);
        let engine = shared.engine()?;
        if self.seal_is_near.swap(false, Ordering::AcqRel) {
            engine.journal.prepare_segment();
        }
        let synced = engine.journal.sync();
        synced.map(drop).map_err(|failure| {
            log::error!(
                "the store accepts no more writes until it is reopened, since its journal could \
                 not be synced: {}",
                failure.cause
            );
            failure.into()
        })
    }

    /// Returns the number of commits; from now on upkeep need not be notified of more.
    pub(crate) fn look(&self) -> u64 {
        self.commits.fetch_and(!IDLE, Ordering::AcqRel) & !IDLE
    }

    /// Lets upkeep look again at `until` at the latest and with the next commit, or soon if there
    /// were commits after the number that it has seen.
    pub(crate) fn idle(&self, commits: u64, until: Option<Instant>) {
        let resting = commits | IDLE;
        let rests =
            self.commits.compare_exchange(commits, resting, Ordering::AcqRel, Ordering::Acquire);
        let again_at = if rests.is_ok() { until } else { Some(Instant::now() + TICK) };
        self.deadlines.lock().wake_by(again_at);
    }

    /// When upkeep looks again if there is no commit.
    #[cfg(test)]
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.deadlines.lock().tick_at
    }
}

#[cfg(all(test, not(loom), feature = "stream"))]
mod tests;
