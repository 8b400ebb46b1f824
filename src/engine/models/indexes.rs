//! Secondary indexes while other threads move their rows, build them and drop them.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{A, B, Rig, commit};
use crate::engine::operation::{Action, Expiry, NewValue, Operation};
use crate::engine::{Engine, Secondary, View};
use crate::seams::sync::{model, thread};
use crate::values::codec::CodecId;
use crate::values::error::Error;
use crate::values::key::ItemKey;
use crate::values::precondition::Precondition;
use crate::values::query::index::Index;

const DOCUMENTS: &str = "j";
const NAME: &str = "/n";

fn operation(key: &str, action: Action) -> Operation {
    let key = ItemKey::new(DOCUMENTS, key.as_bytes()).unwrap();
    Operation::new(key, CodecId::Json, Precondition::Always, action)
}

/// Upserts `{"n": n}`.
fn upsert(key: &str, n: u8) -> Operation {
    let document = Bytes::from(format!("{{\"n\":{n}}}"));
    operation(key, Action::Upsert(NewValue::new(document, Expiry::Never).unwrap()))
}

/// Writes `{"n": n}`, or deletes the item.
fn write(engine: &Engine, key: &str, n: Option<u8>) {
    let operation = n.map_or_else(|| operation(key, Action::Delete), |n| upsert(key, n));
    commit(engine, [operation]).unwrap();
}

/// Writes `{"n": n}`, unless another item has it: then that one's key is returned.
fn claim(engine: &Engine, key: &str, n: u8) -> Result<(), String> {
    commit(engine, [upsert(key, n)]).map(drop).map_err(|failed| match failed.error {
        Error::NotUnique { key: refused, of, .. } => {
            assert_eq!(&*refused, key.as_bytes());
            String::from_utf8(of.into()).unwrap()
        }
        other => panic!("{other:?}"),
    })
}

fn unique() -> Index {
    Index::on(NAME).unique()
}

/// A store in which a unique index binds.
fn with_unique() -> Rig {
    let rig = Rig::eventual();
    assert!(rig.engine.declare_index(DOCUMENTS, &unique()).unwrap());
    build(&rig.engine);
    assert!(check(&rig.engine));
    rig
}

/// Compares the items of a unique index, step by step; returns whether it is unique.
fn check(engine: &Engine) -> bool {
    let mut rivals = engine.begin_check(DOCUMENTS, NAME).unwrap().unwrap();
    loop {
        match engine.check_step(&mut rivals) {
            Ok(true) => {}
            Ok(false) => return true,
            Err(Error::NotUnique { .. }) => return false,
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Declares an index, and builds it step by step.
fn build(engine: &Engine) {
    let mut build = engine.begin_build(DOCUMENTS, NAME).unwrap();
    while engine.build_step(&mut build).unwrap() {}
}

fn declare(engine: &Engine) {
    assert!(engine.declare_index(DOCUMENTS, &Index::on(NAME)).unwrap());
}

fn index(engine: &Engine) -> Arc<Secondary> {
    engine.secondaries.named(DOCUMENTS, NAME).unwrap()
}

/// The keys of the rows at a view, and how many values before theirs there are.
fn seen(engine: &Engine, view: &View, index: &Secondary) -> Vec<(String, Vec<u8>)> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut rows = Vec::new();
    engine.scan_secondary(view, index, all, false, 10, &mut rows).unwrap();
    rows.into_iter()
        .map(|row| (String::from_utf8(row.key().to_vec()).unwrap(), row.code().to_vec()))
        .collect()
}

fn rows(engine: &Engine) -> Vec<(String, Vec<u8>)> {
    let view = engine.begin_snapshot().unwrap();
    let index = index(engine);
    assert!(index.is_usable(&view), "the index is built");
    seen(engine, &view, &index)
}

/// A store in which an index is built over these items.
fn indexed<const N: usize>(keys: [&str; N]) -> Rig {
    let rig = Rig::eventual();
    keys.iter().for_each(|key| write(&rig.engine, key, Some(1)));
    declare(&rig.engine);
    build(&rig.engine);
    rig
}

fn row(key: &str, n: u8) -> (String, Vec<u8>) {
    let document = serde_json::json!({ "n": n });
    let codes = crate::values::query::entries::entries(&Index::on(NAME), &document).unwrap();
    (key.to_owned(), codes.first().unwrap().clone())
}

#[test]
fn a_view_meets_an_item_once_while_a_write_moves_its_row() {
    model(|| {
        let rig = indexed([A]);
        let view = rig.engine.begin_snapshot().unwrap();
        let index = index(&rig.engine);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || write(&engine, A, Some(2)));
        assert_eq!(seen(&rig.engine, &view, &index), [row(A, 1)]);
        writer.join().unwrap();
        assert_eq!(seen(&rig.engine, &view, &index), [row(A, 1)]);
        assert_eq!(rows(&rig.engine), [row(A, 2)]);
    });
}

#[test]
fn a_view_taken_beside_a_batch_sees_all_of_its_rows_or_none() {
    model(|| {
        let rig = indexed([A, B]);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            let document = || Bytes::from_static(b"{\"n\":2}");
            let value = || NewValue::new(document(), Expiry::Never).unwrap();
            commit(&engine, [A, B].map(|key| operation(key, Action::Upsert(value())))).unwrap();
        });
        let seen = rows(&rig.engine);
        let one = |n| vec![row(A, n), row(B, n)];
        assert!(seen == one(1) || seen == one(2), "{seen:?}: half of a batch was seen");
        writer.join().unwrap();
    });
}

