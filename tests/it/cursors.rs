//! Cursors that a store cannot go on from.

use std::time::Duration;

use ifmatch::simulation::Simulation;
use ifmatch::{Cursor, Error, HistoryPolicy, OnDamage, Options, Precondition, Store};

use crate::feed::{all, assert_resumes_everywhere, bytes};

#[test]
fn a_cursor_ahead_of_the_store_is_diverged() {
    let sim = Simulation::new(3);
    let store = sim.open(&Options::new()).unwrap();
    let notes = store.raw("notes").unwrap();
    notes.create("a", &bytes("1")).unwrap();
    let shared = store.cursor().unwrap();
    let older = sim.kill(&mut fastrand::Rng::with_seed(3));
    notes.create("b", &bytes("2")).unwrap();
    let ahead = store.cursor().unwrap();
    let older = older.open(&Options::new()).unwrap();
    assert!(matches!(older.changes(ahead), Err(Error::Diverged)));
    assert!(matches!(older.watch(ahead), Err(Error::Diverged)));
    let typed = older.raw("notes").unwrap();
    assert!(matches!(typed.changes(ahead), Err(Error::Diverged)));
    assert_eq!(all(&older, shared), []);
    assert_eq!(all(&older, Cursor::START).len(), 1);
}

#[test]
fn a_cursor_of_another_store_is_diverged() {
    let [one, two] = [Store::in_memory(), Store::in_memory()];
    for store in [&one, &two] {
        store.raw("notes").unwrap().create("a", &bytes("1")).unwrap();
    }
    assert!(matches!(two.changes(one.cursor().unwrap()), Err(Error::Diverged)));
    let empty = Store::in_memory();
    assert!(matches!(two.changes(empty.cursor().unwrap()), Err(Error::Diverged)));
    assert_eq!(Error::Diverged.http_status(), 409);
}

#[test]
fn after_damage_was_cut_off_old_cursors_are_diverged_and_the_start_gives_what_is_left() {
    let sim = Simulation::new(4);
    let store = sim.open(&Options::new()).unwrap();
    let notes = store.raw("notes").unwrap();
    let mut cursors = Vec::new();
    for n in 0..20 {
        notes.create(n.to_string(), &bytes("value")).unwrap();
        cursors.push(store.cursor().unwrap());
    }
    let before = all(&store, Cursor::START);
    store.close().unwrap();
    // A copy draws other random numbers than the disk that it is of.
    let sim = sim.kill(&mut fastrand::Rng::with_seed(4));
    let path = "store/journal/0000000001.seg";
    let mut segment = sim.disk().read_file(path).unwrap();
    let at = segment.windows(5).rposition(|window| window == b"value").unwrap() - 400;
    segment[at] ^= 1;
    sim.disk().write_file(path, &segment).unwrap();

    let store = sim.open(&Options::new().on_damage(OnDamage::KeepPrefix)).unwrap();
    assert!(store.damage().is_some());
    for cursor in cursors {
        let gone = store.changes(cursor).map(|_| ());
        assert!(
            matches!(gone, Err(Error::Diverged)),
            "{cursor} in {}: {gone:?}",
            store.cursor().unwrap()
        );
    }
    let left = all(&store, Cursor::START);
    assert!(!left.is_empty() && left.len() < before.len());
    for (left, before) in left.iter().zip(&before) {
        assert_eq!((left.meta(), left.value()), (before.meta(), before.value()));
    }
    store.raw("notes").unwrap().create("new", &bytes("new")).unwrap();
    assert_resumes_everywhere(&store, Cursor::START);
}

/// A finding: the error held a snapshot, so a store stayed locked for as long as it was kept.
#[test]
fn d3_an_error_that_is_kept_holds_no_store() {
    let sim = Simulation::new(5);
    let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
    let store = sim.open(&options).unwrap();
    let notes = store.raw("notes").unwrap();
    notes.create("a", &bytes("1")).unwrap();
    let before = store.cursor().unwrap();
    notes.delete("a", Precondition::Always).unwrap();
    sim.set_now_ms(1_800_000_000_000);
    assert_eq!(store.compact().unwrap().purged_tombstones, 1);
    let kept = store.changes(before).map(drop).unwrap_err();
    assert!(matches!(kept, Error::Compacted));
    drop((notes, store));
    sim.open(&options).unwrap().close().unwrap();
    drop(kept);
}

#[test]
fn d4_a_closed_store_has_no_feed() {
    let store = Store::in_memory();
    let notes = store.raw("notes").unwrap();
    let mut begun = store.changes(Cursor::START).unwrap();
    notes.create("a", &bytes("1")).unwrap();
    notes.create("b", &bytes("2")).unwrap();
    assert!(begun.next().unwrap().is_ok());
    let place = store.cursor().unwrap();
    store.clone().close().unwrap();
    assert!(matches!(store.changes(place), Err(Error::Closed)));
    assert!(matches!(store.watch(Cursor::START), Err(Error::Closed)));
    assert!(matches!(notes.changes(place), Err(Error::Closed)));
    assert!(matches!(notes.watch(place), Err(Error::Closed)));
    assert!(matches!(store.cursor(), Err(Error::Closed)), "saved, it would replay everything");
    // What was read already is given.
    assert_eq!(begun.next().unwrap().unwrap().cursor(), place);
    assert!(matches!(begun.next(), Some(Err(Error::Closed))));
    assert!(begun.next().is_none());
}
