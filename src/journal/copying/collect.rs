//! Gathering commits of a journal, for a copy.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use crate::journal::content_sum::ContentSum;
use crate::journal::entries::{EntrySource, FoundEntry};
use crate::journal::frame::FrameBuilder;
use crate::journal::manifest::{Checkpoint, Manifest};
use crate::journal::scanner::ScannedFrame;
use crate::values::error::Result;
use crate::values::key::ItemKey;

/// How many bytes are gathered at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// A commit on its way from one journal to another.
#[derive(Debug)]
pub(crate) struct Loose {
    pub(crate) revision: u64,
    pub(crate) frame: FrameBuilder,
    /// The incarnations in the header of the segment that it was found in: its entries name them by
    /// index.
    pub(crate) incarnations: Arc<[[u8; 16]]>,
}

/// Gathers commits, and computes the content that they leave.
#[derive(Debug)]
pub(crate) struct Collector {
    /// The content is known at its revision; later commits change it.
    known: Checkpoint,
    checkpoint: Checkpoint,
    newest_clock_ms: u64,
    /// The clock was set back after the commit of this revision.
    clock_since: u64,
    incarnations: Arc<[[u8; 16]]>,
    gathered: Vec<Loose>,
    gathered_bytes: usize,
    /// Items whose entries below a revision are left out.
    absent: HashMap<ItemKey, u64>,
}

impl Collector {
    /// Starts from the source's checkpoint. The content cannot be computed from the entries before
    /// that, as compaction drops superseded ones. The journal after the checkpoint is complete.
    pub(crate) fn new(manifest: &Manifest) -> Self {
        Self {
            known: manifest.checkpoint,
            checkpoint: manifest.checkpoint,
            newest_clock_ms: 0,
            clock_since: manifest.clock_since,
            incarnations: Arc::new([]),
            gathered: Vec::new(),
            gathered_bytes: 0,
            absent: HashMap::new(),
        }
    }

    /// For a copy of a damaged journal, whose content at its end is known from the index. Leaves
    /// out the entries of these items below these revisions.
    pub(crate) fn of_damaged(
        manifest: &Manifest,
        last_revision: u64,
        content: ContentSum,
        absent: HashMap<ItemKey, u64>,
    ) -> Self {
        let known = Checkpoint { revision: last_revision, content, ..manifest.checkpoint };
        Self { known, checkpoint: known, absent, ..Self::new(manifest) }
    }

    /// Adds a commit; returns whether enough is gathered for now.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) when one of its entries is malformed.
    pub(crate) fn add(
        &mut self,
        source: EntrySource<'_>,
        frame: &ScannedFrame<'_>,
    ) -> Result<bool> {
        let mut kept: Vec<&[u8]> = Vec::new();
        let mut all = true;
        source.for_each_entry(frame, &mut |found| {
            if self.is_absent(&found) {
                all = false;
                return Ok(());
            }
            kept.push(found.record);
            if found.revision > self.clock_since {
                self.newest_clock_ms = self.newest_clock_ms.max(found.entry.clock_ms());
            }
            if found.revision > self.known.revision {
                found.move_content(&mut self.checkpoint.content, &found.head());
            }
            Ok(())
        })?;
        if kept.is_empty() && !all {
            return Ok(false);
        }
        let incarnations = source.incarnations;
        if *self.incarnations != *incarnations {
            self.incarnations = incarnations.into();
        }
        let whole = || FrameBuilder::of_body(frame.body);
        let revision = frame.revision;
        let frame = if all { whole() } else { FrameBuilder::of_records(&kept) };
        Ok(self.push(Loose { revision, frame, incarnations: Arc::clone(&self.incarnations) }))
    }

    /// Whether an entry would bring back an item that is absent.
    fn is_absent(&self, found: &FoundEntry<'_, '_>) -> bool {
        let below = |key: &ItemKey| self.absent.get(key).is_some_and(|at| found.revision < *at);
        let cleared = || below(&ItemKey::of_collection(found.key.collection()));
        !self.absent.is_empty() && (below(&found.key) || cleared())
    }

    /// Adds a commit whose content is computed already; returns whether enough is gathered for now.
    pub(crate) fn push(&mut self, commit: Loose) -> bool {
        self.gathered_bytes += commit.frame.len();
        self.gathered.push(commit);
        self.gathered_bytes >= CHUNK_BYTES
    }

    /// Returns what was gathered since the last call.
    pub(crate) fn take(&mut self) -> Vec<Loose> {
        self.gathered_bytes = 0;
        mem::take(&mut self.gathered)
    }

    /// The checkpoint of a copy that ends with this revision. The copy's first open proves by it
    /// that every item is there.
    pub(crate) fn checkpoint_at(&self, last_revision: u64) -> Checkpoint {
        Checkpoint {
            revision: last_revision,
            index_generation: 0,
            // Not known, so no promise is made.
            next_expiry_ms: 0,
            // No index is copied.
            index_lost: true,
            ..self.checkpoint
        }
    }

    pub(crate) fn newest_clock_ms(&self) -> u64 {
        self.newest_clock_ms
    }
}
