//! Batches: order, one version per key, all or nothing, and what readers see.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ifmatch::{
    Bincode, Collection, ETag, Error, Item, Patch, PatchError, Precondition, Store, Tags,
};

use crate::backends::{
    Bench, already_exists, failed_at, invalid_precondition, not_found, on_every_backend,
    precondition_failed,
};
use crate::thinned;

const ANY: Precondition = Precondition::IfMatch(Tags::Any);
const NONE: Precondition = Precondition::IfNoneMatch(Tags::Any);
const ALWAYS: Precondition = Precondition::Always;

fn values(bench: &Bench) -> Vec<(String, u64)> {
    let pair = |item: Item<u64>| (item.key_str().unwrap().to_owned(), item.value);
    bench.numbers().iter().unwrap().map(|item| pair(item.unwrap())).collect()
}

/// Items `a`, `b` and `c` with the values 1, 2 and 3, and their tags.
fn three(bench: &Bench) -> [ETag; 3] {
    let tags = [("a", 1), ("b", 2), ("c", 3)]
        .map(|(key, value)| bench.numbers().create(key, &value).unwrap().etag());
    bench.step();
    tags
}

fn three_as_created() -> Vec<(String, u64)> {
    vec![("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)]
}

#[test]
fn every_verb_works_in_a_batch_over_several_collections() {
    on_every_backend(|bench| {
        let [a, b, c] = three(bench);
        let (numbers, store) = (bench.numbers(), bench.store());
        let blobs = store.raw("blobs").unwrap();
        let points = store.collection_with::<(i8, i8), Bincode>("points").unwrap();
        let revision = store
            .batch()
            .create(&numbers, "d", &4)
            .replace(&numbers, "a", &10, a)
            .upsert(&numbers, "e", &5, NONE)
            .patch(&numbers, "b", &Patch::new().incr("", 40), b)
            .delete(&numbers, "c", c)
            .check(&numbers, "f", NONE)
            .create(&blobs, "blob", &Bytes::from_static(b"\0"))
            .create(&points, "point", &(1, -1))
            .commit()
            .unwrap()
            .revision();
        bench.step();
        let expected = [("a", 10), ("b", 42), ("d", 4), ("e", 5)];
        assert_eq!(values(bench), expected.map(|(key, value)| (key.to_owned(), value)));
        let point = bench.collection_with::<(i8, i8), Bincode>("points").get("point").unwrap();
        assert_eq!(point.map(|item| (item.value, item.revision())), Some(((1, -1), revision)));
        assert_eq!(bench.store().raw("blobs").unwrap().len().unwrap(), 1);
        assert_eq!(bench.store().revision(), revision);
        let parents = bench.numbers().get_many(["a", "b", "d", "e"]).unwrap();
        let parents: Vec<_> = parents.into_iter().map(|item| item.unwrap().parent()).collect();
        assert_eq!(parents, [Some(a), Some(b), None, None]);
    });
}

#[test]
fn later_operations_see_earlier_ones() {
    on_every_backend(|bench| {
        let (numbers, store) = (bench.numbers(), bench.store());
        let incr = Patch::new().test("", 1).incr("", 1);
        store
            .batch()
            .check(&numbers, "k", NONE)
            .create(&numbers, "k", &1)
            .check(&numbers, "k", ANY)
            .patch(&numbers, "k", &incr, ANY)
            .patch(&numbers, "k", &Patch::new().test("", 2).incr("", 10), ALWAYS)
            .delete(&numbers, "k", ANY)
            .check(&numbers, "k", NONE)
            .create(&numbers, "k", &1)
            .patch(&numbers, "k", &incr, ALWAYS)
            .commit()
            .unwrap();
        bench.step();
        assert_eq!(values(bench), [("k".to_owned(), 2)]);
    });
}

#[test]
fn several_changes_of_one_item_make_one_version() {
    on_every_backend(|bench| {
        let [a, ..] = three(bench);
        let before = bench.store().revision();
        let numbers = bench.numbers();
        let batch = bench.store().batch().replace(&numbers, "a", &7, a);
        let batch = batch.replace(&numbers, "a", &8, ALWAYS).upsert(&numbers, "a", &9, ANY);
        let revision = batch.commit().unwrap().revision();
        bench.step();
        let item = bench.numbers().get("a").unwrap().unwrap();
        assert_eq!((item.value, item.parent(), item.revision()), (9, Some(a), revision));
        assert_eq!(revision.0, before.0 + 1, "one commit");
    });
}

#[test]
fn deleting_and_creating_again_in_one_batch_is_one_replacement() {
    on_every_backend(|bench| {
        let [a, ..] = three(bench);
        let numbers = bench.numbers();
        let batch = bench.store().batch().delete(&numbers, "a", a).create(&numbers, "a", &1);
        batch.commit().unwrap();
        bench.step();
        let item = bench.numbers().get("a").unwrap().unwrap();
        assert_eq!((item.value, item.parent()), (1, Some(a)));
        assert_ne!(item.etag(), a);
    });
}

#[test]
fn replacing_and_deleting_in_one_batch_is_one_removal() {
    on_every_backend(|bench| {
        let [a, ..] = three(bench);
        let numbers = bench.numbers();
        let batch = bench.store().batch().replace(&numbers, "a", &9, a);
        batch.delete(&numbers, "a", ALWAYS).commit().unwrap();
        bench.step();
        assert_eq!(bench.numbers().get("a").unwrap(), None);
        bench.numbers().create("a", &1).unwrap();
    });
}

#[test]
fn a_batch_that_changes_nothing_writes_nothing() {
    on_every_backend(|bench| {
        let [a, ..] = three(bench);
        let before = bench.store().revision();
        let (numbers, store) = (bench.numbers(), bench.store());
        assert!(store.batch().is_empty());
        assert_eq!(store.batch().commit().unwrap().revision(), before);
        assert_eq!(store.batch().check(&numbers, "a", a).commit().unwrap().revision(), before);
        let batch = store.batch().create(&numbers, "k", &1).replace(&numbers, "k", &2, ALWAYS);
        let batch = batch.delete(&numbers, "k", ALWAYS);
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.commit().unwrap().revision(), before);
        bench.step();
        assert_eq!((bench.store().revision(), values(bench)), (before, three_as_created()));
    });
}

#[test]
fn a_tag_for_an_item_that_the_batch_has_written_is_refused() {
    on_every_backend(|bench| {
        let [a, b, c] = three(bench);
        let (numbers, store) = (bench.numbers(), bench.store());
        let tags = [Precondition::from(a), Precondition::if_none_match(a), ETag::UNSAVED.into()];
        for tag in tags {
            let written = || store.batch().check(&numbers, "a", a).upsert(&numbers, "a", &9, a);
            let tag = || tag.clone();
            let patch = Patch::new();
            for batch in [
                written().replace(&numbers, "a", &1, tag()),
                written().upsert(&numbers, "a", &1, tag()),
                written().patch(&numbers, "a", &patch, tag()),
                written().delete(&numbers, "a", tag()),
                written().check(&numbers, "a", tag()),
            ] {
                invalid_precondition(failed_at(2, batch.commit()));
            }
            let batch = store.batch().delete(&numbers, "b", b).check(&numbers, "b", tag());
            invalid_precondition(failed_at(1, batch.commit()));
        }
        // What the batch has only checked has its tag still.
        store.batch().check(&numbers, "c", c).check(&numbers, "c", c).commit().unwrap();
        bench.step();
        assert_eq!(values(bench), three_as_created());
    });
}

#[test]
fn whether_an_item_that_the_batch_has_written_is_there_can_be_asked() {
    on_every_backend(|bench| {
        let [a, b, _] = three(bench);
        let (numbers, store) = (bench.numbers(), bench.store());
        let written = || store.batch().replace(&numbers, "a", &9, a);
        let current =
            precondition_failed(failed_at(1, written().upsert(&numbers, "a", &1, NONE).commit()));
        let current: Item<u64> = current.expect("the item as the batch would leave it");
        assert_eq!((current.value, current.etag()), (9, ETag::UNSAVED));
        let deleted = || store.batch().delete(&numbers, "b", b);
        let result = failed_at(1, deleted().upsert(&numbers, "b", &1, ANY).commit());
        assert_eq!(precondition_failed::<u64, _>(result), None);
        not_found(failed_at(1, deleted().delete(&numbers, "b", ANY).commit()));
        let current: Item<u64> =
            already_exists(failed_at(1, written().create(&numbers, "a", &1).commit()));
        assert_eq!(current.value, 9);
        written().replace(&numbers, "a", &10, ANY).commit().unwrap();
        deleted().upsert(&numbers, "b", &20, NONE).commit().unwrap();
        bench.step();
        let expected = [("a", 10), ("b", 20), ("c", 3)];
        assert_eq!(values(bench), expected.map(|(key, value)| (key.to_owned(), value)));
    });
}

#[test]
fn the_first_operation_that_fails_is_named_with_its_own_error_and_nothing_applied() {
    on_every_backend(|bench| {
        let [a, b, _] = three(bench);
        let (numbers, store) = (bench.numbers(), bench.store());
        let before = store.revision();
        let begun = || {
            let batch = store.batch().replace(&numbers, "a", &9, a).delete(&numbers, "c", ALWAYS);
            batch.create(&numbers, "new", &9)
        };
        let fails = |batch: ifmatch::Batch| {
            // What comes after the failure is not reached.
            failed_at(3, batch.replace(&numbers, "missing", &0, ALWAYS).commit())
        };
        let current: Item<u64> = already_exists(fails(begun().create(&numbers, "b", &1)));
        assert_eq!((current.value, current.etag()), (2, b));
        let stale = begun().replace(&numbers, "b", &1, a);
        assert_eq!(precondition_failed(fails(stale)), Some(current.clone()));
        let checked = begun().check(&numbers, "b", Precondition::if_none_match(b));
        assert_eq!(precondition_failed(fails(checked)), Some(current));
        not_found(fails(begun().replace(&numbers, "none", &1, ALWAYS)));
        not_found(fails(begun().patch(&numbers, "none", &Patch::new(), ALWAYS)));
        not_found(fails(begun().delete(&numbers, "none", ALWAYS)));
        invalid_precondition(fails(begun().check(&numbers, "b", ALWAYS)));
        let test = Patch::new().test("", 7);
        let Err(Error::Patch(error)) = fails(begun().patch(&numbers, "b", &test, b)) else {
            panic!("expected a patch error")
        };
        assert!(matches!(error, PatchError::TestFailed { index: 0, .. }));
        let floats = bench.collection::<f64>("floats");
        let refused = fails(begun().create(&floats, "nan", &f64::NAN));
        assert!(matches!(refused, Err(Error::Codec { .. })), "{refused:?}");
        bench.step();
        assert_eq!((bench.store().revision(), values(bench)), (before, three_as_created()));
    });
}

#[test]
fn a_failed_batch_answers_with_its_operations_status() {
    let store = Store::in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    let error = store.batch().delete(&numbers, "k", ALWAYS).commit().unwrap_err();
    assert_eq!(error.http_status(), 404);
    assert_eq!((error.collection(), error.key()), (Some("numbers"), Some(&b"k"[..])));
}

#[test]
fn a_collection_of_another_store_is_refused() {
    on_every_backend(|bench| {
        let foreign = Store::in_memory().collection::<u64>("numbers").unwrap();
        let numbers = bench.numbers();
        let batch = bench.store().batch().create(&numbers, "a", &1).create(&foreign, "b", &1);
        let result = failed_at(1, batch.commit());
        assert!(result.is_err_and(|error| error.http_status() == 400));
        bench.step();
        assert!(bench.numbers().is_empty().unwrap() && foreign.is_empty().unwrap());
    });
}

#[test]
fn a_collection_opened_from_a_clone_of_the_store_is_the_stores() {
    on_every_backend(|bench| {
        let clone = bench.store();
        let numbers = clone.clone().collection::<u64>("numbers").unwrap();
        clone.batch().create(&numbers.clone(), "a", &1).commit().unwrap();
        assert_eq!(numbers.len().unwrap(), 1);
    });
}

/// The keys of one generation, of which a reader must find all at one value.
const KEYS: u8 = 40;

fn keys() -> Vec<[u8; 1]> {
    (0..KEYS).map(|key| [key]).collect()
}

/// Runs readers beside a writer that sets all items to 1, 2, 3 … in one batch each.
fn beside_a_writer(store: &Store, rounds: u64, read: impl Fn(&Collection<u64>) + Sync) {
    let numbers = store.collection::<u64>("numbers").unwrap();
    let write = |value: u64| {
        let mut batch = store.batch();
        for key in keys() {
            batch = batch.upsert(&numbers, key, &value, ALWAYS);
        }
        batch.commit().unwrap();
    };
    write(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    read(&numbers);
                }
                read(&numbers);
            });
        }
        // The readers must be told even if the writer fails, or they would never end.
        let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (1..=rounds).for_each(write);
        }));
        done.store(true, Ordering::Relaxed);
        written.unwrap();
    });
}

