//! Group commit: one of those who wait writes and syncs for all.
//!
//! Whoever waits and finds nobody at work leads: it writes the buffer for all, syncs if that is
//! what is waited for, and wakes everyone once. The leader holds no lock while it does. Writing
//! and syncing have a leader each, so that an `Eventual` write does not wait for a sync.

use std::io;
use std::mem;
use std::sync::Arc;

use crate::journal::append::{CommitFailure, Journal, State, pack};
use crate::journal::in_flight::Flight;
use crate::seams::sync::{MutexGuard, Ordering};
use crate::storage::DiskFile;
use crate::values::error::{FailedCall, Result};
use crate::values::options::Durability;

/// A buffer larger than this is given back to the allocator after it was written.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// How often a writer looks whether another has written its frame, before it sleeps until then.
#[cfg(not(all(test, loom)))]
const LOOKS: u32 = 24;
/// In models once: loom knows no time that passes.
#[cfg(all(test, loom))]
const LOOKS: u32 = 1;
/// How many of the looks follow each other closely; after each of the others another thread may
/// have the processor.
const CLOSE_LOOKS: u32 = 8;

/// How far a commit must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Written,
    Synced,
}

impl Journal {
    /// Waits until a commit is written or synced, and leads where nobody does.
    pub(super) fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        revision: u64,
        level: Level,
    ) -> Result<MutexGuard<'a, State>, CommitFailure> {
        loop {
            let reached = match level {
                Level::Written => state.written >= revision,
                Level::Synced => state.synced >= revision,
            };
            if reached {
                return Ok(state);
            }
            if state.failed {
                return Err(CommitFailure { source: None, cause: self.poison_cause() });
            }
            // Whoever wants a sync while one is under way waits for the next, which will cover
            // all that gathered in the meantime. A write need not wait for a sync, nor a sync for a
            // write that it need not cover.
            let busy = match level {
                Level::Written => state.writing,
                Level::Synced => state.syncing || (state.writing && state.written < revision),
            };
            state = match (busy, level) {
                (true, _) => self.changed.wait(state),
                (false, Level::Written) => {
                    let state = self.lead_write(state)?;
                    // Also those who wait to sync what was being written.
                    self.changed.notify_all();
                    state
                }
                (false, Level::Synced) => self.lead_sync(state)?,
            };
        }
    }

    /// Lets the leader that is writing finish, for some microseconds, and tells whether a commit is
    /// written, and applied with all before it, by then. To sleep and be woken takes longer than
    /// most writes.
    pub(super) fn watch_written<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        revision: u64,
    ) -> Option<MutexGuard<'a, State>> {
        let mut looks = 0;
        while state.writing && state.written < revision && looks < LOOKS {
            let before = state.written;
            drop(state);
            let written = loop {
                let written = self.written.load(Ordering::Acquire);
                if written > before || looks == LOOKS {
                    break written;
                }
                pause(looks);
                looks += 1;
            };
            if written >= revision && self.applied.load(Ordering::Acquire) >= revision {
                return None;
            }
            state = self.state.lock();
        }
        Some(state)
    }

    /// Moves the mark of what is written.
    pub(super) fn set_written(&self, state: &mut State, revision: u64) {
        state.written = revision;
        self.written.store(revision, Ordering::Release);
    }

    /// Writes the buffer to the active segment on behalf of everyone; the caller wakes those who
    /// wait for it.
    fn lead_write<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, CommitFailure> {
        debug_assert!(!state.writing);
        let goal = state.appended;
        let Some((file, flight)) = state.take_buffer() else { return Ok(state) };
        state.writing = true;
        drop(state);

        let release = self.poison_on_panic();
        let result = file.write_all_at(&flight.bytes, flight.offset);
        mem::forget(release);

        let mut state = self.state.lock();
        state.writing = false;
        if let Err(error) = result {
            // The flight stays where readers find it: what it holds was applied.
            return Err(self.fail_at(&mut state, "writing", flight.segment, error));
        }
        self.set_written(&mut state, goal);
        let end = pack(flight.segment, flight.offset + flight.bytes.len() as u64);
        self.written_up_to.store(end, Ordering::Release);
        state.recycle(flight);
        Ok(state)
    }

    /// Writes what is left to write, and syncs the active segment on behalf of everyone.
    fn lead_sync<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, CommitFailure> {
        debug_assert!(!state.syncing);
        state.syncing = true;
        let nothing_to_write = state.buffer.is_empty() || state.writing;
        let written = if nothing_to_write { Ok(state) } else { self.lead_write(state) };
        let mut state = match written {
            Ok(state) => state,
            Err(failure) => {
                self.state.lock().syncing = false;
                return Err(failure);
            }
        };
        if !nothing_to_write && self.durability == Durability::Eventual {
            // They need not wait for the sync.
            self.changed.notify_all();
        }
        let goal = state.written;
        let active = state.active.as_ref();
        let active = active.map(|active| (active.number, Arc::clone(&active.file)));
        let watermark = state.watermark.take();
        drop(state);

        let release = self.poison_on_panic();
        let result = active.as_ref().map_or(Ok(()), |(_, file)| file.sync_data());
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let watermark = watermark.map(|mut watermark| {
            // The frames are safe already: a mark that lags only blunts the search for damage.
            if result.is_ok()
                && let Err(error) = watermark.record(goal)
            {
                log::warn!(
                    "the watermark, which helps the next open to tell damage from a torn write, \
                     could not be moved and stays where it was until the next sync: {error}"
                );
            }
            watermark
        });
        mem::forget(release);

        let mut state = self.state.lock();
        state.syncing = false;
        state.watermark = watermark;
        match result {
            Ok(()) => {
                state.synced = state.synced.max(goal);
                self.publish_durable(&state);
                self.changed.notify_all();
                Ok(state)
            }
            Err(error) => {
                let segment = active.map_or(0, |(number, _)| number);
                Err(self.fail_at(&mut state, "syncing", segment, error))
            }
        }
    }

    /// Ends writing because of what the system says of a segment's file.
    fn fail_at(
        &self,
        state: &mut State,
        operation: &'static str,
        segment: u32,
        error: io::Error,
    ) -> CommitFailure {
        self.fail(
            state,
            FailedCall { operation, path: &self.segment_path(segment), error: &error },
        );
        CommitFailure { source: Some(error), cause: self.poison_cause() }
    }

    /// Waits until nobody writes or syncs.
    pub(super) fn wait_idle<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        while (state.writing || state.syncing) && !state.failed {
            state = self.changed.wait(state);
        }
        state
    }
}

