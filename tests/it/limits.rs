//! Limits of keys, names, values and batches: what lies inside works, what lies beyond is refused
//! and leaves nothing behind.

use bytes::Bytes;
use ifmatch::{Bincode, Error, Item, MAX_VALUE_BYTES, Patch, Precondition, Revision, Store};

use crate::backends::{Bench, failed_at, on_every_backend};

#[track_caller]
fn invalid_key<R: std::fmt::Debug>(result: Result<R, Error>) {
    assert!(matches!(result, Err(Error::InvalidKey { .. })), "expected InvalidKey: {result:?}");
}

#[track_caller]
fn too_large<R: std::fmt::Debug>(result: Result<R, Error>) -> (u64, u64) {
    match result {
        Err(Error::TooLarge { actual, limit, .. }) => (actual, limit),
        Err(error) => panic!("expected TooLarge: {error:?}"),
        Ok(_) => panic!("what is too large was taken"),
    }
}

#[track_caller]
fn assert_untouched(bench: &Bench) {
    bench.step();
    assert_eq!(bench.store().revision(), Revision::ZERO);
    assert!(bench.numbers().is_empty().unwrap());
}

#[test]
fn keys_beyond_the_limits_are_refused_by_every_verb() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        for key in [&b""[..], &[b'k'; 512], &[b'k'; 100_000]] {
            let always = || Precondition::Always;
            invalid_key(numbers.create(key, &1));
            invalid_key(numbers.replace(key, &1, always()));
            invalid_key(numbers.upsert(key, &1, always()));
            invalid_key(numbers.patch(key, &Patch::new(), always()));
            invalid_key(numbers.delete(key, always()));
            invalid_key(numbers.get(key));
            invalid_key(numbers.get_if(key, always()));
            invalid_key(numbers.get_many([key]));
            invalid_key(numbers.save(&mut Item::new(key, 1)));
            invalid_key(numbers.update(key, |_| {}));
            invalid_key(numbers.update_or_insert_with(key, || 1, |_| {}));
            let batch = bench.store().batch().create(&numbers, "fine", &1);
            invalid_key(failed_at(1, batch.create(&numbers, key, &1).commit()));
        }
        assert_untouched(bench);
    });
}

#[test]
fn any_bytes_within_the_limits_are_a_key() {
    on_every_backend(|bench| {
        let keys: [&[u8]; 10] = [
            &[0],
            &[0; 511],
            &[0, 0, b'a'],
            &[1],
            b"a",
            b"a\0",
            b"a\0b",
            &[b'k'; 511],
            &[0xff, 0xff],
            &[0xff; 511],
        ];
        for (value, key) in (0..).zip(keys) {
            bench.numbers().create(key, &value).unwrap();
        }
        bench.step();
        for (value, key) in (0..).zip(keys) {
            let item = bench.numbers().get(key).unwrap().unwrap();
            assert_eq!((item.key(), item.value), (key, value));
        }
        let listed: Vec<Vec<u8>> = bench.numbers().keys().unwrap().map(Result::unwrap).collect();
        assert_eq!(listed, keys);
    });
}

#[test]
fn names_beyond_the_limits_are_refused() {
    on_every_backend(|bench| {
        let store = bench.store();
        for name in ["", "a\0b", "\0", &"n".repeat(129), &"é".repeat(65)] {
            invalid_key(store.collection::<u64>(name));
            invalid_key(store.raw(name));
            invalid_key(store.collection_with::<u64, Bincode>(name));
        }
        assert_untouched(bench);
    });
}

#[test]
fn any_text_within_the_limits_is_a_name() {
    on_every_backend(|bench| {
        let names = ["a", "A b/c\n", "\u{1}", "é", &"n".repeat(128), &"é".repeat(64)];
        for (value, name) in (0..).zip(names) {
            bench.collection::<u64>(name).create("k", &value).unwrap();
        }
        bench.step();
        for (value, name) in (0..).zip(names) {
            let collection = bench.collection::<u64>(name);
            assert_eq!(collection.name(), name);
            assert_eq!(collection.get("k").unwrap().map(|item| item.value), Some(value));
        }
    });
}

#[test]
fn an_empty_value_is_a_value() {
    on_every_backend(|bench| {
        bench.store().raw("blobs").unwrap().create("k", &Bytes::new()).unwrap();
        bench.step();
        let blobs = bench.store().raw("blobs").unwrap();
        assert_eq!(blobs.get("k").unwrap().map(|item| item.value), Some(Bytes::new()));
        assert_eq!(blobs.len().unwrap(), 1);
    });
}

#[test]
fn the_largest_value_is_kept_and_one_byte_more_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let mut bytes = vec![0xa5; MAX_VALUE_BYTES + 1];
    bytes[MAX_VALUE_BYTES - 1] = 7;
    let bytes = Bytes::from(bytes);
    assert_eq!(MAX_VALUE_BYTES, 64 << 20);
    assert_eq!(too_large(blobs.create("k", &bytes)), ((64 << 20) + 1, 64 << 20));
    assert_eq!(store.revision(), Revision::ZERO);

    let largest = bytes.slice(..MAX_VALUE_BYTES);
    let meta = blobs.create("k", &largest).unwrap();
    store.close().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let item = store.raw("blobs").unwrap().get("k").unwrap().unwrap();
    assert!(item.value == largest, "the largest value came back changed");
    assert_eq!(item.meta(), &meta);
}

