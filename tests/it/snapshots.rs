//! Snapshots: the store as it was at one revision, whatever writers do meanwhile, within bounds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use ifmatch::simulation::Simulation;
use ifmatch::{
    Collection, Durability, Error, Item, Options, Precondition, Revision, Snapshot,
    SnapshotCollection, Store,
};

use crate::backends::on_every_backend;
use crate::{Repeat, from_environment, thinned};

type Numbers = SnapshotCollection<u64>;

pub(crate) fn values(items: impl Iterator<Item = Result<Item<u64>, Error>>) -> Vec<u64> {
    items.map(|item| item.unwrap().value).collect()
}

/// A store with the keys "a" to "e" and the values 0 to 4.
pub(crate) fn filled(store: &Store) -> Collection<u64> {
    let numbers = store.collection("numbers").unwrap();
    for (value, key) in (0..).zip(["a", "b", "c", "d", "e"]) {
        numbers.create(key, &value).unwrap();
    }
    numbers
}

#[test]
fn a_snapshot_shows_the_same_by_every_read_whatever_is_written_after_it() {
    on_every_backend(|bench| {
        let store = bench.store();
        let numbers = filled(&store);
        let stored: Vec<Item<u64>> = numbers.iter().unwrap().map(Result::unwrap).collect();
        let snapshot = store.snapshot();
        assert_eq!(snapshot.revision(), store.revision());
        let seen = snapshot.collection(&numbers);
        let look = || {
            let items: Vec<Item<u64>> = seen.iter().unwrap().map(Result::unwrap).collect();
            assert_eq!(items, stored, "values and versions are as they were");
            let keys: Vec<Vec<u8>> = seen.keys().unwrap().map(Result::unwrap).collect();
            assert!(keys.iter().map(Vec::as_slice).eq(stored.iter().map(Item::key)));
            for item in &stored {
                assert_eq!(seen.get(item.key()).unwrap().as_ref(), Some(item));
            }
            let many = seen.get_many(["e", "new", "a", "b"]).unwrap();
            let many: Vec<_> = many.iter().map(|item| item.as_ref().map(|i| i.value)).collect();
            assert_eq!(many, [Some(4), None, Some(0), Some(1)]);
            assert_eq!(values(seen.range("b".."d").unwrap()), [1, 2]);
            assert_eq!(values(seen.range("b"..="d").unwrap().rev()), [3, 2, 1]);
            assert_eq!(values(seen.prefix("c").unwrap()), [2]);
            assert!(seen.prefix("n").unwrap().next().is_none());
            assert_eq!(seen.len().unwrap(), 5);
            assert!(!seen.is_empty().unwrap());
            assert_eq!(seen.get("new").unwrap(), None);
        };
        look();
        numbers.replace("a", &10, Precondition::Always).unwrap();
        look();
        numbers.delete("b", Precondition::Always).unwrap();
        numbers.create("new", &11).unwrap();
        look();
        numbers.create("b", &12).unwrap();
        numbers.delete("b", Precondition::Always).unwrap();
        numbers.replace("new", &13, Precondition::Always).unwrap();
        let mut batch = store.batch();
        for key in ["c", "d", "e", "new"] {
            batch = batch.delete(&numbers, key, Precondition::Always);
        }
        batch.upsert(&numbers, "0", &14, Precondition::Always).commit().unwrap();
        look();
        assert_eq!(values(numbers.iter().unwrap()), [14, 10], "what is stored now");
    });
}

#[test]
fn a_snapshot_of_an_empty_store_stays_empty() {
    on_every_backend(|bench| {
        let store = bench.store();
        let empty = store.snapshot();
        let numbers = filled(&store);
        assert!(empty.collection(&numbers).is_empty().unwrap());
        assert_eq!(empty.collection(&numbers).get("a").unwrap(), None);
        assert_eq!(empty.collection(&numbers).iter().unwrap().count(), 0);
        assert_eq!(empty.revision(), ifmatch::Revision::ZERO);
    });
}

#[test]
fn each_of_many_snapshots_shows_its_own_moment() {
    on_every_backend(|bench| {
        let store = bench.store();
        let numbers = filled(&store);
        let mut model: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for item in numbers.iter().unwrap().map(Result::unwrap) {
            model.insert(item.key().to_vec(), item.value);
        }
        let mut snapshots: Vec<(Snapshot, BTreeMap<Vec<u8>, u64>)> = Vec::new();
        let mut rng = fastrand::Rng::with_seed(1);
        for n in 0..150_u64 {
            snapshots.push((store.snapshot(), model.clone()));
            let key = [b'a' + rng.u8(..8)];
            if rng.u8(..3) > 0 {
                numbers.upsert(key, &n, Precondition::Always).unwrap();
                model.insert(key.to_vec(), n);
            } else if numbers.delete(key, Precondition::Always).is_ok() {
                model.remove(&key[..]);
            }
        }
        assert_eq!(store.stats().unwrap().snapshots, 150);
        rng.shuffle(&mut snapshots);
        while let Some((snapshot, model)) = snapshots.pop() {
            let seen = snapshot.collection(&numbers);
            let items = seen.iter().unwrap().map(Result::unwrap);
            let items: BTreeMap<_, _> = items.map(|i| (i.key().to_vec(), i.value)).collect();
            assert_eq!(items, model);
        }
        assert_eq!(store.stats().unwrap().snapshots, 0);
    });
}

