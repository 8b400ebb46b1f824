//! The clock that expiry is held against: what was absent does not come back when the system's is
//! set back.

use std::time::Duration;

use ifmatch::simulation::{STORE, Simulation};
use ifmatch::{Durability, Error, Options, Precondition, Store};

use super::{ALWAYS, Rig, expires_ms};
use crate::thinned;

#[test]
fn what_was_absent_stays_absent_when_the_clock_is_set_back() {
    let (rig, _) = Rig::expired();
    assert!(!rig.is_there());
    rig.at(0);
    assert!(!rig.is_there(), "while the store is open");
    // Nothing was written since, so the close has nothing to record but the clock.
    let rig = rig.close_and_open();
    assert!(!rig.is_there(), "across a close after writes");
    rig.at(10_000);
    let late = rig.fleeting().upsert("late", &1, ALWAYS).unwrap();
    assert_eq!(expires_ms(&late), Some(11_000));
    let rig = rig.close_and_open();
    rig.at(11_000);
    assert_eq!(rig.plain().get("late").unwrap(), None);
    rig.at(0);
    let rig = rig.close_and_open();
    assert_eq!(rig.plain().get("late").unwrap(), None, "across a close of a run of reads");
    let rig = rig.close_and_open();
    assert_eq!(rig.plain().get("late").unwrap(), None, "across a run that only opened");
}

#[test]
fn what_was_absent_at_a_commit_that_survived_a_crash_stays_absent() {
    for durability in [Durability::Immediate, Durability::Eventual] {
        for seed in 0..40 {
            let sim = Simulation::new(seed);
            let store = sim.open(&Options::new().durability(durability)).unwrap();
            let rig = Rig { sim, store };
            rig.fleeting().create("a", &1).unwrap();
            Simulation::checkpoint(&rig.store).unwrap();
            rig.at(1_000);
            assert!(!rig.is_there());
            rig.plain().upsert("other", &1, ALWAYS).unwrap();
            rig.at(0);
            let after = rig.crash(seed);
            let survived = after.plain().get("other").unwrap().is_some();
            assert!(survived || durability == Durability::Eventual);
            if survived {
                assert!(!after.is_there());
            }
        }
    }
}

/// The checkpoint of a new index covers the commit, so the next open does not come by it again.
#[test]
fn what_was_absent_stays_absent_after_the_index_was_built_anew() {
    for seed in 0..20 {
        let sim = Simulation::new(seed);
        let store = sim.open(&Options::new()).unwrap();
        let rig = Rig { sim, store };
        rig.fleeting().create("a", &1).unwrap();
        // Else an empty index would only have to be brought up to the journal.
        Simulation::checkpoint(&rig.store).unwrap();
        rig.at(1_000);
        rig.plain().upsert("other", &1, ALWAYS).unwrap();
        rig.at(0);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut sim = rig.sim.kill(&mut rng);
        sim.remove_index();
        for _ in 0..3 {
            let rig = Rig { store: sim.open(&Options::new()).unwrap(), sim };
            assert!(!rig.is_there());
            sim = rig.sim.kill(&mut rng);
        }
    }
}

#[test]
fn what_was_swept_stays_absent_whatever_the_clock_says() {
    for seed in 0..40 {
        let (rig, _) = Rig::expired();
        assert_eq!(Simulation::sweep(&rig.store).unwrap(), 1);
        rig.at(0);
        let mut after = rig.crash(seed);
        assert!(!after.is_there());
        after.store.close().unwrap();
        after.sim.remove_index();
        after.store = after.sim.open(&Options::new()).unwrap();
        assert!(!after.is_there());
        assert!(matches!(after.plain().get("b"), Ok(Some(_))));
        assert!(matches!(after.plain().delete("a", ALWAYS), Err(Error::NotFound { .. })));
    }
}

