//! Several processes on one simulated tree: they open, write, close, are killed and start again,
//! while directories are moved, replaced and removed under them.

use std::collections::BTreeMap;

use ifmatch::simulation::Simulation;
use ifmatch::{Error, Options};

use super::{Counter, check};
use crate::{Case, Repeat, from_environment, seeds, thinned};

const NAMES: [&str; 3] = ["one", "two", "three"];

/// A store on the tree, wherever its directory is now.
#[derive(Debug, Clone, Copy)]
struct Known {
    acknowledged: u64,
    is_open: bool,
}

/// A process with a store open.
struct Process {
    sim: Simulation,
    name: &'static str,
    /// Which store it is.
    id: usize,
    counter: Counter,
}

/// The tree as it should be.
struct Tree {
    sim: Simulation,
    stores: Vec<Known>,
    names: BTreeMap<&'static str, usize>,
    processes: Vec<Process>,
    /// The next process at a path, where the last one there was killed.
    restarted: BTreeMap<&'static str, Simulation>,
}

impl Tree {
    fn new(seed: u64) -> Self {
        Self {
            sim: Simulation::new(seed),
            stores: Vec::new(),
            names: BTreeMap::new(),
            processes: Vec::new(),
            restarted: BTreeMap::new(),
        }
    }

    fn open(&mut self, name: &'static str) {
        let sim = self.restarted.remove(name);
        let sim = sim.unwrap_or_else(|| self.sim.at(name).other_process());
        let present = self.names.get(name).copied();
        let opened = sim.open(&Options::new());
        if present.is_some_and(|id| self.stores[id].is_open) {
            assert!(matches!(opened, Err(Error::Locked { .. })), "a second opener");
            return;
        }
        let store = opened.unwrap();
        let id = present.unwrap_or_else(|| {
            self.stores.push(Known { acknowledged: 0, is_open: true });
            self.names.insert(name, self.stores.len() - 1);
            self.stores.len() - 1
        });
        let known = &mut self.stores[id];
        known.is_open = true;
        check(&store, known.acknowledged);
        let counter = Counter { store, acknowledged: known.acknowledged };
        self.processes.push(Process { sim, name, id, counter });
    }

    /// A write, or all that a session does, by one of the processes.
    fn work(&mut self, rng: &mut fastrand::Rng) {
        let Some(process) = rng.choice(&mut self.processes) else { return };
        let is_at_path = self.names.get(process.name) == Some(&process.id);
        let refused = if rng.u8(0..4) == 0 {
            process.counter.do_everything()
        } else {
            match process.counter.write() {
                Ok(()) => false,
                Err(Error::Moved { .. }) => true,
                Err(error) => panic!("neither done nor refused: {error:?}"),
            }
        };
        assert!(!refused || !is_at_path, "the store that lies at the path was refused");
        self.stores[process.id].acknowledged = process.counter.acknowledged;
    }

    /// Closes a store, leaves it to be dropped, or kills the process.
    fn end(&mut self, rng: &mut fastrand::Rng) {
        if self.processes.is_empty() {
            return;
        }
        let process = self.processes.swap_remove(rng.usize(0..self.processes.len()));
        let is_at_path = self.names.get(process.name) == Some(&process.id);
        self.stores[process.id].is_open = false;
        match rng.u8(0..3) {
            0 => {
                let closed = process.counter.store.close();
                assert!(closed.is_ok() || !is_at_path, "{closed:?}");
            }
            1 => {}
            _ => {
                let next = process.sim.restart(rng);
                if is_at_path {
                    self.restarted.insert(process.name, next);
                }
            }
        }
    }

    fn change_names(&mut self, rng: &mut fastrand::Rng) {
        let (from, to) = (*rng.choice(&NAMES).unwrap(), *rng.choice(&NAMES).unwrap());
        if from == to || !self.names.contains_key(from) {
            return;
        }
        self.restarted.retain(|name, _| *name != from && *name != to);
        let id = self.names.remove(from).unwrap();
        if rng.u8(0..4) == 0 {
            self.sim.disk().remove_directory(from);
        } else {
            self.sim.disk().move_directory(from, to);
            self.names.insert(to, id);
        }
    }
}

#[test]
fn a3_several_processes_on_one_tree_lose_nothing_of_any_store() {
    let steps = from_environment("IFMATCH_TREE_STEPS").unwrap_or(thinned(20, 40));
    let mut locked = 0;
    for seed in seeds(0..60) {
        let _repeat = Repeat::new("moved::processes", seed);
        let rng = &mut fastrand::Rng::with_seed(seed);
        let mut tree = Tree::new(seed);
        for step in 0..steps {
            let _case = Case(format!("step {step}"));
            match rng.u8(0..10) {
                0..3 => {
                    let name = *rng.choice(&NAMES).unwrap();
                    let open = tree.names.get(name).is_some_and(|id| tree.stores[*id].is_open);
                    locked += u64::from(open);
                    tree.open(name);
                }
                3..7 => tree.work(rng),
                7 => tree.end(rng),
                _ if rng.bool() => tree.change_names(rng),
                _ => {}
            }
        }
        let image = tree.sim.crash(rng);
        for (name, id) in &tree.names {
            let store = image.at(*name).open(&Options::new()).unwrap();
            check(&store, tree.stores[*id].acknowledged);
        }
    }
    assert!(locked > 60 || from_environment("IFMATCH_SEED").is_some(), "{locked} second openers");
}

/// What a killed process had locked is free at once, for another and for itself, and what is left of
/// it does nothing.
#[test]
fn a_killed_holder_frees_the_store_and_writes_no_more() {
    let sim = Simulation::new(5);
    let mut first = Counter::new(sim.open(&Options::new()).unwrap());
    first.write().unwrap();
    let other = sim.other_process();
    assert!(matches!(other.open(&Options::new()), Err(Error::Locked { .. })));
    let next = sim.restart(&mut fastrand::Rng::with_seed(5));
    let mut second = Counter { store: next.open(&Options::new()).unwrap(), acknowledged: 1 };
    assert!(matches!(other.open(&Options::new()), Err(Error::Locked { .. })));
    check(&second.store, 1);
    assert!(first.write().is_err(), "a killed process wrote");
    second.write().unwrap();
    // Its locks are not the new holder's.
    drop(first);
    assert!(matches!(other.open(&Options::new()), Err(Error::Locked { .. })));
    second.store.close().unwrap();
    check(&other.open(&Options::new()).unwrap(), 2);
}
