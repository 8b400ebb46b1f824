//! A clear is wholly before or wholly after every call of another thread.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{A, B, C, COLLECTION, Rig, commit, create, item_key, new_value, operation, read, text};
use crate::engine::operation::{Action, Operation};
use crate::engine::{Clearing, Engine, Span, View, Window};
use crate::index::Index;
use crate::journal::content_sum::ContentSum;
use crate::seams::sync::{model, thread};
use crate::values::codec::CodecId;
use crate::values::key::ItemKey;
use crate::values::precondition::Precondition;

/// A second collection.
const OTHER: &str = "n";

fn clear(engine: &Engine) -> u64 {
    engine.clear(COLLECTION, Clearing::Clear(CodecId::Raw)).unwrap().items
}

fn drop_collection(engine: &Engine) -> bool {
    engine.clear(COLLECTION, Clearing::Drop).unwrap().written
}

/// The revision of the newest clear, 0 without one.
fn cleared_at(engine: &Engine) -> u64 {
    let tombstone = engine.head(&ItemKey::of_collection(COLLECTION)).unwrap();
    tombstone.map_or(0, |head| head.revision)
}

fn upserting(collection: &str, key: &str, value: &str) -> Operation {
    let action = Action::Upsert(new_value(value));
    let key = ItemKey::new(collection, key.as_bytes()).unwrap();
    Operation { key, ..operation(A, Precondition::Always, action) }
}

/// Writes an item of either collection in one batch.
fn write_both(engine: &Engine, value: &str) -> u64 {
    let operations = [(COLLECTION, A), (OTHER, B)].map(|(of, key)| upserting(of, key, value));
    commit(engine, operations).unwrap().revision
}

/// The values of [`A`] and [`B`] by one look.
fn values(engine: &Engine, keys: [ItemKey; 2]) -> [Option<String>; 2] {
    let versions = engine.read_many(&keys).unwrap();
    let values: Vec<_> = versions.into_iter().map(|v| v.map(|v| text(&v.value))).collect();
    values.try_into().unwrap()
}

/// What is counted is what is there.
fn assert_counted(engine: &Engine) {
    let mut found = ContentSum::default();
    engine.verify_heads(None, 100, &mut found, &mut ContentSum::default()).unwrap();
    assert_eq!(found, engine.journal.content().1);
    let live = engine.walk_heads(None, 100).unwrap().0.into_iter();
    let live = live.filter(|(_, head)| !head.deleted).map(|(_, head)| head.footprint_bytes());
    assert_eq!(engine.journal.segments().total_live_bytes(), live.sum::<u64>());
}

/// A key of either stripe, as a clear holds both.
const OF_EACH_STRIPE: [&str; 2] = [B, C];

#[test]
fn a_write_beside_a_clear_is_before_it_and_gone_or_after_it_and_there() {
    for key in OF_EACH_STRIPE {
        model(move || {
            let (rig, _) = Rig::eventual().with([(A, "old")]);
            let engine = Arc::clone(&rig.engine);
            let clearing = thread::spawn(move || clear(&engine));
            let written = create(&rig.engine, key, "new").unwrap();
            let cleared = clearing.join().unwrap();
            let is_before = written.revision.0 < cleared_at(&rig.engine);
            assert_eq!(cleared, 1 + u64::from(is_before));
            assert_eq!(read(&rig.engine, key).is_none(), is_before);
            assert_eq!(read(&rig.engine, A), None);
            assert_counted(&rig.engine);
        });
    }
}

#[test]
fn a_clear_is_seen_whole() {
    for key in OF_EACH_STRIPE {
        model(move || {
            let (rig, _) = Rig::cached().with([(A, "old"), (key, "old")]);
            let engine = Arc::clone(&rig.engine);
            let clearing = thread::spawn(move || clear(&engine));
            let [a, other] = values(&rig.engine, [A, key].map(item_key));
            assert_eq!(a, other, "half of a clear was seen");
            if a.is_none() {
                assert_eq!(read(&rig.engine, key), None);
            }
            clearing.join().unwrap();
        });
    }
}

#[test]
fn a_batch_over_two_collections_beside_a_clear_of_one_is_whole() {
    model(|| {
        let rig = Rig::eventual();
        write_both(&rig.engine, "old");
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || write_both(&engine, "new"));
        assert_eq!(clear(&rig.engine), 1);
        let keys = [item_key(A), ItemKey::new(OTHER, B.as_bytes()).unwrap()];
        let [a, b] = values(&rig.engine, keys);
        // The clear is over: what is there is the batch's, and all of it.
        assert!(a.is_none() || b.as_deref() == Some("new"), "{a:?} and {b:?}");
        let is_before = writer.join().unwrap() < cleared_at(&rig.engine);
        assert_eq!(read(&rig.engine, A).is_none(), is_before);
        assert_counted(&rig.engine);
    });
}

#[test]
fn two_clears_remove_what_there_is_once() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || clear(&engine));
        let mine = clear(&rig.engine);
        assert_eq!(mine + other.join().unwrap(), 1);
        assert_counted(&rig.engine);
    });
}

#[test]
fn a_write_beside_a_drop_leaves_no_item_without_its_record() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let engine = Arc::clone(&rig.engine);
        let dropping = thread::spawn(move || assert!(drop_collection(&engine)));
        let written = create(&rig.engine, B, "new").unwrap();
        dropping.join().unwrap();
        let is_before = written.revision.0 < cleared_at(&rig.engine);
        assert_eq!(read(&rig.engine, B).is_none(), is_before);
        assert_eq!(rig.engine.recorded_collections(), u64::from(!is_before));
        let record = ItemKey::new("", COLLECTION.as_bytes()).unwrap();
        assert_eq!(rig.engine.read(&record).unwrap().is_none(), is_before);
        assert_counted(&rig.engine);
    });
}

