//! Stores with a known history, to be damaged.

use std::path::Path;

use ifmatch::{Durability, Error, HistoryPolicy, OnDamage, Options};

use crate::expected_commits::{Ledger, State};
use crate::store_files::{Files, Place};
use crate::writer::Writer;

/// A store as it was before it was damaged.
pub(crate) struct Template {
    pub(crate) place: Box<dyn Place>,
    pub(crate) files: Files,
    /// The state after each commit, with its revision; first that of the empty store.
    pub(crate) states: Vec<(u64, State)>,
    /// Copies of MANIFEST from earlier.
    pub(crate) manifests: Vec<Vec<u8>>,
}

impl Template {
    pub(crate) fn last(&self) -> &State {
        &self.states.last().unwrap().1
    }
}

pub(crate) fn open(place: &dyn Place, on_damage: OnDamage) -> Result<Writer, Error> {
    // Compaction, which comes when it likes, would leave fewer states than there were.
    let history = HistoryPolicy::new().versions(u32::MAX);
    let store = place.open(&Options::new().on_damage(on_damage).history(history))?;
    Writer::new(store, Durability::Immediate)
}

pub(crate) fn manifest_of(files: &Files) -> Vec<u8> {
    files.iter().find(|(path, _)| path == Path::new("MANIFEST")).unwrap().1.clone()
}

/// Lets a store live for some runs of so many steps; `large` ones fill several segments. The last
/// run ends in order or not.
pub(crate) fn live(place: &dyn Place, runs: u8, steps: u8, large: bool, closed: bool) -> Template {
    let rng = &mut fastrand::Rng::with_seed(u64::from(steps));
    let mut ledger = Ledger::default();
    let mut states = vec![(0, State::new())];
    let mut manifests = Vec::new();
    for run in 1..=runs {
        let writer = open(place, OnDamage::Refuse).unwrap();
        ledger.settle(writer.read().unwrap());
        for step in 0..steps {
            match large && step % 4 == 0 {
                true => writer.roll(rng, &mut ledger).unwrap(),
                false => writer.step(rng, &mut ledger).unwrap(),
            }
            if ledger.highest_revision() > states.last().unwrap().0 {
                states.push((ledger.highest_revision(), ledger.now().clone()));
            }
            if rng.u8(0..4) == 0 {
                manifests.push(manifest_of(&place.files()));
            }
        }
        if run == runs && !closed {
            let place = place.copy(rng);
            return Template { files: place.files(), place, states, manifests };
        }
        writer.close().unwrap();
        manifests.push(manifest_of(&place.files()));
    }
    let place = place.copy(rng);
    Template { files: place.files(), place, states, manifests }
}
