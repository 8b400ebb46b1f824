//! Simulated power cuts: whatever a disk may legally be left with, the store opens with a prefix
//! of its commits that holds every acknowledged durable one.
//!
//! `IFMATCH_POWER_CUT_IMAGES=n` draws so many images, `IFMATCH_POWER_CUT_FIRST=n` begins with
//! another chain, and `IFMATCH_SEED=n` repeats one. A chain that fails is shrunk to few of its steps
//! and images, which `IFMATCH_PARTS=...` repeats.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{Durability, Error, HistoryPolicy, Item, OnDamage, Options, Precondition, Store};

use crate::expected_commits::Ledger;
use crate::shrink::{Parts, part, shrinking};
use crate::writer::Writer;
use crate::{Repeat, from_environment, seeds, thinned};

#[test]
fn no_power_cut_loses_a_synced_write() {
    draw("synced writes", Durability::Immediate, Directories::Synced, 0);
}

#[test]
fn no_power_cut_leaves_a_hole_in_what_was_not_synced() {
    draw("unsynced writes", Durability::Eventual, Directories::Synced, 1 << 32);
}

/// As on Windows, where a file system need not flush directories.
#[test]
fn no_power_cut_loses_a_synced_write_where_names_only_keep_their_order() {
    draw("synced writes, names in order", Durability::Immediate, Directories::InOrder, 2 << 32);
}

#[test]
fn no_power_cut_loses_what_any_of_several_threads_was_told() {
    for seed in seeds(0..thinned(2, 16)) {
        let _repeat = Repeat::new("power_cuts", seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let sim = Simulation::new(seed);
        let eventual = rng.bool();
        let durability = if eventual { Durability::Eventual } else { Durability::Immediate };
        let store = sim.open(&Options::new().durability(durability)).unwrap();
        let told = [(); 3].map(|()| AtomicU64::new(0));
        let pace = Pace::default();
        thread::scope(|scope| {
            let _end = EndOnDrop(&pace);
            for (thread, told) in (0..).zip(&told) {
                let (store, pace) = (&store, &pace);
                scope.spawn(move || count(store, thread, eventual, told, pace));
            }
            for _ in 0..25 {
                // Bounded, as images of ever more commits would take ever longer to open.
                pace.allowed.fetch_add(10, Ordering::SeqCst);
                thread::sleep(Duration::from_micros(rng.u64(0..2_000)));
                // Before the power goes: what is told after that is no promise any more.
                let told = told.each_ref().map(|told| told.load(Ordering::SeqCst));
                check_counts(&sim.crash(&mut rng), told);
            }
        });
    }
}

/// How far the writers may count.
#[derive(Default)]
struct Pace {
    allowed: AtomicU64,
    end: AtomicBool,
}

/// Lets the writers end, also when the test fails.
struct EndOnDrop<'a>(&'a Pace);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end.store(true, Ordering::SeqCst);
    }
}

/// Counts up in two items at once, and tells how far that is durable.
fn count(store: &Store, thread: u8, eventual: bool, told: &AtomicU64, pace: &Pace) {
    let items = store.raw("items").unwrap();
    for number in 1_u64.. {
        while number > pace.allowed.load(Ordering::SeqCst) {
            if pace.end.load(Ordering::SeqCst) {
                return;
            }
            thread::yield_now();
        }
        let value = Bytes::copy_from_slice(&number.to_le_bytes());
        let batch = store.batch().upsert(&items, [thread, 0], &value, Precondition::Always);
        batch.upsert(&items, [thread, 1], &value, Precondition::Always).commit().unwrap();
        if eventual {
            store.sync().unwrap();
        }
        told.store(number, Ordering::SeqCst);
    }
}

