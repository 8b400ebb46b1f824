//! Threads that use a store by a plan, and write down what they called and were answered.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use fastrand::Rng;
use ifmatch::{Batch, Collection, Conflict, ETag, Error, Item, Precondition, Store};

use super::search::{Answer, Call, Change, Demand, Event, Write};

/// The logical clock: who reads a lower number did so earlier.
#[derive(Debug, Default)]
pub(super) struct Clock(AtomicU64);

impl Clock {
    pub(super) fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn wait_for(&self, time: u64) {
        while self.0.load(Ordering::SeqCst) < time {
            thread::yield_now();
        }
    }
}

/// What the threads of one history will do.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) keys: usize,
    /// Parts this history's keys from those of others in the same store.
    number: u64,
    first_write: Write,
    /// Whether all threads begin each call together.
    lockstep: bool,
    threads: Vec<Vec<Intent>>,
}

#[derive(Debug, Clone)]
enum Intent {
    Read(Vec<usize>),
    One(usize, Verb),
    Batch(Vec<(usize, Verb)>),
    Clear,
    Yield,
}

/// A change, except for the tag that it will name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verb {
    Create,
    Upsert,
    Replace,
    ReplaceSeen,
    Delete,
    DeleteSeen,
}

impl Plan {
    pub(super) fn new(rng: &mut Rng, number: u64) -> Self {
        let keys = rng.usize(2..=4);
        Self::with_keys(rng, number, keys, 0)
    }

    /// What is done after the store of another plan was opened again.
    pub(super) fn after(rng: &mut Rng, before: &Self) -> Self {
        Self::with_keys(rng, before.number, before.keys, 1_000)
    }

    fn with_keys(rng: &mut Rng, number: u64, keys: usize, first_write: Write) -> Self {
        let (threads, calls) = (rng.usize(2..=4), rng.usize(3..=8));
        let thread = |rng: &mut Rng| (0..calls).map(|_| intent(rng, keys)).collect();
        let threads = (0..threads).map(|_| thread(rng)).collect();
        Self { keys, number, first_write, lockstep: rng.u8(..4) > 0, threads }
    }

    /// How far the clock will go at the least.
    pub(super) fn ticks(&self) -> u64 {
        let calls = self.threads.iter().flatten().filter(|call| !matches!(call, Intent::Yield));
        2 * calls.count() as u64
    }

    fn name(&self, key: usize) -> String {
        format!("{}-{key}", self.number)
    }
}

/// Mostly about the first key, so that threads meet.
fn key(rng: &mut Rng, keys: usize) -> usize {
    if rng.bool() { 0 } else { rng.usize(..keys) }
}

fn some_keys(rng: &mut Rng, keys: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..keys).collect();
    rng.shuffle(&mut all);
    all.truncate(rng.usize(2..=keys));
    all
}

fn intent(rng: &mut Rng, keys: usize) -> Intent {
    let verbs = [Verb::Create, Verb::Upsert, Verb::Replace, Verb::Delete, Verb::DeleteSeen];
    match rng.u8(..16) {
        0..3 => Intent::Read(vec![key(rng, keys)]),
        3..6 => Intent::Read(some_keys(rng, keys)),
        6..9 => Intent::One(key(rng, keys), Verb::ReplaceSeen),
        9..12 => Intent::One(key(rng, keys), verbs[rng.usize(..verbs.len())]),
        12..15 => {
            let verbs = [Verb::Upsert, Verb::Upsert, Verb::Upsert, Verb::ReplaceSeen, Verb::Delete];
            let keys = some_keys(rng, keys).into_iter();
            Intent::Batch(keys.map(|key| (key, verbs[rng.usize(..verbs.len())])).collect())
        }
        _ if rng.bool() => Intent::Clear,
        _ => Intent::Yield,
    }
}

/// Which tag names which write: learnt from every answer, and never two for one.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    tags: HashMap<Write, ETag>,
    writes: HashMap<ETag, Write>,
    seen: Vec<Seen>,
}

/// A version that some thread saw.
#[derive(Debug, Clone, Copy)]
struct Seen {
    key: usize,
    write: Write,
    tag: ETag,
}

