//! A full disk from which space is freed from inside: items are deleted and compacted away with the
//! space that is set aside, and writes go on then, in the same session.

use std::collections::BTreeSet;

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{Collection, Durability, Error, Options, Precondition, Raw, Store};

use super::full_disk::is_full;
use crate::{Repeat, thinned};

const RESERVE: &str = "store/RESERVE";

struct Filling {
    store: Store,
    items: Collection<Bytes, Raw>,
    alive: BTreeSet<u32>,
    next: u32,
    len: usize,
}

impl Filling {
    fn new(store: Store, len: usize) -> Self {
        let items = store.raw("items").unwrap();
        Self { store, items, alive: BTreeSet::new(), next: 0, len }
    }

    /// Creates items until there is no space; how many.
    fn fill(&mut self) -> u32 {
        let created = self.create(self.next..);
        self.next += created;
        created
    }

    /// Creates items that were deleted, until there is no space; how many.
    fn fill_up(&mut self) -> u32 {
        let deleted: Vec<u32> =
            (0..self.next).filter(|number| !self.alive.contains(number)).collect();
        self.create(deleted)
    }

    /// Creates these items, until there is no space; how many.
    fn create(&mut self, numbers: impl IntoIterator<Item = u32>) -> u32 {
        let mut created = 0;
        for number in numbers {
            match self.items.create(key(number), &vec![number as u8; self.len].into()) {
                Ok(_) => created += u32::from(self.alive.insert(number)),
                Err(error) => {
                    assert!(is_full(&error), "{error:?}");
                    break;
                }
            }
        }
        created
    }

    /// Deletes an item; where there is no space for it, compacts, and then there must be. Whether
    /// that was so.
    fn delete(&mut self, number: u32) -> bool {
        let compacts = match self.items.delete(key(number), Precondition::Always) {
            Ok(_) => false,
            Err(error) => {
                assert!(is_full(&error), "{error:?}");
                self.store.compact().unwrap();
                self.items.delete(key(number), Precondition::Always).unwrap();
                true
            }
        };
        assert!(self.alive.remove(&number));
        compacts
    }

    /// Deletes items by one commit; whether that was refused, and nothing was deleted.
    fn delete_some(&mut self, count: usize) -> bool {
        let some: Vec<u32> = self.alive.iter().copied().take(count).collect();
        assert!(!some.is_empty(), "everything was deleted");
        let delete = |batch: ifmatch::Batch, number: &u32| {
            batch.delete(&self.items, key(*number), Precondition::Always)
        };
        match some.iter().fold(self.store.batch(), delete).commit() {
            Ok(_) => {
                self.alive.retain(|number| !some.contains(number));
                false
            }
            Err(error) => {
                assert!(is_full(&error), "{error:?}");
                true
            }
        }
    }

    fn check(&self) {
        check(&self.store, &self.alive, self.len);
    }
}

/// The length of a value of which many fit onto a small disk.
fn small() -> usize {
    thinned(600, 100) as usize
}

fn key(number: u32) -> [u8; 4] {
    number.wrapping_mul(0x9E37_79B1).to_be_bytes()
}

fn check(store: &Store, alive: &BTreeSet<u32>, len: usize) {
    let items = store.raw("items").unwrap();
    assert_eq!(items.len().unwrap(), alive.len() as u64);
    for number in alive {
        let item = items.get(key(*number)).unwrap().expect("an acknowledged item");
        assert_eq!(item.value, vec![*number as u8; len]);
    }
    assert!(store.stats().unwrap().poison_cause.is_none());
    assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
}

/// A regression: what tombstones take had to be kept once, and counted as kept for a day, also when
/// their items had come back. So each time less space was given back, and in the end none.
#[test]
fn a2_the_same_items_come_and_go_on_a_full_disk_as_often_as_one_likes() {
    let sim = Simulation::new(1);
    sim.disk().set_capacity(Some(3 << 20));
    let mut filling = Filling::new(sim.open(&Options::new()).unwrap(), small());
    let created = filling.fill();
    let mut came_back = Vec::new();
    for _ in 0..4 {
        for number in filling.alive.clone().into_iter().filter(|number| number % 3 > 0) {
            filling.delete(number);
        }
        filling.store.compact().unwrap();
        came_back.push(filling.fill_up());
    }
    filling.check();
    println!("of {created} items so many came back: {came_back:?}");
    assert!(came_back[1..].iter().all(|back| back * 2 > came_back[0]), "{came_back:?}");
}

