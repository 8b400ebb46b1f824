//! A snapshot shows all of each commit up to its revision, nothing of later ones, and the same
//! whenever it is read.

use std::sync::Arc;

use super::{A, B, C, Rig, commit, create, delete, item_key, replace, replacing, set_head, text};
use crate::engine::{Engine, Span, View, Window};
use crate::seams::sync::{model, thread};
use crate::values::error::Error;
use crate::values::head::Head;
use crate::values::precondition::Precondition;

fn seen(engine: &Engine, view: &View, key: &str) -> Option<String> {
    let version = engine.read_at(view, &item_key(key)).unwrap();
    version.map(|version| text(&version.value))
}

fn scanned(engine: &Engine, view: &View) -> Vec<String> {
    let bounds = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let span = Span { collection: super::COLLECTION, bounds, reverse: false };
    let window = Window { cells: 10, value_bytes: u64::MAX };
    let (_, items) = engine.scan(Some(view), span, window).unwrap();
    items.versions().map(|version| text(&version.unwrap().value)).collect()
}

fn replace_both(engine: &Engine, value: &str) {
    commit(engine, [A, B].map(|key| replacing(key, value, Precondition::Always))).unwrap();
}

#[test]
fn a_snapshot_never_sees_a_batch_that_came_after_it() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || replace_both(&engine, "new"));
        let read = || [A, B].map(|key| seen(&rig.engine, &view, key));
        let old = || [Some("old".to_owned()), Some("old".to_owned())];
        assert_eq!(read(), old());
        writer.join().unwrap();
        assert_eq!(read(), old(), "a read of the snapshot was not repeatable");
    });
}

#[test]
fn a_snapshot_taken_beside_a_batch_sees_all_of_it_or_nothing() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || replace_both(&engine, "new"));
        let view = rig.engine.begin_snapshot().unwrap();
        let [a, b] = [A, B].map(|key| seen(&rig.engine, &view, key));
        assert!(a.is_some() && a == b, "{a:?} and {b:?}: half of a batch was seen");
        writer.join().unwrap();
        assert_eq!(seen(&rig.engine, &view, A), a, "a read of the snapshot was not repeatable");
    });
}

#[test]
fn no_commit_falls_between_a_snapshots_revision_and_its_beginning() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            replace(&engine, A, "new", Precondition::Always).unwrap().revision.0
        });
        let view = rig.engine.begin_snapshot().unwrap();
        let revision = writer.join().unwrap();
        let expected = if revision <= view.revision() { "new" } else { "old" };
        assert_eq!(seen(&rig.engine, &view, A).as_deref(), Some(expected));
    });
}

#[test]
fn a_snapshot_sees_what_is_deleted_and_not_what_is_created_after_it() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            delete(&engine, A, Precondition::Always).unwrap();
            create(&engine, B, "new").unwrap();
        });
        assert_eq!(scanned(&rig.engine, &view), ["old"]);
        writer.join().unwrap();
        assert_eq!(scanned(&rig.engine, &view), ["old"]);
    });
}

#[test]
fn a_cached_version_is_not_taken_for_that_of_the_snapshot() {
    model(|| {
        let (rig, _) = Rig::cached().with([(A, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            replace(&engine, A, "new", Precondition::Always).unwrap();
        });
        assert_eq!(seen(&rig.engine, &view, A).as_deref(), Some("old"));
        writer.join().unwrap();
        assert_eq!(seen(&rig.engine, &view, A).as_deref(), Some("old"));
    });
}

#[test]
fn what_a_snapshot_that_ends_held_for_an_older_one_is_found_all_the_while() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let older = rig.engine.begin_snapshot().unwrap();
        let newer = rig.engine.begin_snapshot().unwrap();
        replace_both(&rig.engine, "new");
        let ending = thread::spawn(move || drop(newer));
        for key in [B, A] {
            assert_eq!(seen(&rig.engine, &older, key).as_deref(), Some("old"));
        }
        ending.join().unwrap();
        assert_eq!(seen(&rig.engine, &older, A).as_deref(), Some("old"));
        drop(older);
        assert_eq!(rig.engine.snapshots.saved_heads(), 0);
    });
}

#[test]
fn a_writer_and_a_snapshot_that_ends_leave_an_older_one_what_it_sees() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old"), (C, "old")]);
        let older = rig.engine.begin_snapshot().unwrap();
        let newer = rig.engine.begin_snapshot().unwrap();
        replace_both(&rig.engine, "new");
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            replace(&engine, C, "new", Precondition::Always).unwrap();
        });
        drop(newer);
        assert_eq!(seen(&rig.engine, &older, C).as_deref(), Some("old"));
        writer.join().unwrap();
        for key in [A, B, C] {
            assert_eq!(seen(&rig.engine, &older, key).as_deref(), Some("old"));
        }
        drop(older);
        assert_eq!(rig.engine.snapshots.saved_heads(), 0);
    });
}

#[test]
fn what_a_snapshot_sees_that_begins_while_another_ends_is_saved() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let first = rig.engine.begin_snapshot().unwrap();
        let ending = thread::spawn(move || drop(first));
        let second = rig.engine.begin_snapshot().unwrap();
        ending.join().unwrap();
        replace(&rig.engine, A, "new", Precondition::Always).unwrap();
        assert_eq!(seen(&rig.engine, &second, A).as_deref(), Some("old"));
    });
}

#[test]
fn a_snapshot_that_is_given_up_while_it_is_read_says_so_or_shows_what_it_saw() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        replace(&rig.engine, A, "new", Precondition::Always).unwrap();
        let engine = Arc::clone(&rig.engine);
        let compaction = thread::spawn(move || assert!(engine.snapshots.give_up_oldest()));
        match rig.engine.read_at(&view, &item_key(A)) {
            Ok(version) => assert_eq!(version.map(|v| text(&v.value)).as_deref(), Some("old")),
            Err(error) => assert!(matches!(error, Error::SnapshotTooOld), "{error}"),
        }
        compaction.join().unwrap();
        assert!(matches!(rig.engine.read_at(&view, &item_key(A)), Err(Error::SnapshotTooOld)));
    });
}

#[test]
fn what_has_expired_is_absent_from_a_snapshot_too() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "expired"), (B, "lives")]);
        set_head(&rig.engine, A, |head| Head { expires_ms: Some(1), ..*head });
        let view = rig.engine.begin_snapshot().unwrap();
        let look = || (seen(&rig.engine, &view, A), scanned(&rig.engine, &view));
        assert_eq!(look(), (None, vec!["lives".to_owned()]));
        create(&rig.engine, A, "new").unwrap();
        assert_eq!(look(), (None, vec!["lives".to_owned()]));
    });
}

/// Compaction removes heads of deleted items when no snapshot is left.
#[test]
fn a_head_that_went_with_the_last_snapshot_is_not_taken_for_absence() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        delete(&rig.engine, A, Precondition::Always).unwrap();
        let engine = Arc::clone(&rig.engine);
        let compaction = thread::spawn(move || {
            assert!(engine.snapshots.give_up_oldest());
            assert_eq!(engine.snapshots.alive(), 0);
            engine.purge(&item_key(A), super::head_revision(&engine, A)).unwrap();
        });
        match rig.engine.read_at(&view, &item_key(A)) {
            Ok(version) => assert_eq!(version.map(|v| text(&v.value)).as_deref(), Some("old")),
            Err(error) => assert!(matches!(error, Error::SnapshotTooOld), "{error}"),
        }
        compaction.join().unwrap();
    });
}
