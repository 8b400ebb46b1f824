//! The threads that wait for the journal, each at a seat of its own.
//!
//! No two threads share a signal. A thread that is woken has what it waits for, and then takes no
//! lock, or it leads next. A leader wakes when it holds no lock; a rotation and
//! a failure, which are rare, wake under the journal's.
//!
//! Whenever the journal's lock is released and someone waits for a write or a sync, somebody leads
//! that, or one was taken out and woken to look, and will lead unless another does.
//!
//! **Lock order:** a seat's lock is taken last of all, and nothing else under it.

use std::mem;
use std::sync::Arc;

#[cfg(test)]
use crate::journal::append::Journal;
use crate::seams::sync::{Condvar, Mutex};

/// How far the journal has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub(super) written: u64,
    pub(super) synced: u64,
    pub(super) applied: u64,
}

/// Revisions that the journal must reach, each 0 where it does not matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub(super) written: u64,
    pub(super) synced: u64,
    pub(super) applied: u64,
}

/// What has to be done next for a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Sync,
    Write,
    /// Another writer is about to do it.
    Apply,
}

impl Goal {
    pub(super) fn written(revision: u64) -> Self {
        Self { written: revision, synced: 0, applied: 0 }
    }

    pub(super) fn synced(revision: u64) -> Self {
        Self { written: revision, synced: revision, applied: 0 }
    }

    pub(super) fn applied(revision: u64) -> Self {
        Self { written: 0, synced: 0, applied: revision }
    }

    /// The same, and applied.
    pub(super) fn and_applied(self) -> Self {
        Self { applied: self.written, ..self }
    }

    /// What is to be done next; `None` when the goal is reached.
    pub(super) fn need(&self, marks: Marks) -> Option<Need> {
        if marks.synced < self.synced {
            Some(Need::Sync)
        } else if marks.written < self.written {
            Some(Need::Write)
        } else {
            (marks.applied < self.applied).then_some(Need::Apply)
        }
    }
}

/// The threads that sleep, by what they wait for, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    write: Vec<Waiter>,
    sync: Vec<Waiter>,
    apply: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    goal: Goal,
    seat: Arc<Seat>,
}

/// What a thread that is woken finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Its goal is reached.
    Reached,
    /// Something else: it looks at the state, and leads where nobody does.
    Look,
}

/// Where one thread sleeps.
#[derive(Debug)]
pub(super) struct Seat {
    call: Mutex<Option<Call>>,
    called: Condvar,
}

/// The threads to wake once no lock is held. Wakes them when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Woken(Vec<(Arc<Seat>, Call)>);

impl Waiters {
    /// Adds a thread that waits for this to be done; returns its seat.
    pub(super) fn add(&mut self, goal: Goal, wait_for: Need) -> Arc<Seat> {
        let seat = Arc::new(Seat { call: Mutex::new(None), called: Condvar::new() });
        self.list(wait_for).push(Waiter { goal, seat: Arc::clone(&seat) });
        seat
    }

    /// Removes the waiters for whom this was done, so that they can be woken. `led` says whether
    /// somebody continues to do it. If not, the first waiter that is left is removed too, to lead.
    pub(super) fn release(&mut self, done: Need, marks: Marks, led: bool, woken: &mut Woken) {
        if self.list(done).is_empty() {
            return;
        }
        for waiter in mem::take(self.list(done)) {
            match waiter.goal.need(marks) {
                None => woken.0.push((waiter.seat, Call::Reached)),
                Some(need) if need == done => self.list(done).push(waiter),
                Some(Need::Apply) => self.apply.push(waiter),
                Some(_) => woken.0.push((waiter.seat, Call::Look)),
            }
        }
        if !led && done != Need::Apply && !self.list(done).is_empty() {
            let next = self.list(done).remove(0);
            woken.0.insert(0, (next.seat, Call::Look));
        }
    }

    /// Removes every waiter, to be woken.
    pub(super) fn release_all(&mut self, woken: &mut Woken) {
        for list in [&mut self.write, &mut self.sync, &mut self.apply] {
            woken.0.extend(list.drain(..).map(|waiter| (waiter.seat, Call::Look)));
        }
    }

    fn list(&mut self, need: Need) -> &mut Vec<Waiter> {
        match need {
            Need::Write => &mut self.write,
            Need::Sync => &mut self.sync,
            Need::Apply => &mut self.apply,
        }
    }
}

impl Seat {
    /// Sleeps until called.
    pub(super) fn wait(&self) -> Call {
        let mut call = self.call.lock();
        loop {
            if let Some(call) = *call {
                return call;
            }
            call = self.called.wait(call);
        }
    }
}

impl Woken {
    /// Wakes them, in order.
    #[inline]
    pub(super) fn wake(&mut self) {
        // Mostly there is none.
        if self.0.is_empty() {
            return;
        }
        for (seat, call) in self.0.drain(..) {
            *seat.call.lock() = Some(call);
            seat.called.notify_all();
        }
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        self.wake();
    }
}

#[cfg(test)]
impl Journal {
    /// Waits as a writer does until everything appended is synced by somebody else. The function
    /// that it returns says whether it was woken for that.
    pub(crate) fn stand_in_line(&self) -> impl Fn() -> bool {
        let mut state = self.lock();
        let goal = Goal::synced(state.appended);
        let seat = state.waiters.add(goal, Need::Sync);
        move || *seat.call.lock() == Some(Call::Reached)
    }
}