/// A regression: deletes and compaction were refused on a full disk, so no space could be freed.
#[test]
fn a2_items_are_deleted_and_compacted_away_on_a_full_disk_and_then_writes_go_on() {
    let cases = [
        (Durability::Immediate, thinned(2_000, 100) as usize, 3 << 20, false),
        (Durability::Eventual, thinned(4_000, 300) as usize, 4 << 20, true),
        (Durability::Immediate, 4_096, thinned(6, 12) << 20, true),
        (Durability::Eventual, 100_000, 30 << 20, false),
    ];
    for (durability, len, capacity, fills_up) in cases {
        let mut rng = fastrand::Rng::with_seed(len as u64);
        let sim = Simulation::new(1);
        let options = Options::new().durability(durability);
        sim.disk().set_capacity(Some(capacity));
        sim.disk().fill_up_before_full(fills_up);
        let mut filling = Filling::new(sim.open(&options).unwrap(), len);
        let created = filling.fill();
        let mut compactions = 0;
        for _ in 0..thinned(1, 2) {
            filling.check();
            let before = filling.alive.len();
            for number in filling.alive.clone() {
                if number % 4 != 0 || rng.u8(0..10) == 0 {
                    compactions += u32::from(filling.delete(number));
                }
            }
            // What is freed by removals alone is not for others.
            filling.check();
            filling.store.compact().unwrap();
            filling.check();
            let more = filling.fill();
            let deleted = before - (filling.alive.len() - more as usize);
            assert!(more as usize > deleted / 5, "{more} after {deleted} were deleted");
            filling.check();
        }
        println!("{created} items of {len} bytes; {compactions} compactions let deletes go on");
        let Filling { store, items, alive, .. } = filling;
        store.sync().unwrap();
        check(&sim.kill(&mut rng).open(&options).unwrap(), &alive, len);
        check(&sim.crash(&mut rng).open(&options).unwrap(), &alive, len);
        drop(items);
        store.close().unwrap();
        let store = sim.open(&options).unwrap();
        check(&store, &alive, len);
        sim.disk().set_capacity(None);
        store.raw("items").unwrap().create("more", &Bytes::new()).unwrap();
    }
}

#[test]
fn a2_other_writes_are_refused_while_the_reserve_is_used_and_go_on_when_it_is_whole() {
    let sim = Simulation::new(1);
    sim.disk().set_capacity(Some(3 << 20));
    let mut filling = Filling::new(sim.open(&Options::new()).unwrap(), small());
    filling.fill();
    let reserve = || sim.disk().read_file(RESERVE).unwrap().len();
    let whole = reserve();
    assert!(whole >= 1 << 20, "{whole} bytes are set aside");
    while reserve() + (192 << 10) > whole {
        let number = *filling.alive.first().unwrap();
        assert!(!filling.delete(number), "removals have a part of it");
    }
    for number in 0..20_u8 {
        let error = filling.items.create([number], &vec![0; 1_000].into()).unwrap_err();
        assert!(is_full(&error), "{error:?}");
        let number = *filling.alive.first().unwrap();
        filling.delete(number);
    }
    // Space from outside does as well, with no reopen.
    sim.disk().set_capacity(Some(5 << 20));
    filling.items.create([1], &Bytes::new()).unwrap();
    assert_eq!(reserve(), whole);
}

/// Else they use up what compaction frees more with than they do.
#[test]
fn a2_removals_leave_compaction_its_share_of_the_reserve() {
    let sim = Simulation::new(1);
    sim.disk().set_capacity(Some(3 << 20));
    let mut filling = Filling::new(sim.open(&Options::new()).unwrap(), 100);
    filling.fill();
    let reserve = || sim.disk().read_file(RESERVE).unwrap().len();
    let whole = reserve();
    while !filling.delete_some(20) {}
    let left = reserve();
    assert!(left < whole && left >= whole / 5 * 4, "{left} bytes of {whole} are left");
    filling.check();
    filling.store.compact().unwrap();
    filling.check();
    assert!(filling.fill() > 0, "nothing was freed");
}

