#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::task::{Wake, Waker};

use super::upkeep::Seen;
use super::*;

use crate::simulation::Simulation;
use crate::{Durability, Options, Precondition};

/// Notes which thread wakes the task.
#[derive(Default)]
struct Woken(parking_lot::Mutex<Option<std::thread::ThreadId>>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.0.lock() = Some(std::thread::current().id());
    }
}

/// A regression: a task that was woken there and closed the store waited for upkeep, which waited for
/// that thread.
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
