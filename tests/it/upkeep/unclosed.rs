//! Programs that never close their store.

use std::thread;
use std::time::Duration;

use ifmatch::simulation::Simulation;
use ifmatch::{Options, Precondition, Store};

fn write(store: &Store, run: u64) {
    let runs = store.collection::<u64>("runs").unwrap();
    runs.upsert(run.to_be_bytes(), &run, Precondition::Always).unwrap();
}

/// Each such run leaves a segment. None of them writes enough for a checkpoint, so that the next
/// has ever more to replay, unless upkeep sees to it.
#[test]
fn the_segments_of_runs_that_were_killed_are_merged_and_covered() {
    const RUNS: u64 = 40;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut sim = Simulation::new(1);
    for run in 0..RUNS {
        let store = sim.open(&Options::new()).unwrap();
        write(&store, run);
        sim = sim.kill(&mut rng);
    }
    let quiet = sim.kill(&mut rng).open(&Options::new()).unwrap();
    assert!(quiet.stats().unwrap().segments >= RUNS - 1, "{:?}", quiet.stats());
    let store = sim.open_with_background(&Options::new()).unwrap();
    write(&store, RUNS);
    while store.stats().unwrap().segments > 20 {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(store.stats().unwrap().checkpointed.is_some());
    assert_eq!(store.collection::<u64>("runs").unwrap().len().unwrap(), RUNS + 1);
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
}

/// Few segments, and more in them than is replayed in no time, though this run writes little.
#[test]
fn what_an_open_had_to_replay_is_covered_when_the_store_is_idle() {
    let mut rng = fastrand::Rng::with_seed(1);
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for n in 0..24_u8 {
        blobs.create([n], &vec![n; 100_000].into()).unwrap();
    }
    let sim = sim.kill(&mut rng);
    let store = sim.open_with_background(&Options::new()).unwrap();
    assert!(store.stats().unwrap().segments > 1);
    write(&store, 0);
    while store.stats().unwrap().checkpointed.is_none() {
        thread::sleep(Duration::from_millis(10));
    }
}
