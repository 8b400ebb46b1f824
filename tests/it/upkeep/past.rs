//! Histories are what the policy says of everything that was written, however often the journal is
//! compacted.
//!
//! `IFMATCH_PAST_HISTORIES=n` runs so many, `IFMATCH_SEED=n` repeats one.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{Collection, ETag, HistoryPolicy, Meta, Options, Precondition, Raw, Store};

use super::value;
use crate::{Repeat, from_environment, thinned};

const KEYS: usize = 5;

/// One entry of an item: a version, or a removal.
#[derive(Debug, Clone)]
struct Entry {
    meta: Meta,
    value: Option<Bytes>,
}

struct World {
    sim: Simulation,
    options: Options,
    store: Option<Store>,
    depth: usize,
    max_age: Option<Duration>,
    now_ms: u64,
    rng: fastrand::Rng,
    written: [Vec<Entry>; KEYS],
    number: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let depth = rng.u32(0..5);
        let max_age = rng.bool().then(|| Duration::from_secs(rng.u64(5..60)));
        let tombstones = Duration::from_secs(if rng.bool() { 0 } else { 30 });
        let mut history = HistoryPolicy::new().versions(depth).tombstones(tombstones);
        if let Some(age) = max_age {
            history = history.max_age(age);
        }
        let options = Options::new().history(history);
        let sim = Simulation::new(seed);
        let store = Some(sim.open(&options).unwrap());
        let (now_ms, written) = (1_700_000_000_000, std::array::from_fn(|_| Vec::new()));
        let depth = depth as usize;
        Self { sim, options, store, depth, max_age, now_ms, rng, written, number: 0 }
    }

    fn blobs(&self) -> Collection<Bytes, Raw> {
        self.store.as_ref().unwrap().raw("blobs").unwrap()
    }

    fn step(&mut self) {
        let key = self.rng.usize(0..KEYS);
        match self.rng.u8(0..30) {
            0..16 => {
                self.number += 1;
                let len = if self.rng.u8(0..12) == 0 { 60_000 } else { self.rng.usize(0..300) };
                let value = value(self.number, len);
                let meta = self.blobs().upsert([key as u8], &value, Precondition::Always).unwrap();
                self.written[key].push(Entry { meta, value: Some(value) });
            }
            16..20 => {
                if let Ok(meta) = self.blobs().delete([key as u8], Precondition::Always) {
                    self.written[key].push(Entry { meta, value: None });
                }
            }
            20..24 => {
                self.now_ms += self.rng.u64(0..20_000);
                self.sim.set_now_ms(self.now_ms);
            }
            24..28 => {
                let store = self.store.as_ref().unwrap();
                store.compact().unwrap();
                assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
            }
            28 => {
                self.store.take().unwrap().close().unwrap();
                self.store = Some(self.sim.open(&self.options).unwrap());
            }
            _ => {
                let mut image = self.sim.crash(&mut self.rng);
                if self.rng.bool() {
                    image.remove_index();
                }
                drop(self.store.take());
                self.sim = image;
                self.store = Some(self.sim.open(&self.options).unwrap());
            }
        }
        self.check(self.rng.clone().usize(0..KEYS));
    }

    /// What the policy keeps of an item, the newest first.
    fn expected(&self, key: usize) -> Vec<&Entry> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(self.now_ms);
        let mut kept = Vec::new();
        for (step, entry) in self.written[key].iter().rev().enumerate() {
            // It was replaced when its successor was written.
            let replaced = step.checked_sub(1).map(|_| {
                let successors = &self.written[key];
                successors[successors.len() - step].meta.modified()
            });
            let too_old =
                replaced.zip(self.max_age).is_some_and(|(replaced, age)| now >= replaced + age);
            if step > self.depth || too_old {
                break;
            }
            kept.push(entry);
        }
        kept.retain(|entry| entry.value.is_some());
        kept
    }

    fn check(&self, key: usize) {
        let (blobs, expected) = (self.blobs(), self.expected(key));
        let found = blobs.history([key as u8]).unwrap().into_iter();
        let found: Vec<_> = found.map(Result::unwrap).collect();
        let tags = |found: &[ETag]| found.to_vec();
        let found_tags: Vec<ETag> = found.iter().map(|item| item.etag()).collect();
        let expected_tags: Vec<ETag> = expected.iter().map(|entry| entry.meta.etag()).collect();
        assert_eq!(tags(&found_tags), expected_tags, "the history of {key}");
        for (item, entry) in found.iter().zip(&expected) {
            assert_eq!((item.meta(), Some(&item.value)), (&entry.meta, entry.value.as_ref()));
        }
        for entry in self.written[key].iter().rev().take(8) {
            let version = blobs.get_version([key as u8], &entry.meta.etag()).unwrap();
            let kept = expected_tags.contains(&entry.meta.etag());
            assert_eq!(version.is_some(), kept, "{:?} of {key}", entry.meta);
            assert!(version.is_none_or(|version| Some(version.value) == entry.value));
        }
    }
}

#[test]
fn history_is_what_the_policy_keeps_whatever_is_compacted() {
    let histories = from_environment("IFMATCH_PAST_HISTORIES").unwrap_or(thinned(5, 50));
    let only = from_environment("IFMATCH_SEED");
    for seed in only.unwrap_or(0)..only.map_or(histories, |seed| seed + 1) {
        let _repeat = Repeat::new("upkeep::past", seed);
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        (0..KEYS).for_each(|key| world.check(key));
    }
}