fn stores() -> [(Store, tempfile::TempDir); 2] {
    let options = ifmatch::Options::new().durability(ifmatch::Durability::Eventual);
    let folder = tempfile::tempdir().unwrap();
    // No cache, so that readers go to the index and the journal.
    let on_disk = options.cache_bytes(0).open(folder.path().join("store")).unwrap();
    [(Store::in_memory(), tempfile::tempdir().unwrap()), (on_disk, folder)]
}

#[test]
fn get_many_never_sees_half_of_a_batch() {
    for (store, _folder) in stores() {
        beside_a_writer(&store, thinned(150, 400), |numbers| {
            let items = numbers.get_many(keys()).unwrap();
            let values: Vec<u64> = items.into_iter().map(|item| item.unwrap().value).collect();
            assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        });
    }
}

#[test]
fn once_one_change_of_a_batch_is_seen_by_get_all_are() {
    for (store, _folder) in stores() {
        beside_a_writer(&store, thinned(150, 400), |numbers| {
            let get = |key: [u8; 1]| numbers.get(key).unwrap().unwrap();
            for order in [keys(), keys().into_iter().rev().collect()] {
                let seen: Vec<Item<u64>> = order.into_iter().map(get).collect();
                let step_back = seen.windows(2).find(|pair| pair[1].value < pair[0].value);
                assert!(step_back.is_none(), "{step_back:?}");
                let step_back =
                    seen.windows(2).find(|pair| pair[1].revision() < pair[0].revision());
                assert!(step_back.is_none(), "{step_back:?}");
            }
        });
    }
}

