//! Frames: one commit each, under headers that are bound to their places. Bytes in
//! `docs/format.md`.

mod builder;
mod entry;
#[cfg(test)]
mod tests;

use bincode::config;

use crate::journal::dual_slot::MAX_STORED;
use crate::journal::index_changes::MAX_INDEX_CHANGES_BYTES;

pub(crate) use builder::{EntryRecord, FrameBuilder, record_checksum};
pub(crate) use entry::{Entry, EntryKind};

/// Bytes before a frame's body: length, checksum, revision, checksum of the body, check of the
/// content.
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
/// The longest body: a batch's 64 MiB of values with the names and headers of 10 000 entries, and
/// what they change in secondary indexes.
pub(crate) const MAX_BODY_BYTES: u32 = (64 << 20) + 10_001 * 1_024 + MAX_INDEX_CHANGES_BYTES;

/// A place between two frames of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    /// The checksum of the segment's header, which seeds that of each frame's.
    pub(crate) seed: u32,
}

/// What a frame holds: the first byte of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A commit: the count of its entries, then the entries.
    Commit = 0,
    /// The end of a sealed segment; nothing follows.
    Seal = 1,
}

/// The header of a frame whose body is known with its checksum, and the place after the frame.
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
    /// The [check](crate::journal::content_sum::ContentSum::check) of the live items after the
    /// commit; without meaning in a segment that compaction, a copy or a repair has written.
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
    /// Its checksum covers segment and offset. So bytes that were a header elsewhere, such as those
    /// of a store's file that is stored as a value, are not a header here, and a search after a
    /// damaged frame finds only headers of this segment.
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

/// The little-endian numbers of a header.
fn fields(bytes: &[u8; FRAME_HEADER_BYTES]) -> [u32; FRAME_HEADER_BYTES / 4] {
    let mut numbers = [0; FRAME_HEADER_BYTES / 4];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *number = u32::from_le_bytes(*bytes);
    }
    numbers
}

/// The parsed body of a valid frame.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    Commit(Entries<'a>),
    Seal,
}

impl<'a> Body<'a> {
    /// Parses a body whose checksum is right; `None` if it is not one that this version writes.
    pub(crate) fn decode(body: &'a [u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        match *kind {
            kind if kind == FrameKind::Commit as u8 => {
                let (count, used): (u64, usize) =
                    bincode::decode_from_slice(rest, config::standard()).ok()?;
                let rest = rest.get(used..)?;
                // An entry takes a byte at least, so a greater count is wrong.
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

/// An entry and its record; `at` counts from the frame's first byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'a> {
    pub(crate) entry: Entry<'a>,
    pub(crate) at: u32,
    pub(crate) record: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<Placed<'a>>;

    /// The next entry; `Some(None)` once if the bytes are not the number of entries that the count
    /// says.
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