/// A key's versions are a millisecond apart at least, so those of a key that is written often run
/// ahead of the clock. The clock after a crash once went on from them, and items were gone before
/// their time.
#[test]
fn a_key_that_is_written_often_makes_no_other_expire_early_after_a_crash() {
    for seed in 0..thinned(2, 8) {
        let rig = Rig::new();
        rig.fleeting().create("a", &1).unwrap();
        let mut last = rig.plain().create("hot", &0).unwrap();
        for n in 0..1_500 {
            last = rig.plain().replace("hot", &n, last.etag()).unwrap();
        }
        let mut rig = rig.crash(seed);
        assert!(rig.is_there());
        if seed % 2 == 0 {
            rig.store.close().unwrap();
            rig.sim.remove_index();
            rig.store = rig.sim.open(&Options::new()).unwrap();
        }
        assert_eq!(Simulation::clock_ms(&rig.store).unwrap(), super::BEGIN_MS);
        let next = rig.plain().upsert("hot", &0, ALWAYS).unwrap();
        assert!(next.modified() > last.modified());
        rig.at(1_000);
        assert!(!rig.is_there());
    }
}

#[test]
fn a_key_that_is_written_often_makes_no_other_expire_early_in_a_copy() {
    let rig = Rig::new();
    rig.fleeting().create("a", &1).unwrap();
    for n in 0..1_500 {
        rig.plain().upsert("hot", &n, ALWAYS).unwrap();
    }
    rig.store.backup("copy").unwrap();
    rig.store.close().unwrap();
    for source in [STORE, "copy"] {
        let restored = rig.sim.at(format!("of-{source}"));
        let store = restored.restore(source, &Options::new()).unwrap();
        assert_eq!(Simulation::clock_ms(&store).unwrap(), super::BEGIN_MS, "{source}");
        assert!(
            store.collection::<u64>("numbers").unwrap().get("a").unwrap().is_some(),
            "{source}"
        );
    }
}

/// The way back from a clock that was once in the future.
#[test]
fn c7_a_clock_that_was_in_the_future_is_set_back_when_that_is_asked_for() {
    const CENTURY_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1_000;
    let rng = &mut fastrand::Rng::with_seed(1);
    let sim = Simulation::new(1);
    sim.set_now_ms(super::BEGIN_MS + CENTURY_MS);
    let store = sim.open(&Options::new()).unwrap();
    let notes = store.collection::<u64>("notes").unwrap();
    notes.create("early", &1).unwrap();
    Simulation::checkpoint(&store).unwrap();
    notes.create("a", &1).unwrap();
    store.close().unwrap();
    sim.set_now_ms(super::BEGIN_MS);
    let clock_ms = |store: &Store| Simulation::clock_ms(store).unwrap();
    let store = sim.open(&Options::new()).unwrap();
    assert_eq!(clock_ms(&store), super::BEGIN_MS + CENTURY_MS);
    drop((notes, store));
    let store = sim.open(&Options::new().reset_clock(true)).unwrap();
    assert_eq!(clock_ms(&store), super::BEGIN_MS);
    store.backup("copy").unwrap();
    let restored = sim.at("restored").restore("copy", &Options::new()).unwrap();
    assert_eq!(clock_ms(&restored), super::BEGIN_MS);
    for _ in 0..8 {
        let mut image = sim.crash(rng);
        if rng.bool() {
            image.remove_index();
        }
        let store = image.open(&Options::new()).unwrap();
        assert_eq!(clock_ms(&store), super::BEGIN_MS);
        // A version that follows one from the future is above it, and not the clock's.
        let notes = store.collection::<u64>("notes").unwrap();
        let item = notes.update("a", |number| *number += 1).unwrap();
        assert!(item.modified() > std::time::UNIX_EPOCH + Duration::from_millis(CENTURY_MS));
        notes.upsert("new", &1, Precondition::Always).unwrap();
        let mut image = image.kill(rng);
        image.remove_index();
        assert_eq!(clock_ms(&image.open(&Options::new()).unwrap()), super::BEGIN_MS);
    }
    // A clock that is behind is not set forward, and one that is right stays.
    let later = super::BEGIN_MS + 5;
    sim.set_now_ms(later);
    drop(store);
    let store = sim.open(&Options::new().reset_clock(true)).unwrap();
    assert_eq!(clock_ms(&store), later);
}
