//! Backup, restore and the first open of a copy, cut short at every call of the disk: what they
//! copy is never harmed, and what they make is whole or was never there.

use std::io::ErrorKind;
use std::ops::Range;

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Operation, STORE, Simulation};
use ifmatch::{Durability, Error, Meta, OnDamage, Options, Precondition, Store};

use crate::expected_commits::{Ledger, State, is_same};
use crate::writer::Writer;
use crate::{Repeat, seeds, thinned};

/// Ways in which a call may fail, and whether the caller must then have noticed.
const FAULTS: [(Fault, bool); 4] =
    [(Fault::Eio, true), (Fault::Torn, true), (Fault::Short, false), (Fault::Interrupted, false)];

struct World {
    sim: Simulation,
    writer: Writer,
    ledger: Ledger,
    rng: fastrand::Rng,
}

impl World {
    fn new(seed: u64) -> Self {
        let (sim, mut rng) = (Simulation::new(seed), fastrand::Rng::with_seed(seed));
        let store = sim.open(&Options::new()).unwrap();
        let writer = Writer::new(store, Durability::Immediate).unwrap();
        let mut ledger = Ledger::default();
        for _ in 0..12 {
            writer.single(&mut rng, &mut ledger).unwrap();
        }
        Self { sim, writer, ledger, rng }
    }

    fn state(&self) -> &State {
        self.ledger.now()
    }

    /// Makes the call with this number, or it and all later ones, fail.
    fn fail(&self, calls: u64, fault: Fault) {
        let plan = FaultPlan::after(calls, fault);
        let persistent = fault == Fault::Eio;
        self.sim.disk().inject(if persistent { plan.persistent() } else { plan });
    }

    /// What this moment may leave of the whole disk, with the indexes of one directory on it.
    fn images(&mut self, of: &Simulation) -> [Simulation; 4] {
        let rng = &mut self.rng;
        [of.kill(rng), of.crash(rng), of.crash(rng), of.crash(rng)]
    }

    /// The original store of an image is what it was.
    fn check_original(&self, image: &Simulation) {
        let original = image.at(STORE).open(&Options::new()).expect("opening the original");
        self.ledger.check_now(&read(&original));
    }
}

fn read(store: &Store) -> State {
    Writer::new(store.clone(), Durability::Immediate).unwrap().read().unwrap()
}

/// Opens what may be a copy; `None` where there is none.
fn open_if_any(sim: &Simulation, on_damage: OnDamage) -> Option<Store> {
    match sim.open(&Options::new().create(false).on_damage(on_damage)) {
        Ok(store) => {
            assert_eq!(store.damage(), None);
            Some(store)
        }
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("opening what was left: {error:?}"),
    }
}

fn upsert(store: &Store) -> Meta {
    let items = store.raw("other").unwrap();
    items.upsert("same", &Bytes::from_static(b"same"), Precondition::Always).unwrap()
}

#[test]
fn a_backup_that_is_cut_short_anywhere_leaves_the_store_alone_and_no_half_copy() {
    for (fault, is_noticed) in FAULTS {
        for calls in seeds(0..u64::MAX).step_by(thinned(9, 1) as usize) {
            let _repeat = Repeat::new("backup_faults", calls);
            let mut world = World::new(calls % 5);
            world.fail(calls, fault);
            let outcome = world.writer.store().backup("copy");
            let struck = world.sim.disk().faults_struck() > 0;
            assert!(is_noticed || outcome.is_ok(), "{fault:?} at {calls}: {outcome:?}");
            let copy = world.sim.at("copy");
            for (number, image) in world.images(&copy).into_iter().enumerate() {
                world.check_original(&image);
                let repair = if number == 3 { OnDamage::KeepPrefix } else { OnDamage::Refuse };
                match open_if_any(&image, repair) {
                    Some(opened) => assert!(is_same(world.state(), &read(&opened))),
                    None => {
                        assert!(outcome.is_err(), "a backup that returned is lost");
                        // A new store may be made there, and is empty.
                        let made = image.open(&Options::new().on_damage(repair)).unwrap();
                        assert!(read(&made).is_empty());
                        upsert(&made);
                    }
                }
            }
            world.sim.disk().clear_faults();
            let World { writer, ledger, rng, .. } = &mut world;
            writer.single(rng, ledger).expect("the store goes on");
            if let Err(error) = outcome {
                assert!(matches!(error, Error::Io { .. }), "{error:?}");
                match writer.store().backup("copy") {
                    Ok(_) => {
                        let opened = copy.open(&Options::new()).unwrap();
                        assert!(is_same(ledger.now(), &read(&opened)));
                    }
                    // The marker was removed and only syncing that failed: the first is whole.
                    Err(Error::Io { source, .. }) => {
                        assert_eq!(source.kind(), ErrorKind::AlreadyExists);
                        copy.open(&Options::new()).unwrap();
                    }
                    Err(error) => panic!("the second attempt: {error:?}"),
                }
            }
            if !struck {
                assert!(calls > 20, "only {calls} calls");
                break;
            }
        }
    }
}

