//! Random operations on a leaf and on a `BTreeMap` that must agree with it.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use proptest::prelude::*;

use crate::index::leaf::keys::MAX_KEY_BYTES;
use crate::index::leaf::{Leaf, MAX_CELLS, MAX_ENCODED_BYTES, Put, ReadValue, prints};
use crate::seams::thinned;
use crate::values::etag::ETag;
use crate::values::head::Head;
use crate::values::head::tests::any_head;

#[derive(Debug, Clone)]
struct ModelCell {
    head: Head,
    value: Option<Bytes>,
    touched: bool,
}

type Model = BTreeMap<Vec<u8>, ModelCell>;

#[derive(Debug, Clone)]
enum Op {
    Put(Vec<u8>, Head, Option<Bytes>),
    SetHead(prop::sample::Index, Head),
    SetValue(prop::sample::Index, Option<Bytes>),
    Remove(prop::sample::Index),
    Touch(prop::sample::Index),
    EvictCold,
    /// Split, and take the right in again.
    SplitAndAbsorb(Option<Vec<u8>>),
    /// Split, and go on with one half.
    Halve(bool),
    /// Encode and decode.
    Reload,
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop_oneof![
        8 => Just(b"items/user-".to_vec()),
        4 => Just(Vec::new()),
        2 => Just(b"items/".to_vec()),
        1 => Just(vec![b'p'; 300]),
    ];
    let letter = prop::sample::select(&[0, b'a', b'b', b'c', b'z', 255][..]);
    let tail = prop_oneof![
        20 => prop::collection::vec(letter, 1..8),
        3 => (any::<u32>()).prop_map(|n| format!("{n:010}").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 1..MAX_KEY_BYTES),
        1 => Just(vec![b'a'; MAX_KEY_BYTES]),
    ];
    let key = (prefix, tail).prop_map(|(prefix, tail)| {
        let mut key = [prefix, tail].concat();
        key.truncate(MAX_KEY_BYTES);
        key
    });
    // That of a collection's tombstone is empty.
    prop_oneof![40 => key, 1 => Just(Vec::new())]
}

fn any_value() -> impl Strategy<Value = Option<Bytes>> {
    let len = prop_oneof![20 => 0..40_usize, 1 => 500..530_usize];
    let bytes = len.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len));
    prop::option::of(bytes.prop_map(Bytes::from))
}

fn any_bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        any_key().prop_map(Bound::Included),
        any_key().prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let cell = any::<prop::sample::Index>;
    prop_oneof![
        60 => (any_key(), any_head(), any_value()).prop_map(|(k, h, v)| Op::Put(k, h, v)),
        5 => (cell(), any_head()).prop_map(|(cell, head)| Op::SetHead(cell, head)),
        5 => (cell(), any_value()).prop_map(|(cell, value)| Op::SetValue(cell, value)),
        12 => cell().prop_map(Op::Remove),
        8 => cell().prop_map(Op::Touch),
        2 => Just(Op::EvictCold),
        3 => prop::option::of(any_key()).prop_map(Op::SplitAndAbsorb),
        1 => any::<bool>().prop_map(Op::Halve),
        2 => Just(Op::Reload),
        6 => (any_bound(), any_bound()).prop_map(|(low, high)| Op::Range(low, high)),
    ]
}

fn with_value(value: Option<Bytes>) -> Option<ReadValue> {
    value.map(|bytes| ReadValue { parent: parent_of(&bytes), bytes })
}

/// What a version with this value displaced: mostly nothing, so that some leaves hold no parents.
fn parent_of(value: &Bytes) -> Option<ETag> {
    value.first().filter(|first| **first > 240).map(|first| ETag([*first; 16]))
}

fn is_short(value: &Bytes) -> bool {
    value.len() <= 512
}

/// A key of the model, if it has any.
fn pick(model: &Model, cell: prop::sample::Index) -> Option<Vec<u8>> {
    model.keys().nth(cell.index(model.len().max(1))).cloned()
}

fn apply(leaf: &mut Leaf, model: &mut Model, op: Op) {
    match op {
        Op::Put(key, head, value) => put(leaf, model, key, head, value),
        Op::SetHead(cell, head) => {
            if let Some(key) = pick(model, cell) {
                leaf.set_head(leaf.find(&key).unwrap(), &head);
                model.get_mut(&key).unwrap().head = head;
            }
        }
        Op::SetValue(cell, value) => {
            if let Some(key) = pick(model, cell) {
                let free = leaf.set_value(leaf.find(&key).unwrap(), with_value(value.clone()));
                let cell = model.get_mut(&key).unwrap();
                let old = std::mem::replace(&mut cell.value, value.clone());
                assert_is_free(free, &old, &value);
            }
        }
        Op::Remove(cell) => {
            if let Some(key) = pick(model, cell) {
                let (head, free) = leaf.remove(leaf.find(&key).unwrap());
                let cell = model.remove(&key).unwrap();
                assert_eq!(head, cell.head);
                assert_is_free(free, &cell.value, &None);
            }
        }
        Op::Touch(cell) => {
            if let Some(key) = pick(model, cell) {
                let (slot, cell) = (leaf.find(&key).unwrap(), model.get_mut(&key).unwrap());
                leaf.touch(slot);
                cell.touched |= cell.value.is_some();
                assert_eq!(leaf.note_wanted(slot), cell.touched);
                cell.touched = true;
            }
        }
        Op::EvictCold => evict(leaf, model),
        Op::SplitAndAbsorb(next) => split_and_absorb(leaf, model, next),
        Op::Halve(upper) => halve(leaf, model, upper, None),
        Op::Reload => reload(leaf, model),
        Op::Range(lower, upper) => compare_range(leaf, model, &lower, &upper),
    }
}

