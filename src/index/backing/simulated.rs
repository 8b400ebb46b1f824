//! What crashes and faults do to a backing store in memory, so that tests can open a store on every
//! state that sled may leave behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::{MemoryBacking, MemoryBackings, Pairs, State};
use crate::seams::sync::Mutex;
use crate::values::error::{Error, IndexFailure, Result};

/// What the backing stores of [`MemoryBackings::simulated`] share in addition to their pairs.
#[derive(Debug, Default)]
pub(super) struct Simulation {
    faults: Arc<Faults>,
    /// Removed backing stores, newest last: a crash may undo the removal.
    removed: Mutex<VecDeque<(u64, Arc<MemoryBacking>)>>,
}

/// How many flushed versions of a backing store, and how many removed backing stores, are kept.
const KEPT: usize = 4;

impl MemoryBackings {
    /// No backing stores yet; their writes and flushes will be recorded for [`crash`](Self::crash)
    /// and [`kill`](Self::kill). Costs a copy of all pairs per flush.
    pub(crate) fn simulated() -> Self {
        Self { simulation: Some(Arc::default()), ..Self::new() }
    }

    /// Makes the call number `calls` from now, counted from 0, and every later one fail with
    /// [`Error::IndexUnavailable`]. Calls of all backing stores count, and opening and removing
    /// too. Does nothing unless [`simulated`](Self::simulated).
    pub(crate) fn fail_after(&self, calls: u64) {
        if let Some(simulation) = &self.simulation {
            simulation.faults.calls_left.store(calls, Ordering::SeqCst);
        }
    }

    /// The backing stores as a loss of power may leave them: each by chance as it was flushed last,
    /// as it is, as an older flush left it, gone, or with pairs from before and after the last
    /// flush mixed. A removed backing store may be back. These backing stores go on as they were.
    pub(crate) fn crash(&self, rng: &mut fastrand::Rng) -> Self {
        let mut survivors = BTreeMap::new();
        if let Some(simulation) = &self.simulation {
            for (generation, backing) in simulation.removed.lock().iter() {
                if rng.u8(..4) == 0 {
                    survivors.insert(*generation, backing.state.lock().pairs.clone());
                }
            }
        }
        for (generation, backing) in self.generations.lock().iter() {
            survivors.remove(generation);
            if let Some(pairs) = backing.state.lock().after_crash(rng) {
                survivors.insert(*generation, pairs);
            }
        }
        Self::holding(survivors)
    }

    /// The backing stores as a kill of the process may leave them: each as it was flushed last,
    /// with a part of what was written since, in the order of writing. These backing stores go on
    /// as they were.
    pub(crate) fn kill(&self, rng: &mut fastrand::Rng) -> Self {
        let backings = self.generations.lock();
        let mut pairs = |backing: &MemoryBacking| backing.state.lock().after_kill(rng);
        Self::holding(backings.iter().map(|(number, backing)| (*number, pairs(backing))).collect())
    }

    /// Simulated backing stores of these pairs, which count as flushed.
    fn holding(contents: BTreeMap<u64, Pairs>) -> Self {
        let new = Self::simulated();
        let backing = |pairs: Pairs| {
            let mut recording = Recording::default();
            recording.flush(&pairs);
            let state = Mutex::new(State { pairs, recording: Some(recording) });
            Arc::new(MemoryBacking { faults: new.faults(), state })
        };
        let backings = contents.into_iter().map(|(generation, pairs)| (generation, backing(pairs)));
        new.generations.lock().extend(backings);
        new
    }

    pub(super) fn faults(&self) -> Option<Arc<Faults>> {
        self.simulation.as_ref().map(|simulation| Arc::clone(&simulation.faults))
    }

    pub(super) fn count_call(&self) -> Result<()> {
        self.simulation.as_ref().map_or(Ok(()), |simulation| simulation.faults.count_call())
    }

    pub(super) fn remember_removed(&self, backings: &BTreeMap<u64, Arc<MemoryBacking>>) {
        if let Some(simulation) = &self.simulation {
            let mut removed = simulation.removed.lock();
            removed.extend(backings.iter().map(|(number, backing)| (*number, Arc::clone(backing))));
            let surplus = removed.len().saturating_sub(KEPT);
            removed.drain(..surplus);
        }
    }
}

/// When the backing stores of one store begin to fail.
#[derive(Debug)]
pub(super) struct Faults {
    calls_left: AtomicU64,
}

impl Default for Faults {
    fn default() -> Self {
        Self { calls_left: AtomicU64::new(u64::MAX) }
    }
}

impl Faults {
    pub(super) fn count_call(&self) -> Result<()> {
        let take = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        match self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(Error::IndexUnavailable(IndexFailure::new("the test said that it fails now")))
            }
        }
    }
}

/// The history of a backing store's contents.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// Versions that were flushed, newest last.
    flushed: VecDeque<Pairs>,
    /// Writes since the newest of them.
    since: Vec<Written>,
}

/// A key, and the value that was written under it; `None` for its removal.
type Written = (Box<[u8]>, Option<Box<[u8]>>);

impl Recording {
    pub(super) fn note(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.since.push((key.into(), value.map(Box::from)));
    }

    pub(super) fn flush(&mut self, pairs: &Pairs) {
        if self.flushed.len() == KEPT {
            self.flushed.pop_front();
        }
        self.flushed.push_back(pairs.clone());
        self.since.clear();
    }
}

impl State {
    /// What a loss of power leaves; `None` when that is nothing, not even the folder.
    fn after_crash(&self, rng: &mut fastrand::Rng) -> Option<Pairs> {
        let flushed = self.recording.as_ref().map(|recording| &recording.flushed)?;
        match rng.u8(..5) {
            0 => flushed.back().cloned(),
            1 => Some(self.pairs.clone()),
            2 => flushed.get(rng.usize(..flushed.len().max(1))).cloned(),
            3 => None,
            _ => Some(mix(&self.pairs, flushed.back().unwrap_or(&Pairs::new()), rng)),
        }
    }

    fn after_kill(&self, rng: &mut fastrand::Rng) -> Pairs {
        let Some(recording) = &self.recording else {
            return self.pairs.clone();
        };
        let mut pairs = recording.flushed.back().cloned().unwrap_or_default();
        let kept = rng.usize(..=recording.since.len());
        for (key, value) in recording.since.iter().take(kept) {
            match value {
                Some(value) => drop(pairs.insert(key.clone(), value.clone())),
                None => drop(pairs.remove(key)),
            }
        }
        pairs
    }
}

/// Each key's state from one side or the other.
fn mix(left: &Pairs, right: &Pairs, rng: &mut fastrand::Rng) -> Pairs {
    let mut mixed = Pairs::new();
    let right_only = right.keys().filter(|key| !left.contains_key(*key));
    for key in left.keys().chain(right_only) {
        let side = if rng.bool() { left } else { right };
        if let Some(value) = side.get(key) {
            mixed.insert(key.clone(), value.clone());
        }
    }
    mixed
}

#[cfg(all(test, not(loom)))]
mod tests;