/// The calls of the disk that a backup of such a world takes.
fn calls_of_a_backup(seed: u64) -> u64 {
    let World { sim, writer, .. } = World::new(seed);
    let before = sim.disk().calls();
    writer.store().backup("copy").unwrap();
    sim.disk().calls() - before
}

#[test]
fn the_first_and_last_steps_of_a_backup_leave_a_whole_copy_or_none() {
    let calls = calls_of_a_backup(0);
    for cut_at in (0..12).chain(calls - 6..calls) {
        let _repeat = Repeat::new("backup_faults", cut_at);
        let mut world = World::new(0);
        world.fail(cut_at, Fault::Eio);
        world.writer.store().backup("copy").unwrap_err();
        let copy = world.sim.at("copy");
        for _ in 0..15 {
            for image in world.images(&copy) {
                if let Some(opened) = open_if_any(&image, OnDamage::Refuse) {
                    assert!(is_same(world.state(), &read(&opened)));
                }
            }
        }
    }
}

#[test]
fn an_open_of_what_a_backup_has_left_is_cut_short_anywhere() {
    let calls = calls_of_a_backup(0);
    for (first_cut, second_cut) in (0..12).flat_map(|second| [(calls - 3, second), (25, second)]) {
        let _repeat = Repeat::new("backup_faults", second_cut);
        let mut world = World::new(0);
        world.fail(first_cut, Fault::Eio);
        world.writer.store().backup("copy").unwrap_err();
        // What was named is not durable yet.
        let killed = world.sim.at("copy").kill(&mut world.rng);
        killed.disk().inject(FaultPlan::after(second_cut, Fault::Eio).persistent());
        drop(killed.open(&Options::new().create(false)));
        for _ in 0..10 {
            for image in world.images(&killed) {
                if let Some(opened) = open_if_any(&image, OnDamage::Refuse) {
                    assert!(is_same(world.state(), &read(&opened)));
                }
            }
        }
    }
}

#[test]
fn a_backup_that_returned_is_not_replaced_after_a_power_cut() {
    let mut world = World::new(0);
    world.writer.store().backup("copy").unwrap();
    for _ in 0..20 {
        let image = world.sim.crash(&mut world.rng);
        let again = image.open(&Options::new()).unwrap().backup("copy");
        let Err(Error::Io { source, .. }) = again else { panic!("{again:?}") };
        assert_eq!(source.kind(), ErrorKind::AlreadyExists);
    }
}

/// As on Windows, where a file system need not flush directories.
#[test]
fn f4_a_backup_that_returned_survives_a_power_cut_where_names_only_keep_their_order() {
    let mut world = World::new(0);
    world.sim.disk().keep_names_in_order();
    world.writer.store().backup("copy").unwrap();
    let copy = world.sim.at("copy");
    for _ in 0..10 {
        for image in world.images(&copy) {
            let opened = open_if_any(&image, OnDamage::Refuse).expect("the backup is there");
            assert!(is_same(world.state(), &read(&opened)));
        }
    }
}

#[test]
fn a_backup_over_what_another_has_left_is_cut_short_anywhere() {
    // The first has named its MANIFEST and not removed its marker; or has come half as far.
    let calls = calls_of_a_backup(0);
    for (first_cut, second_cut) in (0..16).flat_map(|second| [(calls - 2, second), (25, second)]) {
        let _repeat = Repeat::new("backup_faults", second_cut);
        let mut world = World::new(0);
        world.fail(first_cut, Fault::Eio);
        world.writer.store().backup("copy").unwrap_err();
        world.sim.disk().clear_faults();
        world.fail(second_cut, Fault::Eio);
        world.writer.store().backup("copy").unwrap_err();
        let copy = world.sim.at("copy");
        for _ in 0..10 {
            for image in world.images(&copy) {
                if let Some(opened) = open_if_any(&image, OnDamage::Refuse) {
                    assert!(is_same(world.state(), &read(&opened)));
                }
            }
        }
    }
}

#[test]
fn a_restore_that_is_cut_short_anywhere_leaves_the_backup_alone_and_no_half_store() {
    for calls in seeds(0..u64::MAX).step_by(thinned(9, 1) as usize) {
        let _repeat = Repeat::new("backup_faults", calls);
        let mut world = World::new(calls % 5);
        world.writer.store().backup("copy").unwrap();
        let new = world.sim.at("new");
        world.fail(calls, Fault::Eio);
        let outcome = new.restore("copy", &Options::new());
        let struck = world.sim.disk().faults_struck() > 0;
        world.sim.disk().clear_faults();
        let written = outcome.as_ref().ok().filter(|_| !struck).map(upsert);
        for image in world.images(&new) {
            match open_if_any(&image, OnDamage::Refuse) {
                Some(opened) => {
                    assert!(is_same(world.state(), &read(&opened)));
                    let found = opened.raw("other").unwrap().get("same").unwrap();
                    assert_eq!(found.map(|item| *item.meta()), written);
                    opened.verify().unwrap();
                }
                None => assert!(outcome.is_err(), "a store that was restored is lost"),
            }
            let again = image.at("again").restore("copy", &Options::new()).unwrap();
            assert!(is_same(world.state(), &read(&again)));
        }
        if !struck {
            break;
        }
    }
}

