//! When a write expires is ruled by the handle that it goes through.

use std::time::{Duration, UNIX_EPOCH};

use ifmatch::{Cursor, Error, Item, Meta, Patch, RetryPolicy};

use super::{ALWAYS, BEGIN_MS, Rig, TTL, expires_ms};
use crate::backends::{not_found, on_every_backend, precondition_failed};

#[test]
fn a_write_through_a_handle_with_a_ttl_expires_so_long_after_its_commit() {
    let rig = Rig::new();
    let fleeting = rig.fleeting();
    let mut at = 0;
    let mut check = |meta: Meta| {
        assert_eq!(expires_ms(&meta), Some(at + 1_000));
        let stored = rig.plain().get(if at == 0 { "first" } else { "a" }).unwrap();
        assert_eq!(stored.map(|item| *item.meta()), Some(meta));
        at += 10;
        rig.at(at);
    };
    check(fleeting.create("first", &1).unwrap());
    check(fleeting.create("a", &1).unwrap());
    check(fleeting.replace("a", &2, ALWAYS).unwrap());
    check(fleeting.upsert("a", &3, ALWAYS).unwrap());
    check(*fleeting.patch("a", &Patch::new().incr("", 1), ALWAYS).unwrap().meta());
    check(*fleeting.update("a", |n| *n += 1).unwrap().meta());
    check(*fleeting.update_or_insert_with("a", || 0, |n| *n += 1).unwrap().meta());
    let mut item = fleeting.get("a").unwrap().unwrap();
    fleeting.save(&mut item).unwrap();
    check(*item.meta());
    for batch in [
        rig.store.batch().replace(&fleeting, "a", &2, ALWAYS),
        rig.store.batch().upsert(&fleeting, "a", &2, ALWAYS),
        rig.store.batch().patch(&fleeting, "a", &Patch::new().incr("", 1), ALWAYS),
    ] {
        batch.commit().unwrap();
        check(*rig.plain().get("a").unwrap().unwrap().meta());
    }
    rig.plain().delete("a", ALWAYS).unwrap();
    assert_eq!(fleeting.delete("first", ALWAYS).unwrap().expires(), None, "a removal expires");
    rig.store.batch().create(&fleeting, "a", &2).commit().unwrap();
    check(*rig.plain().get("a").unwrap().unwrap().meta());
}

#[test]
fn d1_a_write_keeps_the_expiry_unless_it_is_told_otherwise() {
    let rig = Rig::new();
    let plain = rig.plain();
    let renew = || assert!(rig.fleeting().upsert("a", &1, ALWAYS).is_ok());
    renew();
    rig.at(500);
    let kept = Some(1_000);
    let patched = plain.patch("a", &Patch::new().incr("", 1), ALWAYS).unwrap();
    assert_eq!(expires_ms(patched.meta()), kept);
    assert_eq!(expires_ms(plain.update("a", |n| *n += 1).unwrap().meta()), kept);
    let inserted = plain.update_or_insert_with("a", || 0, |n| *n += 1).unwrap();
    assert_eq!(expires_ms(inserted.meta()), kept);
    let mut item = plain.get("a").unwrap().unwrap();
    plain.save(&mut item).unwrap();
    assert_eq!(expires_ms(item.meta()), kept);
    rig.store.batch().patch(&plain, "a", &Patch::new().incr("", 1), ALWAYS).commit().unwrap();
    let item = plain.get("a").unwrap().unwrap();
    assert_eq!((item.value, expires_ms(item.meta())), (5, kept));

    // Regression: one plain replace made a session that was to expire stay for ever.
    assert_eq!(expires_ms(&plain.replace("a", &1, ALWAYS).unwrap()), kept);
    assert_eq!(expires_ms(&plain.upsert("a", &1, ALWAYS).unwrap()), kept);
    rig.store.batch().replace(&plain, "a", &1, ALWAYS).commit().unwrap();
    assert_eq!(expires_ms(plain.get("a").unwrap().unwrap().meta()), kept);

    let staying = plain.clone().without_ttl();
    assert_eq!(staying.replace("a", &1, ALWAYS).unwrap().expires(), None);
    renew();
    assert_eq!(staying.patch("a", &Patch::new().incr("", 1), ALWAYS).unwrap().expires(), None);
    renew();
    assert_eq!(staying.update("a", |n| *n += 1).unwrap().expires(), None);
    renew();
    rig.store.batch().upsert(&staying, "a", &1, ALWAYS).commit().unwrap();
    rig.at(10_000);
    assert_eq!(plain.update("a", |n| *n += 1).unwrap().expires(), None);
}

