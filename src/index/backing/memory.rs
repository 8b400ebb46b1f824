//! The backing store in memory: for `Store::in_memory`, models and tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

#[cfg(any(test, feature = "simulation"))]
use super::simulated::{Faults, Recording};
use super::{Backing, Backings, lower_bound};
use crate::seams::sync::Mutex;
use crate::values::error::Result;

pub(super) type Pairs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Backings in memory, by generation. A clone is another handle to the same backing stores.
///
/// Those of [`simulated`](Self::simulated) also remember what a crash could leave of them, and
/// fail on request.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBackings {
    pub(super) generations: Arc<Mutex<BTreeMap<u64, Arc<MemoryBacking>>>>,
    #[cfg(any(test, feature = "simulation"))]
    pub(super) simulation: Option<Arc<super::simulated::Simulation>>,
}

impl MemoryBackings {
    /// No backing stores yet, and nothing remembered of any but its pairs.
    pub(crate) fn new() -> Self {
        Self {
            generations: Arc::default(),
            #[cfg(any(test, feature = "simulation"))]
            simulation: None,
        }
    }
}

impl Backings for MemoryBackings {
    fn open(&self, generation: u64) -> Result<Arc<dyn Backing>> {
        #[cfg(any(test, feature = "simulation"))]
        self.count_call()?;
        let mut backings = self.generations.lock();
        let backing = backings.entry(generation).or_insert_with(|| {
            Arc::new(MemoryBacking {
                #[cfg(any(test, feature = "simulation"))]
                faults: self.faults(),
                state: Mutex::new(State {
                    #[cfg(any(test, feature = "simulation"))]
                    recording: self.simulation.as_ref().map(|_| Recording::default()),
                    ..State::default()
                }),
            })
        });
        Ok(Arc::clone(backing) as Arc<dyn Backing>)
    }

    fn remove_all_but(&self, generation: u64) -> Result<()> {
        #[cfg(any(test, feature = "simulation"))]
        self.count_call()?;
        let mut backings = self.generations.lock();
        let kept = backings.remove(&generation);
        let removed = std::mem::take(&mut *backings);
        backings.extend(kept.map(|backing| (generation, backing)));
        drop(backings);
        #[cfg(any(test, feature = "simulation"))]
        self.remember_removed(&removed);
        drop(removed);
        Ok(())
    }
}

/// An ordered map in memory. Every call takes its lock once, so that a model sees each as one
/// step.
#[derive(Debug)]
pub(crate) struct MemoryBacking {
    #[cfg(any(test, feature = "simulation"))]
    pub(super) faults: Option<Arc<Faults>>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) pairs: Pairs,
    #[cfg(any(test, feature = "simulation"))]
    pub(super) recording: Option<Recording>,
}

impl MemoryBacking {
    /// Fails when the call is one that a test said should.
    fn admit(&self) -> Result<()> {
        #[cfg(any(test, feature = "simulation"))]
        if let Some(faults) = &self.faults {
            return faults.count_call();
        }
        Ok(())
    }
}

impl Backing for MemoryBacking {
    fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>> {
        self.admit()?;
        Ok(self.state.lock().pairs.get(key).cloned())
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.admit()?;
        let mut state = self.state.lock();
        #[cfg(any(test, feature = "simulation"))]
        if let Some(recording) = &mut state.recording {
            recording.note(key, Some(value));
        }
        match state.pairs.get_mut(key) {
            Some(stored) => *stored = value.into(),
            None => drop(state.pairs.insert(key.into(), value.into())),
        }
        Ok(())
    }

    fn remove(&self, key: &[u8]) -> Result<()> {
        self.admit()?;
        let mut state = self.state.lock();
        #[cfg(any(test, feature = "simulation"))]
        if let Some(recording) = &mut state.recording {
            recording.note(key, None);
        }
        state.pairs.remove(key);
        Ok(())
    }

    fn scan(
        &self,
        after: Option<&[u8]>,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        self.admit()?;
        let state = self.state.lock();
        let range = state.pairs.range::<[u8], _>((lower_bound(after), Bound::Unbounded));
        range.take(limit).for_each(|(key, value)| visit(key, value));
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.admit()?;
        #[cfg(any(test, feature = "simulation"))]
        {
            let mut state = self.state.lock();
            let State { pairs, recording } = &mut *state;
            if let Some(recording) = recording {
                recording.flush(pairs);
            }
        }
        Ok(())
    }

    fn size_on_disk_bytes(&self) -> Result<u64> {
        self.admit()?;
        Ok(0)
    }
}
