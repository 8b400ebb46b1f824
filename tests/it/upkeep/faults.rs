//! What replacing the index and compaction do when a call fails or the process ends there.

use std::time::Duration;

use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{Error, HistoryPolicy, Options, Precondition, Store};

use super::{number_in, value};
use crate::{Repeat, thinned};

const KEYS: u8 = 40;

fn options() -> Options {
    Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO))
}

/// A store whose items were all written twice, and some removed.
fn prepared(sim: &Simulation) -> Store {
    let store = sim.open(&options()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for round in 0..2 {
        for key in 0..KEYS {
            blobs.upsert([key], &value(round, 3_000), Precondition::Always).unwrap();
        }
        Simulation::checkpoint(&store).unwrap();
    }
    for key in 0..KEYS / 4 {
        blobs.delete([key], Precondition::Always).unwrap();
    }
    sim.set_now_ms(1_700_000_001_000);
    store
}

fn check(store: &Store) {
    let blobs = store.raw("blobs").unwrap();
    for key in 0..KEYS {
        let found = blobs.get([key]).unwrap().map(|item| number_in(&item.value));
        assert_eq!(found, (key >= KEYS / 4).then_some(1), "key {key}");
    }
    assert_eq!(blobs.len().unwrap(), u64::from(KEYS - KEYS / 4));
    assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
}

/// Opens what a crash and what a kill leave, does the same there undisturbed, and checks.
fn check_images(sim: &Simulation, seed: u64, again: fn(&Store)) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for kill in [true, false, false] {
        let mut image = if kill { sim.kill(&mut rng) } else { sim.crash(&mut rng) };
        if rng.u8(0..4) == 0 {
            image.remove_index();
        }
        let store = image.open(&options()).unwrap();
        check(&store);
        again(&store);
        check(&store);
        drop(store);
        check(&image.crash(&mut rng).open(&options()).unwrap());
    }
}

fn replace_index(store: &Store) {
    Simulation::replace_index(store).unwrap();
}

fn compact(store: &Store) {
    store.compact().unwrap();
}

/// Lets disk calls fail, every one in a thorough run, once or for good.
fn fail_disk_calls(work: fn(&Store) -> Result<(), Error>, again: fn(&Store)) -> u64 {
    for calls in (0..).step_by(thinned(8, 1) as usize) {
        let mut struck = false;
        for persistent in [false, true] {
            let _repeat = Repeat::new("upkeep::faults", calls);
            let sim = Simulation::new(calls);
            let store = prepared(&sim);
            let plan = FaultPlan::after(calls, Fault::Eio);
            sim.disk().inject(if persistent { plan.persistent() } else { plan });
            let outcome = work(&store);
            struck |= sim.disk().faults_struck() > 0;
            sim.disk().clear_faults();
            // What was there is read on, whatever failed.
            check_reads(&store);
            match outcome {
                Ok(()) => check(&store),
                Err(Error::Io { .. } | Error::Poisoned { .. }) => {
                    check_images(&sim, calls, again);
                    let created = store.raw("blobs").unwrap().create("new", &value(1, 10));
                    let poisoned = store.stats().unwrap().poisoned;
                    assert_eq!(
                        matches!(created, Err(Error::Poisoned { .. })),
                        poisoned,
                        "{created:?}"
                    );
                    if !poisoned {
                        created.unwrap();
                        store.raw("blobs").unwrap().delete("new", Precondition::Always).unwrap();
                        again(&store);
                        check(&store);
                    }
                }
                Err(error) => panic!("unexpected: {error:?}"),
            }
        }
        if !struck {
            return calls;
        }
    }
    0
}

fn check_reads(store: &Store) {
    let blobs = store.raw("blobs").unwrap();
    for key in 0..KEYS {
        let found = blobs.get([key]).unwrap().map(|item| number_in(&item.value));
        assert_eq!(found, (key >= KEYS / 4).then_some(1), "key {key}");
    }
}

#[test]
fn an_index_that_is_replaced_while_any_disk_call_fails_loses_nothing() {
    let calls = fail_disk_calls(Simulation::replace_index, replace_index);
    assert!(calls >= 4, "{calls}");
}

#[test]
fn a_compaction_in_which_any_disk_call_fails_loses_nothing() {
    let calls = fail_disk_calls(|store| store.compact().map(drop), compact);
    assert!(calls > 20, "{calls}");
}

/// Lets every call of the backing store fail from some one on: the work is done without it.
fn fail_index_calls(work: fn(&Store) -> Result<(), Error>, again: fn(&Store)) {
    for calls in 0..60 {
        let _repeat = Repeat::new("upkeep::faults", calls);
        let sim = Simulation::new(calls);
        let store = prepared(&sim);
        sim.fail_index_after(calls);
        work(&store).expect("the journal is whole");
        check(&store);
        if calls % 5 == 0 {
            check_images(&sim, calls, again);
        }
        sim.fail_index_after(u64::MAX);
        again(&store);
        check(&store);
        assert!(!store.stats().unwrap().poisoned);
    }
}

#[test]
fn a_replacement_of_the_index_in_which_any_of_its_calls_fails_loses_nothing() {
    fail_index_calls(Simulation::replace_index, replace_index);
}

#[test]
fn a_compaction_in_which_any_call_of_the_index_fails_loses_nothing() {
    fail_index_calls(|store| store.compact().map(drop), compact);
}

/// A crash at each call, with the call itself done or not.
#[test]
fn a_crash_at_any_sync_of_compaction_and_replacing_the_index_loses_nothing() {
    for calls in 0.. {
        let _repeat = Repeat::new("upkeep::faults", calls);
        let sim = Simulation::new(calls);
        let store = prepared(&sim);
        for operation in [Operation::Sync, Operation::Remove, Operation::SyncDir] {
            sim.disk().inject(FaultPlan::after(calls, Fault::Eio).only(operation).persistent());
        }
        let outcome = store.compact().map(drop).and_then(|()| Simulation::replace_index(&store));
        check_images(&sim, calls, compact);
        check_images(&sim, !calls, replace_index);
        if outcome.is_ok() && sim.disk().faults_struck() == 0 {
            assert!(calls > 8, "{calls}");
            break;
        }
    }
}
