//! Figures that a store gives of itself: `stats`, and how far a verification has come.

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{Durability, Error, Filter, Index, Options, Precondition, Progress, Store};

use crate::backends::on_every_backend;

#[test]
fn e1_live_and_dead_bytes_follow_what_is_written() {
    let store = Store::in_memory();
    let blobs = store.raw("blobs").unwrap();
    let empty = store.stats().unwrap();
    assert_eq!((empty.live_bytes, empty.dead_bytes, empty.checkpointed), (0, 0, None));
    let value = Bytes::from(vec![1; 10_000]);
    for key in 0_u8..10 {
        blobs.create([key], &value).unwrap();
    }
    let full = store.stats().unwrap();
    assert!((100_000..102_000).contains(&full.live_bytes), "{full:?}");
    assert!(full.dead_bytes < 1_000, "{full:?}");
    assert_eq!(full.items, 10);
    for key in 0_u8..10 {
        match key % 2 {
            0 => blobs.delete([key], Precondition::Always).map(drop).unwrap(),
            _ => blobs.upsert([key], &value, Precondition::Always).map(drop).unwrap(),
        }
    }
    let half = store.stats().unwrap();
    assert!((50_000..51_000).contains(&half.live_bytes), "{half:?}");
    assert!((100_000..102_000).contains(&half.dead_bytes), "{half:?}");
    // Frames are bytes of the segments, too.
    assert!(half.live_bytes + half.dead_bytes <= half.journal_bytes);
}

#[test]
fn live_bytes_are_the_same_after_a_reopen_and_after_a_crash() {
    let sim = Simulation::new(1);
    let mut rng = fastrand::Rng::with_seed(1);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for number in 0_u8..40 {
        let value = Bytes::from(vec![number; usize::from(number) * 50]);
        blobs.upsert([number % 9], &value, Precondition::Always).unwrap();
    }
    let figures = |store: &Store| {
        let stats = store.stats().unwrap();
        (stats.live_bytes, stats.dead_bytes)
    };
    let before = figures(&store);
    assert_eq!(figures(&sim.kill(&mut rng).open(&Options::new()).unwrap()), before);
    store.close().unwrap();
    let store = sim.open(&Options::new()).unwrap();
    assert_eq!(figures(&store), before);
}

#[test]
fn reads_count_as_hits_or_misses_of_the_cache() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    store.raw("blobs").unwrap().create("a", &Bytes::new()).unwrap();
    store.close().unwrap();

    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let counts = || {
        let stats = store.stats().unwrap();
        (stats.cache_hits, stats.cache_misses)
    };
    assert_eq!(counts(), (0, 0));
    blobs.get("a").unwrap();
    assert_eq!(counts(), (0, 1));
    blobs.get("a").unwrap();
    assert_eq!(counts(), (1, 1));
    blobs.get("missing").unwrap();
    assert_eq!(counts(), (1, 2));
    blobs.get_many(["a", "a", "missing"]).unwrap();
    assert_eq!(counts(), (3, 3));
    let numbers = store.collection::<u64>("numbers").unwrap();
    numbers.ensure_index(Index::on("")).unwrap();
    numbers.create("a", &1).unwrap();
    for found in 1..4 {
        assert_eq!(numbers.find(Filter::eq("", 1)).count().unwrap(), 1);
        assert_eq!(counts(), (3 + found, 3));
    }
}

/// A finding: a cache in many shards kept no value that was larger than its part of one.
#[test]
fn c9_a_small_cache_keeps_a_large_value() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new().cache_bytes(8 << 20)).unwrap();
    let blobs = store.raw("blobs").unwrap();
    blobs.create("a", &vec![1; 1_000_000].into()).unwrap();
    for _ in 0..10 {
        blobs.get("a").unwrap();
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.cache_hits, stats.cache_misses), (10, 0));
}