impl State {
    /// Takes the buffered frames, leaving them readable, with the file that they belong to.
    fn take_buffer(&mut self) -> Option<(Arc<dyn DiskFile>, Arc<Flight>)> {
        let active = self.active.as_ref().filter(|_| !self.buffer.is_empty())?;
        let bytes = mem::replace(&mut self.buffer, mem::take(&mut self.spare));
        let offset = active.tail.offset - bytes.len() as u64;
        let flight = Arc::new(Flight { segment: active.number, offset, bytes });
        self.flight = Some(Arc::clone(&flight));
        Some((Arc::clone(&active.file), flight))
    }

    fn recycle(&mut self, flight: Arc<Flight>) {
        self.flight = None;
        if let Some(flight) = Arc::into_inner(flight)
            && flight.bytes.capacity() <= KEPT_BUFFER_BYTES
        {
            self.spare = flight.bytes;
            self.spare.clear();
        }
    }
}

/// Passes a little time: longer from look to look.
fn pause(looks: u32) {
    if cfg!(all(test, loom)) {
        return;
    }
    if looks < CLOSE_LOOKS {
        (0..1_u32 << looks.min(5)).for_each(|_| std::hint::spin_loop());
    } else {
        std::thread::yield_now();
    }
}

/// Releases those who wait when the one that they wait for panics: a leader, or a writer between
/// appending and having applied. Forgotten when all went well.
pub(crate) struct PoisonOnPanic<'a>(&'a Journal);

impl<'a> PoisonOnPanic<'a> {
    pub(super) fn new(journal: &'a Journal) -> Self {
        Self(journal)
    }
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        self.0.poison("a thread panicked in the middle of a commit");
    }
}
