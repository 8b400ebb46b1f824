//! The table is copied into a fresh one while writers go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ifmatch::simulation::Simulation;
use ifmatch::{Durability, Options, Precondition, Store};

use super::{number_in, value};
use crate::Repeat;

const KEYS: u16 = 600;

/// Writes, removes and creates again the keys of its own, in single writes and in batches, until
/// told to end; gives what it wrote last of each key.
fn write(store: &Store, writer: u8, end: &AtomicBool) -> Vec<Option<u64>> {
    let mut rng = fastrand::Rng::with_seed(u64::from(writer));
    let items = store.raw("items").unwrap();
    let mut last = vec![None; usize::from(KEYS)];
    let key_of = |key: u16| [writer, (key >> 8) as u8, key as u8];
    for number in 0.. {
        if end.load(Ordering::SeqCst) {
            break;
        }
        let first = rng.u16(0..KEYS - 8);
        let mut batch = store.batch();
        for key in first..first + rng.u16(1..8) {
            let slot = &mut last[usize::from(key)];
            if slot.is_some() && rng.u8(0..4) == 0 {
                *slot = None;
                batch = batch.delete(&items, key_of(key), Precondition::Always);
            } else {
                *slot = Some(number);
                let value = value(number, 20);
                batch = batch.upsert(&items, key_of(key), &value, Precondition::Always);
            }
        }
        batch.commit().unwrap();
    }
    last
}

fn check(store: &Store, written: &[Vec<Option<u64>>]) {
    let items = store.raw("items").unwrap();
    for (writer, written) in (0_u8..).zip(written) {
        for (key, expected) in (0_u16..).zip(written) {
            let found = items.get([writer, (key >> 8) as u8, key as u8]).unwrap();
            assert_eq!(found.map(|item| number_in(&item.value)), *expected, "{writer}.{key}");
        }
    }
    assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
}

#[test]
fn a_renewed_table_holds_what_was_written_meanwhile() {
    for seed in 0..3 {
        let _repeat = Repeat::new("upkeep::renewal", seed);
        let sim = Simulation::new(seed);
        let options = Options::new().durability(Durability::Eventual).cache_bytes(seed * 500_000);
        let store = sim.open(&options).unwrap();
        let end = AtomicBool::new(false);
        let written = thread::scope(|scope| {
            let writers = [0, 1].map(|writer| {
                let (store, end) = (&store, &end);
                scope.spawn(move || write(store, writer, end))
            });
            let mut failed = None;
            for round in 0..6 {
                thread::sleep(Duration::from_millis(20));
                let done = match round % 3 {
                    2 => store.compact().map(drop),
                    _ => Simulation::renew_table(&store),
                };
                failed = failed.or(done.err());
            }
            end.store(true, Ordering::SeqCst);
            assert!(failed.is_none(), "{failed:?}");
            writers.map(|writer| writer.join().unwrap())
        });
        check(&store, &written);
        store.sync().unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        check(&sim.crash(&mut rng).open(&options).unwrap(), &written);
        store.close().unwrap();
        let store = sim.open(&options).unwrap();
        check(&store, &written);
        store.verify().unwrap();
    }
}

#[test]
fn a_store_closes_while_its_table_is_renewed() {
    for seed in 0..6 {
        let sim = Simulation::new(seed);
        let store = sim.open(&Options::new().durability(Durability::Eventual)).unwrap();
        let items = store.raw("items").unwrap();
        let mut batch = store.batch();
        for key in 0..5_000_u64 {
            batch = batch.create(&items, key.to_be_bytes(), &value(key, 8));
        }
        batch.commit().unwrap();
        let clone = store.clone();
        let renewing = thread::spawn(move || Simulation::renew_table(&clone));
        thread::sleep(Duration::from_millis(seed * 8));
        store.close().unwrap();
        let outcome = renewing.join().unwrap();
        assert!(matches!(outcome, Ok(()) | Err(ifmatch::Error::Closed)), "{outcome:?}");
        let store = sim.open(&Options::new()).unwrap();
        assert_eq!(store.raw("items").unwrap().len().unwrap(), 5_000);
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }
}
