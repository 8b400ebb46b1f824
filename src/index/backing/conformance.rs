//! What every backing store promises, run on each of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::seams::thinned;

macro_rules! claims {
    ($($claim:ident),+ $(,)?) => {
        mod memory {
            $(#[test]
            fn $claim() {
                super::$claim(&super::MemoryBackings::new());
            })+
        }
        mod simulated {
            $(#[test]
            fn $claim() {
                super::$claim(&super::MemoryBackings::simulated());
            })+
        }
        mod sled {
            $(#[test]
            fn $claim() {
                let dir = tempfile::tempdir().unwrap();
                super::$claim(&super::SledBackings::new(dir.path().to_owned(), 1 << 20));
            })+
        }
    };
}

claims!(
    an_insert_is_read_back_and_overwritten,
    a_removed_key_is_absent_and_removing_it_again_is_fine,
    a_scan_goes_on_after_a_key_whether_it_is_there_or_not,
    keys_of_one_nul_and_of_640_bytes_are_kept,
    two_threads_insert_and_scan_at_once,
    generations_are_apart_and_the_others_are_removed,
    any_history_reads_like_a_map,
);

fn scan(backing: &dyn Backing, after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    backing.scan(after, limit, &mut |key, _| keys.push(key.to_vec())).unwrap();
    keys
}

fn letters(backings: &dyn Backings) -> Arc<dyn Backing> {
    let backing = backings.open(1).unwrap();
    for letter in "dbaec".bytes() {
        backing.insert(&[letter], &[letter, b'!']).unwrap();
    }
    backing
}

fn an_insert_is_read_back_and_overwritten(backings: &dyn Backings) {
    let backing = backings.open(1).unwrap();
    assert_eq!(backing.get(b"k").unwrap(), None);
    backing.insert(b"k", b"one").unwrap();
    assert_eq!(backing.get(b"k").unwrap().as_deref(), Some(&b"one"[..]));
    backing.insert(b"k", b"").unwrap();
    assert_eq!(backing.get(b"k").unwrap().as_deref(), Some(&b""[..]));
    backing.flush().unwrap();
    backing.size_on_disk_bytes().unwrap();
}

fn a_removed_key_is_absent_and_removing_it_again_is_fine(backings: &dyn Backings) {
    let backing = letters(backings);
    backing.remove(b"b").unwrap();
    backing.remove(b"b").unwrap();
    backing.remove(b"x").unwrap();
    assert_eq!(backing.get(b"b").unwrap(), None);
    assert_eq!(scan(&*backing, None, usize::MAX).concat(), b"acde");
}

fn a_scan_goes_on_after_a_key_whether_it_is_there_or_not(backings: &dyn Backings) {
    let backing = letters(backings);
    let keys = |after: Option<&[u8]>, limit| scan(&*backing, after, limit).concat();
    assert_eq!(keys(None, usize::MAX), b"abcde");
    assert_eq!(keys(None, 2), b"ab");
    assert_eq!(keys(None, 0), b"");
    assert_eq!(keys(Some(b"b"), 2), b"cd");
    assert_eq!(keys(Some(b"bb"), 9), b"cde");
    assert_eq!(keys(Some(b""), 1), b"a");
    assert_eq!(keys(Some(b"e"), 9), b"");
}

fn keys_of_one_nul_and_of_640_bytes_are_kept(backings: &dyn Backings) {
    let backing = backings.open(1).unwrap();
    // They share more than the 255 bytes of prefix that sled compresses.
    let long = |tail: u16| [&[b'x'; 638][..], &tail.to_be_bytes()].concat();
    backing.insert(b"\0", b"nul").unwrap();
    for tail in 0..200 {
        backing.insert(&long(tail), &tail.to_be_bytes()).unwrap();
    }
    for tail in 0..200 {
        assert_eq!(backing.get(&long(tail)).unwrap().as_deref(), Some(&tail.to_be_bytes()[..]));
    }
    let mut expected: Vec<_> = (0..200).map(long).collect();
    expected.insert(0, vec![0]);
    assert_eq!(scan(&*backing, None, 1_000), expected);
}

