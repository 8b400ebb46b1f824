//! What those who follow a store are told of a clear.

use ifmatch::simulation::Simulation;
use ifmatch::{Change, ChangeKind, Cursor, Durability, Error, HistoryPolicy, Options, Store};

use super::{fill, value};

fn kinds(changes: impl Iterator<Item = Result<Change, Error>>) -> Vec<(ChangeKind, Vec<u8>)> {
    let kind = |change: Change| (change.kind(), change.key().to_vec());
    changes.map(|change| kind(change.unwrap())).collect()
}

#[test]
fn the_feed_shows_one_change_from_every_place() {
    let store = Store::in_memory();
    let blobs = store.raw("blobs").unwrap();
    let mut watch = blobs.watch(Cursor::START).unwrap();
    fill(&store, &blobs, 100, &value());
    let middle = store.changes(Cursor::START).unwrap().nth(50).unwrap().unwrap();
    for _ in 0..100 {
        assert_eq!(watch.recv().unwrap().kind(), ChangeKind::Created);
    }
    let before = store.cursor().unwrap();
    assert_eq!(blobs.clear().unwrap(), 100);
    let other = store.raw("other").unwrap();
    other.create("o", &value()).unwrap();
    blobs.create("a", &value()).unwrap();
    let cleared = (ChangeKind::Cleared, Vec::new());
    let (o, a) = ((ChangeKind::Created, b"o".to_vec()), (ChangeKind::Created, b"a".to_vec()));
    for cursor in [Cursor::START, middle.cursor(), before] {
        let all = [cleared.clone(), o.clone(), a.clone()];
        assert_eq!(kinds(store.changes(cursor).unwrap()), all);
        assert_eq!(kinds(blobs.changes(cursor).unwrap()), [cleared.clone(), a.clone()]);
    }
    let change = store.changes(before).unwrap().next().unwrap().unwrap();
    assert_eq!((change.collection(), change.key(), change.key_str()), ("blobs", &[][..], Some("")));
    assert_eq!((change.value(), change.parent(), change.expires()), (None, None, None));
    assert_eq!(kinds(store.changes(change.cursor()).unwrap()), [o, a]);
    assert_eq!(watch.recv().unwrap().kind(), ChangeKind::Cleared);
    assert_eq!(watch.recv().unwrap().key(), b"a");
}

/// Entries of the earlier form are still in the journal.
#[test]
fn a_name_that_is_used_again_in_another_form_is_followed_in_that() {
    let store = Store::in_memory();
    store.raw("notes").unwrap().create("a", &value()).unwrap();
    assert!(store.drop_collection("notes").unwrap());
    let notes = store.collection::<String>("notes").unwrap();
    notes.create("a", &"text".to_owned()).unwrap();
    let changes: Vec<_> = notes.changes(Cursor::START).unwrap().map(Result::unwrap).collect();
    assert_eq!(changes[0].kind(), ChangeKind::Cleared);
    assert_eq!(changes[1].value().unwrap(), "text");
    assert_eq!(changes.len(), 2);
}

#[test]
fn the_drop_of_an_empty_collection_shows_nothing() {
    let store = Store::in_memory();
    let blobs = store.raw("blobs").unwrap();
    blobs.create("a", &value()).unwrap();
    blobs.clear().unwrap();
    let before = store.cursor().unwrap();
    assert!(store.drop_collection("blobs").unwrap());
    assert_eq!(store.changes(before).unwrap().count(), 0);
}

/// A crash may take it back, and then what it would have removed is there.
#[test]
fn a_clear_that_is_not_durable_hides_nothing() {
    let sim = Simulation::new(1);
    let options = Options::new().durability(Durability::Eventual);
    let store = sim.open(&options).unwrap();
    let blobs = store.raw("blobs").unwrap();
    fill(&store, &blobs, 3, &value());
    store.sync().unwrap();
    blobs.clear().unwrap();
    assert!(blobs.is_empty().unwrap());
    let mut changes = store.changes(Cursor::START).unwrap();
    assert_eq!(kinds(changes.by_ref()).len(), 3);
    store.sync().unwrap();
    assert_eq!(kinds(changes), [(ChangeKind::Cleared, Vec::new())]);
}

/// Like a removed item's, the tombstone of a collection is kept for the policy's time.
#[test]
fn a_cursor_below_a_clear_that_is_forgotten_is_compacted() {
    let sim = Simulation::new(2);
    let month = HistoryPolicy::new();
    let store = sim.open(&Options::new().history(month)).unwrap();
    let blobs = store.raw("blobs").unwrap();
    fill(&store, &blobs, 300, &value());
    let before = store.cursor().unwrap();
    blobs.clear().unwrap();
    let after = store.cursor().unwrap();
    let day_ms = 24 * 60 * 60 * 1_000;
    sim.set_now_ms(1_700_000_000_000 + 29 * day_ms);
    assert_eq!(store.compact().unwrap().purged_tombstones, 0);
    assert_eq!(kinds(store.changes(before).unwrap()), [(ChangeKind::Cleared, Vec::new())]);
    sim.set_now_ms(1_700_000_000_000 + 31 * day_ms);
    store.raw("other").unwrap().create("a", &value()).unwrap();
    assert_eq!(store.compact().unwrap().purged_tombstones, 1);
    assert!(matches!(store.changes(before), Err(Error::Compacted)));
    assert_eq!(kinds(store.changes(after).unwrap()).len(), 1);
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    assert_eq!(blobs.create("a", &value()).unwrap().parent(), None);
    store.verify().unwrap();
}

/// Without it, older entries of the collection would come back in a rebuild.
#[test]
fn a_clear_is_kept_for_as_long_as_anything_older_is_in_the_journal() {
    let sim = Simulation::new(3);
    let history = HistoryPolicy::new().tombstones(std::time::Duration::ZERO);
    let options = Options::new().history(history);
    let store = sim.open(&options).unwrap();
    let (blobs, other) = (store.raw("blobs").unwrap(), store.raw("other").unwrap());
    // Several segments, of which the first ones are mostly alive.
    let large = bytes::Bytes::from(vec![1; 100_000]);
    fill(&store, &other, 20, &large);
    blobs.create("old", &value()).unwrap();
    fill_more(&other, 20..40, &large);
    blobs.clear().unwrap();
    fill_more(&other, 40..60, &large);
    for round in 0..4 {
        sim.set_now_ms(1_700_000_001_000 * (round + 1));
        store.compact().unwrap();
        let mut rebuilt = sim.kill(&mut fastrand::Rng::with_seed(round));
        rebuilt.remove_index();
        let rebuilt = rebuilt.open(&options).unwrap();
        assert!(rebuilt.raw("blobs").unwrap().is_empty().unwrap(), "after {round} compactions");
        rebuilt.verify().unwrap();
    }
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
}

fn fill_more(
    blobs: &ifmatch::Collection<bytes::Bytes, ifmatch::Raw>,
    items: std::ops::Range<u64>,
    value: &bytes::Bytes,
) {
    for item in items {
        blobs.create(item.to_be_bytes(), value).unwrap();
    }
}
