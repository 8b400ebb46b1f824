//! Copies of stores that are, or were, compacted.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ifmatch::simulation::{STORE, Simulation};
use ifmatch::{Durability, Error, HistoryPolicy, OnDamage, Options, Precondition, Store};

use super::{number_in, value};
use crate::{Repeat, thinned};

const KEYS: u8 = 30;

/// Ends the threads, also when the test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_backup_made_while_compaction_runs_is_whole() {
    for seed in 0..4 {
        let _repeat = Repeat::new("upkeep::copies", seed);
        let sim = Simulation::new(seed);
        let durability = if seed % 2 == 0 { Durability::Eventual } else { Durability::Immediate };
        let history = HistoryPolicy::new().tombstones(Duration::ZERO);
        let options = Options::new().durability(durability).history(history);
        let store = sim.open(&options).unwrap();
        let items = store.raw("items").unwrap();
        let done: [AtomicU64; KEYS as usize] = std::array::from_fn(|_| AtomicU64::new(0));
        let (allowed, end) = (AtomicU64::new(100), AtomicBool::new(false));
        thread::scope(|scope| {
            let _end = EndOnDrop(&end);
            scope.spawn(|| {
                let mut rng = fastrand::Rng::with_seed(seed);
                for number in 1.. {
                    while number > allowed.load(Ordering::SeqCst) && !end.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_micros(100));
                    }
                    if end.load(Ordering::SeqCst) {
                        return;
                    }
                    let key = rng.u8(0..KEYS);
                    items.upsert([key], &value(number, 3_000), Precondition::Always).unwrap();
                    // Gone again at once, and its tombstone with the next compaction.
                    items.create([255, key], &value(number, 10)).unwrap();
                    items.delete([255, key], Precondition::Always).unwrap();
                    done[usize::from(key)].store(number, Ordering::SeqCst);
                }
            });
            scope.spawn(|| {
                while !end.load(Ordering::SeqCst) {
                    store.compact().unwrap();
                    store.verify().unwrap();
                    thread::sleep(Duration::from_millis(1));
                }
            });
            for round in 0..10_u64 {
                sim.set_now_ms(1_700_000_000_000 + round * 1_000);
                allowed.fetch_add(100, Ordering::SeqCst);
                let told: Vec<u64> = done.iter().map(|done| done.load(Ordering::SeqCst)).collect();
                let path = format!("copy{round}");
                let revision = store.backup(&path).unwrap();
                let opened = match round % 2 {
                    0 => sim.at(&path).open(&options).unwrap(),
                    _ => sim.at(format!("restored{round}")).restore(&path, &options).unwrap(),
                };
                assert_eq!(opened.revision(), revision);
                check_copy(&opened, &told);
            }
        });
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }
}

/// A segment's header has room for 253 of the incarnations that its entries may name.
#[test]
fn a_store_that_was_restored_more_often_than_a_header_has_room_for_is_compacted_whole() {
    // A header has room for some 125 incarnations.
    let rounds = thinned(150, 300);
    let open = |sim: &Simulation| sim.open(&Options::new()).unwrap();
    let mut sim = Simulation::new(0);
    let mut store = open(&sim);
    for round in 0..rounds {
        store.collection::<u64>("rounds").unwrap().create(round.to_be_bytes(), &round).unwrap();
        if round % 20 == 0 {
            store.compact().unwrap();
        }
        store.backup("copy").unwrap();
        drop(store);
        // Opened elsewhere, the copy begins an incarnation of its own.
        let next = Simulation::new(round + 1);
        for path in sim.disk().file_names() {
            if let Ok(name) = path.strip_prefix("copy") {
                let bytes = sim.disk().read_file(&path).unwrap();
                next.disk().write_file(Path::new(STORE).join(name), &bytes).unwrap();
            }
        }
        sim = next;
        store = open(&sim);
    }
    store.compact().unwrap();
    assert!((2..10).contains(&store.stats().unwrap().segments));
    store.verify().unwrap();
    store.close().unwrap();
    sim.remove_index();
    let store = open(&sim);
    assert_eq!(store.collection::<u64>("rounds").unwrap().len().unwrap(), rounds);
    store.verify().unwrap();
}

fn check_copy(store: &Store, told: &[u64]) {
    let items = store.raw("items").unwrap();
    for (key, told) in (0_u8..).zip(told) {
        let found = items.get([key]).unwrap().map_or(0, |item| number_in(&item.value));
        assert!(found >= *told, "{key}: {found} in the copy, {told} before it");
    }
    store.verify().unwrap();
    assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
    store.compact().unwrap();
    assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
}

