//! The entries of a commit, with the places of their records.

use std::path::Path;

use crate::journal::content_sum::ContentSum;
use crate::journal::frame::{Body, Entry, EntryKind, Placed, record_checksum};
use crate::journal::scanner::ScannedFrame;
use crate::journal::segment::SegmentHeader;
use crate::journal::segments::KnownSegment;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::revision::Revision;

/// A segment, as far as the entries in it are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntrySource<'s> {
    pub(crate) segment: u32,
    pub(crate) path: &'s Path,
    /// The incarnations in the segment's header: entries name them by index.
    pub(crate) incarnations: &'s [[u8; 16]],
}

/// An entry, and where it was found.
#[derive(Debug)]
pub(crate) struct FoundEntry<'s, 'a> {
    pub(crate) key: ItemKey,
    pub(crate) entry: Entry<'a>,
    pub(crate) revision: u64,
    pub(crate) segment: u32,
    /// Where its record begins in the segment.
    pub(crate) offset: u32,
    pub(crate) record: &'a [u8],
    /// The incarnation that wrote it.
    pub(crate) incarnation: &'s [u8; 16],
}

impl<'s> EntrySource<'s> {
    pub(crate) fn new(segment: u32, known: &'s KnownSegment) -> Self {
        Self { segment, path: &known.path, incarnations: &known.incarnations }
    }

    pub(crate) fn of_header(path: &'s Path, header: &'s SegmentHeader) -> Self {
        Self { segment: header.number, path, incarnations: &header.incarnations }
    }

    /// Calls `f` with each entry of a commit, in their order.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the frame is not a commit or one of its entries is malformed, and
    /// the errors of `f`.
    pub(crate) fn for_each_entry<'a>(
        self,
        frame: &ScannedFrame<'a>,
        f: &mut dyn FnMut(FoundEntry<'s, 'a>) -> Result<()>,
    ) -> Result<()> {
        let malformed = || Error::corrupt(self.path, frame.offset, "an entry cannot be decoded");
        let Some(Body::Commit(entries)) = Body::decode(frame.body) else {
            return Err(malformed());
        };
        for placed in entries {
            let found = placed.and_then(|placed| self.find(frame, &placed));
            f(found.ok_or_else(malformed)?)?;
        }
        Ok(())
    }

    fn find<'a>(self, frame: &ScannedFrame<'a>, placed: &Placed<'a>) -> Option<FoundEntry<'s, 'a>> {
        let Placed { entry, at, record } = *placed;
        Some(FoundEntry {
            key: key_of(&entry)?,
            entry,
            revision: frame.revision,
            segment: self.segment,
            offset: u32::try_from(frame.offset).ok()?.checked_add(at)?,
            record,
            incarnation: self.incarnations.get(usize::from(entry.incarnation))?,
        })
    }
}

/// The key of an entry; `None` where it is malformed.
pub(super) fn key_of(entry: &Entry<'_>) -> Option<ItemKey> {
    if entry.kind() != EntryKind::Cleared {
        return ItemKey::new(entry.collection, entry.key).ok();
    }
    let whole = !entry.collection.is_empty()
        && entry.key.is_empty()
        && ContentSum::from_bytes(entry.value).is_some();
    whole.then(|| ItemKey::of_collection(entry.collection))
}

impl FoundEntry<'_, '_> {
    /// Whether the entry clears its collection: what is older there is gone.
    pub(crate) fn clears(&self) -> bool {
        self.entry.kind() == EntryKind::Cleared
    }

    /// Moves a count and sum by this entry.
    pub(crate) fn move_content(&self, content: &mut ContentSum, head: &Head) {
        if self.clears() {
            // Checked when it was found.
            content.subtract_all(ContentSum::from_bytes(self.entry.value).unwrap_or_default());
            return;
        }
        let written = (!head.deleted).then_some(head.etag);
        content.apply(self.key.as_bytes(), self.entry.parent(), written);
    }

    /// What a reader is notified of the version. Computes its tag: costs a hash of its value.
    pub(crate) fn meta(&self) -> Meta {
        Meta {
            etag: self.entry.etag(self.incarnation, self.revision),
            parent: self.entry.parent(),
            revision: Revision(self.revision),
            modified_ms: self.entry.modified_ms,
            expires_ms: self.entry.expires_ms,
        }
    }

    /// The head that points to the entry. Computes its tag: costs a hash of its value.
    pub(crate) fn head(&self) -> Head {
        Head {
            etag: self.entry.etag(self.incarnation, self.revision),
            revision: self.revision,
            segment: self.segment,
            offset: self.offset,
            len_bytes: self.record.len() as u32,
            checksum: record_checksum(self.record),
            modified_ms: self.entry.modified_ms,
            expires_ms: self.entry.expires_ms,
            deleted: !self.entry.kind().leaves_item(),
        }
    }
}