#[test]
fn transfers_between_accounts_keep_their_sum() {
    let store = Store::in_memory();
    let accounts = store.collection::<i64>("accounts").unwrap();
    for key in keys() {
        accounts.create(key, &100).unwrap();
    }
    let transfer = &|seed: u64| {
        // A walk that visits all pairs, another one for each thread.
        let mut walk = seed + 1;
        let mut pick = || {
            walk = walk.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
            [((walk >> 33) % u64::from(KEYS)) as u8]
        };
        let mut done = 0;
        while done < 200 {
            let (from, to) = (pick(), pick());
            if from == to {
                continue;
            }
            let (source, target) = (accounts.get(from).unwrap(), accounts.get(to).unwrap());
            let (source, target) = (source.unwrap(), target.unwrap());
            let batch = store.batch().replace(&accounts, from, &(source.value - 1), &source);
            match batch.replace(&accounts, to, &(target.value + 1), &target).commit() {
                Ok(_) => done += 1,
                Err(Error::Batch { source, .. }) => {
                    assert!(matches!(*source, Error::PreconditionFailed(_)), "{source:?}");
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|seed| scope.spawn(move || transfer(seed))).collect();
        while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let items = accounts.get_many(keys()).unwrap();
            let sum: i64 = items.into_iter().map(|item| item.unwrap().value).sum();
            assert_eq!(sum, 100 * i64::from(KEYS));
        }
    });
}

