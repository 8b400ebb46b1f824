//! What every table promises, run on each of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;

use super::*;

macro_rules! claims {
    ($($claim:ident),+ $(,)?) => {
        mod memory {
            $(#[test]
            fn $claim() {
                super::$claim(&super::MemoryTables::new());
            })+
        }
        mod simulated {
            $(#[test]
            fn $claim() {
                super::$claim(&super::MemoryTables::simulated());
            })+
        }
        mod sled {
            $(#[test]
            fn $claim() {
                let dir = tempfile::tempdir().unwrap();
                super::$claim(&super::SledTables::new(dir.path().to_owned(), 1 << 20));
            })+
        }
    };
}

claims!(
    an_insert_is_read_back_and_overwritten,
    a_removed_key_is_absent_and_removing_it_again_is_fine,
    bounds_are_honoured_in_both_directions,
    impossible_bounds_give_no_rows,
    a_limit_cuts_after_the_first_rows_and_keeps_those_before,
    keys_of_one_nul_and_of_640_bytes_are_kept,
    runs_of_ff_are_scanned_backwards,
    two_threads_insert_and_scan_at_once,
    generations_are_apart_and_the_others_are_removed,
    any_history_reads_like_a_map,
);

fn scan(
    table: &dyn Table,
    lower: Bound<&[u8]>,
    upper: Bound<&[u8]>,
    reverse: bool,
    limit: usize,
) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    table.scan(lower, upper, reverse, limit, &mut |key, _| keys.push(key.to_vec())).unwrap();
    keys
}