impl Recorder {
    fn learn(&mut self, seen: &[Seen]) {
        for Seen { write, tag, .. } in seen {
            assert_eq!(*self.tags.entry(*write).or_insert(*tag), *tag, "two tags of one write");
            assert_eq!(*self.writes.entry(*tag).or_insert(*write), *write, "one tag of two writes");
        }
        self.seen.extend(seen);
    }
}

/// Runs a plan, and beside its threads `meanwhile`.
pub(super) fn run(
    store: &Store,
    plan: &Plan,
    clock: &Clock,
    recorder: &mut Recorder,
    meanwhile: impl FnOnce(),
) -> Vec<Event> {
    let (start, arrived) = (Barrier::new(plan.threads.len() + 1), AtomicUsize::new(0));
    let collection = store.collection::<Write>("history").unwrap();
    let known = recorder.seen.clone();
    let threads = thread::scope(|scope| {
        let spawn = |(number, intents): (usize, &Vec<Intent>)| {
            let thread = Thread {
                store: store.clone(),
                collection: collection.clone(),
                plan: plan.clone(),
                number,
                next_write: plan.first_write + 100 * number as Write,
                seen: known.clone(),
                events: Vec::new(),
            };
            let (intents, start, arrived) = (intents.clone(), &start, &arrived);
            scope.spawn(move || {
                start.wait();
                thread.run(&intents, clock, arrived)
            })
        };
        let running: Vec<_> = plan.threads.iter().enumerate().map(spawn).collect();
        start.wait();
        meanwhile();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut events = Vec::new();
    for thread in threads {
        recorder.learn(&thread.seen);
        events.extend(thread.events);
    }
    events
}

struct Thread {
    store: Store,
    collection: Collection<Write>,
    plan: Plan,
    number: usize,
    next_write: Write,
    seen: Vec<Seen>,
    events: Vec<Event>,
}

impl Thread {
    fn run(mut self, intents: &[Intent], clock: &Clock, arrived: &AtomicUsize) -> Self {
        for (round, intent) in intents.iter().enumerate() {
            if self.plan.lockstep {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < (round + 1) * self.plan.threads.len() {
                    thread::yield_now();
                }
            }
            match intent {
                Intent::Read(keys) => self.read(keys, clock),
                Intent::One(key, verb) => self.change(&[(*key, *verb)], false, clock),
                Intent::Batch(changes) => self.change(changes, true, clock),
                Intent::Clear => self.clear(clock),
                Intent::Yield => thread::yield_now(),
            }
        }
        self
    }

    /// Notes when a call begins, and mostly lets others begin theirs before it is made: on a busy
    /// machine the threads would take turns otherwise.
    fn begin(&self, clock: &Clock) -> u64 {
        let invoked = clock.tick();
        if self.plan.lockstep {
            thread::yield_now();
        }
        invoked
    }

    fn note(
        &mut self,
        invoked: u64,
        clock: &Clock,
        call: Call,
        answer: impl FnOnce(&mut Self) -> Answer,
    ) {
        let returned = clock.tick();
        let answer = answer(self);
        self.events.push(Event { thread: self.number, invoked, returned, call, answer });
    }

    fn read(&mut self, keys: &[usize], clock: &Clock) {
        let names: Vec<String> = keys.iter().map(|key| self.plan.name(*key)).collect();
        let invoked = self.begin(clock);
        let items = match names.as_slice() {
            [name] => vec![self.collection.get(name).unwrap()],
            names => self.collection.get_many(names).unwrap(),
        };
        self.note(invoked, clock, Call::Read(keys.to_vec()), |thread| {
            let saw = keys.iter().zip(&items).map(|(key, item)| thread.see(*key, item.as_ref()));
            Answer::Saw(saw.collect())
        });
    }

    fn see(&mut self, key: usize, item: Option<&Item<Write>>) -> Option<Write> {
        let item = item?;
        self.seen.push(Seen { key, write: item.value, tag: item.etag() });
        Some(item.value)
    }

    /// Fills in the values, and the tags seen last.
    fn fill_in(&mut self, changes: &[(usize, Verb)]) -> Vec<(Change, Precondition)> {
        let mut filled = Vec::new();
        for (key, verb) in changes {
            let seen = self.seen.iter().rev().find(|seen| seen.key == *key).copied();
            let (demand, precondition) = match (verb, seen) {
                (Verb::Create, _) => (Demand::Absent, Precondition::Always),
                (Verb::Upsert, _) => (Demand::Nothing, Precondition::Always),
                (Verb::ReplaceSeen | Verb::DeleteSeen, Some(seen)) => {
                    (Demand::Holds(seen.write), seen.tag.into())
                }
                _ => (Demand::Present, Precondition::Always),
            };
            let deletes = matches!(verb, Verb::Delete | Verb::DeleteSeen);
            let leaves = (!deletes).then_some(self.next_write);
            self.next_write += 1;
            filled.push((Change { key: *key, demand, leaves }, precondition));
        }
        filled
    }

    fn change(&mut self, changes: &[(usize, Verb)], batch: bool, clock: &Clock) {
        let filled = self.fill_in(changes);
        let names: Vec<String> = filled.iter().map(|(c, _)| self.plan.name(c.key)).collect();
        let call = Call::Change(filled.iter().map(|(change, _)| change.clone()).collect());
        let steps = filled.iter().zip(&names).zip(changes);
        let invoked = self.begin(clock);
        let answer = if batch {
            let mut batch = self.store.batch();
            for (((change, precondition), name), (_, verb)) in steps {
                batch = self.add(batch, name, change, precondition, *verb);
            }
            batch.commit().map(|_| None)
        } else {
            let (change, precondition) = filled[0].clone();
            self.one(&names[0], &change, precondition, changes[0].1).map(Some)
        };
        self.note(invoked, clock, call, |thread| match answer {
            Ok(tag) => {
                let written = tag.zip(filled[0].0.leaves);
                let key = filled[0].0.key;
                thread.seen.extend(written.map(|(tag, write)| Seen { key, write, tag }));
                Answer::Done
            }
            Err(Error::Batch { index, source }) => {
                thread.refused(index, filled[index].0.key, &source)
            }
            Err(error) => thread.refused(0, filled[0].0.key, &error),
        });
    }

    /// Removes all items, those of earlier histories as well.
    fn clear(&mut self, clock: &Clock) {
        let invoked = self.begin(clock);
        let removed = self.collection.clear().unwrap();
        let all = 0..self.plan.keys;
        let remove = |key| Change { key, demand: Demand::Nothing, leaves: None };
        // Where there is nothing to remove it writes nothing: it has read that there is nothing.
        let (call, answer) = match removed {
            0 => (Call::Read(all.clone().collect()), Answer::Saw(all.map(|_| None).collect())),
            _ => (Call::Change(all.map(remove).collect()), Answer::Done),
        };
        self.note(invoked, clock, call, |_| answer);
    }

    fn refused(&mut self, index: usize, key: usize, error: &Error) -> Answer {
        let current = |conflict: &Conflict| conflict.current::<Write>().unwrap();
        let current = match error {
            Error::NotFound { .. } => None,
            Error::AlreadyExists(conflict) | Error::PreconditionFailed(conflict) => {
                current(conflict)
            }
            other => panic!("nothing was to go wrong here: {other:?}"),
        };
        Answer::Refused(index, self.see(key, current.as_ref()))
    }

    fn one(
        &self,
        name: &str,
        change: &Change,
        precondition: Precondition,
        verb: Verb,
    ) -> Result<ETag, Error> {
        let value = change.leaves.unwrap_or_default();
        let meta = match verb {
            Verb::Create => self.collection.create(name, &value),
            Verb::Upsert => self.collection.upsert(name, &value, precondition),
            Verb::Replace | Verb::ReplaceSeen => {
                self.collection.replace(name, &value, precondition)
            }
            Verb::Delete | Verb::DeleteSeen => self.collection.delete(name, precondition),
        };
        meta.map(|meta| meta.etag())
    }

    fn add(
        &self,
        batch: Batch,
        name: &str,
        change: &Change,
        precondition: &Precondition,
        verb: Verb,
    ) -> Batch {
        let (collection, precondition) = (&self.collection, precondition.clone());
        let value = change.leaves.unwrap_or_default();
        match verb {
            Verb::Create => batch.create(collection, name, &value),
            Verb::Upsert => batch.upsert(collection, name, &value, precondition),
            Verb::Replace | Verb::ReplaceSeen => {
                batch.replace(collection, name, &value, precondition)
            }
            Verb::Delete | Verb::DeleteSeen => batch.delete(collection, name, precondition),
        }
    }
}
