//! Reading a sealed segment in pieces, while others read and write.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::engine::Engine;
use crate::engine::shared::MaintenanceGuard;
use crate::engine::throttle::Throttle;
use crate::journal::entries::EntrySource;
use crate::journal::manifest::SegmentRecord;
use crate::journal::scanner::{FrameScanner, Position, ScannedFrame};
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;

/// How much of a segment is read before others get a turn.
const CHUNK_BYTES: u64 = 256 << 10;

/// How much of a segment is in memory at a time, with what is noted of its entries. In this crate's own
/// tests little, so that they meet the borders of pieces.
pub(super) const PIECE_BYTES: usize = if cfg!(test) { 16 << 10 } else { 2 << 20 };
/// How much is noted at a time of entries that were copied.
pub(super) const MOVED_BYTES: usize = if cfg!(test) { 16 << 10 } else { 4 << 20 };
/// About what a note of an entry takes in addition to its key.
pub(super) const NOTE_BYTES: usize = 96;

/// Sees a commit of a segment, and says whether it has enough.
type VisitSource<'a> =
    dyn FnMut(&Engine, EntrySource<'_>, &ScannedFrame<'_>) -> Result<ControlFlow<()>> + 'a;

/// What is noted in memory of the entries of a piece.
#[derive(Debug, Default)]
pub(super) struct Noted {
    bytes: usize,
}

impl Noted {
    pub(super) fn add(&mut self, key: &ItemKey) {
        self.add_bytes(key.as_bytes().len() + NOTE_BYTES);
    }

    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
        #[cfg(test)]
        LARGEST_NOTED.with(|largest| largest.set(largest.get().max(self.bytes)));
    }

    /// Whether it goes on, up to this much.
    pub(super) fn flow(&self, limit_bytes: usize) -> ControlFlow<()> {
        if self.bytes < limit_bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
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
    read_span(maintenance, source, None, throttle, &mut |engine, source, frame| {
        visit(engine, source, frame).map(ControlFlow::Continue)
    })
    .map(drop)
}

/// The same from a place on, `None` for the first frame, and until `visit` has enough. Returns where
/// it ended, if that is not the end of the segment.
///
/// # Errors
/// As [`read_frames`].
pub(super) fn read_span(
    maintenance: &MaintenanceGuard<'_>,
    source: &SegmentRecord,
    from: Option<Position>,
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
        let first = from.unwrap_or_else(|| known.first_place());
        (known.clone(), FrameScanner::new(file, known.path.clone(), end_offset, first))
    };
    let mut visit = |engine: &Engine, frame: &ScannedFrame<'_>| {
        visit(engine, EntrySource::new(source.number, &known), frame)
    };
    let read = scan_in_turns(maintenance, &mut scan, end_offset, throttle, &mut visit);
    if let Err(error @ Error::Corrupt { .. }) = &read {
        known.note_damage(error);
    }
    read
}

/// Visits the frames up to the end of a segment, and lets others have their turn now and then. Returns
/// where it ended, if that is not the end of the segment.
fn scan_in_turns(
    maintenance: &MaintenanceGuard<'_>,
    scan: &mut FrameScanner,
    end_offset: u64,
    throttle: Throttle,
    visit: &mut dyn FnMut(&Engine, &ScannedFrame<'_>) -> Result<ControlFlow<()>>,
) -> Result<Option<Position>> {
    loop {
        let began = Instant::now();
        let engine = maintenance.engine()?;
        let until = scan.position().offset + CHUNK_BYTES;
        while scan.position().offset < until {
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

pub(super) fn internal(what: &'static str) -> Error {
    Error::Internal { what }
}
