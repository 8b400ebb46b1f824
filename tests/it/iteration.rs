//! Scans: `iter`, `prefix`, `range`, `keys`, `len`, from either end.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use ifmatch::{Collection, Error, Json, Precondition, Store};
use proptest::prelude::*;

use crate::backends::{Bench, on_every_backend};
use crate::thinned;

/// In bytewise order, with keys that are prefixes of others and runs of the highest byte.
const KEYS: [&[u8]; 9] =
    [b"\0", b"a", b"a\0", b"a\xff", b"a\xff\xff", b"b", b"b\xffc", b"\xff", b"\xff\xff"];

/// The keys with their places as values, written in another order.
fn filled(bench: &Bench) -> Collection<u64> {
    for place in [3, 0, 8, 5, 1, 7, 2, 6, 4] {
        bench.numbers().create(KEYS[place], &(place as u64)).unwrap();
    }
    bench.step();
    bench.numbers()
}

fn places(items: impl Iterator<Item = Result<ifmatch::Item<u64>, Error>>) -> Vec<u64> {
    items
        .map(|item| {
            let item = item.unwrap();
            assert_eq!(KEYS.get(item.value as usize), Some(&item.key()));
            item.value
        })
        .collect()
}

#[test]
fn items_come_in_bytewise_order_of_their_keys() {
    on_every_backend(|bench| {
        let numbers = filled(bench);
        assert_eq!(places(numbers.iter().unwrap()), (0..9).collect::<Vec<_>>());
        assert_eq!(places(numbers.iter().unwrap().rev()), (0..9).rev().collect::<Vec<_>>());
        let keys: Vec<Vec<u8>> = numbers.keys().unwrap().map(Result::unwrap).collect();
        assert_eq!(keys, KEYS);
        let keys: Vec<Vec<u8>> = numbers.keys().unwrap().rev().map(Result::unwrap).collect();
        assert!(keys.iter().eq(KEYS.iter().rev()));
        assert_eq!(numbers.len().unwrap(), 9);
    });
}

#[test]
fn items_come_with_their_versions() {
    on_every_backend(|bench| {
        let numbers = filled(bench);
        for item in numbers.iter().unwrap() {
            let item = item.unwrap();
            assert_eq!(numbers.get(item.key()).unwrap(), Some(item));
        }
    });
}

#[test]
fn an_empty_collection_has_no_items() {
    on_every_backend(|bench| {
        let look = || {
            let numbers = bench.numbers();
            assert!(numbers.is_empty().unwrap());
            assert_eq!(numbers.len().unwrap(), 0);
            assert!(numbers.iter().unwrap().next().is_none());
            assert!(numbers.iter().unwrap().next_back().is_none());
            assert!(numbers.keys().unwrap().next().is_none());
            assert!(numbers.prefix("").unwrap().next().is_none());
            assert!(numbers.range(..).unwrap().next().is_none());
        };
        look();
        bench.collection::<u64>("other").create("k", &1).unwrap();
        bench.numbers().create("k", &1).unwrap();
        assert!(!bench.numbers().is_empty().unwrap());
        bench.numbers().delete("k", Precondition::Always).unwrap();
        bench.step();
        look();
    });
}

#[test]
fn deleted_items_are_not_seen() {
    on_every_backend(|bench| {
        let numbers = filled(bench);
        for place in [0, 4, 8] {
            numbers.delete(KEYS[place], Precondition::Always).unwrap();
        }
        bench.step();
        let numbers = bench.numbers();
        assert_eq!(places(numbers.iter().unwrap()), [1, 2, 3, 5, 6, 7]);
        assert_eq!(places(numbers.iter().unwrap().rev()), [7, 6, 5, 3, 2, 1]);
        assert_eq!(numbers.len().unwrap(), 6);
        assert_eq!(numbers.keys().unwrap().count(), 6);
    });
}

#[test]
fn a_long_run_of_deleted_items_is_stepped_over() {
    on_every_backend(|bench| {
        let mut batch = bench.store().batch();
        let numbers = bench.numbers();
        for n in 0..2_000_u64 {
            batch = batch.create(&numbers, n.to_be_bytes(), &n);
        }
        batch.commit().unwrap();
        let mut batch = bench.store().batch();
        for n in 1..1_999_u64 {
            batch = batch.delete(&numbers, n.to_be_bytes(), Precondition::Always);
        }
        batch.commit().unwrap();
        bench.step();
        let values = |item: Result<ifmatch::Item<u64>, Error>| item.unwrap().value;
        assert_eq!(bench.numbers().iter().unwrap().map(values).collect::<Vec<_>>(), [0, 1_999]);
        let back: Vec<_> = bench.numbers().iter().unwrap().rev().map(values).collect();
        assert_eq!(back, [1_999, 0]);
    });
}

