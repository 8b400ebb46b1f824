//! The sweep takes away what is expired, and nothing else; it costs nothing while nothing is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{Durability, Error, Meta, Options, Store};

use super::{ALWAYS, Rig, TTL};
use crate::backends::{not_found, on_every_backend};
use crate::{Repeat, seeds, thinned};

fn sweep(rig: &Rig) -> u64 {
    Simulation::sweep(&rig.store).unwrap()
}

fn items(rig: &Rig) -> u64 {
    rig.store.stats().unwrap().items
}

#[test]
fn a_sweep_takes_away_what_is_expired_and_nothing_else() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let (gone, later) = (
            numbers.clone().with_ttl(Duration::ZERO),
            numbers.clone().with_ttl(Duration::from_secs(3_600)),
        );
        gone.create("a", &1).unwrap();
        let live = [numbers.create("b", &2).unwrap(), later.create("c", &3).unwrap()];
        gone.create("d", &4).unwrap();
        numbers.create("e", &5).unwrap();
        numbers.delete("e", ALWAYS).unwrap();
        bench
            .store()
            .raw("blobs")
            .unwrap()
            .with_ttl(Duration::ZERO)
            .create("f", &"6".into())
            .unwrap();
        bench.step();
        let before = bench.store().stats().unwrap();
        assert_eq!(before.items, 5, "expired items are counted until they are swept");
        assert_eq!(Simulation::sweep(&bench.store()).unwrap(), 3);
        bench.step();
        assert_eq!(bench.store().stats().unwrap().items, 2);
        assert_eq!(Simulation::sweep(&bench.store()).unwrap(), 0);
        bench.step();
        let metas: Vec<Meta> =
            bench.numbers().iter().unwrap().map(|item| *item.unwrap().meta()).collect();
        assert_eq!(metas, live);
        bench.store().verify().unwrap();
        not_found(bench.numbers().delete("a", ALWAYS));
        assert_eq!(bench.numbers().create("a", &1).unwrap().parent(), None);
    });
}

#[test]
fn a_sweep_of_many_items_is_many_commits_of_at_most_256() {
    let rig = Rig::new();
    let mut batch = rig.store.batch();
    for n in 0..2_000_u64 {
        let collection = if n % 3 == 0 { rig.plain() } else { rig.fleeting() };
        batch = batch.create(&collection, n.to_be_bytes(), &n);
    }
    batch.commit().unwrap();
    rig.at(1_000);
    let (before, count) = (rig.store.revision(), rig.store.verify().unwrap().commits);
    assert_eq!(sweep(&rig), 1_333);
    let commits = rig.store.verify().unwrap().commits - count;
    assert!(commits >= 1_333_u64.div_ceil(256), "{commits} commits");
    assert!(rig.store.revision() > before);
    assert_eq!((items(&rig), rig.plain().len().unwrap()), (667, 667));
    let rig = rig.close_and_open();
    assert_eq!((items(&rig), sweep(&rig)), (667, 0));
}

/// A store whose index fails at once when it is touched, and whose disk counts.
#[test]
fn while_nothing_is_due_a_sweep_touches_neither_index_nor_disk() {
    let rig = Rig::new();
    rig.plain().create("never", &1).unwrap();
    let touches_nothing = |rig: &Rig| {
        let calls = rig.sim.disk().calls();
        rig.sim.fail_index_after(0);
        for _ in 0..100 {
            assert_eq!(sweep(rig), 0);
        }
        rig.sim.fail_index_after(u64::MAX);
        assert_eq!(rig.sim.disk().calls(), calls);
    };
    touches_nothing(&rig);
    rig.fleeting().create("a", &1).unwrap();
    rig.at(999);
    touches_nothing(&rig);
    let rig = rig.close_and_open();
    touches_nothing(&rig);
    rig.at(1_000);
    assert_eq!(sweep(&rig), 1);
    touches_nothing(&rig);
    let rig = rig.close_and_open();
    rig.at(1_000_000);
    touches_nothing(&rig);
}

