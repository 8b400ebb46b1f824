//! Copying what is worth keeping of some segments.

use std::collections::HashMap;
use std::ops::ControlFlow;

use crate::engine::compaction::piece::{Piece, PieceFrame};
use crate::engine::compaction::purge::Purgeable;
use crate::engine::compaction::reading::{MOVED_BYTES, NOTE_BYTES, Noted, internal};
use crate::engine::shared::MaintenanceGuard;
use crate::engine::throttle::Throttle;
use crate::engine::{Engine, EntryStatus};
use crate::journal::entries::EntrySource;
use crate::journal::frame::Entry;
use crate::journal::manifest::SegmentRecord;
use crate::journal::rewrite::{CopiedRecord, Rewrite};
use crate::journal::scanner::ScannedFrame;
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;

/// How many entries are decided on before others get a turn.
const ENTRIES: usize = 512;
/// How many commits are copied before others get a turn.
const FRAMES: usize = 1_024;

/// Copies the entries that are worth keeping of a rewrite's sources. Returns where they lie now; `None`
/// where they are too many to be noted.
pub(super) fn copy(
    maintenance: &MaintenanceGuard<'_>,
    rewrite: &mut Rewrite,
    purgeable: &Purgeable,
    throttle: Throttle,
) -> Result<Option<MovedEntries>> {
    let sources = rewrite.sources().to_vec();
    let (mut chains, mut moved) = (Chains::default(), Some(MovedEntries::default()));
    for source in &sources {
        let mut from = None;
        loop {
            let (piece, next) = Piece::read(maintenance, rewrite, source, from, throttle)?;
            let kept = find_kept(maintenance, &piece, purgeable, &mut chains, throttle)?;
            let copied = copy_piece(maintenance, rewrite, source, &piece, &kept, throttle)?;
            moved = moved.and_then(|moved| moved.with(piece, &copied));
            if next.is_none() {
                break;
            }
            from = next;
        }
    }
    Ok(moved)
}

/// Which entries of a piece are kept, by number.
fn find_kept(
    maintenance: &MaintenanceGuard<'_>,
    piece: &Piece,
    purgeable: &Purgeable,
    chains: &mut Chains,
    throttle: Throttle,
) -> Result<Vec<bool>> {
    let mut kept = vec![false; piece.places.len()];
    // In order of key, neighbours lie on one page of the index.
    throttle.for_each(maintenance, &piece.entries, ENTRIES, |engine, (key, revision, at)| {
        let purged = purgeable.get(key) == Some(revision);
        if let Some(is_kept) = kept.get_mut(*at) {
            *is_kept = !purged && chains.keeps(engine, key, *revision)?;
        }
        Ok(())
    })?;
    Ok(kept)
}

/// Copies what is kept of a piece; returns where the entries lie now, by number.
fn copy_piece(
    maintenance: &MaintenanceGuard<'_>,
    rewrite: &mut Rewrite,
    source: &SegmentRecord,
    piece: &Piece,
    kept: &[bool],
    throttle: Throttle,
) -> Result<Vec<Option<CopiedRecord>>> {
    let unknown = internal("compaction copies a segment that was dropped");
    let known = maintenance.engine()?.journal.segments().get(source.number).ok_or(unknown)?;
    let source = EntrySource::new(source.number, &known);
    let mut copied = vec![None; kept.len()];
    throttle.for_each(maintenance, &piece.frames, FRAMES, |_, frame| {
        let kept = kept.get(frame.entries.clone()).unwrap_or_default();
        let copied = copied.get_mut(frame.entries.clone()).unwrap_or_default();
        if !kept.contains(&true) {
            return Ok(());
        }
        if frame.is_as_is && !kept.contains(&false) {
            return copy_whole(rewrite, piece, frame, copied);
        }
        copy_kept(rewrite, source, &piece.scanned(frame), kept, copied)
    })?;
    Ok(copied)
}

