//! Where entries and heads lie while segments take the place of others.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{Cursor, Error, HistoryPolicy, Options, Precondition, Store};

use super::value;
use crate::thinned;

/// A regression: an orderly close counts the live bytes of the journal's segments and not of
/// retired ones, and moving heads out of these afterwards took more away than was counted.
#[test]
fn a_store_closed_while_heads_still_point_into_retired_segments_counts_no_less_than_nothing() {
    for calls in (0..40).step_by(thinned(5, 1) as usize) {
        let sim = Simulation::new(calls);
        let store = sim.open(&Options::new().cache_bytes(0)).unwrap();
        let blobs = store.raw("blobs").unwrap();
        for round in 0..3_u64 {
            for key in 0..60_u8 {
                blobs.upsert([key], &value(round, 5_000), Precondition::Always).unwrap();
            }
        }
        sim.disk().inject(FaultPlan::after(calls, Fault::Eio).only(Operation::Read));
        let compacted = store.compact();
        sim.disk().clear_faults();
        assert!(matches!(compacted, Ok(_) | Err(Error::Io { .. })), "{compacted:?}");
        drop(blobs);
        store.close().unwrap();
        let store = sim.open(&Options::new()).unwrap();
        let live_bytes = store.stats().unwrap().live_bytes;
        assert!(live_bytes < 1 << 20, "{live_bytes}");
        let blobs = store.raw("blobs").unwrap();
        for key in 0..30_u8 {
            blobs.upsert([key], &value(9, 5_000), Precondition::Always).unwrap();
        }
        let stats = store.stats().unwrap();
        assert!((150_000..330_000).contains(&stats.live_bytes), "{stats:?}");
        store.compact().unwrap();
        let stats = store.stats().unwrap();
        assert!((300_000..330_000).contains(&stats.live_bytes), "{stats:?}");
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }
}

/// A regression: the heads of purged tombstones that an earlier process had left were looked for
/// once, and forgotten when the first attempt failed.
#[test]
fn heads_of_purged_tombstones_that_a_kill_left_go_even_if_the_first_attempt_fails() {
    let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
    let mut interrupted = 0;
    for calls in (0..150).step_by(thinned(3, 1) as usize) {
        let sim = Simulation::new(calls);
        let store = sim.open(&options).unwrap();
        let blobs = store.raw("blobs").unwrap();
        for key in 0..60_u8 {
            blobs.upsert([key], &value(1, 5_000), Precondition::Always).unwrap();
        }
        for key in 0..30_u8 {
            blobs.delete([key], Precondition::Always).unwrap();
        }
        sim.set_now_ms(1_700_000_001_000);
        sim.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
        if store.compact().is_ok() {
            break;
        }
        let sim = sim.kill(&mut fastrand::Rng::with_seed(calls));
        let store = sim.open(&options).unwrap();
        sim.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Read));
        interrupted += u64::from(store.compact().is_err());
        sim.disk().clear_faults();
        store.compact().unwrap();
        let blobs = store.raw("blobs").unwrap();
        assert_eq!(blobs.len().unwrap(), 30);
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }
    assert!(interrupted > thinned(1, 5), "{interrupted}");
}

#[test]
fn a_tombstone_stays_as_long_as_an_older_entry_of_its_key_lies_in_a_segment_that_stays() {
    let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
    let sim = Simulation::new(1);
    let store = sim.open(&options).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for key in 0..300_u16 {
        blobs.create(key.to_be_bytes(), &value(1, 10_000)).unwrap();
        if key % 20 == 0 {
            blobs.create(format!("gone {key}"), &value(1, 10)).unwrap();
        }
    }
    for key in (0..300).step_by(20) {
        blobs.delete(format!("gone {key}"), Precondition::Always).unwrap();
    }
    for round in 0..60 {
        blobs.upsert("hot", &value(round, 30_000), Precondition::Always).unwrap();
    }
    sim.set_now_ms(1_700_000_001_000);
    let purged = store.compact().unwrap().purged_tombstones;
    assert!(purged < 15, "no segment stayed: {purged}");
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    let mut rebuilt = sim.kill(&mut fastrand::Rng::with_seed(1));
    rebuilt.remove_index();
    let store = rebuilt.open(&options).unwrap();
    assert_eq!(store.raw("blobs").unwrap().prefix("gone").unwrap().count(), 0);
}

#[test]
fn after_compaction_a_killed_store_opens_without_building_its_index_anew() {
    for seed in 0..10 {
        let sim = Simulation::new(seed);
        let store = sim.open(&Options::new()).unwrap();
        let blobs = store.raw("blobs").unwrap();
        for round in 0..4 {
            for key in 0..40_u8 {
                blobs.upsert([key], &value(round, 3_000), Precondition::Always).unwrap();
            }
        }
        store.compact().unwrap();
        blobs.create("later", &value(1, 10)).unwrap();
        let image = sim.kill(&mut fastrand::Rng::with_seed(seed));
        let stats = image.open(&Options::new()).unwrap().stats().unwrap();
        // An index that is built anew is a checkpoint of everything.
        assert!(stats.checkpoint_revision < store.revision(), "seed {seed}");
    }
}

/// Revisions and keys of everything that the feed shows.
fn shown(store: &Store) -> Vec<(u64, Vec<u8>)> {
    let changes = store.changes(Cursor::START).unwrap().map(Result::unwrap);
    changes.map(|change| (change.revision().0, change.key().to_vec())).collect()
}

#[test]
fn nothing_leaves_the_journal_while_it_is_held_even_by_a_compaction_under_way() {
    let sim = Simulation::new(2);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let (allowed, end) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                while round >= allowed.load(Ordering::SeqCst) {
                    if end.load(Ordering::SeqCst) {
                        return;
                    }
                    thread::sleep(Duration::from_micros(50));
                }
                for key in 0..30_u8 {
                    blobs.upsert([key], &value(round, 2_000), Precondition::Always).unwrap();
                }
                store.compact().unwrap();
            }
        });
        let mut failure = None;
        for round in (0..80_u64).step_by(thinned(3, 1) as usize) {
            allowed.fetch_max(round + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_micros(round * 417 % 12_000));
            let hold = Simulation::guard_journal(&store).unwrap();
            let before = shown(&store);
            thread::sleep(Duration::from_millis(4));
            if !shown(&store).starts_with(&before) {
                failure = Some(round);
                break;
            }
            drop(hold);
        }
        end.store(true, Ordering::SeqCst);
        assert_eq!(failure, None, "an entry is gone");
    });
}
