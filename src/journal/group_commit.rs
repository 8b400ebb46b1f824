//! Group commit: one waiting thread writes and syncs for all.
//!
//! A thread that waits and finds nobody at work leads: it writes the buffer for all, syncs if that
//! is what it waits for, and wakes the threads whose goal is reached. If others are left, it wakes
//! one of them to lead next. The leader holds no lock while it works, and none when it wakes.
//! Writing and syncing have a leader each, so that an `Eventual` write does not wait for a sync.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use crate::journal::append::{Journal, pack};
use crate::journal::in_flight::Flight;
use crate::journal::poison::CommitFailure;
use crate::journal::state::State;
use crate::journal::waiters::{Call, Goal, Need, Woken};
use crate::seams::sync::{MutexGuard, Ordering, spin_briefly};
use crate::storage::DiskFile;
use crate::values::error::{FailedCall, Result};
use crate::values::options::Durability;

/// A buffer larger than this is freed after it was written.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// How often a writer looks whether another has written its frame, before it sleeps until then.
#[cfg(not(all(test, loom)))]
const LOOKS: u32 = 40;
/// In models once: loom knows no time that passes.
#[cfg(all(test, loom))]
const LOOKS: u32 = 1;

impl Journal {
    /// Waits until a goal is reached, and leads where nobody does. Wakes `woken` once the lock is
    /// released. Holds no lock when it returns.
    ///
    /// # Errors
    /// [`CommitFailure`] once writing has ended.
    pub(super) fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        goal: Goal,
        mut woken: Woken,
    ) -> Result<(), CommitFailure> {
        let mut looks = 0;
        loop {
            let Some(need) = goal.need(self.marks()) else { return Ok(()) };
            if state.failed {
                return Err(CommitFailure { source: None, cause: self.poison_cause() });
            }
            match (state.obstacle(need, goal), need) {
                (None, Need::Sync) => self.lead_sync(state, &mut woken)?,
                (None, _) => self.lead_write(state, &mut woken)?,
                (Some(_), Need::Write | Need::Apply) if looks < LOOKS => {
                    drop(state);
                    woken.wake();
                    self.watch(goal, &mut looks);
                }
                (Some(obstacle), _) => {
                    let seat = state.waiters.add(goal, obstacle);
                    drop(state);
                    woken.wake();
                    if seat.wait() == Call::Reached {
                        return Ok(());
                    }
                }
            }
            if self.is_reached(goal) {
                return Ok(());
            }
            state = self.lock();
        }
    }

    /// Whether a goal is reached and published. Takes no lock: under the journal's lock the marks
    /// move first, and what is durable is published after them.
    fn is_reached(&self, goal: Goal) -> bool {
        goal.need(self.marks()).is_none() && self.durable() >= goal.synced.min(goal.applied)
    }

    /// Lets the leader that is writing finish, for some microseconds: sleeping and being woken
    /// takes longer than most writes.
    fn watch(&self, goal: Goal, looks: &mut u32) {
        let before = self.written.load(Ordering::Acquire);
        while *looks < LOOKS {
            *looks += 1;
            spin_briefly();
            let marks = self.marks();
            if marks.written > before || goal.need(marks).is_none() {
                return;
            }
        }
    }

    /// Moves the mark of what is written.
    pub(super) fn set_written(&self, state: &mut State, revision: u64) {
        state.written = revision;
        self.written.store(revision, Ordering::Release);
    }

    /// Moves the mark of what is synced.
    pub(super) fn set_synced(&self, state: &mut State, revision: u64) {
        state.synced = state.synced.max(revision);
        self.synced.store(state.synced, Ordering::Release);
        self.publish_durable(state);
    }

    /// Moves the waiters for whom this was done to `woken`, to be woken when no lock is held.
    pub(super) fn release(&self, state: &mut State, done: Need, woken: &mut Woken) {
        let led = match done {
            Need::Sync => state.syncing,
            Need::Write => state.writing,
            Need::Apply => false,
        };
        state.waiters.release(done, self.marks(), led, woken);
        if state.idle_waiters > 0 && !state.writing && !state.syncing {
            self.idle.notify_all();
        }
    }

    /// Writes what is buffered on behalf of everyone, and wakes those who wait for it.
    fn lead_write<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        woken: &mut Woken,
    ) -> Result<(), CommitFailure> {
        let mut state = self.write_buffer(state, woken)?;
        // Also the threads that wait to sync what was being written.
        self.release(&mut state, Need::Write, woken);
        drop(state);
        woken.wake();
        Ok(())
    }

    /// Writes the buffer to the active segment.
    fn write_buffer<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        woken: &mut Woken,
    ) -> Result<MutexGuard<'a, State>, CommitFailure> {
        debug_assert!(!state.writing);
        let goal = state.appended;
        let Some((file, flight)) = state.take_buffer() else { return Ok(state) };
        state.writing = true;
        drop(state);
        woken.wake();

        let release = self.poison_on_panic();
        let result = file.write_all_at(&flight.bytes, flight.offset);
        mem::forget(release);

        let mut state = self.lock();
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
        woken: &mut Woken,
    ) -> Result<(), CommitFailure> {
        debug_assert!(!state.syncing);
        state.syncing = true;
        state = self.gather(state, woken);
        if state.failed {
            // Frames before those in the buffer may be missing in the file.
            state.syncing = false;
            return Err(CommitFailure { source: None, cause: self.poison_cause() });
        }
        if !state.buffer.is_empty() && !state.writing {
            let written = self.write_buffer(state, woken);
            state = written.inspect_err(|_| self.lock().syncing = false)?;
            // `Eventual` writers need not wait for the sync.
            self.release(&mut state, Need::Write, woken);
        }
        let goal = state.written;
        let active = state.active.as_ref();
        let active = active.map(|active| (active.number, Arc::clone(&active.file)));
        let watermark = state.watermark.take();
        drop(state);
        woken.wake();
        let began = Instant::now();

        let release = self.poison_on_panic();
        let result = active.as_ref().map_or(Ok(()), |(_, file)| file.sync_data());
        let took = began.elapsed();
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

        let mut state = self.lock();
        state.syncing = false;
        state.watermark = watermark;
        if let Err(error) = result {
            let segment = active.map_or(0, |(number, _)| number);
            return Err(self.fail_at(&mut state, "syncing", segment, error));
        }
        let covered = goal.saturating_sub(state.synced_in_session());
        let came = state.appended - goal;
        state.gathering.note(covered, came, took);
        self.set_synced(&mut state, goal);
        self.release(&mut state, Need::Sync, woken);
        drop(state);
        woken.wake();
        Ok(())
    }

    /// Waits for writers that will want the same sync, where that pays.
    fn gather<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        woken: &mut Woken,
    ) -> MutexGuard<'a, State> {
        // A thread that waits for the leader to end holds up the writers that would come.
        if self.durability == Durability::Eventual || state.idle_waiters > 0 {
            return state;
        }
        let synced = state.synced_in_session();
        let come = state.appended.saturating_sub(synced);
        let Some((count, longest)) = state.gathering.begin(come) else { return state };
        drop(state);
        woken.wake();
        let all = self.await_commits(synced, count, longest);
        let mut state = self.lock();
        state.gathering.end(count - come, all - come);
        state
    }

    /// Ends writing because the system refused a call to a segment's file.
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
            state.idle_waiters += 1;
            state = self.idle.wait(state);
            state.idle_waiters -= 1;
        }
        state
    }
}

