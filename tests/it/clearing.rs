//! Clearing and dropping collections: one commit, one change, and nothing of it comes back.

mod cuts;
mod feed;
mod space;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{Collection, Error, HistoryPolicy, Options, Precondition, Raw, Store};

use crate::backends::on_every_backend;
use crate::thinned;

fn value() -> Bytes {
    Bytes::from_static(b"value")
}

fn fill(store: &Store, blobs: &Collection<Bytes, Raw>, items: u64, value: &Bytes) {
    for first in (0..items).step_by(1_000) {
        let all = first..items.min(first + 1_000);
        let add = |batch: ifmatch::Batch, item: u64| batch.create(blobs, item.to_be_bytes(), value);
        all.fold(store.batch(), add).commit().unwrap();
    }
}

#[test]
fn d5_a_clear_removes_everything_of_one_collection_by_one_commit() {
    on_every_backend(|bench| {
        let (store, a) = (bench.store(), || bench.store().raw("a").unwrap());
        fill(&store, &a(), 1_000, &value());
        let kept = store.raw("ab").unwrap().create("k", &value()).unwrap();
        drop(store);
        bench.step();
        let before = bench.store().revision();
        assert_eq!(a().clear().unwrap(), 1_000);
        assert_eq!(bench.store().revision().0, before.0 + 1);
        for _ in 0..2 {
            assert!(a().is_empty().unwrap() && a().len().unwrap() == 0);
            assert_eq!(a().get(5_u64.to_be_bytes()).unwrap(), None);
            assert_eq!(a().get_many([5_u64.to_be_bytes()]).unwrap(), [None]);
            assert_eq!(a().iter().unwrap().count() + a().iter().unwrap().rev().count(), 0);
            let other = bench.store().raw("ab").unwrap().get("k").unwrap().unwrap();
            assert_eq!(other.etag(), kept.etag());
            assert_eq!(bench.store().stats().unwrap().items, 1);
            assert_eq!(bench.store().verify().unwrap().items, 1);
            bench.step();
        }
    });
}

#[test]
fn what_is_empty_or_unknown_is_cleared_by_writing_nothing() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let revision = || bench.store().revision();
        let at_first = revision();
        assert_eq!(numbers.clear().unwrap(), 0);
        assert!(!bench.store().drop_collection("numbers").unwrap());
        assert_eq!(revision(), at_first);
        numbers.create("a", &1).unwrap();
        numbers.delete("a", Precondition::Always).unwrap();
        let before = revision();
        assert_eq!(numbers.clear().unwrap(), 0);
        assert_eq!(revision(), before);
        // It is known, though empty.
        assert!(bench.store().drop_collection("numbers").unwrap());
        assert!(!bench.store().drop_collection("numbers").unwrap());
        assert_eq!(revision().0, before.0 + 1);
    });
}

#[test]
fn what_is_created_after_a_clear_has_a_new_tag_and_no_parent() {
    on_every_backend(|bench| {
        let first = bench.numbers().create("a", &1).unwrap();
        bench.numbers().clear().unwrap();
        bench.step();
        let stale = bench.numbers().replace("a", &2, first.etag());
        assert!(matches!(stale, Err(Error::NotFound { .. })), "{stale:?}");
        let again = bench.numbers().create("a", &1).unwrap();
        assert_ne!(again.etag(), first.etag());
        assert_eq!(again.parent(), None);
        bench.step();
        assert_eq!(bench.numbers().get("a").unwrap().unwrap().meta(), &again);
        assert!(!bench.numbers().was_written("a", &first.etag()).unwrap());
        assert!(bench.numbers().was_written("a", &again.etag()).unwrap());
    });
}

#[test]
fn a_clear_ends_the_history_of_its_items() {
    let options = Options::new().history(HistoryPolicy::new().versions(10));
    let store = options.in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    for n in 0..3 {
        numbers.upsert("a", &n, Precondition::Always).unwrap();
    }
    assert_eq!(numbers.history("a").unwrap().len(), 3);
    numbers.clear().unwrap();
    assert!(numbers.history("a").unwrap().is_empty());
    numbers.create("a", &3).unwrap();
    assert_eq!(numbers.history("a").unwrap().len(), 1);
    store.compact().unwrap();
    assert_eq!(numbers.history("a").unwrap().len(), 1);
}

