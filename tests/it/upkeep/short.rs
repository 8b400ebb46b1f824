//! Programs whose runs end before upkeep has had its turn: command-line tools, above all.

use std::io::ErrorKind;
use std::time::Duration;

use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{ChangeKind, Cursor, Error, Meta, Options, Precondition, Store};

use super::{number_in, value};
use crate::{Repeat, thinned};

/// No more than so many segments may be left by any number of runs.
const MOST_SEGMENTS: u64 = 66;
/// So many are left for the tests of what a run does about them.
const LEFT: u64 = 64;
/// Two do not fit into a segment of the shortest kind.
const VALUE_BYTES: usize = 200_000;

fn try_write(store: &Store, run: u64, len: usize) -> Result<Meta, Error> {
    let documents = store.raw("documents").unwrap();
    documents.upsert("one", &value(run, len), Precondition::Always)
}

fn write(store: &Store, run: u64) {
    try_write(store, run, VALUE_BYTES).unwrap();
}

fn check(store: &Store, run: u64) {
    let found = store.raw("documents").unwrap().get("one").unwrap().unwrap();
    assert_eq!(number_in(&found.value), run);
    let stats = store.stats().unwrap();
    assert!(stats.segments <= MOST_SEGMENTS, "run {run}: {stats:?}");
}

/// Runs that write once; `end` ends each and returns what the next one opens.
fn run_often(mut end: impl FnMut(Simulation, Store) -> Simulation) {
    let mut sim = Simulation::new(1);
    for run in 0..thinned(120, 200) {
        let store = sim.open_with_background(&Options::new()).unwrap();
        write(&store, run);
        check(&store, run);
        sim = end(sim, store);
    }
    let store = sim.open(&Options::new()).unwrap();
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
}

#[test]
fn runs_that_close_at_once_leave_a_bounded_journal() {
    run_often(|sim, store| {
        store.close().unwrap();
        sim
    });
}

#[test]
fn runs_that_are_killed_at_once_leave_a_bounded_journal() {
    let mut rng = fastrand::Rng::with_seed(1);
    run_often(|sim, _| sim.kill(&mut rng));
}

#[test]
fn what_expires_between_short_runs_is_swept() {
    let sim = Simulation::new(1);
    let ttl = Duration::from_secs(1);
    for run in 0..150_u64 {
        sim.set_now_ms(1_700_000_000_000 + run * 10_000);
        let store = sim.open_with_background(&Options::new()).unwrap();
        let pages = store.raw("pages").unwrap().with_ttl(ttl);
        pages.create(run.to_be_bytes(), &value(run, VALUE_BYTES)).unwrap();
        let stats = store.stats().unwrap();
        assert!(stats.segments <= MOST_SEGMENTS, "run {run}: {stats:?}");
        store.close().unwrap();
    }
    let store = sim.open(&Options::new()).unwrap();
    let expired = store
        .changes(Cursor::START)
        .unwrap()
        .filter(|change| change.as_ref().unwrap().kind() == ChangeKind::Expired)
        .count();
    assert!(expired >= 60, "{expired} were swept");
}

/// A store in which runs that were killed left enough for another to do.
fn left_behind() -> Simulation {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut sim = Simulation::new(1);
    for run in 0..LEFT {
        let store = sim.open(&Options::new()).unwrap();
        try_write(&store, run, 2_000).unwrap();
        store.raw("kept").unwrap().create([run as u8], &value(run, 6_000)).unwrap();
        sim = sim.kill(&mut rng);
    }
    sim
}

/// What a write to it has come to: it is there and was acknowledged, or is not known to be.
fn check_images(sim: &Simulation, acknowledged: bool, rng: &mut fastrand::Rng) {
    for image in [sim.kill(rng), sim.crash(rng)] {
        let store = image.open(&Options::new()).unwrap();
        let found = store.raw("documents").unwrap().get("one").unwrap().unwrap();
        let run = number_in(&found.value);
        assert!(run == LEFT || (run == LEFT - 1 && !acknowledged), "{run}");
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
        store.compact().unwrap();
        check(&store, run);
    }
}

/// A write is acknowledged whatever becomes of the work that it does beside, and is not lost to it.
#[test]
fn any_disk_call_of_the_work_that_was_left_may_fail() {
    let template = left_behind();
    let mut hindered = 0;
    for step in 0.. {
        let _repeat = Repeat::new("upkeep::short", step);
        let mut rng = fastrand::Rng::with_seed(step);
        let sim = template.kill(&mut rng);
        let store = sim.open_with_background(&Options::new()).unwrap();
        // The first calls one by one; of those that come back for each segment every few.
        let (first, few) = (thinned(5, 20), thinned(37, 6));
        let plan = FaultPlan::after(step.max(step.saturating_sub(first) * few), Fault::Eio);
        sim.disk().inject(if step % 2 == 0 { plan.persistent() } else { plan });
        let written = try_write(&store, LEFT, 2_000);
        let struck = sim.disk().faults_struck() > 0;
        sim.disk().clear_faults();
        check_images(&sim, written.is_ok(), &mut rng);
        if !struck {
            break;
        }
        hindered += u32::from(written.is_ok());
    }
    println!("{hindered} acknowledged writes could not do what was left");
    assert!(u64::from(hindered) > thinned(3, 20), "{hindered}");
}

/// A write that finds space for itself finds it for the work, too: that has what is set aside.
#[test]
fn a_full_disk_does_not_hinder_the_work_that_was_left_and_loses_nothing() {
    let template = left_behind();
    let mut refused = 0;
    for step in 0.. {
        let _repeat = Repeat::new("upkeep::short", step);
        let mut rng = fastrand::Rng::with_seed(step);
        let sim = template.kill(&mut rng);
        let store = sim.open_with_background(&Options::new()).unwrap();
        sim.disk().set_capacity(Some(sim.disk().total_len_bytes() + step * 50_000));
        let written = try_write(&store, LEFT, 2_000);
        let stats = store.stats().unwrap();
        assert!(!stats.poisoned);
        check_images(&sim, written.is_ok(), &mut rng);
        match written {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {
                refused += 1;
            }
            written => {
                written.unwrap();
                assert!(stats.segments < LEFT, "{} segments", stats.segments);
                break;
            }
        }
    }
    assert!(refused > 0);
}

/// It may have a full disk, and is to be quick.
#[test]
fn a_run_that_only_reads_does_nothing_of_it() {
    let sim = left_behind();
    let store = sim.open_with_background(&Options::new()).unwrap();
    let calls = sim.disk().calls_of(Operation::Write);
    assert_eq!(
        number_in(&store.raw("documents").unwrap().get("one").unwrap().unwrap().value),
        LEFT - 1
    );
    assert_eq!(sim.disk().calls_of(Operation::Write), calls);
    assert!(store.stats().unwrap().segments >= LEFT);
}
