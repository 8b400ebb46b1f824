//! What snapshots may keep in memory, and what becomes of those that would need more.

use std::collections::VecDeque;
use std::time::Duration;

use ifmatch::simulation::Simulation;
use ifmatch::{Error, Filter, HistoryPolicy, Index, Options, Precondition, Store};

use crate::snapshots::{filled, values};

/// What one saved head of `filled` takes: 144 bytes, and the key behind the collection's name.
const SAVED_BYTES: u64 = 144 + 9;

#[test]
fn the_oldest_snapshot_is_given_up_exactly_when_the_limit_is_passed() {
    let simulation = Simulation::new(1);
    let store = simulation.open(&Options::new().snapshot_bytes(3 * SAVED_BYTES)).unwrap();
    let numbers = filled(&store);
    let old = store.snapshot();
    let replace = |key| {
        numbers.replace(key, &9, Precondition::Always).unwrap();
    };
    replace("a");
    let young = store.snapshot();
    let mut begun = old.collection(&numbers).iter().unwrap();
    // The same item again takes nothing more, nor does one that no snapshot sees.
    for key in ["b", "c", "b", "c"] {
        replace(key);
    }
    numbers.create("f", &5).unwrap();
    replace("f");
    assert_eq!(Simulation::saved_heads(&store).unwrap(), 3);
    assert_eq!(values(old.collection(&numbers).iter().unwrap()), [0, 1, 2, 3, 4]);

    replace("d");
    let too_old = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::SnapshotTooOld)), "{result:?}");
    };
    let seen = old.collection(&numbers);
    too_old(seen.get("a").map(drop));
    too_old(seen.get("unwritten").map(drop));
    too_old(seen.get_many(["e"]).map(drop));
    too_old(seen.len().map(drop));
    too_old(seen.is_empty().map(drop));
    too_old(seen.keys().unwrap().next().unwrap().map(drop));
    too_old(begun.next().unwrap().map(drop));
    assert!(begun.next().is_none(), "an iterator ends after it");
    let mut backwards = seen.range("a"..).unwrap();
    too_old(backwards.next_back().unwrap().map(drop));
    assert!(backwards.next().is_none());

    assert_eq!(store.stats().unwrap().snapshots, 1);
    assert_eq!(values(young.collection(&numbers).iter().unwrap()), [9, 1, 2, 3, 4]);
    assert_eq!(Simulation::saved_heads(&store).unwrap(), 3, "those of b, c and d");
    drop((old, seen, begun, backwards));
    assert_eq!(values(young.collection(&numbers).iter().unwrap()), [9, 1, 2, 3, 4]);
    replace("e");
    too_old(young.collection(&numbers).get("e").map(drop));
    assert_eq!(Simulation::saved_heads(&store).unwrap(), 0);
    assert_eq!(store.stats().unwrap().snapshots, 0);
}

#[test]
fn entries_of_indexes_count_in_what_snapshots_keep() {
    // Room for the head of one item, and not for an entry as well.
    let simulation = Simulation::new(1);
    let store = simulation.open(&Options::new().snapshot_bytes(250)).unwrap();
    let items = store.collection::<[u8; 2]>("items").unwrap();
    items.ensure_index(Index::on("/0")).unwrap();
    items.create("a", &[1, 1]).unwrap();
    let snapshot = store.snapshot();
    let seen = snapshot.collection(&items);
    let found = |value: u8| seen.find(Filter::eq("/0", value)).count();

    items.replace("a", &[1, 2], Precondition::Always).unwrap();
    assert_eq!((Simulation::saved_heads(&store).unwrap(), found(1).unwrap()), (1, 1));

    items.replace("a", &[2, 2], Precondition::Always).unwrap();
    assert!(matches!(found(1), Err(Error::SnapshotTooOld)));
    assert_eq!(Simulation::saved_heads(&store).unwrap(), 0);
}

#[test]
fn what_a_dropped_snapshot_alone_saw_is_freed() {
    let store = Store::in_memory();
    let numbers = filled(&store);
    let replace_all = || {
        for key in ["a", "b", "c", "d", "e"] {
            numbers.replace(key, &9, Precondition::Always).unwrap();
        }
    };
    let saved = || Simulation::saved_heads(&store).unwrap();
    replace_all();
    assert_eq!(saved(), 0);
    let first = store.snapshot();
    replace_all();
    let second = store.snapshot();
    let clone = second.clone();
    let iterator = second.collection(&numbers).iter().unwrap();
    replace_all();
    replace_all();
    assert_eq!(saved(), 10);
    drop(first);
    assert_eq!(saved(), 5);
    drop(second);
    drop(clone);
    assert_eq!((saved(), store.stats().unwrap().snapshots), (5, 1), "an iterator keeps it");
    assert_eq!(values(iterator), [9; 5]);
    assert_eq!((saved(), store.stats().unwrap().snapshots), (0, 0));
}

