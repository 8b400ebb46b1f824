//! Indexes that are built, read by views, lost, cleared and dropped while other threads work.

use super::*;
use crate::Filter;

#[test]
fn writers_beside_a_build_leave_nothing_out_and_nothing_twice() {
    let mut rig = Rig::new(4, Durability::Immediate);
    for n in 0..1_000 {
        rig.notes().create(format!("{n:04}"), &json!({"n": n % 7, "tags": ["a", "b"]})).unwrap();
    }
    let engine = rig.store().engine().unwrap();
    engine.declare_index("notes", &index("/tags/*,-/n")).unwrap();
    let mut build = engine.begin_build("notes", "/tags/*,-/n").unwrap();
    let mut n = 0;
    loop {
        // Before and after the place that the builder has come to.
        for _ in 0..40 {
            n += 37;
            let key = format!("{:04}", n % 1_000);
            match n % 3 {
                0 => drop(rig.notes().delete(&key, Precondition::Always)),
                1 => {
                    let document = json!({"n": n % 5, "tags": ["b", "c"]});
                    rig.notes().upsert(&key, &document, Precondition::Always).unwrap();
                }
                _ => drop(rig.notes().create(format!("{key}+"), &json!({"n": 1, "tags": ["d"]}))),
            }
        }
        if !engine.build_step(&mut build).unwrap() {
            break;
        }
    }
    drop(engine);
    rig.check();
}

#[test]
fn an_index_is_not_used_by_a_view_that_is_older_than_it_and_stays_for_one_when_it_is_dropped() {
    let mut rig = Rig::new(5, Durability::Immediate);
    rig.notes().create("a", &json!({"n": 1})).unwrap();
    let engine = rig.store().engine().unwrap();
    let older = engine.begin_snapshot().unwrap();
    rig.notes().ensure_index(index("/n")).unwrap();
    let index = engine.secondaries.named("notes", "/n").unwrap();
    assert!(!index.is_usable(&older));
    drop(older);
    let view = engine.begin_snapshot().unwrap();
    assert!(index.is_usable(&view));
    let rows = found(&engine, &view, &index, false, 10);
    rig.notes().drop_index("/n").unwrap();
    rig.notes().upsert("a", &json!({"n": 2}), Precondition::Always).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(found(&engine, &view, &index, false, 10), rows);
    assert_eq!(engine.index.secondary_directories(), [index.rows]);
    drop(view);
    rig.notes().upsert("a", &json!({"n": 3}), Precondition::Always).unwrap();
    engine.checkpoint().unwrap();
    assert!(engine.index.secondary_directories().is_empty());
    drop(engine);
    rig.check();
}

