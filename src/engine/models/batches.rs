//! A batch is seen whole or not at all.

use std::sync::Arc;

use super::{A, B, C, Rig, commit, deleting, item_key, read, replacing, text, value_of};
use crate::engine::Engine;
use crate::seams::sync::{model, thread};
use crate::values::precondition::Precondition;

/// Replaces two items in one batch.
fn replace_both(engine: &Engine, keys: [&str; 2], value: &str) {
    commit(engine, keys.map(|key| replacing(key, value, Precondition::Always))).unwrap();
}

fn both(engine: &Engine, keys: [&str; 2]) -> [String; 2] {
    let versions = engine.read_many(&keys.map(item_key)).unwrap();
    let values: Vec<String> = versions.iter().flatten().map(|v| text(&v.value)).collect();
    values.try_into().expect("both items are present")
}

#[test]
fn a_read_of_many_sees_all_of_a_batch_or_nothing() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || replace_both(&engine, [A, B], "new"));
        let [a, b] = both(&rig.engine, [A, B]);
        assert_eq!(a, b, "half of a batch was seen");
        writer.join().unwrap();
    });
}

/// With deletions, since reading a value ends with a turn of the stripe's lock.
#[test]
fn who_has_seen_one_change_of_a_batch_sees_the_others() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            commit(&engine, [A, B].map(|key| deleting(key, Precondition::Always))).unwrap();
        });
        if read(&rig.engine, A).is_none() {
            assert_eq!(read(&rig.engine, B), None);
        }
        writer.join().unwrap();
    });
}

#[test]
fn who_has_seen_one_change_of_a_batch_in_the_cache_sees_the_others() {
    model(|| {
        let (rig, _) = Rig::cached().with([(A, "old"), (B, "old")]);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || replace_both(&engine, [A, B], "new"));
        if value_of(&rig.engine, A) == "new" {
            assert_eq!(value_of(&rig.engine, B), "new");
        }
        writer.join().unwrap();
    });
}

#[test]
fn overlapping_batches_in_opposite_orders_neither_deadlock_nor_mix() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || replace_both(&engine, [A, B], "one"));
        replace_both(&rig.engine, [B, A], "two");
        writer.join().unwrap();
        let [a, b] = both(&rig.engine, [A, B]);
        assert_eq!(a, b, "the batches were mixed");
        assert_ne!(a, "old");
    });
}

#[test]
fn a_batch_of_two_keys_on_one_stripe_locks_it_once() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (C, "old")]);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || replace_both(&engine, [A, C], "new"));
        let [a, c] = both(&rig.engine, [C, A]);
        assert_eq!(a, c, "half of a batch was seen");
        writer.join().unwrap();
        assert!(read(&rig.engine, A).is_some_and(|(_, value)| value == "new"));
    });
}