/// An iterator reads ahead in steps; what is written between them must not be seen.
#[test]
fn an_iterator_of_a_snapshot_does_not_see_what_is_written_while_it_runs() {
    on_every_backend(|bench| {
        let store = bench.store();
        let numbers = bench.numbers();
        let fill = |from: u64, value: u64| {
            let mut batch = store.batch();
            for n in (from..3_000).step_by(2) {
                batch = batch.upsert(&numbers, n.to_be_bytes(), &value, Precondition::Always);
            }
            batch.commit().unwrap();
        };
        fill(0, 1);
        let snapshot = store.snapshot();
        let seen = snapshot.collection(&numbers);
        let mut keys = seen.keys().unwrap();
        let mut items = seen.iter().unwrap();
        let (mut low, mut high) = (0, 1_500_u64);
        while low < high {
            let key = |place: u64| (2 * place).to_be_bytes().to_vec();
            assert_eq!(keys.next().unwrap().unwrap(), key(low));
            let item = items.next().unwrap().unwrap();
            assert_eq!((item.key(), item.value), (&*key(low), 1));
            low += 1;
            let item = items.next_back().unwrap().unwrap();
            high -= 1;
            assert_eq!((item.key(), item.value), (&*key(high), 1));
            match low {
                5 => fill(1, 2),
                100 => fill(0, 3),
                200 => {
                    let mut batch = store.batch();
                    for n in 0..3_000_u64 {
                        batch = batch.delete(&numbers, n.to_be_bytes(), Precondition::Always);
                    }
                    batch.commit().unwrap();
                }
                _ => {}
            }
        }
        assert!(items.next().is_none() && items.next_back().is_none());
        assert_eq!(keys.count(), 750);
        assert_eq!((seen.len().unwrap(), numbers.len().unwrap()), (1_500, 0));
    });
}

const ACCOUNTS: u64 = 12;
const TOTAL: u64 = ACCOUNTS * 100;

/// Moves an amount from one account to another, closing an emptied one and opening a missing one.
fn transfer(store: &Store, accounts: &Collection<u64>, rng: &mut fastrand::Rng) {
    let (from, to) = (rng.u64(..ACCOUNTS), rng.u64(..ACCOUNTS));
    if from == to {
        return;
    }
    let keys = [from.to_be_bytes(), to.to_be_bytes()];
    let items = accounts.get_many(keys).unwrap();
    let [Some(giver), taker] = &items[..] else { return };
    let amount = if rng.u8(..4) == 0 { giver.value } else { rng.u64(..=giver.value) };
    let batch = store.batch();
    let batch = if amount == giver.value {
        batch.delete(accounts, keys[0], giver.etag())
    } else {
        batch.replace(accounts, keys[0], &(giver.value - amount), giver.etag())
    };
    let seen = Precondition::if_unchanged(taker.as_ref().map(Item::etag));
    let had = taker.as_ref().map_or(0, |item| item.value);
    match batch.upsert(accounts, keys[1], &(had + amount), seen).commit() {
        Ok(_) | Err(Error::Batch { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
}

/// All that can be read of a snapshot agrees, and is what a sum over all accounts must be.
fn check_total(seen: &Numbers) -> Vec<Item<u64>> {
    let items: Vec<Item<u64>> = seen.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(items.iter().map(|item| item.value).sum::<u64>(), TOTAL, "half of a batch is seen");
    let many = seen.get_many((0..ACCOUNTS).map(u64::to_be_bytes)).unwrap();
    assert!(many.iter().flatten().eq(&items));
    assert_eq!(seen.len().unwrap(), items.len() as u64);
    items
}

#[test]
fn snapshots_beside_writers_show_whole_batches_and_never_change() {
    let rounds = from_environment("IFMATCH_SNAPSHOT_ROUNDS").unwrap_or(thinned(15, 60));
    let seed = from_environment("IFMATCH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let _repeat = Repeat::new("snapshots", seed);
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::Eventual).cache_bytes(8 << 10);
    let on_disk = options.open(folder.path().join("store")).unwrap();
    for store in [Store::in_memory(), on_disk] {
        let accounts = store.collection::<u64>("accounts").unwrap();
        let mut batch = store.batch();
        for n in 0..ACCOUNTS {
            batch = batch.create(&accounts, n.to_be_bytes(), &100);
        }
        batch.commit().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (store, accounts, done) = (&store, &accounts, &done);
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed ^ n);
                    while !done.load(Ordering::Relaxed) {
                        transfer(store, accounts, &mut rng);
                    }
                });
            }
            let _stop = SetOnDrop(&done);
            let mut rng = fastrand::Rng::with_seed(!seed);
            let mut held: Vec<(Snapshot, Vec<Item<u64>>)> = Vec::new();
            for _ in 0..rounds {
                let snapshot = store.snapshot();
                let items = check_total(&snapshot.collection(&accounts));
                let newest = held.iter().map(|(snapshot, _)| snapshot.revision()).max();
                assert!(newest.is_none_or(|newest| newest <= snapshot.revision()));
                held.push((snapshot, items));
                for (snapshot, items) in &held {
                    assert_eq!(check_total(&snapshot.collection(&accounts)), *items);
                }
                if held.len() > 4 {
                    held.swap_remove(rng.usize(..held.len()));
                }
            }
        });
        assert_eq!(store.stats().unwrap().snapshots, 0);
        assert_eq!(Simulation::saved_heads(&store).unwrap(), 0);
    }
}