#[test]
fn an_item_with_too_many_entries_is_refused_and_an_index_of_one_leaves_nothing_behind() {
    let rig = Rig::new(6, Durability::Immediate);
    let wide = json!({"tags": (0..1_001).collect::<Vec<_>>()});
    rig.notes().create("wide", &wide).unwrap();
    let refused = rig.notes().ensure_index(index("/tags/*"));
    assert!(matches!(refused, Err(crate::Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(rig.notes().indexes().unwrap(), []);
    rig.notes().delete("wide", Precondition::Always).unwrap();
    rig.notes().ensure_index(index("/tags/*")).unwrap();
    let refused = rig.notes().create("wide", &wide);
    assert!(matches!(refused, Err(crate::Error::TooLarge { .. })), "{refused:?}");
    let batch = rig.store().batch().create(&rig.notes(), "b", &json!({}));
    let refused = batch.create(&rig.notes(), "wide", &wide).commit();
    assert!(matches!(refused, Err(crate::Error::Batch { index: 1, .. })), "{refused:?}");
    assert_eq!(rig.notes().len().unwrap(), 0);
}

#[test]
fn a_collection_has_64_indexes_at_most() {
    let rig = Rig::new(7, Durability::Immediate);
    for n in 0..64 {
        rig.notes().ensure_index(Index::on(&format!("/f{n}"))).unwrap();
    }
    rig.notes().ensure_index(Index::on("/f7")).unwrap();
    let refused = rig.notes().ensure_index(Index::on("/f64"));
    assert!(matches!(refused, Err(crate::Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(rig.notes().indexes().unwrap().len(), 64);
    rig.notes().drop_index("/f7").unwrap();
    rig.notes().ensure_index(Index::on("/f64")).unwrap();
}

#[test]
fn a_version_that_cannot_be_read_does_not_block_its_deletion() {
    for killed in [false, true] {
        let mut rig = Rig::new(8, Durability::Immediate);
        rig.notes().ensure_index(index("/n")).unwrap();
        for n in 0..5 {
            rig.notes().create(format!("{n}"), &json!({ "n": n })).unwrap();
        }
        let view = {
            let engine = rig.store().engine().unwrap();
            engine.index.drop_values();
            let key = ItemKey::new("notes", b"3").unwrap();
            let pin = engine.pin(std::iter::once(&key)).unwrap();
            let damage = |head: &crate::values::head::Head| crate::values::head::Head {
                checksum: !head.checksum,
                ..*head
            };
            engine.index.change_head(&key, &pin, &|head| Some(damage(head)));
            drop(pin);
            engine.begin_snapshot().unwrap()
        };
        let index = rig.store().engine().unwrap().secondaries.named("notes", "/n").unwrap();
        let rows = found(&rig.store().engine().unwrap(), &view, &index, false, 10);
        rig.notes().delete("3", Precondition::Always).unwrap();
        rig.notes().create("new", &json!({"n": 3})).unwrap();
        assert!(!rig.notes().indexes().unwrap()[0].built, "it holds a row of an item that is gone");
        // As they were when the index was given up.
        assert_eq!(found(&rig.store().engine().unwrap(), &view, &index, false, 10), rows);
        drop(view);
        if killed {
            rig.kill();
        } else {
            rig.notes().ensure_index("/n".parse().unwrap()).unwrap();
        }
        assert!(rig.notes().indexes().unwrap()[0].built);
        rig.check();
    }
}

#[test]
fn an_index_whose_leaves_are_lost_is_given_up_and_built_anew() {
    let mut rig = Rig::new(9, Durability::Immediate);
    rig.notes().ensure_index(index("/n")).unwrap();
    for n in 0..5 {
        rig.notes().create(format!("{n}"), &json!({ "n": n })).unwrap();
    }
    rig.store.take().unwrap().close().unwrap();
    rig.store = Some(rig.sim.open(&rig.options).unwrap());
    rig.sim.fail_index_after(0);
    let engine = rig.store().engine().unwrap();
    let index = engine.secondaries.named("notes", "/n").unwrap();
    let view = engine.begin_snapshot().unwrap();
    assert!(index.is_usable(&view));
    let all = (Bound::Unbounded, Bound::Unbounded);
    let read = engine.scan_secondary(&view, &index, all, false, 10, &mut Vec::new());
    assert!(matches!(read, Err(crate::Error::IndexUnavailable(_))), "{read:?}");
    assert!(!index.is_usable(&view));
    rig.notes().ensure_index("/n".parse().unwrap()).unwrap();
    assert_eq!(rig.notes().indexes().unwrap()[0].entries, 5);
    drop(engine);
    rig.check();
}

#[test]
fn a_clear_empties_indexes_for_later_views_and_a_drop_takes_them_along() {
    for dropped in [false, true] {
        let mut rig = with_five_rows(10);
        let engine = rig.store().engine().unwrap();
        let before = engine.secondaries.named("notes", "/n").unwrap();
        let view = engine.begin_snapshot().unwrap();
        let rows = found(&engine, &view, &before, false, 10);
        if dropped {
            assert!(rig.store().drop_collection("notes").unwrap());
            assert_eq!(rig.notes().indexes().unwrap(), []);
        } else {
            rig.notes().clear().unwrap();
            assert_eq!(rig.notes().indexes().unwrap()[0].entries, 0);
            assert!(!engine.secondaries.named("notes", "/n").unwrap().is_usable(&view));
        }
        rig.notes().create("1", &json!({"n": 1})).unwrap();
        assert_eq!(found(&engine, &view, &before, false, 10), rows);
        drop((engine, view));
        rig.check();
        rig.kill();
        assert_eq!(rig.notes().indexes().unwrap().len(), usize::from(!dropped));
        rig.check();
    }
}

/// An item that is found again and again is read from a copy, as by gets.
#[test]
fn what_is_found_often_is_copied() {
    let store = Store::in_memory();
    let notes = store.collection::<u64>("notes").unwrap();
    notes.ensure_index(Index::on("")).unwrap();
    notes.create("a", &1).unwrap();
    let looks = || {
        assert_eq!(notes.find(Filter::eq("", 1)).count().unwrap(), 1);
        let looks = store.engine().unwrap().counters.looks();
        (looks.in_copies, looks.in_leaves)
    };
    assert_eq!([(); 4].map(|()| looks()), [(0, 1), (0, 2), (1, 2), (2, 2)]);
    notes.upsert("a", &1, Precondition::Always).unwrap();
    assert_eq!([(); 3].map(|()| looks()), [(2, 3), (2, 4), (3, 4)]);
}
