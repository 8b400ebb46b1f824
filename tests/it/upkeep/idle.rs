//! A store that nobody uses does nothing: no call of the disk, no write, no sync.

use std::fs;
use std::thread;
use std::time::Duration;

use ifmatch::simulation::Simulation;
use ifmatch::{Durability, Options, Precondition, Store};

use super::value;
use crate::from_environment;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Work after which there is something to check, sweep and compact.
fn work(store: &Store) {
    let items = store.raw("items").unwrap();
    for round in 0..8_u64 {
        for key in 0..60_u8 {
            items.upsert([key], &value(round, 5_000), Precondition::Always).unwrap();
        }
    }
    let far = items.clone().with_ttl(30 * DAY);
    far.create("far", &value(1, 100)).unwrap();
    items.clone().with_ttl(Duration::ZERO).create("gone", &value(1, 100)).unwrap();
}

/// Waits until the disk's calls are the same for a while, and then asks for as long a while again.
fn assert_comes_to_rest(sim: &Simulation) {
    // Several times what upkeep waits for, as its ticks come late on a machine that is busy.
    let calm = Duration::from_millis(2_500);
    for _ in 0..40 {
        let before = sim.disk().calls();
        thread::sleep(calm);
        if sim.disk().calls() == before {
            thread::sleep(calm);
            assert_eq!(sim.disk().calls(), before, "a store at rest uses its disk");
            return;
        }
    }
    panic!("the store does not come to rest");
}

#[test]
fn c3_an_idle_store_comes_to_rest_whatever_was_done_before() {
    let durabilities = [Durability::Immediate, Durability::Eventual];
    let at_rest = durabilities.map(|durability| {
        thread::spawn(move || {
            let sim = Simulation::new(1);
            let options = Options::new().durability(durability);
            let store = sim.open_with_background(&options).unwrap();
            work(&store);
            assert_comes_to_rest(&sim);
            // Nothing but the work itself is waited for: all of it is synced.
            assert_eq!(store.stats().unwrap().durable_revision, store.revision());
            store.compact().unwrap();
            assert_comes_to_rest(&sim);
            assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
            store.close().unwrap();
            let store = sim.open_with_background(&options).unwrap();
            assert_comes_to_rest(&sim);
            assert_eq!(store.raw("items").unwrap().len().unwrap(), 61);
        })
    });
    at_rest.into_iter().for_each(|thread| thread.join().unwrap());
}

/// What the process has written and asked to be written so far, if the system tells; without its
/// first thread, which tells of tests that take long.
fn written() -> Option<Vec<u64>> {
    let counts = |path: &str| -> Option<Vec<u64>> {
        let text = fs::read_to_string(path).ok()?;
        let lines = text.lines().filter(|l| l.starts_with("write") || l.starts_with("syscw"));
        lines.map(|line| line.split(' ').next_back()?.parse().ok()).collect()
    };
    let first = counts(&format!("/proc/self/task/{}/io", std::process::id()))?;
    let all = counts("/proc/self/io")?;
    Some(all.iter().zip(first).map(|(all, first)| all - first).collect())
}

/// `IFMATCH_IDLE_SECONDS=n` looks for so long.
#[test]
#[ignore = "takes a minute, and every other test of the process writes"]
fn c3_an_idle_store_on_disk_writes_nothing() {
    let seconds = from_environment("IFMATCH_IDLE_SECONDS").unwrap_or(60);
    for durability in [Durability::Immediate, Durability::Eventual] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new().durability(durability);
        let store = options.open(folder.path().join("store")).unwrap();
        work(&store);
        thread::sleep(Duration::from_secs(10));
        let syncs = store.stats().unwrap().syncs;
        let before = written().expect("/proc/self/io");
        thread::sleep(Duration::from_secs(seconds));
        assert_eq!(written().unwrap(), before, "a store at rest writes, {durability:?}");
        assert_eq!(store.stats().unwrap().syncs, syncs);
    }
}