#[test]
fn a_clear_keeps_form_and_default_ttl_and_a_drop_does_not() {
    on_every_backend(|bench| {
        let hour = Duration::from_secs(3_600);
        bench.numbers().set_default_ttl(Some(hour)).unwrap();
        bench.numbers().create("a", &1).unwrap();
        bench.numbers().clear().unwrap();
        bench.step();
        assert!(matches!(bench.store().raw("numbers"), Err(Error::CodecMismatch { .. })));
        assert_eq!(bench.numbers().default_ttl().unwrap(), Some(hour));
        let again = bench.numbers().create("a", &1).unwrap();
        assert_eq!(again.expires(), Some(again.modified() + hour));

        assert!(bench.store().drop_collection("numbers").unwrap());
        assert!(bench.store().collections().unwrap().is_empty());
        bench.step();
        assert!(bench.store().collections().unwrap().is_empty());
        let raw = bench.store().raw("numbers").unwrap();
        assert_eq!(raw.default_ttl().unwrap(), None);
        assert_eq!(raw.create("a", &value()).unwrap().expires(), None);
        drop(raw);
        bench.step();
        let raw = bench.store().raw("numbers").unwrap();
        assert_eq!(raw.get("a").unwrap().unwrap().value, value());
        assert_eq!(bench.store().verify().unwrap().items, 1);
    });
}

/// A handle remembers that it has compared its form with the recorded one.
#[test]
fn a_handle_of_a_dropped_collection_finds_that_its_name_has_another_form() {
    let store = Store::in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    numbers.create("a", &1).unwrap();
    // By this the handle finds it recorded.
    assert!(numbers.get("a").unwrap().is_some());
    assert!(store.drop_collection("numbers").unwrap());
    let snapshot = store.snapshot();
    // Of no form as yet.
    assert_eq!(numbers.get("a").unwrap(), None);
    store.raw("numbers").unwrap().create("a", &value()).unwrap();
    let refused = |error| matches!(error, Some(Error::CodecMismatch { .. }));
    assert!(refused(numbers.get("a").err()));
    assert!(refused(numbers.create("b", &1).err()));
    assert!(refused(numbers.clear().err()));
    assert!(refused(numbers.iter().err()));
    assert!(refused(snapshot.collection(&numbers).get("a").err()));
    assert!(store.drop_collection("numbers").unwrap());
    numbers.create("a", &2).unwrap();
    assert_eq!(numbers.get("a").unwrap().unwrap().value, 2);
}

#[test]
fn only_a_name_that_a_collection_may_have_can_be_dropped() {
    let store = Store::in_memory();
    store.collection::<u64>("numbers").unwrap().create("a", &1).unwrap();
    for name in ["", "a\0b", &"n".repeat(129)] {
        assert!(matches!(store.drop_collection(name), Err(Error::InvalidKey { .. })), "{name:?}");
    }
    assert_eq!(store.collections().unwrap().len(), 1);
}

#[test]
fn what_has_expired_is_cleared_too() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    blobs.clone().with_ttl(Duration::from_millis(1)).create("a", &value()).unwrap();
    blobs.create("b", &value()).unwrap();
    sim.set_now_ms(1_700_000_001_000);
    assert_eq!(blobs.len().unwrap(), 1);
    assert_eq!(blobs.clear().unwrap(), 2);
    assert_eq!(Simulation::sweep(&store).unwrap(), 0);
    assert_eq!(blobs.create("a", &value()).unwrap().parent(), None);
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
}

