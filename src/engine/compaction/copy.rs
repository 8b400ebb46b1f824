//! Copying what is worth keeping of some segments.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Instant;

use crate::engine::compaction::purge::Purgeable;
use crate::engine::shared::MaintenanceGuard;
use crate::engine::throttle::Throttle;
use crate::engine::{Engine, EntryStatus};
use crate::journal::entries::EntrySource;
use crate::journal::frame::Entry;
use crate::journal::manifest::SegmentRecord;
use crate::journal::rewrite::Rewrite;
use crate::journal::scanner::{FrameScanner, Position, ScannedFrame};
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;

/// How much of a segment is read before others get a turn.
const CHUNK_BYTES: u64 = 256 << 10;

/// How much may be noted of the entries of a segment at a time. In this crate's own tests little, so
/// that they meet the borders of pieces.
const PIECE_BYTES: usize = if cfg!(test) { 16 << 10 } else { 8 << 20 };
/// About what a note of an entry takes in addition to its key.
const NOTE_BYTES: usize = 96;

/// How many entries are decided on before others get a turn.
const ENTRIES: usize = 512;

/// Copies the entries that are worth keeping of a rewrite's sources.
pub(super) fn copy(
    maintenance: &MaintenanceGuard<'_>,
    rewrite: &mut Rewrite,
    purgeable: &Purgeable,
    throttle: Throttle,
) -> Result<()> {
    let sources = rewrite.sources().to_vec();
    let mut chains = Chains::default();
    for source in &sources {
        let mut span = FrameSpan::default();
        loop {
            let (kept, next) =
                find_kept(maintenance, source, span, purgeable, &mut chains, throttle)?;
            let piece = FrameSpan { until: next.map(|next| next.offset), ..span };
            copy_piece(maintenance, rewrite, source, piece, &kept, throttle)?;
            let Some(from) = next else { break };
            span.from = Some(from);
        }
    }
    Ok(())
}

