//! Frames: one commit each, under headers that are bound to their places. Bytes in
//! `docs/format.md`.

use bincode::config;
use bincode::{BorrowDecode, Encode};

use crate::journal::dual_slot::MAX_STORED;
use crate::journal::index_changes::MAX_INDEX_CHANGES_BYTES;
use crate::values::etag::{ETag, PendingTag, TagInput, value_hash};

/// Bytes before a frame's body: length, checksum, revision, checksum of the body, check of the content.
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
/// The longest body: a batch's 64 MiB of values with the names and headers of 10 000 entries, and
/// what they change in secondary indexes.
pub(crate) const MAX_BODY_BYTES: u32 = (64 << 20) + 10_001 * 1_024 + MAX_INDEX_CHANGES_BYTES;

/// No entry's fields take more, without the bytes of names, value and index changes.
const FIELDS_BOUND_BYTES: usize = 1 + 2 * 3 + 17 + 3 * 9 + 10 + 4 * 9;

/// A place between two frames of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    /// The checksum of the segment's header, which seeds that of each frame's.
    pub(crate) seed: u32,
}

/// What a frame holds, from its first body byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A commit: the count of its entries, then the entries.
    Commit = 0,
    /// The end of a sealed segment; nothing follows.
    Seal = 1,
}

/// What a commit did to a key; the numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Created = 0,
    Replaced = 1,
    Deleted = 2,
    Expired = 3,
    /// Every item of the collection was removed. The key is empty, and the value says how many
    /// items that were, and what their sum was.
    Cleared = 4,
}

impl EntryKind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Created, Self::Replaced, Self::Deleted, Self::Expired, Self::Cleared]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// Whether the item is there after such an entry.
    pub(crate) fn leaves_item(self) -> bool {
        matches!(self, Self::Created | Self::Replaced)
    }
}

/// One change of one item, as the journal stores it. The tag is not stored: it is computed from
/// these fields and the frame's revision, and compared to the one that the index or a successor
/// holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct Entry<'a> {
    pub(crate) kind: u8,
    /// Which incarnation of the segment's header wrote the entry.
    pub(crate) incarnation: u16,
    /// The entry's place in its commit, which it keeps when compaction drops its neighbours.
    pub(crate) ordinal: u16,
    pub(crate) parent: Option<[u8; 16]>,
    /// The revision of the version or tombstone that was there before, 0 for none: the way back
    /// through an item's history. Not part of the tag.
    pub(crate) previous: u64,
    pub(crate) modified_ms: u64,
    /// How far `modified_ms` is ahead of the clock at the commit, as it is for a key that is written
    /// more than once in a millisecond. Not part of the tag.
    pub(crate) ahead_ms: u64,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) collection: &'a str,
    pub(crate) key: &'a [u8],
    /// What the entry changes in the collection's secondary indexes beyond what its value says, see
    /// [`index_changes`](crate::journal::index_changes). Not part of the tag; compaction drops it.
    pub(crate) index_changes: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads the entry that `bytes` begins with, and its length.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (entry, used): (Self, usize) =
            bincode::borrow_decode_from_slice(bytes, config::standard()).ok()?;
        EntryKind::from_byte(entry.kind)?;
        Some((entry, used))
    }

    pub(crate) fn kind(&self) -> EntryKind {
        EntryKind::from_byte(self.kind).unwrap_or(EntryKind::Deleted)
    }

    /// What the store's clock said at the commit.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.modified_ms.saturating_sub(self.ahead_ms)
    }

    pub(crate) fn parent(&self) -> Option<ETag> {
        self.parent.map(ETag)
    }

    /// The tag of the version that this entry wrote.
    pub(crate) fn etag(&self, incarnation: &[u8; 16], revision: u64) -> ETag {
        self.pending_tag(incarnation, &value_hash(self.value)).at(revision)
    }

    pub(crate) fn pending_tag(&self, incarnation: &[u8; 16], value_hash: &[u8; 32]) -> PendingTag {
        PendingTag::new(&TagInput {
            incarnation,
            parent: self.parent(),
            kind: self.kind,
            modified_ms: self.modified_ms,
            expires_ms: self.expires_ms,
            collection: self.collection,
            key: self.key,
            value_hash,
        })
    }
}

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
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    body_checksum: u32,
}

