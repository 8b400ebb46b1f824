//! A part of a segment in memory: read once, decided on, and copied from.

use std::ops::Range;

use crate::engine::compaction::reading::{Noted, read_span};
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
    /// The bodies of the frames, one after another.
    bodies: Vec<u8>,
    /// In order of key: each entry's key, revision and number, which counts in the order of the journal.
    pub(super) entries: Vec<(ItemKey, u64, usize)>,
    /// By number, where in its frame an entry's record begins, and its length.
    pub(super) places: Vec<(u32, u32)>,
}

/// A commit of a piece.
#[derive(Debug)]
pub(super) struct PieceFrame {
    offset: u64,
    revision: u64,
    body: Range<usize>,
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
        let next = read_span(maintenance, source, from, throttle, &mut |_, source, frame| {
            noted.add_bytes(frame.body.len());
            piece.add(rewrite, source, frame, &mut noted)?;
            Ok(noted.flow())
        })?;
        piece.entries.sort_unstable();
        Ok((piece, next))
    }

    fn add(
        &mut self,
        rewrite: &Rewrite,
        source: EntrySource<'_>,
        frame: &ScannedFrame<'_>,
        noted: &mut Noted,
    ) -> Result<()> {
        let (first, begin) = (self.entries.len(), self.bodies.len());
        let (mut is_as_is, mut removes) = (true, false);
        source.for_each_entry(frame, &mut |found| {
            noted.add(&found.key);
            let incarnation = rewrite.incarnation_index(found.incarnation);
            is_as_is &= incarnation == Some(found.entry.incarnation);
            // A checkpoint holds what it changed in secondary indexes.
            is_as_is &= found.entry.index_changes.is_empty();
            removes |= !found.entry.kind().leaves_item();
            self.places.push((found.offset - frame.offset as u32, found.record.len() as u32));
            self.entries.push((found.key, found.revision, self.entries.len()));
            Ok(())
        })?;
        self.bodies.extend_from_slice(frame.body);
        self.frames.push(PieceFrame {
            offset: frame.offset,
            revision: frame.revision,
            body: begin..self.bodies.len(),
            body_checksum: frame.body_checksum,
            entries: first..self.entries.len(),
            is_as_is,
            removes,
        });
        Ok(())
    }

    pub(super) fn scanned(&self, frame: &PieceFrame) -> ScannedFrame<'_> {
        let PieceFrame { offset, revision, body_checksum, .. } = *frame;
        let body = self.bodies.get(frame.body.clone()).unwrap_or_default();
        ScannedFrame { offset, revision, body, body_checksum }
    }
}
