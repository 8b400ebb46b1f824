//! An acknowledgement says that a sync covers the write, and every writer gets one.

use std::sync::Arc;

use super::disk::ModelDisk;
use super::{A, B, C, Rig, replace};
use crate::engine::Engine;
use crate::seams::sync::{model, thread};
use crate::values::precondition::Precondition;

/// Writes, and on the acknowledgement looks at what a crash would leave.
fn write_and_look(engine: &Engine, disk: &ModelDisk, key: &str) {
    let meta = replace(engine, key, "new", Precondition::Always).unwrap();
    let revision = meta.revision.0;
    assert!(disk.synced_revisions().contains(&revision), "acknowledged before it was synced");
    assert!(engine.journal.durable() >= revision, "acknowledged before it was published");
}

#[test]
fn an_acknowledged_write_is_synced() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old")]);
        let (engine, disk) = (Arc::clone(&rig.engine), rig.disk.clone());
        let other = thread::spawn(move || write_and_look(&engine, &disk, B));
        write_and_look(&rig.engine, &rig.disk, A);
        other.join().unwrap();
    });
}

/// A writer that finds its frame written by another does not take the journal's lock again.
#[test]
fn an_acknowledged_eventual_write_is_written() {
    fn write_and_look(engine: &Engine, disk: &ModelDisk, key: &str) {
        let meta = replace(engine, key, "new", Precondition::Always).unwrap();
        let written = disk.written_revisions().contains(&meta.revision.0);
        assert!(written, "acknowledged before it was written");
    }
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let (engine, disk) = (Arc::clone(&rig.engine), rig.disk.clone());
        let other = thread::spawn(move || write_and_look(&engine, &disk, B));
        write_and_look(&rig.engine, &rig.disk, A);
        other.join().unwrap();
    });
}

#[test]
fn three_writers_are_all_woken() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old"), (C, "old")]);
        let others = [B, C].map(|key| {
            let engine = Arc::clone(&rig.engine);
            thread::spawn(move || replace(&engine, key, "new", Precondition::Always).unwrap())
        });
        replace(&rig.engine, A, "new", Precondition::Always).unwrap();
        for other in others {
            other.join().unwrap();
        }
        // Setting up took one for each item: nobody syncs what another's sync has covered.
        assert!((4..=6).contains(&rig.engine.journal.syncs()));
    });
}

#[test]
fn a_sync_covers_what_was_written_before_it() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let engine = Arc::clone(&rig.engine);
        let writer =
            thread::spawn(move || replace(&engine, B, "new", Precondition::Always).unwrap());
        let meta = replace(&rig.engine, A, "new", Precondition::Always).unwrap();
        let synced = rig.engine.journal.sync().unwrap();
        assert!(synced >= meta.revision.0);
        // Frames are chained: one that recovery finds has all before it.
        assert!(rig.disk.synced_revisions().contains(&synced));
        assert!(rig.engine.journal.durable() >= synced);
        writer.join().unwrap();
    });
}

/// As a reader does that follows an item's chain into the newest commits: it writes them first.
#[test]
fn a_reader_that_leads_a_write_wakes_the_writer_whose_sync_waits_for_it() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old")]);
        let engine = Arc::clone(&rig.engine);
        let writer =
            thread::spawn(move || replace(&engine, A, "new", Precondition::Always).unwrap());
        rig.engine.journal.write_out();
        writer.join().unwrap();
    });
}
