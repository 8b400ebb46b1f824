//! Compaction moves heads and drops segments while others write and read: no write is lost, nothing
//! deleted comes back, and every version is found.

use std::sync::Arc;

use super::rewritten::{
    NEW, OLD, assert_live_bytes_exact, drop_old, entry_of, relocate_all_but, rewrite, sealed,
    switched,
};
use super::{
    A, B, Rig, commit, create, delete, item_key, read, replace, replacing, set_head, text, value_of,
};
use crate::engine::Engine;
use crate::journal::content_sum::ContentSum;
use crate::seams::sync::model;
use crate::seams::sync::thread::{self, JoinHandle};
use crate::values::head::Head;
use crate::values::precondition::Precondition;

/// The segment of the head that the next write of this item is decided on.
fn segment_for_write(engine: &Engine, key: &str) -> u32 {
    engine.head(&item_key(key)).unwrap().unwrap().segment
}

/// A compaction that has put the new segment in the old one's place, and moves the head of [`A`].
fn relocating(rig: &Rig) -> JoinHandle<()> {
    let entry = entry_of(&switched(rig), A);
    let engine = Arc::clone(&rig.engine);
    thread::spawn(move || entry.relocate(&engine))
}

/// As [`relocating`], with no other head left to move, so that the old segment is removed
/// afterwards.
fn relocating_the_last(rig: &Rig) -> JoinHandle<()> {
    let moved = switched(rig);
    relocate_all_but(rig, &moved, &[A]);
    let entry = entry_of(&moved, A);
    let engine = Arc::clone(&rig.engine);
    thread::spawn(move || {
        entry.relocate(&engine);
        drop_old(&engine);
    })
}

#[test]
fn a_head_that_is_moved_while_its_item_is_written_loses_no_write() {
    model(|| {
        let rig = sealed(Rig::eventual(), &[]);
        let compaction = relocating(&rig);
        let before = read(&rig.engine, A).unwrap().0;
        let written = replace(&rig.engine, A, "new", before).unwrap();
        compaction.join().unwrap();
        assert_eq!(read(&rig.engine, A), Some((written.etag, "new".to_owned())));
        assert_live_bytes_exact(&rig.engine);
    });
}

#[test]
fn a_head_that_is_moved_while_its_item_is_deleted_does_not_bring_it_back() {
    model(|| {
        let rig = sealed(Rig::cached(), &[]);
        let compaction = relocating(&rig);
        delete(&rig.engine, A, Precondition::Always).unwrap();
        compaction.join().unwrap();
        assert_eq!(read(&rig.engine, A), None);
        assert_live_bytes_exact(&rig.engine);
    });
}

#[test]
fn a_read_that_fills_the_cache_never_puts_the_old_place_back() {
    model(|| {
        let rig = sealed(Rig::cached(), &[]);
        rig.engine.index.drop_values();
        let compaction = relocating(&rig);
        assert_eq!(value_of(&rig.engine, A), "old");
        compaction.join().unwrap();
        assert_eq!(segment_for_write(&rig.engine, A), NEW);
        assert_eq!(value_of(&rig.engine, A), "old");
        assert_live_bytes_exact(&rig.engine);
    });
}

#[test]
fn a_cached_version_goes_with_its_head_to_the_new_place() {
    model(|| {
        let rig = sealed(Rig::cached(), &[]);
        let compaction = relocating(&rig);
        assert_eq!(value_of(&rig.engine, A), "old");
        compaction.join().unwrap();
        assert_eq!(segment_for_write(&rig.engine, A), NEW);
        replace(&rig.engine, A, "new", Precondition::Always).unwrap();
        assert_live_bytes_exact(&rig.engine);
    });
}

#[test]
fn a_read_finds_its_version_though_the_segment_is_dropped_under_it() {
    model(|| {
        let rig = sealed(Rig::eventual(), &[]);
        let compaction = relocating_the_last(&rig);
        assert_eq!(read(&rig.engine, A).map(|(_, value)| value).as_deref(), Some("old"));
        compaction.join().unwrap();
        assert!(rig.engine.journal.segments().get(OLD).is_none());
        assert_eq!(value_of(&rig.engine, A), "old");
    });
}

