#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::task::{Wake, Waker};

use super::upkeep::Seen;
use super::*;

use crate::simulation::{Fault, FaultPlan, Operation, Simulation};
use crate::{Durability, Options, Precondition};

/// Notes which thread wakes the task.
#[derive(Default)]
struct Woken(parking_lot::Mutex<Option<std::thread::ThreadId>>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.0.lock() = Some(std::thread::current().id());
    }
}

/// A regression: a task that was woken there and closed the store waited for upkeep, which waited
/// for that thread.
#[test]
fn no_task_is_woken_by_a_thread_that_upkeep_waits_for() {
    let sim = Simulation::new(1);
    let hour = Duration::from_secs(3_600);
    let options = Options::new().durability(Durability::Eventual).sync_interval(hour);
    let store = sim.open(&options).unwrap();
    let items = store.raw("items").unwrap();
    items.upsert("key", &vec![1; 10].into(), Precondition::Always).unwrap();
    let woken = Arc::new(Woken::default());
    let notifier = &store.shared().notifier;
    let waker = Waker::from(Arc::clone(&woken));
    assert!(notifier.register(notifier.task_id(), notifier.status().durable, &waker));
    store.background().compact_beside(store.shared(), &mut Seen::default(), true).unwrap();
    assert_eq!(*woken.0.lock(), Some(std::thread::current().id()));
}

/// A regression: files waited for the end of a checkpoint on another thread. On a busy store they
/// took a third of the live bytes.
#[test]
fn what_was_compacted_is_removed_while_a_checkpoint_is_taken() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let items = store.raw("items").unwrap();
    for number in 0..2_000_u32 {
        let key = (number % 1_000).to_be_bytes();
        items.upsert(key, &vec![1; 5_000].into(), Precondition::Always).unwrap();
    }
    Simulation::checkpoint(&store).unwrap();
    // Else there is nothing for another to hold.
    items.upsert("one more", &vec![1].into(), Precondition::Always).unwrap();
    let bytes = || sim.disk().total_len_bytes();
    let before = bytes();
    std::thread::scope(|scope| {
        let engine = store.engine().unwrap();
        let checkpoint = engine.checkpoints.lock();
        let shared = store.shared();
        scope.spawn(|| {
            store.background().compact_beside(shared, &mut Seen::default(), true).unwrap();
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        while bytes() > before - (4 << 20) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let after = bytes();
        drop(checkpoint);
        assert!(after <= before - (4 << 20), "{after} of {before} bytes are there");
    });
}

/// What threads have logged as an error.
struct Logged(parking_lot::Mutex<Vec<(thread::ThreadId, String)>>);

static LOGGED: Logged = Logged(parking_lot::Mutex::new(Vec::new()));

impl log::Log for Logged {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Error
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().push((thread::current().id(), record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// A regression: upkeep ended without a line in the log, while the journal grew.
#[test]
fn c6_upkeep_that_ends_says_why() {
    log::set_logger(&LOGGED).unwrap();
    log::set_max_level(log::LevelFilter::Error);
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let items = store.raw("items").unwrap();
    items.create("large", &vec![1; 2 << 20].into()).unwrap();
    items.create("small", &vec![1].into()).unwrap();
    sim.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
    items.create("failing", &vec![1].into()).unwrap_err();
    assert!(store.stats().unwrap().poisoned);
    let background = store.background();
    let by = thread::scope(|scope| {
        let upkeep = scope.spawn(|| background.run_upkeep(store.shared()));
        for _ in 0..10_000 {
            if upkeep.is_finished() {
                break;
            }
            background.deadlines.lock().wake_by(Some(Instant::now()));
            background.woken.notify_all();
            thread::sleep(Duration::from_millis(1));
        }
        background.deadlines.lock().stop = true;
        background.woken.notify_all();
        upkeep.thread().id()
    });
    let logged = LOGGED.0.lock();
    let said: Vec<&String> = logged.iter().filter(|(id, _)| *id == by).map(|(_, s)| s).collect();
    let why =
        "upkeep ends until the store is opened again: an earlier failure ended writing: syncing";
    assert!(said.iter().any(|line| line.starts_with(why)), "{said:?}");
}
