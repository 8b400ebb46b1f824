//! A failure ends writing: every waiter is released with an error, and nothing later succeeds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::disk::Trapped;
use super::{A, B, Rig, is_poisoned, replace};
use crate::engine::Engine;
use crate::seams::sync::{model, thread};
use crate::values::error::{Error, Result};
use crate::values::item::Meta;
use crate::values::precondition::Precondition;

/// What a writer got; `None` when it panicked.
type Outcome = Option<Result<Meta>>;

fn write(engine: &Engine, key: &str) -> Outcome {
    let write = || replace(engine, key, "new", Precondition::Always);
    catch_unwind(AssertUnwindSafe(write)).ok()
}

/// Two writers at once; returns what each of them got.
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

/// The frame of a leader that waits for others may be in a write of another's that fails, and the
/// frames after it still in the buffer.
#[test]
fn a_write_that_fails_while_a_leader_waits_for_others_fails_the_leader() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old")]);
        rig.engine.journal.expect_commits(3);
        rig.disk.set_trap(Trapped::FailWrite);
        let engine = Arc::clone(&rig.engine);
        let reader = thread::spawn(move || engine.journal.write_out());
        let outcomes = write_two(&rig);
        reader.join().unwrap();
        assert_only_synced_acknowledged(&rig, &outcomes);
        assert_ended(&rig);
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