fn check_counts(image: &Simulation, told: [u64; 3]) {
    let store = image.open(&Options::new()).unwrap();
    let items = store.raw("items").unwrap();
    for (thread, told) in (0_u8..).zip(told) {
        let both = items.get_many([[thread, 0], [thread, 1]]).unwrap();
        let number = |item: &Option<Item<Bytes>>| {
            item.as_ref().map_or(0, |item| u64::from_le_bytes(item.value[..].try_into().unwrap()))
        };
        let [first, second] = [number(&both[0]), number(&both[1])];
        assert_eq!(first, second, "half of a batch");
        assert!(first >= told, "thread {thread} was told {told} and the store holds {first}");
    }
}

/// A regression: what a killed creation had named was used, and not made durable.
#[test]
fn a_creation_that_was_killed_anywhere_is_durable_once_it_is_used() {
    for calls in seeds(0..u64::MAX) {
        let _repeat = Repeat::new("power_cuts", calls);
        let mut rng = fastrand::Rng::with_seed(calls);
        let sim = Simulation::new(calls);
        sim.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
        let cut = sim.open(&Options::new()).is_err();
        let sim = sim.kill(&mut rng);
        let mut ledger = Ledger::default();
        let writer =
            Writer::new(sim.open(&Options::new()).unwrap(), Durability::Immediate).unwrap();
        for _ in 0..3 {
            writer.single(&mut rng, &mut ledger).unwrap();
        }
        for _ in 0..thinned(3, 8) {
            let store = sim.crash(&mut rng).open(&Options::new()).expect("opening");
            let state = Writer::new(store, Durability::Immediate).unwrap().read().unwrap();
            ledger.clone().settle(state);
        }
        if !cut {
            break;
        }
    }
}

/// How names become durable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directories {
    Synced,
    /// [`keep_names_in_order`](ifmatch::simulation::SimulatedDisk::keep_names_in_order).
    InOrder,
}

/// Half of the images for each durability, as these two tests run side by side, and a tenth of that
/// more where names only keep their order.
fn draw(what: &str, durability: Durability, directories: Directories, first_seed: u64) {
    let half =
        from_environment("IFMATCH_POWER_CUT_IMAGES").unwrap_or(thinned(400, 10_400)).div_ceil(2);
    let wanted = if directories == Directories::Synced { half } else { half.div_ceil(10) };
    let chain = |seed| {
        let _repeat = Repeat::new("power_cuts", seed);
        let images = Cell::default();
        shrinking(|parts| {
            let world = World { durability, directories, parts, images: Cell::default() };
            world.chain(seed);
            images.set(world.images.get());
        });
        images.get()
    };
    if let Some(seed) = from_environment("IFMATCH_SEED") {
        chain(seed);
        return;
    }
    let first_seed = first_seed + from_environment("IFMATCH_POWER_CUT_FIRST").unwrap_or(0);
    let (mut images, mut seed) = (0, first_seed);
    while images < wanted {
        images += chain(seed);
        seed += 1;
    }
    println!("{images} images of {what} opened, from {} chains", seed - first_seed);
}

/// How a store came to its end.
#[derive(Clone, Copy)]
enum End {
    PowerCut,
    Kill,
}

struct World<'a> {
    durability: Durability,
    directories: Directories,
    parts: &'a Parts,
    images: Cell<u64>,
}

