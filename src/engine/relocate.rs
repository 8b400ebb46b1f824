//! What compaction asks of the commit path: which entries are worth keeping, and moving the heads
//! of those that were written again elsewhere.

use crate::engine::Engine;
use crate::index::RenewableTable;
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// What an entry of the journal is to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryStatus {
    /// The newest version of an item, or a tombstone that nothing has replaced.
    Newest,
    /// A newer entry has taken its place.
    Superseded,
}

/// Where an entry lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryLocation {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len_bytes: u32,
}

impl Engine {
    /// What the entry of this revision is to the table. It does not become newest again once it
    /// is superseded, so no lock is needed.
    pub(crate) fn status_of(&self, key: &ItemKey, revision: u64) -> Result<EntryStatus> {
        Ok(match self.head(key)? {
            Some(head) if head.revision > revision => EntryStatus::Superseded,
            // Without a row the table would be behind the journal: kept.
            Some(_) | None => EntryStatus::Newest,
        })
    }

    /// Lets the head of an item point to where its entry was written again, unless the item has
    /// changed since. The old place stays readable until every reader can know of the new one.
    pub(crate) fn relocate(
        &self,
        key: &ItemKey,
        revision: u64,
        place: EntryLocation,
    ) -> Result<()> {
        let mut locked = self.stripes.lock(std::iter::once(key.as_bytes()));
        let Some(head) = self.head(key)? else { return Ok(()) };
        if head.revision != revision || head.segment == place.segment {
            return Ok(());
        }
        let EntryLocation { segment, offset, len_bytes } = place;
        let moved = Head { segment, offset, len_bytes, ..head };
        // A reader that found the old place must not put it into the cache after this.
        locked.begin_apply();
        self.table.insert(key.as_bytes(), &moved.encode())?;
        if let Some(cached) = self.cache.get(key.as_bytes()) {
            self.cache.insert(&key.to_bytes(), cached.version, moved);
        }
        self.count_live(Some(&head), &moved);
        Ok(())
    }

    /// Copies a row to the table that is to replace the current one.
    pub(crate) fn copy_row(&self, table: &RenewableTable, key: &[u8]) -> Result<()> {
        let _guard = self.stripes.of(key).lock();
        table.copy_row(key)
    }

    /// Removes the row of a tombstone, unless the item was written again since.
    pub(crate) fn purge(&self, key: &ItemKey, revision: u64) -> Result<()> {
        let mut locked = self.stripes.lock(std::iter::once(key.as_bytes()));
        if let Some(head) = self.head(key)?
            && head.revision == revision
            && head.deleted
        {
            locked.begin_apply();
            self.table.remove(key.as_bytes())?;
        }
        Ok(())
    }
}
