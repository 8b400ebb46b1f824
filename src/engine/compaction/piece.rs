//! A part of a segment in memory: read once, decided on, and copied from.

use std::ops::Range;

use crate::engine::compaction::reading::{Noted, PIECE_BYTES, read_span};
use crate::engine::shared::MaintenanceGuard;
use crate::engine::throttle::Throttle;
use crate::journal::entries::EntrySource;
use crate::journal::manifest::SegmentRecord;
use crate::journal::rewrite::Rewrite;
use crate::journal::scanner::{Position, ScannedFrame};
use crate::values::error::Result;
use crate::values::key::ItemKey;

/// A part of a segment in memory.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) frames: Vec<PieceFrame>,
    bodies: Bodies,
    /// In order of key: each entry's key, revision and number, which counts in the order of the journal.
    pub(super) entries: Vec<(ItemKey, u64, usize)>,
    /// By number, where in its frame an entry's record begins, and its length.
    pub(super) places: Vec<(u32, u32)>,
}

/// The bodies of frames. They lie in blocks and not in one buffer: what the system's allocator has
/// to find room for again and again, among what lives long, leaves gaps that nothing fills.
#[derive(Debug, Default)]
struct Bodies(Vec<Vec<u8>>);

/// A block, and where in it a body lies.
#[derive(Debug)]
struct BodyPlace(usize, Range<usize>);

impl Bodies {
    const BLOCK_BYTES: usize = 256 << 10;

    fn push(&mut self, body: &[u8]) -> BodyPlace {
        let fits = |block: &Vec<u8>| block.capacity() - block.len() >= body.len();
        if !self.0.last().is_some_and(fits) {
            self.0.push(Vec::with_capacity(body.len().max(Self::BLOCK_BYTES)));
        }
        let at = self.0.len() - 1;
        let Some(block) = self.0.last_mut() else { return BodyPlace(at, 0..0) };
        let begin = block.len();
        block.extend_from_slice(body);
        BodyPlace(at, begin..block.len())
    }

    fn get(&self, BodyPlace(block, range): &BodyPlace) -> &[u8] {
        self.0.get(*block).and_then(|block| block.get(range.clone())).unwrap_or_default()
    }
}

/// A commit of a piece.
#[derive(Debug)]
pub(super) struct PieceFrame {
    offset: u64,
    revision: u64,
    body: BodyPlace,
    body_checksum: u32,
    /// The numbers of its entries.
    pub(super) entries: Range<usize>,
    /// Whether a copy of all of it is the same, bit by bit.
    pub(super) is_as_is: bool,
    /// Whether an entry removes something.
    pub(super) removes: bool,
}

impl Piece {
    /// Reads the next piece of a segment; returns where the piece after it begins.
    pub(super) fn read(
        maintenance: &MaintenanceGuard<'_>,
        rewrite: &Rewrite,
        source: &SegmentRecord,
        from: Option<Position>,
        throttle: Throttle,
    ) -> Result<(Self, Option<Position>)> {
        let (mut piece, mut noted) = (Self::default(), Noted::default());
        let superseded = {
            let engine = maintenance.engine()?;
            let known = engine.journal.segments().get(source.number);
            // Where versions are kept, what is superseded may be wanted.
            known.filter(|_| engine.history.depth() == 0)
        };
        let is_dead = |offset, len_bytes| {
            superseded.as_ref().is_some_and(|known| known.is_superseded(offset, len_bytes))
        };
        let next = read_span(maintenance, source, from, throttle, &mut |_, source, frame| {
            piece.add(rewrite, source, frame, &is_dead, &mut noted)?;
            Ok(noted.flow(PIECE_BYTES))
        })?;
        piece.entries.sort_unstable();
        Ok((piece, next))
    }

    fn add(
        &mut self,
        rewrite: &Rewrite,
        source: EntrySource<'_>,
        frame: &ScannedFrame<'_>,
        is_dead: &dyn Fn(u32, u32) -> bool,
        noted: &mut Noted,
    ) -> Result<()> {
        let (first, before) = (self.places.len(), self.entries.len());
        let (mut is_as_is, mut removes) = (true, false);
        source.for_each_entry(frame, &mut |found| {
            let (number, len_bytes) = (self.places.len(), found.record.len() as u32);
            self.places.push((found.offset - frame.offset as u32, len_bytes));
            if is_dead(found.offset, len_bytes) {
                return Ok(());
            }
            noted.add(&found.key);
            let incarnation = rewrite.incarnation_index(found.incarnation);
            is_as_is &= incarnation == Some(found.entry.incarnation);
            // A checkpoint holds what it changed in secondary indexes.
            is_as_is &= found.entry.index_changes.is_empty();
            removes |= !found.entry.kind().leaves_item();
            self.entries.push((found.key, found.revision, number));
            Ok(())
        })?;
        if self.entries.len() == before {
            self.places.truncate(first);
            return Ok(());
        }
        noted.add_bytes(frame.body.len());
        self.frames.push(PieceFrame {
            offset: frame.offset,
            revision: frame.revision,
            body: self.bodies.push(frame.body),
            body_checksum: frame.body_checksum,
            entries: first..self.places.len(),
            is_as_is,
            removes,
        });
        Ok(())
    }

    pub(super) fn scanned(&self, frame: &PieceFrame) -> ScannedFrame<'_> {
        let PieceFrame { offset, revision, body_checksum, .. } = *frame;
        let body = self.bodies.get(&frame.body);
        ScannedFrame { offset, revision, body, body_checksum }
    }
}