impl FrameBuilder {
    /// Begins the frame of a commit of this number of entries.
    pub(crate) fn commit(entries: usize) -> Self {
        let mut builder = Self::new(FrameKind::Commit, 512);
        builder.encode(entries as u64);
        builder
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

    fn encode(&mut self, value: impl Encode) {
        // Writing to a vector has no way to fail: every field type is encodable.
        let written = bincode::encode_into_std_write(value, &mut self.bytes, config::standard());
        debug_assert!(written.is_ok());
    }

    /// Adds an entry; returns where in the frame its record lies.
    pub(crate) fn push(&mut self, entry: &Entry<'_>) -> EntryRecord {
        let start = self.bytes.len();
        self.encode_entry(entry);
        let record = self.bytes.get(start..).unwrap_or_default();
        let (at, len_bytes) = (start as u32, record.len() as u32);
        EntryRecord { at, len_bytes, checksum: record_checksum(record) }
    }

    /// Writes an entry's fields one after another into room that was made for them: to let the vector
    /// grow field by field takes three times as long.
    fn encode_entry(&mut self, entry: &Entry<'_>) {
        let start = self.bytes.len();
        let names = entry.key.len() + entry.collection.len() + entry.index_changes.len();
        self.bytes.reserve(names + entry.value.len() + FIELDS_BOUND_BYTES);
        self.bytes.resize(start + names + FIELDS_BOUND_BYTES, 0);
        // The value comes last: its length, which is a byte for none, and its bytes.
        let fields = Entry { value: &[], ..*entry };
        let place = self.bytes.get_mut(start..).unwrap_or_default();
        let written = bincode::encode_into_slice(fields, place, config::standard());
        debug_assert!(written.is_ok(), "the bound of an entry's fields is too low");
        self.bytes.truncate(start + written.unwrap_or(1) - 1);
        self.encode(entry.value.len() as u64);
        self.bytes.extend_from_slice(entry.value);
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

    /// Puts in what only the journal knows: the revision, a check of the content after the commit, 0
    /// where that is not known, and the place; returns the frame and the place behind it.
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
        let behind = Position { offset: place.offset + self.bytes.len() as u64, ..place };
        (&self.bytes, behind)
    }
}

/// The header of a frame whose body is known with its checksum, and the place behind the frame.
pub(crate) fn header_of_body(
    body: &[u8],
    body_checksum: u32,
    revision: u64,
    place: Position,
) -> ([u8; FRAME_HEADER_BYTES], Position) {
    let body_bytes = body.len() as u32;
    let header = FrameHeader { body_bytes, revision, body_checksum, content_check: 0 };
    let frame_bytes = (FRAME_HEADER_BYTES + body.len()) as u64;
    (header.encode(place), Position { offset: place.offset + frame_bytes, ..place })
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) body_bytes: u32,
    pub(crate) revision: u64,
    pub(crate) body_checksum: u32,
    /// The [check](crate::journal::content_sum::ContentSum::check) of the live items after the commit;
    /// means nothing in a segment that compaction, a copy or a repair has written.
    pub(crate) content_check: u32,
}

impl FrameHeader {
    fn checksum(&self, place: Position) -> u32 {
        let numbers = [
            place.offset as u32,
            (place.offset >> 32) as u32,
            self.body_bytes,
            self.revision as u32,
            (self.revision >> 32) as u32,
            self.body_checksum,
            self.content_check,
        ];
        let mut bytes = [0; 7 * 4];
        for (slot, number) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(numbers) {
            *slot = number.to_le_bytes();
        }
        let mut hasher = crc32fast::Hasher::new_with_initial(place.seed);
        hasher.update(&bytes);
        hasher.finalize()
    }

