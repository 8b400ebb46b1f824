//! The process that is recorded: a store in a folder, written to at random, and a line in the
//! report beside it for each thing that was promised. Lines are written with one call each, so that
//! the recording tells at which moment every promise was made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{Batch, Collection, Durability, ETag, Index, Precondition, Raw, Store};

use super::history::{Version, options};

pub(super) const STORE: &str = "IFMATCH_RECORDED_STORE";
pub(super) const REPORT: &str = "IFMATCH_RECORDED_REPORT";
pub(super) const PLAN: &str = "IFMATCH_RECORDED_PLAN";

const THREADS: u8 = 2;
pub(super) const ITEMS: &str = "items";

/// What a recorded process is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) durability: Durability,
    pub(super) seed: u64,
    /// No value of an earlier process had this number or a higher one.
    pub(super) first_number: u64,
}

impl Plan {
    pub(super) fn text(self) -> String {
        let eventual = u8::from(self.durability == Durability::Eventual);
        format!("{} {} {eventual}", self.seed, self.first_number)
    }

    fn parse(text: &str) -> Self {
        let words: Vec<u64> = text.split(' ').map(|word| word.parse().unwrap()).collect();
        let durability = if words[2] == 1 { Durability::Eventual } else { Durability::Immediate };
        Self { durability, seed: words[0], first_number: words[1] }
    }
}

/// What is recorded; it ends in order, or as a killed process does.
#[test]
#[ignore = "run by the tests that record it"]
fn child() {
    let Some(path) = std::env::var_os(STORE).map(PathBuf::from) else { return };
    let plan = Plan::parse(&std::env::var(PLAN).unwrap());
    let report = std::env::var_os(REPORT).unwrap();
    let report = OpenOptions::new().append(true).create(true).open(report).unwrap();
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let number = AtomicU64::new(plan.first_number);
    // Most stores are small; the others fill some of the index's segments.
    let keys = if rng.u8(0..3) == 0 { 2_000 } else { 20 };
    let ends_in_order = rng.bool();
    let sessions = rng.u8(1..=3);
    for session in 1..=sessions {
        let store = killable(&mut rng, || options(plan.durability).open(&path).unwrap());
        let items = store.raw(ITEMS).unwrap();
        for _ in 0..rng.u8(1..5) {
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (store, items) = (store.clone(), items.clone());
                    let (report, number, rng) = (&report, &number, rng.fork());
                    let mut writer = Writer { store, items, report, number, rng, thread, keys };
                    scope.spawn(move || writer.work());
                }
                look_after(&store, &report, &mut rng);
            });
        }
        if session == sessions && !ends_in_order {
            std::process::exit(0);
        }
        let revision = store.revision().0;
        drop(items);
        killable(&mut rng, || store.close().unwrap());
        say(&report, &format!("durable {revision}"));
    }
}

/// Does something while no writer is at work, which now and then the process does not survive.
fn killable<T>(rng: &mut fastrand::Rng, work: impl FnOnce() -> T) -> T {
    if rng.u8(0..6) > 0 {
        return work();
    }
    let after = Duration::from_micros(rng.u64(0..60_000));
    let is_done = Mutex::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(after);
            let is_done = is_done.lock().unwrap();
            if !*is_done {
                std::process::exit(0);
            }
        });
        let result = work();
        *is_done.lock().unwrap() = true;
        result
    })
}

/// What goes on beside the writers.
fn look_after(store: &Store, report: &File, rng: &mut fastrand::Rng) {
    let snapshot = rng.bool().then(|| store.snapshot());
    let numbers = store.collection::<u64>("numbers").unwrap();
    numbers.ensure_index(Index::on("").unique()).unwrap();
    let shift = rng.u64(0..9);
    let moved = (0..5_u64).fold(store.batch(), |batch, key| {
        batch.upsert(&numbers, [key as u8], &((key + shift) % 9), Precondition::Always)
    });
    moved.commit().unwrap();
    for _ in 0..rng.u8(0..4) {
        // What is applied by now is durable after each of these.
        let revision = store.revision().0;
        match rng.u8(0..8) {
            0 => {
                store.compact().unwrap();
                store.sync().unwrap();
            }
            1 => Simulation::replace_index(store).unwrap(),
            2..5 => Simulation::checkpoint(store).unwrap(),
            _ => store.sync().unwrap(),
        }
        say(report, &format!("durable {revision}"));
    }
    if let Some(snapshot) = snapshot {
        let items = store.raw(ITEMS).unwrap();
        snapshot.collection(&items).iter().unwrap().for_each(|item| drop(item.unwrap()));
    }
}

