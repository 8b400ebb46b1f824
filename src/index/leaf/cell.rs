//! A head of any kind packed to one cache line, with the place of its key.

use crate::values::etag::ETag;
use crate::values::head::Head;

/// A cell of a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    etag: [u8; 16],
    revision: u64,
    modified_ms: u64,
    /// Zero where the flags say that the head does not expire.
    expires_ms: u64,
    segment: u32,
    offset: u32,
    len_bytes: u32,
    checksum: u32,
    /// Where the suffix of the cell's key begins in the leaf's keys.
    start: u16,
    /// Length of the suffix.
    len: u16,
    flags: u8,
}

const _: () = assert!(size_of::<Cell>() == 64);

const DELETED: u8 = 1;
const EXPIRES: u8 = 2;

impl Cell {
    /// A cell of this head, and the place of its key.
    #[inline]
    pub(super) fn new(head: &Head, (start, len): (usize, usize)) -> Self {
        let flags = if head.deleted { DELETED } else { 0 };
        Self {
            etag: head.etag.0,
            revision: head.revision,
            modified_ms: head.modified_ms,
            expires_ms: head.expires_ms.unwrap_or(0),
            segment: head.segment,
            offset: head.offset,
            len_bytes: head.len_bytes,
            checksum: head.checksum,
            start: start as u16,
            len: len as u16,
            flags: flags | if head.expires_ms.is_some() { EXPIRES } else { 0 },
        }
    }

    #[inline]
    pub(super) fn head(&self) -> Head {
        Head {
            etag: ETag(self.etag),
            revision: self.revision,
            segment: self.segment,
            offset: self.offset,
            len_bytes: self.len_bytes,
            checksum: self.checksum,
            modified_ms: self.modified_ms,
            expires_ms: (self.flags & EXPIRES != 0).then_some(self.expires_ms),
            deleted: self.flags & DELETED != 0,
        }
    }

    /// Where the suffix of the key lies in the leaf's keys: its start and its length.
    #[inline]
    pub(super) fn span(&self) -> (usize, usize) {
        (usize::from(self.start), usize::from(self.len))
    }

    #[inline]
    pub(super) fn set_span(&mut self, (start, len): (usize, usize)) {
        (self.start, self.len) = (start as u16, len as u16);
    }
}
