//! Writers, readers and compaction at once, and what a loss of power or a kill leaves meanwhile.
//!
//! `IFMATCH_COMPACTION_ROUNDS=n` runs so many rounds, `IFMATCH_SEED=n` repeats one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{
    Collection, Durability, Error, HistoryPolicy, Item, Options, Patch, Precondition, Raw, Store,
};
use serde_json::{Value, json};

use super::{number_in, value};
use crate::{Repeat, from_environment, thinned};

const WRITERS: u8 = 2;
/// The keys of each writer: those of its batches, then single ones.
const BATCHED: u8 = 3;
const KEYS: u8 = 15;

/// How far a writer has come with each of its keys. Its writes of a key are numbered, and every
/// fifth is a removal.
struct Progress {
    begun: [AtomicU64; KEYS as usize],
    done: [AtomicU64; KEYS as usize],
    /// What a loss of power must leave.
    durable: [AtomicU64; KEYS as usize],
    patched: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { begun: zeros(), done: zeros(), durable: zeros(), patched: AtomicU64::new(0) }
    }

    fn loads(counts: &[AtomicU64]) -> Vec<u64> {
        counts.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }

    fn all_durable(&self, done: &[u64]) {
        for (durable, done) in self.durable.iter().zip(done) {
            durable.fetch_max(*done, Ordering::SeqCst);
        }
    }
}

fn is_removal(number: u64) -> bool {
    number % 5 == 4
}

struct World {
    sim: Simulation,
    store: Store,
    options: Options,
    durability: Durability,
    progress: Vec<Progress>,
    /// How many writes each writer may make: bounded, as images of ever more of them would take
    /// ever longer to open.
    allowed: AtomicU64,
    end: AtomicBool,
}

/// Ends the threads, also when the test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn nothing_is_lost_or_seen_by_halves_while_compaction_runs() {
    let rounds = from_environment("IFMATCH_COMPACTION_ROUNDS").unwrap_or(thinned(2, 6));
    let only = from_environment("IFMATCH_SEED");
    for seed in only.unwrap_or(0)..only.map_or(rounds, |seed| seed + 1) {
        let _repeat = Repeat::new("upkeep::threads", seed);
        let durability = if seed % 3 == 0 { Durability::Immediate } else { Durability::Eventual };
        let history = HistoryPolicy::new().tombstones(Duration::ZERO);
        let history = if seed % 2 == 0 { history } else { history.versions(2) };
        // Without a cache every read meets the journal.
        let cache_bytes = if seed % 4 < 2 { 0 } else { 1 << 20 };
        let options =
            Options::new().durability(durability).history(history).cache_bytes(cache_bytes);
        let sim = Simulation::new(seed);
        let store = sim.open(&options).unwrap();
        let progress = (0..WRITERS).map(|_| Progress::new()).collect();
        let (allowed, end) = (AtomicU64::new(100), AtomicBool::new(false));
        let world = World { sim, store, options, durability, progress, allowed, end };
        world.run(seed);
    }
}

impl World {
    fn run(&self, seed: u64) {
        thread::scope(|scope| {
            let _end = EndOnDrop(&self.end);
            for writer in 0..WRITERS {
                scope.spawn(move || self.write(writer, seed));
            }
            scope.spawn(|| self.read(seed));
            scope.spawn(|| self.look_back(seed));
            self.compact(seed);
        });
        assert_eq!(Simulation::differs_from_journal(&self.store).unwrap(), None);
        self.store.verify().unwrap();
    }

    fn ended(&self) -> bool {
        self.end.load(Ordering::SeqCst)
    }

    fn blobs(&self) -> Collection<Bytes, Raw> {
        self.store.raw("blobs").unwrap()
    }