#[test]
fn a_snapshot_that_is_given_up_for_disk_space_says_so_and_the_others_go_on() {
    let store = Store::in_memory();
    let numbers = filled(&store);
    let [old, young] = [(); 2].map(|()| store.snapshot());
    numbers.delete("a", Precondition::Always).unwrap();
    assert!(Simulation::give_up_oldest_snapshot(&store).unwrap());
    assert!(matches!(old.collection(&numbers).get("b"), Err(Error::SnapshotTooOld)));
    assert_eq!(young.collection(&numbers).len().unwrap(), 5);
    assert!(Simulation::give_up_oldest_snapshot(&store).unwrap());
    assert!(!Simulation::give_up_oldest_snapshot(&store).unwrap());
    assert!(matches!(young.collection(&numbers).len(), Err(Error::SnapshotTooOld)));
    assert_eq!(store.snapshot().collection(&numbers).len().unwrap(), 4);
}

/// A regression: what compaction had replaced waited for a moment without any snapshot, which
/// never comes where snapshots overlap, and then young snapshots were given up.
#[test]
fn a4_overlapping_snapshots_hold_up_compaction_only_for_as_long_as_each_lives() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let items = store.raw("items").unwrap();
    let write = |round: u8| {
        for key in 0..20_u8 {
            items.upsert([key], &vec![round; 100_000].into(), Precondition::Always).unwrap();
        }
    };
    write(0);
    let mut before = store.snapshot();
    for round in 1..40 {
        write(round);
        let next = store.snapshot();
        let seen = before.collection(&items).get([7]).unwrap().expect("a young snapshot");
        assert_eq!(seen.value[0], round - 1);
        before = next;
        store.compact().unwrap();
        let bytes = store.stats().unwrap().journal_bytes;
        assert!(bytes < 16 << 20, "round {round}: {bytes} bytes for 2 MB that live");
    }
}

/// A regression: with each compaction the segments that those before had replaced waited for all
/// snapshots anew. So where some always live longer than it is from one compaction to the next,
/// nothing was freed any more, and in the end young snapshots were given up.
#[test]
fn a4_overlapping_snapshots_hold_up_only_the_compactions_that_they_have_seen() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let items = store.raw("items").unwrap();
    let mut alive = VecDeque::new();
    for round in 0..60_u8 {
        for key in 0..20_u8 {
            items.upsert([key], &vec![round; 100_000].into(), Precondition::Always).unwrap();
        }
        alive.push_back((round, store.snapshot()));
        if alive.len() > 3 {
            alive.pop_front();
        }
        store.compact().unwrap();
        for (then, snapshot) in &alive {
            let seen = snapshot.collection(&items).get([7]).unwrap().expect("a young snapshot");
            assert_eq!(seen.value[0], *then);
        }
        let bytes = store.stats().unwrap().journal_bytes;
        assert!(bytes < 24 << 20, "round {round}: {bytes} bytes for 2 MB that live");
    }
}

/// A regression: tombstones stayed for as long as any snapshot lived.
#[test]
fn a4_a_tombstone_waits_for_snapshots_that_are_older_than_it_and_for_no_others() {
    let sim = Simulation::new(1);
    let tombstones = HistoryPolicy::new().tombstones(Duration::ZERO);
    let store = sim.open(&Options::new().history(tombstones)).unwrap();
    let items = store.raw("items").unwrap();
    items.create("a", &"one".into()).unwrap();
    let older = store.snapshot();
    items.delete("a", Precondition::Always).unwrap();
    let younger = store.snapshot();
    sim.set_now_ms(1_700_000_001_000);
    assert_eq!(store.compact().unwrap().purged_tombstones, 0);
    assert!(older.collection(&items).get("a").unwrap().is_some());
    drop(older);
    items.create("b", &"two".into()).unwrap();
    items.delete("b", Precondition::Always).unwrap();
    sim.set_now_ms(1_700_000_002_000);
    assert_eq!(store.compact().unwrap().purged_tombstones, 1, "that of a, and not that of b");
    assert!(younger.collection(&items).get("a").unwrap().is_none());
}
