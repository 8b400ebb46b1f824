//! The way back through an item's versions.
//!
//! Each entry names the revision of the one that it displaced, and a revision is found in the
//! journal by reading on from a remembered place near it. Compaction changes where entries lie,
//! not their revisions, so the way back needs no upkeep.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::Version;
use crate::journal::frame::Entry;
use crate::journal::frame_reader::{CommitFrame, FrameReader};
use crate::values::error::{Error, Result};
use crate::values::etag::ETag;
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// One entry of an item, as the journal holds it.
#[derive(Debug, Clone)]
pub(crate) struct PastEntry {
    pub(crate) version: Version,
    /// Whether it left an item, or removed one.
    pub(crate) leaves_item: bool,
    /// The revision that it displaced; 0 for none.
    previous: u64,
}

impl Engine {
    /// The retained entries of an item, the newest first, as far as the history policy keeps them.
    ///
    /// Costs, for each entry, a read of up to some 64 KiB of the journal; the first look into a
    /// segment since the open reads it from its beginning.
    pub(crate) fn past(
        &self,
        key: &ItemKey,
        visit: &mut dyn FnMut(PastEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let now_ms = self.clock.now_ms();
        let mut steps_left = self.history.depth();
        self.chain(key, &mut |entry| {
            let too_old = !self.history.keeps_replaced_at(entry.version.meta.modified_ms, now_ms);
            if visit(entry).is_break() || too_old || steps_left == 0 {
                return ControlFlow::Break(());
            }
            steps_left -= 1;
            ControlFlow::Continue(())
        })
    }

    /// Whether a write with this tag was made to an item, as far as the journal holds the entries
    /// that lead back to it: the write itself, or one that names it as its parent.
    ///
    /// Costs as [`past`](Self::past).
    pub(crate) fn has_written(&self, key: &ItemKey, etag: ETag) -> Result<bool> {
        let mut found = false;
        self.chain(key, &mut |entry| {
            let meta = entry.version.meta;
            found = etag != ETag::UNSAVED && (meta.etag == etag || meta.parent == Some(etag));
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    /// Whether an item is there. Costs at most one read of the index.
    pub(crate) fn is_present(&self, key: &ItemKey) -> Result<bool> {
        let live = |head: Option<Head>| head.is_some_and(|head| head.is_live(self.clock.now_ms()));
        let stripe = self.stripes.of(key.as_bytes());
        let sequence = stripe.begin_read();
        let head = self.head(key)?;
        if stripe.is_unchanged(sequence) {
            return Ok(live(head));
        }
        // A commit was being applied: it may be a batch, of which all is seen or nothing.
        let _guard = stripe.lock();
        self.head(key).map(live)
    }

    /// The entries of an item, the newest first, from each to the one that it displaced, until one
    /// is not in the journal any more.
    fn chain(
        &self,
        key: &ItemKey,
        visit: &mut dyn FnMut(PastEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(head) = self.head(key)? else { return Ok(()) };
        // Entries are looked for in the files, up to what this head displaced.
        self.journal.write_out();
        let mut found = self.newest_entry(key, &head)?;
        while let Some(entry) = found {
            let (meta, previous) = (entry.version.meta, entry.previous);
            // Revisions descend, so this ends.
            let at_end = previous == 0 || previous >= meta.revision.0;
            if visit(entry).is_break() || at_end {
                return Ok(());
            }
            found = self.entry_at(key, previous)?;
            // Created over a tombstone it has no parent, though there was an entry.
            let torn =
                |before: &PastEntry| meta.parent.is_some_and(|p| p != before.version.meta.etag);
            if found.as_ref().is_some_and(torn) {
                let path = self.journal.files().1;
                return Err(Error::corrupt(path, 0, "a version does not match its successor"));
            }
        }
        Ok(())
    }

    /// The entry that a head points to, which may be on its way to the file.
    fn newest_entry(&self, key: &ItemKey, head: &Head) -> Result<Option<PastEntry>> {
        let Some(record) = self.journal.read(head.segment, head.offset, head.len_bytes)? else {
            return self.entry_at(key, head.revision);
        };
        let record = Bytes::from(record);
        let Some(version) = self.version_in(key, head, &record)? else {
            return self.entry_at(key, head.revision);
        };
        let previous = Entry::decode(&record).map_or(0, |(entry, _)| entry.previous);
        Ok(Some(PastEntry { version, leaves_item: !head.deleted, previous }))
    }

    /// The entry of an item at exactly this revision, if the journal still holds it.
    fn entry_at(&self, key: &ItemKey, revision: u64) -> Result<Option<PastEntry>> {
        let mut found = None;
        let mut reader = FrameReader::after(revision.saturating_sub(1));
        let mut damage = None;
        let mut visit = |commit: &CommitFrame<'_>| {
            commit.for_each_entry(&mut |found_entry| {
                if found_entry.key == *key {
                    let (entry, meta) = (&found_entry.entry, found_entry.meta());
                    let value = Bytes::copy_from_slice(entry.value);
                    found = Some(PastEntry {
                        version: Version { meta, value },
                        leaves_item: entry.kind().leaves_item(),
                        previous: entry.previous,
                    });
                }
                Ok(())
            })?;
            Ok(ControlFlow::Continue(()))
        };
        reader.read_over_damage(&self.journal, revision, &mut visit, &mut |met| {
            damage = met.stretch.covers(revision).then(|| met.error());
            Ok(())
        })?;
        // What compaction has dropped is missing too, and looks the same as what is damaged.
        damage.map_or(Ok(found), Err)
    }
}
