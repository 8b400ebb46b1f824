//! Watching: the feed, waited on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{Change, Cursor, Durability, Error, Options, Precondition, Store, Watch};

use crate::feed::all;
use crate::thinned;

/// As long as no test that passes ever waits.
const LONG: Duration = Duration::from_secs(60);

const WRITERS: u64 = 8;

fn bytes(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_le_bytes())
}

/// Receives until so many changes are there, and looks that each is durable by then.
fn receive<T>(store: &Store, watch: &mut Watch<T>, count: u64) -> Vec<Change<T>> {
    let mut received = Vec::new();
    while (received.len() as u64) < count {
        let change = watch.recv_timeout(LONG).unwrap().expect("a change comes in time");
        let durable = store.stats().unwrap().durable_revision;
        assert!(change.revision() <= durable, "{} is not durable", change.revision());
        received.push(change);
    }
    received
}

/// Eight threads write, one item or a batch at a time, while watches that began before, meanwhile
/// and in the middle of the feed see everything once and in order.
fn watch_writers(store: &Store, writes: u64) {
    let (blobs, numbers) =
        (store.raw("blobs").unwrap(), store.collection::<u64>("numbers").unwrap());
    let total = WRITERS * writes * 4;
    let (received, late) = thread::scope(|scope| {
        let all = scope.spawn(|| receive(store, &mut store.watch(Cursor::START).unwrap(), total));
        let typed = scope.spawn(|| {
            let mut watch = numbers.watch(Cursor::START).unwrap();
            receive(store, &mut watch, WRITERS * writes)
        });
        for writer in 0..WRITERS {
            let (blobs, numbers) = (&blobs, &numbers);
            scope.spawn(move || {
                for n in 0..writes {
                    let key = format!("{writer}");
                    blobs.upsert(&key, &bytes(n), Precondition::Always).unwrap();
                    let batch = store.batch();
                    let batch = batch
                        .upsert(blobs, "shared", &bytes(n), Precondition::Always)
                        .upsert(numbers, &key, &n, Precondition::Always)
                        .upsert(blobs, format!("{key} too"), &bytes(n), Precondition::Always);
                    batch.commit().unwrap();
                }
            });
        }
        // One that stops often and goes on from its cursor.
        let late = scope.spawn(|| {
            let (mut received, mut place) = (Vec::new(), Cursor::START);
            while (received.len() as u64) < total {
                let mut watch = store.watch(place).unwrap();
                let part = 7.min(total - received.len() as u64);
                received.extend(receive(store, &mut watch, part));
                place = watch.cursor();
            }
            received
        });
        let typed = typed.join().unwrap();
        for writer in 0..WRITERS {
            let own = typed.iter().filter(|change| change.key_str() == Some(&writer.to_string()));
            let values: Vec<u64> = own.map(|change| *change.value().unwrap()).collect();
            assert_eq!(values, (0..writes).collect::<Vec<_>>());
        }
        (all.join().unwrap(), late.join().unwrap())
    });
    assert_eq!(received, all(store, Cursor::START));
    assert!(received.windows(2).all(|two| two[0].revision() <= two[1].revision()));
    let place = |change: &Change| {
        (change.revision(), change.collection().to_owned(), change.key().to_vec())
    };
    let mut places: Vec<_> = received.iter().map(place).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len() as u64, total);
    assert_eq!(received, late);
}

#[test]
fn eight_writers_are_watched_in_memory() {
    watch_writers(&Store::in_memory(), thinned(40, 100));
}

#[test]
fn eight_writers_are_watched_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    for (name, durability) in [("i", Durability::Immediate), ("e", Durability::Eventual)] {
        let options = Options::new().durability(durability);
        let options = options.sync_interval(Duration::from_millis(5));
        watch_writers(&options.open(folder.path().join(name)).unwrap(), 25);
    }
}

