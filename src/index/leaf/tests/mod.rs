//! Single cases of the leaf; random ones against a model are in `model.rs`, damage in `damage.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod damage;
mod model;

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::ControlFlow;

use bytes::Bytes;

use super::*;
use crate::values::etag::ETag;

fn head(revision: u64) -> Head {
    Head {
        etag: ETag([revision as u8; 16]),
        revision,
        segment: 3,
        offset: 70_000,
        len_bytes: 300,
        checksum: 0xdead_beef,
        modified_ms: 1_800_000_000_000,
        expires_ms: None,
        deleted: false,
    }
}

fn value(text: &str) -> ReadValue {
    ReadValue { parent: None, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

fn put(leaf: &mut Leaf, key: &[u8], revision: u64) -> Slot {
    if let Put::Full { .. } = leaf.put(key, &head(revision), None) {
        panic!("no room for {key:?}");
    }
    leaf.find(key).unwrap()
}

fn leaf_of(keys: &[&str]) -> Leaf {
    let mut leaf = Leaf::new();
    for (revision, key) in keys.iter().enumerate() {
        put(&mut leaf, key.as_bytes(), revision as u64);
    }
    leaf
}

fn keys(leaf: &Leaf) -> Vec<String> {
    leaf.iter().map(|entry| String::from_utf8(entry.key().to_vec()).unwrap()).collect()
}

fn number(n: usize) -> Vec<u8> {
    format!("user-{n:016}").into_bytes()
}

fn full() -> Leaf {
    let mut leaf = Leaf::new();
    for n in 0..MAX_CELLS {
        put(&mut leaf, &number(n * 2 + 1), n as u64);
    }
    leaf
}

#[test]
fn an_empty_leaf_answers_everything() {
    let mut leaf = Leaf::new();
    assert!(leaf.is_empty() && leaf.find(b"a").is_none() && leaf.find(b"").is_none());
    assert_eq!(leaf.memory_bytes(), size_of::<Leaf>());
    assert_eq!(leaf.range(Unbounded, Unbounded).len(), 0);
    assert_eq!((leaf.rank_lower(Included(b"a")), leaf.rank_upper(Unbounded)), (0, 0));
    assert!(leaf.split(None).is_none() && leaf.at(0).is_none());
    let mut bytes = Vec::new();
    let encoded = leaf.encode(&mut bytes);
    assert_eq!(encoded.newest_revision, 0);
    assert!(Leaf::decode(&bytes).unwrap().is_empty());
}

#[test]
fn put_inserts_then_replaces_and_gives_back_what_is_to_be_freed() {
    let mut leaf = Leaf::new();
    let long = "a long value".repeat(100);
    assert!(matches!(leaf.put(b"a", &head(1), Some(value("one"))), Put::Inserted));
    for (revision, newer, freed) in [
        (2, Some(value("two")), Some("two")),
        (3, Some(value(&long)), None),
        (4, Some(value("three")), Some(&*long)),
        (5, None, None),
    ] {
        let bytes = newer.as_ref().map(|value| value.bytes.clone());
        let replaced = leaf.put(b"a", &head(revision), newer);
        let Put::Replaced { free, .. } = replaced else {
            panic!("{replaced:?}");
        };
        assert_eq!(free.as_deref(), freed.map(str::as_bytes));
        let slot = leaf.find(b"a").unwrap();
        assert_eq!((leaf.head(slot), leaf.value(slot).map(|v| v.bytes())), (head(revision), bytes));
    }
}

#[test]
fn a_value_is_copied_over_one_that_is_not_shorter() {
    let mut leaf = Leaf::new();
    put(&mut leaf, b"a", 1);
    let mut place = None;
    for (revision, text) in [(2, "first"), (3, "secnd"), (4, "3rd"), (5, "longer"), (6, "LONGER")] {
        let parent = Some(ETag([revision as u8; 16]));
        let newer = ReadValue { parent, bytes: Bytes::from_static(text.as_bytes()) };
        let held =
            leaf.value(leaf.find(b"a").unwrap()).map(|old| (old.bytes(), old.as_slice().to_vec()));
        let put = leaf.put(b"a", &head(revision), Some(newer));
        assert!(matches!(put, Put::Inserted | Put::Replaced { .. }));
        let now = leaf.value(leaf.find(b"a").unwrap()).unwrap();
        assert_eq!((now.as_slice(), now.parent()), (text.as_bytes(), parent));
        // What a reader has got stays as it is.
        assert!(held.is_none_or(|(held, bytes)| *held == *bytes));
        let copied = place.replace(now.as_slice().as_ptr()) == Some(now.as_slice().as_ptr());
        assert_eq!(copied, [3, 4, 6].contains(&revision), "{text}");
    }
}

/// While a scan has a handle to the values of a leaf, what it sees stays as it is, and it keeps nothing
/// that comes later.
#[test]
fn what_a_scan_has_taken_is_not_written_over() {
    let mut leaf = leaf_of(&["a", "b", "c"]);
    let slot = |leaf: &Leaf, key: &str| leaf.find(key.as_bytes()).unwrap();
    for key in ["a", "b", "c"] {
        leaf.set_value(slot(&leaf, key), Some(value(&key.repeat(100))));
    }
    let bytes = leaf.memory_bytes();
    let part = leaf.value(slot(&leaf, "b")).unwrap().part().unwrap();
    let taken = leaf.values.chunk().unwrap().slice(part.range());
    for newer in ["B", "shorter", &"longer".repeat(30)] {
        leaf.set_value(slot(&leaf, "b"), Some(value(&newer.repeat(100 / newer.len().min(100)))));
        leaf.set_value(slot(&leaf, "a"), None);
        assert_eq!(*taken, [b'b'; 100]);
        assert_eq!(leaf.value(slot(&leaf, "c")).unwrap().as_slice(), [b'c'; 100]);
    }
    leaf.take_values();
    assert_eq!(*taken, [b'b'; 100]);
    assert!(leaf.values.chunk().is_none() && leaf.memory_bytes() < bytes);
}

/// A regression: the value had a place in memory that was not there, and a scan panicked.
#[test]
fn an_empty_value_stays_within_the_memory_of_the_others() {
    let mut leaf = leaf_of(&["a", "b"]);
    let set = |leaf: &mut Leaf, key: &str, text: Option<&str>| {
        leaf.set_value(leaf.find(key.as_bytes()).unwrap(), text.map(value));
    };
    for key in ["a", "b"] {
        set(&mut leaf, key, Some(&key.repeat(40)));
    }
    set(&mut leaf, "b", Some(""));
    set(&mut leaf, "a", None);
    let empty = leaf.value(leaf.find(b"b").unwrap()).unwrap();
    let chunk = leaf.values.chunk().unwrap_or_default();
    assert!(empty.part().unwrap().range().end <= chunk.len());
    assert_eq!(empty.bytes(), Bytes::new());
}

/// A leaf whose values come and go, and change their length, takes not much more memory than they.
#[test]
fn memory_without_values_is_given_back() {
    let mut leaf = full();
    let bare = leaf.memory_bytes();
    for round in 0..40_usize {
        for n in 0..MAX_CELLS {
            let slot = leaf.at(n).unwrap();
            let len = (n * 31 + round * 97) % 512;
            leaf.set_value(slot, (n % 5 != round % 5).then(|| value(&"x".repeat(len))));
        }
        let values = leaf.iter().filter_map(|cell| cell.value());
        let (count, bytes) =
            values.fold((0, 0), |(count, sum), value| (count + 1, sum + value.as_slice().len()));
        let taken = leaf.memory_bytes() - bare;
        assert!(taken <= bytes * 2 + count * 2 * 32 + 300, "{taken} for {count} of {bytes}");
        if round % 8 == 7 {
            leaf.iter().for_each(|cell| leaf.touch(leaf.find(&cell.key().to_vec()).unwrap()));
            leaf.evict_cold_values();
            let taken = leaf.memory_bytes() - bare;
            assert!(taken <= bytes * 9 / 8 + count * 2 * 32, "{taken} for {count} of {bytes}");
        }
    }
    leaf.take_values();
    assert_eq!(leaf.memory_bytes(), bare);
}

#[test]
fn set_head_keeps_the_value() {
    let mut leaf = leaf_of(&["a", "b"]);
    let slot = leaf.find(b"b").unwrap();
    assert_eq!(leaf.set_value(slot, Some(value("two"))).as_deref(), Some(&b"two"[..]));
    leaf.set_head(slot, &Head { deleted: true, expires_ms: Some(0), ..head(9) });
    assert_eq!(leaf.head(slot), Head { deleted: true, expires_ms: Some(0), ..head(9) });
    assert_eq!(leaf.value(slot).unwrap().as_slice(), b"two");
    assert_eq!(leaf.find(b"b"), Some(slot));
}

#[test]
fn keys_that_share_less_and_less_are_all_found() {
    let names = ["abcdef", "abcdeg", "abc", "abcd", "b", "ab", "a"];
    let leaf = leaf_of(&names);
    for (revision, name) in names.iter().enumerate() {
        let slot = leaf.find(name.as_bytes()).unwrap();
        assert_eq!(leaf.head(slot).revision, revision as u64);
    }
    assert_eq!(keys(&leaf), ["a", "ab", "abc", "abcd", "abcdef", "abcdeg", "b"]);
    assert!(leaf.find(b"").is_none() && leaf.find(b"abcde").is_none());
}

#[test]
fn removal_moves_the_last_cell_with_its_value_and_touch() {
    let mut leaf = leaf_of(&["a", "c", "b"]);
    let last = leaf.find(b"b").unwrap();
    leaf.set_value(last, Some(value("b")));
    leaf.touch(last);
    let (gone, none) = leaf.remove(leaf.find(b"a").unwrap());
    assert_eq!((gone, none.is_none()), (head(0), true));
    assert_eq!(keys(&leaf), ["b", "c"]);
    assert_eq!(leaf.evict_cold_values().count, 0);
    assert_eq!(leaf.value(leaf.find(b"b").unwrap()).unwrap().as_slice(), b"b");
    leaf.remove(leaf.find(b"b").unwrap());
    leaf.remove(leaf.find(b"c").unwrap());
    assert_eq!(leaf.memory_bytes(), size_of::<Leaf>());
}

#[test]
fn a_value_of_any_length_keeps_its_parent_and_its_bytes() {
    for parent in [None, Some(ETag([7; 16]))] {
        for len in [0, 1, 256, 512, 513, 4_096] {
            let bytes = Bytes::from(vec![len as u8; len]);
            let mut leaf = leaf_of(&["a"]);
            let slot = leaf.find(b"a").unwrap();
            leaf.set_value(slot, Some(ReadValue { parent, bytes: bytes.clone() }));
            let value = leaf.value(slot).unwrap();
            assert_eq!((value.parent(), value.as_slice()), (parent, &bytes[..]), "{len}");
            assert_eq!(value.bytes(), bytes, "{len}");
        }
    }
}

#[test]
fn a_touched_value_outlives_one_eviction() {
    let mut leaf = leaf_of(&["a", "b"]);
    let bare = leaf.memory_bytes();
    for name in ["a", "b"] {
        leaf.set_value(leaf.find(name.as_bytes()).unwrap(), Some(value("0123456789")));
    }
    leaf.touch(leaf.find(b"b").unwrap());
    assert_eq!(leaf.evict_cold_values().count, 1);
    assert!(leaf.value(leaf.find(b"b").unwrap()).is_some());
    assert_eq!(leaf.evict_cold_values().count, 1);
    assert_eq!(leaf.memory_bytes(), bare, "without values the array is given back");
}

#[test]
fn bounds_on_and_beside_the_keys() {
    let leaf = leaf_of(&["user-2", "user-4", "user-6"]);
    let range = |lower, upper| -> Vec<_> {
        leaf.range(lower, upper).map(|entry| entry.head().revision).collect()
    };
    assert_eq!(range(Included(&b"user-2"[..]), Excluded(&b"user-6"[..])), [0, 1]);
    assert_eq!(range(Excluded(b"user-2"), Included(b"user-6")), [1, 2]);
    assert_eq!(range(Included(b"user-3"), Included(b"user-5")), [1]);
    assert_eq!(range(Included(b"a"), Excluded(b"user-")), [0; 0]);
    assert_eq!(range(Included(b"user-"), Excluded(b"v")), [0, 1, 2]);
    assert_eq!(range(Excluded(b"user-6"), Unbounded), [0; 0]);
    assert_eq!(range(Included(b"user-5"), Included(b"user-3")), [0; 0], "bounds crossed");
}

#[test]
fn a_full_leaf_refuses_new_keys_and_replaces_old_ones() {
    let mut leaf = full();
    assert!(!leaf.has_room_for(&number(0)));
    let refused = leaf.put(&number(0), &head(7), Some(value("kept")));
    assert!(matches!(refused, Put::Full { value: Some(value) } if *value.bytes == *b"kept"));
    let replaced = leaf.put(&number(1), &head(7), None);
    assert!(matches!(replaced, Put::Replaced { .. }));
    assert_eq!(leaf.len(), MAX_CELLS);
}

#[test]
fn keys_of_too_many_bytes_are_refused() {
    let mut leaf = Leaf::new();
    assert!(matches!(leaf.put(&[1; MAX_KEY_BYTES + 1], &head(1), None), Put::Full { .. }));
    assert!(leaf.is_empty());
}

/// That of a collection as a whole.
#[test]
fn the_empty_key_is_the_first() {
    let mut leaf = Leaf::new();
    assert!(matches!(leaf.put(b"b", &head(1), None), Put::Inserted));
    assert!(matches!(leaf.put(b"", &head(2), None), Put::Inserted));
    let mut bytes = Vec::new();
    leaf.encode(&mut bytes);
    let leaf = Leaf::decode(&bytes).unwrap();
    let keys: Vec<_> = leaf.iter().map(|cell| cell.key().to_vec()).collect();
    assert_eq!(keys, [&b""[..], b"b"]);
    assert!(leaf.find(b"").is_some_and(|slot| leaf.head(slot) == head(2)));
}

#[test]
fn longest_keys_fit_fourteen_times_whatever_they_share() {
    for at in [0, MAX_KEY_BYTES - 1] {
        let mut leaf = Leaf::new();
        for n in 0..14 {
            let mut key = [b'k'; MAX_KEY_BYTES];
            key[at] = 100 - n;
            assert!(leaf.has_room_for(&key));
            put(&mut leaf, &key, u64::MAX - u64::from(n));
        }
        let mut bytes = Vec::new();
        leaf.encode(&mut bytes);
        assert!(bytes.len() <= leaf.bound_bytes() && leaf.bound_bytes() <= MAX_ENCODED_BYTES);
        let decoded = Leaf::decode(&bytes).unwrap();
        assert!(leaf.iter().zip(decoded.iter()).all(|(one, other)| {
            one.key().to_vec() == other.key().to_vec() && one.head() == other.head()
        }));
    }
}

#[test]
fn a_key_that_lengthens_all_suffixes_waits_for_splits() {
    let mut leaf = Leaf::new();
    for n in 0..100 {
        let mut key = [b'k'; MAX_KEY_BYTES];
        key[MAX_KEY_BYTES - 1] = n;
        put(&mut leaf, &key, 1);
    }
    assert!(leaf.has_room_for(&[b'k'; MAX_KEY_BYTES - 1]) && !leaf.has_room_for(b"z"));
    let mut splits = 0;
    while !leaf.has_room_for(b"z") {
        leaf = leaf.split(Some(b"z")).unwrap().right;
        splits += 1;
    }
    assert_eq!(splits, 1, "what is near the end has room at once");
    put(&mut leaf, b"z", 2);
}

#[test]
fn a_split_is_in_the_middle_or_near_the_end_that_grows() {
    for (next, left) in [(None, 64), (Some(number(1_000)), 115), (Some(number(0)), 12)] {
        let mut leaf = full();
        let split = leaf.split(next.as_deref()).unwrap();
        assert_eq!((leaf.len(), split.right.len()), (left, MAX_CELLS - left));
    }
    let mut leaf = full();
    leaf.split(Some(&number(100))).unwrap();
    assert_eq!(leaf.len(), 64, "a key between the others");
}

/// Items that are loaded in order take no more memory than they need.
#[test]
fn a_leaf_that_was_filled_in_order_has_no_memory_to_spare() {
    let mut leaf = Leaf::new();
    for n in 0..MAX_CELLS {
        leaf.put(&number(n), &head(1), Some(value(&"x".repeat(250 + n % 10))));
    }
    leaf.split(Some(&number(MAX_CELLS))).unwrap();
    let values: usize = leaf.iter().map(|cell| cell.value().unwrap().as_slice().len()).sum();
    let each = 44 + size_of::<KeySpan>() + size_of::<u32>();
    let exact = values + 32 + leaf.keys.len() + leaf.len() * each;
    assert_eq!(leaf.memory_bytes(), size_of::<Leaf>() + exact);
    let parent = Some(ETag([9; 16]));
    let newer = ReadValue { parent, bytes: Bytes::from_static(b"newer") };
    leaf.put(&number(50), &head(2), Some(newer));
    let parents = |n| leaf.value(leaf.find(&number(n)).unwrap()).unwrap().parent();
    assert_eq!([49, 50, 51].map(parents), [None, parent, None]);
}

#[test]
fn separators_are_as_short_as_can_be() {
    for (low, high, separator) in
        [("abc", "abd", "abd"), ("a", "ab", "ab"), ("abcx", "b", "b"), ("az", "bcdef", "b")]
    {
        let mut leaf = leaf_of(&[low, high]);
        let split = leaf.split(None).unwrap();
        assert_eq!(&*split.separator, separator.as_bytes());
        assert_eq!((keys(&leaf), keys(&split.right)), (vec![low.into()], vec![high.into()]));
    }
}

#[test]
fn a_leaf_that_does_not_fit_comes_back() {
    let (mut left, mut right) = (full(), Leaf::new());
    put(&mut right, b"v", 1);
    assert!(!left.can_absorb(&right));
    let right = left.absorb(right).unwrap_err();
    assert_eq!((left.len(), right.len()), (MAX_CELLS, 1));
    assert!(left.absorb(Leaf::new()).is_ok());
    let mut empty = Leaf::new();
    assert!(empty.absorb(right).is_ok() && empty.len() == 1);
}

#[test]
fn a_leaf_of_few_short_cells_is_nearly_empty() {
    let mut leaf = Leaf::new();
    for n in 0..15 {
        put(&mut leaf, &number(n), 1);
        assert!(leaf.is_nearly_empty());
    }
    put(&mut leaf, &number(15), 1);
    assert!(!leaf.is_nearly_empty());
}

#[test]
fn encoding_names_the_newest_revision_and_its_checksum() {
    let (leaf, mut bytes) = (full(), b"before".to_vec());
    let encoded = leaf.encode(&mut bytes);
    assert_eq!(encoded.newest_revision, MAX_CELLS as u64 - 1);
    assert_eq!(encoded_checksum(&bytes), Some(encoded.checksum));
    assert_eq!(Leaf::decode(&bytes[6..]).unwrap().len(), MAX_CELLS);
    assert!(bytes.len() < 50 * MAX_CELLS);
    assert_eq!(encoded_checksum(&[1, 2, 3]), None);
}

#[test]
fn a_visit_stops_when_the_visitor_says_so() {
    let mut bytes = Vec::new();
    full().encode(&mut bytes);
    let mut seen = Vec::new();
    let visited = Leaf::visit_encoded(&bytes, &mut |key, head| {
        seen.push((key.to_vec(), head.revision));
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(visited, Some(()));
    assert_eq!(seen, [(number(1), 0), (number(3), 1), (number(5), 2)]);
}
