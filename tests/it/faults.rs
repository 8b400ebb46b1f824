//! Calls of the disk and of the index that fail: every one of them, in every way, and a disk that
//! is full. `IFMATCH_FAULT_STRIDE=n` tries every n-th case; `IFMATCH_SEED=n` begins with another
//! workload, or repeats one case of the tests that have many.

use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{Durability, Error, Options};
use std::io::ErrorKind;

use crate::expected_commits::Ledger;
use crate::random_activity::Wide;
use crate::writer::Writer;
use crate::{Case, Repeat, from_environment, seeds, thinned};

const DURABILITIES: [Durability; 2] = [Durability::Immediate, Durability::Eventual];

fn options(durability: Durability) -> Options {
    // Without a cache reads reach the disk, so that they can fail.
    Options::new().durability(durability).cache_bytes(0)
}

fn open(sim: &Simulation, durability: Durability) -> Result<Writer, Error> {
    sim.open(&options(durability)).and_then(|store| Writer::new(store, durability))
}

/// Opens, settles the ledger with what is there, and proves that writing works.
fn reopen(sim: &Simulation, ledger: &mut Ledger, rng: &mut fastrand::Rng) -> Writer {
    let writer = open(sim, Durability::Immediate).expect("reopening");
    ledger.settle(writer.read().expect("reading after reopening"));
    writer.single(rng, ledger).expect("writing after reopening");
    writer
}

/// How the workload ended: the error, and the store where it is still open.
type Failure = Box<(Error, Option<Writer>)>;

/// Two runs of a store: creation, a unique index, all verbs, expiry, a snapshot across a checkpoint, a sweep and a
/// compaction, a new segment, the feed, a backup and its restoring, closing, opening again.
fn workload(
    sim: &Simulation,
    durability: Durability,
    ledger: &mut Ledger,
    rng: &mut fastrand::Rng,
) -> Result<(), Failure> {
    for round in 0..2 {
        let writer = open(sim, durability).map_err(|error| Box::new((error, None)))?.wide(sim);
        let wide = Wide::new(sim);
        let mut run = || {
            ledger.settle(writer.read()?);
            writer.index()?;
            for _ in 0..6 {
                writer.step(rng, ledger)?;
            }
            writer.expiring(ledger)?;
            wide.take_snapshot(&writer, ledger);
            Simulation::checkpoint(writer.store())?;
            ledger.all_durable();
            writer.roll(rng, ledger)?;
            ledger.pass(5_000);
            sim.set_now_ms(ledger.now_ms());
            Simulation::sweep(writer.store())?;
            writer.compact(ledger)?;
            wide.look_at_snapshot(&writer, ledger)?;
            wide.follow(&writer, ledger)?;
            writer.step(rng, ledger)?;
            copy(sim, &writer, ledger, round)
        };
        if let Err(error) = run() {
            return Err(Box::new((error, Some(writer))));
        }
        writer.close().map_err(|error| Box::new((error, None)))?;
        ledger.all_durable();
    }
    Ok(())
}

/// Makes a backup and a store of it, which holds what is there now.
fn copy(sim: &Simulation, writer: &Writer, ledger: &mut Ledger, round: u8) -> Result<(), Error> {
    writer.store().sync()?;
    ledger.all_durable();
    let (backup, restored) = (format!("backup-{round}"), format!("restored-{round}"));
    writer.store().backup(&backup)?;
    let store = sim.at(restored).restore(&backup, &Options::new().cache_bytes(0))?;
    ledger.check_now(&Writer::new(store.clone(), Durability::Immediate)?.read()?);
    store.close()
}

#[test]
fn every_disk_call_may_fail_once_in_every_way() {
    let stride = from_environment("IFMATCH_FAULT_STRIDE").unwrap_or(thinned(397, 13)).max(1);
    let kinds = [
        Fault::Eio,
        Fault::Error(ErrorKind::StorageFull),
        Fault::Short,
        Fault::Interrupted,
        Fault::Torn,
    ];
    let (mut cases, mut failed) = (0, 0);
    for durability in DURABILITIES {
        let sim = Simulation::new(seed());
        let mut rng = fastrand::Rng::with_seed(seed());
        workload(&sim, durability, &mut Ledger::default(), &mut rng).map_err(|e| e.0).unwrap();
        for position in 0..sim.disk().calls() {
            for kind in kinds {
                cases += 1;
                if cases % stride == 0 {
                    failed += u64::from(fails_clearly(durability, position, kind));
                }
            }
        }
    }
    println!("{} of {cases} faults tried, {failed} ended in an error", cases / stride);
    assert!(failed > cases / stride / 4, "faults that strike nothing test nothing");
}

