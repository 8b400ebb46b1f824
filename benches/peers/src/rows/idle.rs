//! What an engine does when nobody asks for anything, and what many stores take.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::child::{Child, measure_each};
use crate::engine::{Column, Op, Outcome, Random, TAG_BYTES, absent, key};
use crate::plan::{DEFAULT_CACHE_BYTES, Plan, VALUE_BYTES, eventual, rest};
use crate::report::Goal::AtMost;
use crate::report::Rivals::All;
use crate::report::{Family, Goal, Report, Row, Unit};
use crate::rows::footprint::{allocated_bytes, figure, resident_mib};
use crate::work::{load, step};

pub const FAMILY: Family = Family {
    title: "Idle, empty, many",
    about: "A store that was filled and written to, eventual, is left alone until it rests and \
            then for {idle} seconds. All threads but the main one are counted. Those of sled's pool, \
            which all stores of a process share, have a row of their own, also in sled's column. \
            Descriptors are those of one store, its folder's lock among them. An empty store was \
            opened and closed. Many stores are open at once in a process that may have 1 024 \
            descriptors, each with one item written and a cache of 1 MiB.",
    rows: &ROWS,
    run,
};

const fn row(id: &'static str, what: &'static str, unit: Unit, goals: &'static [Goal]) -> Row {
    Row { id, what, unit, rivals: All, goals }
}

const ROWS: [Row; 9] = [
    row("idle-writes", "write calls", Unit::Count, &[AtMost(0.0)]),
    row("idle-wakes", "wake-ups", Unit::Count, &[AtMost(0.0)]),
    row("idle-wakes-sled", "wake-ups of sled's threads", Unit::Count, &[]),
    row("idle-handles", "descriptors, idle", Unit::Count, &[AtMost(8.0)]),
    row("busy-handles", "descriptors, after writing", Unit::Count, &[AtMost(32.0)]),
    row("empty-store", "files of an empty store, allocated", Unit::KiB, &[AtMost(300.0)]),
    row("many-handles", "descriptors of a store, {many} open", Unit::Count, &[AtMost(10.0)]),
    row("many-open", "open of each of {many}", Unit::Milliseconds, &[]),
    row("many-memory", "memory of each of {many}", Unit::MiB, &[]),
];
const CACHE_BYTES: u64 = 1 << 20;
const PAUSE: Duration = Duration::from_secs(5);

fn run(plan: &Plan, report: &mut Report) -> Outcome {
    let [writes, wakes, of_sled, idle, busy, empty, many @ ..] = &ROWS;
    let rows = [writes, wakes, of_sled, idle, busy];
    if rows.iter().any(|row| plan.wants(row)) {
        // All at once: they are to do nothing.
        let numbers = [plan.items, plan.idle().as_millis() as u64];
        let mut children = Vec::new();
        for column in plan.stores() {
            let dir = plan.folder()?;
            children.push((column, Child::start("idle", column, dir.path(), &numbers), dir));
        }
        for (column, child, _dir) in children {
            report.put_all(rows, column, child.and_then(Child::figures));
        }
    }
    for column in plan.stores().filter(|_| plan.wants(empty)) {
        let dir = plan.folder()?;
        let closed = (column.open)(dir.path(), eventual(CACHE_BYTES)).and_then(|e| e.close());
        report.put(empty, column, closed.map(|()| allocated_bytes(dir.path()) as f64 / 1_024.0));
    }
    measure_each(plan, report, many, "many", &[plan.many()])
}

/// In the child: writes, rests, and is left alone.
pub fn idle(column: &Column, dir: &Path, items: u64, milliseconds: u64) -> Outcome<Vec<f64>> {
    let before = descriptors();
    let engine = (column.open)(dir, eventual(DEFAULT_CACHE_BYTES))?;
    load(engine.as_ref(), items, VALUE_BYTES)?;
    let mut session = engine.session()?;
    let (mut random, mut item) = (Random::new(1), vec![0; TAG_BYTES + VALUE_BYTES]);
    for _ in 0..items {
        step(session.as_mut(), Op::Replace, items, &mut random, &mut item)?;
    }
    let busy = descriptors() - before;
    drop(session);
    engine.settle()?;
    // What is begun only after a pause comes before the rest.
    thread::sleep(PAUSE);
    rest();
    let counts = || [write_calls(), wake_ups(false), wake_ups(true)];
    let counted = counts();
    thread::sleep(Duration::from_millis(milliseconds));
    let more = std::iter::zip(counts(), counted).map(|(now, then)| now.saturating_sub(then));
    let handles = [descriptors() - before, busy];
    Ok(more.chain(handles).map(|figure| figure as f64).collect())
}

/// In the child: opens so many stores and writes an item to each.
pub fn many(column: &Column, dir: &Path, stores: u64) -> Outcome<Vec<f64>> {
    let before = (descriptors(), resident_mib()?);
    let mut open = Vec::new();
    let mut spent = Duration::ZERO;
    for n in 0..stores {
        let dir = dir.join(n.to_string());
        fs::create_dir(&dir)?;
        let began = Instant::now();
        let engine = (column.open)(&dir, eventual(CACHE_BYTES)).and_then(|engine| {
            engine.session()?.load(&[(key(n), Random::new(n).item(VALUE_BYTES))])?;
            Ok(engine)
        });
        spent += began.elapsed();
        match engine {
            Ok(engine) => open.push(engine),
            Err(error) => return absent(&format!("fails at the {n}th: {error}")),
        }
    }
    let each = |figure: f64| figure / stores as f64;
    Ok(vec![
        each((descriptors() - before.0) as f64),
        each(spent.as_secs_f64() * 1e3),
        each(resident_mib()? - before.1),
    ])
}

fn descriptors() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

fn write_calls() -> u64 {
    figure(&fs::read_to_string("/proc/self/io").unwrap_or_default(), "syscw:").unwrap_or_default()
}

/// How often threads other than the main one have gone to sleep, which is how often they woke.
/// Counts those of sled's pool, or all others.
fn wake_ups(of_sled: bool) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let others = tasks.filter(|task| task.file_name() != *std::process::id().to_string());
    let statuses = others.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let wanted = statuses.filter(|status| status.starts_with("Name:\tsled-io") == of_sled);
    wanted.filter_map(|status| figure(&status, "voluntary_ctxt_switches:")).sum()
}