#[test]
fn refused_writes_are_conflicts_and_other_errors_are_not() {
    on_every_backend(|bench| {
        let (store, numbers) = (bench.store(), bench.numbers());
        let first = numbers.create("a", &1).unwrap();
        let second = numbers.replace("a", &2, first.etag()).unwrap();
        assert_eq!(store.stats().unwrap().conflicts, 0);
        assert!(matches!(numbers.create("a", &3), Err(Error::AlreadyExists(_))));
        assert!(numbers.replace("a", &3, first.etag()).is_err());
        assert!(numbers.delete("a", first.etag()).is_err());
        assert!(store.batch().create(&numbers, "a", &3).commit().is_err());
        assert_eq!(store.stats().unwrap().conflicts, 4);
        assert!(matches!(numbers.replace("b", &3, second.etag()), Err(Error::NotFound { .. })));
        numbers.get_if("a", Precondition::from(first.etag())).unwrap_err();
        assert_eq!(store.stats().unwrap().conflicts, 4);
    });
}

#[test]
fn a_checkpoint_leaves_its_time_and_revision() {
    let sim = Simulation::new(1);
    sim.set_now_ms(1_800_000_000_000);
    let store = sim.open(&Options::new()).unwrap();
    let meta = store.raw("blobs").unwrap().create("a", &Bytes::new()).unwrap();
    assert_eq!(store.stats().unwrap().checkpointed, None);
    Simulation::checkpoint(&store).unwrap();
    let stats = store.stats().unwrap();
    assert_eq!(stats.checkpointed, Some(meta.modified()));
    assert_eq!(stats.checkpoint_revision, meta.revision());
}

#[test]
fn the_progress_of_a_verification_ascends_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::Eventual);
    let store = options.open(folder.path().join("store")).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for key in 0_u16..2_000 {
        let value = Bytes::from(vec![1; 3_000]);
        blobs.create(key.to_be_bytes(), &value).unwrap();
    }
    let mut told: Vec<Progress> = Vec::new();
    let verified = store
        .verify_with_progress(|progress| {
            // Nothing is held that a caller could want.
            blobs.get([0, 1]).unwrap();
            told.push(progress);
        })
        .unwrap();
    assert_eq!(verified, store.verify().unwrap());
    let [first, .., last] = &told[..] else { panic!("told {} times", told.len()) };
    assert_eq!(last.done_bytes, last.total_bytes);
    assert!(last.total_bytes > 12_000_000, "{last:?}");
    assert!(first.done_bytes < first.total_bytes / 10, "{first:?}");
    assert!(told.len() > 8, "told {} times", told.len());
    assert!(told.is_sorted_by_key(|progress| progress.done_bytes));
    assert!(told.iter().all(|progress| progress.total_bytes == last.total_bytes));
}

#[test]
fn a_verification_may_close_the_store_that_it_verifies() {
    let store = Store::in_memory();
    store.raw("blobs").unwrap().create("a", &Bytes::new()).unwrap();
    let mut other = Some(store.clone());
    let outcome = store.verify_with_progress(|_| {
        if let Some(other) = other.take() {
            other.close().unwrap();
        }
    });
    assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
}

#[test]
fn eventual_writes_wait_for_no_sync_in_a_new_store_and_after_a_kill() {
    let options = Options::new().durability(Durability::Eventual);
    let (mut sim, mut rng) = (Simulation::new(1), fastrand::Rng::with_seed(1));
    for _ in 0..2 {
        let store = sim.open(&options).unwrap();
        let numbers = store.collection::<u64>("numbers").unwrap();
        // Begins a segment, which costs syncs.
        numbers.upsert("k", &0, Precondition::Always).unwrap();
        let syncs = store.stats().unwrap().syncs;
        for n in 1..10 {
            numbers.upsert("k", &n, Precondition::Always).unwrap();
        }
        assert_eq!(store.stats().unwrap().syncs, syncs);
        sim = sim.kill(&mut rng);
    }
}
