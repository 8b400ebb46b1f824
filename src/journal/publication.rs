//! When a commit counts: applied when it and all before it are in the index, durable when they are
//! synced as well. Revisions become visible in their order, whatever order writers come in.

use crate::journal::append::{CommitFailure, Journal, State};
use crate::journal::group_commit::Level;
use crate::seams::sync::{MutexGuard, Ordering};
use crate::values::error::Result;
use crate::values::options::Durability;

impl Journal {
    /// The newest revision below which every commit is applied to the index.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The newest revision below which every commit is applied and synced.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Marks a commit as applied and waits until it is as durable as the store promises, and until
    /// every commit before it is applied.
    pub(crate) fn finish(&self, revision: u64) -> Result<(), CommitFailure> {
        let mut state = self.state.lock();
        self.mark_applied(&mut state, revision);
        let level = match self.durability {
            Durability::Immediate => Level::Synced,
            Durability::Eventual => {
                let Some(watched) = self.watch_written(state, revision) else { return Ok(()) };
                state = watched;
                Level::Written
            }
        };
        state = self.wait(state, revision, level)?;
        drop(self.wait_applied(state, revision)?);
        Ok(())
    }

    /// Waits until every commit made so far is applied and synced; returns the newest of them.
    pub(crate) fn sync(&self) -> Result<u64, CommitFailure> {
        let state = self.state.lock();
        let revision = state.appended;
        let state = self.wait(state, revision, Level::Synced)?;
        drop(self.wait_applied(state, revision)?);
        Ok(revision)
    }

    /// Waits until every commit up to this revision is applied.
    pub(super) fn wait_applied<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        revision: u64,
    ) -> Result<MutexGuard<'a, State>, CommitFailure> {
        while self.applied.load(Ordering::Acquire) < revision {
            if state.failed {
                return Err(CommitFailure { source: None, cause: self.poison_cause() });
            }
            state.applied_waiters += 1;
            state = self.changed.wait(state);
            state.applied_waiters -= 1;
        }
        Ok(state)
    }

    /// Gives the newest revision to `begin` while none newer can be given, and returns when every
    /// commit up to it is applied. `begin` takes no lock but a leaf.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned) when a failure left one of them unapplied.
    pub(crate) fn at_newest<T>(&self, begin: impl FnOnce(u64) -> T) -> Result<T> {
        let state = self.state.lock();
        let newest = state.appended;
        let begun = begin(newest);
        drop(self.wait_applied(state, newest)?);
        Ok(begun)
    }

    fn mark_applied(&self, state: &mut State, revision: u64) {
        let index = state.unapplied.binary_search_by_key(&revision, |u| u.revision);
        let commit = index.ok().and_then(|index| state.unapplied.get_mut(index));
        #[expect(clippy::expect_used, reason = "`append` listed it, and only this takes it off")]
        let commit = commit.expect("a commit that was appended waits to be applied");
        commit.applied = true;
        let mut applied = None;
        while let Some(first) = state.unapplied.front().filter(|commit| commit.applied) {
            applied = Some(first.revision);
            state.unapplied.pop_front();
        }
        if let Some(applied) = applied {
            self.applied.store(applied, Ordering::Release);
            self.publish_durable(state);
            if state.applied_waiters > 0 {
                self.changed.notify_all();
            }
        }
    }

    /// Durable is what is synced and applied both, so that no feed shows what a read does not.
    pub(super) fn publish_durable(&self, state: &State) {
        let durable = state.synced.min(self.applied.load(Ordering::Acquire));
        if durable > self.durable.load(Ordering::Acquire) {
            self.durable.store(durable, Ordering::Release);
            self.notifier.advance(durable);
        }
    }
}
