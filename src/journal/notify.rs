//! Waking the threads and tasks that follow the journal: when more is durable, when writing has
//! ended, and when the store is closed.
//!
//! **Lock order:** the notifier's lock is taken last of all, and nothing else under it. A task's
//! waker is the user's code, so it is called, and dropped, under none of our locks: a thread that
//! raises the signal only notes that there are tasks to wake, and [`WakeLater`] wakes them when the
//! operation has released everything.

use std::time::Instant;

use crate::seams::sync::{Condvar, Mutex};

/// The journal's status, and the threads and tasks that wait for a change of it.
#[derive(Debug)]
pub(crate) struct Notifier {
    state: Mutex<State>,
    raised: Condvar,
    #[cfg(feature = "stream")]
    due: std::sync::atomic::AtomicBool,
}

/// The state of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalStatus {
    pub(crate) durable: u64,
    /// Whether writing has ended.
    pub(crate) failed: bool,
    pub(crate) closed: bool,
}

impl JournalStatus {
    /// Whether a follower that has seen everything up to a revision has a reason to look again.
    fn is_beyond(&self, seen: u64) -> bool {
        self.durable > seen || self.failed || self.closed
    }
}

#[derive(Debug)]
struct State {
    status: JournalStatus,
    #[cfg(feature = "stream")]
    tasks: tasks::Tasks,
}

impl Notifier {
    pub(crate) fn new(durable: u64) -> Self {
        Self {
            state: Mutex::new(State {
                status: JournalStatus { durable, failed: false, closed: false },
                #[cfg(feature = "stream")]
                tasks: tasks::Tasks::default(),
            }),
            raised: Condvar::new(),
            #[cfg(feature = "stream")]
            due: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Notes that everything up to this revision is durable.
    pub(crate) fn advance(&self, durable: u64) {
        self.raise(|status| status.durable = status.durable.max(durable));
    }

    /// Notes that writing has ended.
    pub(crate) fn fail(&self) {
        self.raise(|status| status.failed = true);
    }

    /// Notes that the store is closed. Called under no lock.
    pub(crate) fn close(&self) {
        self.raise(|status| status.closed = true);
        self.wake();
    }

    pub(crate) fn status(&self) -> JournalStatus {
        self.state.lock().status
    }

    /// Waits until a follower that has seen everything up to a revision has a reason to look again;
    /// `false` if `until` passes before.
    pub(crate) fn wait(&self, seen: u64, until: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while !state.status.is_beyond(seen) {
            state = match until {
                None => self.raised.wait(state),
                Some(until) if Instant::now() >= until => return false,
                Some(until) => self.raised.wait_until(state, until),
            };
        }
        true
    }

    /// Returns a guard. When it is dropped, it wakes the tasks that there is news for.
    pub(crate) fn wake_later(&self) -> WakeLater<'_> {
        WakeLater(self)
    }

    fn wake(&self) {
        // Without the feature there are no tasks.
        #[cfg(feature = "stream")]
        self.wake_tasks();
    }

    fn raise(&self, change: impl FnOnce(&mut JournalStatus)) {
        let mut state = self.state.lock();
        change(&mut state.status);
        #[cfg(feature = "stream")]
        if state.tasks.are_waiting() {
            self.due.store(true, std::sync::atomic::Ordering::Release);
        }
        self.raised.notify_all();
    }
}

/// Wakes tasks when it is dropped.
pub(crate) struct WakeLater<'a>(&'a Notifier);

impl Drop for WakeLater<'_> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

#[cfg(feature = "stream")]
pub(crate) use tasks::TaskId;

#[cfg(feature = "stream")]
mod tasks {
    use std::sync::atomic::Ordering;
    use std::task::Waker;

    use super::Notifier;

    /// Names one waiting task for as long as its stream lives.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct TaskId(u64);

    /// The tasks that wait, at most one a stream.
    #[derive(Debug, Default)]
    pub(super) struct Tasks {
        waiting: Vec<(TaskId, Waker)>,
        last_id: u64,
    }

    impl Tasks {
        pub(super) fn are_waiting(&self) -> bool {
            !self.waiting.is_empty()
        }

        fn take(&mut self, id: TaskId) -> Option<Waker> {
            let at = self.waiting.iter().position(|(waiting, _)| *waiting == id)?;
            Some(self.waiting.swap_remove(at).1)
        }
    }

    impl Notifier {
        /// Returns a new name for [`register`](Self::register).
        pub(crate) fn task_id(&self) -> TaskId {
            let mut state = self.state.lock();
            state.tasks.last_id += 1;
            TaskId(state.tasks.last_id)
        }

        /// Registers a task that is woken when there is a reason to look again. It replaces the
        /// task that was registered under this name before. Returns `false` if there is a reason
        /// already.
        pub(crate) fn register(&self, id: TaskId, seen: u64, waker: &Waker) -> bool {
            let waker = waker.clone();
            let mut state = self.state.lock();
            let before = state.tasks.take(id);
            let waits = !state.status.is_beyond(seen);
            let refused = if waits {
                state.tasks.waiting.push((id, waker));
                None
            } else {
                Some(waker)
            };
            drop(state);
            // Only now: the last waker of a task drops the task and all that it holds.
            drop((before, refused));
            waits
        }

        /// Forgets a task.
        pub(crate) fn unregister(&self, id: TaskId) {
            let waker = self.state.lock().tasks.take(id);
            drop(waker);
        }

        /// Wakes the tasks that a signal has come for.
        pub(super) fn wake_tasks(&self) {
            // Mostly false: every operation comes by here, and shares the cache line.
            if !self.due.load(Ordering::Acquire) || !self.due.swap(false, Ordering::AcqRel) {
                return;
            }
            let woken = std::mem::take(&mut self.state.lock().tasks.waiting);
            for (_, waker) in woken {
                waker.wake();
            }
        }
    }
}
