//! Copies in one thread: of the item and the moment that are asked for, or not found.

#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::models::{cache_bytes, keep, keep_if, meta};
use super::*;
use crate::seams::thinned;
use crate::values::short_hash::{KEY_FORMS, short_hash};

#[test]
fn an_item_is_copied_when_it_is_wanted_again_at_the_same_moment() {
    let items = HotItems::new(cache_bytes(1));
    let want = |at| items.keep(7, b"key", at, (&meta(at), b"value"), |_, _| true);
    assert!(want(2) > 0, "the table is made when it is first needed");
    assert_eq!(items.get(7, b"key", 2), None);
    assert_eq!(want(4), 0);
    assert_eq!(items.get(7, b"key", 4), None, "it was changed in between");
    assert_eq!(want(4), PIECE_WORDS * WORD);
    assert_eq!(items.get(7, b"key", 4), Some((meta(4), Bytes::from_static(b"value"))));
    assert_eq!(items.meta(7, b"key", 4), Some(meta(4)));
    assert_eq!(items.get(7, b"key", 6), None, "a commit under its stripe outdates it");
    assert_eq!(items.get(7, b"kez", 4), None, "another key of the same hash");
    items.clear();
    assert_eq!(items.get(7, b"key", 4), None);
}

#[test]
fn long_values_and_caches_without_room_are_left_alone() {
    let items = HotItems::new(cache_bytes(1));
    keep(&items, (1, b"long"), 2, &[1; SHORT_VALUE_BYTES + 1]);
    assert_eq!(items.get(1, b"long", 2), None);
    keep(&items, (1, b"long"), 2, &[1; SHORT_VALUE_BYTES]);
    assert!(items.get(1, b"long", 2).is_some());
    let none = HotItems::new(cache_bytes(1) - 1);
    assert_eq!(keep(&none, (1, b"key"), 2, b"value"), 0);
    assert_eq!(none.get(1, b"key", 2), None);
}

#[test]
fn what_is_read_often_stays_while_all_else_is_looked_at_once() {
    let items = HotItems::new(cache_bytes(2));
    keep(&items, (1 << 40, b"often"), 2, b"value");
    for n in 0..100_000_u64 {
        let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        items.keep(hash, &n.to_le_bytes(), 2, (&meta(n), &[0; 100]), |_, _| true);
    }
    assert!(items.get(1 << 40, b"often", 2).is_some());
}

#[test]
fn copies_take_more_memory_only_where_that_pays() {
    let pieces = 2 * FIRST_SHARE;
    let items = HotItems::new(cache_bytes(pieces as u64));
    let buckets = pieces * PIECE_WORDS * WORD / RING_BYTES_OF_BUCKET * size_of::<Bucket>();
    let copy = |n: u64, pays| {
        let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = keep_if(&items, (hash, &n.to_le_bytes()), 2, &[0; 400], pays);
        assert!(items.get(hash, &n.to_le_bytes(), 2).is_some(), "the newest copy is there");
        bytes
    };
    let first: usize = (0..20_000).map(|n| copy(n, false)).sum();
    assert_eq!(first - buckets, 2 * PIECE_WORDS * WORD);
    let rest: usize = (20_000..40_000).map(|n| copy(n, true)).sum();
    assert_eq!(rest, (pieces - 2) * PIECE_WORDS * WORD);
}

#[test]
fn more_copies_pay_where_they_serve_far_more_than_the_rest() {
    let last = Looks { in_copies: 1_000, in_leaves: 5_000 };
    let pays = |in_copies: u64, in_leaves: u64| {
        let now = Looks { in_copies: 1_000 + in_copies, in_leaves: 5_000 + in_leaves };
        now.pay_since(last, 1 << 20, 64 << 20)
    };
    assert!(!pays(0, 0), "nothing was looked for");
    assert!(!pays(100, 6_400), "an item in a copy is looked for as often as any other");
    assert!(pays(100, 1_000));
    assert!(pays(u64::MAX / 2, 1_000));
}

#[test]
fn keys_of_every_form_have_tags_of_their_own() {
    for form in KEY_FORMS {
        let named = |n| {
            let hash = short_hash(7, &form(n));
            (hash >> 57, tag_of(hash))
        };
        let names: HashSet<_> = (0..8_192).map(named).collect();
        assert!(names.len() > 8_180, "{} of 8192, for {:?}", names.len(), form(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(thinned(32, 256)))]

    /// Whatever is copied, in a ring that is written over many times: what is found is what was
    /// kept, and the last copy is found.
    #[test]
    fn what_is_found_is_what_was_kept(
        steps in prop::collection::vec(
            (0..200_u64, 0..3_u64, 0..SHORT_VALUE_BYTES, any::<bool>(), prop::bool::weighted(0.05)),
            1..2_000,
        ),
    ) {
        let items = HotItems::new(cache_bytes(3));
        // Few hashes, so that buckets are full and tags meet.
        let hash_of = |n: u64| ((n % 3) << 62) | (n % 2);
        let key_of = |n: u64| format!("{n:0width$}", width = (n % 20) as usize).into_bytes();
        let mut kept = HashMap::new();
        for (n, sequence, len, pays, ask_all) in steps {
            let (key, value) = (key_of(n), vec![n as u8; len]);
            keep_if(&items, (hash_of(n), &key), sequence, &value, pays);
            let last = items.get(hash_of(n), &key, sequence);
            prop_assert_eq!(last, Some((meta(sequence), Bytes::from(value.clone()))));
            // A copy that is there already may be found in the place of another of its moment.
            kept.entry((n, sequence)).or_insert_with(Vec::new).push(value);
            for ((n, sequence), values) in kept.iter().filter(|_| ask_all) {
                if let Some((meta_found, value)) =
                    items.get(hash_of(*n), &key_of(*n), *sequence)
                {
                    prop_assert_eq!(meta_found, meta(*sequence));
                    prop_assert!(values.iter().any(|kept| **kept == *value));
                }
            }
        }
    }
}