fn seed() -> u64 {
    from_environment("IFMATCH_SEED").unwrap_or(1)
}

/// Returns whether the fault came out as an error.
fn fails_clearly(durability: Durability, position: u64, kind: Fault) -> bool {
    let case = Case(format!("{durability:?}, call {position}, {kind:?}"));
    let _repeat = Repeat::new("faults", seed());
    let sim = Simulation::new(seed());
    let mut rng = fastrand::Rng::with_seed(seed());
    let mut ledger = Ledger::default();
    sim.disk().inject(FaultPlan::after(position, kind));
    let outcome = workload(&sim, durability, &mut ledger, &mut rng);
    assert_eq!(sim.disk().faults_struck(), 1);
    let failed = outcome.is_err();
    if let Err(failure) = outcome {
        let (error, writer) = *failure;
        let harmless = matches!(kind, Fault::Short | Fault::Interrupted);
        assert!(!harmless, "a call that can be repeated was not: {error}");
        check_failure(&error, writer.as_ref(), &mut ledger, &mut rng);
        for _ in 0..2 {
            reopen(&sim.crash(&mut rng), &mut ledger.after_power_cut(), &mut rng);
        }
        drop(writer);
    }
    let mut after = ledger.clone();
    let writer = reopen(&sim, &mut after, &mut rng);
    // What reopening showed is durable, also where a page that failed its sync looks clean.
    reopen(&sim.crash(&mut rng), &mut after.after_power_cut(), &mut rng);
    writer.close().expect("closing after reopening");
    drop(case);
    failed
}

/// The store after an error: it says what it says, reads go on, and writing does or does not.
fn check_failure(
    error: &Error,
    writer: Option<&Writer>,
    ledger: &mut Ledger,
    rng: &mut fastrand::Rng,
) {
    let clear =
        matches!(error, Error::Io { .. } | Error::Poisoned { .. } | Error::CommitUnknown { .. });
    assert!(clear, "{error:?}");
    let Some(writer) = writer else { return };
    ledger.check_now(&writer.read().expect("reads go on"));
    match (error, writer.single(rng, ledger)) {
        (_, Err(Error::Poisoned { .. })) => {
            let again = writer.single(rng, ledger);
            assert!(matches!(again, Err(Error::Poisoned { .. })), "poison does not wear off");
        }
        (Error::Io { .. }, Ok(())) => {}
        (_, next) => panic!("after {error:?}, the next write gave {next:?}"),
    }
    ledger.check_now(&writer.read().expect("reads go on"));
}

/// A regression: where the indexes were built that an open has to build, and MANIFEST could not be
/// replaced afterwards, only the log said so, and the open returned a store that was poisoned.
#[test]
fn a1_what_an_open_returns_takes_writes() {
    let (source, writer, ..) = prepared(seed());
    writer.index().unwrap();
    writer.store().backup("backup").unwrap();
    let (mut position, mut refused) = (0, 0);
    loop {
        let case = Case(format!("call {position} of a restore"));
        let mut rng = fastrand::Rng::with_seed(position);
        let sim = source.kill(&mut rng).at("restored");
        sim.disk().inject(FaultPlan::after(position, Fault::Eio));
        let opened = sim.restore("backup", &options(Durability::Immediate));
        let struck = sim.disk().faults_struck() > 0;
        sim.disk().clear_faults();
        match opened {
            Ok(store) => {
                assert!(!store.stats().unwrap().poisoned, "a poisoned store was returned");
                store.raw("more").unwrap().create("a", &b"1"[..].into()).unwrap();
            }
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "{error:?}");
                refused += 1;
            }
        }
        drop(case);
        if !struck {
            break;
        }
        position += 1;
    }
    assert!(refused > 10, "faults that strike nothing test nothing");
}

/// A store with some items, opened by an `Immediate` writer.
fn prepared(seed: u64) -> (Simulation, Writer, Ledger, fastrand::Rng) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (sim, mut ledger) = (Simulation::new(seed), Ledger::default());
    let writer = open(&sim, Durability::Immediate).unwrap();
    for _ in 0..10 {
        writer.single(&mut rng, &mut ledger).unwrap();
    }
    (sim, writer, ledger, rng)
}