/// `verify` expects expired items in the count until they are swept.
#[test]
fn an_expired_item_is_verified_though_its_segment_is_dropped_under_it() {
    model(|| {
        let rig = sealed(Rig::eventual(), &[]);
        let moved = switched(&rig);
        relocate_all_but(&rig, &moved, &[A]);
        // The place of an item is moved while its head, which the model makes up, says that it is
        // expired.
        set_head(&rig.engine, A, |head| Head { expires_ms: Some(1), ..*head });
        let entry = entry_of(&moved, A);
        let engine = Arc::clone(&rig.engine);
        let compaction = thread::spawn(move || {
            entry.relocate(&engine);
            drop_old(&engine);
        });
        let mut content = ContentSum::default();
        rig.engine.verify_heads(None, 100, &mut content, &mut ContentSum::default()).unwrap();
        compaction.join().unwrap();
        assert_eq!(content.count, rig.engine.journal.content().1.count);
    });
}

#[test]
fn a_conflict_carries_the_current_version_though_its_segment_is_dropped() {
    model(|| {
        let rig = sealed(Rig::eventual(), &[]);
        let compaction = relocating_the_last(&rig);
        match create(&rig.engine, A, "new") {
            Err(crate::Error::AlreadyExists(conflict)) => {
                let current = super::current_of(&conflict).map(|(_, value)| value);
                assert_eq!(current.as_deref(), Some("old"));
            }
            other => panic!("{other:?}"),
        }
        compaction.join().unwrap();
    });
}

#[test]
fn a_read_of_many_sees_all_of_a_batch_while_heads_move_and_their_segment_is_dropped() {
    model(|| {
        let rig = sealed(Rig::eventual(), &[]);
        let compaction = relocating_the_last(&rig);
        let writing = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            commit(&writing, [A, B].map(|key| replacing(key, "new", Precondition::Always)))
                .unwrap();
        });
        let versions = rig.engine.read_many(&[A, B].map(item_key)).unwrap();
        let [a, b] = [&versions[0], &versions[1]].map(|v| v.as_ref().map(|v| text(&v.value)));
        assert!(a.is_some() && a == b, "{a:?} and {b:?}");
        compaction.join().unwrap();
        writer.join().unwrap();
        assert_eq!([A, B].map(|key| value_of(&rig.engine, key)), ["new", "new"]);
        assert_eq!(rig.engine.journal.segments().live_bytes(NEW), live_records(&rig.engine));
    });
}

/// What the collection's record takes, which no batch replaces.
fn live_records(engine: &Engine) -> u64 {
    let head =
        engine.head(&crate::values::key::ItemKey::new("", super::COLLECTION.as_bytes()).unwrap());
    head.unwrap().unwrap().footprint_bytes()
}

#[test]
fn a_tombstone_that_is_purged_while_its_item_is_created_takes_nothing_along() {
    model(|| {
        let rig = sealed(Rig::eventual(), &[A]);
        let revision = super::head_revision(&rig.engine, A);
        let engine = Arc::clone(&rig.engine);
        let compaction = thread::spawn(move || engine.purge(&item_key(A), revision).unwrap());
        let created = create(&rig.engine, A, "new").unwrap();
        compaction.join().unwrap();
        assert_eq!(read(&rig.engine, A), Some((created.etag, "new".to_owned())));
        assert_live_bytes_exact(&rig.engine);
    });
}

#[test]
fn who_copies_the_journal_and_who_takes_segments_out_of_it_exclude_each_other() {
    model(|| {
        let rig = sealed(Rig::eventual(), &[]);
        let (rewrite, record) = rewrite(&rig.engine);
        let engine = Arc::clone(&rig.engine);
        let compaction = thread::spawn(move || engine.journal.switch(&rewrite, record, 0).unwrap());
        let (hold, manifest) = rig.engine.journal.guard_copy();
        let switched = compaction.join().unwrap();
        let names_new = manifest.segments.iter().any(|record| record.number == NEW);
        assert_eq!(switched, names_new, "a segment was taken from under the copy");
        assert_eq!(switched, rig.engine.journal.segments().get(NEW).is_some());
        drop(hold);
    });
}
