//! `create` and `save`: the verbs that need no tag named.

use ifmatch::{ETag, Error, Item, Precondition, Revision};

use crate::backends::{already_exists, on_every_backend, precondition_failed};

#[test]
fn create_of_absent_item_writes() {
    on_every_backend(|bench| {
        let meta = bench.numbers().create("k", &1).unwrap();
        bench.step();
        let item = bench.numbers().get("k").unwrap().unwrap();
        assert_eq!((item.value, item.meta(), item.parent()), (1, &meta, None));
        assert_eq!(bench.store().revision(), meta.revision());
    });
}

#[test]
fn create_of_present_item_already_exists() {
    on_every_backend(|bench| {
        let meta = bench.numbers().create("k", &1).unwrap();
        bench.step();
        let current: Item<u64> = already_exists(bench.numbers().create("k", &2));
        assert_eq!((current.value, current.meta(), current.key()), (1, &meta, &b"k"[..]));
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap(), Some(current));
        assert_eq!(bench.store().revision(), meta.revision());
    });
}

#[test]
fn create_after_delete_writes() {
    on_every_backend(|bench| {
        let first = bench.numbers().create("k", &1).unwrap();
        let deleted = bench.numbers().delete("k", first.etag()).unwrap();
        bench.step();
        let second = bench.numbers().create("k", &1).unwrap();
        assert!(second.revision() > deleted.revision());
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap().unwrap().meta(), &second);
    });
}

#[test]
fn save_of_a_new_item_creates() {
    on_every_backend(|bench| {
        let mut item = Item::new("k", 1);
        assert_eq!((item.etag(), item.revision()), (ETag::UNSAVED, Revision::ZERO));
        bench.numbers().save(&mut item).unwrap();
        assert_ne!(item.etag(), ETag::UNSAVED);
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap(), Some(item));
    });
}

#[test]
fn save_of_a_new_item_on_a_present_key_already_exists() {
    on_every_backend(|bench| {
        bench.numbers().create("k", &1).unwrap();
        bench.step();
        let mut item = Item::new("k", 2);
        let untouched = item.clone();
        let current: Item<u64> = already_exists(bench.numbers().save(&mut item));
        assert_eq!(current.value, 1);
        assert_eq!(item, untouched);
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap(), Some(current));
    });
}

#[test]
fn save_of_an_unchanged_item_replaces_and_gives_it_the_new_tag() {
    on_every_backend(|bench| {
        bench.numbers().create("k", &1).unwrap();
        bench.step();
        let mut item = bench.numbers().get("k").unwrap().unwrap();
        for value in 2..5 {
            let before = item.etag();
            item.value = value;
            bench.numbers().save(&mut item).unwrap();
            assert_eq!(item.parent(), Some(before));
            assert_ne!(item.etag(), before);
            bench.step();
            assert_eq!(bench.numbers().get("k").unwrap().as_ref(), Some(&item));
        }
    });
}

#[test]
fn save_of_a_stale_item_fails_and_leaves_both_as_they_were() {
    on_every_backend(|bench| {
        bench.numbers().create("k", &1).unwrap();
        let mut stale = bench.numbers().get("k").unwrap().unwrap();
        bench.numbers().replace("k", &2, &stale).unwrap();
        bench.step();
        stale.value = 3;
        let untouched = stale.clone();
        let current: Item<u64> =
            precondition_failed(bench.numbers().save(&mut stale)).expect("the item is there");
        assert_eq!(current.value, 2);
        assert_eq!(stale, untouched);
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap(), Some(current));
    });
}

#[test]
fn save_of_a_deleted_item_fails_without_current() {
    on_every_backend(|bench| {
        bench.numbers().create("k", &1).unwrap();
        let mut item = bench.numbers().get("k").unwrap().unwrap();
        bench.numbers().delete("k", Precondition::Always).unwrap();
        bench.step();
        assert_eq!(precondition_failed::<u64, _>(bench.numbers().save(&mut item)), None);
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap(), None);
    });
}

#[test]
fn save_of_a_value_that_cannot_be_written_leaves_the_item_as_it_was() {
    on_every_backend(|bench| {
        let mut item = Item::new("k", f64::NAN);
        let saved = bench.collection::<f64>("floats").save(&mut item);
        assert!(matches!(saved, Err(Error::Codec { .. })));
        assert_eq!(item.etag(), ETag::UNSAVED);
    });
}

#[test]
fn an_item_read_in_one_collection_is_not_saved_over_anothers() {
    on_every_backend(|bench| {
        bench.numbers().create("k", &1).unwrap();
        let mut item = bench.numbers().get("k").unwrap().unwrap();
        bench.collection::<u64>("others").create("k", &5).unwrap();
        bench.step();
        let saved = bench.collection::<u64>("others").save(&mut item);
        assert_eq!(precondition_failed::<u64, _>(saved).map(|item| item.value), Some(5));
    });
}
