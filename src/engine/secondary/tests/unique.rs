//! Unique indexes: their making, and what becomes of them where rows are lost.

use super::*;

fn email(text: &str) -> Value {
    json!({ "email": text })
}

fn unique_mail() -> Index {
    Index::on("/email").unique()
}

/// What `begin_build` and the steps do, up to where writers hold to the index.
fn built_but_unchecked(rig: &Rig) -> crate::engine::secondary::rivals::Rivals {
    let engine = rig.store().engine().unwrap();
    engine.declare_index("notes", &unique_mail()).unwrap();
    let mut build = engine.begin_build("notes", "/email").unwrap();
    while engine.build_step(&mut build).unwrap() {}
    engine.begin_check("notes", "/email").unwrap().unwrap()
}

#[test]
fn a_unique_index_binds_writers_once_it_is_built_and_the_check_goes_on_beside_them() {
    let mut rig = Rig::new(11, Durability::Immediate);
    for n in 0..3_000 {
        rig.notes().create(format!("{n:04}"), &email(&format!("{n}"))).unwrap();
    }
    let engine = rig.store().engine().unwrap();
    engine.declare_index("notes", &unique_mail()).unwrap();
    let mut build = engine.begin_build("notes", "/email").unwrap();
    assert!(engine.build_step(&mut build).unwrap());
    // Nobody holds to it yet; a writer may make and mend what would break it.
    rig.notes().create("early", &email("7")).unwrap();
    rig.notes().delete("early", Precondition::Always).unwrap();
    while engine.build_step(&mut build).unwrap() {}
    rig.notes().create("late", &email("8")).unwrap();
    let mut rivals = engine.begin_check("notes", "/email").unwrap().unwrap();
    let refused = rig.notes().create("later", &email("9"));
    assert!(matches!(refused, Err(crate::Error::NotUnique { .. })), "{refused:?}");
    rig.notes().replace("late", &email("free"), Precondition::Always).unwrap();
    while engine.check_step(&mut rivals).unwrap() {}
    assert!(engine.begin_check("notes", "/email").unwrap().is_none(), "it binds");
    drop(engine);
    rig.kill();
    let index = rig.store().engine().unwrap().secondaries.named("notes", "/email").unwrap();
    assert!(index.is_bound());
    rig.check();
}

#[test]
fn a_check_that_is_cut_short_is_begun_again_by_the_next_open_and_may_refuse() {
    for (seed, breaks) in (0..6).flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut rig = Rig::new(20 + seed, Durability::Immediate);
        for n in 0..20 {
            rig.notes().create(format!("{n}"), &email(&format!("{n}"))).unwrap();
        }
        if breaks {
            rig.notes().create("twin", &email("7")).unwrap();
        }
        let rivals = built_but_unchecked(&rig);
        if seed % 2 == 0 {
            rig.store().engine().unwrap().checkpoint().unwrap();
        }
        drop(rivals);
        rig.kill();
        let made: Vec<Index> =
            rig.notes().indexes().unwrap().into_iter().map(|status| status.index).collect();
        assert_eq!(made, if breaks { Vec::new() } else { vec![unique_mail()] });
        let written = rig.notes().create("new", &email("3"));
        assert_eq!(written.is_ok(), breaks);
        rig.check();
    }
}

#[test]
fn a_clear_or_a_drop_beside_a_check_ends_it_well() {
    for dropped in [false, true] {
        let mut rig = Rig::new(31, Durability::Immediate);
        rig.notes().create("a", &email("x")).unwrap();
        rig.notes().create("b", &email("x")).unwrap();
        let mut rivals = built_but_unchecked(&rig);
        if dropped {
            rig.notes().drop_index("/email").unwrap();
        } else {
            rig.notes().clear().unwrap();
        }
        let engine = rig.store().engine().unwrap();
        loop {
            match engine.check_step(&mut rivals) {
                Ok(true) => {}
                Ok(false) => break,
                // Its rows are the old ones.
                Err(crate::Error::IndexUnavailable(_)) => panic!("they are not lost"),
                Err(crate::Error::NotUnique { .. }) => {
                    assert!(dropped, "the items are gone");
                    break;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        drop(engine);
        assert_eq!(rig.notes().indexes().unwrap().len(), usize::from(!dropped));
        if !dropped {
            rig.notes().create("a", &email("x")).unwrap();
            assert!(rig.notes().create("b", &email("x")).is_err());
        }
        rig.kill();
        rig.check();
    }
}

/// The rows of a unique index are lost in an open store: the next writer builds it, and is held to it.
#[test]
fn a_writer_builds_a_unique_index_that_was_lost() {
    let mut rig = Rig::new(12, Durability::Immediate);
    rig.notes().ensure_index(unique_mail()).unwrap();
    for n in 0..5 {
        rig.notes().create(format!("{n}"), &email(&format!("{n}"))).unwrap();
    }
    rig.store.take().unwrap().close().unwrap();
    rig.store = Some(rig.sim.open(&rig.options).unwrap());
    rig.sim.fail_index_after(0);
    let refused = rig.notes().create("new", &email("3"));
    assert!(matches!(refused, Err(crate::Error::NotUnique { .. })), "{refused:?}");
    assert!(rig.notes().indexes().unwrap()[0].built);
    rig.notes().create("new", &email("5")).unwrap();
    rig.check();
}

/// A version that cannot be read costs the index, not the write; the next writer builds it.
#[test]
fn damage_does_not_let_a_second_value_in() {
    let mut rig = Rig::new(13, Durability::Immediate);
    rig.notes().ensure_index(unique_mail()).unwrap();
    for n in 0..5 {
        rig.notes().create(format!("{n}"), &email(&format!("{n}"))).unwrap();
    }
    {
        let engine = rig.store().engine().unwrap();
        engine.index.drop_values();
        let key = ItemKey::new("notes", b"3").unwrap();
        let pin = engine.pin(std::iter::once(&key)).unwrap();
        let damage = |head: &crate::values::head::Head| crate::values::head::Head {
            checksum: !head.checksum,
            ..*head
        };
        engine.index.change_head(&key, &pin, &|head| Some(damage(head)));
    }
    rig.notes().delete("3", Precondition::Always).unwrap();
    assert!(!rig.notes().indexes().unwrap()[0].built);
    let refused = rig.notes().create("new", &email("4"));
    assert!(matches!(refused, Err(crate::Error::NotUnique { .. })), "{refused:?}");
    rig.notes().create("new", &email("3")).unwrap();
    rig.check();
}