#[test]
fn a_prefix_selects_the_keys_that_begin_with_it() {
    on_every_backend(|bench| {
        let numbers = filled(bench);
        let cases: [(&[u8], &[u64]); 9] = [
            (b"", &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
            (b"\0", &[0]),
            (b"a", &[1, 2, 3, 4]),
            (b"a\xff", &[3, 4]),
            (b"a\xff\xff\xff", &[]),
            (b"b\xff", &[6]),
            (b"\xff", &[7, 8]),
            (b"\xff\xff", &[8]),
            (b"c", &[]),
        ];
        for (prefix, expected) in cases {
            let forward = places(numbers.prefix(prefix).unwrap());
            assert_eq!(forward, expected, "{prefix:?}");
            let mut backward = places(numbers.prefix(prefix).unwrap().rev());
            backward.reverse();
            assert_eq!(backward, expected, "{prefix:?}, from the end");
        }
        assert_eq!(numbers.prefix([0xff; 600]).unwrap().count(), 0);
    });
}

#[test]
fn ranges_take_every_kind_of_bound() {
    on_every_backend(|bench| {
        let numbers = filled(bench);
        let mut bounds = vec![Bound::Unbounded];
        let others: [&[u8]; 4] = [b"", b"a\x01", b"zzz", &[0xff; 600]];
        for key in KEYS.into_iter().chain(others) {
            bounds.extend([Bound::Included(key), Bound::Excluded(key)]);
        }
        for lower in &bounds {
            for upper in &bounds {
                let range = (*lower, *upper);
                // `RangeBounds::contains` knows what an inverted range holds: nothing.
                let inside = |place: &u64| {
                    std::ops::RangeBounds::<&[u8]>::contains(&range, &KEYS[*place as usize])
                };
                let expected: Vec<u64> = (0..9).filter(inside).collect();
                assert_eq!(places(numbers.range(range).unwrap()), expected, "{range:?}");
                let mut backward = places(numbers.range(range).unwrap().rev());
                backward.reverse();
                assert_eq!(backward, expected, "{range:?}, from the end");
            }
        }
    });
}

#[test]
fn ranges_are_written_as_in_rust() {
    on_every_backend(|bench| {
        let numbers = filled(bench);
        assert_eq!(places(numbers.range("a".."b").unwrap()), [1, 2, 3, 4]);
        assert_eq!(places(numbers.range("a"..="b").unwrap()), [1, 2, 3, 4, 5]);
        assert_eq!(places(numbers.range("b"..).unwrap()), [5, 6, 7, 8]);
        assert_eq!(places(numbers.range(.."a").unwrap()), [0]);
        let inverted = "b".."a";
        assert!(places(numbers.range(inverted).unwrap()).is_empty());
    });
}

#[test]
fn both_ends_meet_without_loss_or_repetition() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let mut batch = bench.store().batch();
        for n in 0..1_500_u64 {
            batch = batch.create(&numbers, n.to_be_bytes(), &n);
        }
        batch.commit().unwrap();
        bench.step();
        // How many are taken from the front for each from the back: runs that end inside of what
        // was fetched, at its edges, and across both ends.
        for (front, back) in [(1, 1), (0, 1), (1, 0), (17, 1), (1, 700), (300, 300), (1_499, 1)] {
            let mut items = bench.numbers().iter().unwrap().map(|item| item.unwrap().value);
            let mut keys = bench.numbers().keys().unwrap().map(Result::unwrap);
            let (mut low, mut high) = (0, 1_500);
            while low < high {
                for _ in 0..front.min(high - low) {
                    assert_eq!(items.next(), Some(low));
                    assert_eq!(keys.next(), Some(low.to_be_bytes().to_vec()));
                    low += 1;
                }
                for _ in 0..back.min(high - low) {
                    high -= 1;
                    assert_eq!(items.next_back(), Some(high));
                    assert_eq!(keys.next_back(), Some(high.to_be_bytes().to_vec()));
                }
            }
            for _ in 0..2 {
                assert_eq!((items.next(), items.next_back()), (None, None));
                assert_eq!((keys.next(), keys.next_back()), (None, None));
            }
        }
    });
}

#[test]
fn an_iterator_dropped_early_does_no_harm() {
    on_every_backend(|bench| {
        let numbers = filled(bench);
        let mut items = numbers.iter().unwrap();
        items.next().unwrap().unwrap();
        items.next_back().unwrap().unwrap();
        drop(items);
        drop(numbers.keys().unwrap());
        assert_eq!(numbers.len().unwrap(), 9);
        bench.step();
    });
}

