//! When a commit is visible and when it is durable: *applied* when it and all before it are in the
//! index, *durable* when they are synced as well. Revisions become visible in ascending order,
//! whatever the order in which writers apply them.

use crate::journal::append::Journal;
use crate::journal::poison::CommitFailure;
use crate::journal::state::State;
use crate::journal::waiters::{Goal, Need, Woken};
use crate::seams::sync::Ordering;
use crate::values::error::Result;
use crate::values::options::Durability;

impl Journal {
    /// The revision up to which every commit is applied to the index.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The revision up to which every commit is applied and synced.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Marks a commit as applied and waits until it is as durable as the store promises, and until
    /// every commit before it is applied.
    pub(crate) fn finish(&self, revision: u64) -> Result<(), CommitFailure> {
        let mut woken = Woken::default();
        let mut state = self.lock();
        self.mark_applied(&mut state, revision, &mut woken);
        let goal = match self.durability {
            Durability::Immediate => Goal::synced(revision),
            Durability::Eventual => Goal::written(revision),
        };
        self.wait(state, goal.and_applied(), woken)
    }

    /// Waits until every commit made so far is applied and synced; returns the newest of them.
    pub(crate) fn sync(&self) -> Result<u64, CommitFailure> {
        let state = self.lock();
        let revision = state.appended;
        self.wait(state, Goal::synced(revision).and_applied(), Woken::default())?;
        Ok(revision)
    }

    /// Makes every commit up to this revision durable, where it is not.
    pub(crate) fn make_durable(&self, revision: u64) -> Result<(), CommitFailure> {
        if self.durable() >= revision { Ok(()) } else { self.sync().map(drop) }
    }

    /// The newest revision of a commit that was appended.
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// Calls `begin` with the newest revision, while no commit can get a newer one. Returns when
    /// every commit up to that revision is applied. `begin` may take only locks that are last in
    /// their order.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned) when a failure left one of them unapplied.
    pub(crate) fn at_newest<T>(&self, begin: impl FnOnce(u64) -> T) -> Result<T> {
        let state = self.lock();
        let newest = state.appended;
        let begun = begin(newest);
        self.wait(state, Goal::applied(newest), Woken::default())?;
        Ok(begun)
    }

    fn mark_applied(&self, state: &mut State, revision: u64, woken: &mut Woken) {
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
            self.release(state, Need::Apply, woken);
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
