//! Stores of several sizes: loaded in bulk, closed or killed, opened, worked on, copied.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use crate::child::Child;
use crate::engine::{Column, Engine, Op, Outcome, Random, TAG_BYTES, key, touch};
use crate::plan::{Plan, VALUE_BYTES, durable, eventual, live_bytes, quarter};
use crate::report::Goal::{AtMost, Best, OwnAtMost};
use crate::report::Rivals::{All, SurvivingKill};
use crate::report::{Family, Report, Row, Unit};
use crate::work::{load, measure};

pub const FAMILY: Family = Family {
    title: "Loading, growth, opening and copies",
    about: "Items of 256 bytes, a cache of a quarter of the data at each size, files in the \
            system's cache. An open includes one get. Loading is in order of keys, each batch durable; \
            what an engine puts off until later is not counted. Growth is the cost of one \
            operation with {50n} items over that with {n/20}, once all keys were scanned and as \
            many items read as are measured. The store that was killed had had \
            64 MiB of keys and values replaced for each million of items, each a write of its own, \
            and was killed at once. A restore is from a backup, synced and opened; where a backup is \
            itself a store, it is copied.",
    rows: &[BULK, OPEN, OPEN_LARGE, OPEN_KILLED, GROWTH_GET, GROWTH_REPLACE, BACKUP, RESTORE],
    run,
};

const BULK: Row = Row::new(
    "bulk-load",
    "load of {5n} items, durable batches of 1 000",
    Unit::PerSecond,
    All,
    &[Best(1.0)],
);
const OPEN: Row = Row::new(
    "open",
    "open after a clean close, {5n} items",
    Unit::Milliseconds,
    All,
    &[AtMost(30.0)],
);
const OPEN_LARGE: Row = Row::new(
    "open-large",
    "open after a clean close, {50n} items",
    Unit::Milliseconds,
    All,
    &[AtMost(500.0)],
);
const OPEN_KILLED: Row = Row::new(
    "open-killed",
    "open after a kill, {5n} items",
    Unit::Milliseconds,
    SurvivingKill,
    &[AtMost(600.0)],
);
const GROWTH_GET: Row =
    Row::new("growth-get", "get of any item: growth", Unit::Times, All, &[AtMost(2.5)]);
const GROWTH_REPLACE: Row = Row::new(
    "growth-replace",
    "eventual replace: growth",
    Unit::Times,
    SurvivingKill,
    &[AtMost(2.5)],
);
const BACKUP: Row =
    Row::new("backup", "backup of the open store, {5n} items", Unit::Milliseconds, All, &[]);
const RESTORE: Row = Row::new(
    "restore",
    "restore of {5n} items",
    Unit::Milliseconds,
    All,
    &[OwnAtMost(3.0, "backup")],
);