    fn encode(&self, place: Position) -> [u8; FRAME_HEADER_BYTES] {
        let numbers = [
            self.body_bytes,
            self.checksum(place),
            self.revision as u32,
            (self.revision >> 32) as u32,
            self.body_checksum,
            self.content_check,
        ];
        let mut bytes = [0; FRAME_HEADER_BYTES];
        for (slot, number) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(numbers) {
            *slot = number.to_le_bytes();
        }
        bytes
    }

    /// Reads the header of a frame that begins at this place.
    ///
    /// Its checksum covers segment and offset: bytes that were a header elsewhere, such as those of
    /// a store's file that is stored as a value, are none here. So a header can be looked for behind
    /// a damaged one.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER_BYTES], place: Position) -> Option<Self> {
        let [length, checksum, low, high, body_checksum, content_check] = fields(bytes);
        let header = Self {
            body_bytes: length,
            revision: u64::from(high) << 32 | u64::from(low),
            body_checksum,
            content_check,
        };
        let plausible =
            (1..=MAX_BODY_BYTES).contains(&header.body_bytes) && header.revision <= MAX_STORED;
        (plausible && header.checksum(place) == checksum).then_some(header)
    }
}

/// The little-endian numbers that a header consists of.
fn fields(bytes: &[u8; FRAME_HEADER_BYTES]) -> [u32; FRAME_HEADER_BYTES / 4] {
    let mut numbers = [0; FRAME_HEADER_BYTES / 4];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *number = u32::from_le_bytes(*bytes);
    }
    numbers
}

/// A whole and valid frame's body, parsed.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    Commit(Entries<'a>),
    Seal,
}

impl<'a> Body<'a> {
    /// Parses a body whose checksum was right; `None` if it is not one that this version writes.
    pub(crate) fn decode(body: &'a [u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        match *kind {
            kind if kind == FrameKind::Commit as u8 => {
                let (count, used): (u64, usize) =
                    bincode::decode_from_slice(rest, config::standard()).ok()?;
                let rest = rest.get(used..)?;
                // The count is bounded by the bytes: no entry is empty.
                (count <= rest.len() as u64).then_some(Self::Commit(Entries {
                    left: count,
                    rest,
                    at: (FRAME_HEADER_BYTES + 1 + used) as u32,
                }))
            }
            kind if kind == FrameKind::Seal as u8 => rest.is_empty().then_some(Self::Seal),
            _ => None,
        }
    }
}

/// The entries of a commit, each with the place of its record in the frame.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    left: u64,
    rest: &'a [u8],
    at: u32,
}

