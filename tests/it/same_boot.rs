//! Two sessions in one boot and then a power cut: the second session reads from the system's cache
//! what the first one wrote and did not sync, and goes by it. A power cut must not show that it was
//! never on the disk.
//!
//! `IFMATCH_SAME_BOOT_STRIDE=n` tries only every n-th call of the first session;
//! `IFMATCH_SEED=n` repeats one of them.

use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{Durability, Error, Options};

use crate::expected_commits::Ledger;
use crate::writer::Writer;
use crate::{Case, Repeat, from_environment, seeds, thinned};

/// How many images of each power cut are opened.
const IMAGES: u8 = 2;

fn open(sim: &Simulation) -> Result<Writer, Error> {
    sim.open(&Options::new()).and_then(|store| Writer::new(store, Durability::Immediate))
}

/// A session that replaces MANIFEST in each of the ways that there are.
fn first_session(
    sim: &Simulation,
    ledger: &mut Ledger,
    rng: &mut fastrand::Rng,
) -> Result<(), Error> {
    let writer = open(sim)?;
    ledger.settle(writer.read()?);
    writer.single(rng, ledger)?;
    writer.roll(rng, ledger)?;
    Simulation::checkpoint(writer.store())?;
    writer.roll(rng, ledger)?;
    writer.compact(ledger)?;
    writer.single(rng, ledger)?;
    writer.close()
}

/// Opens and writes once; after a crash that begins a segment.
fn next_session(
    sim: &Simulation,
    ledger: &mut Ledger,
    rng: &mut fastrand::Rng,
) -> Result<(), Error> {
    let writer = open(sim)?;
    // What an open showed is durable.
    ledger.settle(writer.read()?);
    writer.single(rng, ledger)
}

/// A regression: a manifest that was read from the cache and was not on the disk was used, and the
/// seal of a segment that only this manifest names made the store unopenable.
#[test]
fn a0_a_power_cut_does_not_take_back_what_an_open_went_by() {
    let stride = from_environment("IFMATCH_SAME_BOOT_STRIDE").unwrap_or(thinned(197, 16)).max(1);
    let mut images = 0;
    for persistent in [false, true] {
        for call in seeds(0..u64::MAX).step_by(stride as usize) {
            let _repeat = Repeat::new("same_boot", call);
            let rng = &mut fastrand::Rng::with_seed(call);
            let (sim, mut ledger) = (Simulation::new(call), Ledger::default());
            first_session(&sim, &mut ledger, rng).unwrap();
            ledger.all_durable();
            let plan = FaultPlan::after(call, Fault::Eio);
            sim.disk().inject(if persistent { plan.persistent() } else { plan });
            let ended = first_session(&sim, &mut ledger, rng);
            if sim.disk().faults_struck() == 0 {
                ended.unwrap();
                break;
            }
            images += cut_everywhere(&sim, &ledger, (persistent, call), rng);
        }
    }
    println!("{images} images opened");
}

/// Cuts the power at each call of the session that comes next in this boot.
fn cut_everywhere(
    sim: &Simulation,
    ledger: &Ledger,
    (persistent, call): (bool, u64),
    rng: &mut fastrand::Rng,
) -> u64 {
    let mut images = 0;
    for cut in 0.. {
        let case = Case(format!("call {call} failed, persistent: {persistent}, cut at {cut}"));
        let (next, mut ledger) = (sim.kill(rng), ledger.clone());
        next.disk().inject(FaultPlan::after(cut, Fault::Eio).persistent());
        let ended = next_session(&next, &mut ledger, rng);
        for _ in 0..IMAGES {
            images += 1;
            let writer = open(&next.crash(rng)).expect("opening after a power cut");
            ledger.after_power_cut().settle(writer.read().unwrap());
        }
        if next.disk().faults_struck() == 0 {
            ended.unwrap();
            break;
        }
        drop(case);
    }
    images
}