#[test]
fn nothing_is_compacted_while_the_journal_is_copied() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let items = store.raw("items").unwrap();
    for number in 0..200_u64 {
        items.upsert([0], &value(number, 3_000), Precondition::Always).unwrap();
    }
    let hold = Simulation::guard_journal(&store).unwrap();
    let refused = store.compact().unwrap();
    assert_eq!((refused.segments, refused.reclaimed_bytes), (0, 0));
    drop(hold);
    assert!(store.compact().unwrap().reclaimed_bytes > 500_000);
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
}

#[test]
fn a_store_of_several_incarnations_is_compacted_copied_and_restored_with_its_tags() {
    let sim = Simulation::new(2);
    let options = Options::new().history(HistoryPolicy::new().versions(2));
    let mut tags = vec![None; usize::from(KEYS)];
    let mut path = "store".to_owned();
    sim.open(&options).unwrap().close().unwrap();
    for generation in 0..4_u64 {
        let next = format!("generation{generation}");
        let here = sim.at(next.clone());
        let store = here.restore(&path, &options).unwrap();
        let items = store.raw("items").unwrap();
        for key in (0..KEYS).skip(generation as usize * 7) {
            for number in 0..8 {
                let new = value(generation << 8 | number, 3_000);
                let meta = items.upsert([key], &new, Precondition::Always).unwrap();
                tags[usize::from(key)] = Some((meta.etag(), new));
            }
        }
        assert!(store.compact().unwrap().segments > 0);
        check_tags(&store, &tags);
        assert_eq!(items.history([KEYS - 1]).unwrap().len(), 3);
        let backup = format!("backup{generation}");
        store.backup(&backup).unwrap();
        drop(items);
        store.close().unwrap();
        let copy = sim.at(backup).open(&options).unwrap();
        check_tags(&copy, &tags);
        copy.compact().unwrap();
        check_tags(&copy, &tags);
        path = next;
    }
}

type Tags = [Option<(ifmatch::ETag, bytes::Bytes)>];

fn check_tags(store: &Store, tags: &Tags) {
    let items = store.raw("items").unwrap();
    for (key, expected) in (0_u8..).zip(tags) {
        let found = items.get([key]).unwrap().map(|item| (item.etag(), item.value));
        assert_eq!(found, *expected, "key {key}");
    }
    store.verify().unwrap();
    assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
}

#[test]
fn retired_segments_that_a_snapshot_needs_are_no_part_of_copies_and_no_damage() {
    let sim = Simulation::new(3);
    let store = sim.open(&Options::new().cache_bytes(0)).unwrap();
    let items = store.raw("items").unwrap();
    for number in 0..40_u64 {
        for key in 0..KEYS {
            items.upsert([key], &value(number, 500), Precondition::Always).unwrap();
        }
    }
    let snapshot = store.snapshot();
    for key in 0..KEYS {
        items.upsert([key], &value(50, 500), Precondition::Always).unwrap();
    }
    let before = sim.disk().file_names().len();
    assert!(store.compact().unwrap().reclaimed_bytes > 0);
    assert!(sim.disk().file_names().len() > before, "a snapshot needs the old segments");
    let verified = store.verify().unwrap();
    assert_eq!(verified.items, u64::from(KEYS));
    store.backup("copy").unwrap();
    for copy in [sim.at("copy"), sim.kill(&mut fastrand::Rng::with_seed(3))] {
        for on_damage in [OnDamage::Refuse, OnDamage::KeepPrefix] {
            let copy = copy.open(&Options::new().on_damage(on_damage)).unwrap();
            assert!(copy.damage().is_none());
            let of_copy = copy.raw("items").unwrap();
            for key in 0..KEYS {
                let found = of_copy.get([key]).unwrap().unwrap();
                assert_eq!(number_in(&found.value), 50);
            }
            assert_eq!(copy.verify().unwrap().items, u64::from(KEYS));
            drop(of_copy);
            copy.close().unwrap();
        }
    }
    for key in 0..KEYS {
        let old = snapshot.collection(&items).get([key]).unwrap().unwrap();
        assert_eq!(number_in(&old.value), 39);
    }
    drop(snapshot);
    store.compact().unwrap();
    assert!(sim.disk().file_names().iter().filter(|name| name.starts_with("store")).count() <= 6);
    assert!(!matches!(store.verify(), Err(Error::Corrupt { .. })));
}