fn keys(table: &dyn Table, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> String {
    let keys = scan(table, lower, upper, false, usize::MAX);
    let mut reversed = scan(table, lower, upper, true, usize::MAX);
    reversed.reverse();
    assert_eq!(keys, reversed);
    String::from_utf8(keys.concat()).unwrap()
}

fn letters(tables: &dyn Tables) -> Arc<dyn Table> {
    let table = tables.open(1).unwrap();
    for letter in "dbaec".bytes() {
        table.insert(&[letter], &[letter, b'!']).unwrap();
    }
    table
}

fn an_insert_is_read_back_and_overwritten(tables: &dyn Tables) {
    let table = tables.open(1).unwrap();
    assert_eq!(table.get(b"k").unwrap(), None);
    table.insert(b"k", b"one").unwrap();
    assert_eq!(table.get(b"k").unwrap().as_deref(), Some(&b"one"[..]));
    table.insert(b"k", b"").unwrap();
    assert_eq!(table.get(b"k").unwrap().as_deref(), Some(&b""[..]));
    table.flush().unwrap();
    table.size_on_disk_bytes().unwrap();
}

fn a_removed_key_is_absent_and_removing_it_again_is_fine(tables: &dyn Tables) {
    let table = letters(tables);
    table.remove(b"b").unwrap();
    table.remove(b"b").unwrap();
    table.remove(b"x").unwrap();
    assert_eq!(table.get(b"b").unwrap(), None);
    assert_eq!(keys(&*table, Unbounded, Unbounded), "acde");
}

fn bounds_are_honoured_in_both_directions(tables: &dyn Tables) {
    let table = letters(tables);
    let t = &*table;
    assert_eq!(keys(t, Unbounded, Unbounded), "abcde");
    assert_eq!(keys(t, Included(b"b"), Unbounded), "bcde");
    assert_eq!(keys(t, Excluded(b"b"), Unbounded), "cde");
    assert_eq!(keys(t, Unbounded, Included(b"d")), "abcd");
    assert_eq!(keys(t, Unbounded, Excluded(b"d")), "abc");
    assert_eq!(keys(t, Included(b"b"), Included(b"d")), "bcd");
    assert_eq!(keys(t, Included(b"b"), Excluded(b"d")), "bc");
    assert_eq!(keys(t, Excluded(b"b"), Included(b"d")), "cd");
    assert_eq!(keys(t, Excluded(b"b"), Excluded(b"d")), "c");
    assert_eq!(keys(t, Included(b"c"), Included(b"c")), "c");
    assert_eq!(keys(t, Included(b"bb"), Excluded(b"dd")), "cd");
    assert_eq!(keys(t, Included(b""), Excluded(b"z")), "abcde");
}

fn impossible_bounds_give_no_rows(tables: &dyn Tables) {
    let table = letters(tables);
    let t = &*table;
    for (lower, upper) in [
        (Included(&b"d"[..]), Included(&b"b"[..])),
        (Excluded(b"d"), Excluded(b"b")),
        (Included(b"d"), Excluded(b"b")),
        (Excluded(b"d"), Included(b"b")),
        (Excluded(b"c"), Excluded(b"c")),
        (Included(b"c"), Excluded(b"c")),
        (Excluded(b"c"), Included(b"c")),
        (Unbounded, Excluded(b"")),
        (Unbounded, Excluded(b"a")),
        (Excluded(b"e"), Unbounded),
        (Included(b"bb"), Excluded(b"c")),
    ] {
        assert_eq!(keys(t, lower, upper), "", "{lower:?} {upper:?}");
    }
}

fn a_limit_cuts_after_the_first_rows_and_keeps_those_before(tables: &dyn Tables) {
    let table = letters(tables);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut visit = |key: &[u8], value: &[u8]| {
        keys.push(key[0]);
        values.push(value.to_vec());
    };
    table.scan(Unbounded, Unbounded, false, 2, &mut visit).unwrap();
    table.scan(Unbounded, Excluded(b"e"), true, 2, &mut visit).unwrap();
    table.scan(Unbounded, Unbounded, true, 0, &mut visit).unwrap();
    assert_eq!(keys, b"abdc");
    assert_eq!(values[0], b"a!");
}

fn keys_of_one_nul_and_of_640_bytes_are_kept(tables: &dyn Tables) {
    let table = tables.open(1).unwrap();
    // They share more than the 255 bytes of prefix that sled compresses.
    let long = |tail: u16| [&[b'x'; 638][..], &tail.to_be_bytes()].concat();
    table.insert(b"\0", b"nul").unwrap();
    for tail in 0..200 {
        table.insert(&long(tail), &tail.to_be_bytes()).unwrap();
    }
    for tail in 0..200 {
        assert_eq!(table.get(&long(tail)).unwrap().as_deref(), Some(&tail.to_be_bytes()[..]));
    }
    let mut expected: Vec<_> = (0..200).map(long).collect();
    expected.insert(0, vec![0]);
    assert_eq!(scan(&*table, Unbounded, Unbounded, false, 1_000), expected);
    expected.reverse();
    assert_eq!(scan(&*table, Unbounded, Unbounded, true, 1_000), expected);
}

/// sled 0.34.7 alone panics here; see `escape`.
fn runs_of_ff_are_scanned_backwards(tables: &dyn Tables) {
    let below = |last: u8| [&b"c\0\x04"[..], &[0xff; 6], &[last * 6]].concat();
    let above = |last: u8| [&b"c\0\x05"[..], &[last]].concat();
    let only_ff = |last: u8| vec![0xff; usize::from(last) + 1];
    let around: &dyn Fn(u8) -> Vec<Vec<u8>> = &|last| vec![below(last), above(last)];
    let nested: &dyn Fn(u8) -> Vec<Vec<u8>> = &|last| vec![only_ff(last), above(last)];
    for (generation, keys_of) in [(1, around), (2, nested)] {
        let table = tables.open(generation).unwrap();
        let mut expected: Vec<_> = (0..40).flat_map(keys_of).collect();
        for key in &expected {
            table.insert(key, b"value").unwrap();
        }
        expected.sort();
        assert_eq!(scan(&*table, Unbounded, Unbounded, false, 1_000), expected);
        expected.reverse();
        assert_eq!(scan(&*table, Unbounded, Unbounded, true, 1_000), expected);
        expected.retain(|key| **key < [0xff; 5][..]);
        assert_eq!(scan(&*table, Unbounded, Excluded(&[0xff; 5]), true, 1_000), expected);
    }
}

fn two_threads_insert_and_scan_at_once(tables: &dyn Tables) {
    const EACH: u32 = 1_000;
    let table = tables.open(1).unwrap();
    thread::scope(|scope| {
        for parity in 0..2 {
            let table = &table;
            scope.spawn(move || {
                for step in 0..EACH {
                    let key = (step * 2 + parity).to_be_bytes();
                    table.insert(&key, &key).unwrap();
                    if step % 3 == 0 {
                        table.remove(&key).unwrap();
                        table.insert(&key, &key).unwrap();
                    }
                    if step % 50 == 0 {
                        let keys = scan(&**table, Unbounded, Unbounded, step % 100 == 0, 100);
                        let rising = keys.is_sorted_by(|a, b| a < b);
                        assert!(rising || keys.is_sorted_by(|a, b| a > b));
                    }
                }
            });
        }
    });
    let expected: Vec<_> = (0..2 * EACH).map(|key| key.to_be_bytes().to_vec()).collect();
    assert_eq!(scan(&*table, Unbounded, Unbounded, false, usize::MAX), expected);
}

fn generations_are_apart_and_the_others_are_removed(tables: &dyn Tables) {
    for generation in [1, 2, 10] {
        let table = tables.open(generation).unwrap();
        assert_eq!(table.get(b"k").unwrap(), None);
        table.insert(b"k", &generation.to_be_bytes()).unwrap();
        table.flush().unwrap();
    }
    tables.remove_all_but(2).unwrap();
    tables.remove_all_but(2).unwrap();
    let value = tables.open(2).unwrap().get(b"k").unwrap();
    assert_eq!(value.as_deref(), Some(&2_u64.to_be_bytes()[..]));
    assert_eq!(tables.open(1).unwrap().get(b"k").unwrap(), None);
    assert_eq!(tables.open(10).unwrap().get(b"k").unwrap(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<u8>, u8),
    Remove(Vec<u8>),
    Get(Vec<u8>),
    Scan(Bound<Vec<u8>>, Bound<Vec<u8>>, bool, usize),
}

/// Short keys over few bytes, so that they collide, nest and hold runs of `ff`.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(0xff), 1 => Just(0xfe), 1 => Just(0), 1 => 1..4_u8];
    prop::collection::vec(byte, 1..10)
}

fn any_step() -> impl Strategy<Value = Step> {
    let bound = || {
        prop_oneof![
            any_key().prop_map(Included),
            any_key().prop_map(Excluded),
            Just(Unbounded::<Vec<u8>>)
        ]
    };
    prop_oneof![
        8 => (any_key(), any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
        3 => any_key().prop_map(Step::Remove),
        1 => any_key().prop_map(Step::Get),
        2 => (bound(), bound(), any::<bool>(), 0..200_usize)
            .prop_map(|(lower, upper, reverse, limit)| Step::Scan(lower, upper, reverse, limit)),
    ]
}

fn any_history_reads_like_a_map(tables: &dyn Tables) {
    let generation = std::cell::Cell::new(0);
    let histories = prop::collection::vec(any_step(), 1..400);
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() };
    proptest!(config, |(history in histories)| {
        generation.set(generation.get() + 1);
        let table = tables.open(generation.get()).unwrap();
        let mut map = BTreeMap::new();
        for step in history {
            apply(&*table, &mut map, step);
        }
        for reverse in [false, true] {
            apply(&*table, &mut map, Step::Scan(Unbounded, Unbounded, reverse, usize::MAX));
        }
    });
}

fn apply(table: &dyn Table, map: &mut BTreeMap<Vec<u8>, u8>, step: Step) {
    match step {
        Step::Insert(key, value) => {
            table.insert(&key, &[value]).unwrap();
            map.insert(key, value);
        }
        Step::Remove(key) => {
            table.remove(&key).unwrap();
            map.remove(&key);
        }
        Step::Get(key) => {
            let stored = table.get(&key).unwrap().map(|value| value[0]);
            assert_eq!(stored, map.get(&key).copied());
        }
        Step::Scan(lower, upper, reverse, limit) => {
            let within = (as_slice(&lower), as_slice(&upper));
            let mut expected: Vec<_> =
                map.keys().filter(|key| contains(within, key)).cloned().collect();
            if reverse {
                expected.reverse();
            }
            expected.truncate(limit);
            assert_eq!(scan(table, within.0, within.1, reverse, limit), expected);
        }
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn contains(within: (Bound<&[u8]>, Bound<&[u8]>), key: &[u8]) -> bool {
    std::ops::RangeBounds::<[u8]>::contains(&within, key)
}
