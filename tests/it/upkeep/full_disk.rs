//! A disk that is full during compaction and replacing the index: nothing is lost, the store goes on, and
//! works as before when there is space again.

use std::collections::BTreeMap;

use ifmatch::simulation::Simulation;
use ifmatch::{Durability, Error, Options, Precondition};

use super::{number_in, value};
use crate::{Repeat, thinned};

pub(super) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
}

#[test]
fn compaction_and_a_replaced_index_on_a_full_disk_lose_nothing_and_go_on_later() {
    let mut full = [0; 3];
    for step in (0..48_u64).step_by(thinned(6, 1) as usize) {
        let _repeat = Repeat::new("upkeep::full_disk", step);
        let mut rng = fastrand::Rng::with_seed(step);
        let sim = Simulation::new(step);
        let durability = if step % 2 == 0 { Durability::Immediate } else { Durability::Eventual };
        let options = Options::new().durability(durability);
        let store = sim.open(&options).unwrap();
        let items = store.raw("items").unwrap();
        let mut written = BTreeMap::new();
        for round in 0..4_u64 {
            for key in 0..50_u8 {
                items.upsert([key], &value(round, 4_000), Precondition::Always).unwrap();
                written.insert(key, round);
            }
        }
        sim.disk().fill_up_before_full(step % 3 == 0);
        sim.disk().set_capacity(Some(sim.disk().total_len_bytes() + step / 2 * 20_000));
        for number in 100..400 {
            let key = rng.u8(0..50);
            let outcome = match rng.u8(0..80) {
                0 => store.compact().map(drop).inspect_err(|_| full[0] += 1),
                1 => Simulation::replace_index(&store).inspect_err(|_| full[1] += 1),
                _ => match items.upsert([key], &value(number, 4_000), Precondition::Always) {
                    Ok(_) => {
                        written.insert(key, number);
                        Ok(())
                    }
                    Err(error) => {
                        full[2] += 1;
                        Err(error)
                    }
                },
            };
            assert!(outcome.as_ref().err().is_none_or(is_full), "{outcome:?}");
        }
        assert!(!store.stats().unwrap().poisoned);
        let check = |store: &ifmatch::Store| {
            let items = store.raw("items").unwrap();
            for (key, number) in &written {
                let found = items.get([*key]).unwrap().expect("the item is there");
                assert_eq!(number_in(&found.value), *number, "key {key}");
            }
            assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
        };
        check(&store);
        check(&sim.kill(&mut rng).open(&options).unwrap());
        sim.disk().set_capacity(None);
        store.compact().unwrap();
        Simulation::replace_index(&store).unwrap();
        let total = sim.disk().total_len_bytes();
        assert!(total < 1_200_000 + (6 << 18), "{total} bytes are left");
        items.upsert([0], &value(200, 4_000), Precondition::Always).unwrap();
        items.upsert([0], &value(written[&0], 4_000), Precondition::Always).unwrap();
        store.sync().unwrap();
        check(&store);
        check(&sim.crash(&mut rng).open(&options).unwrap());
        drop(items);
        store.close().unwrap();
        check(&sim.open(&options).unwrap());
    }
    println!("full: {} compactions, {} indexes replaced, {} writes", full[0], full[1], full[2]);
    // Compaction has what is set aside for it, where the writes before let it be made.
    assert!(full[0] == 0 && full[2] > 20, "{full:?}");
}
