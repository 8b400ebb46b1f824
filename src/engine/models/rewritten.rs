//! A store whose first segment was rewritten by compaction, up to where the heads have to move.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{A, B, Rig, commit, delete, item_key, replacing};
use crate::engine::{Engine, EntryStatus};
use crate::journal::entries::FoundEntry;
use crate::journal::frame::{Body, Entry, record_checksum};
use crate::journal::frame_reader::FrameReader;
use crate::journal::manifest::{Checkpoint, SegmentRecord};
use crate::journal::rewrite::{CopiedRecord, Rewrite};
use crate::values::key::ItemKey;
use crate::values::precondition::Precondition;

/// The segment that the heads point into, and that which takes its place.
pub(super) const OLD: u32 = 1;
pub(super) const NEW: u32 = 3;

/// An entry in its new place.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    key: ItemKey,
    revision: u64,
    record: CopiedRecord,
}

/// Writes items [`A`] and [`B`], both "old", into the rig, and deletes one at each of the keys;
/// then seals the segment.
pub(super) fn sealed(rig: Rig, deleted: &[&str]) -> Rig {
    let (rig, _) = rig.with([(A, "older"), (B, "older")]);
    let old = |key| replacing(key, "old", Precondition::Always);
    commit(&rig.engine, [A, B].map(old)).unwrap();
    for key in deleted {
        delete(&rig.engine, key, Precondition::Always).unwrap();
    }
    let journal = &rig.engine.journal;
    journal.seal_if_dead().unwrap();
    let (revision, content) = journal.content();
    let next_expiry_ms = u64::MAX;
    let checkpoint =
        Checkpoint { revision, content, index_generation: 1, next_expiry_ms, index_lost: false };
    journal.record_checkpoint(checkpoint, Vec::new(), &[], 0).unwrap();
    rig
}

/// Writes again what is newest in the sealed segment, as compaction does.
pub(super) fn rewrite(engine: &Engine) -> (Rewrite, SegmentRecord) {
    let journal = &engine.journal;
    let sources = journal.covered_segments();
    assert_eq!(sources.iter().map(|source| source.number).collect::<Vec<_>>(), [OLD]);
    let mut rewrite = journal.begin_rewrite(sources).unwrap();
    let copied = FrameReader::after(0).read(journal, journal.applied(), &mut |frame| {
        let Some(Body::Commit(entries)) = Body::decode(frame.frame.body) else { panic!() };
        let entries = entries.map(|placed| placed.unwrap().entry);
        let newest = |entry: &Entry<'_>| {
            let key = ItemKey::new(entry.collection, entry.key).unwrap();
            engine.status_of(&key, frame.revision()).unwrap() == EntryStatus::Newest
        };
        let kept: Vec<_> = entries.filter(newest).map(|entry| (entry, None)).collect();
        if !kept.is_empty() {
            rewrite.append(frame.revision(), &kept)?;
        }
        Ok(ControlFlow::Continue(()))
    });
    assert!(copied.unwrap());
    let record = rewrite.finish(journal).unwrap();
    (rewrite, record)
}

/// Puts the rewritten segment in the place of the sealed one; returns what has to move.
pub(super) fn switched(rig: &Rig) -> Vec<Moved> {
    let journal = &rig.engine.journal;
    let (rewrite, record) = rewrite(&rig.engine);
    assert!(journal.switch(&rewrite, record, 0).unwrap());
    let mut moved = Vec::new();
    let read = FrameReader::after(0).read(journal, journal.applied(), &mut |frame| {
        frame.for_each_entry(&mut |found| {
            let FoundEntry { key, revision, segment, offset, record, .. } = found;
            assert_eq!(segment, NEW);
            let (len_bytes, checksum) = (record.len() as u32, record_checksum(record));
            let record = CopiedRecord { offset, len_bytes, checksum: Some(checksum) };
            moved.push(Moved { key, revision, record });
            Ok(())
        })?;
        Ok(ControlFlow::Continue(()))
    });
    assert!(read.unwrap());
    moved
}

impl Moved {
    pub(super) fn relocate(&self, engine: &Engine) {
        engine.relocate(&self.key, self.revision, NEW, self.record).unwrap();
    }
}

/// The entry of a key.
pub(super) fn entry_of(moved: &[Moved], key: &str) -> Moved {
    moved.iter().find(|entry| entry.key == item_key(key)).unwrap().clone()
}

/// Moves all heads but those of these keys, so that few steps are left to the threads.
pub(super) fn relocate_all_but(rig: &Rig, moved: &[Moved], keys: &[&str]) {
    let keys: Vec<ItemKey> = keys.iter().map(|key| item_key(key)).collect();
    moved.iter().filter(|entry| !keys.contains(&entry.key)).for_each(|e| e.relocate(&rig.engine));
}

/// Drops the old segment, as compaction does when no head points into it.
pub(super) fn drop_old(engine: &Arc<Engine>) {
    engine.journal.drop_retired(&[OLD]);
}

/// Asserts that each segment counts as live what the index's heads point to in it.
pub(super) fn assert_live_bytes_exact(engine: &Engine) {
    let mut live = std::collections::BTreeMap::from([(OLD, 0), (2, 0), (NEW, 0)]);
    for (_, head) in engine.walk_heads(None, usize::MAX).unwrap().0 {
        if !head.deleted {
            *live.get_mut(&head.segment).unwrap() += head.footprint_bytes();
        }
    }
    for (segment, bytes) in live {
        assert_eq!(engine.journal.segments().live_bytes(segment), bytes, "segment {segment}");
    }
}
