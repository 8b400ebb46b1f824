//! What a tag names, and the rest of what names a version: parent, revision, time.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use ifmatch::{ETag, Item, Meta, Precondition, Revision, Store};

use crate::backends::{Bench, on_every_backend};

/// Writes the value over whatever is there.
fn put(bench: &Bench, value: u64) -> Meta {
    let meta = bench.numbers().upsert("k", &value, Precondition::Always).unwrap();
    bench.step();
    meta
}

fn assert_all_different(metas: &[Meta]) {
    let tags: HashSet<ETag> = metas.iter().map(Meta::etag).collect();
    assert_eq!(tags.len(), metas.len(), "{metas:?}");
}

#[test]
fn writing_the_same_bytes_gives_a_new_tag() {
    on_every_backend(|bench| assert_all_different(&[put(bench, 1), put(bench, 1), put(bench, 1)]));
}

#[test]
fn going_back_to_an_earlier_value_gives_a_third_tag() {
    on_every_backend(|bench| assert_all_different(&[put(bench, 1), put(bench, 2), put(bench, 1)]));
}

#[test]
fn deleting_and_creating_again_gives_new_tags() {
    on_every_backend(|bench| {
        let mut metas = Vec::new();
        for _ in 0..2 {
            metas.push(bench.numbers().create("k", &1).unwrap());
            bench.step();
            metas.push(bench.numbers().delete("k", Precondition::Always).unwrap());
            bench.step();
        }
        assert_all_different(&metas);
    });
}

#[test]
fn equal_values_under_other_keys_and_in_other_collections_have_other_tags() {
    on_every_backend(|bench| {
        let others = bench.collection::<u64>("others");
        let batch = bench.store().batch();
        let batch = batch.create(&bench.numbers(), "a", &1).create(&bench.numbers(), "b", &1);
        batch.create(&others, "a", &1).commit().unwrap();
        bench.step();
        let mut items = bench.numbers().get_many(["a", "b"]).unwrap();
        items.push(bench.collection("others").get("a").unwrap());
        let metas: Vec<Meta> = items.iter().flatten().map(|item| *item.meta()).collect();
        assert_eq!(metas.len(), 3);
        assert_all_different(&metas);
    });
}

#[test]
fn an_items_version_survives_reopening() {
    on_every_backend(|bench| {
        put(bench, 1);
        let meta = put(bench, 2);
        let read = || *bench.numbers().get("k").unwrap().unwrap().meta();
        assert_eq!(read(), meta);
        bench.step();
        assert_eq!(read(), meta);
    });
}

#[test]
fn two_stores_with_the_same_history_have_different_tags() {
    on_every_backend(|bench| {
        let other = Store::in_memory();
        let others = other.collection::<u64>("numbers").unwrap();
        let mut metas = Vec::new();
        for value in [10, 9] {
            metas.push(put(bench, value));
            metas.push(others.upsert("k", &value, Precondition::Always).unwrap());
        }
        assert_all_different(&metas);
        let foreign = metas.pop().unwrap().etag();
        let replaced = bench.numbers().replace("k", &8, foreign);
        assert!(replaced.is_err(), "a tag of another store was taken for our own");
    });
}

#[test]
fn each_version_names_the_one_it_replaced() {
    on_every_backend(|bench| {
        let created = put(bench, 1);
        let replaced = put(bench, 2);
        let updated = *bench.numbers().update("k", |n| *n += 1).unwrap().meta();
        bench.step();
        let patch = ifmatch::Patch::new().set("", 5);
        let patched = *bench.numbers().patch("k", &patch, updated.etag()).unwrap().meta();
        bench.step();
        let deleted = bench.numbers().delete("k", patched.etag()).unwrap();
        bench.step();
        let recreated = bench.numbers().create("k", &1).unwrap();
        let metas = [created, replaced, updated, patched, deleted];
        assert_eq!(created.parent(), None);
        for pair in metas.windows(2) {
            assert_eq!(pair[1].parent(), Some(pair[0].etag()));
        }
        assert_eq!(recreated.parent(), None, "a create replaces nothing");
    });
}

#[test]
fn revisions_increase_with_every_write_of_the_store() {
    on_every_backend(|bench| {
        let mut last = Revision::ZERO;
        for round in 0..6 {
            let name = if round % 2 == 0 { "even" } else { "odd" };
            let collection = bench.collection::<u64>(name);
            let meta = collection.upsert("k", &round, Precondition::Always).unwrap();
            assert!(meta.revision() > last);
            assert_eq!(bench.store().revision(), meta.revision());
            last = meta.revision();
            bench.step();
            assert_eq!(bench.store().revision(), last);
        }
    });
}