#[test]
fn a_value_that_is_too_large_is_refused_by_every_writing_verb() {
    let store = Store::in_memory();
    let blobs = store.raw("blobs").unwrap();
    let large = Bytes::from(vec![0; MAX_VALUE_BYTES + 1]);
    let tag = blobs.create("k", &Bytes::new()).unwrap().etag();
    let before = blobs.get("k").unwrap().unwrap();
    too_large(blobs.replace("k", &large, tag));
    too_large(blobs.upsert("k", &large, Precondition::Always));
    too_large(blobs.save(&mut before.clone().map(|_| large.clone())));
    too_large(blobs.update("k", |value| *value = large.clone()));
    let batch = store.batch().create(&blobs, "other", &Bytes::new());
    too_large(failed_at(1, batch.replace(&blobs, "k", &large, tag).commit()));
    assert_eq!(blobs.get("k").unwrap(), Some(before));
    assert_eq!(blobs.len().unwrap(), 1);
}

#[test]
fn non_finite_numbers_are_refused_by_json() {
    on_every_backend(|bench| {
        let floats = bench.collection::<f64>("numbers");
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let created = floats.create("k", &value);
            assert!(matches!(created, Err(Error::Codec { .. })), "{created:?}");
        }
        assert_untouched(bench);
    });
}

#[test]
fn non_finite_numbers_are_kept_by_bincode() {
    on_every_backend(|bench| {
        let floats = bench.collection_with::<f64, Bincode>("floats");
        floats.create("nan", &f64::NAN).unwrap();
        floats.create("inf", &f64::NEG_INFINITY).unwrap();
        bench.step();
        let floats = bench.collection_with::<f64, Bincode>("floats");
        assert!(floats.get("nan").unwrap().unwrap().value.is_nan());
        assert_eq!(floats.get("inf").unwrap().unwrap().value, f64::NEG_INFINITY);
    });
}

#[test]
fn a_batch_takes_ten_thousand_operations_and_not_one_more() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let of = |count: u64| {
            let mut batch = bench.store().batch();
            for n in 0..count {
                batch = batch.create(&numbers, n.to_be_bytes(), &n);
            }
            assert_eq!(batch.len() as u64, count);
            batch
        };
        assert_eq!(too_large(of(10_001).commit()), (10_001, 10_000));
        assert_untouched(bench);
        let numbers = bench.numbers();
        let mut batch = bench.store().batch();
        for n in 0..10_000_u64 {
            batch = batch.create(&numbers, n.to_be_bytes(), &n);
        }
        batch.commit().unwrap();
        bench.step();
        assert_eq!(bench.numbers().len().unwrap(), 10_000);
    });
}

#[test]
fn a_batch_takes_64_mib_and_not_one_byte_more() {
    let store = Store::in_memory();
    let blobs = store.raw("blobs").unwrap();
    let half = Bytes::from(vec![1; 32 << 20]);
    let with_last = |bytes: usize| {
        let batch = store.batch().create(&blobs, "a", &half);
        batch.create(&blobs, "b", &half.slice(..bytes))
    };
    let room = (32 << 20) - "ab".len();
    assert_eq!(too_large(with_last(room + 1).commit()), ((64 << 20) + 1, 64 << 20));
    assert!(blobs.is_empty().unwrap());
    with_last(room).commit().unwrap();
    assert_eq!(blobs.len().unwrap(), 2);
}

#[test]
fn a_patch_that_makes_a_batch_too_large_is_refused() {
    // What a patch writes was not counted: with enough of it the batch made a frame that no open
    // took for one, and so was acknowledged and lost.
    let store = Store::in_memory();
    let (blobs, texts) = (store.raw("blobs").unwrap(), store.collection("texts").unwrap());
    let before = texts.create("text", &String::new()).unwrap();
    let blob = Bytes::from(vec![1; (64 << 20) - 100]);
    let with_text = |bytes: usize| {
        let patch = Patch::new().set("", "x".repeat(bytes));
        let batch = store.batch().create(&blobs, "blob", &blob);
        batch.patch(&texts, "text", &patch, Precondition::Always)
    };
    let quotes = 2;
    assert_eq!(too_large(with_text(101 - quotes).commit()), ((64 << 20) + 1, 64 << 20));
    assert!(blobs.is_empty().unwrap());
    assert_eq!(texts.get("text").unwrap().unwrap().meta(), &before);
    with_text(100 - quotes).commit().unwrap();
    assert_eq!(blobs.len().unwrap(), 1);
}

/// A number takes a byte or two when it is small, and all of its width when it is read.
#[test]
fn a_bincode_document_of_many_small_numbers_can_be_read_again() {
    let store = Store::in_memory();
    let lists = store.collection_with::<Vec<u128>, Bincode>("lists").unwrap();
    let list = vec![7; (16 << 20) + 1];
    lists.create("k", &list).unwrap();
    assert!(lists.get("k").unwrap().unwrap().value == list);
}