#[test]
fn a_failed_sync_or_a_torn_frame_poisons_and_what_was_written_stays_readable() {
    let plans = [
        FaultPlan::after(0, Fault::Eio).only(Operation::Sync),
        FaultPlan::after(0, Fault::Eio).only(Operation::Write),
        FaultPlan::after(0, Fault::Torn).only(Operation::Write),
    ];
    for (seed, plan) in
        seeds(0..thinned(14, 40)).flat_map(|seed| plans.iter().map(move |plan| (seed, plan)))
    {
        let _repeat = Repeat::new("faults", seed);
        let (sim, writer, mut ledger, mut rng) = prepared(seed);
        sim.disk().inject(plan.clone());
        let error = writer.single(&mut rng, &mut ledger).unwrap_err();
        assert!(matches!(error, Error::CommitUnknown { .. }), "{error:?}");
        assert_eq!(error.http_status(), 500);
        assert!(matches!(writer.single(&mut rng, &mut ledger), Err(Error::Poisoned { .. })));
        assert!(matches!(writer.store().sync(), Err(Error::Poisoned { .. })));
        ledger.check_now(&writer.read().unwrap());
        assert!(matches!(writer.close(), Err(Error::Poisoned { .. })));

        reopen(&sim.crash(&mut rng), &mut ledger.after_power_cut(), &mut rng);
        // Pages whose sync failed look clean now: what opening shows must be written again.
        let writer = open(&sim, Durability::Immediate).unwrap();
        ledger.settle(writer.read().unwrap());
        for _ in 0..8 {
            reopen(&sim.crash(&mut rng), &mut ledger.after_power_cut(), &mut rng);
        }
    }
}

#[test]
fn a2_a_full_disk_refuses_writes_and_nothing_else() {
    for (seed, fills_up) in seeds(0..thinned(3, 8)).flat_map(|seed| [(seed, false), (seed, true)]) {
        let _repeat = Repeat::new("faults", seed);
        let (sim, writer, mut ledger, mut rng) = prepared(seed);
        sim.disk().fill_up_before_full(fills_up);
        let room = rng.u64(0..400_000);
        sim.disk().set_capacity(Some(sim.disk().total_len_bytes() + room));
        write_until_full(&writer, &mut ledger, &mut rng);
        // Refused again, not poisoned, and space that is there is used when it is.
        write_until_full(&writer, &mut ledger, &mut rng);
        sim.disk().set_capacity(None);
        writer.roll(&mut rng, &mut ledger).expect("space is back");

        sim.disk().set_capacity(Some(sim.disk().total_len_bytes()));
        match rng.u8(0..3) {
            0 => writer.close().expect("closing on a full disk"),
            1 => drop(writer),
            _ => {
                reopen_full(&sim.kill(&mut rng), ledger.clone(), &mut rng);
                continue;
            }
        }
        reopen_full(&sim, ledger, &mut rng);
    }
}

fn write_until_full(writer: &Writer, ledger: &mut Ledger, rng: &mut fastrand::Rng) {
    let error = (0..20).find_map(|_| writer.roll(rng, ledger).err()).expect("a full disk");
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == ErrorKind::StorageFull));
    assert_eq!(error.http_status(), 507);
    ledger.check_now(&writer.read().expect("a full disk is read"));
}

fn reopen_full(sim: &Simulation, mut ledger: Ledger, rng: &mut fastrand::Rng) {
    sim.disk().set_capacity(Some(sim.disk().total_len_bytes()));
    let writer = open(sim, Durability::Immediate).expect("opening on a full disk");
    ledger.settle(writer.read().expect("a full disk is read"));
    write_until_full(&writer, &mut ledger, rng);
    sim.disk().set_capacity(None);
    writer.roll(rng, &mut ledger).expect("space is back");
    writer.close().unwrap();
    drop(reopen(sim, &mut ledger, rng));
}

/// The journal is whole: reads and writes go on, whichever call of the backing store fails, and for
/// as long as it does.
#[test]
fn a1_a_failing_index_ends_nothing_and_is_rebuilt() {
    for calls in seeds(0..80).step_by(thinned(3, 1) as usize) {
        let _repeat = Repeat::new("faults", calls);
        let case = Case(format!("call {calls} of the backing store"));
        let (sim, writer, mut ledger, mut rng) = prepared(calls);
        sim.fail_index_after(calls);
        for _ in 0..40 {
            writer.step(&mut rng, &mut ledger).expect("a write without a backing store");
        }
        Simulation::checkpoint(writer.store()).expect("a checkpoint without a backing store");
        ledger.check_now(&writer.read().expect("a read without a backing store"));
        assert!(!writer.store().stats().unwrap().poisoned);
        if rng.bool() {
            // It comes back under the open store.
            sim.fail_index_after(u64::MAX);
            Simulation::checkpoint(writer.store()).unwrap();
        }
        writer.close().unwrap();
        // With the backing store still failing the next open does without, too.
        reopen(&sim, &mut ledger, &mut rng).close().unwrap();
        sim.fail_index_after(u64::MAX);
        reopen(&sim.crash(&mut rng), &mut ledger.after_power_cut(), &mut rng);
        reopen(&sim, &mut ledger, &mut rng).close().unwrap();
        drop(case);
    }
}
