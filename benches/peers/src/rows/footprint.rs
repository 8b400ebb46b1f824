//! What an engine takes of the disk and of memory, and what it writes. Each figure comes from a
//! process of its own.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::child::measure_each;
use crate::engine::{Column, Op, Outcome, Random, TAG_BYTES};
use crate::plan::{DEFAULT_CACHE_BYTES, Plan, VALUE_BYTES, eventual, live_bytes, rest};
use crate::report::Goal::AtMost;
use crate::report::Rivals::{All, SurvivingKill};
use crate::report::{Family, Goal, Report, Row, Unit};
use crate::work::{load, step};

pub const FAMILY: Family = Family {
    title: "Disk, writing and memory",
    about: "{10n} eventual replaces of {n} items ({50n} where the row says so) by one thread with \
            a cache of 64 MiB, and then what is left to be done. Disk is the blocks allocated to \
            all files, also to deleted ones that are still open, over keys and values. Written is \
            what was handed to the system in write calls, also what was put off until the end, \
            over the keys and values that were replaced; the row beneath has what the system \
            counts as written to the disk: a page that is written twice before it gets there \
            counts once. Memory is the resident set with {5n} items, after loading them, and after \
            {10n} operations, half of them gets, and a scan; it includes pages of mapped files.",
    rows: &ROWS,
    run,
};

const fn times(id: &'static str, what: &'static str, goals: &'static [Goal]) -> Row {
    Row { id, what, unit: Unit::Times, rivals: SurvivingKill, goals }
}

const fn mib(id: &'static str, what: &'static str, goals: &'static [Goal]) -> Row {
    Row { id, what, unit: Unit::MiB, rivals: All, goals }
}

const SMALL_CACHE_BYTES: u64 = 8 << 20;
const MEMORY_8: &[Goal] = &[AtMost(48.0 + 1.3 * 8.0)];
const MEMORY_64: &[Goal] = &[AtMost(48.0 + 1.3 * 64.0)];

/// For each kind of overwriting: disk at the worst moment, at the end, written, written to disk.
const ROWS: [Row; 20] = [
    times("disk-256-worst", "disk, 256 B, at the worst moment", &[AtMost(3.0)]),
    times("disk-256-end", "disk, 256 B, at the end", &[AtMost(2.5)]),
    times("written-256", "written, 256 B", &[AtMost(3.5)]),
    times("written-256-disk", "written, 256 B, to disk", &[]),
    times("disk-1024-worst", "disk, 1 KiB, at the worst moment", &[AtMost(2.0)]),
    times("disk-1024-end", "disk, 1 KiB, at the end", &[AtMost(1.7)]),
    times("written-1024", "written, 1 KiB", &[]),
    times("written-1024-disk", "written, 1 KiB, to disk", &[]),
    times("disk-cache-8-worst", "disk, 256 B, cache of 8 MiB, at the worst moment", &[]),
    times("disk-cache-8-end", "disk, 256 B, cache of 8 MiB, at the end", &[]),
    times("written-cache-8", "written, 256 B, cache of 8 MiB", &[]),
    times("written-cache-8-disk", "written, 256 B, cache of 8 MiB, to disk", &[]),
    times("disk-large-worst", "disk, 256 B, {50n} items, at the worst moment", &[]),
    times("disk-large-end", "disk, 256 B, {50n} items, at the end", &[]),
    times("written-large", "written, 256 B, {50n} items", &[]),
    times("written-large-disk", "written, 256 B, {50n} items, to disk", &[]),
    mib("memory-8-loaded", "memory, cache of 8 MiB, loaded", MEMORY_8),
    mib("memory-8-worked", "memory, cache of 8 MiB, after work", MEMORY_8),
    mib("memory-64-loaded", "memory, cache of 64 MiB, loaded", MEMORY_64),
    mib("memory-64-worked", "memory, cache of 64 MiB, after work", MEMORY_64),
];