#[test]
fn a_write_through_a_handle_with_an_instant_expires_then() {
    let rig = Rig::new();
    let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(BEGIN_MS + ms);
    let until = |ms| rig.plain().expires_at(at(ms));
    assert_eq!(expires_ms(&until(500).create("a", &1).unwrap()), Some(500));
    rig.at(100);
    assert_eq!(expires_ms(until(700).update("a", |n| *n += 1).unwrap().meta()), Some(700));
    assert_eq!(expires_ms(rig.plain().update("a", |n| *n += 1).unwrap().meta()), Some(700));
    // The least that a time of Windows can be later.
    let later = rig.plain().expires_at(at(800) + Duration::from_nanos(100));
    assert_eq!(expires_ms(&later.replace("a", &1, ALWAYS).unwrap()), Some(801), "rounded down");
    rig.at(801);
    assert!(!rig.is_there());
    for past in [at(0), UNIX_EPOCH, UNIX_EPOCH - Duration::from_secs(1)] {
        rig.plain().expires_at(past).upsert("a", &1, ALWAYS).unwrap();
        assert!(!rig.is_there(), "{past:?} is past");
    }
    let beyond = UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    assert_eq!(rig.plain().expires_at(beyond).create("a", &1).unwrap().expires(), None);
}

#[test]
fn d1_what_is_created_in_a_collection_with_a_default_expires_after_it() {
    let rig = Rig::new();
    let plain = rig.plain();
    plain.create("old", &1).unwrap();
    assert_eq!(plain.default_ttl().unwrap(), None);
    plain.set_default_ttl(Some(TTL)).unwrap();
    let default = Some(1_000);
    let in_batch = |key: &str| expires_ms(plain.get(key).unwrap().unwrap().meta());

    assert_eq!(expires_ms(&plain.create("a", &1).unwrap()), default);
    assert_eq!(expires_ms(&plain.upsert("b", &1, ALWAYS).unwrap()), default);
    assert_eq!(expires_ms(plain.update_or_insert_with("c", || 1, |_| {}).unwrap().meta()), default);
    let mut item = Item::new("d", 1);
    plain.save(&mut item).unwrap();
    assert_eq!(expires_ms(item.meta()), default);
    rig.store.batch().create(&plain, "e", &1).upsert(&plain, "e", &2, ALWAYS).commit().unwrap();
    assert_eq!(in_batch("e"), default);

    rig.at(100);
    // What is there keeps its own, also if that is to stay.
    for key in ["a", "b", "c", "d", "e"] {
        assert_eq!(expires_ms(&plain.replace(key, &2, ALWAYS).unwrap()), default);
    }
    assert_eq!(plain.replace("old", &2, ALWAYS).unwrap().expires(), None);
    // Deleted and created anew it is new, in one batch too.
    rig.store.batch().delete(&plain, "a", ALWAYS).create(&plain, "a", &1).commit().unwrap();
    assert_eq!(in_batch("a"), Some(1_100));
    // A handle that says something is heard.
    let shorter = plain.clone().with_ttl(Duration::from_millis(10));
    assert_eq!(expires_ms(&shorter.create("f", &1).unwrap()), Some(110));
    assert_eq!(plain.clone().without_ttl().create("g", &1).unwrap().expires(), None);

    // Over an expired item it is a creation.
    rig.at(1_000);
    assert_eq!(expires_ms(&plain.upsert("b", &1, ALWAYS).unwrap()), Some(2_000));
    plain.set_default_ttl(None).unwrap();
    assert_eq!(plain.create("h", &1).unwrap().expires(), None);
    assert_eq!(rig.store.stats().unwrap().items, 9, "the record was counted as an item");
}

#[test]
fn the_default_is_kept_with_the_collection_and_recovered_after_a_crash() {
    for crash in [false, true] {
        let rig = Rig::new();
        let plain = rig.plain();
        plain.set_default_ttl(Some(TTL)).unwrap();
        let commits = rig.store.verify().unwrap().commits;
        plain.set_default_ttl(Some(TTL)).unwrap();
        assert_eq!(rig.store.verify().unwrap().commits, commits, "the same was written again");
        assert_eq!(rig.store.collections().unwrap().len(), 1, "it makes the collection");
        let mismatch = rig.store.raw("numbers");
        assert!(matches!(mismatch, Err(Error::CodecMismatch { .. })), "{mismatch:?}");
        let rig = if crash { rig.crash(1) } else { rig.close_and_open() };
        assert_eq!(rig.plain().default_ttl().unwrap(), Some(TTL));
        assert_eq!(rig.store.collections().unwrap()[0].default_ttl(), Some(TTL));
        rig.store.compact().unwrap();
        let expires = expires_ms(&rig.plain().create("a", &1).unwrap());
        assert_eq!(expires, Some(1_000));
        let other = rig.store.collection::<u64>("others").unwrap();
        assert_eq!(other.create("a", &1).unwrap().expires(), None);
        assert!(rig.store.changes(Cursor::START).unwrap().all(|c| !c.unwrap().key().is_empty()));
    }
}