/// Copies what is kept of a part of a segment.
fn copy_piece(
    maintenance: &MaintenanceGuard<'_>,
    rewrite: &mut Rewrite,
    source: &SegmentRecord,
    piece: FrameSpan,
    kept: &Kept,
    throttle: Throttle,
) -> Result<()> {
    let mut are_kept = kept.iter();
    read_span(maintenance, source, piece, throttle, &mut |_, source, frame| {
        let mut entries = Vec::new();
        source.for_each_entry(frame, &mut |found| {
            let is_kept = are_kept.next().copied();
            if !is_kept.ok_or(internal("a segment that is copied has more entries than before"))? {
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
        if !entries.is_empty() {
            rewrite.append(frame.revision, &entries)?;
        }
        Ok(ControlFlow::Continue(()))
    })
    .map(drop)
}

/// Which entries of the next piece of a segment are kept, and where the piece after it begins.
fn find_kept(
    maintenance: &MaintenanceGuard<'_>,
    source: &SegmentRecord,
    span: FrameSpan,
    purgeable: &Purgeable,
    chains: &mut Chains,
    throttle: Throttle,
) -> Result<(Kept, Option<Position>)> {
    let mut entries: Vec<(ItemKey, u64, usize)> = Vec::new();
    let mut noted = Noted::default();
    let next = read_span(maintenance, source, span, throttle, &mut |_, source, frame| {
        source.for_each_entry(frame, &mut |found| {
            noted.add(&found.key);
            entries.push((found.key, found.revision, entries.len()));
            Ok(())
        })?;
        Ok(noted.flow())
    })?;
    // In order of key, neighbours lie on one page of the index.
    entries.sort_unstable();
    let mut kept = vec![false; entries.len()];
    throttle.for_each(maintenance, &entries, ENTRIES, |engine, (key, revision, at)| {
        let purged = purgeable.get(key) == Some(revision);
        if let Some(is_kept) = kept.get_mut(*at) {
            *is_kept = !purged && chains.keeps(engine, key, *revision)?;
        }
        Ok(())
    })?;
    Ok((kept, next))
}

/// Of each entry of a piece, in the order of the journal, whether a copy holds it.
type Kept = Vec<bool>;

/// Sees a commit of a segment, and says whether it has enough.
type VisitSource<'a> =
    dyn FnMut(&Engine, EntrySource<'_>, &ScannedFrame<'_>) -> Result<ControlFlow<()>> + 'a;

/// A part of a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FrameSpan {
    /// `None` for the first frame.
    pub(super) from: Option<Position>,
    /// The offset of the first frame that is no part of it; `None` for all that follow.
    until: Option<u64>,
}

/// What is noted in memory of the entries of a piece.
#[derive(Debug, Default)]
pub(super) struct Noted {
    bytes: usize,
}

impl Noted {
    pub(super) fn add(&mut self, key: &ItemKey) {
        self.bytes += key.as_bytes().len() + NOTE_BYTES;
        #[cfg(test)]
        LARGEST_NOTED.with(|largest| largest.set(largest.get().max(self.bytes)));
    }

    /// Whether the piece goes on.
    pub(super) fn flow(&self) -> ControlFlow<()> {
        if self.bytes < PIECE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

#[cfg(test)]
thread_local! {
    /// The most that this thread has noted at a time.
    pub(super) static LARGEST_NOTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Visits the commits of a sealed segment; the store may be closed, and others go on, in between.
///
/// # Errors
/// [`Error::Corrupt`] where a frame is damaged, which is remembered of the segment.
pub(super) fn read_frames(
    maintenance: &MaintenanceGuard<'_>,
    source: &SegmentRecord,
    throttle: Throttle,
    visit: &mut dyn FnMut(&Engine, EntrySource<'_>, &ScannedFrame<'_>) -> Result<()>,
) -> Result<()> {
    let all = FrameSpan::default();
    read_span(maintenance, source, all, throttle, &mut |engine, source, frame| {
        visit(engine, source, frame).map(ControlFlow::Continue)
    })
    .map(drop)
}

/// The same for a part of a segment, and until `visit` has enough. Returns where it ended, if that
/// is not the end of the segment.
///
/// # Errors
/// As [`read_frames`].
pub(super) fn read_span(
    maintenance: &MaintenanceGuard<'_>,
    source: &SegmentRecord,
    span: FrameSpan,
    throttle: Throttle,
    visit: &mut VisitSource<'_>,
) -> Result<Option<Position>> {
    let sealed = source.sealed.ok_or(internal("compaction reads a segment that is not sealed"))?;
    let end_offset = sealed.offset;
    let (known, mut scan) = {
        let engine = maintenance.engine()?;
        let segments = engine.journal.segments();
        let unknown = || internal("compaction reads a segment that was dropped");
        let known = segments.get(source.number).ok_or_else(unknown)?;
        let file = segments.file(source.number)?.ok_or_else(unknown)?;
        let first = span.from.unwrap_or_else(|| known.first_place());
        (known.clone(), FrameScanner::new(file, known.path.clone(), end_offset, first))
    };
    let mut visit = |engine: &Engine, frame: &ScannedFrame<'_>| {
        visit(engine, EntrySource::new(source.number, &known), frame)
    };
    let read =
        scan_in_turns(maintenance, &mut scan, (span.until, end_offset), throttle, &mut visit);
    if let Err(error @ Error::Corrupt { .. }) = &read {
        known.note_damage(error);
    }
    read
}

/// Visits the frames up to an offset, or to the end of a segment, and lets others have their turn now
/// and then. Returns where it ended, if that is not the end of the segment.
fn scan_in_turns(
    maintenance: &MaintenanceGuard<'_>,
    scan: &mut FrameScanner,
    (stop, end_offset): (Option<u64>, u64),
    throttle: Throttle,
    visit: &mut dyn FnMut(&Engine, &ScannedFrame<'_>) -> Result<ControlFlow<()>>,
) -> Result<Option<Position>> {
    loop {
        let began = Instant::now();
        let engine = maintenance.engine()?;
        let until = scan.position().offset + CHUNK_BYTES;
        while scan.position().offset < until {
            if stop.is_some_and(|stop| scan.position().offset >= stop) {
                return Ok(Some(scan.position()));
            }
            let Some(frame) = scan.next_commit()? else {
                return scan.expect_end(end_offset).map(|()| None);
            };
            if visit(&engine, &frame)?.is_break() {
                return Ok(Some(scan.position()));
            }
        }
        drop(engine);
        throttle.pause(began);
    }
}

fn internal(what: &'static str) -> Error {
    Error::Internal { what }
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
                    std::ops::ControlFlow::Continue(())
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

    use super::{LARGEST_NOTED, NOTE_BYTES, PIECE_BYTES};
    use crate::simulation::Simulation;
    use crate::{Options, Precondition};

    /// A regression: all entries of a segment, of up to 64 MiB, were noted at once, both when they
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
        // One entry more than fits, as its commit is noted whole.
        assert!(largest > 0 && largest < PIECE_BYTES + NOTE_BYTES + 64, "{largest} bytes");
        for key in 0..6_000_u32 {
            assert_eq!(items.get(key.to_be_bytes()).unwrap().unwrap().value, vec![1; 20]);
        }
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }
}