#[test]
fn collections_whose_names_begin_alike_are_apart() {
    on_every_backend(|bench| {
        let names = ["a", "a\u{1}", "aa", "a/", "A", "b"];
        for (value, name) in (0..).zip(names) {
            for key in [&b"\0"[..], b"a", b"\xff\xff"] {
                bench.collection::<u64>(name).create(key, &value).unwrap();
            }
        }
        bench.step();
        for (value, name) in (0..).zip(names) {
            let collection = bench.collection::<u64>(name);
            let values = |items: ifmatch::Iter<u64, Json>| {
                items.map(|item| item.unwrap().value).collect::<Vec<_>>()
            };
            assert_eq!(values(collection.iter().unwrap()), [value; 3]);
            assert_eq!(values(collection.prefix("").unwrap()), [value; 3]);
            assert_eq!(values(collection.prefix(b"\xff").unwrap()), [value]);
            assert_eq!(values(collection.range("\0"..).unwrap()), [value; 3]);
            assert_eq!(collection.len().unwrap(), 3);
        }
    });
}

#[test]
fn changes_made_while_iterating_leave_the_other_items_to_be_seen_once() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let mut batch = bench.store().batch();
        for n in 0..200_u64 {
            batch = batch.create(&numbers, (2 * n).to_be_bytes(), &0);
        }
        batch.commit().unwrap();
        bench.step();
        let numbers = bench.numbers();
        let mut seen = Vec::new();
        for item in numbers.iter().unwrap() {
            let item = item.unwrap();
            let n = u64::from_be_bytes(item.key().try_into().unwrap());
            seen.push(n);
            assert!(item.value <= 1, "an item that no commit wrote");
            // Behind the iterator, on its place, ahead of it near and far.
            numbers
                .upsert((n.saturating_sub(9) | 1).to_be_bytes(), &1, Precondition::Always)
                .unwrap();
            numbers.upsert((n + 2).to_be_bytes(), &1, Precondition::Always).unwrap();
            if n == 60 {
                numbers.delete(100_u64.to_be_bytes(), Precondition::Always).unwrap();
            }
            if n > 390 {
                break;
            }
        }
        assert!(seen.is_sorted_by(|a, b| a < b), "an item was seen twice or out of order");
        let even = seen.iter().filter(|n| *n % 2 == 0 && **n != 100).count();
        assert!(even >= 195, "items that were there all the time were missed: {even}");
    });
}

#[test]
fn an_item_that_cannot_be_decoded_is_an_error_in_its_place() {
    on_every_backend(|bench| {
        let texts = bench.collection::<serde_json::Value>("numbers");
        for n in 0..5_u64 {
            let value = if n == 2 { "two".into() } else { n.into() };
            texts.create(n.to_be_bytes(), &value).unwrap();
        }
        bench.step();
        let told = |item: Result<ifmatch::Item<u64>, Error>| match item {
            Ok(item) => Some(item.value),
            Err(Error::Codec { .. }) => None,
            Err(error) => panic!("{error:?}"),
        };
        let expected = [Some(0), Some(1), None, Some(3), Some(4)];
        assert_eq!(bench.numbers().iter().unwrap().map(told).collect::<Vec<_>>(), expected);
        let mut back: Vec<_> = bench.numbers().iter().unwrap().rev().map(told).collect();
        back.reverse();
        assert_eq!(back, expected);
        assert_eq!(bench.numbers().len().unwrap(), 5);
    });
}

#[test]
fn large_values_are_scanned_from_either_end() {
    let folder = tempfile::tempdir().unwrap();
    let options = ifmatch::Options::new().durability(ifmatch::Durability::Eventual);
    let store = options.cache_bytes(1 << 20).open(folder.path().join("store")).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for n in 0..48_u8 {
        blobs.create([n], &Bytes::from(vec![n; 1 << 20])).unwrap();
    }
    let number = |item: Result<ifmatch::Item<Bytes>, Error>| {
        let item = item.unwrap();
        assert_eq!((item.value.len(), item.value[1 << 19]), (1 << 20, item.key()[0]));
        item.value[0]
    };
    assert!(blobs.iter().unwrap().map(number).eq(0..48));
    assert!(blobs.iter().unwrap().rev().map(number).eq((0..48).rev()));
}

