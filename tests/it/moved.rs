//! A store's directory that is moved, removed or replaced while it is open: nobody's data is
//! touched by a path that leads elsewhere, and what was acknowledged is found where it lies.

#[cfg(unix)]
mod folders;
mod processes;

use bytes::Bytes;
use ifmatch::simulation::{STORE, Simulation};
use ifmatch::{Error, Options, Precondition, Store};

use crate::{Case, Repeat, seeds, thinned};

/// Items that are written one after another, each of a length that fills a segment with two.
struct Counter {
    store: Store,
    acknowledged: u64,
}

impl Counter {
    fn new(store: Store) -> Self {
        Self { store, acknowledged: 0 }
    }

    fn write(&mut self) -> Result<(), Error> {
        let number = self.acknowledged + 1;
        let value = Bytes::from(vec![number as u8; 150_000]);
        let items = self.store.raw("items")?;
        items.upsert(number.to_be_bytes(), &value, Precondition::Always)?;
        self.acknowledged = number;
        Ok(())
    }

    /// Everything that a session does with names; returns whether one of it was refused.
    fn do_everything(&mut self) -> bool {
        let mut outcomes = vec![self.write(), self.write(), self.write()];
        outcomes.push(Simulation::checkpoint(&self.store));
        outcomes.push(self.store.compact().map(drop));
        outcomes.push(Simulation::replace_index(&self.store));
        outcomes.push(self.write());
        let mut refused = false;
        for outcome in outcomes {
            match outcome {
                Ok(()) => {}
                Err(Error::Moved { .. }) => refused = true,
                Err(error) => panic!("neither done nor refused: {error:?}"),
            }
        }
        refused
    }
}

fn check(store: &Store, acknowledged: u64) {
    assert!(store.damage().is_none());
    store.verify().unwrap();
    let items = store.raw("items").unwrap();
    for number in 1..=acknowledged {
        let item = items.get(number.to_be_bytes()).unwrap().expect("an acknowledged write");
        assert_eq!(item.value[0], number as u8);
    }
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Moved,
    Removed,
    Replaced,
}

/// A regression: a segment of the store that lies at the path now was taken for what an earlier
/// attempt has left, and removed.
#[test]
fn a3_two_simulated_stores_at_one_path_leave_each_other_alone() {
    for seed in seeds(0..thinned(18, 60)) {
        let _repeat = Repeat::new("moved", seed);
        let rng = &mut fastrand::Rng::with_seed(seed);
        let change = [Change::Moved, Change::Removed, Change::Replaced][seed as usize % 3];
        let case = Case(format!("{change:?}"));
        let first = Simulation::new(seed);
        let mut ours = Counter::new(first.open(&Options::new()).unwrap());
        for _ in 0..rng.u8(0..4) {
            ours.write().unwrap();
        }
        match change {
            Change::Moved => first.disk().move_directory(STORE, "elsewhere"),
            Change::Removed => first.disk().remove_directory(STORE),
            Change::Replaced => {
                let other = first.at("other").open(&Options::new()).unwrap();
                drop(other);
                first.disk().move_directory("other", STORE);
            }
        }
        // Another process: the same files, and indexes of its own.
        let second = first.at(STORE);
        let mut theirs = Counter::new(second.open(&Options::new()).unwrap());
        for _ in 0..rng.u8(1..4) {
            theirs.write().unwrap();
        }
        assert!(ours.do_everything(), "nothing was refused");
        theirs.write().unwrap();
        let closed = ours.store.clone().close();
        assert!(
            matches!(closed, Ok(()) | Err(Error::Moved { .. } | Error::Poisoned { .. })),
            "{closed:?}"
        );
        assert!(!theirs.do_everything(), "the store that lies at the path was refused");
        check(&theirs.store, theirs.acknowledged);
        if rng.bool() {
            theirs.store.clone().close().unwrap();
        }
        let image = second.crash(rng);
        check(&image.open(&Options::new()).unwrap(), theirs.acknowledged);
        if matches!(change, Change::Moved) {
            let moved = image.at("elsewhere");
            check(&moved.open(&Options::new()).unwrap(), ours.acknowledged);
        }
        drop(case);
    }
}

#[test]
fn a_directory_that_was_moved_is_locked_where_it_lies() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    sim.disk().move_directory(STORE, "elsewhere");
    let moved = sim.at("elsewhere");
    assert!(matches!(moved.open(&Options::new()), Err(Error::Locked { .. })));
    drop(store);
    moved.open(&Options::new()).unwrap();
}
