//! Operations per second of engines that are all open at once, row by row, so that the cells of a
//! row are measured within seconds of each other: a machine changes its speed over minutes, and
//! where others share it, within seconds.

use tempfile::TempDir;

use crate::engine::Mode::{Durable, Eventual};
use crate::engine::{Column, Engine, Mode, Op, Outcome, Setup};
use crate::engines::RAW_DISK;
use crate::plan::{BESIDE_CACHE_BYTES, DEFAULT_CACHE_BYTES, Plan, VALUE_BYTES, quarter};
use crate::report::Goal::{Best, Column as Beside, OwnAtLeast};
use crate::report::Rivals::{All, Checking, SurvivingKill};
use crate::report::{Family, Goal, Report, Rivals, Row, Unit};
use crate::work::{load, measure};

pub const FAMILY: Family = Family {
    title: "Operations per second",
    about: "{n} items of 256 bytes, 21-byte keys, uniform random. A replace is a read and a \
            replace with If-Match. The cache has 64 MiB unless the row says something else: \
            resident is 256 MiB, cold is a quarter of the data. Memtables are beside the cache, as \
            large as each engine makes them by default; in the cold rows, where they would hold \
            all of the data, they have 8 MiB, which is what ifmatch has beside its cache. Files are \
            in the system's cache. The hot set is a tenth of the items. A batch and a scan count by \
            their items.",
    rows: &ROWS,
    run,
};

struct Work {
    mode: Mode,
    cache: Cache,
    threads: u64,
    op: Op,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cache {
    Default,
    Resident,
    Cold,
}

const fn work(mode: Mode, cache: Cache, threads: u64, op: Op) -> Work {
    Work { mode, cache, threads, op }
}

/// What each row does, in the order it runs: with the same engines first what only reads.
const WORKS: [Work; 18] = [
    work(Durable, Cache::Default, 1, Op::Replace),
    work(Durable, Cache::Default, 8, Op::Replace),
    work(Durable, Cache::Default, 64, Op::Replace),
    work(Durable, Cache::Default, 1, Op::ReplaceHundred),
    work(Eventual, Cache::Default, 1, Op::GetHot),
    work(Eventual, Cache::Default, 1, Op::GetNotModified),
    work(Eventual, Cache::Default, 2, Op::GetHot),
    work(Eventual, Cache::Default, 1, Op::GetAny),
    work(Eventual, Cache::Default, 1, Op::Replace),
    work(Eventual, Cache::Default, 2, Op::Replace),
    work(Eventual, Cache::Default, 8, Op::Replace),
    work(Eventual, Cache::Default, 8, Op::UpdateOneKey),
    work(Eventual, Cache::Default, 1, Op::Patch),
    work(Eventual, Cache::Resident, 1, Op::GetAny),
    work(Eventual, Cache::Resident, 1, Op::ScanValues),
    work(Eventual, Cache::Resident, 1, Op::ScanKeys),
    work(Eventual, Cache::Cold, 1, Op::GetAny),
    work(Eventual, Cache::Cold, 1, Op::ScanValues),
];

const fn row(id: &'static str, what: &'static str, rivals: Rivals, goals: &'static [Goal]) -> Row {
    Row { id, what, unit: Unit::PerSecond, rivals, goals }
}

const ROWS: [Row; WORKS.len()] = [
    row("durable-1", "durable replace, 1 thread", All, &[Best(1.1), Beside(0.9, RAW_DISK)]),
    row("durable-8", "durable replace, 8 threads", All, &[Best(2.0)]),
    row("durable-64", "durable replace, 64 threads", All, &[Best(2.0)]),
    row("batch-100", "durable batch of 100 replaces", All, &[Best(1.5)]),
    row("get-1", "get, hot, 1 thread", All, &[Best(1.2)]),
    row("not-modified", "conditional get, not modified, hot", All, &[OwnAtLeast(1.1, "get-1")]),
    row("get-2", "get, hot, 2 threads", All, &[Best(1.2)]),
    row("get-any", "get of any item", All, &[]),
    row("eventual-1", "eventual replace, 1 thread", SurvivingKill, &[Best(1.5)]),
    row("eventual-2", "eventual replace, 2 threads", SurvivingKill, &[Best(2.0)]),
    row("eventual-8", "eventual replace, 8 threads", SurvivingKill, &[Best(2.0)]),
    row("update-8", "eventual update of one key, 8 threads", SurvivingKill, &[Best(1.0)]),
    row("patch", "patch of a field in 1 KiB of JSON, eventual", SurvivingKill, &[Best(2.0)]),
    row("get-resident", "get of any item, resident", All, &[]),
    row("scan-values", "scan of keys and values, resident", All, &[Best(1.5)]),
    row("scan-keys", "scan of keys, resident", All, &[Best(1.5)]),
    row("get-cold", "get of any item, cold", Checking, &[Best(1.0)]),
    row("scan-cold", "scan of keys and values, cold", Checking, &[Beside(1.0, "fjall")]),
];

type Open = (&'static Column, Box<dyn Engine>, TempDir);

fn run(plan: &Plan, report: &mut Report) -> Outcome {
    let wanted: Vec<_> = ROWS.iter().zip(&WORKS).filter(|(row, _)| plan.wants(row)).collect();
    let alike = |a: &Work, b: &Work| a.mode == b.mode && a.cache == b.cache;
    for works in wanted.chunk_by(|(_, a), (_, b)| alike(a, b)) {
        let Some((_, first)) = works.first() else { continue };
        let open = open_all(plan, report, first, works)?;
        // A row that is compared with an engine's own figure comes right after it, engine by engine.
        let beside_own = |row: &Row| row.goals.iter().any(|goal| matches!(goal, OwnAtLeast(..)));
        for together in works.chunk_by(|_, (row, _)| beside_own(row)) {
            for round in 0..plan.rounds {
                for (column, engine, _) in &open {
                    for (row, Work { op, threads, .. }) in together {
                        plan.rest();
                        let engine = engine.as_ref();
                        let rate = measure(engine, *op, *threads, plan.items, plan.time, round);
                        report.put(row, column, rate);
                    }
                }
            }
        }
        for (_, engine, dir) in open {
            engine.close()?;
            dir.close()?;
        }
    }
    Ok(())
}

/// Opens and loads every engine. One that fails has failed in every row of these.
fn open_all(
    plan: &Plan,
    report: &mut Report,
    work: &Work,
    rows: &[(&Row, &Work)],
) -> Outcome<Vec<Open>> {
    let cache_bytes = match work.cache {
        Cache::Default => DEFAULT_CACHE_BYTES,
        Cache::Resident => 4 * DEFAULT_CACHE_BYTES,
        Cache::Cold => quarter(plan.items),
    };
    let memtable_bytes = (work.cache == Cache::Cold).then_some(BESIDE_CACHE_BYTES);
    let setup = Setup { mode: work.mode, cache_bytes, memtable_bytes };
    let mut open = Vec::new();
    for column in &plan.columns {
        let dir = plan.folder()?;
        let loaded = (column.open)(dir.path(), setup).and_then(|engine| {
            load(engine.as_ref(), plan.items, VALUE_BYTES)?;
            Ok(engine)
        });
        match loaded {
            Ok(engine) => open.push((*column, engine, dir)),
            Err(error) => {
                for (row, _) in rows {
                    report.put(row, column, Err(error.to_string().into()));
                }
            }
        }
    }
    Ok(open)
}