#[test]
fn a2_an_empty_store_sets_nothing_aside_and_a_small_one_little() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    assert!(sim.disk().total_len_bytes() <= 300_000);
    assert_eq!(sim.disk().read_file(RESERVE), None);
    let items = store.raw("items").unwrap();
    items.create("one", &Bytes::new()).unwrap();
    assert_eq!(sim.disk().read_file(RESERVE).unwrap().len(), 128 << 10);
    for number in 0..10_u8 {
        items.create([number], &vec![number; 100_000].into()).unwrap();
    }
    assert_eq!(sim.disk().read_file(RESERVE).unwrap().len(), (5 << 18) + (128 << 10));
}

/// Any call of the work on a full disk is the last one before a loss of power or a kill. Whatever
/// becomes of the space that was set aside, nothing is lost and the next session goes on.
#[test]
fn a2_a_cut_or_a_kill_anywhere_in_freeing_space_loses_nothing() {
    let template = Simulation::new(7);
    let capacity = 3 << 20;
    template.disk().set_capacity(Some(capacity));
    let mut filling = Filling::new(template.open(&Options::new()).unwrap(), 1_000);
    filling.fill();
    for number in filling.alive.clone().into_iter().filter(|number| number % 2 == 0) {
        filling.delete(number);
    }
    let alive = filling.alive.clone();
    filling.store.sync().unwrap();
    let mut cuts = 0;
    for step in 0.. {
        let _repeat = Repeat::new("upkeep::reserve", step);
        let mut rng = fastrand::Rng::with_seed(step);
        let sim = template.kill(&mut rng);
        sim.disk().set_capacity(Some(capacity));
        let store = sim.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        // The first calls one by one; then every few.
        let (first, few) = (thinned(4, 30), thinned(121, 9));
        let calls = step.max(step.saturating_sub(first) * few);
        sim.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
        let mut alive = alive.clone();
        let deleted = *alive.first().unwrap();
        let unknown = match items.delete(key(deleted), Precondition::Always) {
            Ok(_) => {
                alive.remove(&deleted);
                false
            }
            Err(_) => true,
        };
        let _ = store.compact();
        let struck = sim.disk().faults_struck() > 0;
        for image in [sim.kill(&mut rng), sim.crash(&mut rng)] {
            cuts += 1;
            image.disk().set_capacity(Some(capacity));
            let store = image.open(&Options::new()).unwrap();
            let items = store.raw("items").unwrap();
            let mut alive = alive.clone();
            if unknown && items.get(key(deleted)).unwrap().is_none() {
                alive.remove(&deleted);
            }
            check(&store, &alive, 1_000);
            store.compact().unwrap();
            check(&store, &alive, 1_000);
            items.create("more", &Bytes::new()).unwrap();
        }
        if !struck {
            break;
        }
    }
    println!("{cuts} cuts and kills in freeing space");
    assert!(cuts > thinned(8, 60), "{cuts}");
}

/// What the system refuses for the moment is put off: no write fails because nothing can be set
/// aside for another reason than a full disk.
#[test]
fn a2_a_reserve_that_cannot_be_made_refuses_no_write() {
    for fault in [Fault::Eio, Fault::Torn, Fault::Interrupted] {
        for calls in 0..12 {
            let sim = Simulation::new(1);
            let store = sim.open(&Options::new()).unwrap();
            let items = store.raw("items").unwrap();
            items.create("a", &vec![0; 250_000].into()).unwrap();
            let before: Vec<_> = sim.disk().file_names();
            sim.disk().inject(FaultPlan::after(calls, fault));
            let written = items.create("b", &vec![0; 250_000].into());
            sim.disk().clear_faults();
            if let Err(error) = written {
                let of_reserve =
                    matches!(&error, Error::Io { path, .. } if path.ends_with(RESERVE));
                assert!(!of_reserve, "{error:?} beside {before:?}");
            }
        }
    }
}
