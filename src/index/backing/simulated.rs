//! What crashes and faults do to a table in memory, so that tests can open a store on every state
//! that sled may leave behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::{MemoryBacking, MemoryBackings, Rows, State};
use crate::seams::sync::Mutex;
use crate::values::error::{Error, Result, TableError};

/// What the tables of [`MemoryBackings::simulated`] share besides their rows.
#[derive(Debug, Default)]
pub(super) struct Simulation {
    faults: Arc<Faults>,
    /// Removed tables, newest last: a crash may undo the removal.
    removed: Mutex<VecDeque<(u64, Arc<MemoryBacking>)>>,
}

/// How many flushed versions of a table, and how many removed tables, are kept.
const KEPT: usize = 4;

impl MemoryBackings {
    /// No tables yet; their writes and flushes will be recorded for [`crash`](Self::crash) and
    /// [`kill`](Self::kill). Costs a copy of all rows per flush.
    pub(crate) fn simulated() -> Self {
        Self { simulation: Some(Arc::default()), ..Self::new() }
    }

    /// Makes the call number `calls` from now, counted from 0, and every later one fail with
    /// [`Error::Table`]. Calls of all tables count, and opening and removing too. Does nothing
    /// unless [`simulated`](Self::simulated).
    pub(crate) fn fail_after(&self, calls: u64) {
        if let Some(simulation) = &self.simulation {
            simulation.faults.calls_left.store(calls, Ordering::SeqCst);
        }
    }

    /// The tables as a loss of power may leave them: each by chance as it was flushed last, as it
    /// is, as an older flush left it, gone, or with rows from before and after the last flush
    /// mixed. A removed table may be back. These tables go on as they were.
    pub(crate) fn crash(&self, rng: &mut fastrand::Rng) -> Self {
        let mut survivors = BTreeMap::new();
        if let Some(simulation) = &self.simulation {
            for (generation, table) in simulation.removed.lock().iter() {
                if rng.u8(..4) == 0 {
                    survivors.insert(*generation, table.state.lock().rows.clone());
                }
            }
        }
        for (generation, table) in self.tables.lock().iter() {
            survivors.remove(generation);
            if let Some(rows) = table.state.lock().after_crash(rng) {
                survivors.insert(*generation, rows);
            }
        }
        Self::holding(survivors)
    }

    /// The tables as a kill of the process may leave them: each as it was flushed last, with a
    /// part of what was written since, in the order of writing. These tables go on as they were.
    pub(crate) fn kill(&self, rng: &mut fastrand::Rng) -> Self {
        let tables = self.tables.lock();
        let mut rows = |table: &MemoryBacking| table.state.lock().after_kill(rng);
        Self::holding(tables.iter().map(|(number, table)| (*number, rows(table))).collect())
    }

    /// Simulated tables of these rows, which count as flushed.
    fn holding(contents: BTreeMap<u64, Rows>) -> Self {
        let new = Self::simulated();
        let table = |rows: Rows| {
            let mut recording = Recording::default();
            recording.flush(&rows);
            let state = Mutex::new(State { rows, recording: Some(recording) });
            Arc::new(MemoryBacking { faults: new.faults(), state })
        };
        let tables = contents.into_iter().map(|(generation, rows)| (generation, table(rows)));
        new.tables.lock().extend(tables);
        new
    }

    pub(super) fn faults(&self) -> Option<Arc<Faults>> {
        self.simulation.as_ref().map(|simulation| Arc::clone(&simulation.faults))
    }

    pub(super) fn count_call(&self) -> Result<()> {
        self.simulation.as_ref().map_or(Ok(()), |simulation| simulation.faults.count_call())
    }

    pub(super) fn remember_removed(&self, tables: &BTreeMap<u64, Arc<MemoryBacking>>) {
        if let Some(simulation) = &self.simulation {
            let mut removed = simulation.removed.lock();
            removed.extend(tables.iter().map(|(number, table)| (*number, Arc::clone(table))));
            let surplus = removed.len().saturating_sub(KEPT);
            removed.drain(..surplus);
        }
    }
}

/// When the tables of one store begin to fail.
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
            Err(_) => Err(Error::Table(TableError::new("the test said that it fails now"))),
        }
    }
}

/// What a table was, and how it came to what it is.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// Versions that were flushed, newest last.
    flushed: VecDeque<Rows>,
    /// Writes since the newest of them.
    since: Vec<Written>,
}

/// A key, and the value that was written under it; `None` for its removal.
type Written = (Box<[u8]>, Option<Box<[u8]>>);

impl Recording {
    pub(super) fn note(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.since.push((key.into(), value.map(Box::from)));
    }

    pub(super) fn flush(&mut self, rows: &Rows) {
        if self.flushed.len() == KEPT {
            self.flushed.pop_front();
        }
        self.flushed.push_back(rows.clone());
        self.since.clear();
    }
}

impl State {
    /// What a loss of power leaves; `None` when that is nothing, not even the folder.
    fn after_crash(&self, rng: &mut fastrand::Rng) -> Option<Rows> {
        let flushed = self.recording.as_ref().map(|recording| &recording.flushed)?;
        match rng.u8(..5) {
            0 => flushed.back().cloned(),
            1 => Some(self.rows.clone()),
            2 => flushed.get(rng.usize(..flushed.len().max(1))).cloned(),
            3 => None,
            _ => Some(mix(&self.rows, flushed.back().unwrap_or(&Rows::new()), rng)),
        }
    }

    fn after_kill(&self, rng: &mut fastrand::Rng) -> Rows {
        let Some(recording) = &self.recording else {
            return self.rows.clone();
        };
        let mut rows = recording.flushed.back().cloned().unwrap_or_default();
        let kept = rng.usize(..=recording.since.len());
        for (key, value) in recording.since.iter().take(kept) {
            match value {
                Some(value) => drop(rows.insert(key.clone(), value.clone())),
                None => drop(rows.remove(key)),
            }
        }
        rows
    }
}

/// Each key's state from one side or the other.
fn mix(left: &Rows, right: &Rows, rng: &mut fastrand::Rng) -> Rows {
    let mut mixed = Rows::new();
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