/// Copies a commit of which everything is kept as it is, with the checksum that its frame had.
fn copy_whole(
    rewrite: &mut Rewrite,
    piece: &Piece,
    frame: &PieceFrame,
    copied: &mut [Option<CopiedRecord>],
) -> Result<()> {
    let ScannedFrame { revision, body, body_checksum, .. } = piece.scanned(frame);
    let begin = rewrite.append_body(revision, body, body_checksum, frame.removes)?;
    let places = piece.places.get(frame.entries.clone()).unwrap_or_default();
    for (copied, (at, len_bytes)) in copied.iter_mut().zip(places) {
        let (offset, len_bytes) = (begin + at, *len_bytes);
        *copied = Some(CopiedRecord { offset, len_bytes, checksum: None });
    }
    Ok(())
}

/// Copies some entries of a commit.
fn copy_kept(
    rewrite: &mut Rewrite,
    source: EntrySource<'_>,
    frame: &ScannedFrame<'_>,
    kept: &[bool],
    copied: &mut [Option<CopiedRecord>],
) -> Result<()> {
    let mut entries = Vec::new();
    let mut are_kept = kept.iter();
    source.for_each_entry(frame, &mut |found| {
        let is_kept = are_kept.next().copied();
        if !is_kept.ok_or(internal("a commit that is copied has more entries than before"))? {
            return Ok(());
        }
        // Those of all sources are listed.
        let incarnation = rewrite.incarnation_index(found.incarnation);
        let incarnation =
            incarnation.ok_or(internal("a rewritten segment lacks an incarnation"))?;
        // A checkpoint holds what it changed in secondary indexes.
        let entry = Entry { incarnation, index_changes: &[], ..found.entry };
        // Most are copied as they are.
        entries.push((entry, (entry == found.entry).then_some(found.record)));
        Ok(())
    })?;
    let records = rewrite.append(frame.revision, &entries)?;
    let places = copied.iter_mut().zip(kept).filter(|(_, kept)| **kept);
    places.zip(records).for_each(|((place, _), record)| *place = Some(record));
    Ok(())
}

/// An entry that was copied: its key, its revision, and where it lies now.
pub(super) type Moved = (ItemKey, u64, CopiedRecord);

/// Entries that were copied, as many as may be noted at a time.
#[derive(Debug, Default)]
pub(super) struct MovedEntries {
    blocks: Vec<Vec<Moved>>,
    noted: Noted,
}

impl MovedEntries {
    const BLOCK: usize = 4 << 10;

    pub(super) fn push(&mut self, entry: Moved) {
        self.noted.add(&entry.0);
        match self.blocks.last_mut().filter(|block| block.len() < Self::BLOCK) {
            Some(block) => block.push(entry),
            None => self.blocks.push(vec![entry]),
        }
    }

    /// Whether more may be noted.
    pub(super) fn flow(&self) -> ControlFlow<()> {
        self.noted.flow(MOVED_BYTES)
    }

    /// With the entries of a piece that were copied, unless these are too many.
    fn with(mut self, piece: Piece, copied: &[Option<CopiedRecord>]) -> Option<Self> {
        for (key, revision, number) in piece.entries {
            let Some(copied) = copied.get(number).copied().flatten() else { continue };
            if self.flow().is_break() {
                return None;
            }
            self.push((key, revision, copied));
        }
        Some(self)
    }

    /// In order of key, so that neighbours share a leaf of the index.
    pub(super) fn in_order(&self) -> Vec<&Moved> {
        let mut entries: Vec<&Moved> = self.blocks.iter().flatten().collect();
        entries.sort_unstable_by_key(|(key, revision, _)| (key, *revision));
        entries
    }
}

/// The revisions of items' versions that the history policy keeps, as they were looked up.
#[derive(Debug, Default)]
struct Chains {
    kept: HashMap<ItemKey, Vec<u64>>,
    bytes: usize,
}

impl Chains {
    /// The most that is remembered at a time.
    const LIMIT_BYTES: usize = 8 << 20;