impl World<'_> {
    fn chain(&self, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let sim = Simulation::new(rng.u64(..));
        if self.directories == Directories::InOrder {
            sim.disk().keep_names_in_order();
        }
        self.live(&sim, Ledger::default(), &mut rng, (0, 3));
    }

    /// Opens a store and works with it to some end, and from there on in other lives. A life has a
    /// number of its own, and so many come after it.
    fn live(
        &self,
        sim: &Simulation,
        mut ledger: Ledger,
        rng: &mut fastrand::Rng,
        (life, lives): (u32, u8),
    ) {
        let (options, durability) = self.options(rng);
        // The last life is not disturbed: it proves that the store works.
        let disturbed = lives > 0;
        if disturbed && rng.u8(0..3) == 0 {
            self.cut_after(rng.u64(0..90), sim);
        }
        let opened = sim.open(&options).and_then(|store| {
            assert!(!store.stats()?.poisoned, "an open returned a poisoned store");
            Writer::new(store, durability)
        });
        let opened = opened.and_then(|writer| writer.index().map(|()| writer.wide(sim)));
        let writer = match opened.and_then(|writer| Ok((writer.read()?, writer))) {
            Ok((state, writer)) => {
                assert_eq!(writer.store().damage(), None);
                ledger.settle(state);
                writer
            }
            Err(error) => {
                assert!(disturbed && sim.disk().faults_struck() > 0, "opening failed: {error}");
                assert!(is_clear(&error), "unexpected at opening: {error:?}");
                return self.images_of(sim, &ledger, rng, (life, lives));
            }
        };
        sim.disk().clear_faults();
        if !disturbed {
            for _ in 0..2 {
                writer.single(rng, &mut ledger).unwrap();
            }
            return;
        }
        self.work(sim, writer, ledger, rng, (life, lives));
    }

    fn work(
        &self,
        sim: &Simulation,
        writer: Writer,
        mut ledger: Ledger,
        rng: &mut fastrand::Rng,
        (life, lives): (u32, u8),
    ) {
        let steps = rng.u8(0..24);
        let cut_at = rng.bool().then(|| rng.u8(0..24));
        for step in 0..steps {
            let rng = &mut rng.fork();
            let this = part(life, u32::from(step));
            if !self.parts.take_place(this) {
                continue;
            }
            if cut_at == Some(step) {
                self.cut_after(rng.u64(0..12), sim);
            }
            if let Err(error) = writer.step(rng, &mut ledger) {
                assert!(sim.disk().faults_struck() > 0, "a write failed: {error}");
                assert!(is_clear(&error), "unexpected at writing: {error:?}");
                break;
            }
            if rng.u8(0..16) == 0 {
                self.images_of(sim, &ledger, rng, (this, lives));
            }
        }
        if rng.u8(0..3) == 0 && writer.close().is_ok() {
            ledger.all_durable();
        }
        self.images_of(sim, &ledger, rng, (life, lives));
        // The store that is dropped here has nothing to say any more.
        self.cut_after(0, sim);
    }

    /// Draws some of the images that this moment may leave, and goes on in each.
    fn images_of(
        &self,
        sim: &Simulation,
        ledger: &Ledger,
        rng: &mut fastrand::Rng,
        (above, lives): (u32, u8),
    ) {
        for image in 0..rng.u32(1..=3) {
            let rng = &mut rng.fork();
            let this = part(above, 1_000 + image);
            if !self.parts.take_place(this) {
                continue;
            }
            let end = if rng.u8(0..4) == 0 { End::Kill } else { End::PowerCut };
            let (image, ledger) = match end {
                End::PowerCut => (sim.crash(rng), ledger.after_power_cut()),
                End::Kill => (sim.kill(rng), ledger.clone()),
            };
            self.images.set(self.images.get() + 1);
            self.live(&image, ledger, rng, (this, lives - 1));
        }
    }

    fn cut_after(&self, calls: u64, sim: &Simulation) {
        sim.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
    }

    fn options(&self, rng: &mut fastrand::Rng) -> (Options, Durability) {
        let other = match self.durability {
            Durability::Eventual => Durability::Immediate,
            _ => Durability::Eventual,
        };
        let durability = if rng.u8(0..8) == 0 { other } else { self.durability };
        // What a power cut leaves is not damage, and whoever opens it for repair loses nothing.
        let on_damage = if rng.u8(0..8) == 0 { OnDamage::KeepPrefix } else { OnDamage::Refuse };
        let tombstones = Duration::from_millis(if rng.bool() { 1_000 } else { 1_000_000 });
        let history = HistoryPolicy::new().versions(rng.u32(0..3)).tombstones(tombstones);
        let options = Options::new().durability(durability).on_damage(on_damage).history(history);
        let snapshot_bytes = if rng.u8(0..4) == 0 { 1_000 } else { 1 << 20 };
        (options.snapshot_bytes(snapshot_bytes), durability)
    }
}

/// What a cut may be answered with while the process still runs.
fn is_clear(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::Poisoned { .. } | Error::CommitUnknown { .. })
}
