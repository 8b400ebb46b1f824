//! What a clear gives back: space in the journal and in the index, and memory.

use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{HistoryPolicy, Options, Precondition, Store};

use super::{fill, value};
use crate::store_files::Place;
use crate::thinned;

/// What the heads of all items come to.
fn exact(store: &Store) -> bool {
    let stats = store.stats().unwrap();
    let live: u64 = Simulation::live_bytes_by_heads(store).unwrap();
    stats.live_bytes == live
}

fn store_file_len(sim: &Simulation, name: &str) -> u64 {
    let file = Place::files(sim).into_iter().find(|(path, _)| path.ends_with(name));
    file.map_or(0, |(_, bytes)| bytes.len() as u64)
}

#[test]
fn what_is_cleared_counts_as_dead_and_is_reclaimed() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new().cache_bytes(1 << 20)).unwrap();
    let (blobs, other) = (store.raw("blobs").unwrap(), store.raw("other").unwrap());
    fill(&store, &other, 10, &value());
    // Recorded, and empty.
    fill(&store, &blobs, 1, &value());
    blobs.clear().unwrap();
    let least = store.stats().unwrap().live_bytes;
    fill(&store, &blobs, 5_000, &Bytes::from(vec![3; 1_000]));
    Simulation::checkpoint(&store).unwrap();
    assert!(exact(&store));
    let before = sim.disk().total_len_bytes();
    assert!(before > 5_000_000);
    assert_eq!(blobs.clear().unwrap(), 5_000);
    assert!(exact(&store));
    assert_eq!(store.stats().unwrap().live_bytes, least);
    let mut rng = fastrand::Rng::with_seed(1);
    for index_is_lost in [false, true] {
        // The replay, or the rebuild, meets the clear.
        let mut image = sim.kill(&mut rng);
        if index_is_lost {
            image.remove_index();
        }
        assert!(exact(&image.open(&Options::new()).unwrap()));
    }
    let compaction = store.compact().unwrap();
    assert!(compaction.reclaimed_bytes > 5_000_000, "{compaction:?}");
    // What is set aside for a full disk stays.
    let reserve = store_file_len(&sim, "RESERVE");
    let after = sim.disk().total_len_bytes() - reserve;
    assert!(after < 1_000_000, "{before} became {after}, and {reserve} are set aside");
    assert!(exact(&store));
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    assert_eq!(other.len().unwrap(), 10);

    let mut rebuilt = sim.crash(&mut rng);
    rebuilt.remove_index();
    drop((blobs, other));
    store.close().unwrap();
    for image in [sim.kill(&mut rng), sim.crash(&mut rng), rebuilt, sim] {
        let store = image.open(&Options::new()).unwrap();
        assert!(store.raw("blobs").unwrap().is_empty().unwrap());
        assert_eq!(store.raw("other").unwrap().len().unwrap(), 10);
        assert!(exact(&store));
        assert_eq!(store.verify().unwrap().items, 10);
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }
}

/// A history policy keeps versions of items, not what was cleared.
#[test]
fn what_is_cleared_is_reclaimed_whatever_history_keeps() {
    let sim = Simulation::new(2);
    let history = HistoryPolicy::new().versions(100);
    let store = sim.open(&Options::new().history(history)).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for round in 0..20_u8 {
        for item in 0..50_u64 {
            let value = Bytes::from(vec![round; 1_000]);
            blobs.upsert(item.to_be_bytes(), &value, Precondition::Always).unwrap();
        }
    }
    assert_eq!(blobs.clear().unwrap(), 50);
    fill(&store, &blobs, 50, &value());
    let compaction = store.compact().unwrap();
    assert!(compaction.reclaimed_bytes > 1_000_000, "{compaction:?}");
    assert!(exact(&store));
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
}

/// The commit that drops a collection is all that tells of older entries that they are gone.
#[test]
fn a_drop_stays_as_long_as_an_entry_that_it_removed_lies_in_a_segment_that_stays() {
    let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
    let sim = Simulation::new(3);
    let store = sim.open(&options).unwrap();
    let (kept, gone) = (store.raw("kept").unwrap(), store.raw("gone").unwrap());
    let large = |round: u8, len| Bytes::from(vec![round; len]);
    for key in 0..300_u16 {
        kept.create(key.to_be_bytes(), &large(1, 10_000)).unwrap();
        if key % 20 == 0 {
            gone.create(key.to_be_bytes(), &value()).unwrap();
        }
    }
    drop(gone);
    assert!(store.drop_collection("gone").unwrap());
    for round in 0..60 {
        kept.upsert("hot", &large(round, 30_000), Precondition::Always).unwrap();
    }
    sim.set_now_ms(1_700_000_001_000);
    let compaction = store.compact().unwrap();
    assert!(compaction.reclaimed_bytes > 1_000_000, "{compaction:?}");
    // At most that of the collection's record, which lay in the first segment.
    assert!(compaction.purged_tombstones <= 1, "no segment stayed");
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    let mut rebuilt = sim.kill(&mut fastrand::Rng::with_seed(1));
    rebuilt.remove_index();
    let store = rebuilt.open(&options).unwrap();
    assert!(store.raw("gone").unwrap().is_empty().unwrap());
    assert_eq!(store.verify().unwrap().items, 301);
}

/// The same number of bytes is counted when all of it is filled and cleared again.
#[test]
fn filling_and_clearing_in_turn_costs_no_more_each_time() {
    let sim = Simulation::new(4);
    let store = sim.open(&Options::new().cache_bytes(1 << 20)).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let mut used = Vec::new();
    for round in 0..6 {
        fill(&store, &blobs, 5_000, &value());
        let snapshot = (round % 2 == 0).then(|| store.snapshot());
        if round % 3 == 0 {
            Simulation::checkpoint(&store).unwrap();
        }
        blobs.clear().unwrap();
        drop(snapshot);
        Simulation::checkpoint(&store).unwrap();
        used.push(Simulation::index_memory_bytes(&store).unwrap());
    }
    assert!(used.iter().all(|bytes| *bytes == used[0]), "{used:?}");
}

/// The index fails when its leaves are read for what they held.
#[test]
fn a_clear_succeeds_though_the_index_cannot_be_read() {
    for calls in [0, 1, 5].into_iter().step_by(thinned(2, 1) as usize) {
        let sim = Simulation::new(5);
        let store = sim.open(&Options::new().cache_bytes(1 << 20)).unwrap();
        let blobs = store.raw("blobs").unwrap();
        fill(&store, &blobs, 12_000, &value());
        Simulation::checkpoint(&store).unwrap();
        let snapshot = store.snapshot();
        fill(&store, &store.raw("more").unwrap(), 12_000, &value());
        sim.fail_index_after(calls);
        assert_eq!(blobs.clear().unwrap(), 12_000);
        assert!(blobs.is_empty().unwrap());
        match snapshot.collection(&blobs).len() {
            Ok(len) => assert_eq!(len, 12_000),
            Err(error) => assert!(matches!(error, ifmatch::Error::SnapshotTooOld), "{error}"),
        }
        blobs.create("a", &value()).unwrap();
        assert_eq!(blobs.len().unwrap(), 1);
        sim.fail_index_after(u64::MAX);
        Simulation::checkpoint(&store).unwrap();
        assert_eq!(store.verify().unwrap().items, 12_001);
    }
}
