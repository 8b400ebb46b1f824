//! A table that is copied into a fresh one under writes: what takes over lacks nothing.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::failures::BadTable;
use super::{A, B, Rig, create, item_key, read, replace};
use crate::engine::Engine;
use crate::index::{MemoryTables, RenewableTable, Table, Tables};
use crate::seams::sync::{model, thread};
use crate::values::options::Durability;
use crate::values::precondition::Precondition;

/// A rig with an item, whose table can be renewed.
fn renewable() -> (Rig, Arc<RenewableTable>) {
    let mut renewable = None;
    let wrap = |table| -> Arc<dyn Table> {
        let table = Arc::new(RenewableTable::new(table));
        renewable = Some(Arc::clone(&table));
        table
    };
    let (rig, _) = Rig::new(Durability::Eventual, 0, wrap).with([(A, "old")]);
    (rig, renewable.unwrap())
}

fn fresh() -> Arc<dyn Table> {
    MemoryTables::new().open(2).unwrap()
}

fn keys(table: &dyn Table) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let all = (Bound::Unbounded, Bound::Unbounded);
    table.scan(all.0, all.1, false, usize::MAX, &mut |key, _| keys.push(key.to_vec())).unwrap();
    keys
}

/// Copies all rows; gives whether the copy has taken over.
fn renew(engine: &Engine, table: &RenewableTable, copy: Arc<dyn Table>) -> bool {
    table.begin_copy(copy);
    for key in keys(table) {
        engine.copy_row(table, &key).unwrap();
    }
    table.end_copy().is_some()
}

#[test]
fn a_row_that_is_written_while_it_is_copied_is_the_new_one_in_the_copy() {
    model(|| {
        let (rig, table) = renewable();
        table.begin_copy(fresh());
        let (engine, copied) = (Arc::clone(&rig.engine), Arc::clone(&table));
        let copying =
            thread::spawn(move || engine.copy_row(&copied, item_key(A).as_bytes()).unwrap());
        let written = replace(&rig.engine, A, "new", Precondition::Always).unwrap();
        copying.join().unwrap();
        assert!(table.end_copy().is_some());
        assert_eq!(read(&rig.engine, A), Some((written.etag, "new".to_owned())));
    });
}

#[test]
fn an_item_that_is_created_while_the_table_is_renewed_is_in_the_one_that_takes_over() {
    model(|| {
        let (rig, table) = renewable();
        let (engine, renewed) = (Arc::clone(&rig.engine), Arc::clone(&table));
        let renewal = thread::spawn(move || assert!(renew(&engine, &renewed, fresh())));
        create(&rig.engine, B, "new").unwrap();
        assert!(read(&rig.engine, A).is_some());
        renewal.join().unwrap();
        let value = |key| read(&rig.engine, key).map(|(_, value)| value);
        assert_eq!([A, B].map(value), [Some("old".to_owned()), Some("new".to_owned())]);
    });
}

#[test]
fn a_copy_that_missed_a_write_does_not_take_over() {
    model(|| {
        let (rig, table) = renewable();
        let fails = Arc::new(AtomicBool::new(false));
        let copy = BadTable { table: fresh(), fails: Arc::clone(&fails), panics: false };
        table.begin_copy(Arc::new(copy));
        for key in keys(&*table) {
            rig.engine.copy_row(&table, &key).unwrap();
        }
        fails.store(true, Ordering::SeqCst);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || replace(&engine, A, "new", Precondition::Always));
        let has_taken_over = table.end_copy().is_some();
        match writer.join().unwrap() {
            Ok(written) => {
                assert_eq!(read(&rig.engine, A), Some((written.etag, "new".to_owned())));
            }
            Err(_) => assert!(has_taken_over, "what the copy fails in is no failure of the write"),
        }
    });
}