#[test]
fn e5_a_batch_gives_the_version_of_each_operations_item() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let a = numbers.create("a", &1).unwrap();
        let b = numbers.create("b", &1).unwrap();
        let done = bench
            .store()
            .batch()
            .check(&numbers, "a", a)
            .create(&numbers, "c", &1)
            .replace(&numbers, "c", &2, Precondition::if_match(Tags::Any))
            .delete(&numbers, "b", b)
            .create(&numbers, "passing", &1)
            .delete(&numbers, "passing", Precondition::Always)
            .replace(&numbers, "a", &2, Precondition::from(&a))
            .commit()
            .unwrap();
        let c = *numbers.get("c").unwrap().unwrap().meta();
        let a = *numbers.get("a").unwrap().unwrap().meta();
        let removal = *done.meta(3).unwrap();
        assert_eq!(done.metas(), [None, Some(c), Some(c), Some(removal), None, None, Some(a)]);
        assert_eq!(removal.parent(), Some(b.etag()));
        assert_eq!(done.meta(7), None);
        assert_eq!([c, a, removal].map(|meta| meta.revision()), [done.revision(); 3]);

        // Of one operation, and of nothing.
        let done = bench.store().batch().delete(&numbers, "a", a).commit().unwrap();
        assert_eq!(done.meta(0).unwrap().parent(), Some(a.etag()));
        let checked = bench.store().batch().check(&numbers, "c", c).commit().unwrap();
        assert_eq!((checked.metas(), checked.revision()), (&[None][..], done.revision()));
        assert_eq!(bench.store().batch().commit().unwrap().metas(), []);
    });
}

