//! A head of any kind, packed to one cache line.

use crate::values::etag::ETag;
use crate::values::head::Head;

/// The head of a cell.
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
    flags: u8,
}

const _: () = assert!(size_of::<Cell>() == 64);

const DELETED: u8 = 1;
const EXPIRES: u8 = 2;

impl Cell {
    #[inline]
    pub(super) fn new(head: &Head) -> Self {
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
}
