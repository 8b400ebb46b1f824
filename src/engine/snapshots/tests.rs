//! The saved heads against a model that remembers everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use super::*;
use crate::values::etag::ETag;

fn head(revision: u64, deleted: bool) -> Head {
    Head {
        etag: ETag([revision as u8; 16]),
        revision,
        segment: 1,
        offset: 0,
        checksum: 0,
        len_bytes: 0,
        modified_ms: 0,
        expires_ms: None,
        deleted,
    }
}

/// The index and the journal's numbering, as far as snapshots see them.
struct Rig {
    snapshots: Arc<Snapshots>,
    heads: BTreeMap<Vec<u8>, Head>,
    revision: u64,
}

impl Rig {
    fn new(limit_bytes: u64) -> Self {
        Self {
            snapshots: Arc::new(Snapshots::new(limit_bytes)),
            heads: BTreeMap::new(),
            revision: 0,
        }
    }

    fn begin(&self) -> Arc<View> {
        self.snapshots.begin(self.revision)
    }

    fn write(&mut self, key: &[u8], deleted: bool) {
        self.revision += 1;
        let before = self.heads.get(key).copied();
        self.snapshots.save(key, before.as_ref(), self.revision);
        self.heads.insert(key.to_vec(), head(self.revision, deleted));
    }

    fn put(&mut self, key: &[u8]) {
        self.write(key, false);
    }

    /// The revision of the version that a view sees.
    fn seen(&self, view: &View, key: &[u8]) -> Result<Option<u64>> {
        let head = view.head_at(key, self.heads.get(key).copied())?;
        Ok(head.filter(|head| !head.deleted).map(|head| head.revision))
    }

    fn saved(&self) -> (u64, u64) {
        (self.snapshots.saved_heads(), self.snapshots.kept.read().bytes)
    }
}

#[test]
fn nothing_is_saved_without_a_snapshot_or_for_what_none_sees() {
    let mut rig = Rig::new(u64::MAX);
    rig.put(b"a");
    rig.put(b"a");
    assert_eq!(rig.saved(), (0, 0));
    rig.write(b"gone", true);
    let view = rig.begin();
    rig.put(b"new");
    rig.put(b"new");
    rig.put(b"gone");
    assert_eq!(rig.saved(), (0, 0), "what was absent or came later needs no head");
    rig.put(b"a");
    rig.put(b"a");
    assert_eq!(rig.saved(), (1, SAVED_HEAD_BYTES + 1), "a head is saved once");
    assert_eq!(rig.seen(&view, b"a").unwrap(), Some(2));
    assert_eq!(rig.seen(&view, b"new").unwrap(), None);
    assert_eq!(rig.seen(&view, b"gone").unwrap(), None);
    drop(view);
    assert_eq!(rig.saved(), (0, 0));
    rig.put(b"a");
    assert_eq!(rig.saved(), (0, 0));
}

#[test]
fn a_head_that_several_snapshots_see_is_saved_once_and_handed_down() {
    let mut rig = Rig::new(u64::MAX);
    for key in 0..1_000_u16 {
        rig.put(&key.to_be_bytes());
    }
    let oldest = rig.begin();
    rig.put(&0_u16.to_be_bytes());
    let (middle, newest) = (rig.begin(), rig.begin());
    for key in 0..1_000_u16 {
        rig.put(&key.to_be_bytes());
    }
    let bytes = |heads| heads * (SAVED_HEAD_BYTES + 2);
    assert_eq!(rig.saved(), (1_001, bytes(1_001)));
    drop(newest);
    assert_eq!(rig.saved(), (1_001, bytes(1_001)));
    assert_eq!(rig.seen(&middle, &0_u16.to_be_bytes()).unwrap(), Some(1_001));
    drop(middle);
    assert_eq!(rig.saved(), (1_000, bytes(1_000)), "only the middle one saw the second version");
    for key in 0..1_000_u16 {
        let seen = rig.seen(&oldest, &key.to_be_bytes()).unwrap();
        assert_eq!(seen, Some(u64::from(key) + 1));
    }
    drop(oldest);
    assert_eq!(rig.saved(), (0, 0));
    assert!(rig.snapshots.kept.read().layers.is_empty());
}

