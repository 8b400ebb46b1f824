//! The totals of an index's heads, computed while an open puts them into it.

use std::collections::HashMap;

use crate::engine::opening::adrift::Adrift;
use crate::index::Index;
use crate::journal::content_sum::Contents;
use crate::journal::recover::Recovered;
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// The totals of an index's heads.
pub(super) struct Content {
    pub(super) content: Contents,
    /// Heads that point into segments that are gone.
    pub(super) adrift: Adrift,
    pub(super) live_bytes: HashMap<u32, u64>,
    pub(super) next_expiry_ms: u64,
    /// Where the frames of each segment end.
    pub(super) ends: HashMap<u32, u64>,
}

impl Content {
    pub(super) fn of_segments(recovered: &Recovered) -> Self {
        let named = recovered.segments.iter().chain(&recovered.retired);
        let ends: HashMap<u32, u64> =
            named.map(|found| (found.segment.header.number, found.end_offset)).collect();
        let live_bytes = ends.keys().map(|number| (*number, 0)).collect();
        let (content, adrift) = (Contents::default(), Adrift::of_segments(recovered));
        Self { content, adrift, live_bytes, next_expiry_ms: u64::MAX, ends }
    }

    /// Adds a head of the index on disk; `false` if it points to nothing that the journal holds, or
    /// held before compaction.
    pub(super) fn take(&mut self, key: &[u8], head: &Head) -> bool {
        if !self.adrift.take(key, head) {
            return self.add(key, head);
        }
        self.count(key, head);
        true
    }

    /// Adds a head; `false` if it points to nothing that the journal holds.
    pub(super) fn add(&mut self, key: &[u8], head: &Head) -> bool {
        if self.ends.get(&head.segment).is_none_or(|end| head.end() > *end) {
            return false;
        }
        self.count(key, head);
        self.add_live(head);
        true
    }

    /// Counts a head as one of an item.
    fn count(&mut self, key: &[u8], head: &Head) {
        if !head.deleted {
            self.content.add(key, head.etag);
            self.next_expiry_ms = self.next_expiry_ms.min(head.expires_ms.unwrap_or(u64::MAX));
        }
    }

    pub(super) fn add_live(&mut self, head: &Head) {
        if let Some(live) = self.live_bytes.get_mut(&head.segment).filter(|_| !head.deleted) {
            *live += head.footprint_bytes();
        }
    }

    /// Adds a head in the place of the one that was there.
    pub(super) fn replace(&mut self, key: &[u8], present: Option<&Head>, head: &Head) -> bool {
        if let Some(present) = present {
            self.subtract(key, present);
        }
        self.add(key, head)
    }

    /// Takes away a head.
    fn subtract(&mut self, key: &[u8], head: &Head) {
        if !head.deleted {
            self.content.subtract(key, head.etag);
            self.subtract_live(head);
        }
    }

    pub(super) fn subtract_live(&mut self, head: &Head) {
        if !head.deleted {
            self.adrift.subtract(head);
        }
        if let Some(live) = self.live_bytes.get_mut(&head.segment).filter(|_| !head.deleted) {
            *live = live.saturating_sub(head.footprint_bytes());
        }
    }

    /// Takes away all of a collection that an entry clears, from the index as well.
    pub(super) fn clear(&mut self, index: &Index, key: &ItemKey, tombstone: &Head) -> Result<()> {
        self.content.clear(key.collection());
        index.replay_clear(key, tombstone, &mut |head| self.subtract_live(head))
    }
}