fn run(plan: &Plan, report: &mut Report) -> Outcome {
    let (small, middle, large) = (plan.items / 20, plan.items * 5, plan.items * 50);
    if plan.wants_any(&[BULK, OPEN, BACKUP, RESTORE]) {
        for _ in 0..plan.rounds {
            for column in plan.stores() {
                copies(plan, report, column, middle)?;
            }
        }
    }
    if plan.wants_any(&[OPEN_LARGE, GROWTH_GET, GROWTH_REPLACE]) {
        for column in plan.stores() {
            let costs = grown(plan, column, small).and_then(|small| {
                let large = grown(plan, column, large)?;
                Ok([large.open_ms, small.gets / large.gets, small.replaces / large.replaces])
            });
            report.put_all([&OPEN_LARGE, &GROWTH_GET, &GROWTH_REPLACE], column, costs);
        }
    }
    if plan.wants(&OPEN_KILLED) {
        for _ in 0..plan.rounds {
            for column in plan.stores() {
                report.put(&OPEN_KILLED, column, killed(plan, column, middle));
            }
        }
    }
    Ok(())
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// Opens a store and reads one item of it.
fn open(column: &Column, dir: &Path, items: u64) -> Outcome<(Box<dyn Engine>, f64)> {
    let began = Instant::now();
    let engine = (column.open)(dir, eventual(quarter(items)))?;
    engine.session()?.get(&key(items / 2))?;
    Ok((engine, milliseconds(began)))
}

/// Loads a store in bulk and closes it; returns the items per second.
fn loaded(plan: &Plan, column: &Column, dir: &Path, items: u64) -> Outcome<f64> {
    let engine = (column.open)(dir, durable(quarter(items)))?;
    plan.rest();
    let rate = items as f64 / load(engine.as_ref(), items, VALUE_BYTES)?.as_secs_f64();
    plan.rest();
    engine.close()?;
    Ok(rate)
}

fn copies(plan: &Plan, report: &mut Report, column: &Column, items: u64) -> Outcome {
    let dir = plan.folder()?;
    let first = loaded(plan, column, dir.path(), items)
        .and_then(|rate| Ok((rate, open(column, dir.path(), items)?)));
    let engine = match first {
        Ok((rate, (engine, opened))) => {
            report.put(&BULK, column, Ok(rate));
            report.put(&OPEN, column, Ok(opened));
            engine
        }
        Err(error) => {
            let all = [&BULK, &OPEN, &BACKUP, &RESTORE];
            report.put_all(all, column, Err(error));
            return Ok(());
        }
    };
    if plan.wants_any(&[BACKUP, RESTORE]) {
        let (backup, copy) = (plan.folder()?, plan.folder()?);
        plan.rest();
        let began = Instant::now();
        let times = engine.backup(backup.path()).and_then(|()| {
            let backed_up = milliseconds(began);
            Ok([backed_up, restored(column, backup.path(), copy.path(), items)?])
        });
        report.put_all([&BACKUP, &RESTORE], column, times);
    }
    engine.close()
}

fn restored(column: &Column, from: &Path, to: &Path, items: u64) -> Outcome<f64> {
    let began = Instant::now();
    match column.restore {
        Some(restore) => restore(from, to)?,
        None => copy_files(from, to)?,
    }
    let (engine, _) = open(column, to, items)?;
    let restored = milliseconds(began);
    let found = engine.session()?.scan(false)?;
    engine.close()?;
    if found == items { Ok(restored) } else { Err(format!("{found} items restored").into()) }
}

fn copy_files(from: &Path, to: &Path) -> Outcome {
    for entry in fs::read_dir(from)? {
        let to = to.join(entry.as_ref().map_err(|_| "a name cannot be read")?.file_name());
        fs::copy(entry?.path(), &to)?;
        File::open(to)?.sync_all()?;
    }
    Ok(())
}

struct Grown {
    open_ms: f64,
    gets: f64,
    replaces: f64,
}

/// What a store of this size takes to open, and its operations per second then.
fn grown(plan: &Plan, column: &Column, items: u64) -> Outcome<Grown> {
    let dir = plan.folder()?;
    loaded(plan, column, dir.path(), items)?;
    let (engine, open_ms) = open(column, dir.path(), items)?;
    let rate = |op| {
        plan.rest();
        measure(engine.as_ref(), op, 1, items, 2 * plan.time, 0)
    };
    // Not what a cache holds right after an open, but what it comes to hold.
    engine.session()?.scan(false)?;
    rate(Op::GetAny)?;
    let grown = Grown { open_ms, gets: rate(Op::GetAny)?, replaces: rate(Op::Replace)? };
    engine.close()?;
    Ok(grown)
}

/// What the last write before a kill consists of.
const LAST: u8 = 0xee;

/// Has a child write and be killed, and opens what it leaves.
fn killed(plan: &Plan, column: &Column, items: u64) -> Outcome<f64> {
    let dir = plan.folder()?;
    let writes = (64 << 20) * items / 1_000_000 / live_bytes(1, VALUE_BYTES);
    Child::start("killed", column, dir.path(), &[items, writes])?.kill_when_ready()?;
    let (engine, opened) = open(column, dir.path(), items)?;
    let kept = engine.session()?.get(&key(0))? == touch(&[LAST]);
    if column.survives_kill && !kept {
        return Err("a write that was acknowledged is lost".into());
    }
    engine.close()?;
    Ok(opened)
}

/// In the child: writes, and returns when it may be killed.
pub fn write_to_be_killed(
    column: &Column,
    dir: &Path,
    items: u64,
    writes: u64,
) -> Outcome<Box<dyn Engine>> {
    let engine = (column.open)(dir, eventual(quarter(items)))?;
    load(engine.as_ref(), items, VALUE_BYTES)?;
    let mut session = engine.session()?;
    let mut random = Random::new(1);
    for _ in 0..writes {
        session.replace(&key(random.below(items)), &random.item(VALUE_BYTES))?;
    }
    session.replace(&key(0), &vec![LAST; TAG_BYTES + VALUE_BYTES])?;
    drop(session);
    Ok(engine)
}