    fn keeps(&mut self, engine: &Engine, key: &ItemKey, revision: u64) -> Result<bool> {
        match engine.status_of(key, revision)? {
            EntryStatus::Newest => Ok(true),
            EntryStatus::Superseded if engine.history.depth() == 0 => Ok(false),
            EntryStatus::Superseded => {
                if let Some(kept) = self.kept.get(key) {
                    return Ok(kept.contains(&revision));
                }
                let mut kept = Vec::new();
                let past = engine.past(key, &mut |past| {
                    kept.push(past.version.meta.revision.0);
                    ControlFlow::Continue(())
                });
                match past {
                    // What follows the damage in the item's past may have to be kept.
                    Err(Error::Corrupt { .. }) => return Ok(true),
                    past => past?,
                }
                let keeps = kept.contains(&revision);
                if self.bytes >= Self::LIMIT_BYTES {
                    (self.kept, self.bytes) = (HashMap::new(), 0);
                }
                self.bytes += key.as_bytes().len() + NOTE_BYTES + size_of_val(&*kept);
                self.kept.insert(key.clone(), kept);
                Ok(keeps)
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::engine::compaction::reading::{LARGEST_NOTED, NOTE_BYTES, PIECE_BYTES};
    use crate::simulation::Simulation;
    use crate::{HistoryPolicy, Options, Precondition};

    /// A regression: all entries of a segment, of up to 128 MiB, were noted at once, both when they
    /// were copied and when their heads were moved.
    #[test]
    fn b12_compaction_notes_a_piece_of_a_segment_at_a_time() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        for round in 0..2_u8 {
            for key in 0..6_000_u32 {
                let value = vec![round; 20].into();
                items.upsert(key.to_be_bytes(), &value, Precondition::Always).unwrap();
            }
        }
        LARGEST_NOTED.set(0);
        let compacted = store.compact().unwrap();
        assert!(compacted.written_bytes > 300_000, "{compacted:?}");
        let largest = LARGEST_NOTED.get();
        // One entry more than fits, as its commit is taken whole.
        assert!(largest > 0 && largest < PIECE_BYTES + NOTE_BYTES + 200, "{largest} bytes");
        for key in 0..6_000_u32 {
            assert_eq!(items.get(key.to_be_bytes()).unwrap().unwrap().value, vec![1; 20]);
        }
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }

    /// Entries that are too short to be noted one by one share 32 bytes with others.
    #[test]
    fn of_what_this_session_superseded_nothing_else_goes() {
        let sim = Simulation::new(1);
        sim.set_now_ms(0);
        let store = sim.open(&Options::new()).unwrap();
        let items = store.raw("i").unwrap();
        let write = |keys: &mut dyn Iterator<Item = u8>, value: u8| {
            let upsert = |batch: crate::Batch, key: u8| {
                let len = usize::from(key) % 60;
                batch.upsert(&items, [key], &vec![value; len].into(), Precondition::Always)
            };
            keys.fold(store.batch(), upsert).commit().unwrap();
        };
        write(&mut (0..=255), 1);
        (2..20).for_each(|value| write(&mut (0..=255).step_by(2), value));
        assert!(store.compact().unwrap().reclaimed_bytes > 0);
        for key in 0..=255_u8 {
            let value = if key % 2 == 0 { 19 } else { 1 };
            let stored = items.get([key]).unwrap().unwrap().value;
            assert_eq!(stored, vec![value; usize::from(key) % 60]);
        }
        store.verify().unwrap();
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }

    /// Looking up what is dead was most of what compaction cost.
    #[test]
    fn what_this_session_superseded_is_not_looked_up() {
        for (versions, is_looked_up) in [(0, false), (1, true)] {
            let sim = Simulation::new(1);
            let history = HistoryPolicy::new().versions(versions);
            let store = sim.open(&Options::new().history(history)).unwrap();
            let items = store.raw("items").unwrap();
            for round in 0..100_u8 {
                items.upsert("one", &vec![round; 20].into(), Precondition::Always).unwrap();
            }
            LARGEST_NOTED.set(0);
            assert!(store.compact().unwrap().reclaimed_bytes > 0);
            let noted = LARGEST_NOTED.get();
            assert!(noted > 0 && (noted > 100 * NOTE_BYTES) == is_looked_up, "{noted} bytes");
            assert_eq!(items.get("one").unwrap().unwrap().value, vec![99; 20]);
            assert_eq!(items.history("one").unwrap().len(), versions as usize + 1);
        }
    }
}
