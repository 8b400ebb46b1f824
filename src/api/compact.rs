//! Compaction on request.

use crate::api::store::Store;
use crate::engine::compaction::{Compaction, compact_everything};
use crate::values::error::Result;

impl Store {
    /// Removes expired items, and reclaims at once all space that superseded versions and unneeded
    /// tombstones take in the journal. The store does this by itself, in the background and in
    /// small steps, when the dead bytes exceed 30 % of the live bytes and 1 MiB. Call it before a
    /// copy, or when space on the disk is short.
    ///
    /// Others can read and write at the same time. While a [`backup`](Self::backup) is in progress,
    /// nothing is reclaimed. It reads every segment that is dead by more than a thirty-second, and
    /// small neighbours that can be merged into one. It rewrites what is live in them, which costs
    /// one lookup in the index for each of their entries, and some syncs. It needs free disk space
    /// for the largest rewritten segment: at most 128 MiB, or 256 MiB with a history policy. It
    /// needs some 6 MiB of memory, and twice the size of the largest commit.
    ///
    /// # Errors
    /// - [`Error::Io`](crate::Error::Io) when there is no space for the new segments; nothing is lost.
    /// - [`Error::Corrupt`](crate::Error::Corrupt) when a segment cannot be read; it is left as it is.
    /// - [`Error::CommitUnknown`](crate::Error::CommitUnknown) when the removal of expired items
    ///   was written, but its sync failed.
    /// - [`Error::TooManySegments`](crate::Error::TooManySegments) when the list of segments is full.
    /// - [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Closed`](crate::Error::Closed).
    ///
    /// See [`Compaction`] for an example.
    pub fn compact(&self) -> Result<Compaction> {
        compact_everything(self.shared())
    }
}
