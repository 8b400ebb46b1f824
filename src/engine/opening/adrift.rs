//! Heads that a crash left pointing into segments that compaction has replaced and removed.
//!
//! Compaction moves heads in memory and removes what it has replaced; a checkpoint makes the moves
//! durable later. After a crash in between, an open moves the heads again, by what replaced their
//! segments.

use std::collections::{HashMap, HashSet};

use crate::engine::opening::content::Content;
use crate::engine::scan::item_key;
use crate::index::{Index, split_pair_key};

use crate::journal::entries::{EntrySource, FoundEntry};
use crate::journal::frame::record_checksum;
use crate::journal::recover::{FoundSegment, Recovered};
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// The heads that point into segments that are gone.
#[derive(Debug)]
pub(super) struct Adrift {
    /// The segments, and what replaced each.
    gone: HashMap<u32, u32>,
    /// How many of them are of items.
    items: u64,
    /// The keys of the others.
    tombstones: Vec<Vec<u8>>,
    /// What replaced them and is damaged, and the first damaged frame in each.
    damaged: Vec<(u32, Error)>,
}

impl Adrift {
    pub(super) fn of_segments(recovered: &Recovered) -> Self {
        let there: HashSet<u32> =
            recovered.retired.iter().map(|found| found.segment.header.number).collect();
        let retired = recovered.manifest.retired.iter();
        let gone = retired.map(|retired| (retired.number, retired.replaced_by));
        let gone = gone.filter(|(number, _)| !there.contains(number)).collect();
        Self { gone, items: 0, tombstones: Vec::new(), damaged: Vec::new() }
    }

    /// Counts a head of the index if it is adrift; returns whether it is.
    pub(super) fn take(&mut self, key: &[u8], head: &Head) -> bool {
        let is_adrift = self.gone.contains_key(&head.segment);
        if is_adrift && head.deleted {
            self.tombstones.push(key.to_vec());
        }
        self.items += u64::from(is_adrift && !head.deleted);
        is_adrift
    }

    /// Takes an item's head away that was counted.
    pub(super) fn subtract(&mut self, head: &Head) {
        if self.gone.contains_key(&head.segment) {
            self.items = self.items.saturating_sub(1);
        }
    }

    fn is_empty(&self) -> bool {
        self.items == 0 && self.tombstones.is_empty()
    }
}

impl Content {
    /// Points the heads that are adrift at the entries of what replaced their segments. Reads each
    /// such segment once, over damage.
    pub(super) fn relocate(&mut self, index: &Index, recovered: &Recovered) -> Result<()> {
        if self.adrift.is_empty() {
            return Ok(());
        }
        let outputs: HashSet<u32> = self.adrift.gone.values().copied().collect();
        let is_output = |found: &&FoundSegment| outputs.contains(&found.segment.header.number);
        for found in recovered.segments.iter().filter(is_output) {
            let source = EntrySource::of_header(&found.segment.path, &found.segment.header);
            let mut scan = found.scan_over_damage(&*recovered.disk)?;
            while let Some(frame) = scan.next_commit()? {
                source.for_each_entry(&frame, &mut |entry| self.relocate_to(index, &entry))?;
            }
            scan.expect_end(found.end_offset)?;
            if let Some(stretch) = scan.take_damage().first() {
                let error = stretch.error(&found.segment.path);
                self.adrift.damaged.push((found.segment.header.number, error));
            }
        }
        Ok(())
    }

    fn relocate_to(&mut self, index: &Index, entry: &FoundEntry<'_, '_>) -> Result<()> {
        let pin = index.pin();
        let Some(head) = index.make_resident(&entry.key, &pin)? else { return Ok(()) };
        if head.revision != entry.revision || !self.adrift.gone.contains_key(&head.segment) {
            return Ok(());
        }
        let moved = Head {
            segment: entry.segment,
            offset: entry.offset,
            len_bytes: entry.record.len() as u32,
            checksum: record_checksum(entry.record),
            ..head
        };
        index.change_head(&entry.key, &pin, &|_| Some(moved));
        self.subtract_live(&head);
        self.add_live(&moved);
        Ok(())
    }

    /// Ends the work when the journal was replayed. Points the heads that are still adrift at the
    /// damaged segments that hold their entries, so that a read of such an item returns the damage.
    /// Removes the other tombstones from the index, as compaction has dropped them. Returns these
    /// segments; `None` where items are adrift without any damage.
    pub(super) fn settle(&mut self, index: &Index) -> Result<Option<Vec<(u32, Error)>>> {
        for key in std::mem::take(&mut self.adrift.tombstones) {
            let Some((collection, key)) = split_pair_key(&key) else { return Ok(None) };
            let key = ItemKey::of_parts(collection, key, &[])?;
            let pin = index.pin();
            let head = index.make_resident(&key, &pin)?.filter(|head| head.deleted);
            if let Some(moved) = head.and_then(|head| self.at_damage(&head)) {
                // Perhaps it was kept: without its head an older entry would count as the newest.
                index.change_head(&key, &pin, &|_| Some(moved));
                continue;
            }
            let gone = &self.adrift.gone;
            index.remove_if(&key, &pin, &|head| head.deleted && gone.contains_key(&head.segment));
        }
        if self.adrift.items > 0 && !self.adrift.damaged.is_empty() {
            self.point_at_damage(index)?;
        }
        let damaged = std::mem::take(&mut self.adrift.damaged);
        Ok((self.adrift.items == 0).then_some(damaged))
    }

    fn point_at_damage(&mut self, index: &Index) -> Result<()> {
        let mut lost = Vec::new();
        index.walk(None, usize::MAX, &mut |collection, key, head| {
            if let Some(moved) = self.at_damage(head).filter(|_| !head.deleted) {
                lost.push((item_key(collection, key), *head, moved));
            }
        })?;
        for (key, head, moved) in lost {
            let pin = index.pin();
            index.make_resident(&key, &pin)?;
            index.change_head(&key, &pin, &|_| Some(moved));
            self.subtract_live(&head);
            self.add_live(&moved);
        }
        Ok(())
    }

    /// A head that is adrift, pointed at what replaced its segment, if that is damaged.
    fn at_damage(&self, head: &Head) -> Option<Head> {
        let segment = *self.adrift.gone.get(&head.segment)?;
        self.adrift.damaged.iter().find(|(damaged, _)| *damaged == segment)?;
        let room = self.ends.get(&segment)?.saturating_sub(SEGMENT_HEADER_BYTES);
        let len_bytes = u64::from(head.len_bytes).min(room) as u32;
        // Where no entry begins, as this one must not pass for another.
        Some(Head { segment, offset: 0, len_bytes, ..*head })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