/// An entry and where its record lies, counted from the frame's first byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'a> {
    pub(crate) entry: Entry<'a>,
    pub(crate) at: u32,
    pub(crate) record: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<Placed<'a>>;

    /// The next entry; `Some(None)` once when the bytes are not the entries that were counted.
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let surplus = !std::mem::take(&mut self.rest).is_empty();
            return surplus.then_some(None);
        }
        let Some((entry, used)) = Entry::decode(self.rest) else {
            (self.left, self.rest) = (0, &[]);
            return Some(None);
        };
        let (record, rest) = self.rest.split_at_checked(used).unwrap_or((self.rest, &[]));
        let placed = Placed { entry, at: self.at, record };
        self.left -= 1;
        self.at += used as u32;
        self.rest = rest;
        Some(Some(placed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn entry(value: &[u8]) -> Entry<'_> {
        Entry {
            kind: EntryKind::Replaced as u8,
            incarnation: 0,
            ordinal: 1,
            parent: Some([3; 16]),
            previous: 8,
            modified_ms: 1_700_000_000_000,
            ahead_ms: 0,
            expires_ms: None,
            collection: "products",
            key: b"01AC0",
            index_changes: &[],
            value,
        }
    }

    const PLACE: Position = Position { offset: 4_096, seed: 77 };

    fn frame(revision: u64) -> (Vec<u8>, Position) {
        let mut builder = FrameBuilder::commit(2);
        builder.push(&entry(b"one"));
        builder.push(&entry(b"two"));
        builder.complete();
        let (bytes, behind) = builder.finish(revision, 5, PLACE);
        (bytes.to_vec(), behind)
    }

    fn header_of(frame: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
        frame[..FRAME_HEADER_BYTES].try_into().unwrap()
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let (bytes, behind) = frame(9);
        let header = FrameHeader::decode(&header_of(&bytes), PLACE).unwrap();
        assert_eq!((header.revision, header.content_check), (9, 5));
        assert_eq!(behind, Position { offset: 4_096 + bytes.len() as u64, ..PLACE });
        assert_eq!(header.body_bytes as usize, bytes.len() - FRAME_HEADER_BYTES);
        let body = &bytes[FRAME_HEADER_BYTES..];
        assert_eq!(header.body_checksum, crc32fast::hash(body));
        let Some(Body::Commit(entries)) = Body::decode(body) else { panic!("not a commit") };
        let placed: Vec<_> = entries.map(Option::unwrap).collect();
        assert_eq!(placed.len(), 2);
        for (placed, value) in placed.iter().zip([b"one", b"two"]) {
            assert_eq!(placed.entry, entry(value));
            let record = &bytes[placed.at as usize..][..placed.record.len()];
            assert_eq!(record, placed.record);
            assert_eq!(Entry::decode(record).unwrap(), (entry(value), record.len()));
        }
    }

    #[test]
    fn an_entry_is_encoded_as_all_of_it_by_bincode() {
        let long = [7; 70_000];
        let most = u64::MAX;
        for (incarnation, number, value) in [
            (0, 0, &[][..]),
            (250, 250, &long[..250]),
            (251, 251, &long[..251]),
            (u16::MAX, most, &long),
        ] {
            let entry = Entry {
                incarnation,
                ordinal: incarnation,
                parent: (number > 0).then_some([3; 16]),
                previous: number,
                modified_ms: number,
                ahead_ms: number,
                expires_ms: (number > 0).then_some(number),
                index_changes: value,
                ..entry(value)
            };
            let mut builder = FrameBuilder::commit(1);
            let record = builder.push(&entry);
            let expected = bincode::encode_to_vec(entry, config::standard()).unwrap();
            assert_eq!(builder.bytes[record.at as usize..], expected);
        }
    }

    #[test]
    fn a_frame_whose_revision_leaves_none_above_it_is_refused() {
        let decode = |revision| FrameHeader::decode(&header_of(&frame(revision).0), PLACE);
        assert!(decode(MAX_STORED).is_some() && decode(MAX_STORED + 1).is_none());
    }

    #[test]
    fn a_frame_of_another_place_or_segment_is_refused() {
        let header = header_of(&frame(9).0);
        assert!(FrameHeader::decode(&header, Position { seed: 78, ..PLACE }).is_none());
        assert!(FrameHeader::decode(&header, Position { offset: 4_097, ..PLACE }).is_none());
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_found() {
        let (bytes, _) = frame(9);
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut header = header_of(&bytes);
            header[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&header, PLACE).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        for seed in [0, 1, u32::MAX] {
            let place = Position { seed, ..PLACE };
            assert!(FrameHeader::decode(&[0; FRAME_HEADER_BYTES], place).is_none());
        }
    }

    #[test]
    fn a_body_with_too_few_or_too_many_entries_is_refused() {
        let (bytes, _) = frame(9);
        let body = &bytes[FRAME_HEADER_BYTES..];
        for count in [0, 1, 3] {
            let mut changed = body.to_vec();
            changed[1] = count;
            let Some(Body::Commit(mut entries)) = Body::decode(&changed) else { continue };
            assert!(entries.any(|placed| placed.is_none()), "count {count} was taken");
        }
        assert!(Body::decode(&[]).is_none());
        assert!(Body::decode(&[2]).is_none());
        assert!(Body::decode(&[1, 0]).is_none());
    }

    #[test]
    fn a_commit_of_one_small_item_costs_few_bytes_beside_names_and_value() {
        let mut builder = FrameBuilder::commit(1);
        builder.push(&entry(&[1; 256]));
        let overhead = builder.len() - 256 - "products".len() - "01AC0".len();
        assert!(overhead <= 64, "a frame spends {overhead} bytes beside names and value");
    }
}