fn say(mut report: &File, line: &str) {
    report.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// One thread with keys of its own.
struct Writer<'a> {
    store: Store,
    items: Collection<Bytes, Raw>,
    report: &'a File,
    number: &'a AtomicU64,
    rng: fastrand::Rng,
    thread: u8,
    keys: u64,
}

impl Writer<'_> {
    fn work(&mut self) {
        for _ in 0..self.rng.u8(0..24) {
            match self.rng.u8(0..8) {
                0 => self.batch(),
                _ => self.single(),
            }
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let key = self.rng.u64(0..self.keys);
        // Up to 200 bytes of `ff`, which the index has to escape.
        let mut bytes = format!("{}/{key}/", self.thread).into_bytes();
        bytes.resize(bytes.len() + (key * 7 % 200) as usize, 0xff);
        bytes
    }

    /// A version that is not written yet, and its value.
    fn version(&mut self) -> (Version, Bytes) {
        let len = match self.rng.u16(0..300) {
            0 => 300_000,
            1..10 => self.rng.usize(0..20_000),
            _ => self.rng.usize(0..200),
        };
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let version = Version { number, len, revision: 0, etag: None };
        let value = version.value();
        (version, value)
    }

    fn single(&mut self) {
        let key = self.key();
        let before = self.items.get(&key).unwrap().map(|item| item.etag());
        let (version, value) = self.version();
        let (meta, version) = match before {
            Some(tag) if self.rng.u8(0..4) == 0 => (self.items.delete(&key, tag), None),
            Some(tag) => (self.items.replace(&key, &value, tag), Some(version)),
            None => (self.items.create(&key, &value), Some(version)),
        };
        let meta = meta.unwrap();
        self.report(meta.revision().0, [(key, version, Some(meta.etag()))]);
    }

    /// Up to 200 items, some of them removed, in one commit.
    fn batch(&mut self) {
        let mut changes = BTreeMap::new();
        let mut batch = self.store.batch();
        for _ in 0..self.rng.u64(1..=(self.keys / 10).clamp(8, 200)) {
            let key = self.key();
            let (version, value) = self.version();
            let is_there = self.items.get(&key).unwrap().is_some() && !changes.contains_key(&key);
            if is_there && self.rng.u8(0..4) == 0 {
                batch = batch.delete(&self.items, &key, Precondition::Always);
                changes.insert(key, None);
            } else if changes.get(&key) != Some(&None) {
                batch = upsert(batch, &self.items, &key, &value);
                changes.insert(key, Some(version));
            }
        }
        let revision = batch.commit().unwrap().revision().0;
        let tags = self.items.get_many(changes.keys()).unwrap();
        let tags = tags.into_iter().map(|item| item.map(|item| item.etag()));
        let changes =
            changes.into_iter().zip(tags).map(|((key, version), tag)| (key, version, tag));
        self.report(revision, changes);
    }

    /// The write has returned.
    fn report(
        &self,
        revision: u64,
        changes: impl IntoIterator<Item = (Vec<u8>, Option<Version>, Option<ETag>)>,
    ) {
        let mut line = format!("commit {revision}");
        for (key, version, tag) in changes {
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            match (version, tag) {
                (Some(Version { number, len, .. }), Some(tag)) => {
                    write!(line, " {key},{number},{len},{tag}").unwrap();
                }
                _ => write!(line, " {key}").unwrap(),
            }
        }
        say(self.report, &line);
    }
}

fn upsert(batch: Batch, items: &Collection<Bytes, Raw>, key: &[u8], value: &Bytes) -> Batch {
    batch.upsert(items, key, value, Precondition::Always)
}