/// Regression: a user interface saw its own changes only after `sync_interval`.
#[test]
fn e4_a_change_of_an_eventual_store_is_seen_at_once_while_somebody_watches() {
    let folder = tempfile::tempdir().unwrap();
    // As long as no test that passes ever waits.
    let options = Options::new().durability(Durability::Eventual).sync_interval(LONG);
    let store = options.open(folder.path().join("store")).unwrap();
    let numbers = store.collection::<u64>("numbers").unwrap();
    // Written before anybody watches, so that its sync is far off when the watch begins.
    numbers.create("before", &0).unwrap();
    let mut watch = store.watch(Cursor::START).unwrap();
    for n in 0..20 {
        let soon = Duration::from_secs(10);
        let change = watch.recv_timeout(soon).unwrap().expect("it is synced at once");
        assert_eq!(change.key_str(), Some(if n == 0 { "before" } else { "k" }));
        numbers.upsert("k", &n, Precondition::Always).unwrap();
    }
    watch.recv_timeout(LONG).unwrap().unwrap();
    drop(watch);
    let synced = store.stats().unwrap().durable_revision;
    numbers.upsert("k", &0, Precondition::Always).unwrap();
    thread::sleep(Duration::from_millis(50));
    let durable = store.stats().unwrap().durable_revision;
    assert_eq!(durable, synced, "it is synced at once though nobody watches any more");
}

#[test]
fn c10_watches_that_nobody_reads_hold_up_no_writer() {
    let store = Store::in_memory();
    let blobs = store.raw("blobs").unwrap();
    let mut slow: Vec<Watch> = (0..20).map(|_| store.watch(Cursor::START).unwrap()).collect();
    blobs.create("first", &bytes(0)).unwrap();
    for watch in &mut slow {
        assert!(watch.try_recv().unwrap().is_some());
    }
    let dropped = slow.split_off(10);
    for n in 0..1_000 {
        // Of several versions of one item a slow watch may be told the latest only.
        blobs.create(format!("a{n}"), &vec![0; 2_000].into()).unwrap();
        if n == 500 {
            slow.truncate(5);
        }
    }
    drop(dropped);
    for watch in &mut slow {
        assert_eq!(receive(&store, watch, 1_000).len(), 1_000);
        assert!(watch.try_recv().unwrap().is_none());
    }
}

#[test]
fn a_watch_waits_no_longer_than_it_is_told() {
    let store = Store::in_memory();
    let mut watch = store.watch(store.cursor().unwrap()).unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(3)] {
        assert!(watch.recv_timeout(wait).unwrap().is_none());
    }
    store.raw("blobs").unwrap().create("a", &bytes(1)).unwrap();
    assert!(watch.recv_timeout(Duration::ZERO).unwrap().is_some());
    store.raw("blobs").unwrap().create("b", &bytes(1)).unwrap();
    assert!(watch.recv_timeout(Duration::MAX).unwrap().is_some());
}

/// Runs something in a thread while the caller's is waiting, or about to.
fn beside<R>(act: impl FnOnce() + Send, wait: impl FnOnce() -> R) -> R {
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            act();
        });
        wait()
    })
}

#[test]
fn closing_wakes_a_watch_and_is_not_held_up_by_it() {
    for drops in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        store.raw("blobs").unwrap().create("a", &bytes(1)).unwrap();
        let mut watch = store.watch(Cursor::START).unwrap();
        assert!(watch.next().unwrap().is_ok());
        let end = move || if drops { drop(store) } else { store.close().unwrap() };
        let closed = beside(end, || watch.next());
        assert!(matches!(closed, Some(Err(Error::Closed))), "{closed:?}");
        assert!(watch.next().is_none());
        for _ in 0..2 {
            assert!(matches!(watch.recv(), Err(Error::Closed)));
            assert!(matches!(watch.recv_timeout(LONG), Err(Error::Closed)));
            assert!(matches!(watch.try_recv(), Err(Error::Closed)));
        }
        // The store is free, and goes on where the watch stood.
        let store = Store::open(folder.path().join("store")).unwrap();
        store.raw("blobs").unwrap().create("b", &bytes(2)).unwrap();
        let change = store.watch(watch.cursor()).unwrap().recv().unwrap();
        assert_eq!(change.key_str(), Some("b"));
    }
}

