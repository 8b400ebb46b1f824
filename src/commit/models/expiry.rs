//! A sweep takes away no item that is live again, and forgets none that expires.

use std::sync::Arc;

use super::{A, B, Rig, commit, create, creating, head_revision, item_key, new_value, operation};
use crate::commit::Core;
use crate::commit::operation::{Action, Expiry, NewValue, Operation};
use crate::precondition::{Precondition, Tags};
use crate::sync::{model, thread};
use crate::table::Head;

/// Creates an item that is expired as soon as it is there.
fn fleeting(key: &str) -> Operation {
    let value = NewValue { expiry: Expiry::After(0), ..new_value("gone") };
    operation(key, Precondition::IfNoneMatch(Tags::Any), Action::Create(value))
}

/// Runs a whole pass; gives how many items it took away.
fn sweep(core: &Core) -> u64 {
    let mut swept = 0;
    loop {
        let step = core.sweep_step().unwrap();
        swept += step.swept;
        if !step.more {
            return swept;
        }
    }
}

fn is_deleted(core: &Core, key: &str) -> bool {
    let row = core.table.get(item_key(key).as_bytes()).unwrap().unwrap();
    Head::decode(&row).unwrap().deleted
}

#[test]
fn an_item_that_is_renewed_during_a_sweep_is_not_swept() {
    model(|| {
        let rig = Rig::eventual();
        let expired = commit(&rig.core, [fleeting(A)]).unwrap().metas[0];
        let core = Arc::clone(&rig.core);
        let writer = thread::spawn(move || create(&core, A, "new").unwrap());
        let swept = sweep(&rig.core);
        let renewed = writer.join().unwrap();

        let found = super::read(&rig.core, A);
        assert_eq!(found, Some((renewed.etag, "new".to_owned())), "a live item was swept");
        assert_eq!(head_revision(&rig.core, A), renewed.revision.0);
        // Swept before it was renewed, or replaced while it was there.
        let parent = (swept == 0).then_some(expired.etag);
        assert_eq!(renewed.parent, parent);
        let (_, totals) = rig.core.journal.totals();
        assert_eq!(totals.count, 1 + rig.core.recorded_collections());
    });
}

#[test]
fn an_item_that_is_written_during_a_sweep_is_not_forgotten() {
    model(|| {
        let rig = Rig::eventual();
        commit(&rig.core, [fleeting(A)]).unwrap();
        let core = Arc::clone(&rig.core);
        let writer = thread::spawn(move || drop(commit(&core, [fleeting(B)]).unwrap()));
        sweep(&rig.core);
        writer.join().unwrap();
        sweep(&rig.core);
        assert!(is_deleted(&rig.core, A) && is_deleted(&rig.core, B), "an item was forgotten");
    });
}

#[test]
fn two_who_sweep_at_once_take_each_item_away_once() {
    model(|| {
        let rig = Rig::eventual();
        commit(&rig.core, [fleeting(A), fleeting(B), creating("d", "stays")]).unwrap();
        let core = Arc::clone(&rig.core);
        let other = thread::spawn(move || sweep(&core));
        let swept = sweep(&rig.core) + other.join().unwrap();
        assert_eq!(swept, 2);
        assert!(!is_deleted(&rig.core, "d"));
    });
}
