//! `get` and `get_if`: each precondition with each state of an item.

use std::time::{Duration, SystemTime};

use ifmatch::{ETag, Item, Precondition, Read, Tags};

use crate::backends::{Bench, on_every_backend, precondition_failed};

const SOME_TAG: ETag = ETag([5; 16]);

struct Present {
    item: Item<u64>,
    stale: ETag,
}

fn present(bench: &Bench) -> Present {
    let stale = bench.numbers().create("k", &1).unwrap().etag();
    bench.numbers().replace("k", &2, stale).unwrap();
    bench.step();
    Present { item: bench.numbers().get("k").unwrap().unwrap(), stale }
}

fn found(precondition: impl Fn(&Present) -> Precondition) {
    on_every_backend(|bench| {
        let present = present(bench);
        let read = bench.numbers().get_if("k", precondition(&present)).unwrap();
        assert_eq!(read.http_status(), 200);
        assert_eq!(read.found(), Some(present.item));
    });
}

fn not_modified(precondition: impl Fn(&Present) -> Precondition) {
    on_every_backend(|bench| {
        let present = present(bench);
        let read = bench.numbers().get_if("k", precondition(&present)).unwrap();
        assert_eq!(read, Read::NotModified(*present.item.meta()));
        assert_eq!(read.http_status(), 304);
        assert_eq!(read.found(), None);
    });
}

fn missing(precondition: &Precondition) {
    on_every_backend(|bench| {
        let look = || {
            let read = bench.numbers().get_if("k", precondition.clone()).unwrap();
            assert_eq!(read, Read::Missing);
            assert_eq!(read.http_status(), 404);
        };
        look();
        present(bench);
        bench.numbers().delete("k", Precondition::Always).unwrap();
        bench.step();
        look();
    });
}

#[test]
fn get_of_absent_item_is_none() {
    on_every_backend(|bench| assert_eq!(bench.numbers().get("k").unwrap(), None));
}

#[test]
fn get_gives_the_item_as_written() {
    on_every_backend(|bench| {
        let meta = bench.numbers().create("k", &7).unwrap();
        bench.step();
        let item = bench.numbers().get("k").unwrap().unwrap();
        assert_eq!((item.key(), item.value, item.meta()), (&b"k"[..], 7, &meta));
    });
}

#[test]
fn get_if_always_finds_what_is_there() {
    found(|_| Precondition::Always);
    missing(&Precondition::Always);
}

#[test]
fn get_if_match_of_current_tag_finds() {
    found(|present| present.item.etag().into());
    found(|_| Precondition::if_match(Tags::Any));
    found(|present| Precondition::if_match([present.stale, present.item.etag()]));
}

#[test]
fn get_if_match_of_stale_tag_fails_with_current() {
    on_every_backend(|bench| {
        let Present { item, stale } = present(bench);
        for tags in [Tags::from(stale), Tags::List(Vec::new()), SOME_TAG.into()] {
            let read = bench.numbers().get_if("k", Precondition::if_match(tags));
            assert_eq!(precondition_failed(read), Some(item.clone()));
        }
    });
}

#[test]
fn get_if_match_of_absent_item_fails_without_current() {
    on_every_backend(|bench| {
        for tags in [Tags::Any, SOME_TAG.into()] {
            let read = bench.numbers().get_if("k", Precondition::if_match(tags));
            assert_eq!(precondition_failed::<u64, _>(read), None);
        }
    });
}

#[test]
fn get_if_none_match_of_current_tag_is_not_modified() {
    not_modified(|present| Precondition::if_none_match(present.item.etag()));
    not_modified(|present| Precondition::if_none_match([present.stale, present.item.etag()]));
}

/// Regression: weak tags were left out, so a cache that sends them was given everything again.
#[test]
fn b11_get_if_none_match_of_the_current_tag_as_a_weak_one_is_not_modified() {
    let weak = |tag: ifmatch::ETag| format!("W/{tag}").parse::<Tags>().unwrap();
    not_modified(|present| Precondition::if_none_match(weak(present.item.etag())));
    found(|present| Precondition::if_none_match(weak(present.stale)));
}

#[test]
fn get_if_none_match_of_stale_tag_finds() {
    found(|present| Precondition::if_none_match(present.stale));
    found(|_| Precondition::if_none_match(Tags::List(Vec::new())));
}

#[test]
fn get_if_none_match_any_is_not_modified_when_present() {
    not_modified(|_| Precondition::if_none_match(Tags::Any));
}

#[test]
fn get_if_none_match_of_absent_item_is_missing() {
    missing(&Precondition::if_none_match(SOME_TAG));
    missing(&Precondition::if_none_match(Tags::Any));
}

#[test]
fn get_if_modified_since_is_not_modified_from_the_time_of_the_write_on() {
    not_modified(|present| Precondition::if_modified_since(present.item.modified()));
    let later = Duration::from_secs(60);
    not_modified(|present| Precondition::if_modified_since(present.item.modified() + later));
}

/// Regression: compared by the millisecond, the date that a `Last-Modified` header shows, which has
/// whole seconds, was nearly always older than the write.
#[test]
fn b11_get_if_modified_since_the_second_of_the_write_is_not_modified() {
    let second = |at: SystemTime| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
    };
    not_modified(|present| Precondition::if_modified_since(second(present.item.modified())));
    let before = Duration::from_secs(1);
    found(|present| Precondition::if_modified_since(second(present.item.modified()) - before));
}

#[test]
fn get_if_modified_since_an_earlier_instant_finds() {
    let earlier = Duration::from_millis(1);
    found(|present| Precondition::if_modified_since(present.item.modified() - earlier));
    found(|_| Precondition::if_modified_since(SystemTime::UNIX_EPOCH));
}

#[test]
fn get_if_modified_since_of_absent_item_is_missing() {
    missing(&Precondition::if_modified_since(SystemTime::UNIX_EPOCH));
}

#[test]
fn not_modified_is_decided_without_decoding_the_document() {
    on_every_backend(|bench| {
        let tag = bench.numbers().create("k", &7).unwrap().etag();
        bench.step();
        let texts = bench.collection::<String>("numbers");
        let read = texts.get_if("k", Precondition::if_none_match(tag)).unwrap();
        assert!(matches!(read, Read::NotModified(meta) if meta.etag() == tag));
        assert!(texts.get("k").is_err());
    });
}

#[test]
fn get_many_gives_items_in_the_order_of_the_keys_asked_for() {
    on_every_backend(|bench| {
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            bench.numbers().create(key, &value).unwrap();
        }
        bench.numbers().delete("b", Precondition::Always).unwrap();
        bench.step();
        let items = bench.numbers().get_many(["c", "x", "b", "a", "c"]).unwrap();
        let values: Vec<_> = items.into_iter().map(|item| item.map(|item| item.value)).collect();
        assert_eq!(values, [Some(3), None, None, Some(1), Some(3)]);
        assert_eq!(bench.numbers().get_many::<&str>([]).unwrap(), []);
    });
}

#[test]
fn one_bad_key_refuses_the_whole_get_many() {
    on_every_backend(|bench| {
        let read = bench.numbers().get_many(["a", ""]);
        assert!(matches!(read, Err(ifmatch::Error::InvalidKey { .. })));
    });
}