fn put(leaf: &mut Leaf, model: &mut Model, key: Vec<u8>, head: Head, value: Option<Bytes>) {
    let is_new = !model.contains_key(&key);
    while is_new && !leaf.has_room_for(&key) {
        let cells = leaf.len();
        let refused = leaf.put(&key, &head, with_value(value.clone()));
        assert!(
            matches!(refused, Put::Full { value: back } if back.as_ref().map(|b| &b.bytes) == value.as_ref())
        );
        assert!(cells >= 20 && leaf.len() == cells);
        halve(leaf, model, false, Some(&key));
    }
    let touched = model.get(&key).is_some_and(|cell| cell.touched);
    let cell = ModelCell { head, value: value.clone(), touched };
    let newer = value.clone();
    match (leaf.put(&key, &head, with_value(value)), model.insert(key, cell)) {
        (Put::Inserted, None) => {}
        (Put::Replaced { free, .. }, Some(old)) => {
            assert_is_free(free, &old.value, &newer);
        }
        (put, old) => panic!("{put:?} of {old:?}"),
    }
}

/// What a leaf gives back is the old value, if it is long, or the newer one that it has copied.
fn assert_is_free(free: Option<Bytes>, old: &Option<Bytes>, newer: &Option<Bytes>) {
    let old = old.clone().filter(|old| !is_short(old));
    assert_eq!(free, old.or(newer.clone().filter(is_short)));
}

fn evict(leaf: &mut Leaf, model: &mut Model) {
    let evicted = leaf.evict_cold_values();
    let cold = model.values_mut().filter(|cell| !cell.touched);
    assert_eq!(evicted.count, cold.filter_map(|cell| cell.value.take()).count());
    model.values_mut().for_each(|cell| cell.touched = false);
}

fn split_and_absorb(leaf: &mut Leaf, model: &Model, next: Option<Vec<u8>>) {
    let Some(split) = leaf.split(next.as_deref()) else {
        assert!(model.len() < 2);
        return;
    };
    let lower: Model = model.range(..split.separator.to_vec()).map(clone_pair).collect();
    let upper: Model = model.range(split.separator.to_vec()..).map(clone_pair).collect();
    check(leaf, &lower);
    check(&split.right, &upper);
    assert!(leaf.can_absorb(&split.right));
    leaf.absorb(split.right).unwrap();
}

/// Goes on with the half to which `next` belongs, or with the upper or lower.
fn halve(leaf: &mut Leaf, model: &mut Model, upper: bool, next: Option<&[u8]>) {
    let Some(split) = leaf.split(next) else {
        return;
    };
    assert!(!leaf.is_empty() && !split.right.is_empty());
    let above = model.split_off(&split.separator.to_vec());
    check(&split.right, &above);
    check(leaf, model);
    if next.map_or(upper, |next| next >= &*split.separator) {
        *leaf = split.right;
        *model = above;
    }
}

fn reload(leaf: &mut Leaf, model: &mut Model) {
    let mut bytes = Vec::new();
    let encoded = leaf.encode(&mut bytes);
    assert!(bytes.len() <= leaf.bound_bytes());
    let newest = model.values().map(|cell| cell.head.revision).max();
    assert_eq!(encoded.newest_revision, newest.unwrap_or(0));
    let mut cells = Vec::new();
    let visited = Leaf::visit_encoded(&bytes, &mut |key, head| {
        cells.push((key.to_vec(), *head));
        ControlFlow::Continue(())
    });
    assert_eq!(visited, Some(()));
    assert!(cells.into_iter().eq(model.iter().map(|(key, cell)| (key.clone(), cell.head))));
    *leaf = Leaf::decode(&bytes).unwrap();
    let mut again = Vec::new();
    leaf.encode(&mut again);
    assert_eq!(again, bytes);
    for cell in model.values_mut() {
        (cell.value, cell.touched) = (None, false);
    }
}

fn compare_range(leaf: &Leaf, model: &Model, low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) {
    let inside = |key: &[u8]| {
        let above = match low {
            Bound::Included(low) => key >= &low[..],
            Bound::Excluded(low) => key > &low[..],
            Bound::Unbounded => true,
        };
        above
            && match high {
                Bound::Included(high) => key <= &high[..],
                Bound::Excluded(high) => key < &high[..],
                Bound::Unbounded => true,
            }
    };
    let expected: Vec<_> = model.keys().filter(|key| inside(key)).cloned().collect();
    let range = leaf.range(low.as_ref().map(|key| &key[..]), high.as_ref().map(|key| &key[..]));
    assert_eq!(range.len(), expected.len());
    let back: Vec<_> = range.clone().rev().map(|entry| entry.key().to_vec()).collect();
    assert!(range.map(|entry| entry.key().to_vec()).eq(expected.iter().cloned()));
    assert!(back.into_iter().eq(expected.into_iter().rev()));
}

