//! Models of copies that are read and written at the same time: each is found whole, or not at all.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::*;
use crate::seams::sync::{model, thread};

/// The memory of a cache whose copies have this many pieces.
pub(super) fn cache_bytes(pieces: u64) -> u64 {
    pieces * SHARE * (PIECE_WORDS * WORD) as u64
}

/// What names version `n` of an item. The tag begins with `n`, and the parent's is all zeros or ones.
pub(super) fn meta(n: u64) -> Meta {
    Meta {
        etag: of_halves(n, !n),
        parent: n.is_multiple_of(2).then_some(ETag([1; 16])),
        revision: Revision(n),
        modified_ms: n + 1,
        expires_ms: n.is_multiple_of(3).then_some(n + 2),
    }
}

/// Wants an item as often as it takes, so that it is copied unless another thread is copying.
pub(super) fn keep(
    items: &HotItems,
    (hash, key): (u64, &[u8]),
    sequence: u64,
    value: &[u8],
) -> usize {
    keep_if(items, (hash, key), sequence, value, true)
}

/// As [`keep`], where more memory for copies pays or does not.
pub(super) fn keep_if(
    items: &HotItems,
    (hash, key): (u64, &[u8]),
    sequence: u64,
    value: &[u8],
    pays: bool,
) -> usize {
    let want = || items.keep(hash, key, sequence, (&meta(sequence), value), |_, _| pays);
    let before = if AT_THE_SECOND_LOOK { want() } else { 0 };
    before + want()
}

/// Version `n` of an item whose value is one word, which says so.
fn keep_version(items: &HotItems, n: u64) {
    keep(items, (0, b"key"), n, &n.to_le_bytes());
}

/// Whether a copy of version `n` is there; it is whole then.
fn has_version(items: &HotItems, n: u64) -> bool {
    let found = items.get(0, b"key", n);
    if let Some((found, value)) = &found {
        assert_eq!((*found, &**value), (meta(n), &n.to_le_bytes()[..]));
    }
    found.is_some()
}

#[test]
fn a_copy_that_is_read_while_the_next_is_written_over_it_is_whole_or_not_there() {
    model(|| {
        let items = Arc::new(HotItems::new(cache_bytes(1)));
        keep_version(&items, 1);
        let copying = Arc::clone(&items);
        let writer = thread::spawn(move || keep_version(&copying, 2));
        has_version(&items, 1);
        writer.join().unwrap();
        assert!(has_version(&items, 2));
    });
}

#[test]
fn two_threads_that_copy_at_once_write_no_copy_of_two_halves() {
    model(|| {
        let items = Arc::new(HotItems::new(cache_bytes(1)));
        // The table is made before: loom does not know what a `OnceLock` orders.
        keep_version(&items, 3);
        let copying = Arc::clone(&items);
        let writer = thread::spawn(move || keep_version(&copying, 1));
        keep_version(&items, 2);
        writer.join().unwrap();
        has_version(&items, 1);
        has_version(&items, 2);
    });
}
