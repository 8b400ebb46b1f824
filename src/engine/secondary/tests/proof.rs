//! Which indexes an open believes, and what `verify` finds.

use super::*;

#[test]
fn a_clean_open_believes_an_index_and_an_unclean_one_proves_it_without_building() {
    let mut rig = Rig::new(1, Durability::Immediate);
    rig.ensure_second();
    let built = |rig: &Rig| {
        let engine = rig.store().engine().unwrap();
        let index = engine.secondaries.named("notes", "/n").unwrap();
        assert_eq!(index.state(), State::Built);
        index.rows
    };
    let rows = built(&rig);
    for n in 0..200 {
        rig.notes().create(format!("{n:03}"), &json!({"n": n % 7})).unwrap();
    }
    rig.store.take().unwrap().close().unwrap();
    rig.store = Some(rig.sim.open(&rig.options).unwrap());
    assert_eq!(built(&rig), rows, "it was built again after an orderly close");
    for n in 0..100 {
        rig.notes().upsert(format!("{n:03}"), &json!({"n": 9}), Precondition::Always).unwrap();
        rig.notes().delete(format!("{:03}", n + 100), Precondition::Always).unwrap();
    }
    rig.kill();
    assert_eq!(built(&rig), rows, "it was built again though it could be proven");
    rig.check();
}

/// Leaves out a row, or adds one that no item has; the number of the rows' directory.
fn falsify(store: &Store, lacking: bool) -> u64 {
    let engine = store.engine().unwrap();
    let index = engine.secondaries.named("notes", "/n").unwrap();
    let codes = entries(&index.definition, &json!({"n": 3})).unwrap();
    let row = index.row_key(codes.first().unwrap(), if lacking { b"3" } else { b"4" });
    let pin = engine.pin(std::iter::once(&row)).unwrap();
    if lacking {
        engine.index.remove_if(&row, &pin, &|_| true);
    } else {
        engine.index.put(&row, &Head::bare(1), None, &pin);
    }
    drop(pin);
    engine.checkpoint().unwrap();
    index.rows
}

#[test]
fn an_index_that_lacks_a_row_or_has_one_too_many_is_built_anew_by_an_unclean_open() {
    for (seed, lacking) in (0..8).flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut rig = with_five_rows(seed);
        let rows = falsify(rig.store(), lacking);
        rig.notes().create("last", &json!({"n": 1})).unwrap();
        rig.kill();
        let engine = rig.store().engine().unwrap();
        assert_ne!(engine.secondaries.named("notes", "/n").unwrap().rows, rows);
        drop(engine);
        rig.check();
    }
}

#[test]
fn verify_finds_an_index_that_lacks_a_row_or_has_one_too_many() {
    for lacking in [true, false] {
        let mut rig = with_five_rows(2);
        assert_eq!(rig.store().verify().unwrap().index_entries, 5);
        falsify(rig.store(), lacking);
        assert!(matches!(rig.store().verify(), Err(crate::Error::IndexUnavailable(_))));
        rig.store.take().unwrap().close().unwrap();
        rig.store = Some(rig.sim.open(&rig.options).unwrap());
        rig.check();
    }
}

/// A writer that kept the sum with a row of its own making would go unseen otherwise.
#[test]
fn verify_compares_rows_with_items_also_where_the_sum_agrees_with_the_rows() {
    for lacking in [true, false] {
        let rig = with_five_rows(14);
        falsify(rig.store(), lacking);
        {
            let engine = rig.store().engine().unwrap();
            let index = engine.secondaries.named("notes", "/n").unwrap();
            let (mut content, mut after) = (ContentSum::default(), None);
            loop {
                after = engine.sum_built(after, &mut content).unwrap();
                if after.is_none() {
                    break;
                }
            }
            let sum = IndexSum { rows: index.rows, content, built: true };
            engine.journal.set_index_sum(index.declared, sum);
        }
        assert!(matches!(rig.store().verify(), Err(crate::Error::IndexUnavailable(_))));
    }
}

#[test]
fn a_build_that_is_cut_short_is_begun_again_by_the_next_open() {
    let mut rig = Rig::new(3, Durability::Immediate);
    for n in 0..1_000 {
        rig.notes().create(format!("{n:04}"), &json!({"n": n % 7})).unwrap();
    }
    {
        let engine = rig.store().engine().unwrap();
        engine.declare_index("notes", &index("/n")).unwrap();
        let mut build = engine.begin_build("notes", "/n").unwrap();
        assert!(engine.build_step(&mut build).unwrap());
        engine.checkpoint().unwrap();
        let view = engine.begin_snapshot().unwrap();
        let index = engine.secondaries.named("notes", "/n").unwrap();
        assert!(!index.is_usable(&view), "half an index was shown");
    }
    rig.kill();
    assert_eq!(rig.notes().indexes().unwrap()[0].entries, 1_000);
    rig.check();
}