fn run(plan: &Plan, report: &mut Report) -> Outcome {
    let (overwriting, memory) = ROWS.split_at(16);
    let (n, writes, value_bytes) = (plan.items, plan.items * 10, VALUE_BYTES as u64);
    let kinds = [
        [n, writes, value_bytes, DEFAULT_CACHE_BYTES],
        [n, writes, 1_024, DEFAULT_CACHE_BYTES],
        [n, writes, value_bytes, SMALL_CACHE_BYTES],
        [50 * n, writes, value_bytes, DEFAULT_CACHE_BYTES],
    ];
    for (rows, numbers) in overwriting.as_chunks::<4>().0.iter().zip(kinds) {
        measure_each(plan, report, rows, "overwrite", &numbers)?;
    }
    let caches = [SMALL_CACHE_BYTES, DEFAULT_CACHE_BYTES];
    for (rows, cache_bytes) in memory.as_chunks::<2>().0.iter().zip(caches) {
        measure_each(plan, report, rows, "memory", &[5 * n, writes, cache_bytes])?;
    }
    Ok(())
}

/// In the child: overwrites items at random.
pub fn overwrite(
    column: &Column,
    dir: &Path,
    items: u64,
    writes: u64,
    value_bytes: usize,
    cache_bytes: u64,
) -> Outcome<Vec<f64>> {
    let engine = (column.open)(dir, eventual(cache_bytes))?;
    load(engine.as_ref(), items, value_bytes)?;
    rest();
    let (calls, disk) = written_bytes();
    let over = AtomicBool::new(false);
    let worst = thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut worst = 0;
            while !over.load(Ordering::Relaxed) {
                worst = worst.max(allocated_bytes(dir));
                thread::sleep(Duration::from_millis(20));
            }
            worst
        });
        let done = (|| {
            let mut session = engine.session()?;
            let (mut random, mut item) = (Random::new(1), vec![0; TAG_BYTES + value_bytes]);
            for _ in 0..writes {
                step(session.as_mut(), Op::Replace, items, &mut random, &mut item)?;
            }
            drop(session);
            engine.settle()?;
            rest();
            Outcome::Ok(())
        })();
        over.store(true, Ordering::Relaxed);
        done.and_then(|()| sampler.join().map_err(|_| "the sampler panicked".into()))
    })?;
    let end = allocated_bytes(dir);
    let (calls, disk) = (written_bytes().0 - calls, written_bytes().1 - disk);
    let (live, stored) = (live_bytes(items, value_bytes), live_bytes(writes, value_bytes));
    let ratio = |bytes: u64, of: u64| bytes as f64 / of as f64;
    Ok(vec![
        ratio(worst.max(end), live),
        ratio(end, live),
        ratio(calls, stored),
        ratio(disk, stored),
    ])
}

/// In the child: fills a store and works on it; MiB after each.
pub fn memory(
    column: &Column,
    dir: &Path,
    items: u64,
    operations: u64,
    cache_bytes: u64,
) -> Outcome<Vec<f64>> {
    let engine = (column.open)(dir, eventual(cache_bytes))?;
    load(engine.as_ref(), items, VALUE_BYTES)?;
    rest();
    let loaded = resident_mib()?;
    let mut session = engine.session()?;
    let (mut random, mut item) = (Random::new(1), vec![0; TAG_BYTES + VALUE_BYTES]);
    for _ in 0..operations / 2 {
        for op in [Op::GetAny, Op::Replace] {
            step(session.as_mut(), op, items, &mut random, &mut item)?;
        }
    }
    step(session.as_mut(), Op::ScanValues, items, &mut random, &mut item)?;
    engine.settle()?;
    rest();
    Ok(vec![loaded, resident_mib()?])
}

pub fn resident_mib() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = figure(&status, "VmRSS:").ok_or("the system does not tell")?;
    Ok(kib as f64 / 1_024.0)
}

/// Handed to the system in write calls by this process so far, and written to disk for it.
fn written_bytes() -> (u64, u64) {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let bytes = |name| figure(&io, name).unwrap_or_default();
    (bytes("wchar:"), bytes("write_bytes:"))
}

/// The number behind a name in one of the system's lists.
pub fn figure(list: &str, name: &str) -> Option<u64> {
    let line = list.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes allocated to all files of a folder, and to files of its file system that this process
/// has open though they are deleted.
pub fn allocated_bytes(dir: &Path) -> u64 {
    let below = below(dir);
    let Ok(home) = fs::metadata(dir) else { return below };
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let deleted = open
        .filter_map(|fd| fs::metadata(fd.path()).ok())
        .filter(|meta| meta.is_file() && meta.nlink() == 0 && meta.dev() == home.dev());
    below + deleted.map(|meta| allocated(&meta)).sum::<u64>()
}

fn allocated(meta: &Metadata) -> u64 {
    meta.blocks() * 512
}

fn below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => below(&entry.path()),
        Ok(meta) => allocated(&meta),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
