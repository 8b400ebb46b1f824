//! Laying out a frame before its place is known.

use super::entry::push_number;
use super::{Entry, FRAME_HEADER_BYTES, FrameHeader, FrameKind, Position};

/// No entry's fields take more, without the bytes of names, value and index changes.
const FIELDS_BOUND_BYTES: usize = 1 + 2 * 3 + 17 + 3 * 9 + 10 + 4 * 9;

/// Where the record of an entry lies in its frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryRecord {
    pub(crate) at: u32,
    pub(crate) len_bytes: u32,
    pub(crate) checksum: u32,
}

/// The CRC-32 of an entry's record, which the head of the version holds: a read finds by it that
/// the bytes are those that were written.
pub(crate) fn record_checksum(record: &[u8]) -> u32 {
    crc32fast::hash(record)
}

/// A frame under construction: complete except for its revision and its place, which
/// [`finish`](Self::finish) puts in under the journal's lock.
#[derive(Debug, Default)]
pub(crate) struct FrameBuilder {
    pub(super) bytes: Vec<u8>,
    body_checksum: u32,
}

impl FrameBuilder {
    /// Begins the frame of a commit of this number of entries.
    pub(crate) fn commit(entries: usize) -> Self {
        let mut builder = Self::new(FrameKind::Commit, 512);
        push_number(&mut builder.bytes, entries as u64);
        builder
    }

    /// Makes room for this number of entries at once, whose names, keys and values have this many bytes.
    pub(crate) fn reserve(&mut self, entries: usize, bytes: usize) {
        self.bytes.reserve(bytes + entries * FIELDS_BOUND_BYTES);
    }

    /// Begins and completes the frame that ends a sealed segment.
    pub(crate) fn seal() -> Self {
        let mut builder = Self::new(FrameKind::Seal, 64);
        builder.complete();
        builder
    }

    /// Makes a whole commit of entries as they are stored.
    pub(crate) fn of_records(records: &[&[u8]]) -> Self {
        let mut builder = Self::commit(records.len());
        for record in records {
            builder.push_record(record);
        }
        builder.complete();
        builder
    }

    /// Takes over a whole body that was read from another segment.
    pub(crate) fn of_body(body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + body.len());
        bytes.resize(FRAME_HEADER_BYTES, 0);
        bytes.extend_from_slice(body);
        let mut builder = Self { bytes, body_checksum: 0 };
        builder.complete();
        builder
    }

    fn new(kind: FrameKind, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        bytes.push(kind as u8);
        Self { bytes, body_checksum: 0 }
    }

    /// Adds an entry; returns where in the frame its record lies.
    pub(crate) fn push(&mut self, entry: &Entry<'_>) -> EntryRecord {
        let start = self.bytes.len();
        entry.encode_to(&mut self.bytes);
        let record = self.bytes.get(start..).unwrap_or_default();
        let (at, len_bytes) = (start as u32, record.len() as u32);
        EntryRecord { at, len_bytes, checksum: record_checksum(record) }
    }

    /// Adds an entry as it is stored; returns where in the frame it begins.
    pub(crate) fn push_record(&mut self, record: &[u8]) -> u32 {
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(record);
        at
    }

    /// Takes the checksum of the body; call once, after the last entry and before any lock.
    pub(crate) fn complete(&mut self) {
        self.body_checksum = crc32fast::hash(self.bytes.split_at(FRAME_HEADER_BYTES).1);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Fills in what only the journal knows: the revision, a check of the content after the commit
    /// (0 where that is not known), and the place. Returns the frame and the place after it.
    pub(crate) fn finish(
        &mut self,
        revision: u64,
        content_check: u32,
        place: Position,
    ) -> (&[u8], Position) {
        let header = FrameHeader {
            body_bytes: (self.bytes.len() - FRAME_HEADER_BYTES) as u32,
            revision,
            body_checksum: self.body_checksum,
            content_check,
        };
        let bytes = header.encode(place);
        if let Some(slot) = self.bytes.get_mut(..FRAME_HEADER_BYTES) {
            slot.copy_from_slice(&bytes);
        }
        let end = Position { offset: place.offset + self.bytes.len() as u64, ..place };
        (&self.bytes, end)
    }
}
