//! A version of an item as it is read.

use bytes::Bytes;

use crate::index::ReadValue;
use crate::values::etag::ETag;
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::revision::Revision;

/// A version's metadata, and its stored bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) meta: Meta,
    pub(crate) value: Bytes,
}

impl Version {
    /// The version of a head whose value is in memory.
    pub(crate) fn cached(head: &Head, value: ReadValue) -> Self {
        Self { meta: meta_of(head, value.parent), value: value.bytes }
    }

    /// Whether it is not expired.
    pub(crate) fn is_live(&self, now_ms: u64) -> bool {
        self.meta.is_live(now_ms)
    }
}

/// What names the version of a head that displaced `parent`.
pub(super) fn meta_of(head: &Head, parent: Option<ETag>) -> Meta {
    Meta {
        etag: head.etag,
        parent,
        revision: Revision(head.revision),
        modified_ms: head.modified_ms,
        expires_ms: head.expires_ms,
    }
}
