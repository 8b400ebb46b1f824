//! One change of one item, as a frame stores it.

use bincode::{BorrowDecode, config};

use crate::values::etag::{ETag, PendingTag, TagInput, value_hash};

/// What a commit did to a key; the numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Created = 0,
    Replaced = 1,
    Deleted = 2,
    Expired = 3,
    /// Every item of the collection was removed. The key is empty, and the value holds their
    /// count and sum.
    Cleared = 4,
}

impl EntryKind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Created, Self::Replaced, Self::Deleted, Self::Expired, Self::Cleared]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// Whether the item exists after such an entry.
    pub(crate) fn leaves_item(self) -> bool {
        matches!(self, Self::Created | Self::Replaced)
    }
}

/// One change of one item, as the journal stores it. The tag is not stored: it is computed from
/// these fields and the frame's revision, and compared with the one in the index or in a later
/// entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorrowDecode)]
#[cfg_attr(test, derive(bincode::Encode))]
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
    /// How far `modified_ms` is ahead of the clock at the commit: more than 0 if a key is written
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
    /// Reads the entry at the front of `bytes`, and its length; `None` for anything else.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (entry, used): (Self, usize) =
            bincode::borrow_decode_from_slice(bytes, config::standard()).ok()?;
        EntryKind::from_byte(entry.kind)?;
        Some((entry, used))
    }

    /// Appends what [`decode`](Self::decode) reads. It takes a third of the time of bincode's own
    /// encoder, which a test compares it with.
    pub(super) fn encode_to(&self, out: &mut Vec<u8>) {
        out.push(self.kind);
        push_number(out, self.incarnation.into());
        push_number(out, self.ordinal.into());
        out.push(u8::from(self.parent.is_some()));
        if let Some(parent) = &self.parent {
            out.extend_from_slice(parent);
        }
        push_number(out, self.previous);
        push_number(out, self.modified_ms);
        push_number(out, self.ahead_ms);
        out.push(u8::from(self.expires_ms.is_some()));
        if let Some(expires_ms) = self.expires_ms {
            push_number(out, expires_ms);
        }
        for bytes in [self.collection.as_bytes(), self.key, self.index_changes, self.value] {
            push_number(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    }

    pub(crate) fn kind(&self) -> EntryKind {
        EntryKind::from_byte(self.kind).unwrap_or(EntryKind::Deleted)
    }

    /// The reading of the store's clock at the commit.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.modified_ms.saturating_sub(self.ahead_ms)
    }

    pub(crate) fn parent(&self) -> Option<ETag> {
        self.parent.map(ETag)
    }

    /// The tag of the version that this entry wrote.
    pub(crate) fn etag(&self, incarnation: &[u8; 16], revision: u64) -> ETag {
        let mut bytes = PendingTag::buffer(1);
        let tag = self.pending_tag(incarnation, &value_hash(self.value), &mut bytes);
        tag.at(revision, &mut bytes)
    }

    /// The tag, except for the revision, which the journal assigns later; laid out in `bytes`.
    pub(crate) fn pending_tag(
        &self,
        incarnation: &[u8; 16],
        value_hash: &[u8; 32],
        bytes: &mut Vec<u8>,
    ) -> PendingTag {
        let input = TagInput {
            incarnation,
            parent: self.parent(),
            kind: self.kind,
            modified_ms: self.modified_ms,
            expires_ms: self.expires_ms,
            collection: self.collection,
            key: self.key,
            value_hash,
        };
        PendingTag::new(&input, bytes)
    }
}

/// Appends a number as bincode does: in a byte, or in two, four or eight after a byte that says so.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=250 => out.push(number as u8),
        251..=0xffff => {
            out.push(251);
            out.extend_from_slice(&(number as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(252);
            out.extend_from_slice(&(number as u32).to_le_bytes());
        }
        _ => {
            out.push(253);
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}
