//! Concurrent histories: what threads see of one store has an order, per key and for batches, also
//! across the end of the process.
//!
//! `IFMATCH_HISTORIES=n` runs n histories instead of the usual number, and `IFMATCH_SEED=n` makes
//! the same calls again; how the threads meet is up to the system.

mod record;
mod search;

use fastrand::Rng;
use ifmatch::simulation::Simulation;
use ifmatch::{Durability, Options, Store};

use crate::{Repeat, from_environment, thinned};
use record::{Clock, Plan, Recorder, run};
use search::{Answer, Call, Event, is_linearizable};

/// Histories of a run in which nothing else is asked for, over all tests together.
const HISTORIES: u64 = 1_200;

/// Repeats with one random generator until the share of all histories is reached.
fn histories((share, of): (u64, u64), mut one: impl FnMut(&mut Rng, u64)) {
    let seed = from_environment("IFMATCH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let _repeat = Repeat::new("linearizability", seed);
    let mut rng = Rng::with_seed(seed);
    let count = (from_environment("IFMATCH_HISTORIES").unwrap_or(thinned(200, HISTORIES)) * share)
        .div_ceil(of);
    for number in 0..count {
        one(&mut rng, number);
    }
    println!("{count} histories are linearizable");
}

#[track_caller]
fn assert_linearizable(plan: &Plan, mut events: Vec<Event>) {
    events.sort_by_key(|event| event.invoked);
    if !is_linearizable(plan.keys, &events) {
        let lines: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
        panic!("no order explains this history:\n{}", lines.join("\n"));
    }
}

/// What the tests must have met: answers of each kind, and calls that overlapped.
#[derive(Debug, Default)]
struct Met {
    done: u64,
    refused: u64,
    saw: u64,
    unknown: u64,
    overlapped: u64,
}

impl Met {
    fn note(&mut self, events: &[Event]) {
        for event in events {
            match event.answer {
                Answer::Done => self.done += 1,
                Answer::Refused(..) => self.refused += 1,
                Answer::Saw(_) => self.saw += 1,
                Answer::Unknown => self.unknown += 1,
            }
            let overlaps = |other: &&Event| {
                other.thread != event.thread
                    && other.invoked < event.returned
                    && event.invoked < other.returned
            };
            self.overlapped += u64::from(events.iter().any(|other| overlaps(&other)));
        }
    }

    fn assert_contended(&self, histories: &str) {
        println!("{histories}: {self:?}");
        let met = [self.done, self.refused, self.saw, self.overlapped];
        assert!(met.iter().all(|count| *count > 0), "nothing met: {self:?}");
    }
}

fn check_store(store: &Store, share: (u64, u64)) {
    let mut met = Met::default();
    histories(share, |rng, number| {
        let plan = Plan::new(rng, number);
        let clock = Clock::default();
        let mut recorder = Recorder::default();
        let events = run(store, &plan, &clock, &mut recorder, || {});
        met.note(&events);
        assert_linearizable(&plan, events);
    });
    met.assert_contended("all");
}

#[test]
fn histories_in_memory_are_linearizable() {
    check_store(&Store::in_memory(), (16, 30));
}

#[test]
fn histories_on_disk_are_linearizable() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new()
        .durability(Durability::Eventual)
        .sync_interval(std::time::Duration::from_millis(5));
    // A cache this small sends many reads to the index and the journal.
    let store = options.cache_bytes(1 << 12).open(folder.path().join("store")).unwrap();
    check_store(&store, (10, 30));
    store.close().unwrap();
}

/// What ends a simulated store while threads use it.
fn check_crashes(durability: Durability, power_loss: bool, share: (u64, u64)) {
    let options = Options::new().durability(durability).cache_bytes(1 << 16);
    let mut met = Met::default();
    histories(share, |rng, number| {
        let before = Plan::new(rng, number);
        let simulation = Simulation::new(rng.u64(..));
        let store = simulation.open(&options).unwrap();
        let (clock, mut recorder) = (Clock::default(), Recorder::default());
        let (wait, mut crash_rng) = (rng.u64(..=before.ticks()), rng.fork());
        let mut end = None;
        let mut events = run(&store, &before, &clock, &mut recorder, || {
            clock.wait_for(wait);
            let invoked = clock.tick();
            let left = if power_loss {
                simulation.crash(&mut crash_rng)
            } else {
                simulation.kill(&mut crash_rng)
            };
            end = Some((left, invoked, clock.tick()));
        });
        drop(store);
        let (left, invoked, returned) = end.unwrap();
        events = cut(events, invoked, returned);
        let (call, answer) = (Call::Crash, Answer::Done);
        events.push(Event { thread: usize::MAX, invoked, returned, call, answer });
        let store = left.open(&options).unwrap();
        let after = Plan::after(rng, &before);
        events.extend(run(&store, &after, &clock, &mut recorder, || {}));
        met.note(&events);
        assert_linearizable(&before, events);
    });
    met.assert_contended("across crashes");
    assert!(met.unknown > 0, "no call was under way at any crash");
}

/// What the process knew when it ended: of a write that had not returned, nothing.
fn cut(events: Vec<Event>, invoked: u64, returned: u64) -> Vec<Event> {
    let known = |mut event: Event| {
        if event.invoked > returned {
            return None;
        }
        if event.returned > invoked {
            if matches!(event.call, Call::Read(_)) {
                return None;
            }
            event.answer = Answer::Unknown;
            event.returned = returned;
        }
        Some(event)
    };
    events.into_iter().filter_map(known).collect()
}

#[test]
fn histories_across_kills_are_linearizable() {
    check_crashes(Durability::Eventual, false, (2, 30));
    check_crashes(Durability::Immediate, false, (1, 30));
}

#[test]
fn histories_across_power_loss_are_linearizable() {
    check_crashes(Durability::Immediate, true, (1, 30));
}
