//! A sweep takes away no item that is live again, and forgets none that expires.

use std::sync::Arc;

use super::{A, B, Rig, commit, create, creating, head_revision, new_value, operation};
use crate::engine::Engine;
use crate::engine::operation::{Action, Expiry, NewValue, Operation};
use crate::seams::sync::{model, thread};
use crate::values::precondition::{Precondition, Tags};

/// Creates an item that is expired as soon as it is there.
fn fleeting(key: &str) -> Operation {
    let value = NewValue { expiry: Expiry::After(0), ..new_value("gone") };
    operation(key, Precondition::IfNoneMatch(Tags::Any), Action::Create(value))
}

/// Runs a whole pass; returns how many items it took away.
fn sweep(engine: &Engine) -> u64 {
    let mut swept = 0;
    loop {
        let step = engine.sweep_step().unwrap();
        swept += step.swept;
        if !step.more {
            return swept;
        }
    }
}

fn is_deleted(engine: &Engine, key: &str) -> bool {
    super::head(engine, key).deleted
}

#[test]
fn an_item_that_is_renewed_during_a_sweep_is_not_swept() {
    model(|| {
        let rig = Rig::eventual();
        let expired = commit(&rig.engine, [fleeting(A)]).unwrap().metas[0];
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || create(&engine, A, "new").unwrap());
        let swept = sweep(&rig.engine);
        let renewed = writer.join().unwrap();

        let found = super::read(&rig.engine, A);
        assert_eq!(found, Some((renewed.etag, "new".to_owned())), "a live item was swept");
        assert_eq!(head_revision(&rig.engine, A), renewed.revision.0);
        // Swept before it was renewed, or replaced while it was there.
        let parent = (swept == 0).then_some(expired.etag);
        assert_eq!(renewed.parent, parent);
        let (_, content) = rig.engine.journal.content();
        assert_eq!(content.count, 1 + rig.engine.recorded_collections());
    });
}

#[test]
fn an_item_that_is_written_during_a_sweep_is_not_forgotten() {
    model(|| {
        let rig = Rig::eventual();
        commit(&rig.engine, [fleeting(A)]).unwrap();
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || drop(commit(&engine, [fleeting(B)]).unwrap()));
        sweep(&rig.engine);
        writer.join().unwrap();
        sweep(&rig.engine);
        assert!(is_deleted(&rig.engine, A) && is_deleted(&rig.engine, B), "an item was forgotten");
    });
}

#[test]
fn two_who_sweep_at_once_take_each_item_away_once() {
    model(|| {
        let rig = Rig::eventual();
        commit(&rig.engine, [fleeting(A), fleeting(B), creating("d", "stays")]).unwrap();
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || sweep(&engine));
        let swept = sweep(&rig.engine) + other.join().unwrap();
        assert_eq!(swept, 2);
        assert!(!is_deleted(&rig.engine, "d"));
    });
}
