//! A failure ends writing: whoever waits is released with an error, and nothing later succeeds.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::Trapped;
use super::{A, B, Rig, is_poisoned, replace};
use crate::engine::Engine;
use crate::index::Table;
use crate::seams::sync::{model, thread};
use crate::values::error::{Error, Result};
use crate::values::item::Meta;
use crate::values::options::Durability;
use crate::values::precondition::Precondition;

/// What a writer got; `None` when it panicked.
type Outcome = Option<Result<Meta>>;

fn write(engine: &Engine, key: &str) -> Outcome {
    let write = || replace(engine, key, "new", Precondition::Always);
    catch_unwind(AssertUnwindSafe(write)).ok()
}

/// Two writers at once; gives what each of them got.
fn write_two(rig: &Rig) -> [Outcome; 2] {
    let engine = Arc::clone(&rig.engine);
    let other = thread::spawn(move || write(&engine, B));
    let mine = write(&rig.engine, A);
    [mine, other.join().unwrap()]
}

fn assert_ended(rig: &Rig) {
    assert!(rig.engine.journal.is_poisoned());
    let later = replace(&rig.engine, A, "later", Precondition::Always);
    assert!(matches!(later, Err(Error::Poisoned { .. })), "{later:?}");
}

/// Asserts that no write was acknowledged that a crash can take.
fn assert_only_synced_acknowledged(rig: &Rig, outcomes: &[Outcome]) {
    let survivors = rig.disk.synced_revisions();
    for outcome in outcomes.iter().flatten() {
        match outcome {
            Ok(meta) => assert!(survivors.contains(&meta.revision.0), "lost though acknowledged"),
            failed => assert!(is_poisoned(failed), "{failed:?}"),
        }
    }
}

#[test]
fn a_failed_sync_fails_everyone_who_waits_for_it() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old")]);
        rig.disk.set_trap(Trapped::FailSync);
        for outcome in write_two(&rig) {
            let outcome = outcome.expect("nobody panics");
            assert!(is_poisoned(&outcome), "{outcome:?}");
        }
        assert_ended(&rig);
    });
}

#[test]
fn a_failed_write_fails_everyone_whose_frame_it_was() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        rig.disk.set_trap(Trapped::FailWrite);
        for outcome in write_two(&rig) {
            let outcome = outcome.expect("nobody panics");
            assert!(is_poisoned(&outcome), "{outcome:?}");
        }
        assert_ended(&rig);
        // What was applied is still read, from memory.
        assert!(super::read(&rig.engine, A).is_some());
        assert!(super::read(&rig.engine, B).is_some());
    });
}

#[test]
fn a_leader_that_panics_while_syncing_releases_the_others() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old")]);
        rig.disk.set_trap(Trapped::PanicInSync);
        let outcomes = write_two(&rig);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 1);
        assert_only_synced_acknowledged(&rig, &outcomes);
        assert_ended(&rig);
    });
}

#[test]
fn a_leader_that_panics_while_writing_releases_the_others() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old")]);
        rig.disk.set_trap(Trapped::PanicInWrite);
        let outcomes = write_two(&rig);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 1);
        assert_only_synced_acknowledged(&rig, &outcomes);
        assert_ended(&rig);
    });
}

/// A table whose next insertion, once it is set to, goes wrong.
#[derive(Debug)]
pub(super) struct BadTable {
    pub(super) table: Arc<dyn Table>,
    pub(super) fails: Arc<AtomicBool>,
    pub(super) panics: bool,
}

impl Table for BadTable {
    fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>> {
        self.table.get(key)
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if !self.fails.swap(false, Ordering::SeqCst) {
            return self.table.insert(key, value);
        }
        if self.panics {
            resume_unwind(Box::new("trapped"));
        }
        Err(Error::Table(crate::values::error::TableError::new("trapped")))
    }

    fn remove(&self, key: &[u8]) -> Result<()> {
        self.table.remove(key)
    }

    fn scan(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        self.table.scan(lower, upper, reverse, limit, visit)
    }

    fn flush(&self) -> Result<()> {
        self.table.flush()
    }

    fn size_on_disk_bytes(&self) -> Result<u64> {
        self.table.size_on_disk_bytes()
    }
}

/// Two writers, of which the first to apply meets a table that fails or panics.
fn write_two_on_bad_table(panics: bool) {
    let fails = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&fails);
    let wrap =
        |table: Arc<dyn Table>| -> Arc<dyn Table> { Arc::new(BadTable { table, fails, panics }) };
    let (rig, _) = Rig::new(Durability::Immediate, 0, wrap).with([(A, "old"), (B, "old")]);
    set.store(true, Ordering::SeqCst);
    let outcomes = write_two(&rig);
    let acknowledged = outcomes.iter().flatten().filter(|outcome| outcome.is_ok()).count();
    assert!(acknowledged <= 1, "{outcomes:?}");
    assert_only_synced_acknowledged(&rig, &outcomes);
    assert_ended(&rig);
}

#[test]
fn a_table_that_fails_does_not_hold_up_the_other_writers() {
    model(|| write_two_on_bad_table(false));
}

#[test]
fn a_panic_while_applying_does_not_hold_up_the_other_writers() {
    model(|| write_two_on_bad_table(true));
}
