//! A clear that is cut short, refused or copied: all of it or nothing.

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{Error, Options, Precondition, Store};

use super::{fill, value};
use crate::{Case, thinned};

const ITEMS: u64 = 700;

/// A store whose index on disk holds the items, some of which were changed since.
fn filled(sim: &Simulation) -> Store {
    let store = sim.open(&Options::new()).unwrap();
    let (blobs, other) = (store.raw("blobs").unwrap(), store.raw("other").unwrap());
    fill(&store, &blobs, ITEMS, &value());
    Simulation::checkpoint(&store).unwrap();
    for item in 0..9_u64 {
        blobs.upsert(item.to_be_bytes(), &value(), Precondition::Always).unwrap();
    }
    fill(&store, &other, 5, &value());
    store
}

/// Clears, uses the name again, and takes a checkpoint.
fn work(store: &Store) -> (Result<bool, Error>, Result<u64, Error>) {
    let blobs = store.raw("blobs").unwrap();
    let cleared = blobs.clear().map(|items| items == ITEMS);
    let mut written = 0;
    if cleared.is_ok() {
        let value = Bytes::from_static(b"new");
        let again = (0..3_u64).map(|item| blobs.create(item.to_be_bytes(), &value));
        written = again.take_while(Result::is_ok).count() as u64;
    }
    (cleared, Simulation::checkpoint(store).map(|()| written))
}

/// What an image holds of the two collections.
fn lens(image: &Simulation) -> (u64, u64) {
    let store = image.open(&Options::new()).unwrap();
    let (blobs, other) = (store.raw("blobs").unwrap(), store.raw("other").unwrap());
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    store.verify().unwrap();
    let lens = (blobs.len().unwrap(), other.len().unwrap());
    // It is as good as any: what it holds can be cleared, and is gone then.
    assert_eq!(blobs.clear().unwrap(), lens.0);
    Simulation::checkpoint(&store).unwrap();
    drop((blobs, other));
    store.close().unwrap();
    let store = image.open(&Options::new()).unwrap();
    assert!(store.raw("blobs").unwrap().is_empty().unwrap());
    lens
}

#[test]
fn a_clear_that_is_cut_at_any_call_is_whole_or_absent() {
    let (mut whole, mut absent) = (0, 0);
    for cut in (0..).step_by(thinned(2, 1) as usize) {
        let _case = Case(format!("cut at call {cut}"));
        let sim = Simulation::new(cut);
        let store = filled(&sim);
        sim.disk().inject(FaultPlan::after(cut, Fault::Eio).persistent());
        let (cleared, _) = work(&store);
        let struck = sim.disk().faults_struck() > 0;
        let mut rng = fastrand::Rng::with_seed(cut);
        for image in [sim.crash(&mut rng), sim.crash(&mut rng), sim.kill(&mut rng)] {
            let (blobs, other) = lens(&image);
            assert_eq!(other, 5);
            assert!(blobs == ITEMS || blobs <= 3, "{blobs} of {ITEMS} items are left");
            assert!(cleared.is_err() || blobs <= 3, "an acknowledged clear is gone");
            *if blobs <= 3 { &mut whole } else { &mut absent } += 1;
        }
        if !struck {
            break;
        }
    }
    assert!(whole > 0 && absent > 0, "{whole} images hold the clear and {absent} do not");
}

/// The checkpoint after a clear replaces and removes pairs of the index; it is cut short at each of
/// its calls.
#[test]
fn a_checkpoint_after_a_clear_that_is_cut_at_any_call_leaves_a_whole_index() {
    for calls in (0..40).step_by(thinned(3, 1) as usize) {
        let _case = Case(format!("the index fails at call {calls}"));
        let sim = Simulation::new(calls);
        let store = filled(&sim);
        sim.fail_index_after(calls);
        let (cleared, _) = work(&store);
        assert!(cleared.unwrap(), "a clear needs no call of the index");
        let mut rng = fastrand::Rng::with_seed(calls);
        sim.fail_index_after(u64::MAX);
        for image in [sim.kill(&mut rng), sim.crash(&mut rng)] {
            let (blobs, other) = lens(&image);
            assert_eq!((blobs, other), (3, 5));
        }
    }
}

#[test]
fn a_clear_whose_sync_fails_is_unknown_and_the_next_open_decides() {
    let sim = Simulation::new(1);
    let store = filled(&sim);
    let syncs = FaultPlan::after(0, Fault::Eio).only(ifmatch::simulation::Operation::Sync);
    sim.disk().inject(syncs);
    let blobs = store.raw("blobs").unwrap();
    let Err(Error::CommitUnknown { meta, .. }) = blobs.clear() else { panic!("it is known") };
    assert!(meta.parent().is_none());
    assert!(matches!(blobs.clear(), Err(Error::Poisoned { .. })));
    assert!(matches!(store.drop_collection("other"), Err(Error::Poisoned { .. })));
}

#[test]
fn copies_made_before_and_after_a_clear_hold_what_the_store_held() {
    let sim = Simulation::new(2);
    let store = filled(&sim);
    let open = |at: &str| sim.at(at).open(&Options::new()).unwrap();
    store.backup("before").unwrap();
    let blobs = store.raw("blobs").unwrap();
    assert_eq!(blobs.clear().unwrap(), ITEMS);
    store.backup("after").unwrap();
    blobs.create("a", &value()).unwrap();
    assert!(store.drop_collection("other").unwrap());
    Simulation::checkpoint(&store).unwrap();
    store.compact().unwrap();
    store.backup("compacted").unwrap();
    for (at, in_blobs, in_other) in [("before", ITEMS, 5), ("after", 0, 5), ("compacted", 1, 0)] {
        let _case = Case(at.to_owned());
        let copy = open(at);
        assert_eq!(copy.raw("blobs").unwrap().len().unwrap(), in_blobs);
        assert_eq!(copy.raw("other").unwrap().len().unwrap(), in_other);
        assert_eq!(copy.collections().unwrap().len(), if in_other > 0 { 2 } else { 1 });
        copy.verify().unwrap();
        assert_eq!(Simulation::differs_from_journal(&copy).unwrap(), None);
        drop(copy);
        let restored = sim.at(format!("restored {at}")).restore(at, &Options::new()).unwrap();
        assert_eq!(restored.raw("blobs").unwrap().len().unwrap(), in_blobs);
    }
}