/// A handle of another form that was opened before the record was written.
#[test]
fn a_default_cannot_be_set_through_a_handle_of_another_form() {
    let rig = Rig::new();
    let (plain, raw) = (rig.plain(), rig.store.raw("numbers").unwrap());
    plain.create("a", &1).unwrap();
    let refused = raw.set_default_ttl(Some(TTL));
    assert!(matches!(refused, Err(Error::CodecMismatch { .. })), "{refused:?}");
    assert_eq!(plain.default_ttl().unwrap(), None);
    assert_eq!(plain.get("a").unwrap().unwrap().value, 1);
}

#[test]
fn e2_what_is_written_anew_through_a_handle_without_a_ttl_never_expires() {
    let rig = Rig::new();
    let plain = rig.plain();
    assert_eq!(plain.create("a", &1).unwrap().expires(), None);
    assert_eq!(plain.upsert("b", &1, ALWAYS).unwrap().expires(), None);
    assert_eq!(plain.update_or_insert_with("c", || 1, |_| {}).unwrap().expires(), None);
    let mut item = Item::new("d", 1);
    plain.save(&mut item).unwrap();
    assert_eq!(item.expires(), None);
}

#[test]
fn in_a_batch_a_change_keeps_the_expiry_of_what_the_batch_wrote_before() {
    let rig = Rig::new();
    let (plain, fleeting) = (rig.plain(), rig.fleeting());
    let patch = Patch::new().incr("", 1);
    let expiry = || expires_ms(plain.get("a").unwrap().unwrap().meta());
    let batch = || rig.store.batch();
    batch().create(&fleeting, "a", &1).patch(&plain, "a", &patch, ALWAYS).commit().unwrap();
    assert_eq!(expiry(), Some(1_000));
    rig.at(100);
    let staying = plain.clone().without_ttl();
    batch().replace(&staying, "a", &1, ALWAYS).patch(&plain, "a", &patch, ALWAYS).commit().unwrap();
    assert_eq!(expiry(), None, "the patch fell back to the version before the batch");
    let twice = batch().patch(&fleeting, "a", &patch, ALWAYS).patch(&plain, "a", &patch, ALWAYS);
    twice.commit().unwrap();
    assert_eq!(expiry(), Some(1_100));
    let again = batch().delete(&plain, "a", ALWAYS).create(&plain, "a", &1);
    again.patch(&plain, "a", &patch, ALWAYS).commit().unwrap();
    assert_eq!(expiry(), None);
}

#[test]
fn a_handle_keeps_its_ttl_when_cloned_and_shares_it_with_no_other() {
    let rig = Rig::new();
    let plain = rig.plain();
    let fleeting = plain.clone().with_ttl(TTL).with_retry(RetryPolicy::new());
    assert_eq!(plain.create("a", &1).unwrap().expires(), None);
    assert_eq!(expires_ms(&fleeting.clone().create("b", &1).unwrap()), Some(1_000));
    let longer = fleeting.with_ttl(2 * TTL);
    assert_eq!(expires_ms(&longer.create("c", &1).unwrap()), Some(2_000));
}

#[test]
fn a_write_with_a_ttl_of_zero_succeeds_and_is_never_seen() {
    on_every_backend(|bench| {
        let gone = || bench.numbers().with_ttl(Duration::ZERO);
        let first = gone().create("a", &1).unwrap();
        bench.step();
        assert_eq!(bench.numbers().get("a").unwrap(), None);
        not_found(bench.numbers().replace("a", &2, first.etag()));
        let second = gone().create("a", &1).unwrap();
        assert_eq!(second.parent(), Some(first.etag()));
        let mut item = Item::new("a", 3);
        gone().save(&mut item).unwrap();
        assert!(item.expires().unwrap() <= item.modified());
        assert_eq!(precondition_failed::<u64, _>(gone().save(&mut item)), None);
        bench.step();
        assert_eq!(bench.numbers().create("a", &4).unwrap().parent(), Some(item.etag()));
    });
}

#[test]
fn a_ttl_is_rounded_up_and_one_beyond_all_time_means_never() {
    let rig = Rig::new();
    let expiry = |ttl| expires_ms(&rig.plain().with_ttl(ttl).upsert("a", &1, ALWAYS).unwrap());
    assert_eq!(expiry(Duration::from_nanos(1)), Some(1));
    assert_eq!(expiry(Duration::from_micros(1_500)), Some(2));
    let a_century = Duration::from_secs(100 * 365 * 86_400);
    assert_eq!(expiry(a_century), Some(a_century.as_millis() as u64));
    for ttl in [Duration::MAX, Duration::from_secs(u64::MAX), 100 * a_century] {
        assert_eq!(expiry(ttl), None);
    }
}