#[test]
fn a_build_beside_a_write_ends_with_the_rows_of_what_was_written() {
    model(|| {
        let rig = Rig::eventual();
        write(&rig.engine, A, Some(1));
        write(&rig.engine, B, Some(1));
        declare(&rig.engine);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            write(&engine, A, Some(2));
            write(&engine, B, None);
        });
        build(&rig.engine);
        writer.join().unwrap();
        assert_eq!(rows(&rig.engine), [row(A, 2)]);
        assert_eq!(rig.engine.secondary_len(&index(&rig.engine)), 1);
    });
}

/// The builder may have read the version before, and then leaves the row to the writer.
#[test]
fn a_write_beside_a_build_adds_the_row_that_its_item_keeps() {
    model(|| {
        let rig = Rig::eventual();
        write(&rig.engine, A, Some(1));
        declare(&rig.engine);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || write(&engine, A, Some(1)));
        build(&rig.engine);
        writer.join().unwrap();
        assert_eq!(rows(&rig.engine), [row(A, 1)]);
        assert_eq!(rig.engine.secondary_len(&index(&rig.engine)), 1);
    });
}

#[test]
fn a_write_beside_a_declaration_and_a_build_is_not_missed() {
    model(|| {
        let rig = Rig::eventual();
        write(&rig.engine, A, Some(1));
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || write(&engine, A, Some(2)));
        declare(&rig.engine);
        build(&rig.engine);
        writer.join().unwrap();
        assert_eq!(rows(&rig.engine), [row(A, 2)]);
    });
}

#[test]
fn a_view_reads_on_what_an_index_held_when_it_was_dropped() {
    model(|| {
        let rig = indexed([A]);
        let view = rig.engine.begin_snapshot().unwrap();
        let index = index(&rig.engine);
        assert!(index.is_usable(&view));
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || {
            assert!(engine.drop_index(DOCUMENTS, NAME).unwrap());
            engine.checkpoint().unwrap();
        });
        assert_eq!(seen(&rig.engine, &view, &index), [row(A, 1)]);
        other.join().unwrap();
        assert_eq!(seen(&rig.engine, &view, &index), [row(A, 1)]);
    });
}

#[test]
fn of_two_writers_with_one_unique_value_exactly_one_wins() {
    model(|| {
        let rig = with_unique();
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || claim(&engine, A, 1));
        let own = claim(&rig.engine, B, 1);
        match (other.join().unwrap(), own) {
            (Ok(()), Err(of)) => assert_eq!(of, A),
            (Err(of), Ok(())) => assert_eq!(of, B),
            both => panic!("{both:?}"),
        }
        assert_eq!(rows(&rig.engine).len(), 1);
    });
}

#[test]
fn two_items_that_swap_their_values_beside_a_third_never_share_one() {
    model(|| {
        let rig = with_unique();
        write(&rig.engine, A, Some(1));
        write(&rig.engine, B, Some(2));
        let engine = Arc::clone(&rig.engine);
        let swap = thread::spawn(move || {
            commit(&engine, [upsert(A, 2), upsert(B, 1)]).unwrap();
        });
        let of = claim(&rig.engine, "d", 1).unwrap_err();
        assert!(of == A || of == B);
        swap.join().unwrap();
        assert_eq!(rows(&rig.engine), [row(B, 1), row(A, 2)]);
    });
}

#[test]
fn a_writer_beside_the_making_of_a_unique_index_and_the_index_never_both_succeed() {
    model(|| {
        let rig = Rig::eventual();
        write(&rig.engine, A, Some(1));
        assert!(rig.engine.declare_index(DOCUMENTS, &unique()).unwrap());
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || claim(&engine, B, 1));
        build(&rig.engine);
        let bound = check(&rig.engine);
        let written = writer.join().unwrap();
        assert_ne!(bound, written.is_ok(), "the index binds: {bound}, the write: {written:?}");
    });
}
