//! What a find gives, as it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use ifmatch::{Cursor, Error, Filter, FoundKind, Options, Precondition, Store, WatchFound};

fn store() -> (Store, ifmatch::Collection<u64>) {
    let store = Store::in_memory();
    let numbers = store.collection("numbers").unwrap();
    (store, numbers)
}

fn large() -> Filter {
    Filter::ge("", 10)
}

fn all(watch: &mut WatchFound<u64>) -> Vec<(String, FoundKind)> {
    let mut told = Vec::new();
    while let Some(found) = watch.try_recv().unwrap() {
        told.push((found.change().key_str().unwrap().to_owned(), found.kind()));
    }
    told
}

fn told(expected: &[(&str, FoundKind)]) -> Vec<(String, FoundKind)> {
    expected.iter().map(|(key, kind)| ((*key).to_owned(), *kind)).collect()
}

#[test]
fn a_change_is_told_as_what_it_does_to_the_list() {
    let (store, numbers) = store();
    numbers.create("in", &10).unwrap();
    numbers.create("out", &1).unwrap();
    let mut watch = numbers.watch_find(large(), store.cursor().unwrap()).unwrap();
    let write = |key: &str, n: u64| {
        numbers.upsert(key, &n, Precondition::Always).unwrap();
    };
    write("in", 11);
    write("out", 2);
    write("out", 12);
    write("in", 3);
    write("in", 4);
    write("new", 13);
    write("small", 1);
    numbers.delete("new", Precondition::Always).unwrap();
    numbers.delete("small", Precondition::Always).unwrap();
    store.raw("others").unwrap().create("in", &vec![1].into()).unwrap();
    use FoundKind::{Changed, Entered, Left};
    let expected =
        told(&[("in", Changed), ("out", Entered), ("in", Left), ("new", Entered), ("new", Left)]);
    assert_eq!(all(&mut watch), expected);
    assert!(watch.recv_timeout(Duration::from_millis(1)).unwrap().is_none());
    assert_eq!(watch.cursor(), store.cursor().unwrap());
    store.close().unwrap();
    assert!(matches!(watch.recv(), Err(Error::Closed)));
}

#[test]
fn what_changed_before_the_watch_was_opened_is_told_so_that_a_list_by_key_is_right() {
    let (store, numbers) = store();
    for (key, n) in [("stays", 10), ("leaves", 10), ("enters", 1), ("small", 1), ("goes", 10)] {
        numbers.create(key, &n).unwrap();
    }
    let cursor = store.cursor().unwrap();
    let write = |key: &str, n: u64| {
        numbers.upsert(key, &n, Precondition::Always).unwrap();
    };
    write("leaves", 2);
    write("enters", 12);
    write("small", 2);
    numbers.delete("goes", Precondition::Always).unwrap();
    write("new", 3);
    let mut watch = numbers.watch_find(large(), cursor).unwrap();
    write("leaves", 3);
    write("enters", 13);
    write("stays", 14);
    write("stays", 1);
    use FoundKind::{Changed, Entered, Left};
    let expected = told(&[
        ("leaves", Left),
        ("enters", Entered),
        ("small", Left),
        ("goes", Left),
        ("enters", Changed),
        ("stays", Changed),
        ("stays", Left),
    ]);
    assert_eq!(all(&mut watch), expected);
}

#[test]
fn a_collection_that_is_cleared_empties_the_list_at_once() {
    let (store, numbers) = store();
    numbers.create("a", &10).unwrap();
    numbers.create("b", &10).unwrap();
    let before = store.cursor().unwrap();
    let mut watch = numbers.watch_find(large(), before).unwrap();
    numbers.clear().unwrap();
    numbers.create("b", &1).unwrap();
    numbers.create("a", &11).unwrap();
    use FoundKind::{Cleared, Entered, Left};
    assert_eq!(all(&mut watch), told(&[("", Cleared), ("a", Entered)]));
    // Also for one that was opened after the clear.
    let mut watch = numbers.watch_find(large(), before).unwrap();
    numbers.delete("a", Precondition::Always).unwrap();
    assert_eq!(all(&mut watch), told(&[("", Cleared), ("a", Entered), ("a", Left)]));
    // The first clear after the opening is shown to a watch that began before it, and no other.
    for expected in [told(&[("", Cleared)]), Vec::new()] {
        numbers.clear().unwrap();
        assert_eq!(all(&mut watch), expected);
        numbers.create("small", &1).unwrap();
    }
}

