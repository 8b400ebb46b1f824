//! Operations on an open engine: loading, and threads that each do one thing again and again.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Item, Key, Op, Outcome, Random, Session, TAG_BYTES, key};
use crate::plan::VALUE_BYTES;

pub const LOAD_BATCH: u64 = 1_000;
const DOCUMENTS: u64 = 1_000;
const HUNDRED: u64 = 100;

/// Writes items in batches and settles. Returns how long the batches took, without the making of
/// their items.
pub fn load(engine: &dyn Engine, items: u64, value_bytes: usize) -> Outcome<Duration> {
    let mut session = engine.session()?;
    let (mut random, mut spent) = (Random::new(0), Duration::ZERO);
    for first in (0..items).step_by(LOAD_BATCH as usize) {
        let numbers = first..items.min(first + LOAD_BATCH);
        let batch: Vec<_> = numbers.map(|n| (key(n), random.item(value_bytes))).collect();
        let began = Instant::now();
        session.load(&batch)?;
        spent += began.elapsed();
    }
    drop(session);
    engine.settle()?;
    Ok(spent)
}

/// Operations per second, all threads together; a batch or a scan counts by its items.
pub fn measure(
    engine: &dyn Engine,
    op: Op,
    threads: u64,
    items: u64,
    time: Duration,
    round: u64,
) -> Outcome<f64> {
    let barrier = Barrier::new(threads as usize);
    let one = |thread: u64| -> Outcome<f64> {
        let session = engine.session().and_then(|mut session| {
            session.prepare(op, count(op, items))?;
            Ok(session)
        });
        barrier.wait();
        let mut session = session?;
        let mut random = Random::new(thread + 1_000 * (round + 1));
        let mut item = vec![0; TAG_BYTES + VALUE_BYTES];
        // Looking at the clock costs as much as a tenth of a quick read.
        let steps = if matches!(op, Op::GetHot | Op::GetAny | Op::GetNotModified) { 32 } else { 1 };
        let (began, mut done) = (Instant::now(), 0);
        while began.elapsed() < time {
            for _ in 0..steps {
                done += step(session.as_mut(), op, items, &mut random, &mut item)?;
            }
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    };
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..threads).map(|t| scope.spawn(move || one(t))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or(Err("a thread panicked".into()))).sum()
    })
}

/// How many items or documents an operation chooses from.
fn count(op: Op, items: u64) -> u64 {
    match op {
        Op::GetHot | Op::GetNotModified => items / 10,
        Op::Patch => DOCUMENTS,
        _ => items,
    }
}

pub fn step(
    session: &mut dyn Session,
    op: Op,
    items: u64,
    random: &mut Random,
    item: &mut Item,
) -> Outcome<u64> {
    let n = random.below(count(op, items));
    match op {
        Op::Replace => {
            random.fill(item);
            session.replace(&key(n), item)?;
        }
        Op::UpdateOneKey => {
            random.fill(item);
            session.update(&key(items / 2), item)?;
        }
        Op::ReplaceHundred => {
            let mut keys: Vec<Key> = (0..HUNDRED).map(|_| key(random.below(items))).collect();
            keys.sort_unstable();
            keys.dedup();
            let batch: Vec<_> =
                keys.into_iter().map(|key| (key, random.item(item.len() - TAG_BYTES))).collect();
            session.replace_many(&batch)?;
            return Ok(batch.len() as u64);
        }
        Op::GetHot | Op::GetAny => drop(std::hint::black_box(session.get(&key(n))?)),
        Op::GetNotModified => session.get_not_modified(n)?,
        Op::ScanValues | Op::ScanKeys => {
            let found = session.scan(op == Op::ScanValues)?;
            let complete = found == items;
            return if complete { Ok(found) } else { Err(format!("{found} items found").into()) };
        }
        Op::Patch => session.patch(n, random.below(1_000_000))?,
    }
    Ok(1)
}