#[test]
fn e5_batches_are_put_together_and_taken_apart_in_a_loop() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let one = |n: u64| bench.store().batch().create(&numbers, n.to_be_bytes(), &n);
        let mut batch = bench.store().batch();
        for n in 0..25 {
            batch.extend([one(n)]);
            if batch.len() == 10 {
                assert_eq!(batch.take().commit().unwrap().metas().len(), 10);
                assert!(batch.is_empty());
            }
        }
        batch.extend((25..30).map(one));
        assert_eq!(batch.commit().unwrap().metas().len(), 10);
        assert_eq!(numbers.len().unwrap(), 30);
    });
}

#[test]
fn what_cannot_be_written_is_told_with_its_place_in_the_whole_batch() {
    let (store, other) = (ifmatch::Store::in_memory(), ifmatch::Store::in_memory());
    let numbers = store.collection::<u64>("numbers").unwrap();
    let foreign = other.collection::<u64>("numbers").unwrap();
    let mut batch = store.batch().create(&numbers, "a", &1);
    batch.extend([store.batch().create(&numbers, "b", &1).create(&numbers, "", &1)]);
    batch.extend([store.batch().create(&numbers, "c", &1)]);
    let refused = batch.commit();
    assert!(matches!(refused, Err(Error::Batch { index: 2, .. })), "{refused:?}");

    let mut batch = store.batch().create(&numbers, "a", &1);
    batch.extend([other.batch().create(&foreign, "b", &1)]);
    let refused = batch.commit();
    let Err(Error::Batch { index: 1, source }) = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, Error::InvalidKey { .. }), "{source:?}");
    assert!(numbers.is_empty().unwrap());
}