/// A key over a small alphabet, so that keys meet, nest and touch the limits of the bytes.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop::sample::select(vec![0, 1, b'a', b'b', 0xfe, 0xff]);
    prop::collection::vec(byte, 1..5)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        1 => Just(Bound::Unbounded),
        3 => key().prop_map(Bound::Included),
        3 => key().prop_map(Bound::Excluded),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: thinned(64, 200) as u32, ..ProptestConfig::default() })]

    #[test]
    fn a_range_is_what_an_ordered_map_gives(
        present in prop::collection::btree_map(key(), any::<u64>(), 0..60),
        absent in prop::collection::vec(key(), 0..10),
        range in (bound(), bound()),
        ends in prop::collection::vec(any::<bool>(), 60),
    ) {
        let store = Store::in_memory();
        let numbers = store.collection::<u64>("numbers").unwrap();
        let mut model: BTreeMap<Vec<u8>, u64> = present;
        for (key, value) in &model {
            numbers.create(key, value).unwrap();
        }
        for key in absent {
            let deleted = numbers.delete(&key, Precondition::Always).is_ok();
            prop_assert_eq!(deleted, model.remove(&key).is_some());
        }
        let inside = |key: &Vec<u8>| std::ops::RangeBounds::contains(&range, key);
        let mut expected: std::collections::VecDeque<_> =
            model.iter().filter(|(key, _)| inside(key)).collect();
        let mut items = numbers.range(range.clone()).unwrap();
        for front in ends {
            let (item, wanted) = if front {
                (items.next(), expected.pop_front())
            } else {
                (items.next_back(), expected.pop_back())
            };
            let item = item.map(|item| item.unwrap());
            prop_assert_eq!(item.as_ref().map(|i| (i.key(), i.value)), wanted.map(|(k, v)| (&**k, *v)));
        }
        prop_assert_eq!(numbers.len().unwrap(), model.len() as u64);
    }
}

/// Heads that were read ahead may be those of items that are gone by then, with all that was read
/// together with them; what comes after is still to be seen.
#[test]
fn items_that_go_while_their_heads_are_held_do_not_end_an_iteration() {
    for gone in [1..2, 1..4, 4..6_u8] {
        // Larger than what is read ahead, so each is read alone.
        let large = Bytes::from(vec![1; 1 << 21]);
        let [forth, back, both] = [0, 1, 2].map(|way| {
            let store = Store::in_memory();
            let blobs = store.raw("blobs").unwrap();
            for key in 0..6_u8 {
                blobs.create([key], &large).unwrap();
            }
            let mut iter = blobs.iter().unwrap();
            let mut keys = Vec::new();
            let mut take = |item: Option<Result<ifmatch::Item<Bytes>, Error>>| {
                item.map(|item| keys.push(item.unwrap().key()[0])).is_some()
            };
            if way != 1 {
                take(iter.next());
            }
            if way != 0 {
                take(iter.next_back());
            }
            for key in gone.clone() {
                if way == 0 || key != 5 {
                    blobs.delete([key], Precondition::Always).unwrap();
                }
            }
            store.compact().unwrap();
            while take(if way == 0 { iter.next() } else { iter.next_back() }) {}
            assert!(iter.next().is_none() && iter.next_back().is_none());
            keys
        });
        let stay = |key: &u8| !gone.contains(key);
        assert_eq!(forth, (0..6).filter(stay).collect::<Vec<_>>());
        let stay = |key: &u8| *key == 5 || !gone.contains(key);
        assert_eq!(back, (0..6).rev().filter(stay).collect::<Vec<_>>());
        let mut expected: Vec<u8> = (1..6).rev().filter(stay).collect();
        expected.insert(0, 0);
        assert_eq!(both, expected);
    }
}

#[test]
fn e5_every_form_of_a_range_is_taken_as_it_stands() {
    use std::ops::Bound::{Excluded, Included, Unbounded};

    let store = Store::in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    for (key, n) in ["a", "b", "c", "d"].iter().zip(0..) {
        numbers.create(key, &n).unwrap();
    }
    let snapshot = store.snapshot();
    let past = snapshot.collection(&numbers);
    macro_rules! gives {
        ($range:expr, $expected:expr) => {
            for items in [numbers.range($range).unwrap(), past.range($range).unwrap()] {
                let values: Vec<u64> = items.map(|item| item.unwrap().value).collect();
                assert_eq!(values, $expected, "{}", stringify!($range));
            }
        };
    }
    let last = numbers.get("b").unwrap().unwrap();
    gives!(.., [0, 1, 2, 3]);
    gives!("b".., [1, 2, 3]);
    gives!(.."c", [0, 1]);
    gives!(..="c", [0, 1, 2]);
    gives!("b".."d", [1, 2]);
    gives!("b"..="d", [1, 2, 3]);
    gives!(vec![b'b']..vec![b'c'], [1]);
    gives!([b'c'].., [2, 3]);
    gives!((Excluded(last.key()), Unbounded), [2, 3]);
    gives!((Excluded("a"), Included("c")), [1, 2]);
    let page = numbers.range::<[u8], _>((Excluded(last.key()), Unbounded)).unwrap();
    assert_eq!(page.count(), 2);
}