    /// Compacts again and again, and opens what a crash or kill would leave.
    fn compact(&self, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        for round in 1..=12 {
            thread::sleep(Duration::from_millis(rng.u64(0..8)));
            self.sim.set_now_ms(1_700_000_000_000 + round * 1_000);
            let told: Vec<Vec<u64>> =
                self.progress.iter().map(|of| Progress::loads(&of.durable)).collect();
            self.allowed.fetch_add(150, Ordering::SeqCst);
            self.store.compact().unwrap();
            // At once, as long as what replaced the dropped versions might not be synced.
            let images = [self.sim.crash(&mut rng), self.sim.crash(&mut rng)];
            let done: Vec<Vec<u64>> =
                self.progress.iter().map(|of| Progress::loads(&of.done)).collect();
            let killed = self.sim.kill(&mut rng);
            let begun: Vec<Vec<u64>> =
                self.progress.iter().map(|of| Progress::loads(&of.begun)).collect();
            for mut image in images {
                if rng.u8(0..3) == 0 {
                    image.remove_index();
                }
                self.check(&image, &told, &begun);
            }
            self.check(&killed, &done, &begun);
        }
    }

    fn check(&self, image: &Simulation, told: &[Vec<u64>], begun: &[Vec<u64>]) {
        let store = image.open(&self.options).unwrap();
        let blobs = store.raw("blobs").unwrap();
        for writer in 0..WRITERS {
            let (told, begun) = (&told[usize::from(writer)], &begun[usize::from(writer)]);
            let mut batched = Vec::new();
            for key in 0..KEYS {
                let (told, begun) = (told[usize::from(key)], begun[usize::from(key)]);
                let found = blobs.get([writer, key]).unwrap().map(|item| number_in(&item.value));
                match found {
                    Some(found) => assert!(
                        (told..=begun).contains(&found) && !is_removal(found),
                        "{writer}.{key}: {found}, told {told}, begun {begun}"
                    ),
                    None => assert!(
                        told == 0 || (told..=begun).any(is_removal),
                        "{writer}.{key} is lost: told {told}, begun {begun}"
                    ),
                }
                if key < BATCHED {
                    batched.push(found);
                }
            }
            assert!(batched.windows(2).all(|two| two[0] == two[1]), "half a batch: {batched:?}");
        }
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }

    fn write(&self, writer: u8, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed << 8 | u64::from(writer));
        let (blobs, progress) = (self.blobs(), &self.progress[usize::from(writer)]);
        let documents = self.store.collection::<Value>("documents").unwrap();
        documents.create([writer], &json!({"updated": 0, "patched": 0})).unwrap();
        let mut writes = 0;
        while !self.ended() {
            if writes >= self.allowed.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_micros(100));
                continue;
            }
            writes += 1;
            match rng.u8(0..12) {
                0..2 => self.write_batch(writer, progress, &blobs),
                2 => {
                    let patch = Patch::new().incr("/patched", 1);
                    documents.patch([writer], &patch, Precondition::Always).unwrap();
                    progress.patched.fetch_add(1, Ordering::SeqCst);
                }
                3 => {
                    let other = (writer + 1) % WRITERS;
                    let updated = documents.update([other], |document| {
                        document["updated"] = (document["updated"].as_u64().unwrap() + 1).into();
                    });
                    assert!(matches!(updated, Ok(_) | Err(Error::NotFound { .. })), "{updated:?}");
                }
                4 if self.durability == Durability::Eventual && rng.u8(0..40) == 0 => {
                    let done = Progress::loads(&progress.done);
                    self.store.sync().unwrap();
                    progress.all_durable(&done);
                }
                _ => {
                    let key = rng.u8(BATCHED..KEYS);
                    let number =
                        progress.begun[usize::from(key)].fetch_add(1, Ordering::SeqCst) + 1;
                    let len = if rng.u8(0..10) == 0 { 8_000 } else { rng.usize(0..1_500) };
                    self.write_one(&blobs, [writer, key], number, len);
                    self.is_done(progress, key, number);
                }
            }
        }
        let item = documents.get([writer]).unwrap().unwrap();
        assert_eq!(item.value["patched"], progress.patched.load(Ordering::SeqCst));
    }

    fn is_done(&self, progress: &Progress, key: u8, number: u64) {
        progress.done[usize::from(key)].store(number, Ordering::SeqCst);
        if self.durability == Durability::Immediate {
            progress.durable[usize::from(key)].store(number, Ordering::SeqCst);
        }
    }

    fn write_one(&self, blobs: &Collection<Bytes, Raw>, key: [u8; 2], number: u64, len: usize) {
        let before = blobs.get(key).unwrap();
        let written = match &before {
            _ if is_removal(number) => blobs.delete(key, Precondition::Always),
            None => blobs.create(key, &value(number, len)),
            Some(item) => blobs.replace(key, &value(number, len), item.etag()),
        };
        let meta = written.unwrap();
        if let Some(before) = before {
            assert_eq!(
                (number_in(&before.value), meta.parent()),
                (number - 1, Some(before.etag()))
            );
        }
    }

    fn write_batch(&self, writer: u8, progress: &Progress, blobs: &Collection<Bytes, Raw>) {
        let number = progress.begun[0].load(Ordering::SeqCst) + 1;
        let mut batch = self.store.batch();
        for key in 0..BATCHED {
            progress.begun[usize::from(key)].store(number, Ordering::SeqCst);
            batch = match is_removal(number) {
                true => batch.delete(blobs, [writer, key], Precondition::Always),
                false => {
                    let value = value(number, 300);
                    batch.upsert(blobs, [writer, key], &value, Precondition::Always)
                }
            };
        }
        batch.commit().unwrap();
        (0..BATCHED).for_each(|key| self.is_done(progress, key, number));
    }

    /// Reads what is: whole batches, and never anything older than what was written before.
    fn read(&self, seed: u64) {
        let (mut rng, blobs) = (fastrand::Rng::with_seed(seed), self.blobs());
        while !self.ended() {
            thread::sleep(Duration::from_micros(50));
            let writer = rng.u8(0..WRITERS);
            let done = Progress::loads(&self.progress[usize::from(writer)].done);
            let is_fresh = |key: u8, found: Option<u64>| {
                let done = done[usize::from(key)];
                assert!(found.is_none_or(|found| found >= done), "{writer}.{key}: {found:?}");
            };
            match rng.u8(0..3) {
                0 => {
                    let key = rng.u8(0..KEYS);
                    let found = blobs.get([writer, key]).unwrap();
                    is_fresh(key, found.map(|item| number_in(&item.value)));
                }
                1 => {
                    let keys: Vec<[u8; 2]> = (0..BATCHED).map(|key| [writer, key]).collect();
                    let found = blobs.get_many(&keys).unwrap();
                    let numbers: Vec<_> = found.iter().map(of_item).collect();
                    assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
                    is_fresh(0, numbers[0]);
                }
                _ => {
                    for item in blobs.prefix([writer]).unwrap() {
                        let item = item.unwrap();
                        is_fresh(item.key()[1], Some(number_in(&item.value)));
                    }
                }
            }
        }
    }

    /// Reads what was: snapshots, histories.
    fn look_back(&self, seed: u64) {
        let (mut rng, blobs) = (fastrand::Rng::with_seed(!seed), self.blobs());
        while !self.ended() {
            let writer = rng.u8(0..WRITERS);
            let snapshot = self.store.snapshot();
            let old = snapshot.collection(&blobs);
            let first: Vec<Item<Bytes>> = old.iter().unwrap().map(Result::unwrap).collect();
            for item in &first {
                assert_eq!(old.get(item.key()).unwrap().as_ref(), Some(item));
                assert!(item.revision() <= snapshot.revision());
            }
            let keys: Vec<[u8; 2]> = (0..BATCHED).map(|key| [writer, key]).collect();
            let numbers: Vec<_> = old.get_many(&keys).unwrap().iter().map(of_item).collect();
            assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
            let again: Vec<Item<Bytes>> = old.iter().unwrap().map(Result::unwrap).collect();
            assert!(first == again, "a snapshot has changed");
            drop((old, snapshot));

            let key = [writer, rng.u8(0..KEYS)];
            let versions = blobs.history(key).unwrap().into_iter();
            let versions: Vec<_> = versions.map(Result::unwrap).collect();
            for two in versions.windows(2) {
                let [newer, older] = [&two[0], &two[1]].map(|item| number_in(&item.value));
                assert!(newer == older + 1 || newer == older + 2 && is_removal(older + 1));
            }
            if let Some(last) = versions.last() {
                let found = blobs.get_version(key, &last.etag()).unwrap();
                assert!(found.is_none_or(|found| found == *last));
            }
            // Compaction drops segments only while there is no snapshot.
            thread::sleep(Duration::from_millis(rng.u64(0..10)));
        }
    }
}

fn of_item(item: &Option<Item<Bytes>>) -> Option<u64> {
    item.as_ref().map(|item| number_in(&item.value))
}