fn seen(engine: &Engine, view: &View, key: &str) -> Option<String> {
    let version = engine.read_at(view, &item_key(key)).unwrap();
    version.map(|version| text(&version.value))
}

fn scanned(engine: &Engine, view: &View) -> Vec<Bytes> {
    let bounds = (Bound::Unbounded, Bound::Unbounded);
    let span = Span { collection: COLLECTION, bounds, reverse: false };
    let window = Window { cells: 10, value_bytes: u64::MAX };
    let (_, items) = engine.scan(Some(view), span, window).unwrap();
    items.versions().map(|version| version.unwrap().value).collect()
}

#[test]
fn a_snapshot_of_before_goes_on_to_show_what_is_cleared() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        let engine = Arc::clone(&rig.engine);
        let clearing = thread::spawn(move || clear(&engine));
        assert_eq!(seen(&rig.engine, &view, A).as_deref(), Some("old"));
        clearing.join().unwrap();
        assert_eq!(seen(&rig.engine, &view, A).as_deref(), Some("old"));
        assert_eq!(scanned(&rig.engine, &view), ["old"]);
    });
}

#[test]
fn a_copy_that_a_find_makes_beside_a_clear_does_not_outlive_it() {
    model(|| {
        let (rig, _) = Rig::cached().with([(A, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        let engine = Arc::clone(&rig.engine);
        let clearing = thread::spawn(move || clear(&engine));
        let found = rig.engine.read_found(&view, &item_key(A)).unwrap().unwrap();
        assert_eq!(text(&found.value), "old");
        clearing.join().unwrap();
        assert_eq!(read(&rig.engine, A), None, "a copy outlived the clear");
    });
}

/// The view of the find is given up meanwhile, and does not know of the clear any more.
#[test]
fn a_copy_that_a_find_too_old_makes_beside_a_clear_does_not_outlive_it() {
    model(|| {
        let (rig, _) = Rig::cached().with([(A, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        let engine = Arc::clone(&rig.engine);
        let clearing = thread::spawn(move || {
            clear(&engine);
            engine.snapshots.give_up_oldest();
        });
        // It may be refused.
        drop(rig.engine.read_found(&view, &item_key(A)));
        clearing.join().unwrap();
        assert_eq!(read(&rig.engine, A), None, "a copy outlived the clear");
    });
}

#[test]
fn a_scan_of_a_snapshot_of_before_shows_what_is_cleared_meanwhile() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        let engine = Arc::clone(&rig.engine);
        let clearing = thread::spawn(move || clear(&engine));
        assert_eq!(scanned(&rig.engine, &view), ["old"]);
        clearing.join().unwrap();
    });
}

#[test]
fn a_snapshot_begun_beside_a_clear_shows_all_of_it_or_nothing() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let engine = Arc::clone(&rig.engine);
        let clearing = thread::spawn(move || clear(&engine));
        let view = rig.engine.begin_snapshot().unwrap();
        let a = seen(&rig.engine, &view, A);
        assert_eq!(seen(&rig.engine, &view, B), a, "half of a clear was seen");
        clearing.join().unwrap();
        assert_eq!(a.is_none(), view.revision() >= cleared_at(&rig.engine));
        assert_eq!(seen(&rig.engine, &view, A), a, "a read of the snapshot was not repeatable");
    });
}

/// What a newer snapshot held for an older one is handed down.
#[test]
fn a_snapshot_that_ends_leaves_an_older_one_what_is_cleared() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let older = rig.engine.begin_snapshot().unwrap();
        let newer = rig.engine.begin_snapshot().unwrap();
        clear(&rig.engine);
        let ending = thread::spawn(move || drop(newer));
        assert_eq!(seen(&rig.engine, &older, A).as_deref(), Some("old"));
        ending.join().unwrap();
        assert_eq!(seen(&rig.engine, &older, A).as_deref(), Some("old"));
        let revision = cleared_at(&rig.engine);
        assert!(rig.engine.snapshots.keeps_cleared(revision));
        drop(older);
        assert!(!rig.engine.snapshots.keeps_cleared(revision));
    });
}

/// The old leaves are read from the backing store after the clear, and the checkpoint puts new ones
/// in their place.
#[test]
fn a_checkpoint_beside_a_clear_leaves_what_the_clear_has_still_to_read() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old")]);
        let view = rig.engine.begin_snapshot().unwrap();
        rig.engine.checkpoint().unwrap();
        rig.engine.index.evict_everything();
        let engine = Arc::clone(&rig.engine);
        let checkpointing = thread::spawn(move || engine.checkpoint().unwrap());
        assert_eq!(clear(&rig.engine), 1);
        checkpointing.join().unwrap();
        assert!(!rig.engine.index.is_lost());
        assert_eq!(seen(&rig.engine, &view, A).as_deref(), Some("old"));
        assert_counted(&rig.engine);
        rig.engine.checkpoint().unwrap();
        assert_stored(&rig);
    });
}

/// The backing store holds the index as it is, and no pair of what was cleared.
fn assert_stored(rig: &Rig) {
    let generation = rig.engine.checkpoints.lock().generation;
    let backing = rig.engine.environment.backings.open(generation).unwrap();
    let mut found = ContentSum::default();
    let index = Index::from_pairs(backing, 1 << 20, &mut |key, head| {
        if !head.deleted {
            found.add(key, head.etag);
        }
        true
    });
    assert!(index.unwrap().is_some());
    assert_eq!(found, rig.engine.journal.content().1);
}
