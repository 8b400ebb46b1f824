//! The change feed: every durable change once, in order, from any place on.

use std::collections::BTreeMap;

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{Change, ChangeKind, Collection, Cursor, Durability, Error, Options, Precondition};
use ifmatch::{Raw, Store};

use crate::backends::on_every_backend;

pub(crate) fn all(store: &Store, from: Cursor) -> Vec<Change> {
    store.changes(from).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Kind, collection, key and value, for comparing.
fn told(changes: &[Change]) -> Vec<String> {
    let tell = |change: &Change| {
        let value = change.value().map_or("-", |value| std::str::from_utf8(value).unwrap());
        let (kind, key) = (change.kind(), change.key_str().unwrap());
        format!("{kind:?} {}/{key} {value}", change.collection())
    };
    changes.iter().map(tell).collect()
}

/// After this every change gives the rest, whatever the cursor went through.
pub(crate) fn assert_resumes_everywhere(store: &Store, from: Cursor) {
    let whole = all(store, from);
    for (at, change) in whole.iter().enumerate() {
        let text = serde_json::to_string(&change.cursor()).unwrap();
        let cursor: Cursor = serde_json::from_str(&text).unwrap();
        assert_eq!(all(store, cursor), whole[at + 1..], "after change {at}");
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn every_change_is_told_with_what_it_did() {
    on_every_backend(|bench| {
        let metas = {
            let notes = bench.collection::<u64>("notes");
            let first = notes.create("a", &1).unwrap();
            let second = notes.replace("a", &2, first.etag()).unwrap();
            let third = notes.delete("a", second.etag()).unwrap();
            let fourth = notes.upsert("a", &3, Precondition::Always).unwrap();
            [first, second, third, fourth]
        };
        bench.step();
        bench.store().raw("blobs").unwrap().create("b", &bytes("raw")).unwrap();
        bench.step();
        let store = bench.store();
        store.sync().unwrap();
        let changes = all(&store, Cursor::START);
        assert_eq!(
            told(&changes),
            [
                "Created notes/a 1",
                "Replaced notes/a 2",
                "Deleted notes/a -",
                "Created notes/a 3",
                "Created blobs/b raw",
            ]
        );
        for (change, meta) in changes.iter().zip(&metas) {
            assert_eq!(change.meta(), meta);
        }
        assert_resumes_everywhere(&store, Cursor::START);

        let typed = bench.collection::<u64>("notes").changes(Cursor::START).unwrap();
        let typed: Vec<_> = typed.map(|change| change.unwrap().into_value()).collect();
        assert_eq!(typed, [Some(1), Some(2), None, Some(3)]);
    });
}

#[test]
fn a_batch_is_told_in_its_order_and_goes_on_inside() {
    on_every_backend(|bench| {
        let (a, b) = (bench.collection::<u64>("a"), bench.collection::<u64>("b"));
        a.create("old", &0).unwrap();
        let revision = bench.store().batch();
        let revision = revision
            .upsert(&b, "z", &1, Precondition::Always)
            .delete(&a, "old", Precondition::Always)
            .create(&a, "y", &2)
            .replace(&b, "z", &3, Precondition::Always)
            .create(&b, "passing", &4)
            .delete(&b, "passing", Precondition::Always)
            .create(&a, "x", &5)
            .commit()
            .unwrap()
            .revision();
        bench.step();
        let store = bench.store();
        store.sync().unwrap();
        let changes = all(&store, Cursor::START);
        let of_batch = ["Created b/z 3", "Deleted a/old -", "Created a/y 2", "Created a/x 5"];
        assert_eq!(told(&changes[1..]), of_batch);
        assert!(changes[1..].iter().all(|change| change.revision() == revision));
        assert_resumes_everywhere(&store, Cursor::START);
        // The last place of a batch is the place after it.
        assert_eq!(changes[4].cursor(), store.cursor().unwrap());

        // One collection's cursor goes on with what another has after it in the same batch.
        let of_a = bench.collection::<u64>("a").changes(Cursor::START).unwrap();
        let of_a: Vec<_> = of_a.collect::<Result<_, _>>().unwrap();
        assert_eq!(of_a.len(), 4);
        assert_eq!(told(&all(&store, of_a[1].cursor())), ["Created a/y 2", "Created a/x 5"]);
        let of_b = bench.collection::<u64>("b").changes(Cursor::START).unwrap();
        let of_b: Vec<_> = of_b.collect::<Result<_, _>>().unwrap();
        assert_eq!(told(&all(&store, of_b[0].cursor())), of_batch[1..]);
    });
}

#[test]
fn an_eventual_store_tells_nothing_before_it_is_synced() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new().durability(Durability::Eventual)).unwrap();
    let notes = store.raw("notes").unwrap();
    // The first writes after an open may sync for their own reasons.
    notes.create("a", &bytes("x")).unwrap();
    store.sync().unwrap();
    let mut changes = store.changes(store.cursor().unwrap()).unwrap();
    let mut watch = store.watch(store.cursor().unwrap()).unwrap();
    for round in 0..3 {
        let before = store.cursor().unwrap();
        for key in ["a", "b"] {
            notes.upsert(key, &bytes("x"), Precondition::Always).unwrap();
        }
        assert_eq!(store.cursor().unwrap(), before);
        assert!(changes.next().is_none() && watch.try_recv().unwrap().is_none());
        assert_eq!(all(&store, before), []);
        store.sync().unwrap();
        assert_eq!(all(&store, before).len(), 2, "round {round}");
        let now: Vec<Change> = changes.by_ref().collect::<Result<_, _>>().unwrap();
        assert_eq!(now, all(&store, before));
        assert_eq!(watch.try_recv().unwrap().as_ref(), now.first());
        assert_eq!(watch.try_recv().unwrap().as_ref(), now.last());
    }
}

#[test]
fn a_document_that_cannot_be_decoded_is_an_error_in_its_place() {
    let store = Store::in_memory();
    let any = store.collection::<serde_json::Value>("mixed").unwrap();
    for (key, value) in [("a", 1.into()), ("b", "two".into()), ("c", 3.into())] {
        any.create(key, &value).unwrap();
    }
    let numbers = store.collection::<u64>("mixed").unwrap();
    let mut changes = numbers.changes(Cursor::START).unwrap();
    assert_eq!(changes.next().unwrap().unwrap().value(), Some(&1));
    assert!(matches!(changes.next(), Some(Err(Error::Codec { .. }))));
    // The place is after it: it would fail again.
    let after = changes.cursor();
    assert_eq!(changes.next().unwrap().unwrap().value(), Some(&3));
    assert!(changes.next().is_none());
    assert_eq!(numbers.changes(after).unwrap().count(), 1);

    let mut watch = numbers.watch(Cursor::START).unwrap();
    assert_eq!(watch.recv().unwrap().value(), Some(&1));
    assert!(matches!(watch.recv(), Err(Error::Codec { .. })));
    assert_eq!(watch.recv().unwrap().value(), Some(&3));
    let three = numbers.watch(Cursor::START).unwrap().take(3);
    assert_eq!(three.map(|change| change.is_ok()).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn a_collection_that_comes_to_be_of_another_form_is_refused() {
    let store = Store::in_memory();
    let (as_json, as_raw) = (store.collection::<u64>("c").unwrap(), store.raw("c").unwrap());
    let mut changes = as_raw.changes(Cursor::START).unwrap();
    let mut watch = as_raw.watch(Cursor::START).unwrap();
    assert!(changes.next().is_none() && watch.try_recv().unwrap().is_none());
    as_json.create("a", &1).unwrap();
    assert!(matches!(changes.next(), Some(Err(Error::CodecMismatch { .. }))));
    assert!(changes.next().is_none());
    assert!(matches!(watch.recv(), Err(Error::CodecMismatch { .. })));
    assert!(matches!(as_raw.changes(Cursor::START), Err(Error::CodecMismatch { .. })));
}

/// Writes until the journal has several segments, with values from empty to large.
fn fill(blobs: &Collection<Bytes, Raw>, rng: &mut fastrand::Rng) -> Vec<(String, Bytes)> {
    let mut written = Vec::new();
    for n in 0..400 {
        let len = match n % 40 {
            0 => 300_000,
            1..4 => rng.usize(0..20_000),
            _ => rng.usize(0..200),
        };
        let value = Bytes::from(vec![rng.u8(b'a'..=b'z'); len]);
        let key = format!("key {}", rng.u8(0..40));
        blobs.upsert(&key, &value, Precondition::Always).unwrap();
        written.push((key, value));
    }
    written
}

#[test]
fn the_feed_of_many_segments_is_whole_from_every_place() {
    let rng = &mut fastrand::Rng::with_seed(7);
    let sim = Simulation::new(7);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let mut written = fill(&blobs, rng);
    let big: Vec<Bytes> = (0..5).map(|n| vec![b'0' + n; 200_000].into()).collect();
    let mut batch = store.batch();
    for (n, value) in big.iter().enumerate() {
        batch = batch.upsert(&blobs, n.to_string(), value, Precondition::Always);
        written.push((n.to_string(), value.clone()));
    }
    batch.commit().unwrap();
    written.extend(fill(&blobs, rng));
    assert!(store.stats().unwrap().segments > 3);

    let whole = all(&store, Cursor::START);
    assert_eq!(whole.len(), written.len());
    for (change, (key, value)) in whole.iter().zip(&written) {
        assert_eq!((change.key_str(), change.value()), (Some(key.as_str()), Some(value)));
    }
    for at in (0..whole.len()).step_by(37).chain(396..410) {
        assert_eq!(all(&store, whole[at].cursor()), whole[at + 1..], "after change {at}");
    }
    // In the store as it is opened after a close, and after a kill.
    let killed = sim.kill(rng).open(&Options::new()).unwrap();
    assert_eq!(all(&killed, Cursor::START), whole);
    store.close().unwrap();
    let store = sim.open(&Options::new()).unwrap();
    for at in [0, 399, 400, 401, 404, 405, whole.len() - 1] {
        assert_eq!(all(&store, whole[at].cursor()), whole[at + 1..], "after change {at}");
        assert_eq!(all(&killed, whole[at].cursor()), whole[at + 1..], "after change {at}");
    }
}

#[test]
fn an_iterator_ends_at_the_present_and_goes_on_later() {
    on_every_backend(|bench| {
        let (store, notes) = (bench.store(), bench.collection::<u64>("notes"));
        let mut changes = notes.changes(Cursor::START).unwrap();
        for n in 0..3 {
            assert!(changes.next().is_none());
            notes.upsert("a", &n, Precondition::Always).unwrap();
            store.sync().unwrap();
            assert_eq!(changes.next().unwrap().unwrap().into_value(), Some(n));
        }
        assert_eq!(changes.cursor(), store.cursor().unwrap());
    });
}

#[test]
fn a_place_that_is_passed_over_is_passed_for_good() {
    let store = Store::in_memory();
    let (mine, other) = (store.collection::<u64>("mine").unwrap(), store.raw("other").unwrap());
    mine.create("a", &1).unwrap();
    let mut changes = mine.changes(Cursor::START).unwrap();
    let first = changes.next().unwrap().unwrap();
    assert_eq!(changes.cursor(), first.cursor());
    for n in 0..20 {
        other.create(n.to_string(), &vec![0; 200_000].into()).unwrap();
    }
    assert_eq!(changes.cursor(), first.cursor());
    assert!(changes.next().is_none());
    assert_eq!(changes.cursor(), store.cursor().unwrap());
    assert_eq!(all(&store, changes.cursor()), []);
    assert_eq!(all(&store, first.cursor()).len(), 20);
}

#[test]
fn damage_in_an_open_store_is_an_error_of_the_feed_and_not_its_end() {
    let sim = Simulation::new(12);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for n in 0..100 {
        blobs.create(n.to_string(), &vec![b'v'; 10_000].into()).unwrap();
    }
    let segments = store.stats().unwrap().segments;
    assert!(segments > 1);
    for segment in [1, segments] {
        let path = format!("store/journal/{segment:010}.seg");
        let whole = sim.disk().read_file(&path).unwrap();
        let mut damaged = whole.clone();
        let at = damaged.windows(500).rposition(|window| window == [b'v'; 500]).unwrap() - 30_000;
        damaged[at] ^= 1;
        sim.disk().write_file(&path, &damaged).unwrap();
        let mut changes = store.changes(Cursor::START).unwrap();
        let last = changes.by_ref().last().unwrap();
        let last = last.map(|change| change.revision());
        assert!(matches!(last, Err(Error::Corrupt { .. })), "in {segment}: {last:?}");
        let place = changes.cursor();
        sim.disk().write_file(&path, &whole).unwrap();
        // Nothing was passed over.
        let (all, rest) = (all(&store, Cursor::START), all(&store, place));
        assert!(!rest.is_empty() && all.ends_with(&rest));
        let first = all.len() - rest.len();
        assert_eq!(place, all[first - 1].cursor());
    }
}

#[test]
fn a_store_is_rebuilt_from_its_feed() {
    let rng = &mut fastrand::Rng::with_seed(11);
    let store = Store::in_memory();
    let blobs = store.raw("blobs").unwrap();
    let (mut copy, mut place) = (BTreeMap::new(), Cursor::START);
    for _ in 0..40 {
        for _ in 0..rng.usize(0..20) {
            let key = format!("{}", rng.u8(0..12));
            if rng.u8(0..3) == 0 {
                let _ = blobs.delete(&key, Precondition::Always);
            } else {
                let value = bytes(&rng.u32(..).to_string());
                blobs.upsert(&key, &value, Precondition::Always).unwrap();
            }
        }
        // In parts, each of which ends somewhere.
        for change in store.changes(place).unwrap().take(rng.usize(0..30)) {
            let change = change.unwrap();
            place = change.cursor();
            let key = change.key().to_vec();
            match change.kind() {
                ChangeKind::Created => assert!(copy.insert(key, change).is_none()),
                ChangeKind::Replaced => {
                    let parent = change.parent();
                    assert_eq!(copy.insert(key, change).map(|old| old.etag()), parent);
                }
                _ => {
                    let removed = copy.remove(&key).expect("what is deleted was there");
                    assert_eq!(Some(removed.etag()), change.parent());
                }
            }
        }
    }
    for change in store.changes(place).unwrap() {
        let change = change.unwrap();
        match change.kind() {
            ChangeKind::Deleted => drop(copy.remove(change.key())),
            _ => drop(copy.insert(change.key().to_vec(), change)),
        }
    }
    let items: Vec<_> = blobs.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(items.len(), copy.len());
    for (item, change) in items.iter().zip(copy.values()) {
        assert_eq!((item.meta(), Some(&item.value)), (change.meta(), change.value()));
    }
}
