//! The work that is measured, and how: some threads, each doing one thing again and again.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Key, Mode, Op, Outcome, Session, Tag, VALUE_BYTES, Value, key};

pub const DOCUMENTS: u64 = 1_000;
const LOAD_BATCH: u64 = 1_000;
const HUNDRED: u64 = 100;

pub struct Work {
    pub name: &'static str,
    pub mode: Mode,
    pub threads: u64,
    pub op: Op,
    pub goals: &'static [Goal],
}

impl Work {
    pub fn writes(&self) -> bool {
        matches!(self.op, Op::Replace | Op::ReplaceHundred | Op::UpdateOneKey | Op::Patch)
    }
}

/// The least that our own column should be, as a ratio to something else of the same run.
pub struct Goal {
    pub ratio: f64,
    pub to: Reference,
}

pub enum Reference {
    BestPeer,
    Column(&'static str),
    /// Our own column in another row.
    OwnRow(&'static str),
}

const fn work(
    name: &'static str,
    mode: Mode,
    threads: u64,
    op: Op,
    goals: &'static [Goal],
) -> Work {
    Work { name, mode, threads, op, goals }
}

const fn best(ratio: f64) -> Goal {
    Goal { ratio, to: Reference::BestPeer }
}

const fn column(ratio: f64, name: &'static str) -> Goal {
    Goal { ratio, to: Reference::Column(name) }
}

/// In the order they run: within a mode first what only reads.
pub const WORKS: &[Work] = &[
    work("durable-1", Mode::Durable, 1, Op::Replace, &[best(1.0), column(0.9, "raw disk")]),
    work("durable-8", Mode::Durable, 8, Op::Replace, &[best(3.0)]),
    work("durable-64", Mode::Durable, 64, Op::Replace, &[best(8.0)]),
    work("batch-100", Mode::Durable, 1, Op::ReplaceHundred, &[best(1.5)]),
    work("get-1", Mode::Eventual, 1, Op::Get, &[best(1.3)]),
    work("get-2", Mode::Eventual, 2, Op::Get, &[best(1.1)]),
    work("not-modified", Mode::Eventual, 1, Op::GetNotModified, &[OWN_GET]),
    work("scan-values", Mode::Eventual, 1, Op::ScanValues, &[column(1.0, "fjall")]),
    work("scan-keys", Mode::Eventual, 1, Op::ScanKeys, &[best(0.5)]),
    work("eventual-1", Mode::Eventual, 1, Op::Replace, &[best(1.2)]),
    work("eventual-2", Mode::Eventual, 2, Op::Replace, &[best(1.3)]),
    work("update-one-8", Mode::Eventual, 8, Op::UpdateOneKey, &[best(1.0)]),
    work("patch", Mode::Eventual, 1, Op::Patch, &[column(3.0, "sqlite")]),
];

const OWN_GET: Goal = Goal { ratio: 1.0, to: Reference::OwnRow("get-1") };

/// Writes all items and lets the engine come to rest.
pub fn load(engine: &mut dyn Engine, items: u64) -> Outcome {
    let mut session = engine.session()?;
    for first in (0..items).step_by(LOAD_BATCH as usize) {
        let keys: Vec<Key> = (first..items.min(first + LOAD_BATCH)).map(key).collect();
        session.load(&keys, &[7; VALUE_BYTES])?;
    }
    drop(session);
    engine.settle(DOCUMENTS)
}

/// Operations per second, all threads together; a batch or a scan counts by its items.
pub fn measure(engine: &dyn Engine, work: &Work, items: u64, time: Duration) -> Outcome<f64> {
    let barrier = Barrier::new(work.threads as usize);
    let one = |thread: u64| -> Outcome<f64> {
        let session = engine.session();
        barrier.wait();
        let (mut session, mut random) = (session?, Random::new(thread));
        let started = Instant::now();
        let mut done = 0;
        while started.elapsed() < time {
            done += step(session.as_mut(), work.op, items, &mut random)?;
        }
        Ok(done as f64 / started.elapsed().as_secs_f64())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..work.threads).map(|t| scope.spawn(move || one(t))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or(Err("a thread panicked".into()))).sum()
    })
}

fn step(session: &mut dyn Session, op: Op, items: u64, random: &mut Random) -> Outcome<u64> {
    match op {
        Op::Replace => session.replace(&key(random.below(items)), &random.value(), random.tag())?,
        Op::UpdateOneKey => session.update(&key(items / 2), &random.value(), random.tag())?,
        Op::ReplaceHundred => {
            let mut keys: Vec<_> = (0..HUNDRED).map(|_| key(random.below(items))).collect();
            keys.sort_unstable();
            keys.dedup();
            session.replace_many(&keys, &random.value(), random.tag())?;
            return Ok(keys.len() as u64);
        }
        Op::Get => drop(std::hint::black_box(session.get(&key(random.below(items)))?)),
        Op::GetNotModified => session.get_not_modified(random.below(items))?,
        Op::ScanValues | Op::ScanKeys => {
            let found = session.scan(op == Op::ScanValues)?;
            let complete = found == items;
            return if complete { Ok(found) } else { Err(format!("{found} items found").into()) };
        }
        Op::Patch => session.patch(random.below(DOCUMENTS), random.below(1_000_000))?,
    }
    Ok(1)
}

/// A small generator (xorshift64*), the same numbers in every run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn tag(&mut self) -> Tag {
        u128::from(self.next())
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            .to_ne_bytes()
    }

    fn value(&mut self) -> Value {
        let mut value = [0; VALUE_BYTES];
        for chunk in value.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_ne_bytes());
        }
        value
    }
}
