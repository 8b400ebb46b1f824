//! The store's own thread: syncs `Eventual` writes in time, and takes checkpoints.
//!
//! It sleeps without a time-out while there is nothing to do, so an idle store costs nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::Error;
use crate::store::Shared;

/// How often the thread looks while writes go on, and how long a pause makes a store idle.
const TICK: Duration = Duration::from_secs(1);
/// An idle store takes a checkpoint when the last one is this far behind: replaying less than
/// that costs less than a flush of the table.
const IDLE_CHECKPOINT_BYTES: u64 = 1 << 20;

/// What the thread is asked to do, and the thread.
#[derive(Debug)]
pub(crate) struct Background {
    sync_interval: Option<Duration>,
    wishes: Mutex<Wishes>,
    woken: Condvar,
    /// Whether the thread will look at what is written from now on without being told.
    watching: AtomicBool,
    sync_wished: AtomicBool,
    commits: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Wishes {
    stop: bool,
    sync_at: Option<Instant>,
    tick_at: Option<Instant>,
}

impl Background {
    /// `sync_interval` is how long a written commit may stay un-synced, `None` where each writer
    /// syncs for itself.
    pub(crate) fn new(sync_interval: Option<Duration>) -> Self {
        Self {
            sync_interval,
            wishes: Mutex::default(),
            woken: Condvar::new(),
            watching: AtomicBool::new(false),
            sync_wished: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            thread: Mutex::new(None),
        }
    }

    /// Starts the thread, which ends with [`stop`](Self::stop).
    pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<()> {
        let own = Arc::clone(shared);
        let body = move || own.background().run(&own);
        let thread = thread::Builder::new().name("ifmatch".to_owned()).spawn(body)?;
        *shared.background().thread.lock() = Some(thread);
        Ok(())
    }

    /// Says that a commit was written.
    pub(crate) fn note_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let watch =
            !self.watching.load(Ordering::Relaxed) && !self.watching.swap(true, Ordering::AcqRel);
        let sync_within = self.sync_interval.filter(|_| {
            !self.sync_wished.load(Ordering::Relaxed)
                && !self.sync_wished.swap(true, Ordering::AcqRel)
        });
        if watch || sync_within.is_some() {
            let mut wishes = self.wishes.lock();
            let now = Instant::now();
            if watch {
                wishes.tick_at = Some(now + TICK);
            }
            if let Some(interval) = sync_within {
                wishes.sync_at = Some(now + interval);
            }
            self.woken.notify_one();
        }
    }

    /// Ends the thread and waits for it, unless it is the caller.
    pub(crate) fn stop(&self) {
        self.wishes.lock().stop = true;
        self.woken.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id())
            && thread.join().is_err()
        {
            log::error!("the store's background thread panicked");
        }
    }

    fn run(&self, shared: &Shared) {
        let Ok(running) = shared.running() else { return };
        let checkpoint_segment = running.core.journal.position().segment;
        drop(running);
        let mut seen = Seen { checkpoint_segment, ..Seen::default() };
        loop {
            let (sync, tick) = {
                let mut wishes = self.wishes.lock();
                loop {
                    if wishes.stop {
                        return;
                    }
                    let now = Instant::now();
                    let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
                    let (sync, tick) = (due(&mut wishes.sync_at), due(&mut wishes.tick_at));
                    if sync || tick {
                        break (sync, tick);
                    }
                    match [wishes.sync_at, wishes.tick_at].into_iter().flatten().min() {
                        Some(at) => drop(self.woken.wait_until(&mut wishes, at)),
                        None => self.woken.wait(&mut wishes),
                    }
                }
            };
            if sync && self.sync(shared).is_err() {
                return;
            }
            if tick && self.tick(shared, &mut seen).is_err() {
                return;
            }
        }
    }

    fn sync(&self, shared: &Shared) -> Result<(), Error> {
        // Before the sync: whatever is written during it wishes for another.
        self.sync_wished.store(false, Ordering::Release);
        let synced = shared.running()?.core.journal.sync();
        synced.map(drop).map_err(|failure| {
            log::error!("syncing the journal failed: {:?}", failure.source);
            Error::Poisoned
        })
    }

    /// Takes a checkpoint when a segment was sealed since the last one, or when a pause follows
    /// enough writing; goes on looking while there are writes.
    fn tick(&self, shared: &Shared, seen: &mut Seen) -> Result<(), Error> {
        let running = shared.running()?;
        let commits = self.commits.load(Ordering::Relaxed);
        let idle = commits == seen.commits;
        seen.commits = commits;
        let position = running.core.journal.position();
        let behind = position.appended_bytes.saturating_sub(seen.checkpoint_bytes);
        let sealed = position.segment != seen.checkpoint_segment;
        if sealed || (idle && behind >= IDLE_CHECKPOINT_BYTES) {
            match running.checkpoint() {
                Ok(()) => {
                    seen.checkpoint_segment = position.segment;
                    seen.checkpoint_bytes = position.appended_bytes;
                }
                Err(error) => {
                    log::error!("a checkpoint failed: {error}");
                    return Err(error);
                }
            }
        }
        if idle {
            self.watching.store(false, Ordering::Release);
            if self.commits.load(Ordering::Acquire) == commits {
                return Ok(());
            }
            self.watching.store(true, Ordering::Release);
        }
        self.wishes.lock().tick_at = Some(Instant::now() + TICK);
        Ok(())
    }
}

/// What the thread saw when it last looked.
#[derive(Debug, Default)]
struct Seen {
    commits: u64,
    checkpoint_segment: u32,
    checkpoint_bytes: u64,
}
