//! What compaction asks of the commit path: which entries are worth keeping, and moving the heads
//! of those that were written again elsewhere.

use crate::engine::Engine;
use crate::journal::rewrite::CopiedRecord;
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// What an entry of the journal is to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryStatus {
    /// The newest version of an item, or a tombstone that nothing has replaced.
    Newest,
    /// A newer entry has taken its place.
    Superseded,
}

impl Engine {
    /// What the entry of this revision is to the index. It does not become newest again once it
    /// is superseded, so no lock is needed.
    pub(crate) fn status_of(&self, key: &ItemKey, revision: u64) -> Result<EntryStatus> {
        Ok(match self.head(key)? {
            Some(head) if head.revision > revision => EntryStatus::Superseded,
            None if self.is_cleared_after(key, revision)? => EntryStatus::Superseded,
            // Without a head the index would lack a commit of the journal: kept.
            Some(_) | None => EntryStatus::Newest,
        })
    }

    /// Whether the collection of an item was cleared after this revision.
    fn is_cleared_after(&self, key: &ItemKey, revision: u64) -> Result<bool> {
        let tombstone = self.head(&ItemKey::of_collection(key.collection()))?;
        Ok(tombstone.is_some_and(|tombstone| tombstone.revision > revision))
    }

    /// Lets the head of an item point to where its entry was written again, unless the item has
    /// changed since. The old place stays readable until every reader can know of the new one.
    pub(crate) fn relocate(
        &self,
        key: &ItemKey,
        revision: u64,
        segment: u32,
        record: CopiedRecord,
    ) -> Result<()> {
        let _locked = self.stripes.lock(std::iter::once(key.as_bytes()));
        let pin = self.pin(std::iter::once(key))?;
        self.index.change_head(key, &pin, &|head| {
            if head.revision != revision || head.segment == segment {
                return None;
            }
            let CopiedRecord { offset, len_bytes, checksum } = record;
            let checksum = checksum.unwrap_or(head.checksum);
            let moved = Head { segment, offset, len_bytes, checksum, ..*head };
            self.journal.segments().subtract_live(head);
            self.journal.segments().count_live(&moved);
            Some(moved)
        });
        Ok(())
    }

    /// Keeps what maintenance has loaded and changed in the index within its budget. A checkpoint
    /// lets changed leaves leave memory; where none can be written they stay.
    pub(crate) fn keep_within_budget(&self) -> Result<()> {
        self.index.evict();
        if self.index.wants_checkpoint() && self.index.is_on_disk() {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Removes the head of a tombstone, unless the item was written again since.
    pub(crate) fn purge(&self, key: &ItemKey, revision: u64) -> Result<()> {
        let mut locked = self.stripes.lock(std::iter::once(key.as_bytes()));
        let pin = self.pin(std::iter::once(key))?;
        locked.begin_apply();
        self.index.remove_if(key, &pin, &|head| head.revision == revision && head.deleted);
        Ok(())
    }
}