#[test]
fn all_items_of_a_batch_share_its_revision() {
    on_every_backend(|bench| {
        let before = put(bench, 0).revision();
        let mut batch = bench.store().batch();
        for key in ["a", "b", "c"] {
            batch = batch.create(&bench.numbers(), key, &1);
        }
        let revision = batch.commit().unwrap().revision();
        bench.step();
        assert!(revision > before);
        for item in bench.numbers().get_many(["a", "b", "c"]).unwrap() {
            assert_eq!(item.unwrap().revision(), revision);
        }
        assert!(put(bench, 1).revision() > revision);
    });
}

#[test]
fn revisions_of_concurrent_writers_are_all_different() {
    on_every_backend(|bench| {
        let write = |thread: usize| {
            let numbers = bench.numbers();
            move || {
                let create = |i| numbers.create(format!("{thread}-{i}"), &0).unwrap().revision();
                (0..50).map(create).collect::<Vec<_>>()
            }
        };
        let revisions: Vec<Vec<Revision>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(write(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(revisions.iter().all(|own| own.is_sorted()));
        let different: HashSet<Revision> = revisions.iter().flatten().copied().collect();
        assert_eq!(different.len(), 200);
        assert_eq!(bench.store().revision(), different.into_iter().max().unwrap());
    });
}

#[test]
fn each_version_is_at_least_a_millisecond_after_the_one_before() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        // Faster than the clock ticks, so that the rule is what keeps them apart.
        let mut last = numbers.create("k", &0).unwrap();
        for value in 0..50 {
            let next = numbers.replace("k", &value, last.etag()).unwrap();
            assert!(next.modified() >= last.modified() + Duration::from_millis(1));
            last = next;
        }
        let deleted = numbers.delete("k", last.etag()).unwrap();
        bench.step();
        let recreated = bench.numbers().create("k", &0).unwrap();
        assert!(deleted.modified() >= last.modified() + Duration::from_millis(1));
        assert!(recreated.modified() >= deleted.modified() + Duration::from_millis(1));
    });
}

#[test]
fn modified_is_the_wall_clock_time_of_the_write() {
    on_every_backend(|bench| {
        let tolerance = Duration::from_millis(1);
        let before = SystemTime::now() - tolerance;
        let meta = put(bench, 1);
        assert!(before <= meta.modified() && meta.modified() <= SystemTime::now() + tolerance);
    });
}

#[test]
fn an_items_accessors_tell_what_its_meta_tells() {
    on_every_backend(|bench| {
        let first = put(bench, 1);
        let meta = put(bench, 2);
        let item = bench.numbers().get("k").unwrap().unwrap();
        assert_eq!((item.key(), item.key_str(), item.value), (&b"k"[..], Some("k"), 2));
        assert_eq!(
            (item.meta(), item.etag(), item.revision()),
            (&meta, meta.etag(), meta.revision())
        );
        assert_eq!((item.parent(), meta.parent()), (Some(first.etag()), Some(first.etag())));
        assert_eq!((item.modified(), item.expires()), (meta.modified(), None));
        let text = item.clone().map(|value| value.to_string());
        assert_eq!((text.value.as_str(), text.meta(), text.key()), ("2", &meta, item.key()));
    });
}

#[test]
fn a_key_that_is_no_text_has_no_text() {
    assert_eq!(Item::new([0xff, 0], 1).key_str(), None);
    assert_eq!(Item::new([0xff, 0], 1).key(), [0xff, 0]);
}

#[test]
fn a_tag_is_read_back_from_what_it_displays() {
    on_every_backend(|bench| {
        let tag = put(bench, 1).etag();
        let text = tag.to_string();
        assert_eq!((text.len(), text.parse::<ETag>()), (34, Ok(tag)));
        let read = bench.numbers().get("k").unwrap().unwrap();
        let header: ifmatch::Tags = text.parse().unwrap();
        bench.numbers().replace("k", &read.value, Precondition::IfMatch(header)).unwrap();
    });
}

#[test]
fn tags_and_revisions_pass_through_serde() {
    on_every_backend(|bench| {
        let meta = put(bench, 1);
        let json = serde_json::to_string(&(meta.etag(), meta.revision())).unwrap();
        assert_eq!(json, format!("[{:?},{}]", meta.etag().to_string(), meta.revision()));
        let read: (ETag, Revision) = serde_json::from_str(&json).unwrap();
        assert_eq!(read, (meta.etag(), meta.revision()));
    });
}

#[test]
fn a_document_is_stored_without_its_tag() {
    on_every_backend(|bench| {
        let meta =
            bench.collection::<serde_json::Value>("docs").create("k", &serde_json::json!({}));
        bench.step();
        let docs = bench.collection::<serde_json::Value>("docs");
        let refused = docs.create("k", &serde_json::json!({"other": 1}));
        let Err(ifmatch::Error::AlreadyExists(conflict)) = refused else { panic!("{refused:?}") };
        let current = conflict.current_bytes().unwrap();
        assert_eq!((&*current.value, current.etag()), (&b"{}"[..], meta.unwrap().etag()));
    });
}
