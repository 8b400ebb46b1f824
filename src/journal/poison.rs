//! Poisoning: a failure ends writing for good, and everyone who waits learns its cause.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::journal::append::Journal;
use crate::journal::state::State;
use crate::journal::waiters::Woken;
use crate::seams::sync::Ordering;
use crate::values::error::{Error, Result};

/// Why a commit that was appended is not known to survive.
#[derive(Debug)]
pub(crate) struct CommitFailure {
    /// What failed, where this thread was the one to see it.
    pub(crate) source: Option<io::Error>,
    /// The text of the first failure, whichever thread saw it.
    pub(crate) cause: Arc<str>,
}

impl From<CommitFailure> for Error {
    /// For a caller that made no commit of its own and only asked for a sync.
    fn from(failure: CommitFailure) -> Self {
        Self::Poisoned { cause: failure.cause }
    }
}

impl Journal {
    /// Whether writing has ended.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// # Errors
    /// [`Error::Poisoned`] once a failure has ended writing.
    pub(crate) fn check_poison(&self) -> Result<()> {
        if self.is_poisoned() { Err(self.poisoned()) } else { Ok(()) }
    }

    /// The error of everything that is asked for after writing has ended.
    pub(crate) fn poisoned(&self) -> Error {
        Error::Poisoned { cause: self.poison_cause() }
    }

    /// Why writing has ended.
    #[expect(clippy::expect_used, reason = "`fail` sets the cause before it says that it failed")]
    pub(crate) fn poison_cause(&self) -> Arc<str> {
        Arc::clone(self.cause.get().expect("a journal that failed has a cause"))
    }

    /// Ends writing for good: nothing later is acknowledged, and the first cause is remembered.
    pub(crate) fn poison(&self, cause: impl fmt::Display) {
        let mut state = self.lock();
        self.fail(&mut state, cause);
    }

    /// Returns a guard that poisons when it is dropped, and is to be forgotten when all went well.
    pub(crate) fn poison_on_panic(&self) -> PoisonOnPanic<'_> {
        PoisonOnPanic(self)
    }

    /// As [`poison`](Self::poison), under the lock. Wakes everyone who waits.
    pub(super) fn fail(&self, state: &mut State, cause: impl fmt::Display) {
        self.cause.get_or_init(|| cause.to_string().into());
        state.failed = true;
        self.failed.store(true, Ordering::Release);
        self.notifier.fail();
        self.idle.notify_all();
        let mut woken = Woken::default();
        state.waiters.release_all(&mut woken);
    }
}

/// Poisons when it is dropped by a panic, so that nobody waits for the thread that panicked: a
/// leader, or a writer that has appended and not yet applied. Forgotten when all went well.
pub(crate) struct PoisonOnPanic<'a>(&'a Journal);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        self.0.poison("a thread panicked in the middle of a commit");
    }
}