/// The bound stays what it was after a renewal, so one pass looks in vain and corrects it.
#[test]
fn a_pass_that_finds_nothing_expired_writes_nothing_and_is_not_repeated() {
    let rig = Rig::new();
    rig.fleeting().create("a", &1).unwrap();
    rig.fleeting().create("b", &1).unwrap();
    rig.plain().without_ttl().replace("b", &2, ALWAYS).unwrap();
    rig.at(900);
    rig.fleeting().update("a", |_| {}).unwrap();
    rig.at(1_000);
    let (calls, revision) = (rig.sim.disk().calls(), rig.store.revision());
    assert_eq!(sweep(&rig), 0);
    assert_eq!((rig.sim.disk().calls(), rig.store.revision()), (calls, revision));
    rig.sim.fail_index_after(0);
    assert_eq!(sweep(&rig), 0, "the bound was corrected");
    rig.sim.fail_index_after(u64::MAX);
    rig.at(1_900);
    assert_eq!(sweep(&rig), 1);
}

#[test]
fn what_expires_while_the_store_is_closed_is_swept_after_it_is_opened() {
    type End = fn(Rig) -> Rig;
    let ends: [End; 4] = [
        Rig::close_and_open,
        |rig| rig.crash(3),
        |rig| {
            Simulation::checkpoint(&rig.store).unwrap();
            rig.crash(4)
        },
        |mut rig| {
            rig.store.close().unwrap();
            rig.sim.remove_index();
            rig.store = rig.sim.open(&Options::new()).unwrap();
            rig
        },
    ];
    for end in ends {
        let rig = Rig::new();
        rig.fleeting().create("a", &1).unwrap();
        rig.plain().with_ttl(3 * TTL).create("b", &2).unwrap();
        rig.plain().create("c", &3).unwrap();
        let rig = end(rig);
        assert_eq!(sweep(&rig), 0);
        rig.at(1_000);
        let rig = end(rig);
        assert_eq!((items(&rig), sweep(&rig), items(&rig)), (3, 1, 2));
        let rig = end(rig);
        assert_eq!(sweep(&rig), 0);
        rig.at(3_000);
        assert_eq!((sweep(&rig), items(&rig)), (1, 1));
    }
}

/// Renews every item by chance before or after the sweep comes to it.
#[test]
fn no_live_item_is_ever_swept_beside_writers_that_renew() {
    const KEYS: u64 = 24;
    let rig = Rig::new();
    let key = |n: u64| (n % KEYS).to_be_bytes();
    let done = AtomicBool::new(false);
    let swept = thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u64)
            .map(|writer| {
                let (plain, gone) = (rig.plain(), rig.plain().with_ttl(Duration::ZERO));
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(writer);
                    for _ in 0..thinned(200, 1_500) {
                        // Each writer has keys of its own: what it wrote must be there.
                        let key = key(rng.u64(..KEYS / 2) * 2 + writer);
                        gone.upsert(key, &0, ALWAYS).unwrap();
                        assert_eq!(plain.get(key).unwrap(), None);
                        let kept = plain.create(key, &1).unwrap();
                        thread::yield_now();
                        let found = plain.get(key).unwrap();
                        assert_eq!(found.map(|item| item.etag()), Some(kept.etag()));
                        if rng.bool() {
                            gone.replace(key, &2, kept.etag()).unwrap();
                        }
                    }
                })
            })
            .collect();
        let sweeper = scope.spawn(|| {
            let mut swept = 0;
            while !done.load(Ordering::Relaxed) {
                swept += sweep(&rig);
            }
            swept
        });
        let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
        sweeper.join().unwrap()
    });
    assert!(swept > 0, "no sweep met an expired item");
    sweep(&rig);
    assert_eq!(items(&rig), rig.plain().len().unwrap(), "an expired item was forgotten");
    rig.store.verify().unwrap();
}

