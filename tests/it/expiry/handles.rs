//! When a write expires is ruled by the handle that it goes through.

use std::time::Duration;

use ifmatch::{Item, Meta, Patch, RetryPolicy};

use super::{ALWAYS, Rig, TTL, expires_ms};
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
fn without_a_ttl_a_change_keeps_the_expiry_and_a_replacement_ends_it() {
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

    assert_eq!(plain.replace("a", &1, ALWAYS).unwrap().expires(), None);
    renew();
    assert_eq!(plain.upsert("a", &1, ALWAYS).unwrap().expires(), None);
    renew();
    rig.store.batch().replace(&plain, "a", &1, ALWAYS).commit().unwrap();
    rig.at(10_000);
    assert_eq!(plain.update("a", |n| *n += 1).unwrap().expires(), None);
}

#[test]
fn what_is_written_anew_through_a_handle_without_a_ttl_never_expires() {
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
    batch().replace(&plain, "a", &1, ALWAYS).patch(&plain, "a", &patch, ALWAYS).commit().unwrap();
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