#[test]
fn what_was_durable_before_a_close_is_there_after_it() {
    let sim = Simulation::new(9);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let mut watch = store.watch(Cursor::START).unwrap();
    for n in 0..5 {
        blobs.create(n.to_string(), &bytes(n)).unwrap();
    }
    assert_eq!(watch.recv().unwrap().key_str(), Some("0"));
    store.close().unwrap();
    let mut keys: Vec<String> = Vec::new();
    while let Ok(change) = watch.recv() {
        keys.push(change.key_str().unwrap().to_owned());
    }
    let store = sim.open(&Options::new()).unwrap();
    let rest = all(&store, watch.cursor());
    keys.extend(rest.iter().map(|change| change.key_str().unwrap().to_owned()));
    assert_eq!(keys, ["1", "2", "3", "4"]);
}

#[test]
fn a_watch_ends_when_writing_has_failed_and_everything_durable_is_received() {
    let sim = Simulation::new(5);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let mut watch = store.watch(Cursor::START).unwrap();
    blobs.create("a", &bytes(1)).unwrap();
    blobs.create("b", &bytes(2)).unwrap();
    sim.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
    assert!(matches!(blobs.create("c", &bytes(3)), Err(Error::CommitUnknown { .. })));
    assert_eq!(watch.next().unwrap().unwrap().key_str(), Some("a"));
    assert_eq!(watch.next().unwrap().unwrap().key_str(), Some("b"));
    assert!(matches!(watch.next(), Some(Err(Error::Poisoned { .. }))));
    assert!(watch.next().is_none());
    assert!(matches!(watch.recv(), Err(Error::Poisoned { .. })));
    // The iterator that does not wait just ends.
    assert_eq!(all(&store, Cursor::START).len(), 2);
}

#[test]
fn a_failure_wakes_a_watch() {
    let sim = Simulation::new(6);
    let store = sim.open(&Options::new().durability(Durability::Eventual)).unwrap();
    let blobs = store.raw("blobs").unwrap();
    blobs.create("a", &bytes(1)).unwrap();
    let mut watch = store.watch(store.cursor().unwrap()).unwrap();
    let fail = || {
        sim.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
        assert!(store.sync().is_err());
    };
    assert!(matches!(beside(fail, || watch.recv()), Err(Error::Poisoned { .. })));
}

#[test]
fn a_watch_goes_on_in_a_store_that_was_killed() {
    let rng = &mut fastrand::Rng::with_seed(8);
    let mut sim = Simulation::new(8);
    let (mut place, mut numbers) = (Cursor::START, Vec::new());
    let mut written = 0;
    for _ in 0..30 {
        let durability = if rng.bool() { Durability::Immediate } else { Durability::Eventual };
        let store = sim.open(&Options::new().durability(durability)).unwrap();
        let blobs = store.collection::<u64>("numbers").unwrap();
        let mut watch = blobs.watch(place).unwrap();
        for _ in 0..rng.u8(0..9) {
            blobs.upsert("n", &written, Precondition::Always).unwrap();
            written += 1;
            while rng.bool() {
                match watch.try_recv().unwrap() {
                    Some(change) => numbers.extend(change.into_value()),
                    None => break,
                }
            }
        }
        place = watch.cursor();
        sim = sim.kill(rng);
    }
    let store = sim.open(&Options::new()).unwrap();
    let rest = store.collection::<u64>("numbers").unwrap().changes(place).unwrap();
    numbers.extend(rest.map(|change| change.unwrap().into_value().unwrap()));
    assert_eq!(numbers, (0..written).collect::<Vec<_>>());
}

#[test]
fn a_store_is_closed_while_watches_are_busy() {
    for round in 0..10 {
        let store = Store::in_memory();
        let blobs = store.raw("blobs").unwrap();
        for n in 0..50 * round {
            blobs.create(n.to_string(), &bytes(n)).unwrap();
        }
        let started = Arc::new(AtomicBool::new(false));
        let watchers: Vec<_> = (0..3)
            .map(|_| {
                let (mut watch, started) = (store.watch(Cursor::START).unwrap(), started.clone());
                thread::spawn(move || {
                    started.store(true, Ordering::SeqCst);
                    watch.by_ref().last().unwrap().unwrap_err()
                })
            })
            .collect();
        while !started.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        drop(blobs);
        store.close().unwrap();
        for watcher in watchers {
            assert!(matches!(watcher.join().unwrap(), Error::Closed));
        }
    }
}