/// The power goes, or the process ends, at each disk call of a sweep in turn.
#[test]
fn a_sweep_cut_short_loses_no_live_item_and_is_gone_on_with() {
    let mut partly = 0;
    for durability in [Durability::Immediate, Durability::Eventual] {
        for cut in seeds(0..u64::MAX) {
            let _repeat = Repeat::new("expiry", cut);
            let (sim, live) = half_expired(cut, durability);
            let store = sim.open(&Options::new().durability(durability)).unwrap();
            sim.disk().inject(FaultPlan::after(cut, Fault::Eio).persistent());
            let swept = Simulation::sweep(&store).and_then(|swept| store.sync().map(|()| swept));
            let struck = sim.disk().faults_struck() > 0;
            assert!(struck || swept.is_ok(), "nothing failed, and still {swept:?}");
            let mut rng = fastrand::Rng::with_seed(cut);
            let images = (0..thinned(1, 4)).map(|_| sim.crash(&mut rng)).collect::<Vec<_>>();
            for image in images.into_iter().chain([sim.kill(&mut rng)]) {
                partly += u64::from(check_image(&image, &live, swept.is_ok()));
            }
            drop(store);
            if !struck {
                break;
            }
        }
    }
    assert!(partly > 0, "no image was left in the middle of a sweep");
}

const EACH: u64 = 300;

/// A closed store of live and expired items, one after another.
fn half_expired(seed: u64, durability: Durability) -> (Simulation, Vec<Meta>) {
    let sim = Simulation::new(seed);
    let store = sim.open(&Options::new().durability(durability)).unwrap();
    let plain = store.collection::<u64>("numbers").unwrap();
    let gone = plain.clone().with_ttl(Duration::ZERO);
    let mut batch = store.batch();
    for n in 0..EACH {
        batch = batch.create(&plain, [&n.to_be_bytes()[..], b"live"].concat(), &n);
        batch = batch.create(&gone, [&n.to_be_bytes()[..], b"gone"].concat(), &n);
    }
    batch.commit().unwrap();
    let live = metas(&store);
    store.close().unwrap();
    (sim, live)
}

fn metas(store: &Store) -> Vec<Meta> {
    let plain = store.collection::<u64>("numbers").unwrap();
    plain.iter().unwrap().map(|item| *item.unwrap().meta()).collect()
}

/// Returns whether a part of the sweep is in the image.
fn check_image(image: &Simulation, live: &[Meta], complete: bool) -> bool {
    let store = image.open(&Options::new()).unwrap();
    assert_eq!(metas(&store), live);
    let left = store.stats().unwrap().items - EACH;
    assert!(left == 0 || !complete, "a sweep that was synced is undone");
    assert_eq!(Simulation::sweep(&store).unwrap(), left);
    assert_eq!(store.stats().unwrap().items, EACH);
    assert_eq!(metas(&store), live);
    store.verify().unwrap();
    0 < left && left < EACH
}

#[test]
fn after_a_full_disk_a_sweep_goes_on_where_it_was() {
    let (sim, live) = half_expired(5, Durability::Immediate);
    let store = sim.open(&Options::new()).unwrap();
    store.raw("blobs").unwrap().create("a", &"1".into()).unwrap();
    // After a kill the next commit needs a new segment.
    let sim = sim.kill(&mut fastrand::Rng::with_seed(5));
    let store = sim.open(&Options::new()).unwrap();
    sim.disk().set_capacity(Some(0));
    let refused = Simulation::sweep(&store);
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    assert_eq!(store.stats().unwrap().items, 2 * EACH + 1);
    sim.disk().set_capacity(None);
    assert_eq!(Simulation::sweep(&store).unwrap(), EACH);
    assert_eq!(metas(&store), live);
}

#[test]
fn a_poisoned_store_is_not_swept() {
    let (sim, live) = half_expired(6, Durability::Immediate);
    let store = sim.open(&Options::new()).unwrap();
    store.collection::<u64>("numbers").unwrap().create("first of the run", &1).unwrap();
    let plan = FaultPlan::after(0, Fault::Eio).only(Operation::Sync);
    sim.disk().inject(plan);
    let failed = Simulation::sweep(&store);
    assert!(matches!(failed, Err(Error::CommitUnknown { .. })), "{failed:?}");
    assert!(matches!(Simulation::sweep(&store), Err(Error::Poisoned { .. })));
    assert_eq!(metas(&store).len(), live.len() + 1);
}