#[test]
fn the_first_open_of_a_copy_may_be_cut_short_anywhere() {
    for calls in seeds(0..u64::MAX).step_by(thinned(9, 1) as usize) {
        let _repeat = Repeat::new("backup_faults", calls);
        let mut world = World::new(calls % 5);
        world.writer.store().backup("copy").unwrap();
        let original = upsert(world.writer.store());
        let copy = world.sim.at("copy");
        world.fail(calls, Fault::Eio);
        let opened = copy.open(&Options::new());
        let struck = world.sim.disk().faults_struck() > 0;
        world.sim.disk().clear_faults();
        let first = match &opened {
            Ok(store) if !struck => Some(upsert(store)),
            _ => None,
        };
        for image in world.images(&copy) {
            let store = image.open(&Options::new()).expect("a copy opens");
            assert!(is_same(world.state(), &read(&store)));
            let second = upsert(&store);
            assert_eq!(second.parent(), first.map(|first| first.etag()));
            assert_ne!(second.etag(), original.etag());
            assert!(first.is_none_or(|first| first.revision() < second.revision()));
            assert!(second.revision().0 > original.revision().0 + (1 << 19));
            store.verify().unwrap();
            // Whatever the first open came to, the second has made it a store of its own.
            store.close().unwrap();
            let store = image.open(&Options::new()).unwrap();
            assert_eq!(upsert(&store).parent(), Some(second.etag()));
        }
        if !struck {
            break;
        }
    }
}

#[test]
fn a_full_disk_ends_a_backup_and_nothing_else() {
    let mut full = 0;
    for step in 0..20 {
        let _repeat = Repeat::new("backup_faults", step);
        let World { sim, writer, mut ledger, mut rng } = World::new(step);
        sim.disk().fill_up_before_full(step % 2 == 0);
        sim.disk().set_capacity(Some(sim.disk().total_len_bytes() + step * 20_000));
        let outcome = writer.store().backup("copy");
        if let Err(error) = outcome {
            full += 1;
            assert_eq!(error.http_status(), 507, "{error:?}");
            assert!(open_if_any(&sim.at("copy"), OnDamage::Refuse).is_none());
            sim.disk().set_capacity(None);
            writer.single(&mut rng, &mut ledger).expect("the store goes on");
            writer.store().backup("copy").expect("space is back");
        }
        sim.disk().set_capacity(None);
        let opened = sim.at("copy").open(&Options::new()).unwrap();
        ledger.check_now(&read(&opened));
    }
    assert!((5..20).contains(&full), "the disk was full {full} times");
}

/// The source is read by one thread, another one writes, and a third one syncs.
#[test]
fn a_large_restore_in_which_a_call_fails_says_why() {
    let refused =
        fail_large_restores(thinned(17, 1) as usize, |calls| FaultPlan::after(calls, Fault::Eio));
    assert!(refused > 5, "{refused}");
}

#[test]
fn a_large_restore_that_returns_is_durable_even_if_a_sync_fails() {
    let sync = |calls| FaultPlan::after(calls, Fault::Eio).only(Operation::Sync);
    assert!(fail_large_restores(1, sync) > 3);
}

/// Makes the calls of a plan fail, for each number of calls that pass before; returns how many
/// restores were refused.
fn fail_large_restores(step: usize, plan: impl Fn(u64) -> FaultPlan) -> u64 {
    const ITEMS: u8 = 120;
    let sim = Simulation::new(1);
    let fill = |store: &Store, numbers: Range<u8>| {
        let items = store.raw("items").unwrap();
        for number in numbers {
            items.create([number], &vec![number; 100_000].into()).unwrap();
        }
    };
    let store = sim.open(&Options::new()).unwrap();
    fill(&store, 0..ITEMS / 2);
    store.backup("half").unwrap();
    // Of a second incarnation, so that the copy has two segments.
    let store = sim.at("whole").restore("half", &Options::new()).unwrap();
    fill(&store, ITEMS / 2..ITEMS);
    store.backup("copy").unwrap();
    let mut refused = 0;
    for calls in seeds(0..u64::MAX).step_by(step) {
        let _repeat = Repeat::new("backup_faults", calls);
        let mut rng = fastrand::Rng::with_seed(calls);
        let image = sim.kill(&mut rng).at("new");
        image.disk().inject(plan(calls));
        let outcome = image.restore("copy", &Options::new());
        let struck = image.disk().faults_struck() > 0;
        image.disk().clear_faults();
        match outcome {
            Ok(restored) => {
                let crash = |_| image.crash(&mut rng).open(&Options::new()).unwrap();
                for restored in (0..4).map(crash).chain([restored]) {
                    let items = restored.raw("items").unwrap();
                    assert_eq!(items.len().unwrap(), u64::from(ITEMS));
                    restored.verify().unwrap();
                }
            }
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "{error}");
                refused += 1;
                image.at("again").restore("copy", &Options::new()).unwrap();
            }
        }
        if !struck {
            break;
        }
    }
    refused
}