/// Lets the writers end also when the reader panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_snapshot_sees_each_write_that_returned_before_it() {
    let store = Store::in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (store, numbers) = (&store, &numbers);
            scope.spawn(move || {
                for n in 0..200 {
                    let key = thread.to_be_bytes();
                    let meta = numbers.upsert(key, &n, Precondition::Always).unwrap();
                    let snapshot = store.snapshot();
                    assert!(snapshot.revision() >= meta.revision());
                    let seen = snapshot.collection(numbers).get(key).unwrap();
                    assert_eq!(seen.map(|item| item.etag()), Some(meta.etag()));
                }
            });
        }
    });
    assert_eq!(Simulation::saved_heads(&store).unwrap(), 0);
}

#[test]
fn a_collection_of_another_store_is_refused() {
    let snapshot = Store::in_memory().snapshot();
    let foreign = snapshot.collection(&Store::in_memory().collection::<u64>("numbers").unwrap());
    let refused = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::InvalidKey { .. })), "{result:?}");
    };
    refused(foreign.get("a").map(drop));
    refused(foreign.get_many(["a"]).map(drop));
    refused(foreign.iter().map(drop));
    refused(foreign.prefix("a").map(drop));
    refused(foreign.range("a"..).map(drop));
    refused(foreign.keys().map(drop));
    refused(foreign.len().map(drop));
    refused(foreign.is_empty().map(drop));
}

#[test]
fn a_snapshot_keeps_its_store_open_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    let numbers = filled(&store);
    let snapshot = store.snapshot();
    drop(store);
    let seen = snapshot.collection(&numbers);
    drop(numbers);
    assert!(matches!(Store::open(&path), Err(Error::Locked { .. })));
    assert_eq!(seen.len().unwrap(), 5);
    drop((snapshot, seen));

    let store = Store::open(&path).unwrap();
    let numbers = store.collection::<u64>("numbers").unwrap();
    let snapshot = store.snapshot();
    let mut begun = snapshot.collection(&numbers).iter().unwrap();
    store.clone().close().unwrap();
    let late = store.snapshot();
    assert_eq!(late.revision(), Revision::ZERO);
    assert!(matches!(late.cursor(), Err(Error::Closed)));
    assert!(matches!(late.collection(&numbers).get("a"), Err(Error::Closed)));
    assert!(matches!(snapshot.collection(&numbers).get("a"), Err(Error::Closed)));
    assert!(matches!(snapshot.collection(&numbers).len(), Err(Error::Closed)));
    assert!(matches!(begun.next(), Some(Err(Error::Closed))));
    assert!(begun.next().is_none());
}

#[test]
fn a_poisoned_store_still_gives_snapshots_of_what_was_applied() {
    use ifmatch::simulation::{Fault, FaultPlan, Operation};

    let simulation = Simulation::new(1);
    let store = simulation.open(&Options::new()).unwrap();
    let numbers = filled(&store);
    let before = store.snapshot();
    simulation.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
    let failed = numbers.replace("a", &9, Precondition::Always);
    assert!(matches!(failed, Err(Error::CommitUnknown { .. })), "{failed:?}");
    let after = store.snapshot();
    assert_eq!(values(before.collection(&numbers).iter().unwrap()), [0, 1, 2, 3, 4]);
    assert_eq!(values(after.collection(&numbers).iter().unwrap()), [9, 1, 2, 3, 4]);
}