fn two_threads_insert_and_scan_at_once(backings: &dyn Backings) {
    const EACH: u32 = 1_000;
    let backing = backings.open(1).unwrap();
    thread::scope(|scope| {
        for parity in 0..2 {
            let backing = &backing;
            scope.spawn(move || {
                for step in 0..EACH {
                    let key = (step * 2 + parity).to_be_bytes();
                    backing.insert(&key, &key).unwrap();
                    if step % 3 == 0 {
                        backing.remove(&key).unwrap();
                        backing.insert(&key, &key).unwrap();
                    }
                    if step % 50 == 0 {
                        assert!(scan(&**backing, None, 100).is_sorted_by(|a, b| a < b));
                    }
                }
            });
        }
    });
    let expected: Vec<_> = (0..2 * EACH).map(|key| key.to_be_bytes().to_vec()).collect();
    assert_eq!(scan(&*backing, None, usize::MAX), expected);
}

fn generations_are_apart_and_the_others_are_removed(backings: &dyn Backings) {
    for generation in [1, 2, 10] {
        let backing = backings.open(generation).unwrap();
        assert_eq!(backing.get(b"k").unwrap(), None);
        backing.insert(b"k", &generation.to_be_bytes()).unwrap();
        backing.flush().unwrap();
    }
    backings.remove_all_but(2).unwrap();
    backings.remove_all_but(2).unwrap();
    let value = backings.open(2).unwrap().get(b"k").unwrap();
    assert_eq!(value.as_deref(), Some(&2_u64.to_be_bytes()[..]));
    assert_eq!(backings.open(1).unwrap().get(b"k").unwrap(), None);
    assert_eq!(backings.open(10).unwrap().get(b"k").unwrap(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<u8>, u8),
    Remove(Vec<u8>),
    Get(Vec<u8>),
    Scan(Option<Vec<u8>>, usize),
}

/// Short keys over few bytes, so that they collide, nest and hold runs of `ff`.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(0xff), 1 => Just(0xfe), 1 => Just(0), 1 => 1..4_u8];
    prop::collection::vec(byte, 1..10)
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any_key(), any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
        3 => any_key().prop_map(Step::Remove),
        1 => any_key().prop_map(Step::Get),
        2 => (prop::option::of(any_key()), 0..200_usize)
            .prop_map(|(after, limit)| Step::Scan(after, limit)),
    ]
}

fn any_history_reads_like_a_map(backings: &dyn Backings) {
    let generation = std::cell::Cell::new(0);
    let histories = prop::collection::vec(any_step(), 1..400);
    let config =
        ProptestConfig { cases: thinned(12, 32), failure_persistence: None, ..Default::default() };
    proptest!(config, |(history in histories)| {
        generation.set(generation.get() + 1);
        let backing = backings.open(generation.get()).unwrap();
        let mut map = BTreeMap::new();
        for step in history {
            apply(&*backing, &mut map, step);
        }
        apply(&*backing, &mut map, Step::Scan(None, usize::MAX));
    });
}

fn apply(backing: &dyn Backing, map: &mut BTreeMap<Vec<u8>, u8>, step: Step) {
    match step {
        Step::Insert(key, value) => {
            backing.insert(&key, &[value]).unwrap();
            map.insert(key, value);
        }
        Step::Remove(key) => {
            backing.remove(&key).unwrap();
            map.remove(&key);
        }
        Step::Get(key) => {
            let stored = backing.get(&key).unwrap().map(|value| value[0]);
            assert_eq!(stored, map.get(&key).copied());
        }
        Step::Scan(after, limit) => {
            let range = (lower_bound(after.as_deref()), Bound::Unbounded);
            let keys = map.range::<[u8], _>(range).map(|(key, _)| key.clone());
            let expected: Vec<_> = keys.take(limit).collect();
            assert_eq!(scan(backing, after.as_deref(), limit), expected);
        }
    }
}
