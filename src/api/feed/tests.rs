//! The rules that need more than the public face: dropped tombstones and expired items.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;

use super::{Change, ChangeKind, Cursor};
use crate::api::collection::Collection;
use crate::api::store::Store;
use crate::journal::frame::{Entry, EntryKind, FrameBuilder};
use crate::journal::{PreparedCommit, PreparedEntry};
use crate::simulation::{Fault, FaultPlan, Simulation};
use crate::values::codec::Raw;
use crate::values::error::Error;
use crate::values::etag::{ETag, value_hash};
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::options::{Durability, Options};
use crate::values::precondition::Precondition;

fn all(store: &Store, from: Cursor) -> Vec<Change> {
    store.changes(from).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A store of this number of items; returns their changes.
fn store_of(count: u8, value_bytes: usize) -> (Store, Collection<Bytes, Raw>, Vec<Change>) {
    let store = Store::in_memory();
    let items = store.raw("items").unwrap();
    for n in 0..count {
        items.create([n], &vec![n; value_bytes].into()).unwrap();
    }
    let changes = all(&store, Cursor::START);
    (store, items, changes)
}

fn note_purge(store: &Store, revision: u64) {
    store.engine().unwrap().journal.note_purge(revision);
}

fn is_compacted<T>(result: Result<T, Error>) -> bool {
    match result {
        Ok(_) => false,
        Err(Error::Compacted) => true,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_cursor_below_a_dropped_tombstone_is_compacted() {
    let (store, items, changes) = store_of(4, 10);
    let dropped = changes[2].revision();
    note_purge(&store, dropped.0);
    for (at, change) in changes.iter().enumerate() {
        let below = change.revision() < dropped;
        assert_eq!(is_compacted(store.changes(change.cursor())), below, "after change {at}");
        assert_eq!(is_compacted(store.watch(change.cursor())), below);
        assert_eq!(is_compacted(items.changes(change.cursor())), below);
        assert_eq!(is_compacted(items.watch(change.cursor())), below);
    }
    assert_eq!(all(&store, Cursor::START).len(), 4);
}

#[test]
fn a_reader_who_began_at_the_start_after_a_tombstone_was_dropped_may_stop_half_way() {
    let (store, items, changes) = store_of(4, 10);
    note_purge(&store, changes[2].revision().0);
    let fresh = all(&store, Cursor::START);
    for (at, change) in fresh.iter().enumerate() {
        let cursor: Cursor = change.cursor().to_string().parse().unwrap();
        assert_eq!(all(&store, cursor), fresh[at + 1..]);
        assert!(!is_compacted(items.watch(cursor)));
    }
    // Past the tombstone nothing of the beginning is left to know.
    assert_eq!(fresh[2].cursor(), changes[2].cursor());
    assert_ne!(fresh[1].cursor(), changes[1].cursor());
    // The next one that is dropped is one that it may have needed.
    note_purge(&store, changes[3].revision().0);
    assert!(is_compacted(store.changes(fresh[1].cursor())));
    assert!(is_compacted(store.changes(fresh[2].cursor())));
    assert!(!is_compacted(store.changes(fresh[3].cursor())));
    assert_eq!(all(&store, Cursor::START).len(), 4);
    // And so may be one that is older than some that were dropped before.
    let again = all(&store, Cursor::START);
    note_purge(&store, changes[1].revision().0);
    for (at, change) in again.iter().enumerate() {
        assert_eq!(is_compacted(store.changes(change.cursor())), at < 3, "after change {at}");
    }
}

#[test]
fn a_reader_whom_compaction_overtakes_is_told_at_its_next_chunk() {
    let (store, _, changes) = store_of(12, 100_000);
    let mut reading = store.changes(Cursor::START).unwrap();
    let mut watching = store.watch(Cursor::START).unwrap();
    assert!(reading.next().unwrap().is_ok() && watching.recv().is_ok());
    note_purge(&store, changes[10].revision().0);
    let (mut read, mut last) = (1, None);
    for change in reading.by_ref() {
        match change {
            Ok(_) => read += 1,
            Err(error) => last = Some(error),
        }
    }
    assert!(read < 11, "{read} changes were read ahead");
    assert!(matches!(last, Some(Error::Compacted)), "{last:?}");
    assert!(reading.next().is_none());
    let end = watching.by_ref().find(Result::is_err).unwrap();
    assert!(matches!(end, Err(Error::Compacted)) && watching.next().is_none());
    // Asked again, it says so again.
    assert!(is_compacted(watching.recv()));
    assert_eq!(reading.cursor(), watching.cursor());
}

#[test]
fn a_cursor_inside_a_commit_may_need_a_tombstone_of_that_commit() {
    let (store, items, _) = store_of(2, 10);
    let batch = store.batch();
    let batch = batch.create(&items, "a", &Bytes::new()).create(&items, "b", &Bytes::new());
    let batch = batch.delete(&items, [0], Precondition::Always);
    let revision = batch.delete(&items, [1], Precondition::Always).commit().unwrap().revision();
    let changes = all(&store, Cursor::START);
    note_purge(&store, revision.0);
    let within: Vec<bool> =
        changes.iter().map(|change| is_compacted(store.changes(change.cursor()))).collect();
    // After the last one, everything of the commit is known.
    assert_eq!(within, [true, true, true, true, true, false]);
}

#[test]
fn a_cursor_that_claims_a_later_beginning_than_there_was_is_diverged() {
    let (store, _, changes) = store_of(2, 10);
    let forged = format!("{}~{}", changes[0].cursor(), changes[1].revision().0);
    let forged = store.changes(forged.parse().unwrap());
    assert!(matches!(forged, Err(Error::Diverged)));
}

/// Commits an item that expires.
fn create_expiring(store: &Store, key: &str, expires_ms: u64) -> ETag {
    create_around(store, key, expires_ms, || {}).unwrap()
}

/// Commits an item that expires, with something else done before the journal is written.
fn create_around(
    store: &Store,
    key: &str,
    expires_ms: u64,
    between: impl FnOnce(),
) -> Result<ETag, Error> {
    let engine = store.engine().unwrap();
    let entry = Entry {
        kind: EntryKind::Created as u8,
        incarnation: 0,
        ordinal: 0,
        parent: None,
        previous: 0,
        modified_ms: 1,
        ahead_ms: 0,
        expires_ms: Some(expires_ms),
        collection: "items",
        key: key.as_bytes(),
        index_changes: &[],
        value: b"value",
    };
    let mut frame = FrameBuilder::commit(1);
    let record = frame.push(&entry);
    frame.complete();
    let key = ItemKey::new(entry.collection, entry.key).unwrap();
    let mut tags = Vec::new();
    let hash = value_hash(entry.value);
    let tag = entry.pending_tag(engine.journal.incarnation(), &hash, &mut tags);
    let (parent, etag) = (None, ETag::UNSAVED);
    let entry = PreparedEntry { key, parent, leaves_item: true, tag, record, etag };
    let entries = [entry].into_iter().collect();
    let mut commit = PreparedCommit { frame, entries, tags, index_moves: Vec::new() };
    let appended = engine.journal.append(&mut commit).unwrap();
    let PreparedEntry { key, etag, .. } = &commit.entries[0];
    let head = Head {
        etag: *etag,
        revision: appended.revision,
        segment: appended.segment,
        offset: appended.frame_offset + record.at,
        len_bytes: record.len_bytes,
        checksum: record.checksum,
        modified_ms: 1,
        expires_ms: Some(expires_ms),
        deleted: false,
    };
    let pin = engine.pin(std::iter::once(key)).unwrap();
    engine.index.put(key, &head, None, &pin);
    drop(pin);
    between();
    engine.journal.finish(appended.revision)?;
    Ok(*etag)
}

/// A roll writes and syncs what others have appended, also where it fails afterwards.
#[test]
fn what_a_roll_that_failed_has_made_durable_is_told() {
    let mut acknowledged = 0;
    for calls in 0..60 {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        items.create("first", &Bytes::new()).unwrap();
        let created = std::thread::scope(|scope| {
            create_around(&store, "among", u64::MAX, || {
                sim.disk().inject(FaultPlan::after(calls, Fault::Eio));
                let roll = || drop(items.create("large", &vec![1; 1 << 20].into()));
                let rolling = scope.spawn(roll);
                // One that does not fail waits for the commit before it.
                for _ in 0..20 {
                    if !rolling.is_finished() {
                        std::thread::sleep(std::time::Duration::from_millis(5));
                    }
                }
                sim.disk().clear_faults();
            })
        });
        let changes = store.changes(Cursor::START).unwrap().map_while(Result::ok);
        let shown: Vec<String> = changes.map(|c| c.key_str().unwrap().to_owned()).collect();
        if created.is_ok() {
            acknowledged += u64::from(store.stats().unwrap().poisoned);
            assert_eq!(shown.get(1).map(String::as_str), Some("among"), "after {calls} calls");
        }
    }
    assert!(acknowledged > 0, "no roll failed after what was appended was durable");
}

#[test]
fn an_item_that_has_expired_and_is_not_swept_is_told_as_expired() {
    const PAST_MS: u64 = 10;
    let (store, items, _) = store_of(1, 10);
    let from = store.cursor().unwrap();
    let gone = create_expiring(&store, "gone", PAST_MS);
    let superseded = create_expiring(&store, "superseded", PAST_MS);
    let there = create_expiring(&store, "there", u64::MAX);
    let again = items.create("superseded", &Bytes::from_static(b"new")).unwrap();
    assert_eq!(again.parent(), Some(superseded));

    let changes = all(&store, from);
    let shown: Vec<_> = changes
        .iter()
        .map(|c| (c.key_str().unwrap(), c.kind(), c.etag(), c.value().map(|value| &value[..])))
        .collect();
    assert_eq!(
        shown,
        [
            ("gone", ChangeKind::Expired, gone, None),
            // As it was written: what became of it follows.
            ("superseded", ChangeKind::Created, superseded, Some(&b"value"[..])),
            ("there", ChangeKind::Created, there, Some(&b"value"[..])),
            ("superseded", ChangeKind::Created, again.etag(), Some(&b"new"[..])),
        ]
    );
    assert!(changes[0].expires().is_some());
    let watched = items.watch(from).unwrap().recv().unwrap();
    assert_eq!(watched, changes[0]);
}

/// As above, of `Eventual` writes that were not synced yet.
#[test]
fn a_backup_beside_a_roll_that_failed_has_what_was_durable() {
    let mut poisoned = 0;
    for calls in 0..60 {
        let sim = Simulation::new(1);
        let options = Options::new().durability(Durability::Eventual);
        let store = sim.open(&options).unwrap();
        let items = store.raw("items").unwrap();
        items.create("first", &Bytes::new()).unwrap();
        sim.disk().inject(FaultPlan::after(calls, Fault::Eio));
        drop(items.create("large", &vec![1; 1 << 20].into()));
        sim.disk().clear_faults();
        if store.sync().is_err() {
            continue;
        }
        poisoned += u64::from(store.stats().unwrap().poisoned);
        assert_eq!(all(&store, Cursor::START)[0].key_str(), Some("first"), "after {calls} calls");
        drop(Simulation::checkpoint(&store));
        store.backup("copy").unwrap();
        let copy = sim.at("copy").open(&options).unwrap();
        assert!(copy.raw("items").unwrap().get("first").unwrap().is_some());
    }
    assert!(poisoned > 0, "no roll failed after what was appended was durable");
}
