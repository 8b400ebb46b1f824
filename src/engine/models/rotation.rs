//! The change from one segment to the next, in the middle of writes and reads.

use std::sync::Arc;

use super::rewritten::sealed;
use super::{A, B, C, Rig, create, read, replace, value_of};
use crate::journal::rotate::FIRST_SEGMENT_BYTES;
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::seams::sync::{model, thread};
use crate::values::precondition::Precondition;

/// Fills the first segment until this number of small frames fits, none or one.
fn fill(rig: &Rig, frames: u64) {
    /// The frame around the value, and the room that is kept for the seal.
    const AROUND_BYTES: u64 = 64 + 90;
    const SMALL_FRAME_BYTES: u64 = 50;
    let appended = rig.engine.journal.position().appended_bytes;
    let around = AROUND_BYTES + frames * SMALL_FRAME_BYTES;
    let value_bytes = FIRST_SEGMENT_BYTES - SEGMENT_HEADER_BYTES - appended - around;
    create(&rig.engine, C, &"x".repeat(value_bytes as usize)).unwrap();
    assert_eq!(rig.engine.journal.position().segment, 1);
}

/// Asserts that a crash cannot take any commit up to this one.
fn assert_all_synced(rig: &Rig, last: u64) {
    let survivors = rig.disk.synced_revisions();
    assert_eq!(survivors.last(), Some(&last));
    assert!(survivors.is_sorted_by(|before, after| before + 1 == *after), "{survivors:?}");
}

#[test]
fn writers_that_meet_a_full_segment_begin_one_next() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        fill(&rig, 0);
        let (engine, syncing) = (Arc::clone(&rig.engine), Arc::clone(&rig.engine));
        let syncer = thread::spawn(move || syncing.journal.sync().unwrap());
        let other =
            thread::spawn(move || replace(&engine, B, "new", Precondition::Always).unwrap());
        replace(&rig.engine, A, "new", Precondition::Always).unwrap();
        other.join().unwrap();
        syncer.join().unwrap();
        assert_eq!(rig.engine.journal.segments().count(), 2);
        assert_eq!([A, B].map(|key| value_of(&rig.engine, key)), ["new", "new"]);
    });
}

#[test]
fn a_reader_finds_every_version_while_segments_change() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        fill(&rig, 0);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            replace(&engine, A, "new", Precondition::Always).unwrap();
        });
        for key in [A, B] {
            let (_, value) = read(&rig.engine, key).unwrap();
            assert!(value == "old" || (key == A && value == "new"), "{value}");
        }
        writer.join().unwrap();
        assert_eq!(value_of(&rig.engine, A), "new");
    });
}

#[test]
fn a_segment_is_sealed_with_every_frame_that_was_on_its_way_to_it() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old")]);
        fill(&rig, 1);
        let engine = Arc::clone(&rig.engine);
        let other =
            thread::spawn(move || replace(&engine, B, "new", Precondition::Always).unwrap());
        let mine = replace(&rig.engine, A, "new", Precondition::Always).unwrap();
        let other = other.join().unwrap();
        assert_eq!(rig.engine.journal.segments().count(), 2);
        assert_all_synced(&rig, mine.revision.0.max(other.revision.0));
    });
}

/// Nobody else wakes them: a thread that was to lead the sync finds that there is nothing left to
/// sync.
#[test]
fn a_rotation_wakes_those_for_whom_it_synced() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        fill(&rig, 0);
        let is_woken = rig.engine.journal.stand_in_line();
        replace(&rig.engine, A, "new", Precondition::Always).unwrap();
        assert_eq!(rig.engine.journal.segments().count(), 2);
        assert!(is_woken());
    });
}

#[test]
fn a_rotation_beside_the_making_of_the_next_segment_takes_it_or_makes_one() {
    model(|| {
        let rig = sealed(Rig::eventual(), &[]);
        replace(&rig.engine, A, "dead", Precondition::Always).unwrap();
        replace(&rig.engine, A, "newest", Precondition::Always).unwrap();
        let (making, taking) = (Arc::clone(&rig.engine), Arc::clone(&rig.engine));
        let maker = thread::spawn(move || making.journal.prepare_segment());
        let compaction = thread::spawn(move || {
            let sources = taking.journal.covered_segments();
            let rewrite = taking.journal.begin_rewrite(sources).unwrap();
            rewrite.abandon(&taking.journal);
        });
        rig.engine.journal.seal_if_dead().unwrap();
        create(&rig.engine, C, "more").unwrap();
        maker.join().unwrap();
        compaction.join().unwrap();
        let values = [A, B, C].map(|key| value_of(&rig.engine, key));
        assert_eq!(values, ["newest", "old", "more"]);
    });
}