/// A regression: the clear had superseded what was written between the cursor and the opening, so the
/// watch knew of no item that met the filter, and passed over the clear.
#[test]
fn a_clear_is_told_to_a_watch_whose_cursor_is_behind_its_list() {
    let (store, numbers) = store();
    let cursor = store.cursor().unwrap();
    numbers.create("a", &10).unwrap();
    let mut watch = numbers.watch_find(large(), cursor).unwrap();
    numbers.clear().unwrap();
    assert_eq!(all(&mut watch), told(&[("", FoundKind::Cleared)]));
}

/// Regression guard: an item of the batch in which the cursor lies was no member, so that its
/// leaving was passed over.
#[test]
fn a_watch_that_begins_inside_a_batch_misses_no_leaving() {
    let (store, numbers) = store();
    store.batch().create(&numbers, "a", &10).create(&numbers, "b", &10).commit().unwrap();
    let first = numbers.changes(Cursor::START).unwrap().next().unwrap().unwrap();
    let mut watch = numbers.watch_find(large(), first.cursor()).unwrap();
    numbers.replace("a", &1, Precondition::Always).unwrap();
    use FoundKind::{Entered, Left};
    assert_eq!(all(&mut watch), told(&[("b", Entered), ("a", Left)]));
}

#[test]
fn a_list_that_follows_a_watch_is_what_a_find_gives() {
    let (store, numbers) = store();
    let mut rng = fastrand::Rng::with_seed(7);
    let change = |rng: &mut fastrand::Rng| {
        let key = rng.u8(b'a'..b'h').to_string();
        if rng.u8(0..4) == 0 {
            drop(numbers.delete(&key, Precondition::Always));
        } else {
            numbers.upsert(&key, &rng.u64(0..20), Precondition::Always).unwrap();
        }
    };
    for _ in 0..20 {
        (0..10).for_each(|_| change(&mut rng));
        let snapshot = store.snapshot();
        let listed = snapshot.collection(&numbers).find(large()).iter().unwrap();
        let mut list: BTreeMap<Vec<u8>, u64> =
            listed.map(Result::unwrap).map(|item| (item.key().to_vec(), item.value)).collect();
        (0..rng.usize(0..10)).for_each(|_| change(&mut rng));
        let mut watch = numbers.watch_find(large(), snapshot.cursor().unwrap()).unwrap();
        (0..rng.usize(0..20)).for_each(|_| change(&mut rng));
        while let Some(found) = watch.try_recv().unwrap() {
            let (kind, change) = (found.kind(), found.into_change());
            let (key, value) = (change.key().to_vec(), change.into_value());
            match kind {
                FoundKind::Cleared => list.clear(),
                FoundKind::Left => drop(list.remove(&key)),
                _ => drop(list.insert(key, value.unwrap())),
            }
        }
        let now = numbers.find(large()).iter().unwrap();
        let now: BTreeMap<Vec<u8>, u64> =
            now.map(Result::unwrap).map(|item| (item.key().to_vec(), item.value)).collect();
        assert_eq!(list, now);
    }
}

#[test]
fn what_is_wrong_is_told_when_the_watch_is_opened() {
    let (store, numbers) = store();
    numbers.create("a", &1).unwrap();
    let refused = numbers.watch_find(Filter::exists("x"), Cursor::START);
    assert!(matches!(refused, Err(Error::Filter(_))));
    let other = Store::in_memory();
    other.raw("x").unwrap().create("a", &vec![1].into()).unwrap();
    let refused = numbers.watch_find(large(), other.cursor().unwrap());
    assert!(matches!(refused, Err(Error::Diverged)));
    drop(store);
    let small = Options::new().max_scanned_items(1).in_memory();
    let numbers = small.collection::<u64>("numbers").unwrap();
    (0..2_u8).for_each(|n| {
        numbers.create([n], &1).unwrap();
    });
    let refused = numbers.watch_find(large(), Cursor::START);
    assert!(matches!(refused, Err(Error::ScanTooLong { .. })));
}