#[test]
fn snapshots_show_what_was_cleared_by_every_read() {
    let items = thinned(16_000, 30_000);
    let sim = Simulation::new(2);
    // Most leaves are not in memory.
    let store = sim.open(&Options::new().cache_bytes(1 << 20)).unwrap();
    let blobs = store.raw("blobs").unwrap();
    fill(&store, &blobs, items, &value());
    blobs.delete(3_u64.to_be_bytes(), Precondition::Always).unwrap();
    Simulation::checkpoint(&store).unwrap();
    let first = store.snapshot();
    blobs.upsert(4_u64.to_be_bytes(), &Bytes::from_static(b"new"), Precondition::Always).unwrap();
    let second = store.snapshot();
    assert_eq!(blobs.clear().unwrap(), items - 1);
    let third = store.snapshot();
    blobs.create(4_u64.to_be_bytes(), &value()).unwrap();
    blobs.create("another", &value()).unwrap();
    assert_eq!(blobs.clear().unwrap(), 2);
    blobs.create(5_u64.to_be_bytes(), &value()).unwrap();
    for _ in 0..3 {
        for (snapshot, of_4) in [(&first, &value()), (&second, &Bytes::from_static(b"new"))] {
            let past = snapshot.collection(&blobs);
            assert_eq!(past.get(4_u64.to_be_bytes()).unwrap().unwrap().value, of_4);
            assert_eq!(past.get(3_u64.to_be_bytes()).unwrap(), None);
            assert_eq!(past.get("another").unwrap(), None);
            let many = past.get_many([3_u64, 4].map(u64::to_be_bytes)).unwrap();
            assert_eq!(many[1].as_ref().unwrap().value, of_4);
            assert_eq!(past.len().unwrap(), items - 1);
            assert_eq!(past.iter().unwrap().rev().count() as u64, items - 1);
            assert_eq!(past.range(10_u64.to_be_bytes()..20_u64.to_be_bytes()).unwrap().count(), 10);
        }
        assert!(third.collection(&blobs).is_empty().unwrap());
        assert_eq!(blobs.len().unwrap(), 1);
        Simulation::checkpoint(&store).unwrap();
        store.compact().unwrap();
    }
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    drop((second, third));
    assert_eq!(first.collection(&blobs).len().unwrap(), items - 1);
}

#[test]
fn what_a_snapshot_keeps_of_a_clear_is_bounded() {
    let options = Options::new().snapshot_bytes(100_000);
    let store = options.in_memory();
    let blobs = store.raw("blobs").unwrap();
    fill(&store, &blobs, 100, &value());
    let snapshot = store.snapshot();
    blobs.clear().unwrap();
    assert_eq!(snapshot.collection(&blobs).len().unwrap(), 100);
    drop(snapshot);
    fill(&store, &blobs, 5_000, &value());
    let snapshot = store.snapshot();
    blobs.clear().unwrap();
    let read = snapshot.collection(&blobs).len();
    assert!(matches!(read, Err(Error::SnapshotTooOld)), "{read:?}");
    assert_eq!(store.stats().unwrap().snapshots, 0);
}

/// Each batch writes both collections; a clear of one comes between two of them.
#[test]
fn readers_beside_batches_and_clears_see_no_half_of_either() {
    let store = Store::in_memory();
    let (a, b) = (store.collection::<u64>("a").unwrap(), store.collection::<u64>("b").unwrap());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=300 {
                let batch = ["x", "y"].iter().fold(store.batch(), |batch, key| {
                    batch.upsert(&a, key, &round, Precondition::Always)
                });
                batch.upsert(&b, "z", &round, Precondition::Always).commit().unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                a.clear().unwrap();
            }
        });
        while !over.load(Ordering::Relaxed) {
            let found: Vec<_> = a.get_many(["x", "y"]).unwrap();
            let found: Vec<_> = found.into_iter().map(|item| item.map(|item| item.value)).collect();
            assert_eq!(found[0], found[1], "half of a batch or of a clear");
            let z = b.get("z").unwrap().map(|item| item.value);
            assert!(found[0] <= z, "{found:?} is there and only {z:?}");
            let snapshot = store.snapshot();
            let past = snapshot.collection(&a).get_many(["x", "y"]).unwrap();
            let past: Vec<_> = past.into_iter().map(|item| item.map(|item| item.value)).collect();
            assert_eq!(past[0], past[1], "half of a batch or of a clear in a snapshot");
            let z = snapshot.collection(&b).get("z").unwrap().map(|item| item.value);
            assert!(past[0].is_none() || past[0] == z, "{past:?} and {z:?}");
        }
    });
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    store.verify().unwrap();
}