impl State {
    /// What somebody else does before this can be done. A thread that wants a sync while one is
    /// under way waits for the next, which covers everything appended until it begins. A write need
    /// not wait for a sync, nor a sync for a write that it need not cover.
    fn obstacle(&self, need: Need, goal: Goal) -> Option<Need> {
        let busy = match need {
            Need::Sync if self.syncing => true,
            Need::Sync if self.writing && self.written < goal.written => {
                return Some(Need::Write);
            }
            Need::Sync => false,
            Need::Write => self.writing,
            Need::Apply => true,
        };
        busy.then_some(need)
    }

    /// Takes the buffered frames, leaving them readable, with the file that they belong to.
    fn take_buffer(&mut self) -> Option<(Arc<dyn DiskFile>, Arc<Flight>)> {
        let active = self.active.as_ref().filter(|_| !self.buffer.is_empty())?;
        let mut flight = self.spare.take().unwrap_or_default();
        #[expect(clippy::expect_used, reason = "`recycle` keeps what nobody else has")]
        let taken = Arc::get_mut(&mut flight).expect("a spare flight is not shared");
        mem::swap(&mut self.buffer, &mut taken.bytes);
        taken.segment = active.number;
        taken.offset = active.tail.offset - taken.bytes.len() as u64;
        self.flight = Some(Arc::clone(&flight));
        Some((Arc::clone(&active.file), flight))
    }

    fn recycle(&mut self, mut flight: Arc<Flight>) {
        self.flight = None;
        if let Some(written) = Arc::get_mut(&mut flight)
            && written.bytes.capacity() <= KEPT_BUFFER_BYTES
        {
            written.bytes.clear();
            self.spare = Some(flight);
        }
    }
}