#[test]
fn the_oldest_snapshots_are_given_up_exactly_when_the_limit_is_passed() {
    let mut rig = Rig::new(3 * (SAVED_HEAD_BYTES + 1));
    for key in [b"a", b"b", b"c", b"d"] {
        rig.put(key);
    }
    let old = rig.begin();
    rig.put(b"a");
    rig.put(b"b");
    let young = rig.begin();
    rig.put(b"c");
    assert_eq!(rig.saved().0, 3);
    assert_eq!(rig.seen(&old, b"a").unwrap(), Some(1));
    assert_eq!(rig.snapshots.alive(), 2);

    rig.put(b"d");
    assert!(matches!(rig.seen(&old, b"a"), Err(Error::SnapshotTooOld)));
    assert!(matches!(rig.seen(&old, b"unwritten"), Err(Error::SnapshotTooOld)));
    assert_eq!(rig.snapshots.alive(), 1);
    assert_eq!(rig.saved().0, 2, "what the younger one sees stays");
    let seen = [b"a", b"b", b"c", b"d"].map(|key| rig.seen(&young, key).unwrap());
    assert_eq!(seen, [Some(5), Some(6), Some(3), Some(4)]);

    drop(old);
    assert_eq!(rig.saved().0, 2, "one that was given up has nothing left to free");
    drop(young);
    assert_eq!(rig.saved(), (0, 0));
}

#[test]
fn giving_up_the_oldest_says_whether_there_was_one() {
    let mut rig = Rig::new(u64::MAX);
    rig.put(b"a");
    assert!(!rig.snapshots.give_up_oldest());
    let views = [rig.begin(), rig.begin()];
    rig.put(b"a");
    assert!(rig.snapshots.give_up_oldest());
    assert!(matches!(views[0].check(), Err(Error::SnapshotTooOld)));
    assert_eq!(rig.seen(&views[1], b"a").unwrap(), Some(1));
    assert!(rig.snapshots.give_up_oldest());
    assert!(!rig.snapshots.give_up_oldest());
    assert!(views.iter().all(|view| view.check().is_err()));
    let fresh = rig.begin();
    assert_eq!(rig.seen(&fresh, b"a").unwrap(), Some(2));
    assert_eq!(rig.snapshots.alive(), 1);
}

/// What a snapshot sees, copied when it began.
type Copied = (Arc<View>, BTreeMap<Vec<u8>, Head>);

fn compare(rig: &Rig, views: &[Copied], keys: u8) {
    for (view, copy) in views {
        for key in 0..keys {
            let then = copy.get(&[key][..]).filter(|head| !head.deleted);
            let seen = rig.seen(view, &[key]).unwrap();
            assert_eq!(seen, then.map(|head| head.revision), "{key} at {}", view.revision());
        }
    }
}

#[test]
fn any_snapshots_see_what_a_copy_would_and_keep_no_more_than_they_see() {
    const KEYS: u8 = 6;
    for seed in 0..80 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new(u64::MAX);
        let mut views: Vec<Copied> = Vec::new();
        for _ in 0..120 {
            match rng.u8(..10) {
                0..6 => rig.write(&[rng.u8(..KEYS)], rng.u8(..4) == 0),
                6 | 7 => views.push((rig.begin(), rig.heads.clone())),
                8 if !views.is_empty() => drop(views.swap_remove(rng.usize(..views.len()))),
                9 if rng.u8(..8) == 0 => {
                    views.sort_by_key(|(view, _)| view.number);
                    assert_eq!(rig.snapshots.give_up_oldest(), !views.is_empty());
                    if !views.is_empty() {
                        assert!(views.remove(0).0.check().is_err());
                    }
                }
                _ => {}
            }
            compare(&rig, &views, KEYS);
            assert_eq!(rig.snapshots.alive(), views.len() as u64, "seed {seed}");
            // Of each key the versions that some view sees and the index no longer has.
            let seen = |(_, copy): &Copied| -> Vec<(Vec<u8>, u64)> {
                let displaced = |(key, head): (&Vec<u8>, &Head)| {
                    let live = !head.deleted && rig.heads[key].revision != head.revision;
                    live.then(|| (key.clone(), head.revision))
                };
                copy.iter().filter_map(displaced).collect()
            };
            let needed: std::collections::BTreeSet<_> = views.iter().flat_map(seen).collect();
            assert_eq!(rig.saved().0, needed.len() as u64, "seed {seed}");
            assert_eq!(rig.saved().1, needed.len() as u64 * (SAVED_HEAD_BYTES + 1));
        }
    }
}