fn clone_pair((key, cell): (&Vec<u8>, &ModelCell)) -> (Vec<u8>, ModelCell) {
    (key.clone(), cell.clone())
}

/// Compares the leaf with the model, and looks at its invariants.
fn check(leaf: &Leaf, model: &Model) {
    assert_eq!(leaf.len(), model.len());
    assert!(leaf.len() <= MAX_CELLS && leaf.bound_bytes() <= MAX_ENCODED_BYTES);
    for (rank, (entry, (key, cell))) in leaf.iter().zip(model).enumerate() {
        assert_eq!(&entry.key().to_vec(), key);
        let slot = leaf.at(rank).unwrap();
        assert_eq!(leaf.find(key), Some(slot));
        assert_eq!((entry.head(), leaf.head(slot)), (cell.head, cell.head));
        let value = entry.value().map(|value| (value.bytes(), value.parent()));
        assert_eq!(value, cell.value.clone().map(|bytes| (bytes.clone(), parent_of(&bytes))));
        assert_eq!(leaf.values.is_touched(slot), cell.touched);
        assert!(entry.key().compare(key).is_eq() && entry.key().len() == key.len());
        let print = prints::of(entry.key().suffix);
        assert_eq!(leaf.prints.find(print, leaf.len(), |found| found == slot), Some(slot));
        let beside = [&key[..], &[0]].concat();
        assert_eq!(leaf.find(&beside).is_some(), model.contains_key(&beside));
    }
    let lives = |cell: &ModelCell| !cell.head.deleted && cell.head.expires_ms.is_none();
    assert_eq!(leaf.cells.are_live(), model.values().all(lives));
    let spans: usize = leaf.iter().map(|entry| entry.key().suffix.len()).sum();
    assert_eq!(spans + leaf.prefix().len(), leaf.keys.len(), "no gaps between the keys");
    let (places, parents) = (&leaf.values.places, &leaf.values.parents);
    assert!(parents.is_empty() && parents.capacity() == 0 || parents.len() == places.len());
    assert_eq!(leaf.memory_bytes(), memory_bytes(leaf, model));
}

/// The memory of a leaf, summed anew but for what is spare of its chunk.
fn memory_bytes(leaf: &Leaf, model: &Model) -> usize {
    let values = || model.values().filter_map(|cell| cell.value.as_ref());
    let count = values().count();
    let short: usize = values().filter(|value| is_short(value)).map(Bytes::len).sum();
    let long: usize = values().filter(|v| !is_short(v)).map(|v| v.len() + 2 * 32 + 16).sum();
    let chunk = leaf.values.chunk().map_or(0, |chunk| chunk.len() + 32);
    assert!(short == 0 || chunk >= short + 32);
    let array = leaf.values.array_bytes();
    assert_eq!(array == 0, count == 0, "an array without values, or values without an array");
    let cells = leaf.cells.memory_bytes();
    size_of::<Leaf>() + cells + leaf.keys.capacity() + array + chunk + long
}

proptest! {
    #![proptest_config(ProptestConfig { cases: thinned(32, 128), max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn a_leaf_agrees_with_the_model(
        cells in prop::collection::vec((any_key(), any_head(), any_value()), 0..140),
        ops in prop::collection::vec(any_op(), 1..80),
        form in 0..3,
    ) {
        let (mut leaf, mut model) = (Leaf::new(), Model::new());
        for (key, mut head, value) in cells {
            if form == 0 {
                // Cells are bare until some operation brings another.
                head = Head::bare(head.revision >> 16);
            } else if form == 1 {
                // Cells are narrow until some operation brings another.
                head.expires_ms = None;
                head.revision >>= 16;
                head.modified_ms >>= 16;
            }
            put(&mut leaf, &mut model, key, head, value);
        }
        check(&leaf, &model);
        for op in ops {
            apply(&mut leaf, &mut model, op);
            check(&leaf, &model);
        }
    }

    #[test]
    fn neighbours_are_absorbed_wherever_they_meet(
        keys in prop::collection::btree_set(any_key(), 0..60),
        at in any::<prop::sample::Index>(),
        head in any_head(),
    ) {
        let at = at.index(keys.len() + 1);
        let (mut leaves, mut model) = ([Leaf::new(), Leaf::new()], Model::new());
        for (index, key) in keys.into_iter().enumerate() {
            let leaf = &mut leaves[usize::from(index >= at)];
            if matches!(leaf.put(&key, &head, None), Put::Inserted) {
                model.insert(key, ModelCell { head, value: None, touched: false });
            }
        }
        let [mut left, right] = leaves;
        let fits = left.can_absorb(&right);
        let refused = left.absorb(right);
        prop_assert_eq!(refused.is_ok(), fits);
        if fits {
            check(&left, &model);
        }
    }
}
