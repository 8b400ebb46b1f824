//! An acknowledgement says that a sync covers the write, and every writer gets one.

use std::sync::Arc;

use super::disk::ModelDisk;
use super::{A, B, C, Rig, replace};
use crate::commit::Core;
use crate::precondition::Precondition;
use crate::sync::{model, thread};

/// Writes, and on the acknowledgement looks at what a crash would leave.
fn write_and_look(core: &Core, disk: &ModelDisk, key: &str) {
    let meta = replace(core, key, "new", Precondition::Always).unwrap();
    let revision = meta.revision.0;
    assert!(disk.synced_revisions().contains(&revision), "acknowledged before it was synced");
    assert!(core.journal.durable() >= revision, "acknowledged before it was published");
}

#[test]
fn an_acknowledged_write_is_synced() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old")]);
        let (core, disk) = (Arc::clone(&rig.core), rig.disk.clone());
        let other = thread::spawn(move || write_and_look(&core, &disk, B));
        write_and_look(&rig.core, &rig.disk, A);
        other.join().unwrap();
    });
}

#[test]
fn three_writers_are_all_woken() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old"), (C, "old")]);
        let others = [B, C].map(|key| {
            let core = Arc::clone(&rig.core);
            thread::spawn(move || replace(&core, key, "new", Precondition::Always).unwrap())
        });
        replace(&rig.core, A, "new", Precondition::Always).unwrap();
        for other in others {
            other.join().unwrap();
        }
        // Setting up took one for each item: nobody syncs what another's sync has covered.
        assert!((4..=6).contains(&rig.core.journal.syncs()));
    });
}

#[test]
fn a_sync_covers_what_was_written_before_it() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let core = Arc::clone(&rig.core);
        let writer = thread::spawn(move || replace(&core, B, "new", Precondition::Always).unwrap());
        let meta = replace(&rig.core, A, "new", Precondition::Always).unwrap();
        let synced = rig.core.journal.sync().unwrap();
        assert!(synced >= meta.revision.0);
        // Frames are chained: one that recovery finds has all before it.
        assert!(rig.disk.synced_revisions().contains(&synced));
        assert!(rig.core.journal.durable() >= synced);
        writer.join().unwrap();
    });
}

/// As who follows an item's chain into the newest commits has them written first.
#[test]
fn a_reader_that_leads_a_write_wakes_the_writer_whose_sync_waits_for_it() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old")]);
        let core = Arc::clone(&rig.core);
        let writer = thread::spawn(move || replace(&core, A, "new", Precondition::Always).unwrap());
        rig.core.journal.write_out();
        writer.join().unwrap();
    });
}
