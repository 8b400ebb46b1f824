//! Models of the leaves' locking: the index on a backing store in memory, with leaves of two cells.
//!
//! `cargo test --lib models` runs each some times; under loom every order of the threads' steps is
//! tried. Entries of `scripts/bugs/index.bugs` seed the bugs that these models find.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use super::*;
use crate::seams::sync::{model, thread};
use crate::values::etag::ETag;
use crate::values::head::Head;

fn key(name: &str) -> ItemKey {
    ItemKey::new("m", name.as_bytes()).unwrap()
}

fn put(index: &Index, name: &str, revision: u64) {
    let key = key(name);
    let head = Head {
        etag: ETag([revision as u8; 16]),
        revision,
        segment: 1,
        offset: 0,
        len_bytes: 1,
        checksum: 0,
        modified_ms: 0,
        expires_ms: None,
        deleted: false,
    };
    let pin = index.pin();
    index.make_resident(&key, &pin).unwrap();
    index.put(&key, &head, None, &pin);
}

fn remove(index: &Index, name: &str) {
    let key = key(name);
    let pin = index.pin();
    index.make_resident(&key, &pin).unwrap();
    index.remove_if(&key, &pin, &|_| true);
}

fn revision(index: &Index, name: &str) -> Option<u64> {
    index.head(&key(name)).unwrap().map(|head| head.revision)
}

fn checkpoint(index: &Index) {
    index.write_back(&mut |_| Ok(())).unwrap();
}

/// Lets the hand come by every leaf twice, as if the index were far over its budget.
fn evict(index: &Index) {
    const FAR: u64 = 1 << 40;
    index.memory.used_bytes.fetch_add(FAR, Ordering::Relaxed);
    index.evict();
    index.memory.used_bytes.fetch_sub(FAR, Ordering::Relaxed);
}

/// An index that holds these keys at revision 1, all of them written back.
fn index_of(names: &[&str]) -> (Arc<Index>, Arc<dyn Backing>) {
    let backing = MemoryBackings::new().open(1).unwrap();
    let index = Index::new(1 << 20);
    index.attach(Arc::clone(&backing));
    names.iter().for_each(|name| put(&index, name, 1));
    checkpoint(&index);
    (Arc::new(index), backing)
}

/// What the next open finds in the backing store.
fn reopened(backing: &Arc<dyn Backing>) -> Index {
    let index = Index::from_pairs(Arc::clone(backing), 1 << 20, &mut |_, _| true);
    index.unwrap().expect("cells that are whole")
}

#[test]
fn a_cell_is_found_while_its_leaf_is_split() {
    model(|| {
        let (index, _) = index_of(&["a", "b"]);
        let splitting = Arc::clone(&index);
        let writer = thread::spawn(move || put(&splitting, "c", 2));
        assert_eq!(revision(&index, "b"), Some(1));
        assert_eq!(revision(&index, "a"), Some(1));
        writer.join().unwrap();
        assert_eq!(["a", "b", "c"].map(|name| revision(&index, name)), [Some(1), Some(1), Some(2)]);
    });
}

#[test]
fn a_cell_is_found_while_its_leaf_is_merged() {
    model(|| {
        let (index, _) = index_of(&["a", "b", "c"]);
        let merging = Arc::clone(&index);
        let writer = thread::spawn(move || remove(&merging, "b"));
        assert_eq!(revision(&index, "c"), Some(1));
        assert_eq!(revision(&index, "a"), Some(1));
        writer.join().unwrap();
        assert_eq!(["a", "b", "c"].map(|name| revision(&index, name)), [Some(1), None, Some(1)]);
    });
}

#[test]
fn two_writers_split_one_leaf_and_lose_nothing() {
    model(|| {
        let (index, _) = index_of(&["b", "d"]);
        let other = Arc::clone(&index);
        let writer = thread::spawn(move || put(&other, "c", 3));
        put(&index, "a", 2);
        writer.join().unwrap();
        let found = ["a", "b", "c", "d"].map(|name| revision(&index, name));
        assert_eq!(found, [Some(2), Some(1), Some(3), Some(1)]);
    });
}

#[test]
fn a_write_beside_an_eviction_is_not_lost() {
    model(|| {
        let (index, _) = index_of(&["a"]);
        evict(&index);
        let evicting = Arc::clone(&index);
        let eviction = thread::spawn(move || evict(&evicting));
        put(&index, "a", 2);
        eviction.join().unwrap();
        assert_eq!(revision(&index, "a"), Some(2));
    });
}

#[test]
fn two_readers_load_one_leaf() {
    model(|| {
        let (index, _) = index_of(&["a", "b"]);
        evict(&index);
        evict(&index);
        let other = Arc::clone(&index);
        let reader = thread::spawn(move || assert_eq!(revision(&other, "b"), Some(1)));
        assert_eq!(revision(&index, "a"), Some(1));
        reader.join().unwrap();
    });
}

/// Load, write, checkpoint, evict; and the slow load comes last.
#[test]
fn a_slow_load_does_not_bring_in_an_old_cell() {
    model(|| {
        let (index, _) = index_of(&["a"]);
        evict(&index);
        evict(&index);
        let other = Arc::clone(&index);
        let reader = thread::spawn(move || assert!(revision(&other, "a").is_some()));
        put(&index, "a", 2);
        checkpoint(&index);
        evict(&index);
        evict(&index);
        reader.join().unwrap();
        assert_eq!(revision(&index, "a"), Some(2));
        assert!(!index.is_lost());
    });
}

#[test]
fn a_leaf_that_is_changed_while_it_is_written_stays_dirty() {
    model(|| {
        let (index, backing) = index_of(&["a"]);
        put(&index, "a", 2);
        let writing = Arc::clone(&index);
        let checkpointing = thread::spawn(move || checkpoint(&writing));
        put(&index, "a", 3);
        checkpointing.join().unwrap();
        evict(&index);
        evict(&index);
        assert_eq!(revision(&index, "a"), Some(3));
        checkpoint(&index);
        assert_eq!(revision(&reopened(&backing), "a"), Some(3));
    });
}

#[test]
fn a_leaf_that_is_split_while_it_is_written_is_whole_in_the_backing_store() {
    model(|| {
        let (index, backing) = index_of(&["a", "b"]);
        put(&index, "a", 2);
        let writing = Arc::clone(&index);
        let checkpointing = thread::spawn(move || checkpoint(&writing));
        put(&index, "c", 3);
        checkpointing.join().unwrap();
        let found = reopened(&backing);
        assert_eq!(["a", "b"].map(|name| revision(&found, name)), [Some(2), Some(1)]);
        checkpoint(&index);
        assert_eq!(revision(&reopened(&backing), "c"), Some(3));
    });
}

#[test]
fn a_leaf_that_is_merged_while_it_is_written_is_whole_in_the_backing_store() {
    model(|| {
        let (index, backing) = index_of(&["a", "b", "c"]);
        put(&index, "c", 2);
        let writing = Arc::clone(&index);
        let checkpointing = thread::spawn(move || checkpoint(&writing));
        remove(&index, "b");
        assert_eq!(revision(&index, "c"), Some(2));
        checkpointing.join().unwrap();
        checkpoint(&index);
        let found = reopened(&backing);
        assert_eq!(["a", "b", "c"].map(|name| revision(&found, name)), [Some(1), None, Some(2)]);
    });
}
